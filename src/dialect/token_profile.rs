//! What the tokens of a route say besides what all tokens say, and how long they live.

use std::time::Duration;

use serde_json::{Map, Value};

use super::{
    placeholder::{Placeholder, PlaceholderSource, PlaceholderValue},
    text::Text,
    user_values::{UserFormat, UserValues},
};
use crate::{
    config::{ShownPhone, UserIds},
    store::{Session, User},
    token::{AccessTokenOptions, IdentityClaims},
    types::{OpenId, Timestamp},
};

/// The terms on which a dialect gives tokens.
#[derive(Debug, Clone)]
pub struct TokenProfile {
    /// Tells them from all others of the process; 0 are those of the auth API.
    pub number: usize,
    pub access_ttl: Option<Duration>,
    pub user_format: UserFormat,
    pub claims: Vec<(String, Text)>,
    pub refresh_claims: Vec<(String, Text)>,
    /// Whether its access tokens may be traded for new ones.
    pub renews: bool,
    /// Whether an answer has a place for a refresh token inside a JWT.
    pub wraps_refresh_token: bool,
    /// Whether an answer or a claim has a place for the openid, which has to be looked up when a
    /// session is renewed.
    pub names_openid: bool,
}

/// Whom a token is for.
struct ClaimValues<'a> {
    user_values: UserValues<'a>,
    session: &'a Session,
    now: Timestamp,
}

impl TokenProfile {
    /// Those of the auth API: nothing besides.
    pub const fn plain() -> Self {
        Self {
            number: 0,
            access_ttl: None,
            user_format: UserFormat {
                ids: UserIds::Uuid,
                openid: false,
                phone: ShownPhone::Masked,
                user_types: std::collections::BTreeMap::new(),
            },
            claims: Vec::new(),
            refresh_claims: Vec::new(),
            renews: false,
            wraps_refresh_token: false,
            names_openid: false,
        }
    }

    /// The form of an access token.
    pub fn access_form(
        &self,
        user: &User,
        openid: Option<&OpenId>,
        session: &Session,
        now: Timestamp,
    ) -> AccessTokenOptions {
        let values = ClaimValues {
            user_values: UserValues {
                user,
                openid,
                form: &self.user_format,
            },
            session,
            now,
        };
        AccessTokenOptions {
            ttl: self.access_ttl,
            renewable: self.renews,
            claims: filled(&self.claims, &values),
            identity_claims: IdentityClaims::default(),
        }
    }

    /// The further claims of a refresh token inside a JWT.
    pub fn refresh_claims(
        &self,
        user: &User,
        openid: Option<&OpenId>,
        session: &Session,
        now: Timestamp,
    ) -> Map<String, Value> {
        let values = ClaimValues {
            user_values: UserValues {
                user,
                openid,
                form: &self.user_format,
            },
            session,
            now,
        };
        filled(&self.refresh_claims, &values)
    }
}

/// A claim that has nothing to say is left out.
fn filled(claims: &[(String, Text)], values: &ClaimValues<'_>) -> Map<String, Value> {
    let filled = claims
        .iter()
        .map(|(name, text)| (name.clone(), text.value(values)));
    filled.filter(|(_, value)| !value.is_null()).collect()
}

impl PlaceholderSource for ClaimValues<'_> {
    fn get(&self, placeholder: Placeholder) -> PlaceholderValue<'_> {
        match placeholder {
            Placeholder::Now => PlaceholderValue::Time(self.now),
            Placeholder::ClientType => {
                PlaceholderValue::text(Some(self.session.client_type.as_str()))
            }
            Placeholder::SessionId => PlaceholderValue::owned(self.session.id.to_string()),
            other => self.user_values.get(other),
        }
    }
}
