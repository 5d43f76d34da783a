//! What is used once: codes of `wx.login`, and WeChat's notices.

use super::{
    layout::SingleUse,
    records::UsedCode,
    transaction::{ReadView, Transaction},
};
use crate::{
    store::{CodeHash, error::EngineError},
    types::Timestamp,
};

/// Whether it has been used, and that still counts.
pub(in crate::store) fn is_used(
    view: &dyn ReadView,
    kind: &SingleUse,
    hash: &CodeHash,
    now: Timestamp,
) -> Result<bool, EngineError> {
    let keys = kind.keys(hash, now);
    view.want(&keys);
    for key in keys {
        let used: Option<UsedCode> = view.record(&key)?;
        if used.is_some_and(|used| now < used.until) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Uses it up, until a time at most [`SingleUse::remembered`] from now; `false`: it has been used already.
pub(in crate::store) fn use_up(
    tx: &mut Transaction<'_>,
    kind: &SingleUse,
    hash: &CodeHash,
    (until, now): (Timestamp, Timestamp),
) -> Result<bool, EngineError> {
    if is_used(tx, kind, hash, now)? {
        return Ok(false);
    }
    tx.put(kind.present_key(hash, now), &UsedCode { until })?;
    Ok(true)
}
