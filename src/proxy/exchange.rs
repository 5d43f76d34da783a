//! One exchange with a backend: connect, send the request, relay both messages.
//!
//! Must stay true: a request is sent again only if the backend says that it has not processed it; a
//! client's disconnect cancels its request; an incomplete response is never passed off as complete.

mod attempts;
mod relay;

use std::{future::poll_fn, pin::Pin, sync::Arc};

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
        session::{Connections, NegotiatedSession, UpstreamSession},
    },
    upstream_request::UpstreamRequest,
    websocket::tunnel::{self, TunnelEnd},
};
use crate::{api::problem::Problem, gate::AdmittedRequest, http1::BodyLength};
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
    session: NegotiatedSession,
    backend: &'u Backend,
    peer: Arc<UpstreamPeer>,
}

impl Exchange<'_> {
    /// Sends the request to a backend and the response to the client, and records both.
    pub(super) async fn run(
        self,
        connections: &Connections,
        client: &mut impl Client,
        timer: Pin<&mut Sleep>,
    ) {
        let (mut record, end) = self.exchange(connections, client, timer).await;
        match end {
            RelayEnd::Complete | RelayEnd::Upgraded => {}
            RelayEnd::Closed(reason) => {
                (record.error, record.ended) = (reason.code(), Completion::Closed(reason));
            }
            RelayEnd::Failed(error) => self.fail(client, &error, &mut record).await,
        }
        let request = RequestRecord::admitted(self.admitted, RuleIndex::None);
        self.context.record(request, record);
    }

    /// Ends a failed exchange: rejects the request, or aborts the response that has begun.
    async fn fail(
        &self,
        client: &mut impl Client,
        error: &ExchangeError,
        record: &mut ResponseRecord<'_>,
    ) {
        let recorder = &self.context.snapshot.recorder;
        let failures = &recorder.metrics.upstream_errors;
        failures.with_label_values(&[error.failure.label()]).inc();
        error.log(recorder);
        let Some(code) = error.failure.code() else {
            client.count_reset();
            // The client may still be reading, and must not take what it has for a complete
            // response.
            client.abort(Reason::CANCEL);
            record.ended = Completion::ClientLost;
            return;
        };
        record.outcome = RequestOutcome::Failed;
        record.error = Some(code);
        record.ended = Completion::Failed;
        match error.failure {
            ExchangeFailure::ClientSlow => client.abandon_body(),
            ExchangeFailure::ClientMalformed => client.disable_keep_alive(),
            _ => {}
        }
        if record.status.is_some() {
            client.abort(Reason::INTERNAL_ERROR);
            return;
        }
        let (context, admitted) = (self.context, self.admitted);
        let rejected = context.render_problem(client, admitted, &Problem::new(code));
        let sent = client.respond(&admitted.forward.method, rejected.response);
        record.status = sent.await.ok().map(|()| rejected.status);
    }

    /// Returns the record of the response, and how the exchange ended.
    async fn exchange<'u>(
        &'u self,
        connections: &Connections,
        client: &mut impl Client,
        mut timer: Pin<&mut Sleep>,
    ) -> (ResponseRecord<'u>, RelayEnd) {
        let upstreams = &*self.context.snapshot.upstreams;
        let mut attempts = Attempts::new(upstreams);
        loop {
            let Connected {
                mut session,
                backend,
                peer,
            } = match connect(connections, upstreams, &mut attempts).await {
                Ok(connected) => connected,
                Err(error) => return (ResponseRecord::forwarded(None), error.into()),
            };
            let relayed = match &mut session {
                NegotiatedSession::Http1(session) => {
                    self.relay(client, session, backend, timer.as_mut()).await
                }
                NegotiatedSession::Http2(session) => {
                    self.relay(client, session, backend, timer.as_mut()).await
                }
            };
            let (record, end) = match relayed {
                // The connection was closing.
                Err(error) if error.is_unprocessed && attempts.take_reconnect() => continue,
                Err(error) => return (ResponseRecord::forwarded(Some(backend)), error.into()),
                Ok(relayed) => relayed,
            };
            match end {
                RelayEnd::Failed(error) if error.is_unprocessed && record.status.is_none() => {
                    // Bytes of the body that were passed on are not kept for a retry.
                    if record.received == 0 && attempts.take_resend() {
                        continue;
                    }
                    return (record, error.not_processed().into());
                }
                RelayEnd::Upgraded if client.has_pipelined_input() => {
                    // Bytes that arrived before the 101 belong to no protocol (CVE-2026-2833).
                    let error = ExchangeError::new(
                        ExchangeFailure::ClientMalformed,
                        "bytes before the response to a handshake",
                    );
                    return (record, error.into());
                }
                RelayEnd::Upgraded => {
                    let TunnelEnd {
                        reason,
                        received,
                        sent,
                    } = Box::pin(self.tunnel(client, session)).await;
                    let record = ResponseRecord {
                        status: Some(StatusCode::SWITCHING_PROTOCOLS),
                        received,
                        sent,
                        ..record
                    };
                    return (record, RelayEnd::Closed(reason));
                }
                end => {
                    // Of HTTP/2 only the stream ends; the connection stays usable.
                    if matches!(end, RelayEnd::Complete) || session.is_http2() {
                        connections.release(session, &peer);
                    }
                    return (record, end);
                }
            }
        }
    }

    /// Sends the request on this session, and relays both messages.
    ///
    /// # Errors
    /// When not even the head could be sent.
    async fn relay<'u, C: Client, S: UpstreamSession>(
        &self,
        client: &mut C,
        session: &mut S,
        backend: &'u Backend,
        timer: Pin<&mut Sleep>,
    ) -> Result<(ResponseRecord<'u>, RelayEnd), ExchangeError> {
        session.send_head(&self.upstream_request(backend)?)?;
        if (S::IS_HTTP2 || C::IS_HTTP2) && client.awaits_continue() {
            // Over HTTP/2 the expectation is not forwarded to the backend.
            client.send_continue();
        }
        let mut relay = Relay::new(self.context, self.admitted, client, session, backend);
        let end = relay.run(timer).await;
        let (status, upstream_us, sent) = relay.sent();
        let record = ResponseRecord {
            status,
            upstream_us,
            received: client.received(),
            sent,
            ..ResponseRecord::forwarded(Some(backend))
        };
        Ok((record, end))
    }

    fn upstream_request(&self, backend: &Backend) -> Result<UpstreamRequest<'_>, ExchangeError> {
        let Self {
            context,
            admitted,
            head,
            body,
        } = *self;
        let (headers, now) = (&context.snapshot.upstream_headers, context.timing.at);
        let fields = headers.fields(admitted, head, &context.request_id, backend, now)?;
        Ok(UpstreamRequest::new(admitted, head, fields, body))
    }

    /// Relays a WebSocket after the backend's 101, until it ends.
    async fn tunnel(&self, client: &mut impl Client, session: NegotiatedSession) -> TunnelEnd {
        let ended_at_once = TunnelEnd {
            reason: CloseReason::Closed,
            received: 0,
            sent: 0,
        };
        // Only HTTP/1 upgrades.
        let NegotiatedSession::Http1(session) = session else {
            return ended_at_once;
        };
        let Some(head) = session.head() else {
            return ended_at_once;
        };
        client.send_upgrade(head);
        let snapshot = &self.context.snapshot;
        let open = snapshot
            .streams
            .register(StreamKind::WebSocket, self.admitted.identity.as_ref());
        if poll_fn(|cx| client.poll_flush(cx)).await.is_err() {
            return ended_at_once;
        }
        let Some(socket) = client.socket() else {
            return ended_at_once;
        };
        let (backend, early) = session.into_upgraded();
        let idle_timeout = self
            .admitted
            .forward
            .idle_timeout
            .unwrap_or(snapshot.upstreams.read_timeout);
        let watch = socket.watch();
        let is_reset = || watch.as_ref().is_some_and(SocketWatch::is_reset);
        tunnel::run(socket, is_reset, backend, early, idle_timeout, &open).await
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
                    if !attempts.take_reconnect() {
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
