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

/// Adds to the read set of an attempt what refuses it once its call has been answered by another one,
/// and says which record that is: one that is there and that it changes, because no version comes
/// again, or else `ended`, where it will be written that the call is over. Absence alone would not do:
/// others may make a record meanwhile and remove it. `None` where it changes nothing that it has read:
/// then it may happen twice.
pub(super) fn guard(commit: &mut Commit, ended: Vec<u8>) -> Option<Vec<u8>> {
    let read = |key| Some((key, *commit.reads.get(key)?));
    let changed: Vec<_> = commit.changes.keys().filter_map(read).collect();
    let is_there = |(_, version): &&(_, Version)| *version != Version::ABSENT;
    if let Some((key, _)) = changed.iter().find(is_there) {
        return Some(Vec::clone(key));
    }
    if changed.is_empty() {
        return None;
    }
    commit.reads.insert(ended.clone(), Version::ABSENT);
    Some(ended)
}

/// An attempt whose commit may have happened, or may yet happen.
pub(super) struct LostAttempt {
    /// The whole of it.
    pub(super) commit: Commit,
    /// See [`guard`].
    pub(super) guard: Option<Vec<u8>>,
    pub(super) log: LoggedEntries,
    pub(super) outcome: Outcome,
}

impl LostAttempt {
    /// The keys whose versions say whether it has happened.
    fn written(&self) -> impl Iterator<Item = &Vec<u8>> {
        let put = |(key, value): (_, &Option<_>)| value.as_ref().map(|_| key);
        self.commit.changes.iter().filter_map(put)
    }

    /// The keys that the next attempt has to fetch because of this one.
    pub(super) fn keys(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.written().chain(&self.guard)
    }

    /// Whether it has happened; `false` as well where others have overwritten all of it.
    pub(super) fn has_happened(&self, fetched: &Fetched) -> bool {
        let mut versions = self.written().map(|key| fetched.version(key));
        versions.any(|version| version == Some(self.commit.version))
    }

    /// Adds to the commit of a later attempt that this one does not happen: not until then, and never
    /// after it. `ended` says that the call is over, at the key where that belongs.
    pub(super) fn prevent(
        &self,
        fetched: &Fetched,
        reads: &mut BTreeMap<Vec<u8>, Version>,
        changes: &mut Changes,
        ended: impl FnOnce(&[u8]) -> Result<Vec<u8>, EngineError>,
    ) -> Result<(), EngineError> {
        let versions = self.keys().map(|key| (key, fetched.version(key)));
        reads.extend(versions.filter_map(|(key, version)| Some((key.clone(), version?))));
        let Some(guard) = &self.guard else {
            return Ok(());
        };
        let is_as_read = fetched.version(guard) == self.commit.reads.get(guard).copied();
        if is_as_read && !changes.contains_key(guard) {
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
