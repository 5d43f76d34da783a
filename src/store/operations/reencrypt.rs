//! A new key for the store, while it is in use.
//!
//! First the key is made durable, then it encrypts and finds everything that is written, then older
//! records are moved to it in batches, in the order of their keys, and last the old key is removed.
//! A crash at any point leaves a store that opens and continues there.

use super::{
    layout::{self, LookupKey},
    records::{OpenIdRecord, PhoneRecord, SmsRecord, UnionIdRecord, UsernameRecord},
    transaction::{ReadView, Transaction},
};
use crate::store::{ReencryptionProgress, engine::FENCE, error::EngineError};

/// Puts a new key beside the present one, unless a change is under way already.
pub(in crate::store) fn begin(tx: &mut Transaction<'_>) -> Result<(), EngineError> {
    let present = tx.cipher().keyring();
    if present.is_rotating() {
        return Ok(());
    }
    let changed = present.with_new_key(tx.cipher().entropy())?;
    tx.remove(layout::REENCRYPTED_UP_TO.to_vec());
    tx.put_keyring(changed)
}

/// Moves the next records; when there are none left, the old key goes.
pub(in crate::store) fn step(
    tx: &mut Transaction<'_>,
    limit: usize,
) -> Result<ReencryptionProgress, EngineError> {
    let progress = |records, finished| ReencryptionProgress { records, finished };
    if !tx.cipher().keyring().is_rotating() {
        return Ok(progress(0, true));
    }
    let from: Option<Vec<u8>> = tx.record(layout::REENCRYPTED_UP_TO)?;
    let limit = limit.max(1);
    let pairs = tx.scan(b"", from.as_deref(), limit)?;
    for (key, bytes) in &pairs {
        // The keyring is encrypted with another key, and what says that a call is over is known by its
        // version. What is found by something personal is looked at in any case: it has to be in its
        // newest place too.
        if key == FENCE
            || key.starts_with(layout::ENDED_CALLS.prefix())
            || (tx.cipher().is_newest(bytes) && !has_lookup_key(key))
        {
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
        return Ok(progress(pairs.len(), false));
    }
    tx.remove(layout::REENCRYPTED_UP_TO.to_vec());
    tx.put_keyring(tx.cipher().keyring().newest_only())?;
    Ok(progress(pairs.len(), true))
}

/// Whether the key of a record is a lookup key: the keyed hash of personal data.
fn has_lookup_key(key: &[u8]) -> bool {
    [b"o/", b"n/", b"p/", b"a/", b"v/"]
        .iter()
        .any(|kind| key.starts_with(*kind))
}

/// Re-encrypts one record. A record under a lookup key moves, because its hash has another key.
fn move_record(tx: &mut Transaction<'_>, key: &[u8], bytes: &[u8]) -> Result<(), EngineError> {
    let kind = key
        .split_inclusive(|byte| *byte == b'/')
        .next()
        .unwrap_or_default();
    match kind {
        b"o/" => {
            let record: OpenIdRecord = tx.cipher().read(key, bytes)?;
            tx.put_under(LookupKey::OpenId(&record.app_id, &record.openid), &record)?;
        }
        b"n/" => {
            let record: UnionIdRecord = tx.cipher().read(key, bytes)?;
            tx.put_under(LookupKey::UnionId(&record.unionid), &record)?;
        }
        b"p/" => {
            let record: PhoneRecord = tx.cipher().read(key, bytes)?;
            tx.put_under(LookupKey::Phone(&record.phone), &record)?;
        }
        b"a/" => {
            let record: UsernameRecord = tx.cipher().read(key, bytes)?;
            tx.put_under(LookupKey::Username(&record.username), &record)?;
        }
        b"v/" => {
            let record: SmsRecord = tx.cipher().read(key, bytes)?;
            let day = layout::sms_day_at(key).unwrap_or_default();
            tx.put_under(LookupKey::Sms(&record.phone, day), &record)?;
        }
        _ => {
            let plain = tx.cipher().open(key, bytes)?;
            tx.put_plain(key.to_vec(), plain);
        }
    }
    Ok(())
}
