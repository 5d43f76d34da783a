//! Removing what has expired, a bounded piece at a time.
//!
//! Nothing is looked up for that: what expires lies in order of time or in periods, so what is too
//! old comes first. Sessions lie within their users, and those that ended long ago go when their
//! user signs in again.

use super::{
    layout::{self, ENDED_CALLS, LOGIN_CODES, NOTICES},
    revocation_log,
    transaction::{ReadView, Transaction},
};
use crate::{store::error::EngineError, types::Timestamp};

/// Whether what lies at a key, with these bytes, has expired.
type IsOver<'a> = &'a dyn Fn(&[u8], &[u8]) -> Result<bool, EngineError>;

/// Removes at most `limit` records that have expired, or brings to the present what would never; says
/// how many.
pub(in crate::store) fn sweep(
    tx: &mut Transaction<'_>,
    now: Timestamp,
    limit: usize,
) -> Result<usize, EngineError> {
    let mut expired = Vec::new();
    {
        let view: &dyn ReadView = tx;
        // Attempts are refused by that clock.
        let engine_time = view.shared_time()?.unwrap_or(now);
        let today = layout::sms_day(now);
        let is_old_day =
            |key: &[u8]| layout::sms_day_at(key).is_none_or(|day| day.saturating_add(2) <= today);
        let kinds: [(&[u8], IsOver<'_>); 5] = [
            (LOGIN_CODES.prefix(), &|key, _| {
                Ok(LOGIN_CODES.is_over(key, now))
            }),
            (NOTICES.prefix(), &|key, _| Ok(NOTICES.is_over(key, now))),
            (ENDED_CALLS.prefix(), &|key, _| {
                Ok(ENDED_CALLS.is_over(key, engine_time))
            }),
            (layout::SMS, &|key, _| Ok(is_old_day(key))),
            (layout::LOG, &|key, bytes| {
                revocation_log::is_over(view, key, bytes, now)
            }),
        ];
        for (prefix, is_over) in kinds {
            for (key, bytes) in view.scan(prefix, None, limit - expired.len())? {
                if !is_over(&key, &bytes)? {
                    break;
                }
                expired.push(key);
            }
        }
    }
    let removed = expired.len();
    for key in expired {
        tx.remove(key);
    }
    let moved = revocation_log::move_unreadable_to_present(tx, now, limit - removed)?;
    Ok(removed + moved)
}
