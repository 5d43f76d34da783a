//! The signing keys that the store keeps: few, so all of them are one record, the newest first.

use super::{
    layout,
    records::KeyRecord,
    transaction::{ReadView, Transaction},
};
use crate::store::{StoredKey, UnknownFields, error::EngineError};

/// All of them as they are stored, newest first.
pub(in crate::store) fn records(view: &dyn ReadView) -> Result<Vec<KeyRecord>, EngineError> {
    Ok(view.record(layout::SIGNING_KEYS)?.unwrap_or_default())
}

/// All of them, newest first.
pub(in crate::store) fn all(view: &dyn ReadView) -> Result<Vec<StoredKey>, EngineError> {
    let keys = records(view)?.into_iter();
    Ok(keys.map(KeyRecord::into_key).collect())
}

/// Adds a key if the newest is still `after`. A repeat finds its own key newest, and that is as
/// good as adding it.
pub(in crate::store) fn add(
    tx: &mut Transaction<'_>,
    key: &StoredKey,
    after: Option<&str>,
) -> Result<bool, EngineError> {
    let known = records(tx)?;
    let newest = known.first().map(KeyRecord::kid);
    if newest == Some(&key.kid) {
        return Ok(true);
    }
    if newest != after || known.iter().any(|old| old.kid() == key.kid) {
        return Ok(false);
    }
    put_newest(tx, KeyRecord::from_key(key, UnknownFields::default()))?;
    Ok(true)
}

/// Puts a key in front of the others.
pub(in crate::store) fn put_newest(
    tx: &mut Transaction<'_>,
    key: KeyRecord,
) -> Result<(), EngineError> {
    let mut keys = records(tx)?;
    keys.insert(0, key);
    tx.put(layout::SIGNING_KEYS.to_vec(), &keys)
}

/// Forgets a key; one that is not there is forgotten already.
pub(in crate::store) fn remove(tx: &mut Transaction<'_>, kid: &str) -> Result<(), EngineError> {
    let mut keys = records(tx)?;
    let before = keys.len();
    keys.retain(|key| key.kid() != kid);
    if keys.len() == before {
        return Ok(());
    }
    tx.put(layout::SIGNING_KEYS.to_vec(), &keys)
}
