//! A commit as the function in the database takes it: locks, versions to compare, changes.

use std::collections::BTreeMap;

use tokio_postgres::types::{ToSql, Type};

use crate::{
    crypto::sha256,
    store::engine::{Commit, FENCE},
};

/// Most locks of one commit: the server's table of locks is finite (`max_locks_per_transaction`,
/// 64, times `max_connections`). A commit of more keys locks the fence exclusively instead, which
/// all others share.
const MAX_LOCKS: usize = 256;

/// The parameters of [`COMMIT`](super::schema::COMMIT).
pub(super) struct CommitCall<'a> {
    locks: Vec<i64>,
    exclusive: Vec<bool>,
    read_keys: Vec<&'a [u8]>,
    read_versions: Vec<i64>,
    written_keys: Vec<&'a [u8]>,
    written_values: Vec<Option<&'a [u8]>>,
    version: i64,
    /// Milliseconds since the epoch.
    not_after: i64,
}

impl<'a> CommitCall<'a> {
    pub(super) fn new(commit: &'a Commit) -> Self {
        let (locks, exclusive) = locks(commit).into_iter().unzip();
        let (read_keys, read_versions) = commit
            .reads
            .iter()
            .map(|(key, version)| (key.as_slice(), version.as_i64()))
            .unzip();
        let (written_keys, written_values) = commit
            .changes
            .iter()
            .map(|(key, value)| (key.as_slice(), value.as_deref()))
            .unzip();
        Self {
            locks,
            exclusive,
            read_keys,
            read_versions,
            written_keys,
            written_values,
            version: commit.version.as_i64(),
            not_after: i64::try_from(commit.not_after.as_millis()).unwrap_or(i64::MAX),
        }
    }

    pub(super) fn parameters(&self) -> [(&(dyn ToSql + Sync), Type); 8] {
        [
            (&self.locks, Type::INT8_ARRAY),
            (&self.exclusive, Type::BOOL_ARRAY),
            (&self.read_keys, Type::BYTEA_ARRAY),
            (&self.read_versions, Type::INT8_ARRAY),
            (&self.written_keys, Type::BYTEA_ARRAY),
            (&self.written_values, Type::BYTEA_ARRAY),
            (&self.version, Type::INT8),
            (&self.not_after, Type::INT8),
        ]
    }
}

/// The locks of a commit, each once and in the order of all commits, so that no two wait for each
/// other; `true`: exclusive, for what is written.
pub(super) fn locks(commit: &Commit) -> BTreeMap<i64, bool> {
    let mut locks = BTreeMap::new();
    for key in commit.reads.keys() {
        locks.entry(lock_of(key)).or_insert(false);
    }
    for key in commit.changes.keys() {
        locks.insert(lock_of(key), true);
    }
    if locks.len() > MAX_LOCKS {
        return BTreeMap::from([(lock_of(FENCE), true)]);
    }
    locks
}

/// The advisory lock of a key: 64 bits of a hash. Two keys that share one wait for each other, no
/// more.
pub(super) fn lock_of(key: &[u8]) -> i64 {
    let hash = sha256(key);
    let first = hash.first_chunk().copied().unwrap_or_default();
    i64::from_be_bytes(first)
}
