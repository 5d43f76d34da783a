//! Two users become one, on proof that both are the same person.
//!
//! The older one is left, with the identities of both (of two phones, `phone.rs` keeps the one just
//! proven); the other one's sessions end, and its id is never used again. It is one batch, so it is
//! there whole or not at all.

use super::{
    draft::Draft,
    layout::{self, Handle},
    outbox,
    records::{self, GoneRecord, OpenIdRecord, PhoneRecord, UnionIdRecord, UserRecord},
    revoke,
};
use crate::{
    store::{Announce, OutboxEvent, Profile, Revoked, failure::Failure},
    types::{AppId, Timestamp, UserType},
};

/// Who is left, who is gone, and what that ended.
pub(super) struct Joined {
    pub(super) left: UserRecord,
    pub(super) gone: crate::types::UserId,
    pub(super) revoked: Revoked,
}

/// Whether the two can be one person as far as we know. Two people of one mini program cannot; and
/// nobody gets or loses rights by joining: neither may be banned, or anything but a plain user.
pub(super) fn fits(one: &UserRecord, other: &UserRecord) -> bool {
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
            .map(|(app, _)| app.clone())
            .collect::<Vec<AppId>>()
    };
    let same_app = apps(one).iter().any(|app| apps(other).contains(app));
    let two_unions = !one.unionids.is_empty() && !other.unionids.is_empty();
    plain(one) && plain(other) && !same_app && !two_unions
}

/// Joins two that fit.
pub(super) fn join(
    draft: &mut Draft<'_>,
    one: UserRecord,
    other: UserRecord,
    announce: Announce,
    now: Timestamp,
) -> Result<Joined, Failure> {
    let age = |record: &UserRecord| (record.user.created_at, record.user.id.clone());
    let (mut left, gone) = if age(&one) <= age(&other) {
        (one, other)
    } else {
        (other, one)
    };
    let revoked = revoke::whole_user(draft, &gone.user.id, now)?;
    let id = &left.user.id;
    for (app, openid) in &gone.openids {
        let handle = Handle::OpenId(app, openid);
        if let Some(record) = draft.find::<OpenIdRecord>(handle)? {
            draft.put_under(
                handle,
                &OpenIdRecord {
                    user: id.clone(),
                    ..record
                },
            )?;
        }
    }
    for unionid in &gone.unionids {
        let record = UnionIdRecord {
            user: id.clone(),
            unionid: unionid.clone(),
        };
        draft.put_under(Handle::UnionId(unionid), &record)?;
    }
    match (&left.user.phone, &gone.user.phone) {
        (None, Some(phone)) => {
            draft.put_under(
                Handle::Phone(phone),
                &PhoneRecord {
                    user: id.clone(),
                    phone: phone.clone(),
                },
            )?;
            left.user.phone = Some(phone.clone());
        }
        (Some(_), Some(phone)) => draft.remove_under(Handle::Phone(phone)),
        (_, None) => {}
    }
    left.openids.extend(gone.openids);
    left.unionids.extend(gone.unionids);
    fill(&mut left.user.profile, gone.user.profile);
    left.user.last_login_at = now;
    records::put_user(draft, &left)?;

    let gone = gone.user.id;
    draft.remove(layout::user(&gone));
    draft.put(
        layout::gone(&gone),
        &GoneRecord {
            at: now,
            merged_into: Some(id.clone()),
        },
    )?;
    if announce.merged {
        outbox::put(
            draft,
            OutboxEvent::Merged {
                user: id.clone(),
                gone: gone.clone(),
            },
            now,
        )?;
    }
    Ok(Joined {
        left,
        gone,
        revoked,
    })
}

/// Gaps are filled, nothing is overwritten.
fn fill(profile: &mut Profile, from: Profile) {
    let Profile {
        nickname,
        avatar_url,
        bio,
        birthday,
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
