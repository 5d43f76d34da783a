//! `[cors]`: which web pages may call from a browser.

use http::uri::Authority;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{HumanDuration, Problems, RuleConfig};

/// Which web pages may call from a browser (the CORS protocol of the Fetch standard): the auth API
/// and the routes of dialects, and the paths of rules with `cors = true`. Mini programs and apps
/// need none of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CorsConfig {
    /// Origins, exactly as browsers write them: `https://shop.example`, with a port only where it
    /// is not the default. There are no patterns. `["*"]`: all. Empty: none, and preflights are not
    /// answered.
    pub allowed_origins: Vec<String>,
    /// Let pages send cookies and certificates. Bearer tokens do not need it.
    pub allow_credentials: bool,
    /// Header fields that pages may send, besides those that are always allowed and those that the
    /// config takes a token from.
    pub allowed_headers: Vec<String>,
    /// Header fields of menshen's answers that pages may read.
    pub expose_headers: Vec<String>,
    /// How long a browser may cache the response to a preflight. Browsers keep it for two hours
    /// (Chromium) or a day (Firefox) at most.
    #[schemars(extend("minimum" = "0s", "maximum" = "1d"))]
    pub max_age: HumanDuration,
}

impl CorsConfig {
    pub(super) fn check(&self, rules: &[RuleConfig], problems: &mut Problems) {
        let everybody = self.allowed_origins.iter().any(|origin| origin == "*");
        if everybody && self.allow_credentials {
            problems.add(
                "cors.allow_credentials",
                "needs origins that are listed: browsers reject it with \"*\"",
            );
        }
        for (n, origin) in self.allowed_origins.iter().enumerate() {
            let key = format!("cors.allowed_origins[{n}]");
            if origin == "*" {
                if self.allowed_origins.len() > 1 {
                    problems.add(&key, "allows every origin: list no other origin");
                }
            } else if let Err(message) = check_origin(origin) {
                problems.add(&key, format!("{origin:?} {message}"));
            }
        }
        for (key, names) in [
            ("allowed_headers", &self.allowed_headers),
            ("expose_headers", &self.expose_headers),
        ] {
            for (n, name) in names.iter().enumerate() {
                if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                {
                    problems.add(
                        &format!("cors.{key}[{n}]"),
                        format!("{name:?} is not a header name"),
                    );
                }
            }
        }
        if self.allowed_origins.is_empty() {
            for n in rules
                .iter()
                .enumerate()
                .filter_map(|(n, rule)| rule.cors.then_some(n))
            {
                problems.add(
                    &format!("rule[{n}].cors"),
                    "needs cors.allowed_origins: no page is allowed yet",
                );
            }
        }
    }
}

impl Default for CorsConfig {
    fn default() -> Self {
        Self {
            allowed_origins: Vec::new(),
            allow_credentials: false,
            allowed_headers: ["Authorization", "Content-Type"].map(str::to_owned).into(),
            expose_headers: [
                "X-Menshen-Error",
                "X-Request-Id",
                "Retry-After",
                "WWW-Authenticate",
            ]
            .map(str::to_owned)
            .into(),
            max_age: HumanDuration::minutes(10),
        }
    }
}

/// What browsers send is `scheme://host[:port]`, in lower case, without the scheme's own port (RFC
/// 6454 section 6.2). Anything else would never match, or stand for something that is nobody's
/// (`null`).
fn check_origin(origin: &str) -> Result<(), &'static str> {
    const FORM: &str =
        "is not an origin: write it like https://shop.example, in lower case and without a path";
    let (scheme, rest) = origin.split_once("://").ok_or(FORM)?;
    let plain = scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+.-".contains(&b));
    if !plain || rest.bytes().any(|b| b.is_ascii_uppercase()) || !is_authority(rest) {
        return Err(FORM);
    }
    match (scheme, rest.rsplit_once(':').map(|(_, port)| port)) {
        ("https", Some("443")) | ("http", Some("80")) | (_, Some("")) => {
            Err("has a port that browsers leave out")
        }
        _ => Ok(()),
    }
}

/// A name or address, with a port or without.
fn is_authority(text: &str) -> bool {
    let plain = text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b));
    plain
        && text
            .parse::<Authority>()
            .is_ok_and(|authority| !authority.host().is_empty() && text.len() <= 261)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_what_browsers_send() {
        for good in [
            "https://shop.example",
            "http://localhost:5173",
            "https://shop.example:8443",
            "http://[::1]:3000",
            "https://[2001:db8::1]",
            "capacitor://localhost",
            "chrome-extension://abcdefgh",
        ] {
            assert_eq!(check_origin(good), Ok(()), "{good}");
        }
        for bad in [
            "null",
            "",
            "shop.example",
            "https://shop.example/",
            "https://shop.example/x",
            "https://Shop.example",
            "HTTPS://shop.example",
            "https://shop.example:443",
            "http://shop.example:80",
            "https://shop.example:",
            "https://*.shop.example",
            "https://shop.example,https://other.example",
            "https://user@shop.example",
            "https://",
            "://shop.example",
            "https://shop.example ",
        ] {
            assert!(check_origin(bad).is_err(), "{bad}");
        }
    }
}
