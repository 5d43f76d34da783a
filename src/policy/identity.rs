//! The claims that the backend gets, and their header names.
//!
//! Must stay true: a claim becomes a header only if it is visible ASCII and not empty; an absent
//! claim sets no header, not an empty one. Values that a user chooses (a nickname) or another
//! issuer sets are percent-encoded, so that they are visible ASCII.

use std::{borrow::Cow, fmt, sync::Arc};

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::{
    config::IdentityConfig,
    error::ErrorCode,
    token::{RESERVED_CLAIMS, VerifiedClaims},
};

/// Names that identity headers may not have: they frame or route the request, carry a credential,
/// or are set by menshen itself.
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

/// The headers that name the user to the backend.
#[derive(Debug, Clone)]
pub struct IdentityHeaders {
    names: Arc<[HeaderName]>,
    /// The claim of each name, in the same order.
    claims: Vec<Claim>,
}

/// The identity headers of one user. Every cached token has them, so all values share one buffer.
#[derive(Clone, PartialEq, Eq)]
pub struct IdentityFields {
    names: Arc<[HeaderName]>,
    /// A line for each name: its value; empty if there is no such header.
    lines: Bytes,
}

/// A claim that the backend can get.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Claim {
    Subject,
    UserType,
    Session,
    ClientType,
    Roles,
    Openid,
    Unionid,
    Phone,
    Nickname,
    /// A claim of a dialect, a hook or another issuer, by its name.
    Custom(Arc<str>),
}

/// Prefix of the name of a claim of a dialect, a hook or another issuer.
const CUSTOM: &str = "claim:";

/// The ASCII characters that are percent-encoded in a value that may be any text.
const ESCAPED: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b',');

impl Claim {
    const NAMED: [Self; 9] = [
        Self::Subject,
        Self::UserType,
        Self::Session,
        Self::ClientType,
        Self::Roles,
        Self::Openid,
        Self::Unionid,
        Self::Phone,
        Self::Nickname,
    ];

    fn parse(text: &str) -> Result<Self, String> {
        match text.strip_prefix(CUSTOM) {
            Some(name) if !name.is_empty() && !RESERVED_CLAIMS.contains(&name) => {
                Ok(Self::Custom(name.into()))
            }
            Some(name) => Err(format!(
                "{name:?} is not the name of a claim that a dialect or an issuer could have"
            )),
            None => Self::NAMED
                .into_iter()
                .find(|known| known.name() == text)
                .ok_or_else(|| {
                    let names = Self::NAMED
                        .iter()
                        .map(Self::name)
                        .collect::<Vec<_>>()
                        .join(", ");
                    format!("there is no claim \"{text}\": it is one of {names}, or claim:NAME")
                }),
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Subject => "sub",
            Self::UserType => "user_type",
            Self::Session => "sid",
            Self::ClientType => "client_type",
            Self::Roles => "roles",
            Self::Openid => "openid",
            Self::Unionid => "unionid",
            Self::Phone => "phone",
            Self::Nickname => "nickname",
            Self::Custom(name) => name,
        }
    }

    /// The value of the claim; `None`: absent.
    fn value<'c>(&self, claims: &'c VerifiedClaims) -> Option<Cow<'c, str>> {
        let text =
            |text: &'c Option<String>| text.as_deref().filter(|text| !text.is_empty()).map(escaped);
        match self {
            Self::Subject => Some(claims.sub().as_str().into()),
            Self::UserType => Some(claims.user_type().as_str().into()),
            Self::Session => claims.sid(),
            Self::ClientType => claims.client_type().map(Cow::from),
            Self::Roles if claims.roles().is_empty() => None,
            Self::Roles => Some(claims.roles().join(",").into()),
            Self::Openid => text(&claims.identity_claims().openid),
            Self::Unionid => text(&claims.identity_claims().unionid),
            Self::Phone => text(&claims.identity_claims().phone),
            Self::Nickname => text(&claims.identity_claims().nickname),
            Self::Custom(name) => {
                let values: Vec<_> = claims
                    .custom_claims()
                    .get(name)
                    .iter()
                    .map(|value| escaped(value))
                    .collect();
                Some(values.join(","))
                    .filter(|joined| !joined.is_empty())
                    .map(Cow::from)
            }
        }
    }
}

impl IdentityHeaders {
    /// Compiles `identity.headers`; reports every problem with its key.
    pub fn compile(config: &IdentityConfig) -> Result<Self, Vec<(String, String)>> {
        let (mut names, mut claims) = (Vec::new(), Vec::new());
        let mut problems = Vec::new();
        for (name, claim) in &config.headers {
            let mut problem =
                |says: String| problems.push((format!("identity.headers.{name}"), says));
            let plain =
                !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
            let parsed = HeaderName::from_bytes(name.as_bytes())
                .ok()
                .filter(|_| plain);
            match (&parsed, Claim::parse(claim)) {
                (None, _) => problem("a header name is letters, digits and '-'".to_owned()),
                (Some(parsed), _) if TAKEN.contains(&parsed.as_str()) => {
                    problem("this header cannot carry an identity".to_owned());
                }
                (Some(parsed), _) if names.contains(parsed) => {
                    problem("this header is named twice: case does not count".to_owned());
                }
                (Some(_), Err(says)) => problem(says),
                (Some(parsed), Ok(claim)) => {
                    names.push(parsed.clone());
                    claims.push(claim);
                }
            }
        }
        if problems.is_empty() {
            Ok(Self {
                names: names.into(),
                claims,
            })
        } else {
            Err(problems)
        }
    }

    /// The names of the headers, all of them reserved.
    pub fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.names.iter()
    }

    /// The headers for these claims. A claim that cannot be one header value makes the token
    /// invalid.
    pub fn fields(&self, claims: &VerifiedClaims) -> Result<IdentityFields, ErrorCode> {
        // A role with a comma would become two.
        if claims
            .roles()
            .iter()
            .any(|role| role.contains(',') || !is_visible(role))
        {
            return Err(ErrorCode::TokenInvalid);
        }
        let mut lines = String::new();
        for claim in &self.claims {
            if let Some(value) = claim.value(claims) {
                if !is_visible(&value) {
                    return Err(ErrorCode::TokenInvalid);
                }
                lines.push_str(&value);
            }
            lines.push('\n');
        }
        Ok(IdentityFields {
            names: Arc::clone(&self.names),
            lines: lines.into_boxed_str().into_boxed_bytes().into(),
        })
    }
}

impl IdentityFields {
    /// Name and value of each.
    pub fn iter(&self) -> impl Iterator<Item = (&HeaderName, HeaderValue)> {
        let values = self
            .lines
            .split(|&byte| byte == b'\n')
            .map(|line| self.lines.slice_ref(line));
        self.names.iter().zip(values).filter_map(|(name, value)| {
            // Every value is visible ASCII.
            Some((
                name,
                HeaderValue::from_maybe_shared(value)
                    .ok()
                    .filter(|value| !value.is_empty())?,
            ))
        })
    }
}

#[cfg(test)]
impl Default for IdentityFields {
    fn default() -> Self {
        Self {
            names: Arc::from([]),
            lines: Bytes::new(),
        }
    }
}

/// The values are personal data, so they do not print.
impl fmt::Debug for IdentityFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.iter().map(|(name, _)| name))
            .finish()
    }
}

fn escaped(text: &str) -> Cow<'_, str> {
    utf8_percent_encode(text, ESCAPED).into()
}

/// The claims about the user that menshen's tokens need for these headers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is requested by itself")]
pub struct RequestedClaims {
    pub openid: bool,
    pub unionid: bool,
    pub phone: bool,
    pub nickname: bool,
}

impl RequestedClaims {
    /// The claims that `identity.headers` names.
    pub fn from_config(config: &IdentityConfig) -> Self {
        let is_requested = |claim: &str| config.headers.values().any(|name| name == claim);
        Self {
            openid: is_requested("openid"),
            unionid: is_requested("unionid"),
            phone: is_requested("phone"),
            nickname: is_requested("nickname"),
        }
    }
}

/// The claims of dialects and other issuers that `identity.headers` names.
pub fn custom_claims(config: &IdentityConfig) -> impl Iterator<Item = &str> {
    config
        .headers
        .values()
        .filter_map(|claim| claim.strip_prefix(CUSTOM))
}

fn is_visible(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::token::{AccessClaims, CustomClaims, IdentityClaims, fixture};

    fn config(headers: &[(&str, &str)]) -> IdentityConfig {
        let headers = headers
            .iter()
            .map(|(name, claim)| ((*name).to_owned(), (*claim).to_owned()));
        IdentityConfig {
            headers: headers.collect::<BTreeMap<_, _>>(),
            ..IdentityConfig::default()
        }
    }

    fn header_values(claims: &AccessClaims) -> Result<Vec<String>, ErrorCode> {
        let all = [
            ("A", "sub"),
            ("B", "user_type"),
            ("C", "sid"),
            ("D", "client_type"),
            ("E", "roles"),
        ];
        let fields = IdentityHeaders::compile(&config(&all))
            .unwrap()
            .fields(&VerifiedClaims::Own(claims.clone()))?;
        Ok(fields
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect())
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
        assert_eq!(header_values(&claims), Ok(expected.to_vec()));
    }

    #[test]
    fn no_roles_set_no_header() {
        let claims = AccessClaims {
            roles: Vec::new(),
            ..fixture::claims()
        };
        assert_eq!(header_values(&claims).unwrap().len(), 4);
    }

    #[test]
    fn what_a_token_of_another_issuer_does_not_say_sets_no_header() {
        let all = [
            ("A", "sub"),
            ("B", "user_type"),
            ("C", "sid"),
            ("D", "client_type"),
            ("E", "roles"),
        ];
        let headers = IdentityHeaders::compile(&config(&all)).unwrap();
        let fields = headers
            .fields(&VerifiedClaims::External(fixture::foreign("7")))
            .unwrap();
        let values: Vec<_> = fields
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        assert_eq!(values, ["a: 7", "b: user"]);
    }

    #[test]
    fn a_claim_that_is_no_plain_value_makes_the_token_invalid() {
        for role in [
            "",
            " ",
            "a b",
            "a\r\nX: y",
            "a\0",
            "a\tb",
            "a,b",
            "管理",
            "a\u{7f}",
            "\u{a0}",
        ] {
            let claims = AccessClaims {
                roles: vec!["fine".to_owned(), role.to_owned()],
                ..fixture::claims()
            };
            assert_eq!(
                header_values(&claims),
                Err(ErrorCode::TokenInvalid),
                "{role:?}"
            );
        }
    }

    #[test]
    fn what_a_person_chose_is_percent_encoded() {
        let all = [
            ("A", "openid"),
            ("B", "unionid"),
            ("C", "phone"),
            ("D", "nickname"),
            ("E", "claim:tenant"),
        ];
        let headers = IdentityHeaders::compile(&config(&all)).unwrap();
        let with = |nickname: &str, tenant: serde_json::Value| {
            let text = |text: &str| Some(text.to_owned());
            let identity_claims = IdentityClaims {
                phone: text("+8613800138000"),
                nickname: text(nickname),
                ..IdentityClaims::default()
            };
            let custom_claims = CustomClaims::of([("tenant", tenant)].into_iter());
            let fields = headers
                .fields(&VerifiedClaims::Own(AccessClaims {
                    identity_claims,
                    custom_claims,
                    ..fixture::claims()
                }))
                .unwrap();
            let line = |(name, value): (&HeaderName, HeaderValue)| {
                format!("{name}: {}", value.to_str().unwrap())
            };
            fields.iter().map(line).collect::<Vec<_>>().join("; ")
        };
        for (nickname, tenant, expected) in [
            (
                "张三",
                serde_json::json!("shop"),
                "c: +8613800138000; d: %E5%BC%A0%E4%B8%89; e: shop",
            ),
            (
                "a b\r\nX: y",
                serde_json::json!(["a,b", "c"]),
                "c: +8613800138000; d: a%20b%0D%0AX:%20y; e: a%2Cb,c",
            ),
            (
                "100%",
                serde_json::json!(null),
                "c: +8613800138000; d: 100%25",
            ),
            ("", serde_json::json!(""), "c: +8613800138000"),
        ] {
            assert_eq!(with(nickname, tenant), expected);
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
            ("X-User-Id", "claim:"),
            ("X-User-Id", "claim:sub"),
            ("X-User-Id", "avatar"),
            ("X-User-Id", ""),
            ("X-User-Id", "SUB"),
        ] {
            let problems = IdentityHeaders::compile(&config(&[(name, claim)])).unwrap_err();
            assert_eq!(problems.len(), 1, "{name:?} = {claim:?}");
            assert_eq!(problems[0].0, format!("identity.headers.{name}"));
        }
        let twice = IdentityHeaders::compile(&config(&[
            ("X-User-Id", "sub"),
            ("x-user-id", "sid"),
            ("a_b", "sub"),
        ]));
        assert_eq!(twice.unwrap_err().len(), 2, "all problems are told at once");
    }
}
