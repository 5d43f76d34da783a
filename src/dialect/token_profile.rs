//! How long the tokens of a route live, and which further claims they have.

use std::time::Duration;

use serde_json::{Map, Value};

use super::{
    placeholder::{Placeholder, PlaceholderSource, PlaceholderValue},
    text::{self, Text},
    user_values::{UserFormat, UserValues},
};
use crate::{
    store::{Session, User},
    token::{AccessTokenOptions, IdentityClaims},
    types::{OpenId, Timestamp},
};

/// How long the tokens of a dialect live, and which further claims they have. The default is that
/// of the auth API: no further claims.
#[derive(Debug, Clone, Default)]
pub struct TokenProfile {
    /// Unique in the process; 0: that of the auth API.
    pub number: usize,
    pub access_ttl: Option<Duration>,
    pub user_format: UserFormat,
    pub claims: Vec<(String, Text)>,
    pub refresh_claims: Vec<(String, Text)>,
    /// Whether its access tokens can be exchanged for new ones.
    pub renews: bool,
    /// Whether a response has a placeholder for a refresh token inside a JWT.
    pub wraps_refresh_token: bool,
    /// Whether a response or a claim has a placeholder for the openid, which has to be looked up
    /// when a session is renewed.
    pub names_openid: bool,
}

/// The values for the claims of one token.
struct ClaimValues<'a> {
    user_values: UserValues<'a>,
    session: &'a Session,
    now: Timestamp,
}

impl TokenProfile {
    /// The lifetime and the further claims of an access token.
    pub fn access_token_options(
        &self,
        user: &User,
        openid: Option<&OpenId>,
        session: &Session,
        now: Timestamp,
    ) -> AccessTokenOptions {
        let values = self.values(user, openid, session, now);
        AccessTokenOptions {
            ttl: self.access_ttl,
            renewable: self.renews,
            claims: text::render_claims(&self.claims, &values),
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
        let values = self.values(user, openid, session, now);
        text::render_claims(&self.refresh_claims, &values)
    }

    fn values<'a>(
        &'a self,
        user: &'a User,
        openid: Option<&'a OpenId>,
        session: &'a Session,
        now: Timestamp,
    ) -> ClaimValues<'a> {
        ClaimValues {
            user_values: UserValues {
                user,
                openid,
                form: &self.user_format,
            },
            session,
            now,
        }
    }
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
