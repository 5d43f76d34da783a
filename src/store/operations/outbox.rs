//! Events for the backend, in the order in which they are due.

use serde::{Deserialize, Serialize};

use super::{
    layout,
    transaction::{ReadView, Transaction},
};
use crate::{
    store::{
        Backlog, OutboxEntry, OutboxEvent, OutboxReceipt, UnknownFields, error::EngineError,
        record_cipher::RecordCipher,
    },
    types::Timestamp,
};

/// Most events that are counted for the metrics.
const MAX_BACKLOG_COUNT: usize = 1000;

/// An event, and how often it has been tried.
#[derive(Serialize, Deserialize)]
pub(in crate::store) struct OutboxRecord {
    pub(in crate::store) event: OutboxEvent,
    pub(in crate::store) at: Timestamp,
    attempts: u32,
    #[serde(flatten)]
    pub(in crate::store) unknown: UnknownFields,
}

/// Adds an event, due at once.
pub(in crate::store) fn put(
    tx: &mut Transaction<'_>,
    event: OutboxEvent,
    at: Timestamp,
) -> Result<(), EngineError> {
    restore(tx, event, at, UnknownFields::default())
}

/// The same, with what a newer version added.
pub(in crate::store) fn restore(
    tx: &mut Transaction<'_>,
    event: OutboxEvent,
    at: Timestamp,
    unknown: UnknownFields,
) -> Result<(), EngineError> {
    let record = OutboxRecord {
        event,
        at,
        attempts: 0,
        unknown,
    };
    tx.put(new_key(tx, at)?, &record)
}

/// Adds an event that this version does not know, as another store had it.
pub(in crate::store) fn restore_newer(
    tx: &mut Transaction<'_>,
    due: Timestamp,
    record: &rmpv::Value,
) -> Result<(), EngineError> {
    tx.put(new_key(tx, due)?, record)
}

/// Random, so that no two events share a place and none shares a record with others.
fn new_key(tx: &Transaction<'_>, due: Timestamp) -> Result<Vec<u8>, EngineError> {
    let number = u64::from_be_bytes(tx.cipher().entropy().bytes()?);
    Ok(layout::outbox(due, number))
}

/// The event in a pair. `Err`: this version does not know its kind.
pub(in crate::store) fn read(
    cipher: &RecordCipher,
    key: &[u8],
    bytes: &[u8],
) -> Result<Result<OutboxRecord, rmpv::Value>, EngineError> {
    let plain = cipher.open(key, bytes)?;
    Ok(match RecordCipher::decode(key, &plain) {
        Ok(record) => Ok(record),
        Err(_) => Err(RecordCipher::decode(key, &plain)?),
    })
}

/// Whether something is due: a look that spares the writer an operation.
pub(in crate::store) fn is_due(view: &dyn ReadView, now: Timestamp) -> Result<bool, EngineError> {
    let first = view.scan(layout::OUTBOX, None, 1)?;
    Ok(first
        .first()
        .and_then(|(key, _)| layout::outbox_at(key))
        .is_some_and(|(due, _)| due <= now))
}

/// Takes what is due, and makes it due again later.
pub(in crate::store) fn take(
    tx: &mut Transaction<'_>,
    now: Timestamp,
    lease_until: Timestamp,
    limit: usize,
) -> Result<Vec<OutboxEntry>, EngineError> {
    let mut taken = Vec::new();
    for (key, bytes) in tx.scan(layout::OUTBOX, None, limit)? {
        let Some((due, number)) = layout::outbox_at(&key) else {
            continue;
        };
        if due > now {
            break;
        }
        // Whatever it is, the others must not wait for it for ever.
        let plain = match tx.cipher().open(&key, &bytes) {
            Err(EngineError::Damaged(why)) => {
                tracing::error!(error = %why, "an event for the backend could not be read and is removed: {why}");
                tx.remove(key);
                continue;
            }
            opened => opened?,
        };
        let record: OutboxRecord = match RecordCipher::decode(&key, &plain) {
            Err(EngineError::Damaged(why)) => {
                tracing::warn!(error = %why, "an event for the backend is of a newer version and is left to it: {why}");
                tx.remove(key);
                tx.put_plain(layout::outbox(lease_until, number), plain);
                continue;
            }
            decoded => decoded?,
        };
        let record = OutboxRecord {
            attempts: record.attempts.saturating_add(1),
            ..record
        };
        tx.remove(key);
        let receipt = layout::outbox(lease_until, number);
        tx.put(receipt.clone(), &record)?;
        let OutboxRecord {
            event,
            at,
            attempts,
            unknown: _,
        } = record;
        taken.push(OutboxEntry {
            event,
            at,
            attempts,
            receipt: OutboxReceipt(receipt),
        });
    }
    Ok(taken)
}

/// Forgets an event, or moves it to another time.
pub(in crate::store) fn acknowledge(
    tx: &mut Transaction<'_>,
    receipt: &OutboxReceipt,
    retry_at: Option<Timestamp>,
) -> Result<(), EngineError> {
    let key = &receipt.0;
    let Some((_, number)) = layout::outbox_at(key) else {
        return Ok(());
    };
    let Some(record) = tx.record::<OutboxRecord>(key)? else {
        return Ok(());
    };
    tx.remove(key.clone());
    match retry_at {
        Some(at) => tx.put(layout::outbox(at, number), &record),
        None => Ok(()),
    }
}

/// How much waits.
pub(in crate::store) fn backlog(view: &dyn ReadView) -> Result<Backlog, EngineError> {
    let pairs = view.scan(layout::OUTBOX, None, MAX_BACKLOG_COUNT)?;
    let happened = |(key, bytes): &(Vec<u8>, Vec<u8>)| {
        Some(view.cipher().read::<OutboxRecord>(key, bytes).ok()?.at)
    };
    Ok(Backlog {
        waiting: pairs.len(),
        oldest: pairs.iter().filter_map(happened).min(),
    })
}
