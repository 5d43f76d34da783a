//! Checks of `[[issuer]]`: each by itself, and that no two can be taken for each other.

use reqwest::Url;

use super::{
    Algorithm, IssuerConfig, MAPPED_CLAIMS, Problems, SecretText, TokenConfig,
    address::is_loopback,
    end_of_day,
    issuers::DEFAULT_MAX_LIFETIME,
    tokens::{keyed_secrets, weakness},
};
use crate::types::{Malformed, UserId, UserType};

/// Registered claims that menshen reads itself (RFC 7519 section 4.1), so that none of them can be
/// mapped.
const REGISTERED_CLAIMS: [&str; 5] = ["iss", "aud", "exp", "nbf", "iat"];

/// Most entries of `previous_secrets`, because each is tried.
const MAX_PREVIOUS_SECRETS: usize = 4;

/// Most issuers whose tokens have no `iss`, because each is tried.
const MAX_ISSUERS_WITHOUT_ISS: usize = 4;

/// Checks each issuer, and that no two can be confused.
pub(super) fn check(issuers: &[IssuerConfig], tokens: &TokenConfig, problems: &mut Problems) {
    let own = tokens.secret.iter().chain(&tokens.previous_secrets);
    let mut known: Vec<(&str, &SecretText)> = own.map(|secret| ("tokens", secret)).collect();
    for (index, issuer) in issuers.iter().enumerate() {
        issuer.check(index, tokens, problems);
        let before = &issuers[..index];
        let key = |name: &str| format!("issuer[{index}].{name}");
        if before.iter().any(|other| other.name == issuer.name) {
            problems.add(&key("name"), "is the name of another issuer");
        }
        if !issuer.issuer.is_empty() && before.iter().any(|other| other.issuer == issuer.issuer) {
            problems.add(
                &key("issuer"),
                "is that of another issuer: the issuer of a token would be ambiguous",
            );
        }
        // With a shared secret one issuer could sign for the other.
        for (name, secret) in issuer.secrets() {
            if let Some((whose, _)) = known
                .iter()
                .find(|(whose, other)| *whose != issuer.name && other.expose() == secret.expose())
            {
                let whose = if *whose == "tokens" {
                    "menshen's own tokens".to_owned()
                } else {
                    format!("issuer \"{whose}\"")
                };
                problems.add(
                    &key(&name),
                    format!("is the secret of {whose} too: each would pass for the other"),
                );
            }
        }
        known.extend(
            issuer
                .secrets()
                .map(|(_, secret)| (issuer.name.as_str(), secret)),
        );
    }
    if issuers
        .iter()
        .filter(|issuer| issuer.issuer.is_empty())
        .count()
        > MAX_ISSUERS_WITHOUT_ISS
    {
        problems.add(
            "issuer",
            format!(
                "has more than {MAX_ISSUERS_WITHOUT_ISS} whose tokens have no `iss`: each would be tried"
            ),
        );
    }
}

impl IssuerConfig {
    fn check(&self, index: usize, tokens: &TokenConfig, problems: &mut Problems) {
        let key = |name: &str| format!("issuer[{index}].{name}");
        let plain = self
            .name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        if self.name.is_empty() || self.name.len() > 64 || !plain {
            problems.add(&key("name"), "must be 1 to 64 letters, digits, '-' or '_'");
        }
        if !self.issuer.is_empty() && self.issuer == tokens.issuer {
            problems.add_conflict(
                &key("issuer"),
                &["tokens.issuer"],
                "is menshen's own `tokens.issuer`",
            );
        }
        if self.audience.as_ref().is_some_and(String::is_empty) {
            problems.add(
                &key("audience"),
                "is empty: leave it out where the tokens have no `aud`",
            );
        }
        self.check_keys(index, problems);
        self.check_claims(index, problems);
        if let Some(Err(Malformed(what))) = self.accept_until.as_deref().map(end_of_day) {
            problems.add(&key("accept_until"), what);
        }
        for (name, given) in [
            ("allow_no_exp", self.allow_no_exp),
            ("allow_weak_secret", self.allow_weak_secret),
        ] {
            if given && self.accept_until.is_none() {
                problems.add(
                    &key(name),
                    "needs `accept_until`: what is so weak must have an end",
                );
            }
        }
        if self.longest_life() > DEFAULT_MAX_LIFETIME {
            problems.warn(
                &key("max_lifetime"),
                "is longer than a ban is remembered: a token can outlive it",
            );
        }
    }

    fn check_keys(&self, index: usize, problems: &mut Problems) {
        let key = |name: &str| format!("issuer[{index}].{name}");
        let sources = [
            (
                "secret",
                self.secret.is_some() || self.secret_file.is_some(),
            ),
            ("public_key_file", self.public_key_file.is_some()),
            ("jwks_file", self.jwks_file.is_some()),
            ("jwks_url", self.jwks_url.is_some()),
        ];
        let given: Vec<_> = sources
            .into_iter()
            .filter(|(_, given)| *given)
            .map(|(name, _)| name)
            .collect();
        let symmetric = self.algorithms.contains(&Algorithm::Hs256);
        match given.as_slice() {
            [] => {
                problems
                    .add(&key("name"), "has no key: set one of `secret`, `public_key_file`, `jwks_file` and `jwks_url`");
            }
            ["secret"] if self.algorithms != [Algorithm::Hs256] => {
                problems.add(
                    &key("algorithms"),
                    "must be [\"HS256\"], because there is a `secret`",
                );
            }
            [name] if symmetric && *name != "secret" => {
                problems.add(
                    &key("algorithms"),
                    format!("has HS256, and `{name}` has public keys, which must not verify HS256"),
                );
            }
            [_] => {}
            [_, second, ..] => {
                problems.add(&key(second), "is given with other keys: keep one of them");
            }
        }
        if self.algorithms.is_empty() {
            problems.add(&key("algorithms"), "is empty: no token could be right");
        }
        if self.previous_secrets.len() > MAX_PREVIOUS_SECRETS {
            problems.add(
                &key("previous_secrets"),
                format!("has more than {MAX_PREVIOUS_SECRETS} secrets"),
            );
        }
        for (name, secret) in self.secrets() {
            match weakness(secret.expose()) {
                Some(what) if self.allow_weak_secret => problems.warn(&key(&name), what),
                Some(what) => problems.add(&key(&name), what),
                None => {}
            }
        }
        match self.jwks_url.as_deref().map(Url::parse) {
            None => {
                let unused = [
                    ("jwks_refresh", self.jwks_refresh.is_some()),
                    ("allow_plain_http", self.allow_plain_http),
                ];
                for (name, _) in unused.into_iter().filter(|(_, given)| *given) {
                    problems.add(&key(name), "is for `jwks_url` only");
                }
            }
            Some(Err(_)) => problems.add(&key("jwks_url"), "is not a URL"),
            Some(Ok(url))
                if !url.username().is_empty()
                    || url.password().is_some()
                    || url.fragment().is_some() =>
            {
                problems.add(
                    &key("jwks_url"),
                    "must have no user, no password and no fragment",
                );
            }
            Some(Ok(url)) if url.scheme() == "https" => {}
            Some(Ok(url))
                if url.scheme() == "http" && (is_local(&url) || self.allow_plain_http) =>
            {
                if !is_local(&url) {
                    problems.warn(
                        &key("jwks_url"),
                        "is plain HTTP: an attacker in between can make tokens for any user",
                    );
                }
            }
            Some(Ok(_)) => problems.add(
                &key("jwks_url"),
                "must be https (unless `allow_plain_http` is set)",
            ),
        }
    }

    fn check_claims(&self, index: usize, problems: &mut Problems) {
        let key = |name: &str| format!("issuer[{index}].{name}");
        if self
            .user_id_claim
            .as_deref()
            .is_some_and(|claim| claim.is_empty() || REGISTERED_CLAIMS.contains(&claim))
        {
            problems.add(
                &key("user_id_claim"),
                "is not a claim that can hold a user's id",
            );
        }
        if !self.user_id_prefix.is_empty() && UserId::parse(&self.user_id_prefix).is_err() {
            problems.add(
                &key("user_id_prefix"),
                "must be letters, digits, '-' or '_'",
            );
        }
        if let Some(Err(Malformed(what))) = self.user_type.as_deref().map(UserType::parse) {
            problems.add(&key("user_type"), what);
        }
        for (ours, theirs) in &self.claims {
            let entry = format!("claims.{ours}");
            if !MAPPED_CLAIMS.contains(&ours.as_str()) {
                problems.add(
                    &key(&entry),
                    format!("is none of {}", MAPPED_CLAIMS.join(", ")),
                );
            } else if theirs.is_empty() || REGISTERED_CLAIMS.contains(&theirs.as_str()) {
                problems.add(
                    &key(&entry),
                    format!("{theirs:?} is not a claim that can be mapped to it"),
                );
            }
        }
        for name in self
            .required_claims
            .keys()
            .filter(|name| REGISTERED_CLAIMS.contains(&name.as_str()))
        {
            problems.add(
                &key(&format!("required_claims.{name}")),
                "is checked anyway",
            );
        }
        if self.issuer.is_empty() && self.required_claims.is_empty() {
            problems.warn(
                &key("required_claims"),
                "is empty: every token that is signed with this key passes, also one that is for something else",
            );
        }
    }

    /// Its secrets with their keys.
    fn secrets(&self) -> impl Iterator<Item = (String, &SecretText)> {
        keyed_secrets(self.secret.as_ref(), &self.previous_secrets)
    }
}

/// Whether the server is on this machine.
fn is_local(url: &Url) -> bool {
    // An IPv6 address stands between brackets.
    url.host_str()
        .is_some_and(|host| is_loopback(host.trim_matches(['[', ']'])))
}
