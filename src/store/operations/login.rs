//! Login, as one step.

use super::{
    identity,
    layout::{self, LOGIN_CODES, LookupKey},
    merge::{self, MergeResult},
    open_session::{self, Capacity, SessionStart},
    outbox,
    records::{
        self, CodeLogin, OpenIdRecord, PhoneRecord, UnionIdRecord, UsedCode, UsernameRecord,
    },
    single_use,
    sms::{self, GuessResult},
    transaction::{ReadView, Transaction},
    user_record::{self, SessionRecord, UserRecord},
};
use crate::{
    crypto,
    store::{
        CodeHash, CodeUse, LoginOutcome, LoginProof, NewLogin, NewUserId, OpenedSession,
        OutboxEvent, Profile, RevocationOutcome, SHARED_LOGIN_TTL, User, WechatIdentity,
        error::EngineError, record_cipher::RecordCipher,
    },
    types::{Timestamp, UserId, UserType},
};

/// Finds or makes the user, links the identities, spends the code, opens the session.
pub(in crate::store) fn login(
    tx: &mut Transaction<'_>,
    login: &NewLogin,
) -> Result<LoginOutcome, EngineError> {
    tx.want(&sure_keys(tx.cipher(), login));
    if let Some(outcome) = repeated(tx, login)? {
        return Ok(outcome);
    }
    if let Some((code, until)) = &login.code
        && !single_use::use_up(tx, &LOGIN_CODES, code, (*until, login.now))?
    {
        return Ok(LoginOutcome::CodeUsed);
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
    let evicted = open_session::evict_sessions(tx, &capacity, &mut user, login.now)?;
    let wechat = match &login.proof {
        LoginProof::Wechat(identity) => Some((identity.app_id.clone(), identity.openid.clone())),
        LoginProof::Sms(_) | LoginProof::Password(..) => None,
    };
    let start = SessionStart {
        is_new_user,
        evicted: &evicted,
        merged: None,
        wechat,
        created_at: login.now,
        latest_end: Timestamp::from_millis(u64::MAX),
    };
    let session = open_session::open(tx, &login.session, &mut user, start, login.now);
    user_record::put_user(tx, &user)?;
    remember_login(tx, login, &user.user.id)?;
    let opened = OpenedSession {
        user: user.user,
        session,
        is_new_user,
        global_epoch: records::global_epoch(tx),
        ended: evicted,
        merged,
    };
    Ok(LoginOutcome::Opened(Box::new(opened)))
}

/// Remembers whom the code signed in, for its client.
fn remember_login(
    tx: &mut Transaction<'_>,
    login: &NewLogin,
    user: &UserId,
) -> Result<(), EngineError> {
    let (Some((code, until)), Some(client)) = (&login.code, &login.code_client) else {
        return Ok(());
    };
    let spent = UsedCode {
        until: *until,
        login: Some(CodeLogin {
            client: client.0,
            at: login.now,
            user: user.clone(),
            session: login.session.id,
        }),
    };
    tx.put(LOGIN_CODES.present_key(code, login.now), &spent)
}

/// What became of a login code, for this client.
pub(in crate::store) fn code_use(
    view: &dyn ReadView,
    code: &CodeHash,
    client: Option<CodeHash>,
    now: Timestamp,
) -> Result<CodeUse, EngineError> {
    let Some(found) = single_use::find(view, &LOGIN_CODES, code, now)? else {
        return Ok(CodeUse::Unused);
    };
    let is_own = |login: &CodeLogin| {
        let is_same = |client: CodeHash| crypto::constant_time_eq(&client.0, &login.client);
        client.is_some_and(is_same) && now.since(login.at) <= SHARED_LOGIN_TTL
    };
    let Some(login) = found.login.filter(is_own) else {
        return Ok(CodeUse::Used);
    };
    let global_epoch = records::global_epoch(view);
    let user = user_record::user(view, &login.user)?.filter(|user| !user.user.disabled);
    let opened = user.and_then(|user| {
        let session = user.session(login.session)?.clone();
        let is_active = session.is_active(global_epoch, now);
        is_active.then(|| opened_before(session, user.user, global_epoch))
    });
    Ok(opened.map_or(CodeUse::Used, |opened| CodeUse::Opened(Box::new(opened))))
}

/// A session that an earlier login has opened.
fn opened_before(session: SessionRecord, user: User, global_epoch: u64) -> OpenedSession {
    OpenedSession {
        user,
        session: session.session,
        is_new_user: session.is_new_user,
        global_epoch,
        ended: session.evicted,
        merged: None,
    }
}

/// What a login reads in any case, as far as it is known beforehand.
fn sure_keys(cipher: &RecordCipher, login: &NewLogin) -> Vec<Vec<u8>> {
    let codes = login.code.iter();
    let mut keys: Vec<_> = codes
        .flat_map(|(code, _)| LOGIN_CODES.keys(code, login.now))
        .collect();
    let mut add = |lookup_key: LookupKey<'_>| keys.extend(lookup_key.candidate_keys(cipher));
    match &login.proof {
        LoginProof::Wechat(identity) => {
            add(LookupKey::OpenId(&identity.app_id, &identity.openid));
            if let Some(unionid) = &identity.unionid {
                add(LookupKey::UnionId(unionid));
            }
        }
        LoginProof::Sms(guess) => {
            add(LookupKey::Phone(&guess.phone));
            keys.extend(sms::keys(cipher, &guess.phone, login.now));
        }
        LoginProof::Password(name, seen) => {
            add(LookupKey::Username(name));
            keys.push(layout::user(&seen.user));
        }
    }
    if let NewUserId::Generated(id) | NewUserId::FromBackend(id) = &login.new_user {
        keys.push(layout::user(id));
    }
    keys
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

/// The same login again, after an answer was lost: its session is there already. One that has ended
/// meanwhile is not opened a second time.
fn repeated(tx: &Transaction<'_>, login: &NewLogin) -> Result<Option<LoginOutcome>, EngineError> {
    let Some(owner) = owner_of(tx, login)? else {
        return Ok(None);
    };
    let Some(user) = user_record::user(tx, &owner)? else {
        return Ok(None);
    };
    let global_epoch = records::global_epoch(tx);
    let before = user.session(login.session.id).cloned();
    if before.is_none() && user.ended_session(login.session.id, login.now).is_none() {
        return Ok(None);
    }
    if user.user.disabled {
        return Ok(Some(LoginOutcome::Disabled(user.user.id)));
    }
    Ok(Some(
        match before.filter(|before| before.is_active(global_epoch, login.now)) {
            Some(before) => {
                LoginOutcome::Opened(Box::new(opened_before(before, user.user, global_epoch)))
            }
            None => LoginOutcome::CodeUsed,
        },
    ))
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
    let user = user_record::owner(tx, &owner)?;
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
    let other = user_record::owner(tx, &other)?;
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
        unknown: _,
    } = &login.profile;
    let known = &mut user.user.profile;
    for (known, said) in [
        (&mut known.nickname, nickname),
        (&mut known.avatar_url, avatar_url),
    ] {
        if said.is_some() && (known.is_none() || login.replaces_profile) {
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
        NewUserId::FromBackend(id) if user_record::is_taken(tx, id)? => {
            let is_deleted = user_record::user(tx, id)?.is_none();
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
            let record = PhoneRecord::new(&user.user.id, &guess.phone);
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
    let WechatIdentity {
        app_id,
        openid,
        unionid: _,
        session_key,
    } = identity;
    let lookup_key = LookupKey::OpenId(app_id, openid);
    if tx.find::<OpenIdRecord>(lookup_key)?.is_none() {
        let record = OpenIdRecord::new(&user.user.id, app_id, openid);
        tx.put_under(lookup_key, &record)?;
    }
    user.add_openid(app_id, openid);
    if let Some(link) = user.link_mut(app_id, openid) {
        link.renew_key(session_key.as_ref(), now);
    }

    let Some(unionid) = &identity.unionid else {
        return Ok(());
    };
    let lookup_key = LookupKey::UnionId(unionid);
    if tx.find::<UnionIdRecord>(lookup_key)?.is_none() {
        tx.put_under(lookup_key, &UnionIdRecord::new(&user.user.id, unionid))?;
        user.unionids.insert(unionid.clone());
    }
    Ok(())
}
