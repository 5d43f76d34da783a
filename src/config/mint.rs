//! `[mint]`: the token that replaces the client's on the way to the backend, in the form that the
//! backend itself used to issue.

use std::{collections::BTreeMap, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Config, HumanDuration, Problems, SecretText, UpstreamAuthorization, tokens::weakness};

/// The token that the backend gets in `Authorization` if `upstream.authorization` is `mint`. It has
/// the backend's own form, and is minted for each session and renewed in time, so that a backend
/// that verifies tokens needs no change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MintConfig {
    /// The backend's secret, for HS256: at least 32 bytes. No secret of `[tokens]`.
    #[schemars(example = &"...")]
    pub secret: Option<SecretText>,
    /// Read `secret` from this file.
    #[schemars(extend("format" = "path"), example = &"backend.secret")]
    pub secret_file: Option<PathBuf>,
    /// Or a private key whose public key the backend has: PEM with PKCS#8, for `RS256`, `ES256` or
    /// `EdDSA` by the type of the key.
    #[schemars(example = &"...")]
    pub private_key: Option<SecretText>,
    /// Read `private_key` from this file.
    #[schemars(extend("format" = "path"), example = &"backend.pem")]
    pub private_key_file: Option<PathBuf>,
    /// `kid` of the token's header. Unset: none.
    #[schemars(example = &"2026")]
    pub key_id: Option<String>,
    /// The claims, by the backend's names for them, as templates with placeholders. `{user.id}` is
    /// a number if `users.ids` is `integer`, `{user.id:text}` always a text; the others are
    /// `{user.type}`, `{user.roles}`, `{user.is_staff}`, `{user.is_superuser}`, `{session_id}`,
    /// `{client_type}`, `{now}` and `{jti}`, a new one for each token. A claim without a value is
    /// left out. `iat` (5 s early, for clocks that differ) and `exp` are always there.
    pub claims: BTreeMap<String, String>,
    /// `iss`. Unset: none.
    #[schemars(example = &"shop")]
    pub issuer: Option<String>,
    /// `aud`. Unset: none.
    #[schemars(example = &"shop-api")]
    pub audience: Option<String>,
    /// How long it is valid. It is reused for half of that time.
    pub ttl: HumanDuration,
    /// The header of the token. A client's header of this name never passes.
    pub header: String,
    /// The text before the token, with its space. Empty: the token alone.
    pub prefix: String,
}

impl Default for MintConfig {
    fn default() -> Self {
        Self {
            secret: None,
            secret_file: None,
            private_key: None,
            private_key_file: None,
            key_id: None,
            claims: BTreeMap::new(),
            issuer: None,
            audience: None,
            ttl: HumanDuration::minutes(5),
            header: "Authorization".to_owned(),
            prefix: "Bearer ".to_owned(),
        }
    }
}

impl MintConfig {
    pub(super) fn check(&self, config: &Config, problems: &mut Problems) {
        if config.upstream.authorization != UpstreamAuthorization::Mint {
            if *self != Self::default() {
                problems.warn(
                    "mint",
                    "is not used: `upstream.authorization` is not `mint`",
                );
            }
            return;
        }
        let asked = ["upstream.authorization"];
        match (&self.secret, &self.private_key) {
            (Some(_), Some(_)) => problems.add(
                "mint.private_key",
                "is given together with `secret`: keep one of them",
            ),
            (None, None) if !problems.is_suppressed("mint.private_key") => {
                let message =
                    "is missing, and so is `private_key`: `upstream.authorization` is `mint`";
                problems.add_conflict("mint.secret", &asked, message);
            }
            _ => {}
        }
        if let Some(secret) = &self.secret {
            check_secret(secret, config, problems);
        }
        if self.claims.is_empty() {
            problems.add_conflict(
                "mint.claims",
                &asked,
                "is empty: the token would name no user",
            );
        }
        for (key, value) in [
            ("key_id", &self.key_id),
            ("issuer", &self.issuer),
            ("audience", &self.audience),
        ] {
            if value.as_ref().is_some_and(|value| value.trim().is_empty()) {
                problems.add(&format!("mint.{key}"), "is empty: leave it out");
            }
        }
        let printable = |b: u8| b.is_ascii_graphic() || b == b' ';
        if !self.prefix.bytes().all(printable) || self.prefix.starts_with(' ') {
            problems.add(
                "mint.prefix",
                "is not the beginning of a header's value: write visible ASCII, and a space at its end",
            );
        }
        problems.check_range(
            "mint.ttl",
            &self.ttl,
            HumanDuration::secs(2)..=HumanDuration::days(1),
        );
    }
}

/// The holder of the backend's secret can make its tokens, so the secret must be used nowhere else.
fn check_secret(secret: &SecretText, config: &Config, problems: &mut Problems) {
    let key = "mint.secret";
    if let Some(what) = weakness(secret.expose()) {
        problems.add(key, what);
    }
    let tokens = &config.tokens;
    if tokens
        .secret
        .iter()
        .chain(&tokens.previous_secrets)
        .any(|ours| ours == secret)
    {
        let message = "is a secret of `[tokens]` too: the backend could sign access tokens. Give `[tokens]` another one, or `EdDSA`";
        problems.add_conflict(key, &["tokens.secret", "tokens.previous_secrets"], message);
    }
    if config.upstream.shared_secret.as_ref() == Some(secret) {
        problems.add_conflict(
            key,
            &["upstream.shared_secret"],
            "is `upstream.shared_secret` too, which travels with every request",
        );
    }
}
