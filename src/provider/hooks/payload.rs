//! The payload of hooks: `id`, `event`, `at`, `user`, and further members of the event.

use serde::Serialize;

use crate::{
    config::{HookEvent, HookShare},
    store::{Identities, LoginProof, OutboxEvent, Profile},
    types::{AppId, ClientType, OpenId, Phone, SessionId, Timestamp, UnionId, UserId, UserType},
};

/// A person with a valid proof who is not a user yet.
#[derive(Debug, Clone, Copy)]
pub struct NewUserRequest<'a> {
    /// The idempotency key, the same for the same person.
    pub id: &'a str,
    pub proof: &'a LoginProof,
    pub user_type: &'a UserType,
    pub profile: &'a Profile,
    /// An id of the backend's previous response that belonged to a deleted user.
    pub refused_id: Option<&'a UserId>,
}

/// An event that the backend is notified of.
#[derive(Debug)]
pub enum HookNotification<'a> {
    /// From the outbox; with all identities of a new user.
    Outbox {
        event: &'a OutboxEvent,
        at: Timestamp,
        user: Option<&'a Identities>,
    },
    Login {
        login: &'a LoginNotification,
    },
}

/// A successful login.
#[derive(Debug, Clone)]
pub struct LoginNotification {
    pub user: UserId,
    pub session: SessionId,
    pub client_type: ClientType,
    /// `wechat`, `sms` or `password`.
    pub method: &'static str,
    pub is_new_user: bool,
    pub at: Timestamp,
}

/// The payload of one message.
#[derive(Debug, Default, Serialize)]
pub(super) struct HookPayload<'a> {
    id: String,
    event: &'static str,
    at: String,
    user: UserPayload<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused_id: Option<&'a str>,
    /// The user who was merged into `user`.
    #[serde(skip_serializing_if = "Option::is_none")]
    gone: Option<UserPayload<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    app_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    withdrawn: Option<&'a [u16]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<SessionPayload>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_new_user: Option<bool>,
}

/// A user. What is not shared is absent.
#[derive(Debug, Default, Serialize)]
struct UserPayload<'a> {
    /// `null`: not given yet.
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    app_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    openid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unionid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    phone: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nickname: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    avatar_url: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct SessionPayload {
    id: String,
    client_type: &'static str,
}

impl HookPayload<'_> {
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) const fn event(&self) -> &'static str {
        self.event
    }
}

fn body<'a>(
    id: String,
    event: &'static str,
    at: Timestamp,
    user: UserPayload<'a>,
) -> HookPayload<'a> {
    HookPayload {
        id,
        event,
        at: at.rfc3339(),
        user,
        ..HookPayload::default()
    }
}

/// The payload that asks about a new user.
pub(super) fn user_created<'a>(
    person: &NewUserRequest<'a>,
    share: &[HookShare],
    now: Timestamp,
) -> HookPayload<'a> {
    let mut known = ShareableUser {
        user_type: person.user_type,
        profile: person.profile,
        app: None,
        unionid: None,
        phone: None,
    };
    match person.proof {
        LoginProof::Wechat(identity) => {
            known.app = Some((&identity.app_id, &identity.openid));
            known.unionid = identity.unionid.as_ref();
        }
        LoginProof::Sms(guess) => known.phone = Some(&guess.phone),
        LoginProof::Password(..) => {}
    }
    HookPayload {
        refused_id: person.refused_id.map(UserId::as_str),
        ..body(
            person.id.to_owned(),
            HookEvent::UserCreated.as_str(),
            now,
            known.shared(None, share),
        )
    }
}

/// The payload of a notification.
pub(super) fn notification<'a>(
    notification: &HookNotification<'a>,
    share: &[HookShare],
) -> HookPayload<'a> {
    let id_only = |id: &'a UserId| UserPayload {
        id: Some(id.as_str()),
        ..UserPayload::default()
    };
    match *notification {
        HookNotification::Outbox { event, at, user } => {
            let (id, name) = (event.id(), event.name());
            match event {
                OutboxEvent::Created { user: new } => {
                    let person = user.map_or_else(
                        || id_only(new),
                        |user| ShareableUser::from_identities(user).shared(Some(new), share),
                    );
                    body(id, name, at, person)
                }
                OutboxEvent::Deleted { user } => body(id, name, at, id_only(user)),
                OutboxEvent::Merged { user, merged_id } => HookPayload {
                    gone: Some(id_only(merged_id)),
                    ..body(id, name, at, id_only(user))
                },
                OutboxEvent::Withdrawn {
                    user, app, kinds, ..
                } => HookPayload {
                    app_id: Some(app.as_str()),
                    withdrawn: Some(kinds),
                    ..body(id, name, at, id_only(user))
                },
            }
        }
        HookNotification::Login { login } => {
            let session = SessionPayload {
                id: login.session.to_string(),
                client_type: login.client_type.as_str(),
            };
            HookPayload {
                session: Some(session),
                method: Some(login.method),
                is_new_user: Some(login.is_new_user),
                ..body(
                    format!("login.succeeded.{}", login.session),
                    HookEvent::LoginSucceeded.as_str(),
                    login.at,
                    id_only(&login.user),
                )
            }
        }
    }
}

/// The data of a user that can be shared.
struct ShareableUser<'a> {
    user_type: &'a UserType,
    profile: &'a Profile,
    app: Option<(&'a AppId, &'a OpenId)>,
    unionid: Option<&'a UnionId>,
    phone: Option<&'a Phone>,
}

impl<'a> ShareableUser<'a> {
    fn from_identities(known: &'a Identities) -> Self {
        let user = &known.user;
        Self {
            user_type: &user.user_type,
            profile: &user.profile,
            app: known.openids.first().map(|(app, openid)| (app, openid)),
            unionid: known.unionids.first(),
            phone: user.phone.as_ref(),
        }
    }

    /// The part that the config shares.
    fn shared(self, id: Option<&'a UserId>, share: &[HookShare]) -> UserPayload<'a> {
        let has = |what| share.contains(&what);
        let app = self.app.filter(|_| has(HookShare::OpenId));
        let profile = Some(self.profile).filter(|_| has(HookShare::Profile));
        UserPayload {
            id: id.map(UserId::as_str),
            user_type: Some(self.user_type.as_str()),
            app_id: app.map(|(app, _)| app.as_str()),
            openid: app.map(|(_, openid)| openid.as_str()),
            unionid: self
                .unionid
                .filter(|_| has(HookShare::UnionId))
                .map(UnionId::as_str),
            phone: self
                .phone
                .filter(|_| has(HookShare::Phone))
                .map(Phone::as_str),
            nickname: profile.and_then(|profile| profile.nickname.as_deref()),
            avatar_url: profile.and_then(|profile| profile.avatar_url.as_deref()),
        }
    }
}
