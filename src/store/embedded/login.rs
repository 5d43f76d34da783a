//! Signing somebody in, as one step.

use super::{
    draft::Draft,
    identity,
    layout::{self, Handle},
    merge::{self, Joined},
    outbox,
    records::{
        self, OpenIdRecord, PhoneRecord, SessionRecord, SpentCode, UnionIdRecord, UserRecord,
        UsernameRecord,
    },
    revoke,
    sms::{self, Guessed},
    sweep,
};
use crate::{
    crypto,
    store::{
        CodeHash, LoginOutcome, LoginProof, NewLogin, NewSession, NewUserId, Opened, OutboxEvent,
        Profile, Revoked, Session, WechatIdentity, failure::Failure,
    },
    types::{AppId, ClientType, OpenId, SessionId, Timestamp, UserId, UserType},
};

/// Finds or makes the user, links the identities, spends the code, opens the session.
pub(super) fn login(draft: &mut Draft<'_>, login: &NewLogin) -> Result<LoginOutcome, Failure> {
    if let Some(before) = records::session(draft, login.session.id)? {
        return repeated(draft, login, &before);
    }
    if let Some((code, until)) = &login.code
        && !spend(draft, code, *until, login.now)?
    {
        return Ok(LoginOutcome::CodeSpent);
    }
    match proven(draft, login)? {
        Guessed::Right => {}
        wrong => {
            return Ok(LoginOutcome::NotProven {
                no_code: wrong == Guessed::NoCode,
            });
        }
    }
    let Found {
        user: known,
        merged,
    } = find(draft, login)?;
    let is_new_user = known.is_none();
    let mut user = match known {
        Some(user) if user.user.disabled => {
            return Ok(refused(draft, login, LoginOutcome::Disabled(user.user.id)));
        }
        Some(user) => returning(user, login),
        None if !login.registration_open => {
            return Ok(refused(draft, login, LoginOutcome::RegistrationClosed));
        }
        None => match stranger(draft, login)? {
            Ok(user) => user,
            Err(nobody) => {
                draft.forget();
                return Ok(nobody);
            }
        },
    };
    link(draft, login, &mut user)?;
    let room = Room {
        client_type: login.session.client_type,
        single_per_client_type: login.single_per_client_type,
        max_sessions: login.max_sessions,
    };
    let displaced = displace(draft, &room, &mut user, login.now)?;
    records::put_user(draft, &user)?;
    let origin = match &login.proof {
        LoginProof::Wechat(identity) => Some((identity.app_id.clone(), identity.openid.clone())),
        LoginProof::Sms(_) | LoginProof::Password(..) => None,
    };
    let ends_by = Timestamp::from_millis(u64::MAX);
    let opening = Opening {
        is_new_user,
        displaced: &displaced,
        merged: None,
        origin,
        since: login.now,
        ends_by,
    };
    let (session, global_epoch) = open(draft, &login.session, &user.user.id, opening, login.now)?;
    let opened = Opened {
        user: user.user,
        session,
        is_new_user,
        global_epoch,
        ended: displaced,
        merged,
    };
    Ok(LoginOutcome::Opened(Box::new(opened)))
}

/// Uses up what counts once, such as the code of `wx.login`; `false`: somebody has used it.
pub(super) fn spend(
    draft: &mut Draft<'_>,
    code: &CodeHash,
    until: Timestamp,
    now: Timestamp,
) -> Result<bool, Failure> {
    let key = layout::code(code);
    let spent: Option<SpentCode> = draft.record(&key)?;
    if spent.is_some_and(|spent| now < spent.until) {
        return Ok(false);
    }
    draft.mark(layout::expiry(until, &key));
    draft.put(key, &SpentCode { until })?;
    Ok(true)
}

/// What can be proven only here: a code that was sent, and that the password is still the one that
/// was compared.
fn proven(draft: &mut Draft<'_>, login: &NewLogin) -> Result<Guessed, Failure> {
    match &login.proof {
        LoginProof::Wechat(_) => Ok(Guessed::Right),
        LoginProof::Sms(guess) => sms::guess(draft, guess, login.now),
        LoginProof::Password(username, seen) => {
            let now: Option<UsernameRecord> = draft.find(Handle::Username(username))?;
            let is_same = |now: &UsernameRecord| {
                now.user == seen.user
                    && crypto::same(now.password.as_bytes(), seen.password.0.expose().as_bytes())
            };
            Ok(if now.as_ref().is_some_and(is_same) {
                Guessed::Right
            } else {
                Guessed::Wrong
            })
        }
    }
}

/// A refused login with WeChat spends nothing. A right SMS code is used up all the same.
fn refused(draft: &mut Draft<'_>, login: &NewLogin, outcome: LoginOutcome) -> LoginOutcome {
    if matches!(login.proof, LoginProof::Wechat(_)) {
        draft.forget();
    }
    outcome
}

/// The same login again, after an answer was lost. A session that has ended meanwhile is not opened
/// a second time.
fn repeated(
    draft: &Draft<'_>,
    login: &NewLogin,
    before: &SessionRecord,
) -> Result<LoginOutcome, Failure> {
    let global_epoch = records::global_epoch(draft)?;
    let same = owner_of(draft, login)?.as_ref() == Some(&before.session.user);
    let Some(user) = records::user(draft, &before.session.user)?.filter(|_| same) else {
        return Ok(LoginOutcome::CodeSpent);
    };
    if user.user.disabled {
        return Ok(LoginOutcome::Disabled(user.user.id));
    }
    if !before.lives(global_epoch, login.now) {
        return Ok(LoginOutcome::CodeSpent);
    }
    Ok(LoginOutcome::Opened(Box::new(Opened {
        user: user.user,
        session: before.session.clone(),
        is_new_user: before.is_new_user,
        global_epoch,
        ended: before.displaced.clone(),
        merged: None,
    })))
}

/// Who signs in, and who was joined to them just now.
#[derive(Default)]
struct Found {
    user: Option<UserRecord>,
    merged: Option<(UserId, Revoked)>,
}

/// Whose identity it is: the openid's, else the unionid's. Where the two are different users WeChat
/// has just said that they are one person; they are joined where the config wants that and nothing
/// speaks against it, and otherwise the openid wins.
fn find(draft: &mut Draft<'_>, login: &NewLogin) -> Result<Found, Failure> {
    let Some(owner) = owner_of(draft, login)? else {
        return Ok(Found::default());
    };
    let user = records::owner(draft, &owner)?;
    let other = match &login.proof {
        LoginProof::Wechat(identity) if login.merge => owner_of_unionid(draft, identity)?,
        LoginProof::Wechat(_) | LoginProof::Sms(_) | LoginProof::Password(..) => None,
    };
    let Some(other) = other.filter(|other| *other != owner) else {
        return Ok(Found {
            user: Some(user),
            merged: None,
        });
    };
    let other = records::owner(draft, &other)?;
    // Neither phone is proven here, and one of them would lead to nobody.
    let two_phones = user.user.phone.is_some() && other.user.phone.is_some();
    if two_phones || !merge::fits(&user, &other) {
        return Ok(Found {
            user: Some(user),
            merged: None,
        });
    }
    let Joined {
        left,
        gone,
        revoked,
    } = merge::join(draft, user, other, login.announce, login.now)?;
    Ok(Found {
        user: Some(left),
        merged: Some((gone, revoked)),
    })
}

fn owner_of(draft: &Draft<'_>, login: &NewLogin) -> Result<Option<UserId>, Failure> {
    match &login.proof {
        LoginProof::Wechat(identity) => {
            let handle = Handle::OpenId(&identity.app_id, &identity.openid);
            match draft.find::<OpenIdRecord>(handle)? {
                Some(record) => Ok(Some(record.user)),
                None => owner_of_unionid(draft, identity),
            }
        }
        LoginProof::Sms(guess) => Ok(draft
            .find::<PhoneRecord>(Handle::Phone(&guess.phone))?
            .map(|record| record.user)),
        LoginProof::Password(_, seen) => Ok(Some(seen.user.clone())),
    }
}

fn owner_of_unionid(
    draft: &Draft<'_>,
    identity: &WechatIdentity,
) -> Result<Option<UserId>, Failure> {
    let Some(unionid) = &identity.unionid else {
        return Ok(None);
    };
    Ok(draft
        .find::<UnionIdRecord>(Handle::UnionId(unionid))?
        .map(|record| record.user))
}

/// A user who was here before: what they said of themselves stays and gaps are filled, or what they
/// say now counts.
fn returning(mut user: UserRecord, login: &NewLogin) -> UserRecord {
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

/// A new user under an id that nobody has had; or why there is none.
fn stranger(
    draft: &mut Draft<'_>,
    login: &NewLogin,
) -> Result<Result<UserRecord, LoginOutcome>, Failure> {
    match &login.new_user {
        NewUserId::Ask => return Ok(Err(LoginOutcome::Stranger)),
        NewUserId::Told(id) if records::is_taken(draft, id)? => {
            let gone = records::user(draft, id)?.is_none();
            return Ok(Err(LoginOutcome::IdTaken { gone }));
        }
        NewUserId::Told(_) | NewUserId::Given(_) | NewUserId::NextInteger { .. } => {}
    }
    let id = identity::new_id(draft, &login.new_user)?;
    if login.announce.created {
        outbox::put(draft, OutboxEvent::Created { user: id.clone() }, login.now)?;
    }
    let mut record = identity::new_user(id, login.user_type.clone(), login.now);
    record.user.profile = login.profile.clone();
    record.user.claims = login.claims.clone();
    Ok(Ok(record))
}

/// Makes the identities lead to the user, unless they lead to somebody already.
fn link(draft: &mut Draft<'_>, login: &NewLogin, user: &mut UserRecord) -> Result<(), Failure> {
    match &login.proof {
        LoginProof::Wechat(identity) => link_wechat(draft, identity, user, login.now),
        LoginProof::Sms(guess) if user.user.phone.is_none() => {
            let record = PhoneRecord {
                user: user.user.id.clone(),
                phone: guess.phone.clone(),
            };
            draft.put_under(Handle::Phone(&guess.phone), &record)?;
            user.user.phone = Some(guess.phone.clone());
            Ok(())
        }
        LoginProof::Sms(_) | LoginProof::Password(..) => Ok(()),
    }
}

fn link_wechat(
    draft: &mut Draft<'_>,
    identity: &WechatIdentity,
    user: &mut UserRecord,
    now: Timestamp,
) -> Result<(), Failure> {
    let handle = Handle::OpenId(&identity.app_id, &identity.openid);
    let known: Option<OpenIdRecord> = draft.find(handle)?;
    let is_new = known.is_none();
    let mut record = known.unwrap_or_else(|| OpenIdRecord {
        user: user.user.id.clone(),
        app_id: identity.app_id.clone(),
        openid: identity.openid.clone(),
        session_key: None,
        previous_session_key: None,
    });
    if record.renew_key(identity.session_key.as_ref(), now) || is_new {
        draft.put_under(handle, &record)?;
    }
    user.openids
        .insert((identity.app_id.clone(), identity.openid.clone()));

    let Some(unionid) = &identity.unionid else {
        return Ok(());
    };
    let handle = Handle::UnionId(unionid);
    if draft.find::<UnionIdRecord>(handle)?.is_none() {
        draft.put_under(
            handle,
            &UnionIdRecord {
                user: user.user.id.clone(),
                unionid: unionid.clone(),
            },
        )?;
        user.unionids.insert(unionid.clone());
    }
    Ok(())
}

/// What a new session needs room for.
pub(super) struct Room {
    pub(super) client_type: ClientType,
    pub(super) single_per_client_type: bool,
    pub(super) max_sessions: usize,
}

/// Ends what has to make room for a new session: those of the same client type where there may be
/// one, and the oldest of too many. The new one is counted in the user's record, which the caller
/// writes.
pub(super) fn displace(
    draft: &mut Draft<'_>,
    room: &Room,
    user: &mut UserRecord,
    now: Timestamp,
) -> Result<Vec<SessionId>, Failure> {
    let Room {
        client_type,
        single_per_client_type,
        max_sessions,
    } = room;
    user.sessions += 1;
    if user.sessions <= *max_sessions && !single_per_client_type {
        return Ok(Vec::new());
    }
    let global_epoch = records::global_epoch(draft)?;
    let mut others = records::sessions_of(draft, &user.user.id)?;
    user.sessions = others.len() + 1;
    others.sort_by_key(|other| {
        (
            other.lives(global_epoch, now),
            other.session.last_used_at,
            other.session.id,
        )
    });
    let mut too_many = (others.len() + 1).saturating_sub(*max_sessions);
    let mut ended = Vec::new();
    for other in others {
        let is_same = *single_per_client_type && other.session.client_type == *client_type;
        let lives = other.lives(global_epoch, now);
        if too_many > 0 || (is_same && lives) {
            too_many = too_many.saturating_sub(1);
            user.sessions -= 1;
            if lives {
                ended.push(other.session.id);
            }
            revoke::end(draft, other, now)?;
        }
    }
    Ok(ended)
}

/// Most ended sessions that a session keeps for the answer to a repeated login: a record has a
/// longest length, and the log has them all.
const MOST_DISPLACED: usize = 500;

/// What a session remembers of how it began.
struct Opening<'a> {
    is_new_user: bool,
    displaced: &'a [SessionId],
    merged: Option<UserId>,
    origin: Option<(AppId, OpenId)>,
    since: Timestamp,
    ends_by: Timestamp,
}

fn open(
    draft: &mut Draft<'_>,
    new: &NewSession,
    user: &UserId,
    opening: Opening<'_>,
    now: Timestamp,
) -> Result<(Session, u64), Failure> {
    let absolute_end = now.plus(new.absolute_ttl).min(opening.ends_by);
    let (app_id, openid) = opening.origin.unzip();
    let session = Session {
        id: new.id,
        user: user.clone(),
        client_type: new.client_type,
        app_id,
        created_at: opening.since,
        last_used_at: now,
        counter: 0,
        rotated_at: now,
        idle_end: idle_end(now, new.idle_ttl, absolute_end),
        absolute_end,
        salt: new.salt,
    };
    let global_epoch = records::global_epoch(draft)?;
    let record = SessionRecord {
        session: session.clone(),
        openid,
        global_epoch,
        ended_at: None,
        is_new_user: opening.is_new_user,
        displaced: opening
            .displaced
            .iter()
            .take(MOST_DISPLACED)
            .copied()
            .collect(),
        merged: opening.merged,
    };
    records::put_session(draft, &record)?;
    draft.mark(layout::session_of(user, session.id));
    draft.mark(layout::expiry(
        sweep::session_forgotten_at(&record),
        &layout::session(session.id),
    ));
    Ok((session, global_epoch))
}

/// Opens a session in the place of one whose user has been joined to another.
pub(super) fn reopen(
    draft: &mut Draft<'_>,
    old: SessionRecord,
    new: &NewSession,
    user: &UserId,
    now: Timestamp,
) -> Result<Session, Failure> {
    let opening = Opening {
        is_new_user: false,
        displaced: &[],
        merged: Some(old.session.user),
        origin: old.session.app_id.zip(old.openid),
        // It is the same login: neither a fresh one, nor one that may last longer.
        since: old.session.created_at,
        ends_by: old.session.absolute_end,
    };
    Ok(open(draft, new, user, opening, now)?.0)
}

/// Unused so long, a session ends; the absolute end stays.
pub(super) fn idle_end(
    now: Timestamp,
    idle_ttl: std::time::Duration,
    absolute_end: Timestamp,
) -> Timestamp {
    now.plus(idle_ttl).min(absolute_end)
}
