//! `[upstream]`: the backend that menshen stands in front of.

use std::path::PathBuf;

use http::uri::Authority;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{HumanDuration, Problems, SecretText, UpstreamAddress, UpstreamTlsConfig, tokens::weakness};
use crate::types::Malformed;

/// The backend that menshen stands in front of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UpstreamConfig {
    /// Where it listens: `http://host:port`, `https://host:port` or `unix:/path/to.sock`. Several take turns. A name is
    /// resolved once, at start, to its first IPv4 address where it has one.
    pub urls: Vec<String>,
    /// What it speaks: `http1` (HTTP/1.1), or `http2`, which gRPC needs: over TLS for `https:`, with prior knowledge (h2c) otherwise.
    /// WebSocket needs `http1`.
    pub protocol: UpstreamProtocol,
    /// What happens to the client's `Authorization` once it is checked: `remove` it, or `keep` it for a backend that looks
    /// at it too.
    pub authorization: UpstreamAuthorization,
    /// Sent with every request, by which the backend tells menshen from whoever else reaches it: at least 32 visible ASCII
    /// characters. `openssl rand -base64 32` prints a good one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"...")]
    pub shared_secret: Option<SecretText>,
    /// Read `shared_secret` from this file.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"), example = &"upstream.secret")]
    pub shared_secret_file: Option<PathBuf>,
    /// The header that it is sent in. A client's own of this name never passes, whether there is a secret or not.
    pub shared_secret_header: String,
    /// `Host` as the backend sees it. Unset: as the client sent it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"backend.internal")]
    pub host: Option<String>,
    /// Time to open a connection.
    pub connect_timeout: HumanDuration,
    /// Longest silence of the backend while an answer is awaited or read.
    pub read_timeout: HumanDuration,
    /// Longest time the backend may take no bytes of a request.
    pub write_timeout: HumanDuration,
    /// How long an unused connection is kept. Below the backend's own: Node closes after 5 s, gunicorn after 2 s.
    pub idle_timeout: HumanDuration,
    /// Most unused connections kept, for each worker, by each of the two ways to the backend (with and without a request body).
    pub idle_connections: usize,
    pub tls: UpstreamTlsConfig,
}

impl UpstreamConfig {
    /// Where the backend is; what is no address is left out, which [`Config::load`](super::Config::load) refuses.
    pub fn addresses(&self) -> Vec<UpstreamAddress> {
        self.urls.iter().filter_map(|text| text.parse().ok()).collect()
    }

    pub(super) fn check(&self, problems: &mut Problems) {
        if self.urls.is_empty() {
            problems.add("upstream.urls", "is empty: there must be a backend");
        }
        for (n, text) in self.urls.iter().enumerate() {
            // The text is not repeated: it may hold a password.
            if let Err(Malformed(what)) = text.parse::<UpstreamAddress>() {
                problems.add(&format!("upstream.urls[{n}]"), what);
            }
        }
        if let Some(host) = &self.host
            && (host.contains('@') || host.parse::<Authority>().is_err())
        {
            problems
                .add("upstream.host", format!("{host:?} is not a host: write a name or address, and :PORT where needed"));
        }
        let has_https = self.addresses().iter().any(|address| matches!(address, UpstreamAddress::Http { tls: true, .. }));
        self.tls.check(has_https, problems);
        if let Some(secret) = &self.shared_secret {
            let text = secret.expose();
            if !text.bytes().all(|b| b.is_ascii_graphic()) {
                problems
                    .add("upstream.shared_secret", "has other characters than visible ASCII, which a header cannot carry");
            } else if let Some(what) = weakness(text) {
                problems.add("upstream.shared_secret", what);
            }
        }
        let shortest = HumanDuration::millis(1);
        problems.between("upstream.connect_timeout", &self.connect_timeout, shortest..=HumanDuration::minutes(5));
        problems.between("upstream.read_timeout", &self.read_timeout, shortest..=HumanDuration::days(1));
        problems.between("upstream.write_timeout", &self.write_timeout, shortest..=HumanDuration::days(1));
        problems.between("upstream.idle_timeout", &self.idle_timeout, shortest..=HumanDuration::hours(1));
    }
}

impl Default for UpstreamConfig {
    fn default() -> Self {
        Self {
            urls: vec!["http://127.0.0.1:3000".to_owned()],
            protocol: UpstreamProtocol::Http1,
            authorization: UpstreamAuthorization::Remove,
            shared_secret: None,
            shared_secret_file: None,
            shared_secret_header: "X-Menshen-Secret".to_owned(),
            host: None,
            connect_timeout: HumanDuration::secs(1),
            read_timeout: HumanDuration::secs(60),
            write_timeout: HumanDuration::secs(30),
            idle_timeout: HumanDuration::secs(1),
            idle_connections: 1024,
            tls: UpstreamTlsConfig::default(),
        }
    }
}

/// What the backend speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum UpstreamProtocol {
    Http1,
    Http2,
}

/// What the backend sees of the client's `Authorization`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum UpstreamAuthorization {
    Keep,
    Remove,
}
