//! Signing somebody in, as one step.

use super::{
    draft::{Draft, View},
    layout,
    records::{self, OpenIdRecord, SessionRecord, SpentCode, UnionIdRecord, UserRecord},
    revoke, sweep,
};
use crate::{
    store::{LoginOutcome, NewLogin, NewUserId, Opened, Profile, Session, User, failure::Failure},
    types::{SessionId, Timestamp, UserId, UserType},
};

/// Finds or makes the user, links the identities, spends the code, opens the session.
pub(super) fn login(draft: &mut Draft<'_>, login: &NewLogin) -> Result<LoginOutcome, Failure> {
    if let Some(before) = records::session(draft, login.session.id)? {
        return repeated(draft, login, &before);
    }
    if let Some((code, until)) = &login.code {
        let key = layout::code(code);
        let spent: Option<SpentCode> = draft.record(&key)?;
        if spent.is_some_and(|spent| login.now < spent.until) {
            return Ok(LoginOutcome::CodeSpent);
        }
        draft.mark(layout::expiry(*until, &key));
        draft.put(key, &SpentCode { until: *until })?;
    }

    let known = find(draft, login)?;
    let is_new_user = known.is_none();
    let mut user = match known {
        Some(user) if user.user.disabled => return Ok(refused(draft, LoginOutcome::Disabled(user.user.id))),
        Some(user) => returning(user, login),
        None if !login.registration_open => return Ok(refused(draft, LoginOutcome::RegistrationClosed)),
        None => stranger(draft, login)?,
    };
    link(draft, login, &mut user)?;
    records::put_user(draft, &user)?;

    let displaced = displace(draft, login, &user.user.id)?;
    let global_epoch = records::global_epoch(draft)?;
    let session = open(draft, login, &user.user.id, is_new_user, global_epoch, &displaced)?;
    Ok(LoginOutcome::Opened(Box::new(Opened { user: user.user, session, is_new_user, global_epoch, ended: displaced })))
}

/// A refused login spends nothing.
fn refused(draft: &mut Draft<'_>, outcome: LoginOutcome) -> LoginOutcome {
    draft.forget();
    outcome
}

/// The same login again, after an answer was lost. A session that has ended meanwhile is not opened a second time.
fn repeated(draft: &Draft<'_>, login: &NewLogin, before: &SessionRecord) -> Result<LoginOutcome, Failure> {
    let global_epoch = records::global_epoch(draft)?;
    let owner = owner_of_openid(draft, login)?;
    let same = owner.as_ref() == Some(&before.session.user);
    if !same || !before.lives(global_epoch, login.now) {
        return Ok(LoginOutcome::CodeSpent);
    }
    let Some(user) = records::user(draft, &before.session.user)? else { return Ok(LoginOutcome::CodeSpent) };
    if user.user.disabled {
        return Ok(LoginOutcome::Disabled(user.user.id));
    }
    Ok(LoginOutcome::Opened(Box::new(Opened {
        user: user.user,
        session: before.session.clone(),
        is_new_user: before.is_new_user,
        global_epoch,
        ended: before.displaced.clone(),
    })))
}

/// Whose openid it is; else whose unionid. Where they name two users the openid wins and nothing is merged: a merge needs
/// a proof of both sides, which a login is not.
fn find(draft: &Draft<'_>, login: &NewLogin) -> Result<Option<UserRecord>, Failure> {
    let owner = match owner_of_openid(draft, login)? {
        Some(owner) => Some(owner),
        None => owner_of_unionid(draft, login)?,
    };
    let Some(owner) = owner else { return Ok(None) };
    let missing = || Failure::damaged(&layout::user(&owner), "is missing, though an identity leads to it");
    records::user(draft, &owner)?.ok_or_else(missing).map(Some)
}

fn owner_of_openid(draft: &Draft<'_>, login: &NewLogin) -> Result<Option<UserId>, Failure> {
    let hash = draft.vault().openid_hash(&login.identity.app_id, &login.identity.openid);
    Ok(draft.record::<OpenIdRecord>(&layout::openid(&hash))?.map(|record| record.user))
}

fn owner_of_unionid(draft: &Draft<'_>, login: &NewLogin) -> Result<Option<UserId>, Failure> {
    let Some(unionid) = &login.identity.unionid else { return Ok(None) };
    let hash = draft.vault().unionid_hash(unionid);
    Ok(draft.record::<UnionIdRecord>(&layout::unionid(&hash))?.map(|record| record.user))
}

/// A user who was here before: what they said of themselves stays, gaps are filled.
fn returning(mut user: UserRecord, login: &NewLogin) -> UserRecord {
    let Profile { nickname, avatar_url, bio: _, birthday: _ } = &login.profile;
    user.user.profile.nickname = user.user.profile.nickname.or_else(|| nickname.clone());
    user.user.profile.avatar_url = user.user.profile.avatar_url.or_else(|| avatar_url.clone());
    if login.user_type == UserType::admin() {
        user.user.user_type = UserType::admin();
    }
    user.user.last_login_at = login.now;
    user
}

/// A new user under an id that nobody has had.
fn stranger(draft: &mut Draft<'_>, login: &NewLogin) -> Result<UserRecord, Failure> {
    let id = match &login.new_user {
        NewUserId::Given(id) => id.clone(),
        NewUserId::NextInteger { first } => next_integer(draft, *first)?,
    };
    if draft.bytes(&layout::user(&id))?.is_some() {
        return Err(Failure::Refused("the id given for a new user is taken"));
    }
    let user = User {
        id,
        user_type: login.user_type.clone(),
        roles: Vec::new(),
        epoch: 0,
        disabled: false,
        profile: login.profile.clone(),
        created_at: login.now,
        last_login_at: login.now,
    };
    Ok(UserRecord { user, openids: [].into(), unionids: [].into() })
}

/// Counts up, over ids that were imported.
fn next_integer(draft: &mut Draft<'_>, first: u64) -> Result<UserId, Failure> {
    let mut next = draft.record::<u64>(layout::NEXT_USER)?.unwrap_or_default().max(first);
    loop {
        let id = UserId::parse(&next.to_string()).map_err(|_| Failure::Refused("there is no user id left"))?;
        next = next.checked_add(1).ok_or(Failure::Refused("there is no user id left"))?;
        if draft.bytes(&layout::user(&id))?.is_none() {
            draft.put(layout::NEXT_USER.to_vec(), &next)?;
            return Ok(id);
        }
    }
}

/// Makes the identities lead to the user, unless they lead to somebody already.
fn link(draft: &mut Draft<'_>, login: &NewLogin, user: &mut UserRecord) -> Result<(), Failure> {
    let identity = &login.identity;
    let hash = draft.vault().openid_hash(&identity.app_id, &identity.openid);
    let key = layout::openid(&hash);
    let known: Option<OpenIdRecord> = draft.record(&key)?;
    let is_new = known.is_none();
    let mut record = known.unwrap_or_else(|| OpenIdRecord {
        user: user.user.id.clone(),
        app_id: identity.app_id.clone(),
        openid: identity.openid.clone(),
        session_key: None,
        previous_session_key: None,
    });
    if record.renew_key(identity.session_key.as_ref(), login.now) || is_new {
        draft.put(key, &record)?;
    }
    user.openids.insert(hash);

    let Some(unionid) = &identity.unionid else { return Ok(()) };
    let hash = draft.vault().unionid_hash(unionid);
    let key = layout::unionid(&hash);
    if draft.bytes(&key)?.is_none() {
        draft.put(key, &UnionIdRecord { user: user.user.id.clone(), unionid: unionid.clone() })?;
        user.unionids.insert(hash);
    }
    Ok(())
}

/// Ends the user's living sessions of the same client type, where the login asks for it.
fn displace(draft: &mut Draft<'_>, login: &NewLogin, user: &UserId) -> Result<Vec<SessionId>, Failure> {
    if !login.single_per_client_type {
        return Ok(Vec::new());
    }
    let global_epoch = records::global_epoch(draft)?;
    let mut ended = Vec::new();
    for other in records::sessions_of(draft, user)? {
        if other.session.client_type == login.session.client_type && other.lives(global_epoch, login.now) {
            ended.push(other.session.id);
            revoke::end(draft, other, login.now)?;
        }
    }
    Ok(ended)
}

/// Most ended sessions that a session keeps for the answer to a repeated login: a record has a longest length, and the log
/// has them all.
const MOST_DISPLACED: usize = 500;

fn open(
    draft: &mut Draft<'_>,
    login: &NewLogin,
    user: &UserId,
    is_new_user: bool,
    global_epoch: u64,
    displaced: &[SessionId],
) -> Result<Session, Failure> {
    let new = &login.session;
    let absolute_end = login.now.plus(new.absolute_ttl);
    let session = Session {
        id: new.id,
        user: user.clone(),
        client_type: new.client_type,
        app_id: Some(login.identity.app_id.clone()),
        created_at: login.now,
        last_used_at: login.now,
        counter: 0,
        rotated_at: login.now,
        idle_end: idle_end(login.now, new.idle_ttl, absolute_end),
        absolute_end,
        salt: new.salt,
    };
    let displaced = displaced.iter().take(MOST_DISPLACED).copied().collect();
    let record = SessionRecord { session: session.clone(), global_epoch, ended_at: None, is_new_user, displaced };
    records::put_session(draft, &record)?;
    draft.mark(layout::session_of(user, session.id));
    draft.mark(layout::expiry(sweep::session_forgotten_at(&record), &layout::session(session.id)));
    Ok(session)
}

/// Unused so long, a session ends; the absolute end stays.
pub(super) fn idle_end(now: Timestamp, idle_ttl: std::time::Duration, absolute_end: Timestamp) -> Timestamp {
    now.plus(idle_ttl).min(absolute_end)
}
