//! A new key for the store, while it is in use.
//!
//! First the key is made durable, then it seals and finds everything that is written, then what was
//! written before is moved to it a piece at a time, in the order of the keys, and last the old key
//! goes. A crash at any point leaves a store that opens, and goes on where it was.

use super::{
    draft::{Draft, View},
    layout::{self, Handle},
    records::{OpenIdRecord, PhoneRecord, SmsRecord, UnionIdRecord, UsernameRecord},
    sms,
};
use crate::store::{Resealing, StoreKeys, failure::Failure, vault::Keyring};

/// Puts a new key beside the present one; `None`: a change is under way already.
pub(super) fn begin(draft: &mut Draft<'_>, keys: &StoreKeys) -> Result<Option<Keyring>, Failure> {
    let vault = draft.vault();
    let present = vault.keyring();
    if present.is_changing() {
        return Ok(None);
    }
    let changed = present
        .with_new_key(vault.entropy())
        .map_err(|_| Failure::Refused("the operating system's random source failed"))?;
    write(draft, keys, &changed)?;
    draft.remove(layout::RESEALED.to_vec());
    Ok(Some(changed))
}

/// Moves the next records; when there are none left, the old key goes. Says what the keyring is
/// then, if it has changed.
pub(super) fn step(
    draft: &mut Draft<'_>,
    keys: &StoreKeys,
    limit: usize,
) -> Result<(Resealing, Option<Keyring>), Failure> {
    let present = draft.vault().keyring();
    if !present.is_changing() {
        return Ok((
            Resealing {
                records: 0,
                finished: true,
            },
            None,
        ));
    }
    let from: Option<Vec<u8>> = draft.record(layout::RESEALED)?;
    let limit = limit.max(1);
    let pairs = draft.scan(b"", from.as_deref(), limit)?;
    for (key, bytes) in &pairs {
        // What is found by something personal is looked at in any case: it has to be in its newest
        // place too.
        if !is_sealed(key) || (draft.vault().is_newest(bytes) && !is_found(key)) {
            continue;
        }
        match move_record(draft, key, bytes) {
            // No key opens it, so none is kept for it; the others must not wait for it for ever.
            Err(Failure::Damaged(why)) => {
                tracing::error!(error = %why, "a record cannot be sealed anew and is left: {why}")
            }
            moved => moved?,
        }
    }
    if let Some((last, _)) = pairs.last().filter(|_| pairs.len() >= limit) {
        draft.put(layout::RESEALED.to_vec(), last)?;
        return Ok((
            Resealing {
                records: pairs.len(),
                finished: false,
            },
            None,
        ));
    }
    let alone = present.newest_alone();
    write(draft, keys, &alone)?;
    draft.remove(layout::RESEALED.to_vec());
    Ok((
        Resealing {
            records: pairs.len(),
            finished: true,
        },
        Some(alone),
    ))
}

pub(super) fn write(
    draft: &mut Draft<'_>,
    keys: &StoreKeys,
    keyring: &Keyring,
) -> Result<(), Failure> {
    let bytes = keyring.wrap(keys, draft.vault().entropy(), layout::KEYRING)?;
    draft.put_bytes(layout::KEYRING.to_vec(), bytes);
    Ok(())
}

/// Indexes say all in their keys, and the keyring has a seal of its own.
fn is_sealed(key: &[u8]) -> bool {
    !key.starts_with(layout::EXPIRY)
        && !key.starts_with(layout::SESSIONS_OF)
        && key != layout::KEYRING
}

/// Whether a record lies under the keyed hash of something personal.
fn is_found(key: &[u8]) -> bool {
    [b"o/", b"n/", b"p/", b"a/", b"v/"]
        .iter()
        .any(|kind| key.starts_with(*kind))
}

/// Seals one record anew. One that is found by something personal gets another place, because the
/// hash has another key.
fn move_record(draft: &mut Draft<'_>, key: &[u8], bytes: &[u8]) -> Result<(), Failure> {
    let vault = draft.vault();
    let kind = key
        .split_inclusive(|byte| *byte == b'/')
        .next()
        .unwrap_or_default();
    match kind {
        b"o/" => {
            let record: OpenIdRecord = vault.open(key, bytes)?;
            draft.put_under(Handle::OpenId(&record.app_id, &record.openid), &record)?;
        }
        b"n/" => {
            let record: UnionIdRecord = vault.open(key, bytes)?;
            draft.put_under(Handle::UnionId(&record.unionid), &record)?;
        }
        b"p/" => {
            let record: PhoneRecord = vault.open(key, bytes)?;
            draft.put_under(Handle::Phone(&record.phone), &record)?;
        }
        b"a/" => {
            let record: UsernameRecord = vault.open(key, bytes)?;
            draft.put_under(Handle::Username(&record.username), &record)?;
        }
        b"v/" => {
            let record: SmsRecord = vault.open(key, bytes)?;
            let place = draft.put_under(Handle::Sms(&record.phone), &record)?;
            draft.mark(layout::expiry(sms::forgotten_at(&record), &place));
        }
        _ => {
            let sealed = vault.reseal(key, bytes, key)?;
            draft.put_bytes(key.to_vec(), sealed);
        }
    }
    Ok(())
}
