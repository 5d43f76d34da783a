//! `[server]`: how clients reach menshen.

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ByteSize, HumanDuration};

/// How clients reach menshen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// Addresses to listen on: `IP:PORT`, or `unix:/path/to.sock`.
    pub listen: Vec<String>,
    /// Networks (CIDR) whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed. Empty: nobody's, the peer is the client.
    #[schemars(with = "Vec<String>")]
    pub trusted_proxies: Vec<IpNet>,
    /// Headers that pass although their name has a sign besides letters, digits and `-`. Never a managed header.
    pub allow_headers: Vec<String>,
    /// Longest request head, request line included.
    pub max_header_bytes: ByteSize,
    /// Most header fields in one request.
    pub max_headers: usize,
    /// Time for the whole request head, from its first byte.
    pub header_timeout: HumanDuration,
    /// How long a connection may wait for its next request.
    pub keepalive_timeout: HumanDuration,
    /// Longest silence while a body is read from or an answer is written to a client.
    pub body_timeout: HumanDuration,
    /// Requests on one connection before it is closed, so that clients spread over replicas again.
    pub keepalive_requests: u32,
    /// Connections at once; one more is closed at once. 0: as many as the system allows.
    pub max_connections: usize,
    /// After SIGTERM: how long menshen goes on serving as unready, so that load balancers turn away.
    pub unready_grace: HumanDuration,
    /// After that: how long requests in flight may take to finish.
    pub drain_timeout: HumanDuration,
    /// Worker threads. 0: one for each core.
    pub threads: usize,
}

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
            max_connections: 20_000,
            unready_grace: HumanDuration::secs(2),
            drain_timeout: HumanDuration::secs(10),
            threads: 0,
        }
    }
}
