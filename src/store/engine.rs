//! What an engine has to be: ordered bytes, and changes that happen whole or not at all. Nothing of
//! the domain.
//!
//! There are two kinds. A [`LocalEngine`] belongs to this process alone, so one thread runs the
//! operations in turn and commits for many callers at once. A [`SharedEngine`] is used by many
//! processes at once, so each operation says at its commit what it has read, and the engine commits
//! only where none of it has changed.

use std::{collections::BTreeMap, ops::Range};

use async_trait::async_trait;

use crate::{
    entropy::{Entropy, NoEntropy},
    store::error::EngineError,
    types::Timestamp,
};

/// A key and its value.
pub(in crate::store) type Pair = (Vec<u8>, Vec<u8>);

/// What a commit does: a value to put, or `None` to remove what is there.
pub(in crate::store) type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// The key of the wrapped keyring and the global epoch: the one record that is in the read set of
/// every commit and almost never written. A shared engine may give it a lock of its own, so that the
/// commits that only read it never wait for a record that happens to share its lock.
pub(in crate::store) const FENCE: &[u8] = b"m/fence";

/// Where bytes are read from: an engine of this process, a snapshot of one, or what was fetched
/// from a shared one.
pub(in crate::store) trait Source {
    /// The value at this key.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError>;

    /// Pairs whose key begins with `prefix` and is after `after`, in order, at most `limit`.
    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, EngineError>;

    /// The value at this key, which the reader does not rely on: it may change before the commit.
    fn peek(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        self.get(key)
    }

    /// Says that these keys are about to be read, so that they can be fetched together.
    fn want(&self, _keys: &[Vec<u8>]) {}

    /// The clock that all processes share. `None` where this process is alone, so that its own clock
    /// will do.
    fn shared_time(&self) -> Result<Option<Timestamp>, EngineError> {
        Ok(None)
    }

    /// How many numbers to take at once from a record that all processes share. 1 where this
    /// process is alone.
    fn block_size(&self) -> u64 {
        1
    }

    /// A number that this process took earlier and that nothing has used.
    fn take_number(&self, _pool: NumberPool) -> Option<u64> {
        None
    }

    /// Leaves numbers to later operations of this process, if this one is committed.
    fn leave_numbers(&self, _pool: NumberPool, _numbers: Range<u64>) {}
}

/// Numbers that come from one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct NumberPool {
    /// The key of the record.
    pub(in crate::store) key: &'static [u8],
    /// Numbers that were taken under another tag are void.
    pub(in crate::store) tag: u64,
    /// Lower ones are void.
    pub(in crate::store) at_least: u64,
}

/// Ordered bytes of this process alone. Many threads read, one writes.
pub(in crate::store) trait LocalEngine: Source + Send + Sync + 'static {
    /// The engine's name, as metrics have it.
    fn name(&self) -> &'static str;

    /// Reads never touch a disk, so they need no thread of their own.
    fn reads_inline(&self) -> bool;

    /// Makes all of the changes, or none. When it returns they survive power loss. Only the writer
    /// calls this.
    ///
    /// [`EngineError::Refused`] promises that nothing was changed; after any other failure the
    /// outcome is unknown.
    fn commit(&self, changes: &Changes) -> Result<(), EngineError>;

    /// Whether a commit would be tried: there is room, for one.
    fn ready(&self) -> Result<(), EngineError>;

    /// Bytes on disk; 0 in memory.
    fn size_bytes(&self) -> Result<u64, EngineError>;

    /// Releases files and locks. Every call after it is [`EngineError::Closed`].
    fn close(&self) -> Result<(), EngineError>;
}

/// The version of a record: the number of the commit attempt that wrote it. Random, so that a
/// record that is removed and made again never looks like the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Version(i64);

impl Version {
    /// The version of a record that is not there.
    pub(in crate::store) const ABSENT: Self = Self(0);

    /// The low bits of a version: which attempt of its call it is.
    const ATTEMPT_BITS: u32 = 8;

    /// The version of the first attempt of a new call: 55 random bits, and 1.
    pub(in crate::store) fn first(entropy: &Entropy) -> Result<Self, NoEntropy> {
        let random = u64::from_be_bytes(entropy.bytes()?) >> (Self::ATTEMPT_BITS + 1);
        let call = i64::try_from(random << Self::ATTEMPT_BITS).unwrap_or_default();
        Ok(Self(call | 1))
    }

    /// The version of the next attempt of the same call; `None` after 255.
    pub(in crate::store) const fn next(self) -> Option<Self> {
        let next = Self(self.0.wrapping_add(1));
        if next.0 & ((1 << Self::ATTEMPT_BITS) - 1) == 0 {
            None
        } else {
            Some(next)
        }
    }

    /// What all attempts of a call have in common, and no other call has.
    pub(in crate::store) const fn call(self) -> u64 {
        self.0.unsigned_abs() >> Self::ATTEMPT_BITS
    }

    /// From a column of the engine; 0 is [`Self::ABSENT`].
    pub(in crate::store) const fn from_i64(number: i64) -> Self {
        Self(number)
    }

    /// For a column of the engine: 0 or positive.
    pub(in crate::store) const fn as_i64(self) -> i64 {
        self.0
    }
}

/// A record as it was read: its version, and its value unless it is absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct Versioned {
    pub(in crate::store) version: Version,
    pub(in crate::store) value: Option<Vec<u8>>,
}

impl Versioned {
    /// No record.
    pub(in crate::store) const ABSENT: Self = Self {
        version: Version::ABSENT,
        value: None,
    };
}

/// What one read gives: all of it as it was at one moment.
#[derive(Debug)]
pub(in crate::store) struct ReadResult {
    /// Of the keys of `values`, in their order.
    pub(in crate::store) values: Vec<Versioned>,
    /// Of the keys of `versions`, in their order.
    pub(in crate::store) versions: Vec<Version>,
    /// The engine's clock while it read. It is one clock for all processes, so keys of the
    /// revocation log have their times from it.
    pub(in crate::store) time: Timestamp,
}

/// The connections of a pool, as they are now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionPool {
    pub in_use: usize,
    pub idle: usize,
    /// Calls that wait for a connection.
    pub waiting: usize,
}

/// Pairs of a scan, with their versions.
pub(in crate::store) type VersionedPairs = Vec<(Vec<u8>, Versioned)>;

/// One attempt to commit.
#[derive(Debug, Clone)]
pub(in crate::store) struct Commit {
    /// The version of everything that it writes.
    pub(in crate::store) version: Version,
    /// Every key that was read, with the version that it had, [`FENCE`] always among them.
    pub(in crate::store) reads: BTreeMap<Vec<u8>, Version>,
    /// What it changes. Keys that are not in `reads` are written whatever is there.
    pub(in crate::store) changes: Changes,
    /// On the engine's clock: after this it does not begin. So one that its caller gave up, and that
    /// the network still brings, does not add a line to the revocation log where no reader looks any
    /// more.
    pub(in crate::store) not_after: Timestamp,
}

/// What became of an attempt to commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum CommitOutcome {
    /// All of it happened, and survives a crash of the engine.
    Committed,
    /// Nothing happened: something that was read has another version, a lock was not to be had, or it
    /// came too late.
    Conflict,
    /// It may have happened, may not, and may yet happen: a time-out, a lost connection.
    Unknown,
}

/// Ordered, versioned bytes that many processes use at once.
///
/// An error means that nothing happened. It is [`EngineError::Refused`] where the engine cannot be
/// reached or does not take writes now, never [`EngineError::Fault`]: another try may succeed.
/// Reads may be repeated within the engine, for example on a new connection; commits never are.
#[async_trait]
pub(in crate::store) trait SharedEngine: Send + Sync + 'static {
    /// The engine's name, as metrics have it.
    fn name(&self) -> &'static str;

    /// Records at `values`, and the versions alone at `versions`, all as they are at one moment,
    /// so in one statement. No key is in both.
    async fn read(
        &self,
        values: &[Vec<u8>],
        versions: &[Vec<u8>],
    ) -> Result<ReadResult, EngineError>;

    /// Records whose key begins with `prefix` and is after `after`, in order, at most `limit`.
    async fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<VersionedPairs, EngineError>;

    /// Compares the versions of `reads`, absent ones too, and makes all `changes`, in one step
    /// that no other commit comes between. Never cancelled once it is under way.
    async fn commit(&self, commit: &Commit) -> Result<CommitOutcome, EngineError>;

    /// Everything as it is at one moment, for an export.
    async fn snapshot(&self) -> Result<Box<dyn SharedSnapshot>, EngineError>;

    /// Whether a commit would be tried.
    async fn ready(&self) -> Result<(), EngineError>;

    /// Bytes that the records take; 0 where that is not known.
    async fn size_bytes(&self) -> Result<u64, EngineError>;

    /// The pool of connections, where there is one.
    fn connections(&self) -> Option<ConnectionPool> {
        None
    }

    /// Tells the other processes that there is something new to read. They may not hear of it.
    async fn send_hint(&self) {}

    /// Whether hints of other processes arrive; `None`: not known, or the engine has none.
    fn hints_arrive(&self) -> Option<bool> {
        None
    }

    /// Waits until another process may have sent a hint. Never returns where the engine has none.
    async fn wait_for_hint(&self) {
        std::future::pending::<()>().await;
    }

    /// Gives connections back. Every call after it is [`EngineError::Closed`].
    async fn close(&self) -> Result<(), EngineError>;
}

/// A shared engine as it was at one moment.
#[async_trait]
pub(in crate::store) trait SharedSnapshot: Send + Sync + 'static {
    /// The value at this key.
    async fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError>;

    /// Pairs as in [`Source::scan`].
    async fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, EngineError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_a_call_differ_and_are_positive() {
        let first = Version::first(&Entropy::default()).unwrap();
        let mut seen = vec![first];
        while let Some(next) = seen.last().unwrap().next() {
            seen.push(next);
        }
        assert_eq!(seen.len(), 255);
        assert!(seen.iter().all(|version| version.0 > 0));
        let calls: std::collections::BTreeSet<_> =
            seen.iter().map(|version| version.call()).collect();
        assert_eq!(calls.len(), 1);
        let other = Version::first(&Entropy::default()).unwrap();
        assert_ne!(first.call(), other.call());
    }
}
