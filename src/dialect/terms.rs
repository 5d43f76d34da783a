//! What the tokens of a route say besides what all tokens say, and how long they live.

use std::time::Duration;

use serde_json::{Map, Value};

use super::{
    person::{Person, PersonForm},
    place::{Given, Place, Source},
    text::Text,
};
use crate::{
    config::{ShownPhone, UserIds},
    store::{Session, User},
    token::{AccessForm, Told},
    types::{OpenId, Timestamp},
};

/// The terms on which a dialect gives tokens.
#[derive(Debug, Clone)]
pub struct Terms {
    /// Tells them from all others of the process; 0 are those of the auth API.
    pub number: usize,
    pub access_ttl: Option<Duration>,
    pub person: PersonForm,
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
struct Bearer<'a> {
    person: Person<'a>,
    session: &'a Session,
    now: Timestamp,
}

impl Terms {
    /// Those of the auth API: nothing besides.
    pub const fn plain() -> Self {
        Self {
            number: 0,
            access_ttl: None,
            person: PersonForm {
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
    ) -> AccessForm {
        let bearer = Bearer {
            person: Person {
                user,
                openid,
                form: &self.person,
            },
            session,
            now,
        };
        AccessForm {
            ttl: self.access_ttl,
            renewable: self.renews,
            claims: filled(&self.claims, &bearer),
            told: Told::default(),
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
        let bearer = Bearer {
            person: Person {
                user,
                openid,
                form: &self.person,
            },
            session,
            now,
        };
        filled(&self.refresh_claims, &bearer)
    }
}

/// A claim that has nothing to say is left out.
fn filled(claims: &[(String, Text)], bearer: &Bearer<'_>) -> Map<String, Value> {
    let filled = claims
        .iter()
        .map(|(name, text)| (name.clone(), text.value(bearer)));
    filled.filter(|(_, value)| !value.is_null()).collect()
}

impl Source for Bearer<'_> {
    fn give(&self, place: Place) -> Given<'_> {
        match place {
            Place::Now => Given::Time(self.now),
            Place::ClientType => Given::text(Some(self.session.client_type.as_str())),
            Place::SessionId => Given::owned(self.session.id.to_string()),
            other => self.person.give(other),
        }
    }
}
