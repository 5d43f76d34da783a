//! `[tokens]`: access tokens, refresh tokens and the keys that sign them.

use std::{fmt, path::PathBuf, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{HumanDuration, Problems, SecretText, values::text_value};
use crate::types::{Malformed, REVOCATION_RETENTION};

/// Access tokens, refresh tokens and the keys that sign them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TokenConfig {
    /// `iss` of our tokens (RFC 7519 section 4.1.1).
    pub issuer: String,
    /// `aud` of our tokens (RFC 7519 section 4.1.3).
    pub audience: String,
    /// How access tokens are signed: `EdDSA` (or `Ed25519`, its newer name), `ES256`, `RS256`, or
    /// `HS256` for a backend that shares the secret.
    pub algorithm: Algorithm,
    /// Directory of PEM private keys (PKCS#8, one a file; the newest name signs, all verify).
    /// Unset: keys are created on first start and stored. Not for HS256.
    #[schemars(extend("format" = "path"), example = &"keys")]
    pub key_dir: Option<PathBuf>,
    /// The secret for HS256, at least 32 bytes; also `secret_file`. Unset: made on first start and
    /// kept in the store.
    #[schemars(example = &"...")]
    pub secret: Option<SecretText>,
    /// Read `secret` from this file.
    #[schemars(extend("format" = "path"), example = &"tokens.secret")]
    pub secret_file: Option<PathBuf>,
    /// Former HS256 secrets that still verify.
    #[schemars(example = ["..."])]
    pub previous_secrets: Vec<SecretText>,
    /// How long a key that menshen made signs before it is rotated automatically; 1 to 730 days.
    /// Unset: until `menshen keys rotate`, because a backend with a copy of the public key would
    /// refuse all tokens after a rotation. Set it where every backend fetches `/auth/jwks.json`
    /// regularly.
    #[schemars(extend("minimum" = "1d", "maximum" = "730d"), example = &"90d")]
    pub rotate_every: Option<HumanDuration>,
    /// How long before the rotation the next key is published, for caches of the published keys. At
    /// least 10 minutes: they may be cached for 5.
    #[schemars(extend("minimum" = "10m", "maximum" = "730d"))]
    pub publish_before: HumanDuration,
    /// How long an access token is valid. Short, because it is not looked up on each request.
    pub access_ttl: HumanDuration,
    /// How long an unused session can still be refreshed.
    pub idle_ttl: HumanDuration,
    /// How long a session can be refreshed at all.
    pub absolute_ttl: HumanDuration,
    /// How far clocks may differ when `exp` and `nbf` are checked.
    #[schemars(extend("minimum" = "0s", "maximum" = "5m"))]
    pub leeway: HumanDuration,
    /// How long a refresh token that was just used gets the same answer again: `until_used` (until
    /// its successor has been used), or a duration. It serves lost responses and parallel
    /// refreshes; an older token is theft and ends the session.
    pub replay_window: ReplayWindow,
    /// Verified tokens remembered, so that a token seen before costs no signature check. About 1
    /// KiB each.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub cache_entries: usize,
}

impl TokenConfig {
    pub(super) fn check(&self, problems: &mut Problems) {
        for (key, value) in [
            ("tokens.issuer", &self.issuer),
            ("tokens.audience", &self.audience),
        ] {
            if value.trim().is_empty() {
                problems.add(
                    key,
                    "is empty: a token that names none would pass for another's",
                );
            }
        }
        self.check_secrets(problems);
        self.check_rotation(problems);
        self.check_spans(problems);
    }

    fn check_secrets(&self, problems: &mut Problems) {
        match self.algorithm {
            Algorithm::Hs256 => {
                for (key, secret) in keyed_secrets(self.secret.as_ref(), &self.previous_secrets) {
                    if let Some(what) = weakness(secret.expose()) {
                        problems.add(&format!("tokens.{key}"), what);
                    }
                }
                if self.key_dir.is_some() {
                    problems.add_conflict(
                        "tokens.key_dir",
                        &["tokens.algorithm"],
                        "holds key pairs, and HS256 has a secret",
                    );
                }
            }
            Algorithm::EdDsa | Algorithm::Es256 | Algorithm::Rs256 => {
                let given = [
                    (
                        "tokens.secret",
                        self.secret.is_some() && self.secret_file.is_none(),
                    ),
                    ("tokens.secret_file", self.secret_file.is_some()),
                    ("tokens.previous_secrets", !self.previous_secrets.is_empty()),
                ];
                for (key, _) in given.into_iter().filter(|(_, given)| *given) {
                    problems.add_conflict(
                        key,
                        &["tokens.algorithm"],
                        "is for `algorithm = \"HS256\"` only",
                    );
                }
            }
        }
    }

    fn check_rotation(&self, problems: &mut Problems) {
        let Some(every) = self.rotate_every else {
            return;
        };
        if self.publish_before >= every {
            let message = format!(
                "{} is not shorter than `tokens.rotate_every`, which is {every}",
                self.publish_before
            );
            problems.add_conflict("tokens.publish_before", &["tokens.rotate_every"], message);
        }
        let given = [
            ("tokens.key_dir", self.key_dir.is_some()),
            ("tokens.secret_file", self.secret_file.is_some()),
            ("tokens.secret", self.secret.is_some()),
        ];
        if let Some((source, _)) = given.into_iter().find(|(_, given)| *given) {
            let message = format!(
                "is for keys that menshen creates, but `{source}` has the keys: add the new one there"
            );
            problems.add_conflict("tokens.rotate_every", &[source], message);
        }
    }

    fn check_spans(&self, problems: &mut Problems) {
        let nothing = HumanDuration::millis(0);
        let spans = [
            ("tokens.access_ttl", self.access_ttl),
            ("tokens.idle_ttl", self.idle_ttl),
            ("tokens.absolute_ttl", self.absolute_ttl),
        ];
        for (key, span) in spans {
            if span == nothing {
                problems.add(key, "is 0: no user could stay signed in");
            }
        }
        for ((shorter, short), (longer, long)) in spans.into_iter().zip(spans.into_iter().skip(1)) {
            if long < short && long > nothing {
                problems.add_conflict(
                    longer,
                    &[shorter],
                    format!("{long} is shorter than `{shorter}`, which is {short}"),
                );
            }
        }
        // A revocation is remembered for this long; a token that outlived it would be valid again.
        if self.access_ttl.get() + self.leeway.get() > REVOCATION_RETENTION {
            let days = REVOCATION_RETENTION.as_secs() / 86_400;
            let message = format!(
                "{} and `tokens.leeway` are longer than the {days}d that a revocation is remembered",
                self.access_ttl
            );
            problems.add_conflict("tokens.access_ttl", &["tokens.leeway"], message);
        }
        match self.replay_window {
            ReplayWindow::For(span) if span > self.idle_ttl => {
                let message = format!("{span} is longer than `tokens.idle_ttl`");
                problems.add_conflict("tokens.replay_window", &["tokens.idle_ttl"], message);
            }
            ReplayWindow::For(_) | ReplayWindow::UntilUsed => {}
        }
    }
}

/// A secret and the former ones, each with its key in its table.
pub(super) fn keyed_secrets<'a>(
    secret: Option<&'a SecretText>,
    previous: &'a [SecretText],
) -> impl Iterator<Item = (String, &'a SecretText)> {
    let previous = previous.iter().enumerate();
    let previous = previous.map(|(n, secret)| (format!("previous_secrets[{n}]"), secret));
    let secret = secret.map(|secret| ("secret".to_owned(), secret));
    secret.into_iter().chain(previous)
}

/// Fewest bytes of an HS256 secret (RFC 7518 section 3.2).
const MIN_SECRET_LEN: usize = 32;

/// Parts of the secrets that documentation and project templates print; an attacker tries them
/// first.
const EXAMPLE_SECRETS: [&str; 10] = [
    "changeme",
    "change-me",
    "change_me",
    "change-this",
    "django-insecure-",
    "example",
    "placeholder",
    "your-256-bit-secret",
    "your-secret",
    "your_secret",
];

/// Why a secret could be guessed; `None` where it could not.
pub(super) fn weakness(secret: &str) -> Option<&'static str> {
    let bytes = secret.as_bytes();
    let lower = secret.to_lowercase();
    let repeats = |period: usize| bytes.iter().zip(&bytes[period..]).all(|(a, b)| a == b);
    if bytes.len() < MIN_SECRET_LEN {
        Some("is shorter than 32 bytes: `openssl rand -base64 32` prints a good one")
    } else if (1..=bytes.len() / 2).any(repeats) {
        Some("repeats itself: `openssl rand -base64 32` prints a good one")
    } else if EXAMPLE_SECRETS
        .iter()
        .any(|example| lower.contains(example))
    {
        Some("is a published example: `openssl rand -base64 32` prints a good one")
    } else {
        None
    }
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
            rotate_every: None,
            publish_before: HumanDuration::days(1),
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
#[schemars(extend("enum" = ["EdDSA", "Ed25519", "ES256", "RS256", "HS256"]))]
pub enum Algorithm {
    // With Ed25519 keys, and no others: `EdDSA` of RFC 8037, `Ed25519` of RFC 9864.
    #[serde(rename = "EdDSA", alias = "Ed25519")]
    EdDsa,
    #[serde(rename = "ES256")]
    Es256,
    #[serde(rename = "RS256")]
    Rs256,
    #[serde(rename = "HS256")]
    Hs256,
}

impl Algorithm {
    /// Whether `alg` of a token or a JWK means this one. For Ed25519 there are two names (RFC 9864
    /// section 2.2).
    pub fn is_named(self, alg: &str) -> bool {
        alg == self.as_str() || (self == Self::EdDsa && alg == "Ed25519")
    }

    /// Its name in the `alg` of a token that menshen signs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
            Self::Hs256 => "HS256",
        }
    }
}

/// How long the refresh token before the present one gets the same successor again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ReplayWindow {
    /// Until the successor has itself been used.
    UntilUsed,
    /// Until then, and at most so long.
    For(HumanDuration),
}

text_value!(ReplayWindow, "replay-window");

impl FromStr for ReplayWindow {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        match text {
            "until_used" => Ok(Self::UntilUsed),
            _ => text
                .parse()
                .map(Self::For)
                .map_err(|_| Malformed("is neither `until_used` nor a duration such as 30s")),
        }
    }
}

impl fmt::Display for ReplayWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UntilUsed => f.write_str("until_used"),
            Self::For(span) => span.fmt(f),
        }
    }
}
