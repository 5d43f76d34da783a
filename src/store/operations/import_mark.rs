//! The beginning and the end of an import into a store that many processes share, and how one that
//! broke off is thrown away.
//!
//! Must stay true: a store that holds records of others is never marked as full of the import's, so
//! what is thrown away is the import's alone; each commit between beginning and end changes the mark,
//! so that none of them is made twice, nor after another process has taken the store over.

use super::{
    layout::{self, ENDED_CALLS, LOGIN_CODES, NOTICES},
    transaction::{ReadView, Transaction},
};
use crate::store::{engine::FENCE, error::EngineError, import_mark::ImportMark, keyring::Keyring};

/// What an import finds where it wants to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) enum ImportStart {
    /// Nothing is in the way.
    Ready,
    /// The store has records of these kinds.
    NotEmpty(Vec<&'static str>),
}

/// How far the removal of an unfinished import is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Discarding {
    /// So many records were removed, and there are more.
    Removed(usize),
    /// The store is empty, and not marked any more.
    Finished,
}

/// An empty store has fewer records.
const SEARCH_SIZE: usize = 100;

/// What a store may have in it: the beginnings of its keys, and their names.
const KINDS: [(&[u8], &str); 9] = [
    (layout::USERS, "users"),
    (layout::SIGNING_KEYS, "signing keys (made at a first start)"),
    (layout::OUTBOX, "events for the backend"),
    (layout::LOG, "revocations"),
    (LOGIN_CODES.prefix(), "login codes"),
    (NOTICES.prefix(), "notices of WeChat"),
    (layout::SMS, "codes of phones"),
    (layout::SMS_BUDGET, "a count of messages"),
    (layout::NEXT_USER, "the next user id"),
];

/// Whether an import leaves the record at this key as it is.
fn is_in_no_way(key: &[u8]) -> bool {
    let of_processes = [layout::HEARTBEATS, ENDED_CALLS.prefix()];
    key == FENCE
        || key == layout::UPKEEP_LEASE
        || of_processes.iter().any(|kind| key.starts_with(kind))
}

/// The kinds of records that are in the way of an import.
fn kinds(tx: &Transaction<'_>) -> Result<Vec<&'static str>, EngineError> {
    let first = tx.scan(b"", None, SEARCH_SIZE)?;
    if first.len() < SEARCH_SIZE && first.iter().all(|(key, _)| is_in_no_way(key)) {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for (prefix, name) in KINDS {
        if !tx.scan(prefix, None, 1)?.is_empty() {
            found.push(name);
        }
    }
    if found.is_empty() {
        found.push("other records");
    }
    Ok(found)
}

/// Marks an empty store. What others are committing at this moment may still be added, so it is
/// looked at once more, by [`confirm`].
pub(in crate::store) fn begin(
    tx: &mut Transaction<'_>,
    id: u64,
) -> Result<ImportStart, EngineError> {
    match tx.cipher().keyring().import() {
        Some(mark) if mark.id == id => return Ok(ImportStart::Ready),
        Some(mark) => return Err(EngineError::ImportUnfinished(mark.since)),
        None => {}
    }
    let found = kinds(tx)?;
    if !found.is_empty() {
        return Ok(ImportStart::NotEmpty(found));
    }
    let since = tx.shared_time()?.unwrap_or_default();
    put_mark(tx, Some(ImportMark::new(id, since)))?;
    Ok(ImportStart::Ready)
}

/// Says in the mark that all records from here on are the import's; where others were quicker, the
/// mark goes.
pub(in crate::store) fn confirm(
    tx: &mut Transaction<'_>,
    id: u64,
) -> Result<ImportStart, EngineError> {
    let mark = require(tx, id)?;
    let found = kinds(tx)?;
    if !found.is_empty() {
        put_mark(tx, None)?;
        return Ok(ImportStart::NotEmpty(found));
    }
    let mark = ImportMark {
        has_records: true,
        ..mark.next()
    };
    put_mark(tx, Some(mark))?;
    Ok(ImportStart::Ready)
}

/// Lets no earlier commit of this import happen after this one.
pub(in crate::store) fn step(tx: &mut Transaction<'_>, id: u64) -> Result<(), EngineError> {
    let mark = require(tx, id)?;
    put_mark(tx, Some(mark.next()))
}

/// Ends an import: the store is there for all.
pub(in crate::store) fn finish(tx: &mut Transaction<'_>, id: u64) -> Result<(), EngineError> {
    require(tx, id)?;
    put_mark(tx, None)
}

/// Takes the store from the process that fills it. `false`: no import is marked. A mark without
/// records of the import goes at once.
pub(in crate::store) fn take_over(tx: &mut Transaction<'_>, id: u64) -> Result<bool, EngineError> {
    let Some(mark) = tx.cipher().keyring().import() else {
        return Ok(false);
    };
    let taken = ImportMark { id, ..mark.next() };
    put_mark(tx, Some(taken).filter(|mark| mark.has_records))?;
    Ok(true)
}

/// Removes at most `limit` records of an import that was taken over. With the last of them the keyring
/// becomes a new one.
pub(in crate::store) fn discard(
    tx: &mut Transaction<'_>,
    id: u64,
    limit: usize,
) -> Result<Discarding, EngineError> {
    if tx.cipher().keyring().import().is_none() {
        return Ok(Discarding::Finished);
    }
    let mark = require(tx, id)?;
    let mut keys: Vec<_> = tx
        .scan(b"", None, limit.saturating_add(1))?
        .into_iter()
        .map(|(key, _)| key)
        .filter(|key| key != FENCE)
        .collect();
    keys.truncate(limit);
    if keys.is_empty() {
        let keyring = Keyring::generate(tx.cipher().entropy())?;
        tx.put_keyring(keyring)?;
        return Ok(Discarding::Finished);
    }
    let removed = keys.len();
    for key in keys {
        tx.remove(key);
    }
    put_mark(tx, Some(mark.next()))?;
    Ok(Discarding::Removed(removed))
}

/// The mark of this import; another one, or none, ends it.
fn require(tx: &Transaction<'_>, id: u64) -> Result<ImportMark, EngineError> {
    let mark = tx.cipher().keyring().import();
    mark.filter(|mark| mark.id == id)
        .ok_or(EngineError::Refused(
            "another process has thrown this import away",
        ))
}

fn put_mark(tx: &mut Transaction<'_>, mark: Option<ImportMark>) -> Result<(), EngineError> {
    tx.put_keyring(tx.cipher().keyring().with_import(mark))
}
