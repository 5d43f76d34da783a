//! A store on sled in a new, smaller directory: sled's files only grow.
//!
//! Pair by pair, as they are sealed, so nothing is lost and no key is needed. The new directory
//! takes the place of the old one in one step of the file system, when every pair has been
//! compared.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::{SledEngine, commit_log::COMMIT_LOG, files::MARKER, has_data};
use crate::store::{
    OpenError, OpenOptions, StoreError,
    engine::{Changes, LocalEngine, Pair, Source},
    error::EngineError,
};

/// Pairs of one commit.
const PAGE_SIZE: usize = 2000;

/// What a compaction did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compacted {
    pub pairs: u64,
    /// Bytes of all files, before and after.
    pub before: u64,
    pub after: u64,
}

/// Why a store was not compacted. It is as it was.
#[derive(Debug, thiserror::Error)]
pub enum CompactError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("there is no store in {0}")]
    NoStore(PathBuf),
    #[error(
        "{0} is there: another compaction is under way, or was broken off. Delete it if none is"
    )]
    InTheWay(PathBuf),
    #[error("the copy differs from the store: nothing was changed")]
    Differs,
    #[error("somebody has used the store meanwhile: nothing was changed")]
    Used,
    #[error("this file system cannot exchange two directories in one step: {0}")]
    NoExchange(io::Error),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Compacts the store in a directory that no process uses. `progress` hears how many pairs have
/// been copied.
pub fn compact(
    path: &Path,
    options: &OpenOptions,
    mut progress: impl FnMut(u64),
) -> Result<Compacted, CompactError> {
    if !has_data(path) {
        return Err(CompactError::NoStore(path.to_owned()));
    }
    let aside = PathBuf::from(format!("{}.compacting", path.display()));
    if aside.exists() {
        return Err(CompactError::InTheWay(aside));
    }
    let done = copy(path, &aside, options, &mut progress).and_then(|(pairs, commits)| {
        let (before, after) = (size(path)?, size(&aside)?);
        exchange(path, &aside, &commits)?;
        Ok(Compacted {
            pairs,
            before,
            after,
        })
    });
    // By now the old directory is there, or the copy that came to nothing; either was made or
    // replaced by us.
    if aside.exists() {
        fs::remove_dir_all(&aside)?;
    }
    done
}

/// Copies every pair and compares. Says how many, and the number of the last commit.
fn copy(
    path: &Path,
    aside: &Path,
    options: &OpenOptions,
    progress: &mut impl FnMut(u64),
) -> Result<(u64, Vec<u8>), CompactError> {
    let old = SledEngine::open(path, options)?;
    let new = SledEngine::open(aside, options)?;
    let mut pairs = 0;
    each_page(&old, |page| {
        let changes: Changes = page
            .iter()
            .cloned()
            .map(|(key, value)| (key, Some(value)))
            .collect();
        new.commit(&changes)?;
        pairs += page.len() as u64;
        progress(pairs);
        Ok(())
    })?;
    let mut same = true;
    let mut compared = 0;
    each_page(&old, |page| {
        for (key, value) in page {
            same &= new.get(key)?.as_ref() == Some(value);
        }
        compared += page.len() as u64;
        Ok(())
    })?;
    let mut copied = 0;
    each_page(&new, |page| {
        copied += page.len() as u64;
        Ok(())
    })?;
    new.mark_initialized()?;
    new.close().map_err(StoreError::from)?;
    let commits = fs::read(path.join(COMMIT_LOG))?;
    old.close().map_err(StoreError::from)?;
    if same && compared == pairs && copied == pairs {
        Ok((pairs, commits))
    } else {
        Err(CompactError::Differs)
    }
}

fn each_page(
    engine: &SledEngine,
    mut visit: impl FnMut(&[Pair]) -> Result<(), EngineError>,
) -> Result<(), StoreError> {
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = engine.scan(b"", after.as_deref(), PAGE_SIZE)?;
        let Some((last, _)) = page.last() else {
            return Ok(());
        };
        let last = last.clone();
        visit(&page)?;
        after = Some(last);
    }
}

/// Puts the copy in the place of the store, unless it was written to since it was copied.
fn exchange(path: &Path, aside: &Path, commits: &[u8]) -> Result<(), CompactError> {
    let marker = File::options()
        .read(true)
        .write(true)
        .open(path.join(MARKER))?;
    marker.try_lock().map_err(|_| CompactError::Used)?;
    if fs::read(path.join(COMMIT_LOG))? != commits {
        return Err(CompactError::Used);
    }
    renameat_with(CWD, aside, CWD, path, RenameFlags::EXCHANGE)
        .map_err(|error| CompactError::NoExchange(error.into()))?;
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    Ok(File::open(parent)?.sync_all()?)
}

fn size(directory: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() {
            size(&entry.path())?
        } else {
            metadata.len()
        };
    }
    Ok(bytes)
}
