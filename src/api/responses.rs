//! The responses of the auth API's own routes.

use axum::{
    Json,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    auth::{AccountExport, BoundPhone, SignedIn, SmsSendResponse},
    store::{Identities, Profile, Session, User},
    types::{AppId, ClientType, ExtraClaims, OpenId, Phone, SessionId},
};

/// Tokens of a session (RFC 6749 section 5.1), and whose it is.
#[derive(Serialize, ToSchema)]
#[schema(as = TokenAnswer)]
pub(super) struct TokenResponse {
    /// A JWT; send it as `Authorization: Bearer`.
    access_token: String,
    #[schema(value_type = String, example = "Bearer")]
    token_type: &'static str,
    /// Seconds until the access token ends.
    expires_in: u64,
    /// Opaque, for one refresh. Keep the newest.
    refresh_token: String,
    /// Seconds until the refresh token ends when it is not used.
    refresh_expires_in: u64,
    /// This login made the user.
    is_new_user: bool,
    user: TokenUser,
}

/// A user, beside tokens.
#[derive(Serialize, ToSchema)]
struct TokenUser {
    /// What the backend gets as `X-User-Id`.
    id: String,
    /// `user`, `admin`, or an imported kind.
    user_type: String,
    nickname: Option<String>,
    avatar_url: Option<String>,
    /// The bound phone number with its middle hidden.
    phone_masked: Option<String>,
    /// RFC 3339, UTC.
    #[schema(format = DateTime)]
    created_at: String,
    /// RFC 3339, UTC.
    #[schema(format = DateTime)]
    last_login_at: String,
    /// Only after a login, and only where the operator chose so.
    #[serde(skip_serializing_if = "Option::is_none")]
    openid: Option<String>,
}

/// My profile.
#[derive(Serialize, ToSchema)]
pub(super) struct Me {
    /// What the backend gets as `X-User-Id`.
    id: String,
    /// `user`, `admin`, or an imported kind.
    user_type: String,
    nickname: Option<String>,
    avatar_url: Option<String>,
    bio: Option<String>,
    #[schema(format = Date)]
    birthday: Option<String>,
    /// The bound phone number with its middle hidden.
    phone_masked: Option<String>,
    /// RFC 3339, UTC.
    #[schema(format = DateTime)]
    created_at: String,
    /// RFC 3339, UTC.
    #[schema(format = DateTime)]
    last_login_at: String,
}

/// A code is on its way.
#[derive(Serialize, ToSchema)]
#[schema(as = SmsSentAnswer)]
pub(super) struct SmsCodeResponse {
    /// Seconds that the code is good for.
    expires_in: u64,
    /// Seconds until another may be asked for.
    resend_after: u64,
}

/// My phone.
#[derive(Serialize, ToSchema)]
#[schema(as = PhoneAnswer)]
pub(super) struct PhoneResponse {
    /// E.164.
    #[schema(example = "+8613800138000")]
    phone: String,
    /// With its middle hidden.
    #[schema(example = "138****8000")]
    masked: String,
    #[schema(example = "86")]
    country_code: String,
    /// The phone led to another account, and the two are one now. Only where the operator chose so.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    merged: bool,
    /// New tokens, when the older account was the other one: those sent with this request are not
    /// good any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens: Option<TokenResponse>,
}

/// All that is stored about me. Keys, passwords and token secrets are not in it: they sign in, and
/// say nothing about me.
#[derive(Serialize, ToSchema)]
pub(super) struct Export {
    user: ExportedUser,
    /// By which WeChat's mini programs know me.
    openids: Vec<ExportedOpenId>,
    unionids: Vec<String>,
    sessions: Vec<SessionEntry>,
}

/// Myself.
#[derive(Serialize, ToSchema)]
struct ExportedUser {
    #[serde(flatten)]
    me: Me,
    /// E.164.
    phone: Option<String>,
    username: Option<String>,
    roles: Vec<String>,
    /// What the backend had my tokens say besides.
    #[schema(value_type = Object)]
    claims: ExtraClaims,
}

/// Who I am to one mini program.
#[derive(Serialize, ToSchema)]
struct ExportedOpenId {
    app_id: String,
    openid: String,
}

/// My devices, newest login first.
#[derive(Serialize, ToSchema)]
pub(super) struct Sessions {
    sessions: Vec<SessionEntry>,
}

/// One login on one device.
#[derive(Serialize, ToSchema)]
struct SessionEntry {
    #[schema(pattern = "^[0-9a-f]{32}$")]
    id: String,
    client_type: ClientType,
    /// RFC 3339, UTC.
    #[schema(format = DateTime)]
    created_at: String,
    /// When it was last refreshed. RFC 3339, UTC.
    #[schema(format = DateTime)]
    last_used_at: String,
    /// When it ends if it is not refreshed. RFC 3339, UTC.
    #[schema(format = DateTime)]
    expires_at: String,
    /// It is the one that asks.
    current: bool,
}

impl TokenResponse {
    pub(super) fn new(signed_in: &SignedIn, with_openid: bool) -> Self {
        let User {
            id,
            user_type,
            profile,
            phone,
            created_at,
            last_login_at,
            ..
        } = &signed_in.user;
        let openid = signed_in.openid.as_ref().filter(|_| with_openid);
        Self {
            access_token: signed_in.access_token.clone(),
            token_type: "Bearer",
            expires_in: signed_in.access_expires_in.as_secs(),
            refresh_token: signed_in.refresh_token.clone(),
            refresh_expires_in: signed_in.refresh_expires_in.as_secs(),
            is_new_user: signed_in.is_new_user,
            user: TokenUser {
                id: id.to_string(),
                user_type: user_type.to_string(),
                nickname: profile.nickname.clone(),
                avatar_url: profile.avatar_url.clone(),
                phone_masked: phone.as_ref().map(Phone::masked),
                created_at: created_at.rfc3339(),
                last_login_at: last_login_at.rfc3339(),
                openid: openid.map(|openid| openid.as_str().to_owned()),
            },
        }
    }
}

impl From<SmsSendResponse> for SmsCodeResponse {
    fn from(sent: SmsSendResponse) -> Self {
        Self {
            expires_in: sent.expires_in.as_secs(),
            resend_after: sent.resend_after.as_secs(),
        }
    }
}

impl PhoneResponse {
    pub(super) fn new(bound: &BoundPhone, with_openid: bool) -> Self {
        Self {
            phone: bound.phone.as_str().to_owned(),
            masked: bound.phone.masked(),
            country_code: bound.phone.country_code().to_owned(),
            merged: bound.merged,
            tokens: bound
                .signed_in
                .as_ref()
                .map(|signed_in| TokenResponse::new(signed_in, with_openid)),
        }
    }

    /// It holds a phone number, and may hold tokens: no cache may store it.
    pub(super) fn respond(self) -> Response {
        uncached(Json(self).into_response())
    }
}

impl Export {
    pub(super) fn new(copy: AccountExport, mine: SessionId) -> Self {
        let AccountExport {
            identities:
                Identities {
                    user,
                    openids,
                    unionids,
                },
            sessions,
        } = copy;
        let openid = |(app_id, openid): (AppId, OpenId)| ExportedOpenId {
            app_id: app_id.to_string(),
            openid: openid.as_str().to_owned(),
        };
        Self {
            openids: openids.into_iter().map(openid).collect(),
            unionids: unionids
                .iter()
                .map(|unionid| unionid.as_str().to_owned())
                .collect(),
            sessions: sessions
                .iter()
                .map(|session| SessionEntry::new(session, mine))
                .collect(),
            user: ExportedUser {
                phone: user.phone.clone().map(String::from),
                username: user.username.clone().map(String::from),
                roles: user.roles.clone(),
                claims: user.claims.clone(),
                me: user.into(),
            },
        }
    }
}

/// A JSON document that is the same for every client.
pub(super) struct PublicDocument(pub(super) Bytes);

impl IntoResponse for PublicDocument {
    fn into_response(self) -> Response {
        let headers = [
            (header::CONTENT_TYPE, "application/json"),
            (header::CACHE_CONTROL, "public, max-age=300"),
        ];
        (headers, self.0).into_response()
    }
}

/// Tokens stay out of every cache (RFC 6749 section 5.1).
impl IntoResponse for TokenResponse {
    fn into_response(self) -> Response {
        uncached(Json(self).into_response())
    }
}

fn uncached(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
        .headers_mut()
        .insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

impl From<User> for Me {
    fn from(user: User) -> Self {
        let Profile {
            nickname,
            avatar_url,
            bio,
            birthday,
        } = user.profile;
        Self {
            id: user.id.to_string(),
            user_type: user.user_type.to_string(),
            nickname,
            avatar_url,
            bio,
            birthday,
            phone_masked: user.phone.as_ref().map(Phone::masked),
            created_at: user.created_at.rfc3339(),
            last_login_at: user.last_login_at.rfc3339(),
        }
    }
}

impl Sessions {
    pub(super) fn new(sessions: &[Session], mine: SessionId) -> Self {
        Self {
            sessions: sessions
                .iter()
                .map(|session| SessionEntry::new(session, mine))
                .collect(),
        }
    }
}

impl SessionEntry {
    fn new(session: &Session, mine: SessionId) -> Self {
        Self {
            id: session.id.to_string(),
            client_type: session.client_type,
            created_at: session.created_at.rfc3339(),
            last_used_at: session.last_used_at.rfc3339(),
            expires_at: session.idle_end.rfc3339(),
            current: session.id == mine,
        }
    }
}
