//! What the attempts of a call come to.

use std::time::Duration;

use tokio::time::Instant;

use super::operation::Outcome;
use crate::store::{
    RevocationEntry,
    engine::{Changes, Version},
    error::EngineError,
};

/// How long after its first read an attempt may commit. The engine begins none later, and a line of
/// the revocation log that becomes visible later is written again: it may be behind the window of
/// readers.
pub(super) const MAX_COMMIT_DELAY: Duration = Duration::from_secs(10);

/// What an operation came to over one view of the records.
pub(super) struct Evaluated {
    pub(super) outcome: Result<Outcome, EngineError>,
    pub(super) changes: Changes,
    pub(super) log: Vec<RevocationEntry>,
}

/// Entries that a commit adds to the revocation log, in lines with one time in their keys.
pub(super) struct LoggedEntries {
    pub(super) entries: Vec<RevocationEntry>,
    /// Not after the time in their keys, by the clock of this process.
    pub(super) since: Instant,
}

impl LoggedEntries {
    /// The entries, if it is too late for readers to find their lines.
    pub(super) fn if_late(self) -> Vec<RevocationEntry> {
        if self.since.elapsed() > MAX_COMMIT_DELAY {
            self.entries
        } else {
            Vec::new()
        }
    }
}

/// An attempt whose commit may have happened.
pub(super) struct LostAttempt {
    pub(super) version: Version,
    pub(super) written: Vec<Vec<u8>>,
    pub(super) log: LoggedEntries,
    pub(super) outcome: Outcome,
}

/// What an attempt came to.
pub(super) enum Attempt {
    /// It is committed, or had nothing to commit. With the entries whose lines came too late.
    Done(Outcome, Vec<RevocationEntry>),
    /// Something that it read has changed, or its commit got lost: begin anew. With the records
    /// that it would have changed.
    Again(Vec<Vec<u8>>),
}
