//! Administrators, rights, look-ups, and the end of an account.

use super::{
    identity,
    layout::{self, LookupKey},
    outbox,
    records::{self, OpenIdRecord, PhoneRecord, Tombstone, UserRecord, UsernameRecord},
    revoke,
    transaction::{ReadView, Transaction},
};
use crate::{
    store::{
        AccountOutcome, Credentials, Identities, NewAccount, NewUserId, OutboxEvent, OutboxPolicy,
        PasswordHash, RevocationOutcome, RightsChange, RightsOutcome, User, UserIdentity,
        UserLookup, WechatIdentity, WechatSession, error::EngineError,
    },
    types::{Secret, SessionId, Timestamp, UserId, Username},
};

/// How long a `session_key` that was replaced still opens what a client had encrypted before it
/// heard of that.
const PREVIOUS_SESSION_KEY_TTL: std::time::Duration = std::time::Duration::from_mins(10);

/// Makes a user with a name and a password.
pub(in crate::store) fn create(
    tx: &mut Transaction<'_>,
    new: &NewAccount,
) -> Result<AccountOutcome, EngineError> {
    if let Some(taken) = tx.find::<UsernameRecord>(LookupKey::Username(&new.username))? {
        let is_repeat = matches!(&new.new_user, NewUserId::Generated(id) if *id == taken.user);
        return match records::user(tx, &taken.user)? {
            Some(record) if is_repeat => Ok(AccountOutcome::Created(Box::new(record.user))),
            Some(_) | None => Ok(AccountOutcome::UsernameTaken),
        };
    }
    let id = identity::new_id(tx, &new.new_user)?;
    let mut record = identity::new_user(id, new.user_type.clone(), new.now);
    record.user.username = Some(new.username.clone());
    put_password(tx, &record.user.id, &new.username, &new.password)?;
    records::put_user(tx, &record)?;
    Ok(AccountOutcome::Created(Box::new(record.user)))
}

fn put_password(
    tx: &mut Transaction<'_>,
    user: &UserId,
    name: &Username,
    password: &PasswordHash,
) -> Result<(), EngineError> {
    let record = UsernameRecord {
        user: user.clone(),
        username: name.clone(),
        password: password.0.expose().clone(),
    };
    tx.put_under(LookupKey::Username(name), &record).map(drop)
}

/// What the password of a name is checked against.
pub(in crate::store) fn credentials(
    view: &dyn ReadView,
    name: &Username,
) -> Result<Option<Credentials>, EngineError> {
    let found = view.find::<UsernameRecord>(LookupKey::Username(name))?;
    Ok(found.map(|record| Credentials {
        user: record.user,
        password: PasswordHash(Secret::new(record.password)),
    }))
}

/// Whose identity it is.
pub(in crate::store) fn find_user(
    view: &dyn ReadView,
    by: &UserIdentity,
) -> Result<Option<UserId>, EngineError> {
    Ok(match by {
        UserIdentity::Phone(phone) => view
            .find::<PhoneRecord>(LookupKey::Phone(phone))?
            .map(|record| record.user),
        UserIdentity::Username(name) => view
            .find::<UsernameRecord>(LookupKey::Username(name))?
            .map(|record| record.user),
        UserIdentity::OpenId(app, openid) => view
            .find::<OpenIdRecord>(LookupKey::OpenId(app, openid))?
            .map(|record| record.user),
    })
}

/// What an id belongs to.
pub(in crate::store) fn lookup_user(
    view: &dyn ReadView,
    id: &UserId,
) -> Result<UserLookup, EngineError> {
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
        return Ok(UserLookup::Active(Box::new(Identities {
            user,
            openids,
            unionids,
        })));
    }
    let tombstone: Option<Tombstone> = view.record(&layout::tombstone(id))?;
    Ok(
        tombstone.map_or(UserLookup::Unknown, |Tombstone { at, merged_into }| {
            UserLookup::Deleted { at, merged_into }
        }),
    )
}

/// Users by the order of their ids.
pub(in crate::store) fn page(
    view: &dyn ReadView,
    after: Option<&UserId>,
    limit: usize,
) -> Result<Vec<User>, EngineError> {
    let after = after.map(layout::user);
    let pairs = view.scan(layout::USERS, after.as_deref(), limit)?;
    pairs
        .iter()
        .map(|(key, bytes)| Ok(view.cipher().read::<UserRecord>(key, bytes)?.user))
        .collect()
}

/// Changes rights, and makes the change bite.
pub(in crate::store) fn change_rights(
    tx: &mut Transaction<'_>,
    id: &UserId,
    change: &RightsChange,
    now: Timestamp,
) -> Result<Option<RightsOutcome>, EngineError> {
    let Some(mut record) = records::user(tx, id)? else {
        return Ok(None);
    };
    let revoked = match change {
        RightsChange::Unban if !record.user.disabled => RevocationOutcome::default(),
        RightsChange::Unban => {
            record.user.disabled = false;
            records::put_user(tx, &record)?;
            RevocationOutcome::default()
        }
        RightsChange::Ban => {
            record.user.disabled = true;
            records::put_user(tx, &record)?;
            revoke::revoke_user(tx, id, now)?
        }
        RightsChange::UserType(kind) if record.user.user_type == *kind => {
            RevocationOutcome::default()
        }
        RightsChange::UserType(kind) => {
            record.user.user_type = kind.clone();
            records::put_user(tx, &record)?;
            revoke::revoke_access_tokens(tx, id, now)?
        }
        RightsChange::Password(password) => {
            let Some(name) = record.user.username.clone() else {
                return Ok(None);
            };
            put_password(tx, id, &name, password)?;
            revoke::revoke_user(tx, id, now)?
        }
    };
    let user = records::owner(tx, id)?.user;
    let RevocationOutcome { sessions, entries } = revoked;
    Ok(Some(RightsOutcome {
        user,
        ended: sessions.len(),
        entries,
    }))
}

/// Erases a user and all that leads to them.
pub(in crate::store) fn erase(
    tx: &mut Transaction<'_>,
    id: &UserId,
    requested_by: Option<SessionId>,
    outbox: OutboxPolicy,
    now: Timestamp,
) -> Result<Option<RevocationOutcome>, EngineError> {
    let found = match requested_by {
        Some(session) => records::caller(tx, id, session, now)?,
        None => records::user(tx, id)?,
    };
    let Some(record) = found else { return Ok(None) };
    let sessions = records::sessions_of(tx, id)?;
    // The line of the log outlives every token of the user. Sessions that had ended before hold
    // nothing personal.
    let revoked = revoke::revoke_user(tx, id, now)?;
    for session in sessions {
        tx.remove(layout::session(session.session.id));
    }
    for (app, openid) in &record.openids {
        tx.remove_under(LookupKey::OpenId(app, openid));
    }
    for unionid in &record.unionids {
        tx.remove_under(LookupKey::UnionId(unionid));
    }
    if let Some(phone) = &record.user.phone {
        tx.remove_under(LookupKey::Phone(phone));
    }
    if let Some(name) = &record.user.username {
        tx.remove_under(LookupKey::Username(name));
    }
    tx.remove(layout::user(id));
    tx.put(
        layout::tombstone(id),
        &Tombstone {
            at: now,
            merged_into: None,
        },
    )?;
    if outbox.deleted {
        outbox::put(tx, OutboxEvent::Deleted { user: id.clone() }, now)?;
    }
    Ok(Some(revoked))
}

/// Whether the openid is this user's.
pub(in crate::store) fn prove_wechat(
    tx: &mut Transaction<'_>,
    user: &UserId,
    identity: &WechatIdentity,
    now: Timestamp,
) -> Result<bool, EngineError> {
    let lookup_key = LookupKey::OpenId(&identity.app_id, &identity.openid);
    let Some(mut known) = tx
        .find::<OpenIdRecord>(lookup_key)?
        .filter(|known| known.user == *user)
    else {
        return Ok(false);
    };
    if known.renew_key(identity.session_key.as_ref(), now) {
        tx.put_under(lookup_key, &known)?;
    }
    Ok(true)
}

/// What WeChat knows a session by.
pub(in crate::store) fn wechat_session(
    view: &dyn ReadView,
    id: SessionId,
    now: Timestamp,
) -> Result<Option<WechatSession>, EngineError> {
    let Some(record) = records::session(view, id)? else {
        return Ok(None);
    };
    if !record.is_active(records::global_epoch(view), now) {
        return Ok(None);
    }
    let Some((app_id, openid)) = record.session.app_id.clone().zip(record.openid) else {
        return Ok(None);
    };
    let known: Option<OpenIdRecord> = view.find(LookupKey::OpenId(&app_id, &openid))?;
    let Some(known) = known.filter(|known| known.user == record.session.user) else {
        return Ok(None);
    };
    let previous = known
        .previous_session_key
        .filter(|(_, replaced)| now.since(*replaced) < PREVIOUS_SESSION_KEY_TTL);
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
