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

/// Its use, if that still counts.
pub(in crate::store) fn find(
    view: &dyn ReadView,
    kind: &SingleUse,
    hash: &CodeHash,
    now: Timestamp,
) -> Result<Option<UsedCode>, EngineError> {
    let keys = kind.keys(hash, now);
    view.want(&keys);
    for key in keys {
        let used: Option<UsedCode> = view.record(&key)?;
        if let Some(used) = used.filter(|used| now < used.until) {
            return Ok(Some(used));
        }
    }
    Ok(None)
}

/// Uses it up, until a time at most [`SingleUse::remembered`] from now; `false`: it has been used already.
pub(in crate::store) fn use_up(
    tx: &mut Transaction<'_>,
    kind: &SingleUse,
    hash: &CodeHash,
    (until, now): (Timestamp, Timestamp),
) -> Result<bool, EngineError> {
    if find(tx, kind, hash, now)?.is_some() {
        return Ok(false);
    }
    let used = UsedCode { until, login: None };
    tx.put(kind.present_key(hash, now), &used)?;
    Ok(true)
}
