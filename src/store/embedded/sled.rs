//! sled, the engine with a disk. The only file that names the crate.
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

use std::{
    fs::{self, DirBuilder, File},
    io::{self, ErrorKind, Read, Write},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use ::sled::{Batch, Config, Db};
use rustix::{fs::Mode, process::umask};

use super::kv::{Changes, Kv, Pair};
use crate::store::{OpenError, OpenOptions, failure::Failure};

/// Our file in the directory: empty while the store is being made, then [`INITIALIZED`].
pub(super) const MARKER: &str = "menshen.store";
const INITIALIZED: &[u8] =
    b"This directory is a store of menshen, format 1. All of its files belong together.\n";
/// Our file with the number of the last commit, as text. Written when the commit is durable and
/// never synced: it may be behind the log, and only a log that has lost something is behind it.
pub(super) const COMMIT_LOG: &str = "menshen.commits";
/// The same number, inside the log.
const LAST_COMMIT: &[u8] = b"m/last_commit";
/// Files by which sled's directories are known.
const SLED_FILES: [&str; 2] = ["db", "conf"];
/// How often sled's own thread writes out and collects garbage.
const FLUSH_INTERVAL_MS: u64 = 500;
/// sled does not start with less.
const MIN_CACHE_BYTES: u64 = 1 << 20;
/// Below this free space no commit is tried: a write that fails half-way costs a restart, one that
/// is refused does not.
const MIN_FREE_BYTES: u64 = 4 << 20;
/// Modes of what is for its owner alone.
const PRIVATE_FILE: u32 = 0o600;
const PRIVATE_DIRECTORY: u32 = 0o700;
/// How long to wait between two tries for a lock.
const LOCK_RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// An open directory.
pub(super) struct SledKv {
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

impl SledKv {
    /// Opens or makes the directory.
    pub(super) fn open(path: &Path, options: &OpenOptions) -> Result<Self, OpenError> {
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
        let initialized = match text.as_slice() {
            b"" => false,
            INITIALIZED => true,
            _ => return Err(context.corrupt("it was made by another version of menshen")),
        };
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
    pub(super) fn is_settled(&self) -> bool {
        self.initialized
    }

    /// Says in the marker that there is data from now on.
    pub(super) fn mark_initialized(&self) -> Result<(), OpenError> {
        let context = OpenErrorContext {
            path: &self.path,
            waited: Duration::ZERO,
        };
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        match open.as_ref() {
            Some(open) if !self.initialized => {
                let mut marker = &open.marker;
                marker
                    .write_all(INITIALIZED)
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

/// Whether there is a store with data in this directory.
pub(in crate::store) fn has_data(directory: &Path) -> bool {
    fs::metadata(directory.join(MARKER)).is_ok_and(|marker| marker.len() > 0)
}

impl Kv for SledKv {
    fn name(&self) -> &'static str {
        "sled"
    }

    fn reads_inline(&self) -> bool {
        false
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Failure> {
        let open = self.opened();
        let found = open
            .as_ref()
            .ok_or(Failure::Closed)?
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
    ) -> Result<Vec<Pair>, Failure> {
        use std::ops::Bound;
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            Some(_) | None => Bound::Included(prefix),
        };
        let open = self.opened();
        let db = &open.as_ref().ok_or(Failure::Closed)?.db;
        let mut pairs = Vec::new();
        for pair in db.range::<&[u8], _>((start, Bound::Unbounded)) {
            let (key, value) = pair.map_err(|error| fault(&error))?;
            if pairs.len() >= limit || !key.starts_with(prefix) {
                break;
            }
            // The engine's own, and nobody else's business.
            if key != LAST_COMMIT {
                pairs.push((key.to_vec(), value.to_vec()));
            }
        }
        Ok(pairs)
    }

    fn commit(&self, changes: &Changes) -> Result<(), Failure> {
        self.ready()?;
        let mut batch = Batch::default();
        for (key, change) in changes {
            match change {
                Some(value) => batch.insert(key.as_slice(), value.as_slice()),
                None => batch.remove(key.as_slice()),
            }
        }
        let open = self.opened();
        let open = open.as_ref().ok_or(Failure::Closed)?;
        let number = open.commits.next();
        batch.insert(LAST_COMMIT, &number.to_be_bytes());
        open.db.apply_batch(batch).map_err(|error| fault(&error))?;
        open.db.flush().map_err(|error| fault(&error))?;
        open.blobs
            .sync()
            .and_then(|()| open.log.sync_data())
            .map_err(|error| Failure::Fault(error.to_string()))?;
        open.commits.done(number);
        Ok(())
    }

    fn ready(&self) -> Result<(), Failure> {
        let disk =
            rustix::fs::statvfs(&self.path).map_err(|error| Failure::Fault(error.to_string()))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free < MIN_FREE_BYTES {
            Err(Failure::Refused("the disk is full"))
        } else {
            Ok(())
        }
    }

    fn size_bytes(&self) -> Result<u64, Failure> {
        self.opened()
            .as_ref()
            .ok_or(Failure::Closed)?
            .db
            .size_on_disk()
            .map_err(|error| fault(&error))
    }

    fn close(&self) -> Result<(), Failure> {
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
            (Err(_), _) => Err(Failure::Fault("sled failed while it was closed".to_owned())),
            (Ok(()), Err(error)) => Err(Failure::Fault(error.to_string())),
        }
    }
}

/// Counts commits, inside the log and beside it.
struct CommitLog {
    file: File,
    last: AtomicU64,
}

impl CommitLog {
    /// Refuses a log that ends before what was acknowledged.
    fn open(path: &Path, db: &Db, context: &OpenErrorContext<'_>) -> Result<Self, OpenError> {
        let name = path.join(COMMIT_LOG);
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(PRIVATE_FILE)
            .open(name)
            .map_err(|error| context.io(&error))?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)
            .map_err(|error| context.io(&error))?;
        // After power loss it may be empty or torn. Then it knows nothing, which is no sign of
        // damage.
        let acknowledged: u64 = str::from_utf8(&text)
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or_default();
        let found = db.get(LAST_COMMIT).map_err(|error| context.sled(&error))?;
        let last = found
            .and_then(|bytes| bytes.as_ref().try_into().ok())
            .map_or(0, u64::from_be_bytes);
        if last < acknowledged {
            let missing = acknowledged - last;
            return Err(context.corrupt(&format!(
                "its last {missing} commits were acknowledged and are gone, so logins are lost and revoked sessions would live \
                 again (to accept that, delete {COMMIT_LOG} in it)"
            )));
        }
        Ok(Self {
            file,
            last: AtomicU64::new(last),
        })
    }

    fn next(&self) -> u64 {
        self.last.load(Ordering::Relaxed).saturating_add(1)
    }

    /// Notes that a commit is durable. A note that cannot be written leaves the file behind, which
    /// is harmless.
    fn done(&self, number: u64) {
        self.last.store(number, Ordering::Relaxed);
        drop(
            self.file
                .write_all_at(format!("{number:020}\n").as_bytes(), 0),
        );
    }
}

/// sled puts messages over an eighth of a MiB into files of their own and never syncs them. Our
/// records are smaller, but a page of many can grow so far, so new files are looked for at each
/// commit.
struct Blobs {
    directory: PathBuf,
    seen: Mutex<Option<SystemTime>>,
}

impl Blobs {
    fn new(path: &Path) -> Self {
        Self {
            directory: path.join("blobs"),
            seen: Mutex::new(None),
        }
    }

    /// Syncs the directory and all in it when an entry has come or gone.
    fn sync(&self) -> io::Result<()> {
        let changed = fs::metadata(&self.directory)?.modified()?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == Some(changed) {
            return Ok(());
        }
        for entry in fs::read_dir(&self.directory)? {
            match File::open(entry?.path()) {
                Ok(blob) => blob.sync_all()?,
                // Collected as garbage meanwhile.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        File::open(&self.directory)?.sync_all()?;
        // The clock of files is coarse: what comes within the same tick would look seen.
        let is_settled = SystemTime::now()
            .duration_since(changed)
            .is_ok_and(|age| age > Duration::from_secs(1));
        *seen = is_settled.then_some(changed);
        Ok(())
    }
}

/// The marker, made only where no other store of sled is: that one would be somebody else's.
fn marker(path: &Path, context: &OpenErrorContext<'_>) -> Result<File, OpenError> {
    let file = path.join(MARKER);
    let is_strange = !file.exists() && SLED_FILES.iter().any(|name| path.join(name).exists());
    if is_strange {
        return Err(context.corrupt("it holds files that are not menshen's"));
    }
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(PRIVATE_FILE)
        .open(file)
        .map_err(|error| context.not_writable(&error))
}

/// Takes the store's files from everybody but their owner: an older version, or a copy with `cp`,
/// may have left them readable. The directory itself stays as it is where it was there before: its
/// mode may be meant so.
fn make_private(directory: &Path) -> io::Result<()> {
    let is_ours = |name: &str| {
        SLED_FILES.contains(&name)
            || name == "blobs"
            || ["snap.", "menshen."]
                .iter()
                .any(|start| name.starts_with(start))
    };
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        // A link leads to a file that is not the store's.
        if !entry.file_name().to_str().is_some_and(is_ours) || entry.file_type()?.is_symlink() {
            continue;
        }
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            for blob in fs::read_dir(&path)? {
                let blob = blob?;
                if !blob.file_type()?.is_symlink() {
                    restrict_mode(&blob.path(), PRIVATE_FILE)?;
                }
            }
            restrict_mode(&path, PRIVATE_DIRECTORY)?;
        } else {
            restrict_mode(&path, PRIVATE_FILE)?;
        }
    }
    Ok(())
}

fn restrict_mode(path: &Path, mode: u32) -> io::Result<()> {
    let set = || match fs::metadata(path)?.permissions().mode() & 0o077 {
        0 => Ok(()),
        _ => fs::set_permissions(path, fs::Permissions::from_mode(mode)),
    };
    match set() {
        // Collected as garbage meanwhile, or another user's who lets us write: `menshen doctor`
        // tells of that.
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::PermissionDenied | ErrorKind::NotFound
            ) =>
        {
            Ok(())
        }
        set => set,
    }
}

/// Takes the lock that tells processes apart, waiting until the deadline.
fn lock(marker: &File, deadline: Instant, context: &OpenErrorContext<'_>) -> Result<(), OpenError> {
    loop {
        match marker.try_lock() {
            Ok(()) => return Ok(()),
            Err(fs::TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(LOCK_RETRY_INTERVAL)
            }
            Err(fs::TryLockError::WouldBlock) => return Err(context.locked()),
            Err(fs::TryLockError::Error(error)) => return Err(context.io(&error)),
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
                std::thread::sleep(LOCK_RETRY_INTERVAL)
            }
            Ok(Err(error)) => return Err(context.sled(&error)),
            Err(_) => return Err(context.corrupt("sled panicked while it was reading")),
        }
    }
}

/// sled has no variant for it; the text is its contract in 0.34.7, to which we are pinned.
fn is_lock(error: &::sled::Error) -> bool {
    matches!(error, ::sled::Error::Io(error) if error.to_string().starts_with("could not acquire lock"))
}

/// Makes the names of the files durable, and that of the directory itself.
fn sync_names(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()?;
    let path = path.canonicalize()?;
    path.parent()
        .map_or(Ok(()), |parent| match File::open(parent) {
            Ok(parent) => parent.sync_all(),
            // Not ours to read; then the directory was there before us.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
            Err(error) => Err(error),
        })
}

fn fault(error: &::sled::Error) -> Failure {
    Failure::Fault(error.to_string())
}

/// Turns what went wrong while opening into what a person is told.
struct OpenErrorContext<'a> {
    path: &'a Path,
    waited: Duration,
}

impl OpenErrorContext<'_> {
    fn locked(&self) -> OpenError {
        OpenError::Locked {
            path: self.path.to_owned(),
            waited: self.waited,
        }
    }

    fn not_writable(&self, error: &io::Error) -> OpenError {
        OpenError::NotWritable {
            path: self.path.to_owned(),
            why: error.to_string(),
        }
    }

    fn corrupt(&self, why: &str) -> OpenError {
        OpenError::Corrupt {
            path: self.path.to_owned(),
            why: why.to_owned(),
        }
    }

    fn io(&self, error: &io::Error) -> OpenError {
        match error.kind() {
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => self.not_writable(error),
            ErrorKind::UnexpectedEof | ErrorKind::InvalidData => self.corrupt(&error.to_string()),
            _ => OpenError::Io {
                path: self.path.to_owned(),
                why: error.to_string(),
            },
        }
    }

    fn sled(&self, error: &::sled::Error) -> OpenError {
        use ::sled::Error::{CollectionNotFound, Corruption, Io, ReportableBug, Unsupported};
        match error {
            error if is_lock(error) => self.locked(),
            Io(error) => self.io(error),
            CollectionNotFound(_) | Corruption { .. } | ReportableBug(_) | Unsupported(_) => {
                self.corrupt(&error.to_string())
            }
        }
    }
}
