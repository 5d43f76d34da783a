//! Why an operation failed: as callers see it, and inside an engine, where it decides what follows
//! for the rest of the store.

use super::import_mark::describe_unfinished;
use crate::{entropy::NoEntropy, types::Timestamp};

/// Why the store could not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached, or refused to write (a full disk). Nothing was done, or the outcome is
    /// unknown: repeating is safe.
    #[error("store unavailable: {0}")]
    Unavailable(String),
    /// It failed in a way that this process cannot mend: nothing more is written until it is opened
    /// again. What was asked for may have happened or not; repeating after a restart is safe.
    #[error("store failed until a restart: {0}")]
    Failed(String),
    /// A record that cannot be read: damaged, or sealed with another key.
    #[error("store damaged: {0}")]
    Damaged(String),
    /// It has been closed.
    #[error("store closed")]
    Closed,
}

/// What went wrong inside an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum EngineError {
    /// The engine failed. Its state is unknown, so nothing more may be written until it is
    /// reopened.
    Fault(String),
    /// One record cannot be read. The others can.
    Damaged(String),
    /// Not done, and nothing changed. The store goes on.
    Refused(&'static str),
    /// An import began to fill the store then, and is not finished. Nothing changed.
    ImportUnfinished(Timestamp),
    /// Not an error of the engine: a record that an operation reads is not at hand yet. The runner
    /// fetches it and runs the operation again; no caller ever sees this.
    NotFetched,
    /// The store has been closed.
    Closed,
}

impl EngineError {
    /// Names the record by the kind it is of (the part of its key before `/`) and by its key, in which
    /// there are only our own ids, times and keyed hashes; never by what it holds.
    pub(super) fn damaged(at: &[u8], what: &str) -> Self {
        let kind = at.split(|byte| *byte == b'/').next().unwrap_or_default();
        let (kind, key) = (kind.escape_ascii(), hex::encode(at));
        Self::Damaged(format!("a record of kind '{kind}' {what} (key {key})"))
    }
}

impl From<NoEntropy> for EngineError {
    fn from(NoEntropy: NoEntropy) -> Self {
        Self::Refused("the operating system's random source failed")
    }
}

impl From<EngineError> for StoreError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Fault(why) => Self::Failed(why),
            EngineError::Damaged(why) => Self::Damaged(why),
            EngineError::Refused(why) => Self::Unavailable(why.to_owned()),
            EngineError::ImportUnfinished(since) => Self::Unavailable(describe_unfinished(since)),
            EngineError::NotFetched => Self::Unavailable("a record was not fetched".to_owned()),
            EngineError::Closed => Self::Closed,
        }
    }
}
