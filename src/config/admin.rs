//! `[admin]`: metrics and probes, on their own listener.

use std::{net::SocketAddr, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ListenAddress, Problems, SecretText, ServerConfig, secret_form::SecretForm};

/// Metrics and probes (`/metrics`, `/livez`, `/readyz`, `/startupz`), on their own listener.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AdminConfig {
    /// `IP:PORT`. Only the scraper and the kubelet should reach it. Port 0 takes a free one.
    pub listen: String,
    /// The token of `/admin`, at least 32 characters: `menshen users`, `sessions` and `keys` call a
    /// running process there. It allows everything. Also `token_file`. Unset: there is no `/admin`.
    #[schemars(example = &"...")]
    pub token: Option<SecretText>,
    /// Read `token` from this file. A missing file is made on first start, for its owner alone.
    #[schemars(extend("format" = "path", "x-made-on-first-start" = true), example = &"admin.token")]
    pub token_file: Option<PathBuf>,
    /// Host names under which the console (`/console`, where there is a token) may be opened, in
    /// addition to addresses and `localhost`: `ops.example.com`, without a port.
    pub hosts: Vec<String>,
}

/// Shortest token that the admin listener takes, in characters.
const MIN_TOKEN_LEN: usize = 32;

/// Checks a token that is sent to the admin listener.
pub(super) fn check_bearer_token(key: &str, token: Option<&SecretText>, problems: &mut Problems) {
    if token.is_some_and(|token| token.expose().len() < MIN_TOKEN_LEN) {
        problems.add(
            key,
            "is shorter than 32 characters: `openssl rand -hex 32` prints a good one",
        );
    }
    SecretForm::BearerToken.check(key, token, problems);
}

/// Whether a text is a host name (RFC 1123 section 2.1).
fn is_host_name(text: &str) -> bool {
    let is_label = |label: &str| {
        let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        (1..=63).contains(&label.len())
            && label.bytes().all(is_inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

impl AdminConfig {
    /// Whether there is an admin API, and with it the console.
    pub const fn has_token(&self) -> bool {
        self.token.is_some() || self.token_file.is_some()
    }

    pub(super) fn check(&self, server: &ServerConfig, problems: &mut Problems) {
        check_bearer_token("admin.token", self.token.as_ref(), problems);
        for (n, host) in self.hosts.iter().enumerate() {
            if !is_host_name(host) {
                problems.add(
                    &format!("admin.hosts[{n}]"),
                    format!("{host:?} is not a host name: write it without scheme, port and path"),
                );
            }
        }
        let Ok(address) = self.listen.parse::<SocketAddr>() else {
            problems.add(
                "admin.listen",
                format!("{:?} is not an address: write IP:PORT", self.listen),
            );
            return;
        };
        if address.port() != 0
            && [ListenAddress::Tcp(address), ListenAddress::Tls(address)]
                .iter()
                .any(|same| server.addresses().contains(same))
        {
            problems.add_conflict(
                "admin.listen",
                &["server.listen"],
                "is an address of `server.listen` too",
            );
        }
        if !address.ip().is_loopback() {
            problems.warn(
                "admin.listen",
                format!(
                    "{address} can be reached from other machines, and needs no authentication for metrics and probes"
                ),
            );
        }
    }
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:9090".to_owned(),
            token: None,
            token_file: None,
            hosts: Vec::new(),
        }
    }
}
