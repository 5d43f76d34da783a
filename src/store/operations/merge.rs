//! Merging two users, on proof that both are the same person.
//!
//! The older one survives, with the identities of both (of two phones, `phone.rs` keeps the one
//! just proven); the other one's sessions end, and its id is never used again. It is one batch, so
//! it happens whole or not at all.

use super::{
    layout::LookupKey,
    outbox,
    records::{OpenIdRecord, PhoneRecord, UnionIdRecord},
    revoke,
    transaction::{ReadView, Transaction},
    user_record::{self, Tombstone, UserRecord, WechatLink},
};
use crate::{
    store::{
        OutboxEvent, OutboxPolicy, Profile, RevocationOutcome, error::EngineError,
        record_cipher::RecordCipher,
    },
    types::{AppId, Timestamp, UserType},
};

/// The survivor, the id that was merged into it, and the sessions that ended.
pub(in crate::store) struct MergeResult {
    pub(in crate::store) survivor: UserRecord,
    pub(in crate::store) merged_id: crate::types::UserId,
    pub(in crate::store) revoked: RevocationOutcome,
}

/// Whether the two can be one person as far as we know. Two people of one mini program cannot; and
/// a merge changes no rights: neither may be banned, or anything but a plain user.
pub(in crate::store) fn can_merge(one: &UserRecord, other: &UserRecord) -> bool {
    let plain = |record: &UserRecord| {
        let user = &record.user;
        user.user_type == UserType::user()
            && user.roles.is_empty()
            && user.username.is_none()
            && !user.disabled
    };
    let apps = |record: &UserRecord| {
        record
            .openids
            .iter()
            .map(|link| link.app_id.clone())
            .collect::<Vec<AppId>>()
    };
    let same_app = apps(one).iter().any(|app| apps(other).contains(app));
    let two_unions = !one.unionids.is_empty() && !other.unionids.is_empty();
    plain(one) && plain(other) && !same_app && !two_unions
}

/// Merges two users.
pub(in crate::store) fn merge_users(
    tx: &mut Transaction<'_>,
    one: UserRecord,
    other: UserRecord,
    outbox: OutboxPolicy,
    now: Timestamp,
) -> Result<MergeResult, EngineError> {
    let age = |record: &UserRecord| (record.user.created_at, record.user.id.clone());
    let (mut survivor, mut merged) = if age(&one) <= age(&other) {
        (one, other)
    } else {
        (other, one)
    };
    let revoked = revoke::revoke_user(tx, &mut merged, now)?;
    let id = &survivor.user.id;
    tx.want(&pointers(tx.cipher(), &merged));
    for WechatLink { app_id, openid, .. } in &merged.openids {
        let lookup_key = LookupKey::OpenId(app_id, openid);
        let known: Option<OpenIdRecord> = tx.find(lookup_key)?;
        let mut record = known.unwrap_or_else(|| OpenIdRecord::new(id, app_id, openid));
        record.user.clone_from(id);
        tx.put_under(lookup_key, &record)?;
    }
    for unionid in &merged.unionids {
        let lookup_key = LookupKey::UnionId(unionid);
        let known: Option<UnionIdRecord> = tx.find(lookup_key)?;
        let mut record = known.unwrap_or_else(|| UnionIdRecord::new(id, unionid));
        record.user.clone_from(id);
        tx.put_under(lookup_key, &record)?;
    }
    match (&survivor.user.phone, &merged.user.phone) {
        (None, Some(phone)) => {
            let lookup_key = LookupKey::Phone(phone);
            let known: Option<PhoneRecord> = tx.find(lookup_key)?;
            let mut record = known.unwrap_or_else(|| PhoneRecord::new(id, phone));
            record.user.clone_from(id);
            tx.put_under(lookup_key, &record)?;
            survivor.user.phone = Some(phone.clone());
        }
        (Some(_), Some(phone)) => tx.remove_under(LookupKey::Phone(phone)),
        (_, None) => {}
    }
    survivor.openids.extend(merged.openids);
    survivor.unionids.extend(merged.unionids);
    fill(&mut survivor.user.profile, merged.user.profile);
    survivor.user.last_login_at = now;
    user_record::put_user(tx, &survivor)?;

    let merged_id = merged.user.id;
    let tombstone = Tombstone::new(now, Some(id.clone()));
    user_record::put_tombstone(tx, &merged_id, tombstone)?;
    if outbox.merged {
        outbox::put(
            tx,
            OutboxEvent::Merged {
                user: id.clone(),
                merged_id: merged_id.clone(),
            },
            now,
        )?;
    }
    Ok(MergeResult {
        survivor,
        merged_id,
        revoked,
    })
}

/// The keys of all that points at a user.
fn pointers(cipher: &RecordCipher, user: &UserRecord) -> Vec<Vec<u8>> {
    let openids = user.openids.iter();
    let openids = openids.map(|link| LookupKey::OpenId(&link.app_id, &link.openid));
    let unionids = user.unionids.iter().map(LookupKey::UnionId);
    let phone = user.user.phone.iter().map(LookupKey::Phone);
    let lookup_keys = openids.chain(unionids).chain(phone);
    lookup_keys
        .flat_map(|lookup_key| lookup_key.candidate_keys(cipher))
        .collect()
}

/// Gaps are filled, nothing is overwritten.
fn fill(profile: &mut Profile, from: Profile) {
    let Profile {
        nickname,
        avatar_url,
        bio,
        birthday,
        unknown: _,
    } = from;
    let gaps = [
        (&mut profile.nickname, nickname),
        (&mut profile.avatar_url, avatar_url),
        (&mut profile.bio, bio),
        (&mut profile.birthday, birthday),
    ];
    for (field, value) in gaps {
        if field.is_none() {
            *field = value;
        }
    }
}
