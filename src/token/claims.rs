//! What an access token says.

use std::{borrow::Cow, time::Duration};

use serde::Serialize;
use serde_json::{Map, Value};

use super::{custom_claims::CustomClaims, identity_claims::IdentityClaims};
use crate::{
    config::TokenConfig,
    store::{Session, User},
    types::{ClientType, REVOCATION_RETENTION, SessionId, Timestamp, UserId, UserType},
};

/// No access token lives longer: an hour less than revocations are remembered, so that a revoked
/// one cannot outlive the memory of its revocation, whatever the leeway.
pub const MAX_LIFETIME: Duration = REVOCATION_RETENTION.saturating_sub(Duration::from_hours(1));

/// How long tokens live, over all routes that make some.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// The longest that any route gives an access token now.
    pub max_access_ttl: Duration,
    /// How long after its end an access token is still good for a new one; zero where no route
    /// takes one.
    pub renewable_for: Duration,
}

impl Lifetimes {
    /// As the config has them where no dialect says otherwise.
    pub fn of(config: &TokenConfig) -> Self {
        Self {
            max_access_ttl: config.access_ttl.get(),
            renewable_for: Duration::ZERO,
        }
    }

    /// The longest life of a token that is accepted: what is given now, but a day at least, so that
    /// shortening it leaves the tokens of the hour before alone (as long as their key is kept,
    /// which follows the new one). Revocations have to be remembered no longer than this.
    pub fn max_accepted_lifetime(self) -> Duration {
        self.max_access_ttl
            .max(Duration::from_hours(24))
            .min(MAX_LIFETIME)
    }
}

/// `token_use` of an access token: the second thing, after `typ`, that tells it from other tokens
/// of ours.
pub(super) const TOKEN_USE: &str = "access";

/// The claim that holds what the backend is told of the person. One for all of it, so that no claim
/// of a dialect is taken for it.
pub(super) const IDENTITY_CLAIMS: &str = "told";

/// The claims of an access token that has been verified. `iss`, `aud` and `token_use` were equal to
/// ours, `jti` was there: they are not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessClaims {
    pub sub: UserId,
    pub sid: SessionId,
    pub iat: Timestamp,
    pub exp: Timestamp,
    pub user_type: UserType,
    pub roles: Vec<String>,
    pub client_type: ClientType,
    /// The user's epoch when it was issued.
    pub ep: u64,
    /// The global epoch when it was issued.
    pub gep: u64,
    /// It may be traded for a new one, also when it has expired: the API that gave it has no
    /// refresh tokens.
    pub renewable: bool,
    /// What the backend is told of the person, where the config says so.
    pub identity_claims: IdentityClaims,
    /// Claims of a dialect that a rule or a header asks for.
    pub custom_claims: CustomClaims,
}

/// What an access token is issued for, all of it as it is in the store now.
#[derive(Debug, Clone, Copy)]
pub struct Grant<'a> {
    pub user: &'a User,
    pub session: &'a Session,
    pub global_epoch: u64,
}

/// The claims as they are written (RFC 7519 section 4.1, RFC 9068 section 2.2). Times are whole
/// seconds.
#[derive(Debug, Serialize)]
pub(super) struct AccessTokenPayload<'a> {
    pub(super) iss: &'a str,
    pub(super) aud: &'a str,
    pub(super) sub: &'a str,
    pub(super) sid: SessionId,
    pub(super) iat: u64,
    pub(super) exp: u64,
    pub(super) jti: Cow<'a, str>,
    pub(super) user_type: &'a str,
    pub(super) roles: &'a [String],
    pub(super) client_type: ClientType,
    pub(super) ep: u64,
    pub(super) gep: u64,
    pub(super) token_use: &'static str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) renewable: bool,
    #[serde(rename = "told", skip_serializing_if = "IdentityClaims::is_empty")]
    pub(super) identity_claims: &'a IdentityClaims,
    /// What somebody's backend wants to read besides. No name of ours is among them ([`RESERVED_CLAIMS`]).
    #[serde(flatten)]
    pub(super) extra: &'a Map<String, Value>,
}

/// How the access token of one route differs from that of all.
#[derive(Debug, Clone, Default)]
pub struct AccessTokenOptions {
    /// `None`: `tokens.access_ttl`.
    pub ttl: Option<Duration>,
    /// See [`AccessClaims::renewable`].
    pub renewable: bool,
    /// Further claims, by name.
    pub claims: Map<String, Value>,
    /// What the backend is to be told of the person.
    pub identity_claims: IdentityClaims,
}

/// The names that further claims cannot have: ours, and those that say when and for whom a token is
/// good (RFC 7519 section 4.1).
pub const RESERVED_CLAIMS: [&str; 18] = [
    "iss",
    "aud",
    "sub",
    "exp",
    "nbf",
    "iat",
    "jti",
    "sid",
    "user_type",
    "roles",
    "client_type",
    "ep",
    "gep",
    "token_use",
    "renewable",
    IDENTITY_CLAIMS,
    "cnf",
    "crit",
];

/// A refresh token in the shape of a JWT. What counts is `jti`, which is the token itself; the rest
/// is for clients that look.
#[derive(Debug, Serialize)]
pub(super) struct RefreshJwtPayload<'a> {
    pub(super) iss: &'a str,
    pub(super) sub: &'a str,
    pub(super) iat: u64,
    pub(super) exp: u64,
    pub(super) jti: &'a str,
    pub(super) token_use: &'static str,
    #[serde(flatten)]
    pub(super) extra: &'a Map<String, Value>,
}

/// What the backend is told of the caller of one request, as it is written. Without `jti`: it is
/// shown again and again while it is valid, so nobody may take it for used.
#[derive(Debug, Serialize)]
pub(super) struct AssertionPayload<'a> {
    pub(super) iss: &'a str,
    pub(super) aud: &'a str,
    pub(super) sub: &'a str,
    /// Of a token of another issuer, that issuer's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sid: Option<Cow<'a, str>>,
    pub(super) iat: u64,
    pub(super) exp: u64,
    pub(super) user_type: &'a str,
    pub(super) roles: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) client_type: Option<&'a str>,
    pub(super) token_use: &'static str,
}
