//! Administrators, rights, look-ups, and the end of an account.

use super::{
    identity,
    layout::{self, LookupKey},
    outbox,
    records::{OpenIdRecord, PhoneRecord, UsernameRecord},
    revoke,
    transaction::{ReadView, Transaction},
    user_record::{self, SessionRecord, Tombstone, WechatLink},
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
        return match user_record::user(tx, &taken.user)? {
            Some(record) if is_repeat => Ok(AccountOutcome::Created(Box::new(record.user))),
            Some(_) | None => Ok(AccountOutcome::UsernameTaken),
        };
    }
    let id = identity::new_id(tx, &new.new_user)?;
    let mut record = identity::new_user(id, new.user_type.clone(), new.now);
    record.user.username = Some(new.username.clone());
    put_password(tx, &record.user.id, &new.username, &new.password)?;
    user_record::put_user(tx, &record)?;
    Ok(AccountOutcome::Created(Box::new(record.user)))
}

fn put_password(
    tx: &mut Transaction<'_>,
    user: &UserId,
    name: &Username,
    password: &PasswordHash,
) -> Result<(), EngineError> {
    let password = password.0.expose().clone();
    let lookup_key = LookupKey::Username(name);
    let record = match tx.find::<UsernameRecord>(lookup_key)? {
        Some(mut known) => {
            known.password = password;
            known
        }
        None => UsernameRecord::new(user, name, password),
    };
    tx.put_under(lookup_key, &record).map(drop)
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
    if let Some(record) = user_record::user(view, id)? {
        let openids = record.openids.into_iter();
        return Ok(UserLookup::Active(Box::new(Identities {
            user: record.user,
            openids: openids.map(|link| (link.app_id, link.openid)).collect(),
            unionids: record.unionids.into_iter().collect(),
        })));
    }
    Ok(user_record::tombstone(view, id)?.map_or(
        UserLookup::Unknown,
        |Tombstone {
             at, merged_into, ..
         }| { UserLookup::Deleted { at, merged_into } },
    ))
}

/// Users by the order of their ids. Ids that are only taken lie among them.
pub(in crate::store) fn page(
    view: &dyn ReadView,
    after: Option<&UserId>,
    limit: usize,
) -> Result<Vec<User>, EngineError> {
    let mut after = after.map(layout::user);
    let mut users = Vec::new();
    while users.len() < limit {
        let wanted = limit - users.len();
        let pairs = view.scan(layout::USERS, after.as_deref(), wanted)?;
        for (key, bytes) in &pairs {
            if let Ok(record) = user_record::read_user(view.cipher(), key, bytes)? {
                users.push(record.user);
            }
        }
        match pairs.last() {
            Some((last, _)) if pairs.len() >= wanted => after = Some(last.clone()),
            Some(_) | None => break,
        }
    }
    Ok(users)
}

/// Changes rights, and makes the change bite.
pub(in crate::store) fn change_rights(
    tx: &mut Transaction<'_>,
    id: &UserId,
    change: &RightsChange,
    now: Timestamp,
) -> Result<Option<RightsOutcome>, EngineError> {
    let Some(mut record) = user_record::user(tx, id)? else {
        return Ok(None);
    };
    let revoked = match change {
        RightsChange::Unban => {
            record.user.disabled = false;
            RevocationOutcome::default()
        }
        RightsChange::Ban => {
            record.user.disabled = true;
            revoke::revoke_user(tx, &mut record, now)?
        }
        RightsChange::UserType(kind) if record.user.user_type == *kind => {
            RevocationOutcome::default()
        }
        RightsChange::UserType(kind) => {
            record.user.user_type = kind.clone();
            revoke::revoke_access_tokens(tx, &mut record, now)?
        }
        RightsChange::Password(password) => {
            let Some(name) = record.user.username.clone() else {
                return Ok(None);
            };
            put_password(tx, id, &name, password)?;
            revoke::revoke_user(tx, &mut record, now)?
        }
    };
    user_record::put_user(tx, &record)?;
    let RevocationOutcome { sessions, entries } = revoked;
    Ok(Some(RightsOutcome {
        user: record.user,
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
        Some(session) => user_record::caller(tx, id, session, now)?,
        None => user_record::user(tx, id)?,
    };
    let Some(mut record) = found else {
        return Ok(None);
    };
    // The line of the log outlives every token of the user.
    let revoked = revoke::revoke_user(tx, &mut record, now)?;
    for WechatLink { app_id, openid, .. } in &record.openids {
        tx.remove_under(LookupKey::OpenId(app_id, openid));
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
    let tombstone = Tombstone::new(now, None);
    user_record::put_tombstone(tx, id, tombstone)?;
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
    let Some(mut record) = user_record::user(tx, user)? else {
        return Ok(false);
    };
    let Some(link) = record.link_mut(&identity.app_id, &identity.openid) else {
        return Ok(false);
    };
    if link.renew_key(identity.session_key.as_ref(), now) {
        user_record::put_user(tx, &record)?;
    }
    Ok(true)
}

/// What WeChat knows a session by.
pub(in crate::store) fn wechat_session(
    view: &dyn ReadView,
    user: &UserId,
    id: SessionId,
    now: Timestamp,
) -> Result<Option<WechatSession>, EngineError> {
    let Some(record) = user_record::caller(view, user, id, now)? else {
        return Ok(None);
    };
    let Some(SessionRecord {
        session, openid, ..
    }) = record.session(id)
    else {
        return Ok(None);
    };
    let Some((app_id, openid)) = session.app_id.clone().zip(openid.clone()) else {
        return Ok(None);
    };
    let Some(link) = record.link(&app_id, &openid) else {
        return Ok(None);
    };
    let is_good = |replaced: Timestamp| now.since(replaced) < PREVIOUS_SESSION_KEY_TTL;
    let previous = link.previous_session_key.as_ref();
    let previous = previous.filter(|(_, replaced)| is_good(*replaced));
    let session_keys = link
        .session_key
        .iter()
        .chain(previous.map(|(key, _)| key))
        .cloned()
        .map(Secret::new)
        .collect();
    Ok(Some(WechatSession {
        session: session.clone(),
        app_id,
        openid,
        session_keys,
    }))
}
