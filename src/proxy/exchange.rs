//! The way to a backend: one connection, one request, one response.
//!
//! Must stay true: nothing that was sent is sent again, unless the backend says that it has not
//! begun with it; a client that leaves takes its request with it; a response that breaks off is
//! never taken for a whole one.

mod attempts;
mod relay;

use std::{pin::Pin, sync::Arc};

use bytes::Bytes;
use h2::Reason;
use http::StatusCode;
use tokio::time::Sleep;

use super::{
    access_record::{Ended, Outcome, RuleIndex, Served, Subject},
    client::Client,
    failure::{ExchangeError, Failure},
    request_context::RequestContext,
    socket::SocketWatch,
    streams::{CloseReason, Kind},
    upstream::{
        Backend, UpstreamPeer, Upstreams,
        session::{Connections, UpstreamSession},
    },
    upstream_request::{RequestParts, UpstreamRequest},
    websocket::tunnel::{self, Carried},
};
use crate::{api::problem::Problem, error::ErrorCode, gate::AdmittedRequest, http1::BodyLength};
use attempts::Attempts;
use relay::{Relay, RelayEnd};

/// What one exchange is about.
#[derive(Clone, Copy)]
pub(super) struct Exchange<'a> {
    pub(super) context: &'a RequestContext,
    pub(super) admitted: &'a AdmittedRequest,
    /// The bytes that the ranges of the admitted request are in.
    pub(super) head: &'a Bytes,
    pub(super) body: BodyLength,
}

/// A session with a backend, and whose it is.
struct Connected<'u> {
    session: UpstreamSession,
    backend: &'u Backend,
    peer: Arc<UpstreamPeer>,
}

/// How an exchange ended.
struct Exchanged<'u> {
    /// Of the response that the client was sent.
    status: Option<StatusCode>,
    end: RelayEnd,
    backend: Option<&'u Backend>,
    upstream_us: Option<u64>,
    /// Bytes of the client and of the backend that went on.
    received: u64,
    sent: u64,
}

impl Exchange<'_> {
    /// Sends the request to a backend and the response to the client.
    pub(super) async fn run(
        self,
        connections: &Connections,
        client: &mut Client<'_>,
        timer: Pin<&mut Sleep>,
    ) {
        let Exchanged {
            status,
            end,
            backend,
            upstream_us,
            received,
            sent,
        } = self.exchange(connections, client, timer).await;
        let snapshot = &self.context.snapshot;
        let mut served = Served {
            outcome: Outcome::Forwarded,
            status,
            error: None,
            ended: Ended::Complete,
            upstream: backend,
            upstream_us,
            received,
            sent,
        };
        match end {
            RelayEnd::Complete | RelayEnd::Upgraded => {}
            RelayEnd::Closed(reason) => {
                (served.error, served.ended) = (reason.code(), Ended::Closed(reason))
            }
            RelayEnd::Failed(error) => {
                let metrics = snapshot.recorder.metrics();
                metrics
                    .upstream_errors
                    .with_label_values(&[error.failure.kind()])
                    .inc();
                error.log(&snapshot.recorder);
                match error.failure.code() {
                    None => {
                        client.note_reset();
                        // It may read on, and must not take what it has for the whole.
                        client.break_off(Reason::CANCEL);
                        served.ended = Ended::ClientGone;
                    }
                    Some(code) => {
                        served.outcome = Outcome::Failed;
                        served.error = Some(code);
                        served.ended = Ended::Failed;
                        match error.failure {
                            Failure::ClientSlow => client.give_up_body(),
                            Failure::ClientMalformed => client.end_connection(),
                            _ => {}
                        }
                        match status {
                            Some(_) => client.break_off(Reason::INTERNAL_ERROR),
                            None => served.status = self.reject(client, code).await,
                        }
                    }
                }
            }
        }
        self.context
            .record(Subject::admitted(self.admitted, RuleIndex::None), served);
    }

    /// Responds in the backend's stead. `None`: the client is gone.
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
    ) -> Exchanged<'u> {
        let upstreams = &*self.context.snapshot.upstreams;
        let mut attempts = Attempts::new(upstreams);
        loop {
            let Connected {
                mut session,
                backend,
                peer,
            } = match connect(connections, upstreams, &mut attempts).await {
                Ok(connected) => connected,
                Err(error) => return Exchanged::failed(error, None),
            };
            if let Err(error) = self.begin(&mut session, backend) {
                if error.is_unprocessed && attempts.may_take_another() {
                    continue;
                }
                return Exchanged::failed(error, Some(backend));
            }
            if (session.is_http2() || client.is_http2()) && client.awaits_continue() {
                // Over HTTP/2 the backend is not asked for a 100.
                client.send_continue();
            }
            let mut relay = Relay::new(self.context, self.admitted, client, &mut session, backend);
            let end = relay.run(timer.as_mut()).await;
            let (status, upstream_us, sent) = relay.sent();
            let received = client.received();
            let exchanged = |end| Exchanged {
                status,
                end,
                backend: Some(backend),
                upstream_us,
                received,
                sent,
            };
            match end {
                RelayEnd::Failed(error) if error.is_unprocessed && status.is_none() => {
                    // What has gone of the body is not held back for another time.
                    if received == 0 && attempts.may_send_again() {
                        continue;
                    }
                    return exchanged(RelayEnd::Failed(error.not_processed()));
                }
                RelayEnd::Upgraded if client.is_followed() => {
                    // What came before the answer belongs to no protocol (CVE-2026-2833).
                    let error = ExchangeError::new(
                        Failure::ClientMalformed,
                        "bytes before the answer to a handshake",
                    );
                    return exchanged(RelayEnd::Failed(error));
                }
                RelayEnd::Upgraded => {
                    let Carried {
                        reason,
                        received,
                        sent,
                    } = Box::pin(self.tunnel(client, session)).await;
                    let status = Some(StatusCode::SWITCHING_PROTOCOLS);
                    return Exchanged {
                        status,
                        received,
                        sent,
                        ..exchanged(RelayEnd::Closed(reason))
                    };
                }
                RelayEnd::Complete => {
                    connections.release(session, &peer);
                    return exchanged(RelayEnd::Complete);
                }
                end => {
                    if session.is_http2() {
                        // Its stream ends; the connection may go on.
                        connections.release(session, &peer);
                    }
                    return exchanged(end);
                }
            }
        }
    }

    /// Sends the request's head.
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

    /// Carries a WebSocket from the backend's 101 to its end.
    async fn tunnel(&self, client: &mut Client<'_>, session: UpstreamSession) -> Carried {
        let nothing = Carried {
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
            .register(Kind::WebSocket, self.admitted.identity.as_ref());
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
            .unwrap_or(snapshot.upstreams.read_timeout());
        let watch = client.socket.watch();
        let is_reset = || watch.as_ref().is_some_and(SocketWatch::is_reset);
        tunnel::carry(
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

impl<'u> Exchanged<'u> {
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

/// A session with the next backend that gives one.
async fn connect<'u>(
    connections: &Connections,
    upstreams: &'u Upstreams,
    attempts: &mut Attempts<'u>,
) -> Result<Connected<'u>, ExchangeError> {
    let mut failed = None;
    while let Some((at, backend)) = attempts.next() {
        let peer = backend.peer();
        match connections.connect(&peer, upstreams.speak_http2()).await {
            Ok(session) => {
                return Ok(Connected {
                    session,
                    backend,
                    peer,
                });
            }
            // No connection came about, so nothing was sent: another backend may have it.
            Err(error) => {
                let found = ExchangeError::connecting(&error);
                if found.is_unprocessed {
                    // A connection on which the backend takes no more requests says nothing against
                    // the backend.
                    if !attempts.may_take_another() {
                        return Err(found.not_processed());
                    }
                } else {
                    attempts.connection_failed(at, &peer, &error);
                }
                failed = Some(found);
            }
        }
    }
    Err(failed.unwrap_or_else(|| ExchangeError::new(Failure::Connect, "there is no backend")))
}
