//! One exchange with a backend: connect, send the request, relay both messages.
//!
//! Must stay true: a request is sent again only if the backend says that it has not processed it; a
//! client's disconnect cancels its request; an incomplete response is never passed off as complete.

mod attempts;
mod relay;

use std::{pin::Pin, sync::Arc};

use bytes::Bytes;
use h2::Reason;
use http::StatusCode;
use tokio::time::Sleep;

use super::{
    access_record::{Completion, RequestOutcome, RequestRecord, ResponseRecord, RuleIndex},
    client::Client,
    failure::{ExchangeError, ExchangeFailure},
    request_context::RequestContext,
    socket::SocketWatch,
    streams::{CloseReason, StreamKind},
    upstream::{
        Backend, UpstreamPeer, Upstreams,
        session::{Connections, UpstreamSession},
    },
    upstream_request::{RequestParts, UpstreamRequest},
    websocket::tunnel::{self, TunnelEnd},
};
use crate::{api::problem::Problem, error::ErrorCode, gate::AdmittedRequest, http1::BodyLength};
use attempts::Attempts;
use relay::{Relay, RelayEnd};

/// The request of one exchange.
#[derive(Clone, Copy)]
pub(super) struct Exchange<'a> {
    pub(super) context: &'a RequestContext,
    pub(super) admitted: &'a AdmittedRequest,
    /// The head, into which the ranges of the admitted request point.
    pub(super) head: &'a Bytes,
    pub(super) body: BodyLength,
}

/// A session and its backend.
struct Connected<'u> {
    session: UpstreamSession,
    backend: &'u Backend,
    peer: Arc<UpstreamPeer>,
}

/// The result of an exchange, for the access record.
struct ExchangeResult<'u> {
    /// The status that the client was sent.
    status: Option<StatusCode>,
    end: RelayEnd,
    backend: Option<&'u Backend>,
    upstream_us: Option<u64>,
    /// Bytes of the request's body that were passed on, and of the response's body.
    received: u64,
    sent: u64,
}

impl Exchange<'_> {
    /// Sends the request to a backend and the response to the client, and records both.
    pub(super) async fn run(
        self,
        connections: &Connections,
        client: &mut Client<'_>,
        timer: Pin<&mut Sleep>,
    ) {
        let ExchangeResult {
            status,
            end,
            backend,
            upstream_us,
            received,
            sent,
        } = self.exchange(connections, client, timer).await;
        let snapshot = &self.context.snapshot;
        let mut record = ResponseRecord {
            outcome: RequestOutcome::Forwarded,
            status,
            error: None,
            ended: Completion::Complete,
            upstream: backend,
            upstream_us,
            received,
            sent,
        };
        match end {
            RelayEnd::Complete | RelayEnd::Upgraded => {}
            RelayEnd::Closed(reason) => {
                (record.error, record.ended) = (reason.code(), Completion::Closed(reason));
            }
            RelayEnd::Failed(error) => {
                let metrics = &snapshot.recorder.metrics;
                metrics
                    .upstream_errors
                    .with_label_values(&[error.failure.label()])
                    .inc();
                error.log(&snapshot.recorder);
                match error.failure.code() {
                    None => {
                        client.count_reset();
                        // The client may still be reading, and must not take what it has for a
                        // complete response.
                        client.abort(Reason::CANCEL);
                        record.ended = Completion::ClientGone;
                    }
                    Some(code) => {
                        record.outcome = RequestOutcome::Failed;
                        record.error = Some(code);
                        record.ended = Completion::Failed;
                        match error.failure {
                            ExchangeFailure::ClientSlow => client.abandon_body(),
                            ExchangeFailure::ClientMalformed => client.disable_keep_alive(),
                            _ => {}
                        }
                        match status {
                            Some(_) => client.abort(Reason::INTERNAL_ERROR),
                            None => record.status = self.reject(client, code).await,
                        }
                    }
                }
            }
        }
        self.context.record(
            RequestRecord::admitted(self.admitted, RuleIndex::None),
            record,
        );
    }

    /// Rejects the request instead of the backend's response. `None`: the client has disconnected.
    async fn reject(&self, client: &mut Client<'_>, code: ErrorCode) -> Option<StatusCode> {
        let (context, admitted) = (self.context, self.admitted);
        let rejected = context.render_problem(client, admitted, &Problem::new(code));
        client
            .respond(&admitted.forward.method, rejected.response)
            .await
            .ok()
            .map(|()| rejected.status)
    }

    async fn exchange<'u>(
        &'u self,
        connections: &Connections,
        client: &mut Client<'_>,
        mut timer: Pin<&mut Sleep>,
    ) -> ExchangeResult<'u> {
        let upstreams = &*self.context.snapshot.upstreams;
        let mut attempts = Attempts::new(upstreams);
        loop {
            let Connected {
                mut session,
                backend,
                peer,
            } = match connect(connections, upstreams, &mut attempts).await {
                Ok(connected) => connected,
                Err(error) => return ExchangeResult::failed(error, None),
            };
            if let Err(error) = self.begin(&mut session, backend) {
                if error.is_unprocessed && attempts.may_reconnect() {
                    continue;
                }
                return ExchangeResult::failed(error, Some(backend));
            }
            if (session.is_http2() || client.is_http2()) && client.awaits_continue() {
                // Over HTTP/2 the expectation is not forwarded to the backend.
                client.send_continue();
            }
            let mut relay = Relay::new(self.context, self.admitted, client, &mut session, backend);
            let end = relay.run(timer.as_mut()).await;
            let (status, upstream_us, sent) = relay.sent();
            let received = client.received();
            let result = |end| ExchangeResult {
                status,
                end,
                backend: Some(backend),
                upstream_us,
                received,
                sent,
            };
            match end {
                RelayEnd::Failed(error) if error.is_unprocessed && status.is_none() => {
                    // Bytes of the body that were passed on are not kept for a retry.
                    if received == 0 && attempts.may_resend() {
                        continue;
                    }
                    return result(RelayEnd::Failed(error.not_processed()));
                }
                RelayEnd::Upgraded if client.has_pipelined_input() => {
                    // Bytes that arrived before the 101 belong to no protocol (CVE-2026-2833).
                    let error = ExchangeError::new(
                        ExchangeFailure::ClientMalformed,
                        "bytes before the response to a handshake",
                    );
                    return result(RelayEnd::Failed(error));
                }
                RelayEnd::Upgraded => {
                    let TunnelEnd {
                        reason,
                        received,
                        sent,
                    } = Box::pin(self.tunnel(client, session)).await;
                    let status = Some(StatusCode::SWITCHING_PROTOCOLS);
                    return ExchangeResult {
                        status,
                        received,
                        sent,
                        ..result(RelayEnd::Closed(reason))
                    };
                }
                RelayEnd::Complete => {
                    connections.release(session, &peer);
                    return result(RelayEnd::Complete);
                }
                end => {
                    if session.is_http2() {
                        // Only the stream ends; the connection stays usable.
                        connections.release(session, &peer);
                    }
                    return result(end);
                }
            }
        }
    }

    /// Starts the request: sends its head.
    fn begin(&self, session: &mut UpstreamSession, backend: &Backend) -> Result<(), ExchangeError> {
        let RequestContext {
            snapshot,
            timing,
            request_id,
            ..
        } = self.context;
        let parts = RequestParts {
            headers: &snapshot.upstream_headers,
            head: self.head,
            request_id,
            now: timing.at,
            body: self.body,
            takes_trailers: self.admitted.forward.trailers,
        };
        session.send_head(&UpstreamRequest::new(self.admitted, parts, backend)?)
    }

    /// Relays a WebSocket after the backend's 101, until it ends.
    async fn tunnel(&self, client: &mut Client<'_>, session: UpstreamSession) -> TunnelEnd {
        let nothing = TunnelEnd {
            reason: CloseReason::Closed,
            received: 0,
            sent: 0,
        };
        // Only HTTP/1 upgrades.
        let (Client::Http1(client), Some(head)) = (client, session.head()) else {
            return nothing;
        };
        client.send_upgrade(head);
        let snapshot = &self.context.snapshot;
        let open = snapshot
            .streams
            .register(StreamKind::WebSocket, self.admitted.identity.as_ref());
        if client.flush().await.is_err() {
            return nothing;
        }
        let Some((backend, early)) = session.into_upgraded() else {
            return nothing;
        };
        let idle_timeout = self
            .admitted
            .forward
            .idle_timeout
            .unwrap_or(snapshot.upstreams.read_timeout);
        let watch = client.socket.watch();
        let is_reset = || watch.as_ref().is_some_and(SocketWatch::is_reset);
        tunnel::run(
            &mut client.socket,
            is_reset,
            backend,
            early,
            idle_timeout,
            &open,
        )
        .await
    }
}

impl<'u> ExchangeResult<'u> {
    fn failed(error: ExchangeError, backend: Option<&'u Backend>) -> Self {
        Self {
            status: None,
            end: RelayEnd::Failed(error),
            backend,
            upstream_us: None,
            received: 0,
            sent: 0,
        }
    }
}

/// A session with the next backend that accepts a connection.
async fn connect<'u>(
    connections: &Connections,
    upstreams: &'u Upstreams,
    attempts: &mut Attempts<'u>,
) -> Result<Connected<'u>, ExchangeError> {
    let mut failed = None;
    while let Some((at, backend)) = attempts.next() {
        let peer = backend.peer();
        match connections.connect(&peer, upstreams.http2).await {
            Ok(session) => {
                return Ok(Connected {
                    session,
                    backend,
                    peer,
                });
            }
            // The connection failed, so nothing was sent and another backend may be tried.
            Err(error) => {
                let found = ExchangeError::connecting(&error);
                if found.is_unprocessed {
                    // A pooled connection that the backend is closing is no sign of an unhealthy
                    // backend.
                    if !attempts.may_reconnect() {
                        return Err(found.not_processed());
                    }
                } else {
                    attempts.connection_failed(at, &peer, &error);
                }
                failed = Some(found);
            }
        }
    }
    Err(failed
        .unwrap_or_else(|| ExchangeError::new(ExchangeFailure::Connect, "there is no backend")))
}
