//! The claims of the tokens that are minted for the backend, as templates. Their values come only
//! from the caller's token, because the hot path has no lookup.

use serde_json::{Map, Value, json};

use super::{
    definition::DialectProblems,
    placeholder::{self, Placeholder, PlaceholderSource, PlaceholderValue},
    text::{self, Text},
    user_values,
};
use crate::{
    config::{MintConfig, UserIds},
    token::VerifiedClaims,
    types::Timestamp,
};

/// The placeholders of a claim: those that a token has values for.
const PLACEHOLDERS: [&[Placeholder]; 4] = [
    &[Placeholder::Now],
    placeholder::MINTED,
    &[
        Placeholder::UserId,
        Placeholder::UserType,
        Placeholder::UserRoles,
        Placeholder::UserIsStaff,
        Placeholder::UserIsSuperuser,
    ],
    placeholder::CLAIM,
];

/// Claims that `mint.claims` cannot set, and why: `[mint]` has keys for them, or they are fixed.
const CLAIMS_SET_ELSEWHERE: [(&str, &str); 5] = [
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

/// The values for one minted token.
struct MintValues<'a> {
    claims: &'a VerifiedClaims,
    ids: UserIds,
    jti: &'a str,
    now: Timestamp,
}

impl MintClaims {
    /// Compiles `mint.claims`; reports every problem with its key.
    pub fn compile(config: &MintConfig, ids: UserIds) -> Result<Self, DialectProblems> {
        let mut problems = Vec::new();
        let mut claims = Vec::with_capacity(config.claims.len());
        for (name, text) in &config.claims {
            let key = format!("mint.claims.{name}");
            if let Some((_, says)) = CLAIMS_SET_ELSEWHERE
                .iter()
                .find(|(reserved, _)| reserved == name)
            {
                problems.push((key, (*says).to_owned()));
                continue;
            }
            match Text::parse(text, &PLACEHOLDERS) {
                Ok(text) => claims.push((name.clone(), text)),
                Err(says) => problems.push((key, says)),
            }
        }
        let lacks_user_id = !claims.is_empty()
            && claims
                .iter()
                .all(|(_, text)| !text.uses(Placeholder::UserId));
        if problems.is_empty() && lacks_user_id {
            problems.push((
                "mint.claims".to_owned(),
                "has no `{user.id}`: the backend could not identify the user".to_owned(),
            ));
        }
        if problems.is_empty() {
            Ok(Self { claims, ids })
        } else {
            Err(problems)
        }
    }

    /// Whether the tokens have an id.
    pub fn has_jti(&self) -> bool {
        self.claims
            .iter()
            .any(|(_, text)| text.uses(Placeholder::Jti))
    }

    /// The claims of a token for this caller. A `null` claim is left out.
    pub fn render(&self, claims: &VerifiedClaims, jti: &str, now: Timestamp) -> Map<String, Value> {
        let values = MintValues {
            claims,
            ids: self.ids,
            jti,
            now,
        };
        text::render_claims(&self.claims, &values)
    }
}

impl PlaceholderSource for MintValues<'_> {
    fn get(&self, placeholder: Placeholder) -> PlaceholderValue<'_> {
        let user_type = self.claims.user_type();
        match placeholder {
            Placeholder::Now => PlaceholderValue::Time(self.now),
            Placeholder::Jti => PlaceholderValue::text(Some(self.jti)),
            Placeholder::UserId => user_values::id(self.claims.sub(), self.ids),
            Placeholder::UserType => PlaceholderValue::text(Some(user_type.as_str())),
            Placeholder::UserRoles => PlaceholderValue::Json(json!(self.claims.roles())),
            Placeholder::UserIsStaff => user_values::is_staff(user_type),
            Placeholder::UserIsSuperuser => user_values::is_superuser(user_type),
            Placeholder::ClientType => PlaceholderValue::text(self.claims.client_type()),
            Placeholder::SessionId => self.claims.sid().map_or(PlaceholderValue::Null, |sid| {
                PlaceholderValue::owned(sid.into_owned())
            }),
            _ => PlaceholderValue::Null,
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
        let own = VerifiedClaims::Own(fixture::claims());
        let claims = MintClaims::compile(&config, UserIds::Integer)
            .unwrap()
            .render(&own, "j", NOW);
        let expected = json!({
            "user_id": 42, "sub": "42", "token_type": "access", "jti": "j", "groups": ["editor"], "admin": false,
            "sid": fixture::session().id.to_string(), "via": "app web", "at": NOW.as_secs(),
        });
        assert_eq!(Value::Object(claims), expected);
        let foreign = VerifiedClaims::External(fixture::foreign("seven"));
        let claims = MintClaims::compile(&config, UserIds::Integer)
            .unwrap()
            .render(&foreign, "j", NOW);
        assert_eq!(
            (&claims["user_id"], claims.get("sid")),
            (&json!("seven"), None),
            "no number, no session"
        );
        assert_eq!(
            MintClaims::compile(&config, UserIds::Uuid)
                .unwrap()
                .render(&own, "j", NOW)["user_id"],
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
