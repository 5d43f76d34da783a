//! Which claims reach the backend, and under which header names.
//!
//! Must stay true: a claim becomes a header only when it is visible ASCII and not empty; a claim that is absent sets no
//! header, and never an empty one.

use std::borrow::Cow;

use http::{HeaderName, HeaderValue};

use crate::{config::IdentityConfig, error::ErrorCode, token::Verified};

/// Names that identity may not be written under: they frame or route the request, or carry a credential, or are set by
/// menshen itself.
const TAKEN: [&str; 16] = [
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-auth-state",
    "x-request-id",
];

/// The headers that tell the backend who is calling.
#[derive(Debug, Clone)]
pub struct IdentityHeaders {
    headers: Vec<(HeaderName, Claim)>,
}

/// A claim that can be told to the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Claim {
    Subject,
    UserType,
    Session,
    ClientType,
    Roles,
}

impl Claim {
    const ALL: [Self; 5] = [Self::Subject, Self::UserType, Self::Session, Self::ClientType, Self::Roles];

    const fn name(self) -> &'static str {
        match self {
            Self::Subject => "sub",
            Self::UserType => "user_type",
            Self::Session => "sid",
            Self::ClientType => "client_type",
            Self::Roles => "roles",
        }
    }

    /// `None`: absent.
    fn of(self, claims: &Verified) -> Option<Cow<'_, str>> {
        match self {
            Self::Subject => Some(claims.sub().as_str().into()),
            Self::UserType => Some(claims.user_type().as_str().into()),
            Self::Session => claims.sid(),
            Self::ClientType => claims.client_type().map(Cow::from),
            Self::Roles if claims.roles().is_empty() => None,
            Self::Roles => Some(claims.roles().join(",").into()),
        }
    }
}

impl IdentityHeaders {
    /// Reads `identity.headers`. Every problem comes with its key.
    pub fn compile(config: &IdentityConfig) -> Result<Self, Vec<(String, String)>> {
        let mut headers: Vec<(HeaderName, Claim)> = Vec::with_capacity(config.headers.len());
        let mut problems = Vec::new();
        for (name, claim) in &config.headers {
            let mut problem = |says: String| problems.push((format!("identity.headers.{name}"), says));
            let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
            let parsed = HeaderName::from_bytes(name.as_bytes()).ok().filter(|_| plain);
            let known = Claim::ALL.into_iter().find(|known| known.name() == claim);
            match (&parsed, known) {
                (None, _) => problem("a header name is letters, digits and '-'".to_owned()),
                (Some(parsed), _) if TAKEN.contains(&parsed.as_str()) => {
                    problem("this header cannot carry an identity".to_owned());
                }
                (Some(parsed), _) if headers.iter().any(|(other, _)| other == parsed) => {
                    problem("this header is named twice: case does not count".to_owned());
                }
                (Some(_), None) => {
                    let names = Claim::ALL.map(Claim::name).join(", ");
                    problem(format!("there is no claim \"{claim}\": it is one of {names}"));
                }
                (Some(parsed), Some(claim)) => headers.push((parsed.clone(), claim)),
            }
        }
        if problems.is_empty() { Ok(Self { headers }) } else { Err(problems) }
    }

    /// The names that are set, all of them managed.
    pub fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.headers.iter().map(|(name, _)| name)
    }

    /// The headers for these claims. A claim that could not be one header value makes the token invalid.
    pub fn values(&self, claims: &Verified) -> Result<Vec<(HeaderName, HeaderValue)>, ErrorCode> {
        // A comma in a role would make two roles of one.
        if claims.roles().iter().any(|role| role.contains(',') || !is_visible(role)) {
            return Err(ErrorCode::TokenInvalid);
        }
        self.headers
            .iter()
            .filter_map(|(name, claim)| Some((name, claim.of(claims)?)))
            .map(|(name, value)| match header_value(&value) {
                Some(header) if is_visible(&value) => Ok((name.clone(), header)),
                Some(_) | None => Err(ErrorCode::TokenInvalid),
            })
            .collect()
    }
}

/// The value as a header has it; the few that nearly every token has are not made anew each time.
fn header_value(text: &str) -> Option<HeaderValue> {
    match text {
        "user" => Some(HeaderValue::from_static("user")),
        "admin" => Some(HeaderValue::from_static("admin")),
        "miniprogram" => Some(HeaderValue::from_static("miniprogram")),
        "app" => Some(HeaderValue::from_static("app")),
        "web" => Some(HeaderValue::from_static("web")),
        text => HeaderValue::from_str(text).ok(),
    }
}

fn is_visible(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::token::{AccessClaims, fixture};

    fn config(headers: &[(&str, &str)]) -> IdentityConfig {
        let headers = headers.iter().map(|(name, claim)| ((*name).to_owned(), (*claim).to_owned()));
        IdentityConfig { headers: headers.collect::<BTreeMap<_, _>>(), ..IdentityConfig::default() }
    }

    fn told(claims: &AccessClaims) -> Result<Vec<String>, ErrorCode> {
        let all = [("A", "sub"), ("B", "user_type"), ("C", "sid"), ("D", "client_type"), ("E", "roles")];
        let values = IdentityHeaders::compile(&config(&all)).unwrap().values(&Verified::Own(claims.clone()))?;
        Ok(values.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect())
    }

    #[test]
    fn each_claim_has_its_header() {
        let mut claims = fixture::claims();
        claims.roles = vec!["editor".to_owned(), "ops:read".to_owned()];
        let sid = claims.sid;
        let expected = [
            "a: 42".to_owned(),
            "b: user".to_owned(),
            format!("c: {sid}"),
            "d: web".to_owned(),
            "e: editor,ops:read".to_owned(),
        ];
        assert_eq!(told(&claims), Ok(expected.to_vec()));
    }

    #[test]
    fn no_roles_set_no_header() {
        let claims = AccessClaims { roles: Vec::new(), ..fixture::claims() };
        assert_eq!(told(&claims).unwrap().len(), 4);
    }

    #[test]
    fn what_a_token_of_another_issuer_does_not_say_sets_no_header() {
        let all = [("A", "sub"), ("B", "user_type"), ("C", "sid"), ("D", "client_type"), ("E", "roles")];
        let headers = IdentityHeaders::compile(&config(&all)).unwrap();
        let values = headers.values(&Verified::Foreign(fixture::foreign("7"))).unwrap();
        let told: Vec<_> = values.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(told, [("a", "7"), ("b", "user")]);
    }

    #[test]
    fn a_claim_that_is_no_plain_value_makes_the_token_invalid() {
        for role in ["", " ", "a b", "a\r\nX: y", "a\0", "a\tb", "a,b", "管理", "a\u{7f}", "\u{a0}"] {
            let claims = AccessClaims { roles: vec!["fine".to_owned(), role.to_owned()], ..fixture::claims() };
            assert_eq!(told(&claims), Err(ErrorCode::TokenInvalid), "{role:?}");
        }
    }

    #[test]
    fn the_default_config_compiles() {
        let headers = IdentityHeaders::compile(&IdentityConfig::default()).unwrap();
        assert_eq!(headers.names().count(), 4);
    }

    #[test]
    fn what_cannot_be_an_identity_header_is_a_problem() {
        for (name, claim) in [
            ("", "sub"),
            ("X_User_Id", "sub"),
            ("X User", "sub"),
            ("X-User\n", "sub"),
            ("Authorization", "sub"),
            ("Host", "sub"),
            ("content-LENGTH", "sub"),
            ("X-Auth-State", "sub"),
            ("X-User-Id", "openid"),
            ("X-User-Id", ""),
            ("X-User-Id", "SUB"),
        ] {
            let problems = IdentityHeaders::compile(&config(&[(name, claim)])).unwrap_err();
            assert_eq!(problems.len(), 1, "{name:?} = {claim:?}");
            assert_eq!(problems[0].0, format!("identity.headers.{name}"));
        }
        let twice = IdentityHeaders::compile(&config(&[("X-User-Id", "sub"), ("x-user-id", "sid"), ("a_b", "sub")]));
        assert_eq!(twice.unwrap_err().len(), 2, "all problems are told at once");
    }
}
