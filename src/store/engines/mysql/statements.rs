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
/// every commit compares it too. It is a number on some servers and a word on others.
const IS_PRIMARY: &str = "CONCAT(@@GLOBAL.read_only) IN ('0', 'OFF')";

/// Whether the server can take writes at all: that cannot change while it runs.
const IS_WRITABLE: &str = "CONCAT(@@innodb_read_only) IN ('0', 'OFF')";

/// Whether the server keeps what it acknowledges in a crash.
const IS_DURABLE: &str = "@@GLOBAL.innodb_flush_log_at_trx_commit = 1 AND (@@GLOBAL.log_bin = 0 OR @@GLOBAL.sync_binlog = 1)";

/// Slots to lock; their ids begin with 1.
pub(super) const SLOTS: u16 = 4096;

/// Statements that are sent together, in one text. The server carries them out in turn and stops at
/// the first that fails.
pub(super) struct Batch {
    pub(super) text: String,
    /// How many statements there are.
    pub(super) count: usize,
    /// Which of them, from 0 on, has the rows that are asked for.
    pub(super) answer: usize,
}

impl Batch {
    pub(super) fn new(statement: impl Into<String>) -> Self {
        Self {
            text: statement.into(),
            count: 1,
            answer: 0,
        }
    }

    pub(super) fn then(mut self, statement: &str) -> Self {
        self.text.push(';');
        self.text.push_str(statement);
        self.count += 1;
        self
    }

    pub(super) fn then_answer(mut self, statement: &str) -> Self {
        self.answer = self.count;
        self.then(statement)
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
    .then_answer(&format!(
        "SELECT {IS_PRIMARY} AND {IS_WRITABLE}, @@max_allowed_packet"
    ))
}

/// One row: whether the server takes writes, and whether it keeps them in a crash.
pub(super) fn is_ready() -> Batch {
    Batch::new(format!("SELECT {IS_PRIMARY}, {IS_DURABLE}"))
}

/// Ends a transaction that is not to be committed; its row is that of [`is_ready`].
pub(super) fn roll_back() -> Batch {
    Batch::new("ROLLBACK").then_answer(&is_ready().text)
}

/// One row: the bytes of the table of records.
pub(super) fn size() -> Batch {
    Batch::new(
        "SELECT data_length + index_length FROM information_schema.tables \
         WHERE table_schema = DATABASE() AND table_name = 'menshen_records'",
    )
}

/// A transaction that sees the moment when it begins. One row: whether the server takes writes, so that
/// what it has is not old.
pub(super) fn snapshot() -> Batch {
    Batch::new("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        .then("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
        .then_answer(&format!("SELECT {IS_PRIMARY}"))
}

/// Records, of which those in `values` have their value. It is one statement, so all of it is of one
/// moment. Each row has the server's clock, and whether the server takes writes: where it does not,
/// what it has may be old.
pub(super) fn read(values: &[Vec<u8>], versions: &[Vec<u8>]) -> Batch {
    let value = if versions.is_empty() {
        "value".to_owned()
    } else if values.is_empty() {
        "NULL".to_owned()
    } else {
        format!("IF(record_key IN ({}), value, NULL)", list(values))
    };
    Batch::new(format!(
        "SELECT record_key, version, {value}, {CLOCK}, {IS_PRIMARY} FROM menshen_records FORCE INDEX (PRIMARY) WHERE record_key IN ({})",
        list(values.iter().chain(versions))
    ))
}

/// Records whose key begins with `prefix` and is after `after`, in order, at most `limit`.
pub(super) fn scan(prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Batch {
    let mut text = format!(
        "SELECT record_key, version, value, {CLOCK}, {IS_PRIMARY} FROM menshen_records WHERE record_key >= {}",
        literal(prefix)
    );
    // Writing to a String does not fail.
    if let Some(end) = prefix_end(prefix) {
        let _ = write!(text, " AND record_key < {}", literal(&end));
    }
    if let Some(after) = after {
        let _ = write!(text, " AND record_key > {}", literal(after));
    }
    let _ = write!(text, " ORDER BY record_key LIMIT {limit}");
    Batch::new(text)
}

/// A [`read`] or [`scan`] with one row more, without a record, so that something says what their rows
/// say where they find none. It costs the server a third more, and few reads find nothing.
pub(super) fn with_row_of_none(read: &Batch) -> Batch {
    let text = &read.text;
    Batch::new(format!(
        "({text}) UNION ALL SELECT NULL, NULL, NULL, {CLOCK}, {IS_PRIMARY}"
    ))
}

/// A commit: locks on slots, then a comparison of versions, which fails where something has changed
/// (`errors::is_changed`), then changes.
pub(super) fn commit(commit: &Commit) -> Batch {
    let mut batch = Batch::new("START TRANSACTION");
    if let Some(lock) = lock(commit) {
        batch = batch.then(&lock);
    }
    batch = batch.then(&comparison(commit));
    let changes = commit.changes.iter();
    let put = changes
        .clone()
        .filter_map(|(key, value)| Some((key, value.as_ref()?)));
    let rows: Vec<_> = put
        .map(|(key, value)| row(key, commit.version, value))
        .collect();
    if !rows.is_empty() {
        batch = batch.then(&insertion(&format!("VALUES {}", rows.join(","))));
    }
    let removed = changes.filter(|(_, value)| value.is_none());
    let removed: Vec<_> = removed.map(|(key, _)| key).collect();
    if !removed.is_empty() {
        batch = batch.then(&removal(&format!("record_key IN ({})", list(removed))));
    }
    batch.then("COMMIT")
}

/// Does all that commits do, locks and changes nothing, so that it fails where the role may not do that.
pub(super) fn use_of_tables() -> Batch {
    Batch::new("START TRANSACTION")
        .then("SELECT id FROM menshen_slots WHERE FALSE FOR UPDATE")
        .then(&insertion("SELECT x'00', 0, x'' FROM DUAL WHERE FALSE"))
        .then(&removal("FALSE"))
        .then("COMMIT")
}

/// Of a batch that [`commit`] made: which of its statements, from 0 on, is the COMMIT.
pub(super) const fn commit_index(batch: &Batch) -> usize {
    batch.count - 1
}

/// The statement that locks the slots of all keys, absent ones too, in the order of all commits, so that
/// no two wait for each other. Who writes the fence, which all commits read, locks all slots.
fn lock(commit: &Commit) -> Option<String> {
    let slots: BTreeSet<u16> = commit
        .reads
        .keys()
        .chain(commit.changes.keys())
        .filter(|key| *key != FENCE)
        .map(|key| slot_of(key))
        .collect();
    let which = if commit.changes.contains_key(FENCE) {
        String::new()
    } else if slots.is_empty() {
        return None;
    } else {
        let slots: Vec<_> = slots.iter().map(u16::to_string).collect();
        format!(" WHERE id IN ({})", slots.join(","))
    };
    Some(format!(
        "SELECT id FROM menshen_slots FORCE INDEX (PRIMARY){which} ORDER BY id FOR UPDATE"
    ))
}

/// The slot of a key: a hash. Two keys that share one wait for each other, no more.
pub(super) fn slot_of(key: &[u8]) -> u16 {
    let hash = sha256(key);
    1 + u16::from_be_bytes([hash[0], hash[1]]) % SLOTS
}

/// Fails with a number out of range unless, of the keys that were read, exactly those are there that
/// were, in their versions, it is not too late, and the server takes writes and keeps them. There is
/// always a key, the fence.
/// (So each later statement need not ask, and one puts all records.)
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
    // NULL is no equality.
    format!(
        "SELECT {} + IF(COUNT(*) = {count} AND COALESCE(SUM({same}), 0) = {count} AND {CLOCK} <= {} AND {IS_PRIMARY} AND {IS_DURABLE}, 0, 1) \
         FROM menshen_records FORCE INDEX (PRIMARY) WHERE record_key IN ({})",
        i64::MAX,
        commit.not_after.as_millis(),
        list(commit.reads.keys())
    )
}

/// Puts records. The rows are a list of `VALUES`: those of a `SELECT` would pass through a temporary
/// table, in which MariaDB cuts a value of more than 65,535 bytes.
fn insertion(rows: &str) -> String {
    format!(
        "INSERT INTO menshen_records (record_key, version, value) {rows} \
         ON DUPLICATE KEY UPDATE version = VALUES(version), value = VALUES(value)"
    )
}

/// Removes records. Of the two forms of DELETE only this one may name the index. Without it, a scan of
/// the whole table waits for locks of others.
fn removal(which: &str) -> String {
    format!("DELETE menshen_records FROM menshen_records FORCE INDEX (PRIMARY) WHERE {which}")
}

fn row(key: &[u8], version: Version, value: &[u8]) -> String {
    format!("({},{},{})", literal(key), version.as_i64(), literal(value))
}

/// What stands between the parentheses of `IN`; for no keys, what none is equal to.
fn list(keys: impl IntoIterator<Item = impl AsRef<[u8]>>) -> String {
    let keys: Vec<_> = keys.into_iter().map(|key| literal(key.as_ref())).collect();
    if keys.is_empty() {
        return "NULL".to_owned();
    }
    keys.join(",")
}

fn literal(bytes: &[u8]) -> String {
    format!("x'{}'", hex::encode(bytes))
}
