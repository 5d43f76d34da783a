//! `[server]`: how clients reach menshen.

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ByteSize, HumanDuration, ListenAddress, Mode, Problems, TlsConfig, values::Network};
use crate::types::Malformed;

/// How clients reach menshen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// Addresses to listen on: `IP:PORT`, `tls:IP:PORT` with the certificate of [server.tls], or
    /// `unix:/path/to.sock`. The umask decides which processes may connect to a socket: a proxy
    /// that runs as another user needs umask 007 and a common group (systemd: `UMask=0007`).
    pub listen: Vec<String>,
    /// Networks (CIDR) whose `X-Forwarded-For`, `X-Forwarded-Proto` and `X-Request-Id` are
    /// believed. Empty: none, and the peer is the client.
    #[schemars(with = "Vec<Network>")]
    pub trusted_proxies: Vec<IpNet>,
    /// Headers that pass although their name has a character besides letters, digits and `-`. Never
    /// a reserved header, nor one with the client's address (`*_real_ip`, `*_client_ip`,
    /// `*_connecting_ip`, `*_src_ip`, `*_forwarded_for`): those never pass, and the backend reads
    /// `X-Real-IP` or `X-Forwarded-For`, which menshen sets.
    pub allow_headers: Vec<String>,
    /// Longest request head, request line included.
    #[schemars(extend("minimum" = "1KiB", "maximum" = "1MiB"))]
    pub max_header_bytes: ByteSize,
    /// Most header fields in one request.
    #[schemars(range(min = 8, max = MAX_HEADERS))]
    pub max_headers: usize,
    /// Time for the whole request head, from its first byte.
    #[schemars(extend("minimum" = "1ms", "maximum" = "10m"))]
    pub header_timeout: HumanDuration,
    /// How long a connection may wait for its next request.
    #[schemars(extend("minimum" = "1ms", "maximum" = "1h"))]
    pub keepalive_timeout: HumanDuration,
    /// How long a client may send nothing of a body, or read nothing of a response. After that time
    /// a body that comes slower than 512 bytes a second is aborted.
    #[schemars(extend("minimum" = "1ms", "maximum" = "1d"))]
    pub body_timeout: HumanDuration,
    /// Requests on one connection before it is closed, so that clients are spread over the replicas
    /// again.
    #[schemars(range(min = 1, max = u32::MAX))]
    pub keepalive_requests: u32,
    /// Whether clients that speak TLS may choose HTTP/2.
    pub http2: bool,
    /// Whether clients may speak HTTP/2 without TLS, with prior knowledge (RFC 9113 section 3.3).
    pub h2c: bool,
    /// Requests at once on one HTTP/2 connection. Each may hold up to 256 KiB of memory while its
    /// client or its backend reads nothing; for all connections together `max_requests` is the
    /// bound.
    #[schemars(range(min = 1, max = MAX_STREAMS))]
    pub http2_streams: u32,
    /// Connections at once; one more gets 503 (`overloaded`), without TLS, and is closed. 0: as
    /// many as the system allows.
    pub max_connections: usize,
    /// Requests at once, on all connections together, with every WebSocket and other stream that is
    /// open; one more gets 503 (`overloaded`) and keeps its connection; the auth API has a
    /// sixteenth more. A request whose peer does not read may hold 64 KiB of memory, on HTTP/2 up
    /// to 256 KiB. 0: no limit of its own.
    pub max_requests: u32,
    /// After SIGTERM: how long menshen still serves while `/readyz` says unready, so that load
    /// balancers stop sending requests.
    #[schemars(extend("minimum" = "0s", "maximum" = "10m"))]
    pub unready_grace: HumanDuration,
    /// After that: how long requests in flight may take to finish.
    #[schemars(extend("minimum" = "0s", "maximum" = "1h"))]
    pub drain_timeout: HumanDuration,
    /// Worker threads. 0: one for each core.
    #[schemars(range(min = 0, max = 1024))]
    pub threads: usize,
    pub tls: TlsConfig,
}

impl ServerConfig {
    /// The addresses to listen on; those that are none are left out, which
    /// [`Config::load`](super::Config::load) refuses.
    pub fn addresses(&self) -> Vec<ListenAddress> {
        self.listen
            .iter()
            .filter_map(|text| text.parse().ok())
            .collect()
    }

    /// Whether an address to listen on speaks TLS.
    pub fn wants_tls(&self) -> bool {
        self.addresses()
            .iter()
            .any(|address| matches!(address, ListenAddress::Tls(_)))
    }

    pub(super) fn check(&self, mode: Mode, problems: &mut Problems) {
        if self.listen.is_empty() {
            problems.add("server.listen", "is empty: menshen must listen somewhere");
        }
        for (n, text) in self.listen.iter().enumerate() {
            let key = format!("server.listen[{n}]");
            match text.parse::<ListenAddress>() {
                Err(Malformed(what)) => problems.add(&key, format!("{text:?} {what}")),
                Ok(_) if self.listen[..n].contains(text) => {
                    problems.add(&key, format!("{text:?} is listed twice"));
                }
                Ok(address) if mode == Mode::Development && address.is_public() => {
                    problems.warn(&key, "development mode signs in every caller, and other machines can reach this address");
                }
                Ok(_) => {}
            }
        }
        for (n, network) in self
            .trusted_proxies
            .iter()
            .enumerate()
            .filter(|(_, network)| network.prefix_len() == 0)
        {
            let key = format!("server.trusted_proxies[{n}]");
            problems.warn(
                &key,
                format!("{network} lets every client choose its own address"),
            );
        }
        self.tls.check(&self.addresses(), problems);
    }
}

/// pingora reads no more header fields than these.
const MAX_HEADERS: usize = 256;

/// Each may hold a window of a body in memory.
const MAX_STREAMS: u32 = 10_000;

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: vec!["0.0.0.0:8080".to_owned()],
            trusted_proxies: Vec::new(),
            allow_headers: Vec::new(),
            max_header_bytes: ByteSize::kib(16),
            max_headers: 100,
            header_timeout: HumanDuration::secs(10),
            keepalive_timeout: HumanDuration::secs(60),
            body_timeout: HumanDuration::secs(60),
            keepalive_requests: 100_000,
            http2: true,
            h2c: false,
            http2_streams: 100,
            max_connections: 20_000,
            max_requests: 20_000,
            unready_grace: HumanDuration::secs(2),
            drain_timeout: HumanDuration::secs(10),
            threads: 0,
            tls: TlsConfig::default(),
        }
    }
}
