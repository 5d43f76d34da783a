//! Login, as one step.

use super::{
    identity,
    layout::{self, LookupKey},
    merge::{self, MergeResult},
    outbox,
    records::{
        self, OpenIdRecord, PhoneRecord, SessionRecord, SpentCode, UnionIdRecord, UserRecord,
        UsernameRecord,
    },
    revoke,
    sms::{self, GuessResult},
    sweep,
    transaction::Transaction,
};
use crate::{
    crypto,
    store::{
        CodeHash, LoginOutcome, LoginProof, NewLogin, NewSession, NewUserId, OpenedSession,
        OutboxEvent, Profile, RevocationOutcome, Session, WechatIdentity, error::EngineError,
    },
    types::{AppId, ClientType, OpenId, SessionId, Timestamp, UserId, UserType},
};

/// Finds or makes the user, links the identities, spends the code, opens the session.
pub(in crate::store) fn login(
    tx: &mut Transaction<'_>,
    login: &NewLogin,
) -> Result<LoginOutcome, EngineError> {
    if let Some(before) = records::session(tx, login.session.id)? {
        return repeated(tx, login, &before);
    }
    if let Some((code, until)) = &login.code
        && !spend_code(tx, code, *until, login.now)?
    {
        return Ok(LoginOutcome::CodeSpent);
    }
    match check_proof(tx, login)? {
        GuessResult::Right => {}
        wrong => {
            return Ok(LoginOutcome::NotProven {
                no_code: wrong == GuessResult::NoCode,
            });
        }
    }
    let FoundUser {
        user: known,
        merged,
    } = find(tx, login)?;
    let is_new_user = known.is_none();
    let mut user = match known {
        Some(user) if user.user.disabled => {
            return Ok(refused(tx, login, LoginOutcome::Disabled(user.user.id)));
        }
        Some(user) => update_returning(user, login),
        None if !login.registration_open => {
            return Ok(refused(tx, login, LoginOutcome::RegistrationClosed));
        }
        None => match create_user(tx, login)? {
            Ok(user) => user,
            Err(nobody) => {
                tx.rollback();
                return Ok(nobody);
            }
        },
    };
    link(tx, login, &mut user)?;
    let capacity = Capacity {
        client_type: login.session.client_type,
        single_per_client_type: login.single_per_client_type,
        max_sessions: login.max_sessions,
    };
    let evicted = evict_sessions(tx, &capacity, &mut user, login.now)?;
    records::put_user(tx, &user)?;
    let origin = match &login.proof {
        LoginProof::Wechat(identity) => Some((identity.app_id.clone(), identity.openid.clone())),
        LoginProof::Sms(_) | LoginProof::Password(..) => None,
    };
    let ends_by = Timestamp::from_millis(u64::MAX);
    let origin = SessionOrigin {
        is_new_user,
        evicted: &evicted,
        merged: None,
        origin,
        since: login.now,
        ends_by,
    };
    let (session, global_epoch) = open(tx, &login.session, &user.user.id, origin, login.now)?;
    let opened = OpenedSession {
        user: user.user,
        session,
        is_new_user,
        global_epoch,
        ended: evicted,
        merged,
    };
    Ok(LoginOutcome::Opened(Box::new(opened)))
}

/// Spends a single-use code, such as that of `wx.login`; `false`: it is spent already.
pub(in crate::store) fn spend_code(
    tx: &mut Transaction<'_>,
    code: &CodeHash,
    until: Timestamp,
    now: Timestamp,
) -> Result<bool, EngineError> {
    let key = layout::code(code);
    let spent: Option<SpentCode> = tx.record(&key)?;
    if spent.is_some_and(|spent| now < spent.until) {
        return Ok(false);
    }
    tx.touch(layout::expiry(until, &key));
    tx.put(key, &SpentCode { until })?;
    Ok(true)
}

/// What can be proven only here: a code that was sent, and that the password is still the one that
/// was compared.
fn check_proof(tx: &mut Transaction<'_>, login: &NewLogin) -> Result<GuessResult, EngineError> {
    match &login.proof {
        LoginProof::Wechat(_) => Ok(GuessResult::Right),
        LoginProof::Sms(guess) => sms::guess(tx, guess, login.now),
        LoginProof::Password(username, seen) => {
            let now: Option<UsernameRecord> = tx.find(LookupKey::Username(username))?;
            let is_same = |now: &UsernameRecord| {
                now.user == seen.user
                    && crypto::constant_time_eq(
                        now.password.as_bytes(),
                        seen.password.0.expose().as_bytes(),
                    )
            };
            Ok(if now.as_ref().is_some_and(is_same) {
                GuessResult::Right
            } else {
                GuessResult::Wrong
            })
        }
    }
}

/// A refused login with WeChat spends nothing. A right SMS code is used up all the same.
fn refused(tx: &mut Transaction<'_>, login: &NewLogin, outcome: LoginOutcome) -> LoginOutcome {
    if matches!(login.proof, LoginProof::Wechat(_)) {
        tx.rollback();
    }
    outcome
}

/// The same login again, after an answer was lost. A session that has ended meanwhile is not opened
/// a second time.
fn repeated(
    tx: &Transaction<'_>,
    login: &NewLogin,
    before: &SessionRecord,
) -> Result<LoginOutcome, EngineError> {
    let global_epoch = records::global_epoch(tx)?;
    let same = owner_of(tx, login)?.as_ref() == Some(&before.session.user);
    let Some(user) = records::user(tx, &before.session.user)?.filter(|_| same) else {
        return Ok(LoginOutcome::CodeSpent);
    };
    if user.user.disabled {
        return Ok(LoginOutcome::Disabled(user.user.id));
    }
    if !before.is_active(global_epoch, login.now) {
        return Ok(LoginOutcome::CodeSpent);
    }
    Ok(LoginOutcome::Opened(Box::new(OpenedSession {
        user: user.user,
        session: before.session.clone(),
        is_new_user: before.is_new_user,
        global_epoch,
        ended: before.evicted.clone(),
        merged: None,
    })))
}

/// Who signs in, and who was joined to them just now.
#[derive(Default)]
struct FoundUser {
    user: Option<UserRecord>,
    merged: Option<(UserId, RevocationOutcome)>,
}

/// Whose identity it is: the openid's, else the unionid's. Where the two are different users WeChat
/// has just named them as one person; they are merged where the config allows it and they do not
/// conflict, and otherwise the openid wins.
fn find(tx: &mut Transaction<'_>, login: &NewLogin) -> Result<FoundUser, EngineError> {
    let Some(owner) = owner_of(tx, login)? else {
        return Ok(FoundUser::default());
    };
    let user = records::owner(tx, &owner)?;
    let other = match &login.proof {
        LoginProof::Wechat(identity) if login.merge => owner_of_unionid(tx, identity)?,
        LoginProof::Wechat(_) | LoginProof::Sms(_) | LoginProof::Password(..) => None,
    };
    let Some(other) = other.filter(|other| *other != owner) else {
        return Ok(FoundUser {
            user: Some(user),
            merged: None,
        });
    };
    let other = records::owner(tx, &other)?;
    // Neither phone is proven here, and one of them would be lost.
    let two_phones = user.user.phone.is_some() && other.user.phone.is_some();
    if two_phones || !merge::can_merge(&user, &other) {
        return Ok(FoundUser {
            user: Some(user),
            merged: None,
        });
    }
    let MergeResult {
        survivor,
        merged_id,
        revoked,
    } = merge::merge_users(tx, user, other, login.outbox, login.now)?;
    Ok(FoundUser {
        user: Some(survivor),
        merged: Some((merged_id, revoked)),
    })
}

fn owner_of(tx: &Transaction<'_>, login: &NewLogin) -> Result<Option<UserId>, EngineError> {
    match &login.proof {
        LoginProof::Wechat(identity) => {
            let lookup_key = LookupKey::OpenId(&identity.app_id, &identity.openid);
            match tx.find::<OpenIdRecord>(lookup_key)? {
                Some(record) => Ok(Some(record.user)),
                None => owner_of_unionid(tx, identity),
            }
        }
        LoginProof::Sms(guess) => Ok(tx
            .find::<PhoneRecord>(LookupKey::Phone(&guess.phone))?
            .map(|record| record.user)),
        LoginProof::Password(_, seen) => Ok(Some(seen.user.clone())),
    }
}

fn owner_of_unionid(
    tx: &Transaction<'_>,
    identity: &WechatIdentity,
) -> Result<Option<UserId>, EngineError> {
    let Some(unionid) = &identity.unionid else {
        return Ok(None);
    };
    Ok(tx
        .find::<UnionIdRecord>(LookupKey::UnionId(unionid))?
        .map(|record| record.user))
}

/// A user who was here before: what they said of themselves stays and gaps are filled, or what they
/// say now counts.
fn update_returning(mut user: UserRecord, login: &NewLogin) -> UserRecord {
    let Profile {
        nickname,
        avatar_url,
        bio: _,
        birthday: _,
    } = &login.profile;
    let known = &mut user.user.profile;
    for (known, said) in [
        (&mut known.nickname, nickname),
        (&mut known.avatar_url, avatar_url),
    ] {
        if said.is_some() && (known.is_none() || login.profile_is_newer) {
            known.clone_from(said);
        }
    }
    if login.user_type == UserType::admin() {
        user.user.user_type = UserType::admin();
    }
    user.user.last_login_at = login.now;
    user
}

/// A new user under an id that was never used; or why there is none.
fn create_user(
    tx: &mut Transaction<'_>,
    login: &NewLogin,
) -> Result<Result<UserRecord, LoginOutcome>, EngineError> {
    match &login.new_user {
        NewUserId::Pending => return Ok(Err(LoginOutcome::UnknownUser)),
        NewUserId::FromBackend(id) if records::is_taken(tx, id)? => {
            let is_deleted = records::user(tx, id)?.is_none();
            return Ok(Err(LoginOutcome::IdTaken { is_deleted }));
        }
        NewUserId::FromBackend(_) | NewUserId::Generated(_) | NewUserId::NextInteger { .. } => {}
    }
    let id = identity::new_id(tx, &login.new_user)?;
    if login.outbox.created {
        outbox::put(tx, OutboxEvent::Created { user: id.clone() }, login.now)?;
    }
    let mut record = identity::new_user(id, login.user_type.clone(), login.now);
    record.user.profile = login.profile.clone();
    record.user.claims = login.claims.clone();
    Ok(Ok(record))
}

/// Links the identities to the user, unless they belong to a user already.
fn link(
    tx: &mut Transaction<'_>,
    login: &NewLogin,
    user: &mut UserRecord,
) -> Result<(), EngineError> {
    match &login.proof {
        LoginProof::Wechat(identity) => link_wechat(tx, identity, user, login.now),
        LoginProof::Sms(guess) if user.user.phone.is_none() => {
            let record = PhoneRecord {
                user: user.user.id.clone(),
                phone: guess.phone.clone(),
            };
            tx.put_under(LookupKey::Phone(&guess.phone), &record)?;
            user.user.phone = Some(guess.phone.clone());
            Ok(())
        }
        LoginProof::Sms(_) | LoginProof::Password(..) => Ok(()),
    }
}

fn link_wechat(
    tx: &mut Transaction<'_>,
    identity: &WechatIdentity,
    user: &mut UserRecord,
    now: Timestamp,
) -> Result<(), EngineError> {
    let lookup_key = LookupKey::OpenId(&identity.app_id, &identity.openid);
    let known: Option<OpenIdRecord> = tx.find(lookup_key)?;
    let is_new = known.is_none();
    let mut record = known.unwrap_or_else(|| OpenIdRecord {
        user: user.user.id.clone(),
        app_id: identity.app_id.clone(),
        openid: identity.openid.clone(),
        session_key: None,
        previous_session_key: None,
    });
    if record.renew_key(identity.session_key.as_ref(), now) || is_new {
        tx.put_under(lookup_key, &record)?;
    }
    user.openids
        .insert((identity.app_id.clone(), identity.openid.clone()));

    let Some(unionid) = &identity.unionid else {
        return Ok(());
    };
    let lookup_key = LookupKey::UnionId(unionid);
    if tx.find::<UnionIdRecord>(lookup_key)?.is_none() {
        tx.put_under(
            lookup_key,
            &UnionIdRecord {
                user: user.user.id.clone(),
                unionid: unionid.clone(),
            },
        )?;
        user.unionids.insert(unionid.clone());
    }
    Ok(())
}

/// The limits that a new session has to fit.
pub(in crate::store) struct Capacity {
    pub(in crate::store) client_type: ClientType,
    pub(in crate::store) single_per_client_type: bool,
    pub(in crate::store) max_sessions: usize,
}

/// Ends sessions to make room for a new one: those of the same client type where only one is
/// allowed, and the oldest above the maximum. The new one is counted in the user's record, which
/// the caller writes.
pub(in crate::store) fn evict_sessions(
    tx: &mut Transaction<'_>,
    capacity: &Capacity,
    user: &mut UserRecord,
    now: Timestamp,
) -> Result<Vec<SessionId>, EngineError> {
    let Capacity {
        client_type,
        single_per_client_type,
        max_sessions,
    } = capacity;
    user.sessions += 1;
    if user.sessions <= *max_sessions && !single_per_client_type {
        return Ok(Vec::new());
    }
    let global_epoch = records::global_epoch(tx)?;
    let mut others = records::sessions_of(tx, &user.user.id)?;
    user.sessions = others.len() + 1;
    others.sort_by_key(|other| {
        (
            other.is_active(global_epoch, now),
            other.session.last_used_at,
            other.session.id,
        )
    });
    let mut too_many = (others.len() + 1).saturating_sub(*max_sessions);
    let mut ended = Vec::new();
    for other in others {
        let is_same = *single_per_client_type && other.session.client_type == *client_type;
        let is_active = other.is_active(global_epoch, now);
        if too_many > 0 || (is_same && is_active) {
            too_many = too_many.saturating_sub(1);
            user.sessions -= 1;
            if is_active {
                ended.push(other.session.id);
            }
            revoke::end_session(tx, other, now)?;
        }
    }
    Ok(ended)
}

/// Most ended sessions that a session keeps for the answer to a repeated login: a record has a
/// longest length, and the log has them all.
const MAX_RECORDED_EVICTIONS: usize = 500;

/// How a session began.
struct SessionOrigin<'a> {
    is_new_user: bool,
    evicted: &'a [SessionId],
    merged: Option<UserId>,
    origin: Option<(AppId, OpenId)>,
    since: Timestamp,
    ends_by: Timestamp,
}

fn open(
    tx: &mut Transaction<'_>,
    new: &NewSession,
    user: &UserId,
    origin: SessionOrigin<'_>,
    now: Timestamp,
) -> Result<(Session, u64), EngineError> {
    let absolute_end = now.plus(new.absolute_ttl).min(origin.ends_by);
    let (app_id, openid) = origin.origin.unzip();
    let session = Session {
        id: new.id,
        user: user.clone(),
        client_type: new.client_type,
        app_id,
        created_at: origin.since,
        last_used_at: now,
        counter: 0,
        rotated_at: now,
        idle_end: idle_end(now, new.idle_ttl, absolute_end),
        absolute_end,
        salt: new.salt,
    };
    let global_epoch = records::global_epoch(tx)?;
    let record = SessionRecord {
        session: session.clone(),
        openid,
        global_epoch,
        ended_at: None,
        is_new_user: origin.is_new_user,
        evicted: origin
            .evicted
            .iter()
            .take(MAX_RECORDED_EVICTIONS)
            .copied()
            .collect(),
        merged: origin.merged,
    };
    records::put_session(tx, &record)?;
    tx.touch(layout::session_of(user, session.id));
    tx.touch(layout::expiry(
        sweep::removable_at(&record),
        &layout::session(session.id),
    ));
    Ok((session, global_epoch))
}

/// Opens a session in the place of one whose user was merged into another.
pub(in crate::store) fn resume(
    tx: &mut Transaction<'_>,
    old: SessionRecord,
    new: &NewSession,
    user: &UserId,
    now: Timestamp,
) -> Result<Session, EngineError> {
    let origin = SessionOrigin {
        is_new_user: false,
        evicted: &[],
        merged: Some(old.session.user),
        origin: old.session.app_id.zip(old.openid),
        // It is the same login: neither a fresh one, nor one that may last longer.
        since: old.session.created_at,
        ends_by: old.session.absolute_end,
    };
    Ok(open(tx, new, user, origin, now)?.0)
}

/// Unused so long, a session ends; the absolute end stays.
pub(in crate::store) fn idle_end(
    now: Timestamp,
    idle_ttl: std::time::Duration,
    absolute_end: Timestamp,
) -> Timestamp {
    now.plus(idle_ttl).min(absolute_end)
}
