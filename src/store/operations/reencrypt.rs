//! A new key for the store, while it is in use.
//!
//! First the key is made durable, then it encrypts and finds everything that is written, then older
//! records are moved to it in batches, in the order of their keys, and last the old key is removed.
//! A crash at any point leaves a store that opens and continues there.

use super::{
    layout::{self, LookupKey},
    records::{OpenIdRecord, PhoneRecord, SmsRecord, UnionIdRecord, UsernameRecord},
    sms,
    transaction::{ReadView, Transaction},
};
use crate::store::{ReencryptionProgress, StoreKeys, error::EngineError, record_cipher::Keyring};

/// Puts a new key beside the present one; `None`: a change is under way already.
pub(in crate::store) fn begin(
    tx: &mut Transaction<'_>,
    keys: &StoreKeys,
) -> Result<Option<Keyring>, EngineError> {
    let cipher = tx.cipher();
    let present = cipher.keyring();
    if present.is_rotating() {
        return Ok(None);
    }
    let changed = present
        .with_new_key(cipher.entropy())
        .map_err(|_| EngineError::Refused("the operating system's random source failed"))?;
    write(tx, keys, &changed)?;
    tx.remove(layout::REENCRYPTED_UP_TO.to_vec());
    Ok(Some(changed))
}

/// Moves the next records; when there are none left, the old key goes. Says what the keyring is
/// then, if it has changed.
pub(in crate::store) fn step(
    tx: &mut Transaction<'_>,
    keys: &StoreKeys,
    limit: usize,
) -> Result<(ReencryptionProgress, Option<Keyring>), EngineError> {
    let present = tx.cipher().keyring();
    if !present.is_rotating() {
        return Ok((
            ReencryptionProgress {
                records: 0,
                finished: true,
            },
            None,
        ));
    }
    let from: Option<Vec<u8>> = tx.record(layout::REENCRYPTED_UP_TO)?;
    let limit = limit.max(1);
    let pairs = tx.scan(b"", from.as_deref(), limit)?;
    for (key, bytes) in &pairs {
        // What is found by something personal is looked at in any case: it has to be in its newest
        // place too.
        if !is_sealed(key) || (tx.cipher().is_newest(bytes) && !is_found(key)) {
            continue;
        }
        match move_record(tx, key, bytes) {
            // No key opens it, so none is kept for it; the others must not wait for it for ever.
            Err(EngineError::Damaged(why)) => {
                tracing::error!(error = %why, "a record cannot be sealed anew and is left: {why}");
            }
            moved => moved?,
        }
    }
    if let Some((last, _)) = pairs.last().filter(|_| pairs.len() >= limit) {
        tx.put(layout::REENCRYPTED_UP_TO.to_vec(), last)?;
        return Ok((
            ReencryptionProgress {
                records: pairs.len(),
                finished: false,
            },
            None,
        ));
    }
    let alone = present.newest_only();
    write(tx, keys, &alone)?;
    tx.remove(layout::REENCRYPTED_UP_TO.to_vec());
    Ok((
        ReencryptionProgress {
            records: pairs.len(),
            finished: true,
        },
        Some(alone),
    ))
}

pub(in crate::store) fn write(
    tx: &mut Transaction<'_>,
    keys: &StoreKeys,
    keyring: &Keyring,
) -> Result<(), EngineError> {
    let bytes = keyring.wrap(keys, tx.cipher().entropy(), layout::KEYRING)?;
    tx.put_bytes(layout::KEYRING.to_vec(), bytes);
    Ok(())
}

/// Indexes have empty values, and the keyring is encrypted with another key.
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

/// Re-encrypts one record. A record under a lookup key moves, because its hash has another key.
fn move_record(tx: &mut Transaction<'_>, key: &[u8], bytes: &[u8]) -> Result<(), EngineError> {
    let cipher = tx.cipher();
    let kind = key
        .split_inclusive(|byte| *byte == b'/')
        .next()
        .unwrap_or_default();
    match kind {
        b"o/" => {
            let record: OpenIdRecord = cipher.open(key, bytes)?;
            tx.put_under(LookupKey::OpenId(&record.app_id, &record.openid), &record)?;
        }
        b"n/" => {
            let record: UnionIdRecord = cipher.open(key, bytes)?;
            tx.put_under(LookupKey::UnionId(&record.unionid), &record)?;
        }
        b"p/" => {
            let record: PhoneRecord = cipher.open(key, bytes)?;
            tx.put_under(LookupKey::Phone(&record.phone), &record)?;
        }
        b"a/" => {
            let record: UsernameRecord = cipher.open(key, bytes)?;
            tx.put_under(LookupKey::Username(&record.username), &record)?;
        }
        b"v/" => {
            let record: SmsRecord = cipher.open(key, bytes)?;
            let key = tx.put_under(LookupKey::Sms(&record.phone), &record)?;
            tx.touch(layout::expiry(sms::forgotten_at(&record), &key));
        }
        _ => {
            let sealed = cipher.reencrypt(key, bytes, key)?;
            tx.put_bytes(key.to_vec(), sealed);
        }
    }
    Ok(())
}
