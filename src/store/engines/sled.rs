//! sled, the engine with a disk. Only this folder names the crate.
//!
//! What sled calls a flush starts the writing but waits neither for file metadata nor for the
//! drive, so each commit ends with our own `fdatasync`. sled has no errors of its own for "not
//! ours" and "made anew because nothing was readable", so a marker file of ours stands beside its
//! files: it is what is locked, and it says whether data must be there.
//!
//! Where sled finds its log damaged it starts from what is before, without a word: later logins are
//! gone and revoked sessions live again. So each batch carries a number, and a file beside the log
//! knows the number of the last one.
//!
//! All of its files are for their owner alone. sled makes its own with the modes that the umask
//! leaves, now and whenever its log grows, so the process has a umask that leaves nothing to others
//! from here on; the sockets of `server.listen` are bound before.
//!
//! Must stay true: one thread commits; `flush_async` and transactions are never used (both can
//! hang); the periodic flusher stays on, because garbage is collected only there.

mod blobs;
mod commit_log;
mod compact;
mod files;
mod open_errors;

use std::{
    fs::{self, DirBuilder, File},
    io::{Read, Write},
    os::unix::fs::DirBuilderExt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{PoisonError, RwLock, RwLockReadGuard},
    time::{Duration, Instant},
};

use ::sled::{Batch, Config, Db};
use rustix::{fs::Mode, process::umask};

pub use self::compact::{CompactError, Compacted, compact};

use self::{
    blobs::Blobs,
    commit_log::{CommitLog, LAST_COMMIT},
    files::{
        LOCK_RETRY_INTERVAL, MARKER, PRIVATE_DIRECTORY, SLED_FILES, lock, make_private, marker,
        sync_names,
    },
    open_errors::{OpenErrorContext, is_lock},
};
use crate::store::{
    OpenError, OpenOptions,
    engine::{Changes, LocalEngine, Pair, Source},
    error::EngineError,
    open_options::FORMAT,
};

/// The text of the marker once the store has its keyring, around the number of its format.
const MARKER_TEXT: (&str, &str) = (
    "This directory is a store of menshen, format ",
    ". All of its files belong together.\n",
);
/// How often sled's own thread writes out and collects garbage.
const FLUSH_INTERVAL_MS: u64 = 500;
/// sled does not start with less.
const MIN_CACHE_BYTES: u64 = 1 << 20;
/// Below this free space no commit is tried: a write that fails half-way costs a restart, one that
/// is refused does not.
const MIN_FREE_BYTES: u64 = 4 << 20;

/// An open directory.
pub(in crate::store) struct SledEngine {
    path: PathBuf,
    initialized: bool,
    open: RwLock<Option<OpenFiles>>,
}

struct OpenFiles {
    /// Fields drop in this order: the lock on the marker goes last.
    db: Db,
    /// The file that sled writes its log to.
    log: File,
    blobs: Blobs,
    commits: CommitLog,
    marker: File,
}

impl SledEngine {
    /// Opens or makes the directory.
    pub(in crate::store) fn open(path: &Path, options: &OpenOptions) -> Result<Self, OpenError> {
        let deadline = Instant::now() + options.lock_wait;
        let context = OpenErrorContext {
            path,
            waited: options.lock_wait,
        };
        umask(Mode::RWXG | Mode::RWXO);
        DirBuilder::new()
            .recursive(true)
            .mode(PRIVATE_DIRECTORY)
            .create(path)
            .map_err(|error| context.not_writable(&error))?;
        let mut marker = marker(path, &context)?;
        lock(&marker, deadline, &context)?;
        let mut text = Vec::new();
        marker
            .read_to_end(&mut text)
            .map_err(|error| context.io(&error))?;
        let initialized = !text.is_empty();
        if initialized {
            match format_of(&text) {
                Some(FORMAT) => {}
                Some(found) => {
                    let place = format!("in {}", path.display());
                    return Err(OpenError::OtherFormat { place, found });
                }
                None => return Err(context.corrupt("it was made by another version of menshen")),
            }
        }
        if initialized && !SLED_FILES.iter().all(|name| path.join(name).exists()) {
            return Err(context.corrupt("some of its files are missing"));
        }
        let db = start(path, options.cache_bytes, deadline, &context)?;
        let log = File::options()
            .read(true)
            .write(true)
            .open(path.join("db"))
            .map_err(|error| context.io(&error))?;
        log.sync_all()
            .and_then(|()| sync_names(path))
            .map_err(|error| context.io(&error))?;
        let commits = CommitLog::open(path, &db, &context)?;
        make_private(path).map_err(|error| context.io(&error))?;
        let blobs = Blobs::new(path);
        let open = OpenFiles {
            db,
            log,
            blobs,
            commits,
            marker,
        };
        Ok(Self {
            path: path.to_owned(),
            initialized,
            open: RwLock::new(Some(open)),
        })
    }

    /// Data was committed here before, so there must be some.
    pub(in crate::store) fn is_initialized(&self) -> bool {
        self.initialized
    }

    /// Says in the marker that there is data from now on.
    pub(in crate::store) fn mark_initialized(&self) -> Result<(), OpenError> {
        let context = OpenErrorContext {
            path: &self.path,
            waited: Duration::ZERO,
        };
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        match open.as_ref() {
            Some(open) if !self.initialized => {
                let mut marker = &open.marker;
                let (before, after) = MARKER_TEXT;
                marker
                    .write_all(format!("{before}{FORMAT}{after}").as_bytes())
                    .and_then(|()| marker.sync_all())
                    .map_err(|error| context.io(&error))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn opened(&self) -> RwLockReadGuard<'_, Option<OpenFiles>> {
        self.open.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The number of the format in the text of a marker.
fn format_of(text: &[u8]) -> Option<u32> {
    let (before, after) = MARKER_TEXT;
    let text = str::from_utf8(text).ok()?;
    let number = text.strip_prefix(before)?.strip_suffix(after)?;
    number.parse().ok()
}

/// Whether there is a store with data in this directory.
pub(in crate::store) fn has_data(directory: &Path) -> bool {
    fs::metadata(directory.join(MARKER)).is_ok_and(|marker| marker.len() > 0)
}

impl Source for SledEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        let open = self.opened();
        let found = open
            .as_ref()
            .ok_or(EngineError::Closed)?
            .db
            .get(key)
            .map_err(|error| fault(&error))?;
        Ok(found.map(|value| value.to_vec()))
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, EngineError> {
        use std::ops::Bound;
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            Some(_) | None => Bound::Included(prefix),
        };
        let open = self.opened();
        let db = &open.as_ref().ok_or(EngineError::Closed)?.db;
        let mut pairs = Vec::new();
        for pair in db.range::<&[u8], _>((start, Bound::Unbounded)) {
            let (key, value) = pair.map_err(|error| fault(&error))?;
            if pairs.len() >= limit || !key.starts_with(prefix) {
                break;
            }
            // The engine's own key.
            if key != LAST_COMMIT {
                pairs.push((key.to_vec(), value.to_vec()));
            }
        }
        Ok(pairs)
    }
}

impl LocalEngine for SledEngine {
    fn name(&self) -> &'static str {
        "sled"
    }

    fn reads_inline(&self) -> bool {
        false
    }

    fn commit(&self, changes: &Changes) -> Result<(), EngineError> {
        self.ready()?;
        let mut batch = Batch::default();
        for (key, change) in changes {
            match change {
                Some(value) => batch.insert(key.as_slice(), value.as_slice()),
                None => batch.remove(key.as_slice()),
            }
        }
        let open = self.opened();
        let open = open.as_ref().ok_or(EngineError::Closed)?;
        let number = open.commits.next();
        batch.insert(LAST_COMMIT, &number.to_be_bytes());
        open.db.apply_batch(batch).map_err(|error| fault(&error))?;
        open.db.flush().map_err(|error| fault(&error))?;
        open.blobs
            .sync()
            .and_then(|()| open.log.sync_data())
            .map_err(|error| EngineError::Fault(error.to_string()))?;
        open.commits.done(number);
        Ok(())
    }

    fn ready(&self) -> Result<(), EngineError> {
        let disk = rustix::fs::statvfs(&self.path)
            .map_err(|error| EngineError::Fault(error.to_string()))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free < MIN_FREE_BYTES {
            Err(EngineError::Refused("the disk is full"))
        } else {
            Ok(())
        }
    }

    fn size_bytes(&self) -> Result<u64, EngineError> {
        self.opened()
            .as_ref()
            .ok_or(EngineError::Closed)?
            .db
            .size_on_disk()
            .map_err(|error| fault(&error))
    }

    fn close(&self) -> Result<(), EngineError> {
        let Some(OpenFiles {
            db,
            log,
            blobs,
            commits,
            marker,
        }) = self
            .open
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        else {
            return Ok(());
        };
        // sled's last flush panics when it fails, and it is a copy of what has been committed
        // already.
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(db)));
        let synced = blobs.sync().and_then(|()| log.sync_all());
        drop((commits, marker));
        match (dropped, synced) {
            (Ok(()), Ok(())) => Ok(()),
            (Err(_), _) => Err(EngineError::Fault(
                "sled failed while it was closed".to_owned(),
            )),
            (Ok(()), Err(error)) => Err(EngineError::Fault(error.to_string())),
        }
    }
}

/// Starts sled. It holds a lock of its own, which a store that was closed just now may still have
/// for a moment.
fn start(
    path: &Path,
    cache_bytes: u64,
    deadline: Instant,
    context: &OpenErrorContext<'_>,
) -> Result<Db, OpenError> {
    loop {
        let config = Config::new()
            .path(path)
            .cache_capacity(cache_bytes.max(MIN_CACHE_BYTES))
            .flush_every_ms(Some(FLUSH_INTERVAL_MS));
        // On some kinds of damage sled panics.
        let opened = catch_unwind(AssertUnwindSafe(|| config.open()));
        match opened {
            Ok(Ok(db)) => return Ok(db),
            Ok(Err(error)) if is_lock(&error) && Instant::now() < deadline => {
                std::thread::sleep(LOCK_RETRY_INTERVAL);
            }
            Ok(Err(error)) => return Err(context.sled(&error)),
            Err(_) => return Err(context.corrupt("sled panicked while it was reading")),
        }
    }
}

fn fault(error: &::sled::Error) -> EngineError {
    EngineError::Fault(error.to_string())
}
