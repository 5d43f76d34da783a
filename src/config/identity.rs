//! `[identity]`: how the backend gets the identity of the caller.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{HumanDuration, Problems, TokenConfig, values::pairs};

/// How the backend gets the identity of the caller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct IdentityConfig {
    /// Header name = claim of the access token: `sub`, `user_type`, `sid`, `client_type`, `roles`
    /// (comma-joined), `openid`, `unionid`, `phone`, `nickname`, or `claim:NAME` for a claim of a
    /// dialect or an `[[issuer]]`. Only these headers are set, and `X-Auth-State` (`authenticated`
    /// or `anonymous`), which always is.
    ///
    /// The last five are UTF-8, percent-encoded. Tokens contain only the personal data that is
    /// listed here: the holder of a token can read it. A changed phone or nickname is in the next
    /// access token. An `openid` is that of the mini program of the session.
    pub headers: BTreeMap<String, String>,
    /// A header of a client never passes if its name starts with one of these, with any character
    /// in place of `-`, even if menshen sets no such header.
    pub reserved_prefixes: Vec<String>,
    /// Set `X-Auth-Assertion` on each authenticated request: a JWT about the caller (`EdDSA`, or
    /// `ES256` where `tokens.algorithm` is that), which the backend can check with the keys of
    /// `/auth/jwks.json`, so that it need not trust every request that reaches it. docs/backend.md
    /// shows how.
    pub assertion: bool,
    /// `aud` of the assertion: the backend's own name, which it must check. It differs from
    /// `tokens.audience`, so that no access token passes for an assertion.
    pub assertion_audience: String,
    /// How long an assertion is valid. It is reused for half of that time.
    pub assertion_ttl: HumanDuration,
    /// Let `X-WX-*` pass: only where nothing but WeChat Cloud can reach menshen.
    pub wechat_cloud_headers: bool,
}

impl IdentityConfig {
    pub(super) fn check(&self, tokens: &TokenConfig, problems: &mut Problems) {
        if !self.assertion {
            return;
        }
        let key = "identity.assertion_audience";
        if self.assertion_audience.trim().is_empty() {
            problems.add(
                key,
                "is empty: an assertion without an audience would be valid for every service",
            );
        } else if self.assertion_audience == tokens.audience {
            let message = "is `tokens.audience` too: a backend that compares only that would take an access token for an assertion";
            problems.add_conflict(key, &["tokens.audience"], message);
        }
        problems.check_range(
            "identity.assertion_ttl",
            &self.assertion_ttl,
            HumanDuration::secs(2)..=HumanDuration::minutes(10),
        );
    }
}

impl Default for IdentityConfig {
    fn default() -> Self {
        Self {
            headers: pairs(&[
                ("X-User-Id", "sub"),
                ("X-User-Type", "user_type"),
                ("X-Session-Id", "sid"),
                ("X-Client-Type", "client_type"),
            ]),
            assertion: false,
            assertion_audience: "upstream".to_owned(),
            assertion_ttl: HumanDuration::secs(60),
            reserved_prefixes: [
                "X-User-",
                "X-Auth-",
                "X-Session-",
                "X-Client-",
                "X-Menshen-",
            ]
            .map(str::to_owned)
            .into(),
            wechat_cloud_headers: false,
        }
    }
}
