//! Administrators, rights, look-ups, and the end of an account.

use super::{
    draft::{Draft, View},
    identity,
    layout::{self, Handle},
    outbox,
    records::{self, GoneRecord, OpenIdRecord, PhoneRecord, UserRecord, UsernameRecord},
    revoke,
};
use crate::{
    store::{
        AccountOutcome, Announce, Credentials, Identities, Known, Lookup, NewAccount, NewUserId,
        OutboxEvent, PasswordHash, Revoked, RightsChange, RightsChanged, User, WechatIdentity,
        WechatSession, failure::Failure,
    },
    types::{Secret, SessionId, Timestamp, UserId, Username},
};

/// How long a `session_key` that was replaced still opens what a client had encrypted before it
/// heard of that.
const PREVIOUS_SESSION_KEY: std::time::Duration = std::time::Duration::from_mins(10);

/// Makes a user with a name and a password.
pub(super) fn create(draft: &mut Draft<'_>, new: &NewAccount) -> Result<AccountOutcome, Failure> {
    if let Some(taken) = draft.find::<UsernameRecord>(Handle::Username(&new.username))? {
        let is_repeat = matches!(&new.new_user, NewUserId::Given(id) if *id == taken.user);
        return match records::user(draft, &taken.user)? {
            Some(record) if is_repeat => Ok(AccountOutcome::Created(Box::new(record.user))),
            Some(_) | None => Ok(AccountOutcome::UsernameTaken),
        };
    }
    let id = identity::new_id(draft, &new.new_user)?;
    let mut record = identity::new_user(id, new.user_type.clone(), new.now);
    record.user.username = Some(new.username.clone());
    put_password(draft, &record.user.id, &new.username, &new.password)?;
    records::put_user(draft, &record)?;
    Ok(AccountOutcome::Created(Box::new(record.user)))
}

fn put_password(
    draft: &mut Draft<'_>,
    user: &UserId,
    name: &Username,
    password: &PasswordHash,
) -> Result<(), Failure> {
    let record = UsernameRecord {
        user: user.clone(),
        username: name.clone(),
        password: password.0.expose().clone(),
    };
    draft.put_under(Handle::Username(name), &record).map(drop)
}

/// What the password of a name is checked against.
pub(super) fn credentials(
    view: &dyn View,
    name: &Username,
) -> Result<Option<Credentials>, Failure> {
    let found = view.find::<UsernameRecord>(Handle::Username(name))?;
    Ok(found.map(|record| Credentials {
        user: record.user,
        password: PasswordHash(Secret::new(record.password)),
    }))
}

/// Whose identity it is.
pub(super) fn find(view: &dyn View, by: &Lookup) -> Result<Option<UserId>, Failure> {
    Ok(match by {
        Lookup::Phone(phone) => view
            .find::<PhoneRecord>(Handle::Phone(phone))?
            .map(|record| record.user),
        Lookup::Username(name) => view
            .find::<UsernameRecord>(Handle::Username(name))?
            .map(|record| record.user),
        Lookup::OpenId(app, openid) => view
            .find::<OpenIdRecord>(Handle::OpenId(app, openid))?
            .map(|record| record.user),
    })
}

/// What has become of an id.
pub(super) fn known(view: &dyn View, id: &UserId) -> Result<Known, Failure> {
    if let Some(UserRecord {
        user,
        openids,
        unionids,
        sessions: _,
    }) = records::user(view, id)?
    {
        let (openids, unionids) = (
            openids.into_iter().collect(),
            unionids.into_iter().collect(),
        );
        return Ok(Known::User(Box::new(Identities {
            user,
            openids,
            unionids,
        })));
    }
    let gone: Option<GoneRecord> = view.record(&layout::gone(id))?;
    Ok(
        gone.map_or(Known::Never, |GoneRecord { at, merged_into }| Known::Gone {
            at,
            merged_into,
        }),
    )
}

/// Users by the order of their ids.
pub(super) fn page(
    view: &dyn View,
    after: Option<&UserId>,
    limit: usize,
) -> Result<Vec<User>, Failure> {
    let after = after.map(layout::user);
    let pairs = view.scan(layout::USERS, after.as_deref(), limit)?;
    pairs
        .iter()
        .map(|(key, bytes)| Ok(view.vault().open::<UserRecord>(key, bytes)?.user))
        .collect()
}

/// Changes rights, and makes the change bite.
pub(super) fn change_rights(
    draft: &mut Draft<'_>,
    id: &UserId,
    change: &RightsChange,
    now: Timestamp,
) -> Result<Option<RightsChanged>, Failure> {
    let Some(mut record) = records::user(draft, id)? else {
        return Ok(None);
    };
    let revoked = match change {
        RightsChange::Unban if !record.user.disabled => Revoked::default(),
        RightsChange::Unban => {
            record.user.disabled = false;
            records::put_user(draft, &record)?;
            Revoked::default()
        }
        RightsChange::Ban => {
            record.user.disabled = true;
            records::put_user(draft, &record)?;
            revoke::whole_user(draft, id, now)?
        }
        RightsChange::UserType(kind) if record.user.user_type == *kind => Revoked::default(),
        RightsChange::UserType(kind) => {
            record.user.user_type = kind.clone();
            records::put_user(draft, &record)?;
            revoke::access_tokens(draft, id, now)?
        }
        RightsChange::Password(password) => {
            let Some(name) = record.user.username.clone() else {
                return Ok(None);
            };
            put_password(draft, id, &name, password)?;
            revoke::whole_user(draft, id, now)?
        }
    };
    let user = records::owner(draft, id)?.user;
    let Revoked { sessions, entries } = revoked;
    Ok(Some(RightsChanged {
        user,
        ended: sessions.len(),
        entries,
    }))
}

/// Erases a user and all that leads to them.
pub(super) fn erase(
    draft: &mut Draft<'_>,
    id: &UserId,
    wanted_by: Option<SessionId>,
    announce: Announce,
    now: Timestamp,
) -> Result<Option<Revoked>, Failure> {
    let found = match wanted_by {
        Some(session) => records::caller(draft, id, session, now)?,
        None => records::user(draft, id)?,
    };
    let Some(record) = found else { return Ok(None) };
    let sessions = records::sessions_of(draft, id)?;
    // The line of the log outlives every token of the user. Sessions that had ended before hold
    // nothing personal.
    let revoked = revoke::whole_user(draft, id, now)?;
    for session in sessions {
        draft.remove(layout::session(session.session.id));
    }
    for (app, openid) in &record.openids {
        draft.remove_under(Handle::OpenId(app, openid));
    }
    for unionid in &record.unionids {
        draft.remove_under(Handle::UnionId(unionid));
    }
    if let Some(phone) = &record.user.phone {
        draft.remove_under(Handle::Phone(phone));
    }
    if let Some(name) = &record.user.username {
        draft.remove_under(Handle::Username(name));
    }
    draft.remove(layout::user(id));
    draft.put(
        layout::gone(id),
        &GoneRecord {
            at: now,
            merged_into: None,
        },
    )?;
    if announce.deleted {
        outbox::put(draft, OutboxEvent::Deleted { user: id.clone() }, now)?;
    }
    Ok(Some(revoked))
}

/// Whether the openid is this user's.
pub(super) fn prove_wechat(
    draft: &mut Draft<'_>,
    user: &UserId,
    said: &WechatIdentity,
    now: Timestamp,
) -> Result<bool, Failure> {
    let handle = Handle::OpenId(&said.app_id, &said.openid);
    let Some(mut known) = draft
        .find::<OpenIdRecord>(handle)?
        .filter(|known| known.user == *user)
    else {
        return Ok(false);
    };
    if known.renew_key(said.session_key.as_ref(), now) {
        draft.put_under(handle, &known)?;
    }
    Ok(true)
}

/// What WeChat knows a session by.
pub(super) fn wechat_session(
    view: &dyn View,
    id: SessionId,
    now: Timestamp,
) -> Result<Option<WechatSession>, Failure> {
    let Some(record) = records::session(view, id)? else {
        return Ok(None);
    };
    if !record.lives(records::global_epoch(view)?, now) {
        return Ok(None);
    }
    let Some((app_id, openid)) = record.session.app_id.clone().zip(record.openid) else {
        return Ok(None);
    };
    let known: Option<OpenIdRecord> = view.find(Handle::OpenId(&app_id, &openid))?;
    let Some(known) = known.filter(|known| known.user == record.session.user) else {
        return Ok(None);
    };
    let previous = known
        .previous_session_key
        .filter(|(_, replaced)| now.since(*replaced) < PREVIOUS_SESSION_KEY);
    let session_keys = known
        .session_key
        .into_iter()
        .chain(previous.map(|(key, _)| key))
        .map(Secret::new)
        .collect();
    Ok(Some(WechatSession {
        session: record.session,
        app_id,
        openid,
        session_keys,
    }))
}
