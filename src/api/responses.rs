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
    error::ErrorCode,
    store::{Identities, Profile, Session, User},
    types::{AppId, ClientType, ExtraClaims, OpenId, Phone, SessionId},
};

/// Tokens of a session (RFC 6749 section 5.1), and its user.
#[derive(Serialize, ToSchema)]
#[schema(as = TokenAnswer)]
pub(super) struct TokenResponse {
    /// A JWT; send it as `Authorization: Bearer`.
    access_token: String,
    #[schema(value_type = String, example = "Bearer")]
    token_type: &'static str,
    /// Seconds until the access token expires.
    expires_in: u64,
    /// Opaque, for one refresh. Keep the newest one.
    refresh_token: String,
    /// Seconds until the refresh token expires if it is not used.
    refresh_expires_in: u64,
    /// This login created the user.
    is_new_user: bool,
    /// The login brought a phone that could not be bound: the error code, such as
    /// `phone_code_invalid` or `phone_conflict`. The user is signed in all the same. Absent: the
    /// phone, if one was sent, is bound, as `user.phone_masked` shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "phone_conflict")]
    phone_error: Option<&'static str>,
    user: TokenUser,
}

/// A user, beside tokens.
#[derive(Serialize, ToSchema)]
struct TokenUser {
    /// The value of `X-User-Id` for the backend.
    id: String,
    /// `user`, `admin`, or an imported kind.
    user_type: String,
    nickname: Option<String>,
    avatar_url: Option<String>,
    /// The bound phone number, masked.
    phone_masked: Option<String>,
    /// RFC 3339, UTC.
    #[schema(format = DateTime)]
    created_at: String,
    /// RFC 3339, UTC.
    #[schema(format = DateTime)]
    last_login_at: String,
    /// Only after a login, and only where the config says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    openid: Option<String>,
}

/// My profile.
#[derive(Serialize, ToSchema)]
pub(super) struct Me {
    /// The value of `X-User-Id` for the backend.
    id: String,
    /// `user`, `admin`, or an imported kind.
    user_type: String,
    nickname: Option<String>,
    avatar_url: Option<String>,
    bio: Option<String>,
    #[schema(format = Date)]
    birthday: Option<String>,
    /// The bound phone number, masked.
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
    /// Seconds until the code expires.
    expires_in: u64,
    /// Seconds until another code may be requested.
    resend_after: u64,
}

/// My phone.
#[derive(Serialize, ToSchema)]
#[schema(as = PhoneAnswer)]
pub(super) struct PhoneResponse {
    /// E.164.
    #[schema(example = "+8613800138000")]
    phone: String,
    /// Masked.
    #[schema(example = "138****8000")]
    masked: String,
    #[schema(example = "86")]
    country_code: String,
    /// The phone belonged to another account, and the two were merged. Only where the config allows
    /// it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    merged: bool,
    /// New tokens, where the other account was the older one: the token of this request is revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens: Option<TokenResponse>,
}

/// All data stored about me. Keys, passwords and token secrets are left out: they are credentials
/// and no data about me.
#[derive(Serialize, ToSchema)]
#[schema(as = Export)]
pub(super) struct ExportResponse {
    user: ExportedUser,
    /// My openids in the mini programs.
    openids: Vec<ExportedOpenId>,
    unionids: Vec<String>,
    sessions: Vec<SessionEntry>,
}

/// My user.
#[derive(Serialize, ToSchema)]
struct ExportedUser {
    #[serde(flatten)]
    me: Me,
    /// E.164.
    phone: Option<String>,
    username: Option<String>,
    roles: Vec<String>,
    /// Further claims of my tokens, from the backend.
    #[schema(value_type = Object)]
    claims: ExtraClaims,
}

/// My openid in one mini program.
#[derive(Serialize, ToSchema)]
struct ExportedOpenId {
    app_id: String,
    openid: String,
}

/// My sessions, newest login first.
#[derive(Serialize, ToSchema)]
#[schema(as = Sessions)]
pub(super) struct SessionsResponse {
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
    /// When it expires if it is not refreshed. RFC 3339, UTC.
    #[schema(format = DateTime)]
    expires_at: String,
    /// It is the session of this request.
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
            phone_error: signed_in.phone_error.map(ErrorCode::as_str),
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

impl ExportResponse {
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
            app_id: app_id.into(),
            openid: openid.into(),
        };
        Self {
            openids: openids.into_iter().map(openid).collect(),
            unionids: unionids.into_iter().map(String::from).collect(),
            sessions: SessionsResponse::new(&sessions, mine).sessions,
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
            unknown: _,
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

impl SessionsResponse {
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
