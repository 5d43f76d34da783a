//! The mark of an import that is not finished, on a store that many processes share.
//!
//! It lies in the keyring, which every operation reads and every commit compares. So while a store is
//! being filled, and after an import that broke off, no process uses it, not even one that runs
//! since before the import.

use serde::{Deserialize, Serialize};

use crate::types::Timestamp;

/// An import that is not finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ImportMark {
    /// Random: of the process that fills the store, or empties it again. No other one writes.
    pub(super) id: u64,
    /// When it began, by the engine's clock.
    pub(super) since: Timestamp,
    /// Whether the records in the store are those of the import. Before that the store is being
    /// searched for records of others, and holds none of the import.
    pub(super) has_records: bool,
    /// Changes with each commit of the import, so that none happens twice.
    pub(super) commits: u64,
}

impl ImportMark {
    pub(super) const fn new(id: u64, since: Timestamp) -> Self {
        Self {
            id,
            since,
            has_records: false,
            commits: 0,
        }
    }

    /// The mark after one more commit.
    pub(super) const fn next(self) -> Self {
        Self {
            commits: self.commits.wrapping_add(1),
            ..self
        }
    }
}

/// What an operator is told of a store that is marked.
pub(super) fn describe_unfinished(since: Timestamp) -> String {
    format!(
        "an import into it began at {} and is not finished, so no menshen uses it. If the import still runs, wait for its end; if \
         it broke off, run `menshen store discard-import`, and import again",
        since.rfc3339()
    )
}
