//! `[[rule]]`: the access that each path and method needs.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::HumanDuration;

/// One rule. It matches by path and method; then `access`, `user_types`, `roles` and `claims`
/// decide.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = health())]
pub struct RuleConfig {
    /// Its name in metrics, logs and `menshen check`: 1 to 64 letters, digits, `-` or `_`.
    #[schemars(example = &"back-office")]
    pub name: String,
    /// Matches the path that is forwarded, never the query: exact (`/health`), everything below
    /// (`/static/**`, which is `/static` too), or `*` for one segment (`/users/*/posts`). Case
    /// matters.
    #[schemars(example = &"/admin/**")]
    pub path: String,
    /// The methods that it matches. Empty: all. `GET` does not include `HEAD`.
    #[serde(default)]
    #[schemars(example = ["GET", "POST"])]
    pub methods: Vec<String>,
    /// `public`: always anonymous, a token is ignored. `optional`: anonymous without a token, an
    /// invalid token is refused. `required`: needs a valid token. `deny`: always refused.
    #[serde(default)]
    #[schemars(example = Access::Required)]
    pub access: Access,
    /// Kinds of user that may pass (403 for others). Empty: all.
    #[serde(default)]
    #[schemars(example = ["admin"])]
    pub user_types: Vec<String>,
    /// Roles of which the user must have one (403 otherwise). Empty: none needed.
    #[serde(default)]
    #[schemars(example = ["editor"])]
    pub roles: Vec<String>,
    /// Claims of the token, each with the values of which it must have one (403 otherwise): a text,
    /// a number or a truth value as JSON writes it, or a list with one of them in it. For claims of
    /// a dialect or of an `[[issuer]]`.
    #[serde(default)]
    #[schemars(example = BTreeMap::from([("tenant", ["shop"])]))]
    pub claims: BTreeMap<String, Vec<String>>,
    /// With `optional`: an invalid token counts as no token.
    #[serde(default)]
    #[schemars(example = false)]
    pub bad_token_is_anonymous: bool,
    /// In place of `gate.token_header`, and of `access_token` of a dialect, on the paths of this
    /// rule.
    #[schemars(example = &"_token")]
    pub token_header: Option<String>,
    /// Take the token from the cookie of this name too, for pages whose requests cannot carry
    /// `Authorization`. The cookie is not forwarded, on any path, unless `upstream.authorization =
    /// "keep"` or a proxy forwards (forward-auth). A request of a page of another site cannot use
    /// it (403), except for a link to this site, unless `cors.allowed_origins` lists it and
    /// `cors.allow_credentials` is on. A request that has `Authorization` as well is refused (400).
    #[schemars(example = &"access_token")]
    pub token_cookie: Option<String>,
    /// Take the token of a WebSocket handshake, and of nothing else, from `access_token` in the
    /// query too: browsers cannot send `Authorization` with one. It is not forwarded, unless
    /// `upstream.authorization = "keep"`, and never in menshen's logs; it may be in those of a
    /// proxy in front.
    #[serde(default)]
    #[schemars(example = true)]
    pub token_in_query: bool,
    /// How long a WebSocket, an event stream or a long poll on this rule may be idle, in place of
    /// `upstream.read_timeout`: from 1ms to 7d. For an upload, also in place of a shorter
    /// `server.body_timeout`.
    #[schemars(example = &"1h")]
    pub idle_timeout: Option<HumanDuration>,
    /// menshen answers CORS preflights on these paths itself, and pages of `cors.allowed_origins`
    /// may read its rejections. The CORS headers of other responses are the backend's.
    #[serde(default)]
    #[schemars(example = true)]
    pub cors: bool,
    /// Let paths with `%2F` or `%25` pass (`["%2F"]`, `["%25"]` or both), for a backend whose ids
    /// need them. Other rules refuse them (400). **A warning:** the meaning of such a path depends
    /// on how often the servers behind decode it, and any of them may read `%2F` as `/`. So a path
    /// passes only if it is valid and matches this same rule as sent, decoded once and decoded
    /// twice: without dot segments, empty segments or another hidden delimiter. Rules then see a
    /// part of an id as a segment of the path, and a rule of the backend, or of a proxy behind, may
    /// see another path. `%2F` needs a `path` that ends in `/**`, best one with nothing else below
    /// it.
    #[serde(default)]
    #[schemars(example = ["%2F"])]
    pub allow_encoded: Vec<EncodedDelimiter>,
    /// Report-only mode for the paths of this rule. Unset: as `gate.report_only` says. Unless every
    /// rule is in this mode, ambiguous paths are refused, and headers that name another path or
    /// method are removed.
    #[schemars(example = true)]
    pub report_only: Option<bool>,
}

impl RuleConfig {
    /// What it matches: `GET|HEAD /health`.
    pub fn methods_and_path(&self) -> String {
        match self.methods.as_slice() {
            [] => self.path.clone(),
            methods => format!("{} {}", methods.join("|"), self.path),
        }
    }
}

/// The most common first rule.
fn health() -> RuleConfig {
    RuleConfig {
        name: "health".to_owned(),
        path: "/health".to_owned(),
        methods: vec!["GET".to_owned(), "HEAD".to_owned()],
        access: Access::Public,
        ..RuleConfig::default()
    }
}

/// A delimiter of paths, percent-encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum EncodedDelimiter {
    #[serde(rename = "%2F")]
    Slash,
    #[serde(rename = "%25")]
    Percent,
}

/// What a rule asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    Public,
    Optional,
    #[default]
    Required,
    Deny,
}
