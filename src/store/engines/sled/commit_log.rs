//! The number of the last commit, inside sled's log and beside it: so a log that has lost its end
//! is noticed.

use std::{
    fs::File,
    io::Read,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use ::sled::Db;

use super::{files::PRIVATE_FILE, open_errors::OpenErrorContext};
use crate::store::OpenError;

/// Our file with the number of the last commit, as text. Written when the commit is durable and
/// never synced: it may be behind the log, and only a log that has lost something is behind it.
pub(in crate::store) const COMMIT_LOG: &str = "menshen.commits";
/// The same number, inside the log.
pub(super) const LAST_COMMIT: &[u8] = b"m/last_commit";

/// Counts commits, inside the log and beside it.
pub(super) struct CommitLog {
    file: File,
    last: AtomicU64,
}

impl CommitLog {
    /// Refuses a log that ends before what was acknowledged.
    pub(super) fn open(
        path: &Path,
        db: &Db,
        context: &OpenErrorContext<'_>,
    ) -> Result<Self, OpenError> {
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

    pub(super) fn next(&self) -> u64 {
        self.last.load(Ordering::Relaxed).saturating_add(1)
    }

    /// Notes that a commit is durable. A note that cannot be written leaves the file behind, which
    /// is harmless.
    pub(super) fn done(&self, number: u64) {
        self.last.store(number, Ordering::Relaxed);
        drop(
            self.file
                .write_all_at(format!("{number:020}\n").as_bytes(), 0),
        );
    }
}
