//! Login, as one step.

use super::{
    identity,
    layout::{self, LookupKey},
    merge::{self, MergeResult},
    open_session::{self, Capacity, SessionOrigin},
    outbox,
    records::{
        self, OpenIdRecord, PhoneRecord, SessionRecord, SpentCode, UnionIdRecord, UserRecord,
        UsernameRecord,
    },
    sms::{self, GuessResult},
    transaction::{ReadView, Transaction},
};
use crate::{
    crypto,
    store::{
        CodeHash, LoginOutcome, LoginProof, NewLogin, NewUserId, OpenedSession, OutboxEvent,
        Profile, RevocationOutcome, WechatIdentity, error::EngineError,
        record_cipher::RecordCipher,
    },
    types::{Timestamp, UserId, UserType},
};

/// Finds or makes the user, links the identities, spends the code, opens the session.
pub(in crate::store) fn login(
    tx: &mut Transaction<'_>,
    login: &NewLogin,
) -> Result<LoginOutcome, EngineError> {
    tx.want(&sure_keys(tx.cipher(), login));
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
    let evicted = open_session::evict_sessions(tx, &capacity, &mut user, login.now)?;
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
    let (session, global_epoch) =
        open_session::open(tx, &login.session, &user.user.id, origin, login.now)?;
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

/// What a login reads in any case, as far as it is known beforehand.
fn sure_keys(cipher: &RecordCipher, login: &NewLogin) -> Vec<Vec<u8>> {
    let mut keys = vec![layout::session(login.session.id)];
    keys.extend(login.code.iter().map(|(code, _)| layout::code(code)));
    let mut add = |lookup_key: LookupKey<'_>| keys.extend(lookup_key.candidate_keys(cipher));
    match &login.proof {
        LoginProof::Wechat(identity) => {
            add(LookupKey::OpenId(&identity.app_id, &identity.openid));
            if let Some(unionid) = &identity.unionid {
                add(LookupKey::UnionId(unionid));
            }
        }
        LoginProof::Sms(guess) => {
            add(LookupKey::Sms(&guess.phone));
            add(LookupKey::Phone(&guess.phone));
        }
        LoginProof::Password(name, seen) => {
            add(LookupKey::Username(name));
            keys.push(layout::user(&seen.user));
        }
    }
    if let NewUserId::Generated(id) | NewUserId::FromBackend(id) = &login.new_user {
        keys.extend([layout::user(id), layout::tombstone(id)]);
    }
    keys
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
    let global_epoch = records::global_epoch(tx);
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
