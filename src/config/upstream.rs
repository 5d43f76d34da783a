//! `[upstream]`: the backend that menshen stands in front of.

use std::path::PathBuf;

use http::uri::Authority;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    HumanDuration, Problems, SecretText, UpstreamAddress, UpstreamTlsConfig, tokens::weakness,
};
use crate::types::Malformed;

/// Most backends.
const MAX_BACKENDS: usize = 64;

/// The backend that menshen stands in front of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UpstreamConfig {
    /// Where it listens: `http://host:port`, `https://host:port` or `unix:/path/to.sock`. Requests
    /// go to several in turn, to the healthy ones. A name may have several addresses: they are
    /// tried in turn, IPv4 first, until one accepts a connection, and that one is used from then
    /// on. A backend is unhealthy until its name can be resolved.
    pub urls: Vec<String>,
    /// Its protocol: `http1` (HTTP/1.1), or `http2`, which gRPC needs: over TLS for `https:`, with
    /// prior knowledge (h2c) otherwise. WebSocket needs `http1`.
    pub protocol: UpstreamProtocol,
    /// What happens to the client's `Authorization` once it is checked: `remove` it, `keep` it for
    /// a backend that checks it too, or `mint`: replace it with a token of the backend's own form
    /// ([mint]).
    pub authorization: UpstreamAuthorization,
    /// Sent with every request, so that the backend can tell menshen's requests from others: at
    /// least 32 visible ASCII characters. `openssl rand -base64 32` prints a good one.
    #[schemars(example = &"...")]
    pub shared_secret: Option<SecretText>,
    /// Read `shared_secret` from this file.
    #[schemars(extend("format" = "path"), example = &"upstream.secret")]
    pub shared_secret_file: Option<PathBuf>,
    /// The header of the shared secret. A client's header of this name never passes, whether there
    /// is a secret or not.
    pub shared_secret_header: String,
    /// How often names in `urls` are resolved again, in the background. `0s`: only until the first
    /// success. A backend keeps its address while DNS still returns it, and while resolving fails.
    #[schemars(extend("minimum" = "1s", "maximum" = "1d", "x-zero-is-never" = true))]
    pub resolve_interval: HumanDuration,
    /// `Host` as the backend sees it. Unset: as the client sent it.
    #[schemars(example = &"backend.internal")]
    pub host: Option<String>,
    /// Time to open a connection.
    #[schemars(extend("minimum" = "1ms", "maximum" = "5m"))]
    pub connect_timeout: HumanDuration,
    /// How long the backend may send nothing while a response is awaited or read.
    #[schemars(extend("minimum" = "1ms", "maximum" = "1d"))]
    pub read_timeout: HumanDuration,
    /// How long the backend may read nothing of a request.
    #[schemars(extend("minimum" = "1ms", "maximum" = "1d"))]
    pub write_timeout: HumanDuration,
    /// How long an idle connection is kept. Keep it below the backend's own timeout: Node closes
    /// after 5 s, gunicorn after 2 s.
    #[schemars(extend("minimum" = "1ms", "maximum" = "1h"))]
    pub idle_timeout: HumanDuration,
    /// Most idle connections, for each worker.
    pub idle_connections: usize,
    pub tls: UpstreamTlsConfig,
    pub health: HealthConfig,
}

impl UpstreamConfig {
    /// Where the backend is; what is no address is left out, which
    /// [`Config::load`](super::Config::load) refuses.
    pub fn addresses(&self) -> Vec<UpstreamAddress> {
        self.urls
            .iter()
            .filter_map(|text| text.parse().ok())
            .collect()
    }

    pub(super) fn check(&self, problems: &mut Problems) {
        if self.urls.is_empty() {
            problems.add("upstream.urls", "is empty: name at least one backend");
        }
        for (n, text) in self.urls.iter().enumerate() {
            // The text is not repeated: it may hold a password.
            if let Err(Malformed(what)) = text.parse::<UpstreamAddress>() {
                problems.add(&format!("upstream.urls[{n}]"), what);
            }
        }
        if self.urls.len() > MAX_BACKENDS {
            problems.add(
                "upstream.urls",
                format!(
                    "has {} backends, and may have {MAX_BACKENDS}",
                    self.urls.len()
                ),
            );
        }
        self.health.check(problems);
        check_host("upstream.host", self.host.as_deref(), problems);
        check_host(
            "upstream.health.host",
            self.health.host.as_deref(),
            problems,
        );
        if self.host.is_some() && self.health.host.is_some() {
            let message =
                "is given together with `upstream.host`, which checks have too: keep one of them";
            problems.add_conflict("upstream.health.host", &["upstream.host"], message);
        }
        let has_https = self
            .addresses()
            .iter()
            .any(|address| matches!(address, UpstreamAddress::Http { tls: true, .. }));
        self.tls.check(has_https, problems);
        if let Some(secret) = &self.shared_secret {
            let text = secret.expose();
            if !text.bytes().all(|b| b.is_ascii_graphic()) {
                problems.add(
                    "upstream.shared_secret",
                    "has other characters than visible ASCII, which a header cannot carry",
                );
            } else if let Some(what) = weakness(text) {
                problems.add("upstream.shared_secret", what);
            }
        }
    }
}

fn check_host(key: &str, host: Option<&str>, problems: &mut Problems) {
    if let Some(host) = host
        && (host.contains('@') || host.parse::<Authority>().is_err())
    {
        problems.add(
            key,
            format!("{host:?} is not a host: write a name or address, and :PORT where needed"),
        );
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
            resolve_interval: HumanDuration::secs(30),
            host: None,
            connect_timeout: HumanDuration::secs(1),
            read_timeout: HumanDuration::secs(60),
            write_timeout: HumanDuration::secs(30),
            idle_timeout: HumanDuration::secs(1),
            idle_connections: 1024,
            tls: UpstreamTlsConfig::default(),
            health: HealthConfig::default(),
        }
    }
}

/// Checks of the backends' health: requests like others, with `upstream.host` and the shared
/// secret. Besides, a backend that fails five requests in a row is ejected for 5 s, for twice as
/// long each time it happens again, up to 5 minutes. When no backend is left, all are used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HealthConfig {
    /// The path of a GET: 2xx and 3xx are healthy. Unset: the check only connects, and a single
    /// backend is not checked.
    #[schemars(example = &"/health")]
    pub path: Option<String>,
    /// `Host` of the checks where `upstream.host` is unset, for a backend that accepts certain
    /// names only (Django's `ALLOWED_HOSTS`). Unset: host and port of its URL.
    #[schemars(example = &"shop.example.com")]
    pub host: Option<String>,
    /// How often. `0s`: never.
    #[schemars(extend("minimum" = "10ms", "maximum" = "1h", "x-zero-is-never" = true))]
    pub interval: HumanDuration,
    /// For connection and answer together.
    #[schemars(extend("minimum" = "1ms", "maximum" = "5m"))]
    pub timeout: HumanDuration,
    /// How many failed checks in a row make a backend unhealthy.
    #[schemars(range(min = 1, max = 100))]
    pub unhealthy_after: u32,
    /// How many successful checks in a row make it healthy again.
    #[schemars(range(min = 1, max = 100))]
    pub healthy_after: u32,
}

impl HealthConfig {
    fn check(&self, problems: &mut Problems) {
        let plain = |path: &str| {
            path.starts_with('/') && path.bytes().all(|b| b.is_ascii_graphic() && b != b'#')
        };
        if self.path.as_deref().is_some_and(|path| !plain(path)) {
            problems.add(
                "upstream.health.path",
                "is not a path: write one that begins with '/'",
            );
        }
    }
}

impl Default for HealthConfig {
    fn default() -> Self {
        Self {
            path: None,
            host: None,
            interval: HumanDuration::secs(10),
            timeout: HumanDuration::secs(2),
            unhealthy_after: 3,
            healthy_after: 2,
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
    Mint,
}
