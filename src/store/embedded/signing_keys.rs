//! The signing keys that the store keeps: few, and in the order in which they came.

use super::{
    draft::{Draft, View},
    layout,
    records::KeyRecord,
};
use crate::store::{StoredKey, failure::Failure};

/// All of them, newest first.
pub(super) fn all(view: &dyn View) -> Result<Vec<StoredKey>, Failure> {
    let mut keys = Vec::new();
    for (at, bytes) in view.scan(layout::SIGNING_KEYS, None, usize::MAX)? {
        keys.push(view.vault().open::<KeyRecord>(&at, &bytes)?.read());
    }
    keys.reverse();
    Ok(keys)
}

/// Adds a key if the newest is still `after`. A repeat finds its own key newest, and that is as
/// good as adding it.
pub(super) fn add(
    draft: &mut Draft<'_>,
    key: &StoredKey,
    after: Option<&str>,
) -> Result<bool, Failure> {
    let known = all(draft)?;
    let newest = known.first().map(|newest| newest.kid.as_str());
    if newest == Some(key.kid.as_str()) {
        return Ok(true);
    }
    if newest != after || known.iter().any(|old| old.kid == key.kid) {
        return Ok(false);
    }
    let last = draft.scan(layout::SIGNING_KEYS, None, usize::MAX)?.pop();
    let number = last
        .and_then(|(at, _)| layout::number_at(&at))
        .unwrap_or_default()
        .saturating_add(1);
    draft.put(layout::signing_key(number), &KeyRecord::of(key))?;
    Ok(true)
}

/// Forgets a key; one that is not there is forgotten already.
pub(super) fn remove(draft: &mut Draft<'_>, kid: &str) -> Result<(), Failure> {
    for (at, bytes) in draft.scan(layout::SIGNING_KEYS, None, usize::MAX)? {
        let key = draft.vault().open::<KeyRecord>(&at, &bytes)?.read();
        if key.kid == kid {
            draft.remove(at);
        }
    }
    Ok(())
}
