//! The claims of a verified token, of menshen or of an external issuer.
//!
//! Must stay true: a token of an external issuer is no session: it has no session id, no epochs,
//! and cannot be renewed.

use std::{borrow::Cow, sync::Arc};

use super::{AccessClaims, custom_claims::CustomClaims, identity_claims::IdentityClaims};
use crate::types::{Timestamp, UserId, UserType};

/// The claims of a token that has been verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VerifiedClaims {
    /// Signed by menshen.
    Own(AccessClaims),
    /// Signed by an `[[issuer]]` of the config.
    External(ExternalClaims),
}

/// The claims of a token of an external issuer, under menshen's names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalClaims {
    /// The issuer's name in the config.
    pub issuer: Arc<str>,
    pub sub: UserId,
    /// `None`: it does not expire.
    pub exp: Option<Timestamp>,
    /// The first instant at which it is no longer valid, by its `exp` with the leeway or by the end
    /// of its issuer; `None`: there is none.
    pub end: Option<Timestamp>,
    pub user_type: UserType,
    pub roles: Vec<String>,
    /// As the issuer writes it: not one of menshen's client types.
    pub client_type: Option<String>,
    /// The issuer's id of its own session.
    pub sid: Option<String>,
    pub identity_claims: IdentityClaims,
    pub custom_claims: CustomClaims,
}

impl VerifiedClaims {
    /// The user.
    pub const fn sub(&self) -> &UserId {
        match self {
            Self::Own(claims) => &claims.sub,
            Self::External(claims) => &claims.sub,
        }
    }

    /// When it expires, without any leeway; `None`: never.
    pub const fn exp(&self) -> Option<Timestamp> {
        match self {
            Self::Own(claims) => Some(claims.exp),
            Self::External(claims) => claims.exp,
        }
    }

    pub const fn user_type(&self) -> &UserType {
        match self {
            Self::Own(claims) => &claims.user_type,
            Self::External(claims) => &claims.user_type,
        }
    }

    pub fn roles(&self) -> &[String] {
        match self {
            Self::Own(claims) => &claims.roles,
            Self::External(claims) => &claims.roles,
        }
    }

    pub fn client_type(&self) -> Option<&str> {
        match self {
            Self::Own(claims) => Some(claims.client_type.as_str()),
            Self::External(claims) => claims.client_type.as_deref(),
        }
    }

    /// The session id of its issuer.
    pub fn sid(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Own(claims) => Some(claims.sid.to_string().into()),
            Self::External(claims) => claims.sid.as_deref().map(Cow::from),
        }
    }

    /// The identity claims.
    pub const fn identity_claims(&self) -> &IdentityClaims {
        match self {
            Self::Own(claims) => &claims.identity_claims,
            Self::External(claims) => &claims.identity_claims,
        }
    }

    /// The custom claims.
    pub const fn custom_claims(&self) -> &CustomClaims {
        match self {
            Self::Own(claims) => &claims.custom_claims,
            Self::External(claims) => &claims.custom_claims,
        }
    }

    /// The claims of menshen's own token; `None`: of an external issuer, and without a session.
    pub const fn own(&self) -> Option<&AccessClaims> {
        match self {
            Self::Own(claims) => Some(claims),
            Self::External(_) => None,
        }
    }
}
