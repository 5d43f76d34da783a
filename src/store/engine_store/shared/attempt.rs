//! What the attempts of a call come to.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use super::{Fetched, operation::Outcome};
use crate::store::{
    RevocationEntry,
    engine::{Changes, Commit, Version},
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

/// A record in the read set of an attempt that refuses it once it has changed, for good: see [`guard`].
pub(super) type Guard = (Vec<u8>, Version);

/// Sees to it that an attempt has a guard, and says which: a record that is there and that it changes,
/// because no version comes again, or else `ended`, where it will be written that its call is over.
/// Absence alone would not do: others may make a record and remove it again. `None` where it changes
/// nothing that it has read: then it may happen twice.
pub(super) fn guard(commit: &mut Commit, ended: Vec<u8>) -> Option<Guard> {
    let mut depends = false;
    for key in commit.changes.keys() {
        match commit.reads.get(key) {
            Some(&Version::ABSENT) => depends = true,
            Some(version) => return Some((key.clone(), *version)),
            None => {}
        }
    }
    depends.then(|| {
        commit.reads.insert(ended.clone(), Version::ABSENT);
        (ended, Version::ABSENT)
    })
}

/// An attempt whose commit may have happened, or may yet happen.
pub(super) struct LostAttempt {
    pub(super) version: Version,
    pub(super) written: Vec<Vec<u8>>,
    pub(super) guard: Option<Guard>,
    pub(super) log: LoggedEntries,
    pub(super) outcome: Outcome,
}

impl LostAttempt {
    /// The keys that the next attempt has to fetch because of this one.
    pub(super) fn keys(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.written
            .iter()
            .chain(self.guard.iter().map(|(key, _)| key))
    }

    /// Whether it has happened; `false` as well where others have overwritten all of it.
    pub(super) fn has_happened(&self, fetched: &Fetched) -> bool {
        let mut versions = self.written.iter().map(|key| fetched.version(key));
        versions.any(|version| version == Some(self.version))
    }

    /// Adds to the commit of a later attempt that this one does not happen: not until then, and never
    /// after it. `ended` makes what says that a call is over.
    pub(super) fn prevent(
        &self,
        fetched: &Fetched,
        reads: &mut BTreeMap<Vec<u8>, Version>,
        changes: &mut Changes,
        ended: impl FnOnce(&[u8]) -> Result<Vec<u8>, EngineError>,
    ) -> Result<(), EngineError> {
        let Some((guard, read)) = &self.guard else {
            return Ok(());
        };
        for key in self.keys() {
            if let Some(version) = fetched.version(key) {
                // What was scanned as well keeps the version that the scan found.
                reads.entry(key.clone()).or_insert(version);
            }
        }
        if fetched.version(guard) == Some(*read) && !changes.contains_key(guard) {
            let same = fetched.value(guard).map(<[u8]>::to_vec);
            changes.insert(guard.clone(), Some(same.map_or_else(|| ended(guard), Ok)?));
        }
        Ok(())
    }
}

/// What an attempt came to.
pub(super) enum Attempt {
    /// It is committed, or had nothing to commit. With the entries whose lines came too late.
    Done(Outcome, Vec<RevocationEntry>),
    /// Something that it read has changed, or its commit got lost: begin anew. With the records
    /// that it would have changed.
    Again(Vec<Vec<u8>>),
}
