//! `[tokens]`: access tokens, refresh tokens and the keys that sign them.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{HumanDuration, SecretText};

/// Access tokens, refresh tokens and the keys that sign them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TokenConfig {
    /// `iss` of our tokens (RFC 7519 section 4.1.1).
    pub issuer: String,
    /// `aud` of our tokens (RFC 7519 section 4.1.3).
    pub audience: String,
    /// How access tokens are signed: `EdDSA`, `ES256`, `RS256`, or `HS256` for a backend that shares the secret.
    pub algorithm: Algorithm,
    /// Directory of PEM private keys (PKCS#8, one a file; the newest name signs, all verify). Unset: keys are made on first
    /// start and kept in the store. Not for HS256.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_dir: Option<PathBuf>,
    /// The secret for HS256, at least 32 bytes; also `secret_file`. Unset: made on first start and kept in the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretText>,
    /// Read `secret` from this file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
    /// Former HS256 secrets that still verify.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub previous_secrets: Vec<SecretText>,
    /// How long an access token is valid. Short, because it is not looked up on each request.
    pub access_ttl: HumanDuration,
    /// How long an unused session can still be refreshed.
    pub idle_ttl: HumanDuration,
    /// How long a session can be refreshed at all.
    pub absolute_ttl: HumanDuration,
    /// How far clocks may differ when `exp` and `nbf` are checked.
    pub leeway: HumanDuration,
    /// How long a refresh token that was just used gets the same answer again: `until_used` (until its successor has been
    /// used), or a duration. Serves lost answers and parallel refreshes; anything older is theft and ends the session.
    pub replay_window: ReplayWindow,
    /// Verified tokens remembered, so that a token seen before costs no signature check. About 1 KiB each.
    pub cache_entries: usize,
}

impl Default for TokenConfig {
    fn default() -> Self {
        Self {
            issuer: "menshen".to_owned(),
            audience: "backend".to_owned(),
            algorithm: Algorithm::EdDsa,
            key_dir: None,
            secret: None,
            secret_file: None,
            previous_secrets: Vec::new(),
            access_ttl: HumanDuration::minutes(15),
            idle_ttl: HumanDuration::days(30),
            absolute_ttl: HumanDuration::days(90),
            leeway: HumanDuration::secs(30),
            replay_window: ReplayWindow::UntilUsed,
            cache_entries: 20_000,
        }
    }
}

/// JWS algorithms (RFC 7518 section 3.1, RFC 8037 section 3.1) that menshen signs with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Algorithm {
    #[serde(rename = "EdDSA")]
    EdDsa,
    #[serde(rename = "ES256")]
    Es256,
    #[serde(rename = "RS256")]
    Rs256,
    #[serde(rename = "HS256")]
    Hs256,
}

/// How long the refresh token before the present one gets the same successor again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub enum ReplayWindow {
    /// Until the successor has itself been used.
    UntilUsed,
    /// Until then, and at most so long.
    For(HumanDuration),
}
