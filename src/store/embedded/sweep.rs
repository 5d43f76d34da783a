//! Removing what has expired, a bounded piece at a time.
//!
//! Everything that expires has an entry in an index by time. The index may be early, never late: a
//! session that was used gets no new entry, it is moved when its old one comes up. So a rotation
//! writes one record, not three.

use std::time::Duration;

use super::{
    draft::{Draft, View},
    layout,
    records::{SessionRecord, SmsRecord, SpentCode},
    sms,
};
use crate::{store::failure::Failure, types::Timestamp};

/// How long a session that has ended is remembered, so that a refresh is told "expired" or
/// "revoked", not "unknown".
const REMEMBERED: Duration = Duration::from_hours(7 * 24);

/// When a session's record may go.
pub(super) fn session_forgotten_at(record: &SessionRecord) -> Timestamp {
    record
        .session
        .idle_end
        .min(record.session.absolute_end)
        .plus(REMEMBERED)
}

/// Settles at most `limit` entries of the index that are due; says how many. Each is removed with
/// what it points at, or moved to the later time that this has got meanwhile.
pub(super) fn sweep(draft: &mut Draft<'_>, now: Timestamp, limit: usize) -> Result<usize, Failure> {
    let mut settled = 0;
    for (entry, _) in draft.scan(layout::EXPIRY, None, limit)? {
        match layout::expiring(&entry) {
            Some((secs, _)) if secs > now.as_secs() => break,
            Some((_, key)) => settle(draft, key, now)?,
            None => {}
        }
        draft.remove(entry);
        settled += 1;
    }
    Ok(settled)
}

fn settle(draft: &mut Draft<'_>, key: &[u8], now: Timestamp) -> Result<(), Failure> {
    if key.starts_with(layout::SESSIONS) {
        settle_session(draft, key, now)
    } else if key.starts_with(layout::SMS) {
        // Its time moves with every message and code; the latest entry of the index is the one that
        // counts.
        let is_due = readable::<SmsRecord>(draft, key)?
            .is_none_or(|record| sms::forgotten_at(&record) <= now);
        if is_due {
            draft.remove(key.to_vec());
        }
        Ok(())
    } else if key.starts_with(layout::CODES) {
        // A code that was spent again after it had been forgotten has a later entry of its own.
        let is_due = readable::<SpentCode>(draft, key)?.is_none_or(|spent| spent.until <= now);
        if is_due {
            draft.remove(key.to_vec());
        }
        Ok(())
    } else {
        draft.remove(key.to_vec());
        Ok(())
    }
}

fn settle_session(draft: &mut Draft<'_>, key: &[u8], now: Timestamp) -> Result<(), Failure> {
    let Some(record) = readable::<SessionRecord>(draft, key)? else {
        draft.remove(key.to_vec());
        return Ok(());
    };
    let due = session_forgotten_at(&record);
    if due > now {
        draft.mark(layout::expiry(due, key));
        return Ok(());
    }
    draft.remove(layout::session_of(&record.session.user, record.session.id));
    draft.remove(key.to_vec());
    Ok(())
}

/// The record, unless it is damaged: its time has come anyhow, and one bad record must not hold up
/// the sweep for ever.
fn readable<R: serde::de::DeserializeOwned>(
    draft: &Draft<'_>,
    key: &[u8],
) -> Result<Option<R>, Failure> {
    match draft.record(key) {
        Err(Failure::Damaged(why)) => {
            tracing::error!(error = %why, "an expired record could not be read and is removed: {why}");
            Ok(None)
        }
        read => read,
    }
}
