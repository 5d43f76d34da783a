//! Removing what has expired, a bounded piece at a time.
//!
//! Everything that expires has an entry in an index by time. What it points to may end later than
//! the entry says: a session that was used gets no new entry, it is moved when its old one comes
//! up. So a rotation writes one record, not three.

use std::time::Duration;

use super::{
    layout,
    records::{SessionRecord, SmsRecord, SpentCode},
    sms,
    transaction::{ReadView, Transaction},
};
use crate::{store::error::EngineError, types::Timestamp};

/// How long the record of an ended session remains, so that a refresh is rejected as "expired" or
/// "revoked", not "unknown".
const ENDED_SESSION_RETENTION: Duration = Duration::from_hours(7 * 24);

/// When a session's record may go.
pub(in crate::store) fn removable_at(record: &SessionRecord) -> Timestamp {
    record
        .session
        .idle_end
        .min(record.session.absolute_end)
        .plus(ENDED_SESSION_RETENTION)
}

/// Settles at most `limit` entries of the index that are due; says how many. Each is removed with
/// what it points at, or moved to the later time that this has got meanwhile.
pub(in crate::store) fn sweep(
    tx: &mut Transaction<'_>,
    now: Timestamp,
    limit: usize,
) -> Result<usize, EngineError> {
    let mut done = 0;
    let entries = tx.scan(layout::EXPIRY, None, limit)?;
    let due = |(entry, _): &(Vec<u8>, _)| {
        let (secs, key) = layout::expiring(entry)?;
        (secs <= now.as_secs()).then(|| key.to_vec())
    };
    tx.want(&entries.iter().filter_map(due).collect::<Vec<_>>());
    for (entry, _) in entries {
        match layout::expiring(&entry) {
            Some((secs, _)) if secs > now.as_secs() => break,
            Some((_, key)) => expire_entry(tx, key, now)?,
            None => {}
        }
        tx.remove(entry);
        done += 1;
    }
    Ok(done)
}

fn expire_entry(tx: &mut Transaction<'_>, key: &[u8], now: Timestamp) -> Result<(), EngineError> {
    if key.starts_with(layout::SESSIONS) {
        expire_session(tx, key, now)
    } else if key.starts_with(layout::SMS) {
        // Its time moves with every message and code; the latest entry of the index is the one that
        // counts.
        let is_due =
            readable::<SmsRecord>(tx, key)?.is_none_or(|record| sms::forgotten_at(&record) <= now);
        if is_due {
            tx.remove(key.to_vec());
        }
        Ok(())
    } else if key.starts_with(layout::CODES) {
        // A code that was spent again after it had been forgotten has a later entry of its own.
        let is_due = readable::<SpentCode>(tx, key)?.is_none_or(|spent| spent.until <= now);
        if is_due {
            tx.remove(key.to_vec());
        }
        Ok(())
    } else {
        tx.remove(key.to_vec());
        Ok(())
    }
}

fn expire_session(tx: &mut Transaction<'_>, key: &[u8], now: Timestamp) -> Result<(), EngineError> {
    let Some(record) = readable::<SessionRecord>(tx, key)? else {
        tx.remove(key.to_vec());
        return Ok(());
    };
    let due = removable_at(&record);
    if due > now {
        tx.touch(layout::expiry(due, key));
        return Ok(());
    }
    tx.remove(layout::session_of(&record.session.user, record.session.id));
    tx.remove(key.to_vec());
    Ok(())
}

/// The record, unless it is damaged: its time has come anyhow, and one bad record must not hold up
/// the sweep for ever.
fn readable<R: serde::de::DeserializeOwned>(
    tx: &Transaction<'_>,
    key: &[u8],
) -> Result<Option<R>, EngineError> {
    match tx.record(key) {
        Err(EngineError::Damaged(why)) => {
            tracing::error!(error = %why, "an expired record could not be read and is removed: {why}");
            Ok(None)
        }
        read => read,
    }
}
