//! The claims of the tokens that menshen issues.

use std::{borrow::Cow, time::Duration};

use serde::Serialize;
use serde_json::{Map, Value};

use super::{custom_claims::CustomClaims, identity_claims::IdentityClaims};
use crate::{
    config::TokenConfig,
    store::{Session, User},
    types::{ClientType, REVOCATION_RETENTION, SessionId, Timestamp, UserId, UserType},
};

/// Longest lifetime of an access token: an hour less than revocations are kept, so that a revoked
/// one cannot outlive its revocation, whatever the leeway.
pub const MAX_LIFETIME: Duration = REVOCATION_RETENTION.saturating_sub(Duration::from_hours(1));

/// Lifetimes of tokens, over all routes that issue them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// The longest lifetime of an access token of any route.
    pub max_access_ttl: Duration,
    /// How long after its expiry an access token can be renewed; zero where no route renews one.
    pub renewable_for: Duration,
}

impl Lifetimes {
    /// From the config, without dialects.
    pub fn from_config(config: &TokenConfig) -> Self {
        Self {
            max_access_ttl: config.access_ttl.get(),
            renewable_for: Duration::ZERO,
        }
    }

    /// The longest lifetime of a token that is accepted: the present one, but a day at least, so
    /// that shortening it keeps the tokens of the hour before valid (as long as their key verifies,
    /// which follows the new lifetime). Revocations need not be kept longer than this.
    pub fn max_accepted_lifetime(self) -> Duration {
        self.max_access_ttl
            .max(Duration::from_hours(24))
            .min(MAX_LIFETIME)
    }
}

/// `token_use` of an access token: after `typ` the second mark that distinguishes it from menshen's
/// other tokens.
pub(super) const TOKEN_USE: &str = "access";

/// The claim that holds the identity claims. One for all of them, so that no claim of a dialect is
/// taken for one.
pub(super) const IDENTITY_CLAIMS: &str = "told";

/// The claims of a verified access token. `iss`, `aud`, `token_use` and `jti` were checked and are
/// dropped.
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
    /// It can be renewed, also when it has expired: its API has no refresh tokens.
    pub renewable: bool,
    /// Where the config has a header for them.
    pub identity_claims: IdentityClaims,
    /// Claims that a rule or a header uses.
    pub custom_claims: CustomClaims,
}

/// The subject of an access token, in its present state.
#[derive(Debug, Clone, Copy)]
pub struct Grant<'a> {
    pub user: &'a User,
    pub session: &'a Session,
    pub global_epoch: u64,
}

/// The payload of an access token (RFC 7519 section 4.1, RFC 9068 section 2.2). Times are whole
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
    /// Further claims for the backend, none of [`RESERVED_CLAIMS`].
    #[serde(flatten)]
    pub(super) extra: &'a Map<String, Value>,
}

/// How the access token of one route differs from the others.
#[derive(Debug, Clone, Default)]
pub struct AccessTokenOptions {
    /// `None`: `tokens.access_ttl`.
    pub ttl: Option<Duration>,
    /// See [`AccessClaims::renewable`].
    pub renewable: bool,
    /// Further claims, by name.
    pub claims: Map<String, Value>,
    /// Where the config has a header for them.
    pub identity_claims: IdentityClaims,
}

/// Names that further claims cannot have: menshen's own, and those that say when and for which
/// audience a token is valid (RFC 7519 section 4.1).
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

/// The payload of a refresh token inside a JWT. Only `jti` counts, which is the token itself; the
/// rest is for clients that decode it.
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

/// The payload of an assertion. Without `jti`: it is sent again and again while it is valid, so a
/// backend must not take it for used.
#[derive(Debug, Serialize)]
pub(super) struct AssertionPayload<'a> {
    pub(super) iss: &'a str,
    pub(super) aud: &'a str,
    pub(super) sub: &'a str,
    /// For a token of an external issuer, that issuer's session id.
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
