//! The claims of the tokens that are minted for the backend: the language of dialects, filled from
//! a token alone, since nothing is looked up on the way of a request.

use serde_json::{Map, Value};

use super::{
    DialectProblems, person,
    place::{Given, Place, Source},
    text::Text,
};
use crate::{
    config::{MintConfig, UserIds},
    token::Verified,
    types::{Timestamp, UserType},
};

/// What can stand in a claim: what a token says of its bearer.
const PLACES: &[Place] = &[
    Place::Now,
    Place::Jti,
    Place::UserId,
    Place::UserType,
    Place::UserRoles,
    Place::UserIsStaff,
    Place::UserIsSuperuser,
    Place::ClientType,
    Place::SessionId,
];

/// Claims that `[mint]` has keys for, or sets itself.
const RESERVED: [(&str, &str); 5] = [
    ("iat", "is always set"),
    ("exp", "is always set: `mint.ttl`"),
    ("nbf", "is never set: `iat` is early enough"),
    ("iss", "is `mint.issuer`"),
    ("aud", "is `mint.audience`"),
];

/// The claims of minted tokens, by the backend's names for them.
#[derive(Debug, Clone)]
pub struct MintClaims {
    claims: Vec<(String, Text)>,
    ids: UserIds,
}

/// Whom a token is minted for.
struct Caller<'a> {
    claims: &'a Verified,
    ids: UserIds,
    jti: &'a str,
    now: Timestamp,
}

impl MintClaims {
    /// Reads `mint.claims`. Every problem comes with its key.
    pub fn compile(config: &MintConfig, ids: UserIds) -> Result<Self, DialectProblems> {
        let mut problems = Vec::new();
        let mut claims = Vec::with_capacity(config.claims.len());
        for (name, text) in &config.claims {
            let key = format!("mint.claims.{name}");
            if let Some((_, says)) = RESERVED.iter().find(|(reserved, _)| reserved == name) {
                problems.push((key, (*says).to_owned()));
                continue;
            }
            match Text::parse(text, &[PLACES]) {
                Ok(text) => claims.push((name.clone(), text)),
                Err(says) => problems.push((key, says)),
            }
        }
        let names_nobody =
            !claims.is_empty() && claims.iter().all(|(_, text)| !text.uses(Place::UserId));
        if problems.is_empty() && names_nobody {
            problems.push((
                "mint.claims".to_owned(),
                "has no `{user.id}`: the backend would not know who calls".to_owned(),
            ));
        }
        if problems.is_empty() {
            Ok(Self { claims, ids })
        } else {
            Err(problems)
        }
    }

    /// Whether a token has a name of its own.
    pub fn has_jti(&self) -> bool {
        self.claims.iter().any(|(_, text)| text.uses(Place::Jti))
    }

    /// The claims of a token for this caller. One that has nothing to say is left out.
    pub fn fill(&self, claims: &Verified, jti: &str, now: Timestamp) -> Map<String, Value> {
        let caller = Caller {
            claims,
            ids: self.ids,
            jti,
            now,
        };
        let filled = self
            .claims
            .iter()
            .map(|(name, text)| (name.clone(), text.value(&caller)));
        filled.filter(|(_, value)| !value.is_null()).collect()
    }
}

impl Source for Caller<'_> {
    fn give(&self, place: Place) -> Given<'_> {
        let user_type = self.claims.user_type();
        match place {
            Place::Now => Given::Time(self.now),
            Place::Jti => Given::text(Some(self.jti)),
            Place::UserId => person::id(self.claims.sub(), self.ids),
            Place::UserType => Given::text(Some(user_type.as_str())),
            Place::UserRoles => Given::Json(
                self.claims
                    .roles()
                    .iter()
                    .map(|role| Value::from(role.as_str()))
                    .collect(),
            ),
            Place::UserIsStaff => Given::Truth(*user_type == UserType::admin()),
            Place::UserIsSuperuser if *user_type == UserType::admin() => Given::Truth(true),
            Place::ClientType => Given::text(self.claims.client_type()),
            Place::SessionId => self
                .claims
                .sid()
                .map_or(Given::Nothing, |sid| Given::owned(sid.into_owned())),
            _ => Given::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::token::fixture::{self, NOW};

    fn config(claims: &[(&str, &str)]) -> MintConfig {
        let claims = claims
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        MintConfig {
            claims: claims.collect(),
            ..MintConfig::default()
        }
    }

    #[test]
    fn claims_have_the_backends_names_and_types() {
        let config = config(&[
            ("user_id", "{user.id}"),
            ("sub", "{user.id:text}"),
            ("token_type", "access"),
            ("jti", "{jti}"),
            ("groups", "{user.roles}"),
            ("admin", "{user.is_staff}"),
            ("sid", "{session_id}"),
            ("via", "app {client_type}"),
            ("at", "{now:unix}"),
        ]);
        let own = Verified::Own(fixture::claims());
        let filled = MintClaims::compile(&config, UserIds::Integer)
            .unwrap()
            .fill(&own, "j", NOW);
        let expected = json!({
            "user_id": 42, "sub": "42", "token_type": "access", "jti": "j", "groups": ["editor"], "admin": false,
            "sid": fixture::session().id.to_string(), "via": "app web", "at": NOW.as_secs(),
        });
        assert_eq!(Value::Object(filled), expected);
        let foreign = Verified::Foreign(fixture::foreign("seven"));
        let filled = MintClaims::compile(&config, UserIds::Integer)
            .unwrap()
            .fill(&foreign, "j", NOW);
        assert_eq!(
            (&filled["user_id"], filled.get("sid")),
            (&json!("seven"), None),
            "no number, no session"
        );
        assert_eq!(
            MintClaims::compile(&config, UserIds::Uuid)
                .unwrap()
                .fill(&own, "j", NOW)["user_id"],
            "42"
        );
    }

    #[test]
    fn what_cannot_be_a_claim_is_a_problem() {
        for (claims, key) in [
            (&[("exp", "1"), ("sub", "{user.id}")][..], "mint.claims.exp"),
            (&[("iss", "x"), ("sub", "{user.id}")], "mint.claims.iss"),
            (&[("sub", "{user.bio}")], "mint.claims.sub"),
            (&[("sub", "{user.id")], "mint.claims.sub"),
            (&[("type", "access")], "mint.claims"),
        ] {
            let problems = MintClaims::compile(&config(claims), UserIds::Uuid).unwrap_err();
            assert_eq!(problems.len(), 1);
            assert_eq!(problems[0].0, key);
        }
    }
}
