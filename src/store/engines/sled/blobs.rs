//! The files that sled makes beside its log.

use std::{
    fs::{self, File},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

/// sled puts messages over an eighth of a MiB into files of their own and never syncs them. Our
/// records are smaller, but a page of many can grow so far, so new files are looked for at each
/// commit.
pub(super) struct Blobs {
    directory: PathBuf,
    seen: Mutex<Option<SystemTime>>,
}

impl Blobs {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            directory: path.join("blobs"),
            seen: Mutex::new(None),
        }
    }

    /// Syncs the directory and all in it when an entry has come or gone.
    pub(super) fn sync(&self) -> io::Result<()> {
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
        let is_past_tick = SystemTime::now()
            .duration_since(changed)
            .is_ok_and(|age| age > Duration::from_secs(1));
        *seen = is_past_tick.then_some(changed);
        Ok(())
    }
}
