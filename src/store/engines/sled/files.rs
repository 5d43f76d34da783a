//! The files of a directory: whose they are, who may read them, and the lock on them.

use std::{
    fs::{self, File},
    io::{self, ErrorKind},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
    time::{Duration, Instant},
};

use super::open_errors::OpenErrorContext;
use crate::store::OpenError;

/// Our file in the directory: empty while the store is being made, then a text that says whose it
/// is.
pub(in crate::store) const MARKER: &str = "menshen.store";
/// Files by which sled's directories are known.
pub(super) const SLED_FILES: [&str; 2] = ["db", "conf"];
/// Modes of what is for its owner alone.
pub(super) const PRIVATE_FILE: u32 = 0o600;
pub(super) const PRIVATE_DIRECTORY: u32 = 0o700;
/// How long to wait between two tries for a lock.
pub(super) const LOCK_RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// The marker, made only where no other store of sled is: that one would belong to another program.
pub(super) fn marker(path: &Path, context: &OpenErrorContext<'_>) -> Result<File, OpenError> {
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
pub(super) fn make_private(directory: &Path) -> io::Result<()> {
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
pub(super) fn lock(
    marker: &File,
    deadline: Instant,
    context: &OpenErrorContext<'_>,
) -> Result<(), OpenError> {
    loop {
        match marker.try_lock() {
            Ok(()) => return Ok(()),
            Err(fs::TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(LOCK_RETRY_INTERVAL);
            }
            Err(fs::TryLockError::WouldBlock) => return Err(context.locked()),
            Err(fs::TryLockError::Error(error)) => return Err(context.io(&error)),
        }
    }
}

/// Makes the names of the files durable, and that of the directory itself.
pub(super) fn sync_names(path: &Path) -> io::Result<()> {
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
