//! The signing keys that the store keeps: few, and in the order in which they came.

use super::{
    layout,
    records::KeyRecord,
    transaction::{ReadView, Transaction},
};
use crate::store::{StoredKey, error::EngineError};

/// All of them, newest first.
pub(in crate::store) fn all(view: &dyn ReadView) -> Result<Vec<StoredKey>, EngineError> {
    let mut keys = Vec::new();
    for (at, bytes) in view.scan(layout::SIGNING_KEYS, None, usize::MAX)? {
        keys.push(view.cipher().open::<KeyRecord>(&at, &bytes)?.into_key());
    }
    keys.reverse();
    Ok(keys)
}

/// Adds a key if the newest is still `after`. A repeat finds its own key newest, and that is as
/// good as adding it.
pub(in crate::store) fn add(
    tx: &mut Transaction<'_>,
    key: &StoredKey,
    after: Option<&str>,
) -> Result<bool, EngineError> {
    let known = all(tx)?;
    let newest = known.first().map(|newest| newest.kid.as_str());
    if newest == Some(key.kid.as_str()) {
        return Ok(true);
    }
    if newest != after || known.iter().any(|old| old.kid == key.kid) {
        return Ok(false);
    }
    let last = tx.scan(layout::SIGNING_KEYS, None, usize::MAX)?.pop();
    let number = last
        .and_then(|(at, _)| layout::number_at(&at))
        .unwrap_or_default()
        .saturating_add(1);
    tx.put(layout::signing_key(number), &KeyRecord::from_key(key))?;
    Ok(true)
}

/// Forgets a key; one that is not there is forgotten already.
pub(in crate::store) fn remove(tx: &mut Transaction<'_>, kid: &str) -> Result<(), EngineError> {
    for (at, bytes) in tx.scan(layout::SIGNING_KEYS, None, usize::MAX)? {
        let key = tx.cipher().open::<KeyRecord>(&at, &bytes)?.into_key();
        if key.kid == kid {
            tx.remove(at);
        }
    }
    Ok(())
}
