//! What a verified token says, whoever issued it.
//!
//! Must stay true: a token of somebody else's is no session of ours: it has no session id, no
//! epochs, and cannot be renewed.

use std::{borrow::Cow, sync::Arc};

use serde::{
    Deserialize, Serialize,
    de::{Error, MapAccess},
};
use serde_json::Value;

use super::{AccessClaims, strict_json::Member};
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

/// What a token says of the person, where the config wants the backend to be told.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IdentityClaims {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub openid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unionid: Option<String>,
    /// E.164.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nickname: Option<String>,
}

impl IdentityClaims {
    /// Whether there is nothing to tell.
    pub const fn is_empty(&self) -> bool {
        let Self {
            openid,
            unionid,
            phone,
            nickname,
        } = self;
        openid.is_none() && unionid.is_none() && phone.is_none() && nickname.is_none()
    }
}

/// Personal.
impl std::fmt::Debug for IdentityClaims {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IdentityClaims(***)")
    }
}

/// Further claims that a rule or a header asks for, by name; the others are not kept.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct CustomClaims(pub(super) Vec<(Arc<str>, Vec<String>)>);

impl CustomClaims {
    /// Those that a test has.
    #[cfg(test)]
    pub(crate) fn of<'a>(claims: impl Iterator<Item = (&'a str, Value)>) -> Self {
        Self(
            claims
                .map(|(name, value)| (name.into(), texts(value)))
                .collect(),
        )
    }

    /// Keeps the next value if somebody asks for this name.
    pub(super) fn read_member<'de, A: MapAccess<'de>>(
        &mut self,
        wanted: &[Arc<str>],
        name: &str,
        map: &mut A,
    ) -> Result<Member, A::Error> {
        let Some(name) = wanted.iter().find(|wanted| &***wanted == name) else {
            return Ok(Member::Ignored);
        };
        if self.0.iter().any(|(known, _)| known == name) {
            return Err(A::Error::custom("a name twice"));
        }
        self.0.push((Arc::clone(name), texts(map.next_value()?)));
        Ok(Member::Read)
    }

    /// What the claim says: one value, or each of a list. Numbers and truth values are as JSON
    /// writes them. Empty: nothing.
    pub fn get(&self, name: &str) -> &[String] {
        self.0
            .iter()
            .find(|(known, _)| &**known == name)
            .map_or(&[], |(_, values)| values)
    }
}

/// The plain values in a claim: itself, or those of a list. A fraction is none, since not everybody
/// reads it alike.
pub(super) fn texts(value: Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text],
        Value::Bool(truth) => vec![truth.to_string()],
        Value::Number(number) if !number.is_f64() => vec![number.to_string()],
        Value::Array(values) => values
            .into_iter()
            .filter(|value| !value.is_array())
            .flat_map(texts)
            .collect(),
        Value::Number(_) | Value::Null | Value::Object(_) => Vec::new(),
    }
}

/// They can be personal.
impl std::fmt::Debug for CustomClaims {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(name, _)| name))
            .finish()
    }
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
