//! Statements as text. Bytes are written in hex, so that they need no escaping, whatever the server's
//! mode and character set.

use std::{collections::BTreeSet, fmt::Write as _};

use crate::{
    crypto::sha256,
    store::{
        engine::{Commit, FENCE, Version},
        engines::database::prefix_end,
    },
};

/// The server's clock in milliseconds since the epoch, when the statement began.
const CLOCK: &str = "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(3)) DIV 1000";

/// Whether the server takes writes. A role may have the privilege to write in spite of `read_only`, so
/// every commit compares it too. The two are numbers on some servers and words on others.
const IS_PRIMARY: &str =
    "CONCAT(@@GLOBAL.read_only) IN ('0', 'OFF') AND CONCAT(@@innodb_read_only) IN ('0', 'OFF')";

/// Whether the server keeps what it acknowledges in a crash.
const IS_DURABLE: &str = "@@GLOBAL.innodb_flush_log_at_trx_commit = 1 AND (@@GLOBAL.log_bin = 0 OR @@GLOBAL.sync_binlog = 1)";

/// Slots that are locked for keys, from 1 on. Slot 0 is the fence's.
pub(super) const KEY_SLOTS: u16 = 4096;
/// Most slots that one commit locks. One of more locks the fence's exclusively instead, which all
/// others share.
const MAX_SLOTS: usize = 256;

/// Statements that are sent together, in one text. The server carries them out in turn and stops at
/// the first that fails.
pub(super) struct Batch {
    pub(super) text: String,
    /// How many statements there are.
    pub(super) count: usize,
}

impl Batch {
    pub(super) fn new(statement: impl Into<String>) -> Self {
        Self {
            text: statement.into(),
            count: 1,
        }
    }

    pub(super) fn then(mut self, statement: &str) -> Self {
        self.text.push(';');
        self.text.push_str(statement);
        self.count += 1;
        self
    }
}

/// What makes a connection ready; its row: whether the server takes writes, and the most bytes of a
/// text that it takes. The comment is one to MySQL, and a part of the statement to MariaDB.
pub(super) fn set_up() -> Batch {
    Batch::new(
        "SET SESSION autocommit = 1, sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', \
         sql_safe_updates = 0, innodb_lock_wait_timeout = 2 /*M! , max_statement_time = 0 */",
    )
    .then("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE")
    .then(&format!("SELECT {IS_PRIMARY}, @@max_allowed_packet"))
}

/// One row: whether the server takes writes, and whether it keeps them in a crash.
pub(super) fn is_ready() -> Batch {
    Batch::new(format!("SELECT {IS_PRIMARY}, {IS_DURABLE}"))
}

/// One row: the bytes of the table of records.
pub(super) fn size() -> Batch {
    Batch::new(
        "SELECT data_length + index_length FROM information_schema.tables \
         WHERE table_schema = DATABASE() AND table_name = 'menshen_records'",
    )
}

/// A transaction that sees the moment when it begins.
pub(super) fn snapshot() -> Batch {
    Batch::new("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        .then("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
}

/// The server's clock as a row without a key, in UTC, because local time is ambiguous for an hour of
/// the year, with a value where the server takes no writes: what it has may be old; then records with their values, and others without. It is one statement, so all of it is
/// of one moment.
pub(super) fn read(values: &[Vec<u8>], versions: &[Vec<u8>]) -> Batch {
    let select = |value: &str, keys: &[Vec<u8>]| {
        format!(
            "SELECT record_key, version, {value} FROM menshen_records FORCE INDEX (PRIMARY) WHERE record_key IN ({})",
            list(keys)
        )
    };
    let mut text = format!(
        "SELECT NULL AS record_key, {CLOCK} AS version, IF({IS_PRIMARY}, NULL, '') AS value"
    );
    if !values.is_empty() {
        text = text + " UNION ALL " + &select("value", values);
    }
    if !versions.is_empty() {
        text = text + " UNION ALL " + &select("NULL", versions);
    }
    Batch::new(text)
}

/// Records whose key begins with `prefix` and is after `after`, in order, at most `limit`; and the row
/// without a key where the server takes no writes.
pub(super) fn scan(prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Batch {
    let mut text = format!(
        "(SELECT record_key, version, value FROM menshen_records WHERE record_key >= {}",
        literal(prefix)
    );
    // Writing to a String does not fail.
    if let Some(end) = prefix_end(prefix) {
        let _ = write!(text, " AND record_key < {}", literal(&end));
    }
    if let Some(after) = after {
        let _ = write!(text, " AND record_key > {}", literal(after));
    }
    let _ = write!(
        text,
        " ORDER BY record_key LIMIT {limit}) UNION ALL SELECT NULL, 0, '' FROM DUAL WHERE NOT ({IS_PRIMARY})"
    );
    Batch::new(text)
}

/// A commit: locks on slots, then a comparison of versions, then changes. Its row: whether it happened,
/// whether the server takes writes, and whether it keeps them in a crash.
pub(super) fn commit(commit: &Commit) -> Batch {
    let mut batch = Batch::new("START TRANSACTION");
    for lock in locks(commit) {
        batch = batch.then(&lock);
    }
    batch = batch.then(&comparison(commit));
    for (key, value) in &commit.changes {
        if let Some(value) = value {
            batch = batch.then(&insertion(key, value, commit.version));
        }
    }
    let removed: Vec<_> = commit
        .changes
        .iter()
        .filter(|(_, value)| value.is_none())
        .map(|(key, _)| key)
        .collect();
    if !removed.is_empty() {
        // Of these two forms of DELETE only this one may name the index. Without it, a scan of the
        // whole table waits for locks of others.
        batch = batch.then(&format!(
            "DELETE menshen_records FROM menshen_records FORCE INDEX (PRIMARY) WHERE @menshen_ok AND record_key IN ({})",
            list(removed)
        ));
    }
    batch
        .then("COMMIT")
        .then(&format!("SELECT @menshen_ok, {IS_PRIMARY}, {IS_DURABLE}"))
}

/// Of a batch that [`commit`] made: which of its statements, from 0 on, is the COMMIT.
pub(super) const fn commit_index(batch: &Batch) -> usize {
    batch.count - 2
}

/// The statements that lock: the fence's slot, shared unless the fence is written, then those of all
/// other keys, absent ones too, in the order of all commits, so that no two wait for each other.
fn locks(commit: &Commit) -> Vec<String> {
    let slots: BTreeSet<u16> = commit
        .reads
        .keys()
        .chain(commit.changes.keys())
        .filter(|key| *key != FENCE)
        .map(|key| slot_of(key))
        .collect();
    let select = "SELECT id FROM menshen_slots FORCE INDEX (PRIMARY) WHERE id";
    if slots.len() > MAX_SLOTS {
        return vec![format!("{select} = 0 FOR UPDATE")];
    }
    let fence_lock = if commit.changes.contains_key(FENCE) {
        "FOR UPDATE"
    } else {
        "LOCK IN SHARE MODE"
    };
    let mut statements = vec![format!("{select} = 0 {fence_lock}")];
    if !slots.is_empty() {
        let slots: Vec<_> = slots.iter().map(u16::to_string).collect();
        let slots = slots.join(",");
        statements.push(format!("{select} IN ({slots}) ORDER BY id FOR UPDATE"));
    }
    statements
}

/// The slot of a key: a hash. Two keys that share one wait for each other, no more.
pub(super) fn slot_of(key: &[u8]) -> u16 {
    let hash = sha256(key);
    1 + u16::from_be_bytes([hash[0], hash[1]]) % KEY_SLOTS
}

/// Sets `@menshen_ok`: of the keys that were read exactly those are there that were, in their versions,
/// it is not too late, and the server takes writes and keeps them. There is always a key, the fence.
fn comparison(commit: &Commit) -> String {
    let present: Vec<_> = commit
        .reads
        .iter()
        .filter(|(_, version)| **version != Version::ABSENT)
        .map(|(key, version)| {
            format!(
                "(record_key = {} AND version = {})",
                literal(key),
                version.as_i64()
            )
        })
        .collect();
    let count = present.len();
    let same = if present.is_empty() {
        "0".to_owned()
    } else {
        present.join(" OR ")
    };
    format!(
        "SELECT COUNT(*) = {count} AND COALESCE(SUM({same}), 0) = {count} AND {CLOCK} <= {} AND {IS_PRIMARY} AND {IS_DURABLE} INTO @menshen_ok \
         FROM menshen_records FORCE INDEX (PRIMARY) WHERE record_key IN ({})",
        commit.not_after.as_millis(),
        list(commit.reads.keys())
    )
}

/// Puts one record. Several in one statement would pass through a temporary table, in which MariaDB
/// cuts a value of more than 65,535 bytes.
fn insertion(key: &[u8], value: &[u8], version: Version) -> String {
    format!(
        "INSERT INTO menshen_records (record_key, version, value) SELECT {}, {}, {} FROM DUAL WHERE @menshen_ok \
         ON DUPLICATE KEY UPDATE version = VALUES(version), value = VALUES(value)",
        literal(key),
        version.as_i64(),
        literal(value)
    )
}

fn list(keys: impl IntoIterator<Item = impl AsRef<[u8]>>) -> String {
    let keys: Vec<_> = keys.into_iter().map(|key| literal(key.as_ref())).collect();
    keys.join(",")
}

fn literal(bytes: &[u8]) -> String {
    format!("x'{}'", hex::encode(bytes))
}
