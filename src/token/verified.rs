//! What a verified token says, whoever issued it.
//!
//! Must stay true: a token of somebody else's is no session of ours: it has no session id, no
//! epochs, and cannot be renewed.

use std::{borrow::Cow, sync::Arc};

use super::{AccessClaims, custom_claims::CustomClaims, identity_claims::IdentityClaims};
use crate::types::{Timestamp, UserId, UserType};

/// The claims of a token that has been verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VerifiedClaims {
    /// We signed it.
    Own(AccessClaims),
    /// An `[[issuer]]` of the config signed it.
    External(ExternalClaims),
}

/// The claims of a token that an `[[issuer]]` signed, under the names that we have for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalClaims {
    /// The issuer's name in the config.
    pub issuer: Arc<str>,
    pub sub: UserId,
    /// `None`: it does not expire.
    pub exp: Option<Timestamp>,
    /// The first instant at which it is good no more, by its `exp` with the leeway or by the end of
    /// its issuer; `None`: there is none.
    pub end: Option<Timestamp>,
    pub user_type: UserType,
    pub roles: Vec<String>,
    /// As the issuer says it: not one of our kinds of client.
    pub client_type: Option<String>,
    /// The issuer's own name for its session; none of ours.
    pub sid: Option<String>,
    pub identity_claims: IdentityClaims,
    pub custom_claims: CustomClaims,
}

impl VerifiedClaims {
    /// Whom it names.
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

    /// The session behind it, by the name that its issuer has for it.
    pub fn sid(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Own(claims) => Some(claims.sid.to_string().into()),
            Self::External(claims) => claims.sid.as_deref().map(Cow::from),
        }
    }

    /// What it says of the person.
    pub const fn identity_claims(&self) -> &IdentityClaims {
        match self {
            Self::Own(claims) => &claims.identity_claims,
            Self::External(claims) => &claims.identity_claims,
        }
    }

    /// Further claims that somebody asks for.
    pub const fn custom_claims(&self) -> &CustomClaims {
        match self {
            Self::Own(claims) => &claims.custom_claims,
            Self::External(claims) => &claims.custom_claims,
        }
    }

    /// The claims of a token of ours; `None`: it is somebody else's, and there is no session behind
    /// it.
    pub const fn own(&self) -> Option<&AccessClaims> {
        match self {
            Self::Own(claims) => Some(claims),
            Self::External(_) => None,
        }
    }
}
