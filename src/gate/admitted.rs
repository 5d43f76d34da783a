//! An admitted request: what is forwarded, what is logged, and its framing on its connection.

use std::{sync::Arc, time::Duration};

use http::{HeaderValue, Method};

use super::{
    message_framing::MessageFraming, received::Received, report_only::ReportOnlyDecision,
    request_id,
};
use crate::{
    auth::Identity,
    policy::{ClientConnection, CorsFields, Head, HeaderRange, Target},
};

/// An admitted request.
#[derive(Debug)]
pub struct AdmittedRequest {
    pub forward: ForwardedRequest,
    pub client: ClientConnection,
    /// The user of its token; `None`: anonymous.
    pub identity: Option<Arc<Identity>>,
    /// CORS header fields of a response of menshen; responses of the backend have their own.
    pub cors: Option<CorsFields>,
    pub log: LoggedRequest,
    pub framing: MessageFraming,
}

/// The parts of the client's request that the backend gets.
#[derive(Debug)]
pub struct ForwardedRequest {
    pub method: Method,
    /// The request target as it is forwarded: path and query.
    pub target: String,
    /// Length of the path in `target`.
    pub path_len: usize,
    /// The client's header fields that are forwarded, as ranges of the bytes of the head.
    pub forwarded_headers: Vec<HeaderRange>,
    /// Those that are not, except for hop-by-hop fields.
    pub removed_headers: Vec<HeaderRange>,
    /// The client's cookies without the one that carried the token, if there was one; then no
    /// `Cookie` is among `forwarded_headers`.
    pub cookie: Option<HeaderValue>,
    /// The client's own `Host`, for `X-Forwarded-Host`. It is among `forwarded_headers`.
    pub host: Option<HeaderRange>,
    /// It is a WebSocket handshake.
    pub websocket: bool,
    /// The client accepts trailers (RFC 9110 section 10.1.4), and its HTTP version has them.
    pub trailers: bool,
    /// The rule's own idle timeout of streams.
    pub idle_timeout: Option<Duration>,
}

/// The decision, for the access log.
#[derive(Debug)]
pub struct LoggedRequest {
    /// Index of the rule that decided; `None`: no rule did.
    pub rule: Option<usize>,
    /// The request id of a trusted proxy, if it is valid.
    pub request_id: Option<String>,
    /// In report-only mode: the decision that was not enforced.
    pub report_only: Option<ReportOnlyDecision>,
}

impl AdmittedRequest {
    /// A request that is forwarded with this target, without any header fields yet; those of a
    /// preflight and of a forward-auth request, which menshen does not forward, stay without.
    pub(super) fn new(
        received: Received<'_>,
        target: String,
        parts: Target<'_>,
        rule: Option<usize>,
    ) -> Self {
        Self {
            forward: ForwardedRequest {
                method: method(received.head),
                target,
                path_len: parts.path.len(),
                forwarded_headers: Vec::new(),
                removed_headers: Vec::new(),
                cookie: None,
                host: None,
                websocket: false,
                trailers: false,
                idle_timeout: None,
            },
            client: received.client,
            identity: None,
            cors: None,
            log: LoggedRequest {
                rule,
                request_id: request_id::from_proxy(received.head, received.client),
                report_only: None,
            },
            framing: received.framing,
        }
    }

    /// The path, without the query.
    pub fn path(&self) -> &str {
        self.forward.path()
    }
}

impl ForwardedRequest {
    /// The path, without the query.
    pub fn path(&self) -> &str {
        &self.target[..self.path_len]
    }
}

/// The method of a head that [`crate::policy::framing::check`] accepted, so `http` knows it.
fn method(head: &Head<'_>) -> Method {
    Method::from_bytes(head.method.as_bytes()).unwrap_or_default()
}
