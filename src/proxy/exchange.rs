//! The short way to the backend: one request without a body, one answer.
//!
//! Nearly every request of a mini program is such a one. pingora's proxy machinery is made for two bodies that stream at once
//! (uploads, WebSocket) and costs half as much again; here its connector and its HTTP/1 client do the part that has to be
//! right (pooling, reading and framing the answer), and the answer's bytes go straight to the client. Everything else takes
//! the long way, [`super::forward`]; `docs/decisions/0005-two-ways-to-the-backend.md` has the figures.
//!
//! Must stay true: both ways send the backend the same headers ([`super::outgoing`]); an answer that breaks off ends the
//! client's connection, so that half is never taken for whole; a client that leaves takes its request with it; nothing that
//! was sent is sent again; an answer that goes on for long ends when its session does.

mod framing;
mod trailing;

use std::{future::poll_fn, pin::pin, sync::Arc, task::Poll, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts};
use pingora::{
    Error, ErrorType,
    connectors::TransportConnector,
    http::{RequestHeader, ResponseHeader},
    prelude::HttpPeer,
    protocols::{Shutdown, Stream, http::v1::client::HttpSession},
    upstreams::peer::Peer,
};
use tokio::{
    io::AsyncWriteExt,
    time::{Instant, timeout_at},
};

use super::{
    answer,
    failure::Failure,
    health::Tried,
    outgoing::Outgoing,
    record::{Outcome, Record, Timing},
    snapshot::Snapshot,
    socket::Socket,
    streams::{Ending, Kind, LONG, OpenStream},
    tunnel,
    upstream::{Backend, Upstreams},
};
use crate::{api::problem::Problem, error::ErrorCode, gate::AdmittedRequest, policy::HttpVersion};
use framing::{AnswerFraming, announce_trailers, head_text, last_chunk, pass_on};
use trailing::Trailing;

/// What `Upgrade` says.
const WEBSOCKET: &str = "websocket";
/// Where nothing is said of idle streams.
const FOREVER: Duration = Duration::from_hours(7 * 24);

/// Carries requests without a body.
pub(super) struct Exchange {
    pub(super) connector: TransportConnector,
}

/// One request on its way.
pub(super) struct Errand<'a> {
    pub(super) snapshot: &'a Snapshot,
    /// The head as the client sent it.
    pub(super) head: Bytes,
    pub(super) passage: &'a AdmittedRequest,
    pub(super) request_id: &'a str,
    pub(super) timing: &'a Timing,
    /// The connection ends with this request.
    pub(super) last: bool,
}

/// A connection to a backend.
struct Connected<'u> {
    stream: Stream,
    backend: &'u Backend,
    peer: Arc<HttpPeer>,
}

/// An answer of the backend, as it comes.
trait Answer {
    /// Trailers may follow, and the client takes them.
    const TRAILS: bool = false;

    /// Waits for the next head: the answer's own, or an informational one before it.
    async fn read_head(&mut self) -> pingora::Result<()>;

    /// The head that was read last.
    fn head(&self) -> Option<&ResponseHeader>;

    /// The backend has agreed to another protocol.
    fn is_upgraded(&self) -> bool;

    /// Waits for the next part of the body. `None`: it is whole.
    async fn part(&mut self) -> pingora::Result<Option<&[u8]>>;

    /// What came after it.
    fn trailers(&self) -> Option<&HeaderMap> {
        None
    }
}

impl Answer for HttpSession {
    async fn read_head(&mut self) -> pingora::Result<()> {
        self.read_response().await.map(drop)
    }

    fn head(&self) -> Option<&ResponseHeader> {
        self.resp_header()
    }

    fn is_upgraded(&self) -> bool {
        self.was_upgraded()
    }

    async fn part(&mut self) -> pingora::Result<Option<&[u8]>> {
        self.read_body_ref().await
    }
}

/// How an exchange ended.
enum End {
    /// The whole answer was given; the connection can go on or not.
    Answered { status: StatusCode, keep: bool },
    /// The backend failed before anything was said to the client.
    Silent(Box<Error>),
    /// It failed in the middle of its answer, of which the status was sent.
    BrokenOff(StatusCode, Box<Error>),
    /// The client left; the status that it had been sent by then.
    ClientGone(Option<StatusCode>),
    /// It has to end in the middle of the answer: nobody is signed in with that session any more, for one.
    Ended { status: StatusCode, ending: Ending, in_peace: bool },
    /// The backend has agreed to a WebSocket; the client has not been told.
    Upgraded(Box<HttpSession>),
}

impl Exchange {
    /// Whether this request can take the short way.
    pub(super) fn takes(passage: &AdmittedRequest) -> bool {
        passage.framing.body.is_empty() && !passage.framing.expects_continue
    }

    /// Carries one request. The connection comes back if it can go on.
    pub(super) async fn carry(&self, mut stream: Stream, errand: Errand<'_>) -> Option<Stream> {
        let end = self.exchange(&mut stream, &errand).await;
        let outcome = match end {
            End::Silent(_) | End::BrokenOff(..) => Outcome::Failed,
            End::Answered { .. } | End::ClientGone(_) | End::Ended { .. } | End::Upgraded(_) => Outcome::Forwarded,
        };
        let in_peace = matches!(end, End::Answered { .. } | End::Silent(_) | End::Ended { in_peace: true, .. });
        let (status, error, keep) = match end {
            End::Upgraded(upstream) => {
                tunnel(stream, *upstream, &errand).await;
                record(&errand, Outcome::Forwarded, StatusCode::SWITCHING_PROTOCOLS.as_u16(), None);
                return None;
            }
            End::Ended { status, ending, .. } => (status.as_u16(), ending.code(), false),
            End::Answered { status, keep } => (status.as_u16(), None, keep),
            End::ClientGone(status) => {
                count(errand.snapshot, "client_gone");
                (status.map_or(0, |status| status.as_u16()), None, false)
            }
            End::BrokenOff(status, fault) => {
                let failure = failed(errand.snapshot, &fault);
                (status.as_u16(), failure.code, false)
            }
            End::Silent(fault) => {
                let failure = failed(errand.snapshot, &fault);
                let problem = failure.code.map(Problem::new)?;
                let keep = !errand.last && errand.passage.framing.keep_alive;
                let said = errand
                    .snapshot
                    .voices
                    .say(errand.passage.path(), &problem, errand.request_id)
                    .with(errand.passage.cors.as_ref());
                let head_only = errand.passage.forward.method == Method::HEAD;
                let text = answer::refusal(&problem, &said, errand.request_id, head_only, keep);
                let sent = stream.write_all(&text).await.is_ok() && stream.flush().await.is_ok();
                (said.status.as_u16(), failure.code, keep && sent)
            }
        };
        record(&errand, outcome, status, error);
        if in_peace && !keep {
            Shutdown::shutdown(&mut *stream).await;
        }
        keep.then_some(stream)
    }

    async fn exchange(&self, stream: &mut Stream, errand: &Errand<'_>) -> End {
        let Connected { stream: connected, backend, peer } = match self.connect(&errand.snapshot.upstreams).await {
            Ok(connected) => connected,
            Err(fault) => return End::Silent(fault.into_up()),
        };
        let request = match outgoing_request(errand, backend) {
            Ok(request) => request,
            Err(fault) => return End::Silent(fault.into_in()),
        };
        let idle = errand.passage.forward.idle_timeout.or(peer.options.read_timeout);
        if errand.passage.forward.trailers
            && !errand.passage.forward.websocket
            && let Some(request) = trailing::request(&request, &errand.passage.forward.target)
        {
            let connected = Connected { stream: connected, backend, peer };
            // Few ask, and every connection would have the room for it in its own task.
            return Box::pin(self.with_trailers(stream, errand, connected, request, idle)).await;
        }
        let mut upstream = HttpSession::new_with_options(connected, &*peer);
        upstream.read_timeout = idle;
        upstream.write_timeout = peer.options.write_timeout;
        if let Err(fault) = upstream.write_request_header(Box::new(request)).await {
            backend.health.failed();
            return End::Silent(fault.into_up());
        }
        if let Err(end) = final_head(stream, &mut upstream, errand, backend).await {
            return end;
        }
        if upstream.was_upgraded() {
            return End::Upgraded(Box::new(upstream));
        }
        let end = relay(stream, &mut upstream, errand).await;
        if let End::Answered { .. } = end {
            upstream.respect_keepalive();
            if let Some(connected) = upstream.reuse().await {
                self.connector.release_stream(connected, peer.reuse_hash(), peer.idle_timeout());
            }
        }
        end
    }

    /// The same for a client that takes trailers.
    async fn with_trailers(
        &self,
        stream: &mut Stream,
        errand: &Errand<'_>,
        connected: Connected<'_>,
        request: Parts,
        idle: Option<Duration>,
    ) -> End {
        let Connected { stream: connected, backend, peer } = connected;
        let mut upstream = match Trailing::send(connected, request, idle.unwrap_or(FOREVER)).await {
            Ok(upstream) => upstream,
            Err(fault) => return End::Silent(fault),
        };
        if let Err(end) = final_head(stream, &mut upstream, errand, backend).await {
            return end;
        }
        let end = relay(stream, &mut upstream, errand).await;
        if let End::Answered { .. } = end
            && let Some(connected) = upstream.into_stream().await
        {
            self.connector.release_stream(connected, peer.reuse_hash(), peer.idle_timeout());
        }
        end
    }

    /// A connection to the next backend that takes one.
    async fn connect<'u>(&self, upstreams: &'u Upstreams) -> pingora::Result<Connected<'u>> {
        let mut tried = Tried::default();
        let mut fault = None;
        while let Some(at) = upstreams.pick(&mut tried) {
            let backend = upstreams.get(at);
            let peer = backend.peer();
            match self.connector.get_stream(&*peer).await {
                Ok((stream, _reused)) => return Ok(Connected { stream, backend, peer }),
                // No connection came about, so nothing was sent: another backend may have it.
                Err(failed) => {
                    upstreams.connection_failed(at, &peer, &failed, &mut tried);
                    fault = Some(failed);
                }
            }
        }
        Err(fault.unwrap_or_else(|| Error::explain(ErrorType::ConnectError, "there is no backend")))
    }
}

/// The request as the backend gets it: the client's own fields that may pass, then ours.
fn outgoing_request(errand: &Errand<'_>, backend: &Backend) -> pingora::Result<RequestHeader> {
    let Errand { head, passage, .. } = errand;
    let fields = passage.forward.forwarded_headers.len() + Outgoing::FIELDS;
    let mut request = RequestHeader::build(passage.forward.method.clone(), passage.forward.target.as_bytes(), Some(fields))?;
    for field in &passage.forward.forwarded_headers {
        let value = HeaderValue::from_maybe_shared(head.slice(field.value()))
            .map_err(|_| Error::explain(ErrorType::InvalidHTTPHeader, "not a header value"))?;
        request.append_header(head.slice(field.name()), value)?;
    }
    errand.snapshot.outgoing.add(&mut request, passage, errand.request_id, backend, errand.timing.at)?;
    if passage.forward.websocket {
        // Each hop asks for itself (RFC 9110 section 7.8).
        request.insert_header(header::CONNECTION, "Upgrade")?;
        request.insert_header(header::UPGRADE, WEBSOCKET)?;
    }
    Ok(request)
}

/// Carries a WebSocket from the backend's agreement to its end.
async fn tunnel(mut stream: Stream, mut upstream: HttpSession, errand: &Errand<'_>) {
    let Some(agreed) = upstream.resp_header() else { return };
    let mut text = head_text(agreed, None, None);
    text.truncate(text.len() - 2);
    text.extend_from_slice(b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    let idle = upstream.read_timeout.unwrap_or(FOREVER);
    // What came together with the head is there at once, or never.
    let early = {
        let mut read = pin!(upstream.read_body_ref());
        match poll_fn(|cx| Poll::Ready(read.as_mut().poll(cx))).await {
            Poll::Ready(Ok(Some(part))) => Bytes::copy_from_slice(part),
            Poll::Ready(Ok(None) | Err(_)) | Poll::Pending => Bytes::new(),
        }
    };
    let open = errand.snapshot.streams.register(Kind::WebSocket, errand.passage.identity.as_ref());
    if stream.write_all(&text).await.is_ok() && stream.flush().await.is_ok() {
        tunnel::carry(stream, upstream.into_inner(), early, idle, &open).await;
    }
}

/// Reads the head of the answer, and passes on the informational ones before it. What it came to is the backend's credit.
async fn final_head(
    stream: &mut Stream,
    upstream: &mut impl Answer,
    errand: &Errand<'_>,
    backend: &Backend,
) -> Result<(), End> {
    let head = read_final_head(stream, upstream, errand).await;
    match head {
        Ok(()) => backend.health.answered(),
        Err(End::Silent(_)) => backend.health.failed(),
        Err(_) => {}
    }
    head
}

async fn read_final_head(stream: &mut Stream, upstream: &mut impl Answer, errand: &Errand<'_>) -> Result<(), End> {
    let invalid = |why| End::Silent(Error::explain(ErrorType::InvalidHTTPHeader, why).into_up());
    loop {
        match attended(stream, upstream.read_head()).await {
            Some(Ok(())) => {}
            Some(Err(fault)) => return Err(End::Silent(fault.into_up())),
            None => return Err(End::ClientGone(None)),
        }
        let Some(answer) = upstream.head() else { return Err(invalid("no answer")) };
        if answer.status == StatusCode::SWITCHING_PROTOCOLS {
            let to = answer.headers.get(header::UPGRADE);
            let asked = errand.passage.forward.websocket && upstream.is_upgraded();
            return if asked && to.is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(WEBSOCKET.as_bytes())) {
                Ok(())
            } else {
                Err(invalid("an upgrade nobody asked for"))
            };
        }
        if !answer.status.is_informational() {
            return Ok(());
        }
        // RFC 9110 section 15.2: passed on, but not to HTTP/1.0 clients, and nobody asked for a 100 here.
        if errand.passage.framing.version != HttpVersion::Http10 && answer.status != StatusCode::CONTINUE {
            let text = head_text(answer, None, None);
            if stream.write_all(&text).await.is_err() || stream.flush().await.is_err() {
                return Err(End::ClientGone(None));
            }
        }
    }
}

/// Passes the answer on, head and body, as it comes.
async fn relay<A: Answer>(stream: &mut Stream, upstream: &mut A, errand: &Errand<'_>) -> End {
    let Some(answer) = upstream.head() else {
        return End::Silent(Error::explain(ErrorType::InvalidHTTPHeader, "no answer").into_up());
    };
    let status = answer.status;
    let framing =
        AnswerFraming::of(answer, &errand.passage.forward.method, errand.passage.framing.version == HttpVersion::Http10);
    let keep = !errand.last && errand.passage.framing.keep_alive && framing != AnswerFraming::UntilClose;
    let mut text = head_text(answer, Some(framing), Some(keep));
    if A::TRAILS && framing == AnswerFraming::Chunked {
        announce_trailers(&mut text, answer);
    }
    let register = |kind| errand.snapshot.streams.register(kind, errand.passage.identity.as_ref());
    let mut open = is_event_stream(answer).then(|| register(Kind::Events));
    let long_at = Instant::now() + LONG;
    if stream.write_all(&text).await.is_err() {
        return End::ClientGone(None);
    }
    loop {
        let mut read = pin!(upstream.part());
        // What there is goes out together; what has to be waited for holds nothing back.
        let part = match poll_fn(|cx| Poll::Ready(read.as_mut().poll(cx))).await {
            Poll::Ready(part) => Some(part),
            Poll::Pending if stream.flush().await.is_err() => None,
            Poll::Pending => {
                let mut waiting = pin!(attended(stream, read));
                // What is known as a stream is watched from the start.
                let soon = if open.is_none() { timeout_at(long_at, waiting.as_mut()).await.ok() } else { None };
                if let Some(part) = soon {
                    part
                } else {
                    let open = open.get_or_insert_with(|| register(Kind::Answer));
                    tokio::select! {
                        biased;
                        part = waiting => part,
                        _ = open.ended() => None,
                    }
                }
            }
        };
        if let Some(ending) = open.as_ref().and_then(OpenStream::over) {
            break_off(stream, framing).await;
            return End::Ended { status, ending, in_peace: framing != AnswerFraming::UntilClose };
        }
        let part = match part {
            Some(Ok(Some(part))) => part,
            Some(Ok(None)) => break,
            Some(Err(fault)) => {
                if let Some(open) = open.filter(|_| *fault.etype() == ErrorType::ReadTimedout) {
                    open.end(Ending::Idle);
                }
                break_off(stream, framing).await;
                return End::BrokenOff(status, fault.into_up());
            }
            None => return End::ClientGone(Some(status)),
        };
        if pass_on(stream, part, framing).await.is_err() {
            return End::ClientGone(Some(status));
        }
        if open.is_none() && Instant::now() > long_at {
            open = Some(register(Kind::Answer));
        }
    }
    if framing == AnswerFraming::Chunked
        && stream.write_all(&last_chunk(upstream.head(), upstream.trailers())).await.is_err()
    {
        return End::ClientGone(Some(status));
    }
    match stream.flush().await {
        Ok(()) => End::Answered { status, keep },
        Err(_) => End::ClientGone(Some(status)),
    }
}

fn record(errand: &Errand<'_>, outcome: Outcome, status: u16, error: Option<ErrorCode>) {
    let Errand { passage, timing, request_id, snapshot, .. } = errand;
    snapshot.recorder.write(&Record::forwarded(passage, timing, request_id, outcome, status, error));
}

fn failed(snapshot: &Snapshot, fault: &Error) -> Failure {
    let failure = Failure::of(fault);
    count(snapshot, failure.kind);
    failure.log(fault, &snapshot.recorder);
    failure
}

fn count(snapshot: &Snapshot, kind: &str) {
    snapshot.recorder.metrics().upstream_errors.with_label_values(&[kind]).inc();
}

/// Ends an answer in its middle. What was passed on so far is the client's; that it is not all, the end of the connection says.
async fn break_off(stream: &mut Stream, framing: AnswerFraming) {
    drop(stream.flush().await);
    if framing == AnswerFraming::UntilClose
        && let Some(breaker) = stream.as_any().downcast_ref::<Socket>().and_then(Socket::breaker)
    {
        breaker.arm();
    }
}

/// Does what there is to do with the backend, unless the client leaves first: then `None`.
///
/// The work is never begun again: a client that only sends its next request early ends the watch, not the work.
async fn attended<T>(stream: &Stream, work: impl Future<Output = T>) -> Option<T> {
    let socket = stream.as_any().downcast_ref::<Socket>()?;
    let (mut work, mut watching) = (pin!(work), true);
    loop {
        tokio::select! {
            biased;
            done = work.as_mut() => return Some(done),
            left = socket.left(), if watching => {
                if left {
                    return None;
                }
                watching = false;
            }
        }
    }
}

/// Server-sent events: they are meant to go on.
pub(super) fn is_event_stream(answer: &ResponseHeader) -> bool {
    const EVENTS: &[u8] = b"text/event-stream";
    let is = |kind: &[u8]| kind.get(..EVENTS.len()).is_some_and(|start| start.eq_ignore_ascii_case(EVENTS));
    answer.headers.get(header::CONTENT_TYPE).is_some_and(|kind| is(kind.as_bytes()))
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Exchange")
    }
}
