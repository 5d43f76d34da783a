//! The backend's side of one request, over HTTP/1 or HTTP/2: writes the request and reads the
//! response.
//!
//! Must stay true: a session sends its request once; an incomplete response is an error, never an
//! end; a connection is reused only when both messages on it are complete and nothing more has
//! arrived.

mod http1;
mod http2;
mod upstream_session;

use std::sync::Arc;

use pingora::{
    connectors::{ConnectorOptions, TransportConnector, http::v2},
    protocols::http::client::HttpSession,
    upstreams::peer::Peer as _,
};

use super::{UpstreamPeer, idle_connections::IdleConnections};
use http1::Http1Session;
use http2::Http2Session;

pub(in crate::proxy) use upstream_session::UpstreamSession;

/// One worker's connections to all backends.
pub(in crate::proxy) struct Connections {
    connector: Arc<TransportConnector>,
    /// Idle HTTP/1 connections, opened by this worker.
    idle: IdleConnections,
    /// HTTP/2 connections. All workers share them, since each carries many requests.
    http2: Arc<v2::Connector>,
}

/// A session of the protocol that its connection has.
#[expect(
    clippy::large_enum_variant,
    reason = "one for each request, which is not moved"
)]
pub(in crate::proxy) enum NegotiatedSession {
    Http1(Http1Session),
    Http2(Http2Session),
}

impl NegotiatedSession {
    pub(in crate::proxy) const fn is_http2(&self) -> bool {
        matches!(self, Self::Http2(_))
    }
}

impl Connections {
    /// The connections of each worker. `idle`: most idle connections of one worker.
    pub(in crate::proxy) fn new(workers: usize, idle: usize) -> Arc<[Self]> {
        Self::with_options(workers, idle, ConnectorOptions::new(idle))
    }

    /// The same for one worker without TLS, because loading the system's certificates takes longer
    /// than a whole script.
    #[cfg(any(test, fuzzing))]
    pub(in crate::proxy) fn without_tls(idle: usize) -> Arc<[Self]> {
        let mut options = ConnectorOptions::new(idle);
        options.ca_file = Some("/dev/null".to_owned());
        Self::with_options(1, idle, options)
    }

    fn with_options(workers: usize, idle: usize, options: ConnectorOptions) -> Arc<[Self]> {
        let (connector, http2) = (
            Arc::new(TransportConnector::new(Some(options.clone()))),
            Arc::new(v2::Connector::new(Some(options))),
        );
        let of_worker = |_| Self {
            connector: connector.clone(),
            idle: IdleConnections::new(idle),
            http2: http2.clone(),
        };
        (0..workers).map(of_worker).collect()
    }

    /// Closes expired idle connections. Never returns.
    pub(in crate::proxy) async fn sweep(&self) {
        self.idle.sweep().await;
    }

    /// A session on an idle or new connection.
    pub(in crate::proxy) async fn connect(
        &self,
        peer: &UpstreamPeer,
        http2: bool,
    ) -> pingora::Result<NegotiatedSession> {
        if !http2 {
            let stream = match self.idle.take(peer.key) {
                Some(stream) => stream,
                // Boxed: it is rare, and otherwise every request would reserve memory for it.
                None => Box::pin(self.connector.new_stream(&peer.peer)).await?,
            };
            return Ok(NegotiatedSession::Http1(Http1Session::new(stream)));
        }
        Box::pin(self.connect_http2(peer)).await
    }

    async fn connect_http2(&self, peer: &UpstreamPeer) -> pingora::Result<NegotiatedSession> {
        if let Some(session) = self.http2.reused_http_session(&peer.peer).await? {
            return Ok(NegotiatedSession::Http2(Http2Session::new(session)));
        }
        // The backend chose HTTP/1 on an earlier connection.
        if let Some(stream) = self.idle.take(peer.key) {
            return Ok(NegotiatedSession::Http1(Http1Session::new(stream)));
        }
        match self.http2.new_http_session::<_, ()>(&peer.peer).await? {
            HttpSession::H2(session) => Ok(NegotiatedSession::Http2(Http2Session::new(session))),
            // The backend chose HTTP/1 by ALPN.
            HttpSession::H1(session) => Ok(NegotiatedSession::Http1(Http1Session::new(
                session.into_inner(),
            ))),
            HttpSession::Custom(()) => pingora::Error::e_explain(
                pingora::ErrorType::InternalError,
                "not a protocol of ours",
            ),
        }
    }

    /// Returns a session after its response. Its connection is kept for another request, if one may
    /// follow.
    pub(in crate::proxy) fn release(&self, session: NegotiatedSession, peer: &UpstreamPeer) {
        match session {
            NegotiatedSession::Http1(session) => {
                if let Some(stream) = session.into_reusable() {
                    self.idle
                        .put(peer.key, stream, peer.idle_timeout().unwrap_or_default());
                }
            }
            NegotiatedSession::Http2(session) => {
                self.http2.release_http_session(
                    session.into_inner(),
                    &peer.peer,
                    peer.idle_timeout(),
                );
            }
        }
    }
}
