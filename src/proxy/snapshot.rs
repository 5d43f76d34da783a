//! What requests are handled with. It is built from one config and replaced as a whole when the
//! config changes.
//!
//! Must stay true: a request takes one snapshot when its head is complete, and keeps it to its end;
//! a snapshot never changes.

use std::{sync::Arc, time::Duration};

use axum::Router;

use super::{
    access_record::Recorder, streams::Streams, upstream::Upstreams,
    upstream_request::UpstreamHeaders,
};
use crate::{
    api::ErrorRenderer,
    auth::UpstreamAssertions,
    config::{Config, ServerConfig},
    entropy::{Entropy, NoEntropy},
    gate::Gate,
    metrics::Metrics,
    telemetry::AccessLog,
};

/// One config, ready to handle requests.
pub struct Snapshot {
    pub(super) gate: Gate,
    /// The auth API.
    pub(super) api: Router,
    pub(super) upstreams: Arc<Upstreams>,
    pub(super) upstream_headers: UpstreamHeaders,
    pub(super) recorder: Recorder,
    pub(super) error_renderer: ErrorRenderer,
    /// The open streams of the process, which outlive every snapshot.
    pub(super) streams: Arc<Streams>,
    pub(super) limits: ServerLimits,
}

/// The parts of a snapshot.
pub struct SnapshotParts<'a> {
    pub config: &'a Config,
    pub gate: Gate,
    pub api: Router,
    pub error_renderer: ErrorRenderer,
    pub upstreams: Arc<Upstreams>,
    pub streams: Arc<Streams>,
    pub assertions: UpstreamAssertions,
    pub metrics: &'a Metrics,
    pub access_log: AccessLog,
    pub entropy: &'a Entropy,
}

/// Limits on connections and requests.
#[derive(Debug, Clone, Copy)]
pub(super) struct ServerLimits {
    pub(super) max_header_bytes: usize,
    pub(super) header_timeout: Duration,
    pub(super) keepalive_timeout: Duration,
    pub(super) body_timeout: Duration,
    pub(super) keepalive_requests: u32,
    /// Clients without TLS may start with HTTP/2.
    pub(super) h2c: bool,
    /// Requests at once on one HTTP/2 connection.
    pub(super) http2_streams: u32,
    /// Connections at once, of all clients.
    pub(super) max_connections: usize,
    /// Requests at once, of all connections.
    pub(super) max_requests: i64,
    /// The same for the auth API, a little higher, so that streams held open at the backend cannot
    /// keep users from logging in or out.
    pub(super) max_auth_requests: i64,
}

impl ServerLimits {
    fn new(config: &ServerConfig) -> Self {
        let max_requests = if config.max_requests == 0 {
            i64::MAX
        } else {
            config.max_requests.into()
        };
        Self {
            max_header_bytes: config.max_header_bytes.get(),
            header_timeout: config.header_timeout.get(),
            keepalive_timeout: config.keepalive_timeout.get(),
            body_timeout: config.body_timeout.get(),
            keepalive_requests: config.keepalive_requests,
            h2c: config.h2c,
            http2_streams: config.http2_streams,
            max_connections: if config.max_connections == 0 {
                usize::MAX
            } else {
                config.max_connections
            },
            max_requests,
            max_auth_requests: max_requests.saturating_add(max_requests / 16),
        }
    }
}

impl Snapshot {
    /// Puts the parts together.
    ///
    /// # Errors
    /// When the system gives no randomness for request ids.
    pub fn new(parts: SnapshotParts<'_>) -> Result<Self, NoEntropy> {
        let names = parts.gate.rules().rules().map(|rule| &*rule.name);
        let recorder = Recorder::new(names, parts.metrics, parts.access_log, parts.entropy)?;
        Ok(Self {
            gate: parts.gate,
            api: parts.api,
            upstreams: parts.upstreams,
            upstream_headers: UpstreamHeaders::new(&parts.config.upstream, parts.assertions),
            recorder,
            error_renderer: parts.error_renderer,
            streams: parts.streams,
            limits: ServerLimits::new(&parts.config.server),
        })
    }
}
