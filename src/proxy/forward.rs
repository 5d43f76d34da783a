//! The long way to the backend, for requests with a body: pingora carries them, this says what the backend
//! gets to see and what the client is told on failure.
//!
//! Must stay true: a request without a handover is refused; the client's headers are filtered before ours are set; ours
//! replace, never append; nothing that was sent is sent again.

use std::{
    any::Any,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, StatusCode, header};
use pingora::{
    Error, ErrorSource, ErrorType,
    http::{RequestHeader, ResponseHeader},
    modules::http::HttpModules,
    prelude::HttpPeer,
    protocols::http::ServerSession,
    proxy::{FailToProxy, ProxyHttp, Session},
};
use tokio::{
    sync::Notify,
    time::{sleep, sleep_until},
};

use super::{
    answer,
    connection_tracker::{LINGER_TIMEOUT, MIN_BODY_RATE, UnreadBody},
    exchange::is_event_stream,
    failure::{Failure, NOT_PROCESSED, is_unprocessed},
    health::Tried,
    http2::{Handed, Siblings},
    record::{Outcome, Record, Timing},
    snapshot::Snapshot,
    socket::Breaker,
    streams::{Ending, Kind, LONG, OpenStream},
    upstream::Backend,
};
use crate::{
    api::{Said, problem::Problem},
    error::ErrorCode,
    gate::AdmittedRequest,
    policy::{HttpVersion, headers::backend_may_send},
};

/// Connections on which a backend takes no more requests that are passed over for one request.
const MAX_STALE_CONNECTIONS: u8 = 4;

/// The gate's decision, on its way to pingora's hooks.
pub(super) struct Handover {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) passage: Box<AdmittedRequest>,
    /// Names of the client's headers that do not go on.
    pub(super) removed: Vec<HeaderName>,
    pub(super) timing: Timing,
    pub(super) request_id: String,
    /// The connection ends with this request.
    pub(super) last: bool,
    /// The client takes trailers (RFC 9110 section 10.1.4), on a way where they can be sent.
    pub(super) te_trailers: bool,
    /// What the client has not sent of its body yet, where that is known of the connection.
    pub(super) unread: Option<Arc<UnreadBody>>,
    /// The other requests of its connection, on HTTP/2.
    pub(super) siblings: Option<Arc<Siblings>>,
    /// A call of gRPC, on a way where it is a conversation.
    pub(super) call: bool,
    /// Where nothing but the end of the connection tells that an answer is whole: makes that end tell that it is not.
    pub(super) breaker: Option<Breaker>,
    /// What is known as a stream, once it has turned out to be one.
    pub(super) stream: OnceLock<OpenStream>,
    pub(super) progress: Progress,
}

/// pingora's hooks. What they need comes with each request.
pub(super) struct Forward;

/// What is known of one request.
#[derive(Default)]
pub(super) struct Ctx {
    handover: Option<Arc<Handover>>,
    tried: Tried,
    /// Which backend was tried last.
    backend: Option<usize>,
    /// It has begun to answer.
    answered: bool,
    /// Bytes of the body so far.
    received: u64,
    /// A part of the body, or its end, was handed on to a backend.
    body_begun: bool,
    /// Backends that have refused the stream of this request, a bit for each.
    refused: u64,
    /// Those that are not tried again: they refused it twice, or take no connections.
    spent: u64,
    /// Connections that were found to take no more requests.
    stale: u8,
    /// Set when menshen answered in the backend's stead.
    failed: Option<ErrorCode>,
}

impl Ctx {
    fn backend(&self) -> Option<&Backend> {
        Some(self.handover.as_ref()?.snapshot.upstreams.get(self.backend?))
    }

    /// Whether a request that the backend has not begun with is sent again: once more to each backend at most, and only while
    /// nothing of its body, which is not held back, has gone on.
    fn may_send_again(&mut self) -> bool {
        let refused = self.bit();
        if self.refused & refused != 0 {
            self.spent |= refused;
        }
        self.refused |= refused;
        !self.body_begun && self.begin_again()
    }

    /// Whether another connection is taken for a request that could not be sent on one which takes no more.
    fn may_take_another(&mut self) -> bool {
        self.stale += 1;
        self.stale <= MAX_STALE_CONNECTIONS && self.begin_again()
    }

    /// The backend that was tried last takes no connections, so it is not tried again.
    fn give_up_backend(&mut self) {
        self.spent |= self.bit();
    }

    /// The backend that was tried last, as a bit.
    fn bit(&self) -> u64 {
        self.backend.and_then(|at| u32::try_from(at).ok()).and_then(|at| 1_u64.checked_shl(at)).unwrap_or(0)
    }

    /// Whether there is a backend to try. Where each has been, the first may be tried again, but for those that are spent.
    fn begin_again(&mut self) -> bool {
        let backends = self.handover.as_ref().map_or(0, |handover| handover.snapshot.upstreams.len());
        if !self.tried.has_left(backends) {
            self.tried = Tried::begin_again(self.spent);
        }
        self.tried.has_left(backends)
    }

    /// The backend that was tried last has failed.
    fn blame(&self) {
        if let Some(backend) = self.backend() {
            backend.health.failed();
        }
    }
}

#[async_trait]
impl ProxyHttp for Forward {
    type CTX = Ctx;

    fn new_ctx(&self) -> Ctx {
        Ctx::default()
    }

    /// No modules: bodies pass as they are.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    fn on_connection_reuse(&self, _session: &mut Session, ctx: &mut Ctx, handed: Box<dyn Any + Send + Sync>) {
        ctx.handover = handed.downcast().ok().map(|handed| *handed);
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Ctx) -> pingora::Result<bool> {
        if ctx.handover.is_none() {
            ctx.handover = session.req_header().extensions.get::<Handed>().map(|Handed(handover)| handover.clone());
        }
        let agreed = ctx
            .handover
            .as_ref()
            .is_some_and(|handover| session.req_header().raw_path() == handover.passage.forward.target.as_bytes());
        let Some(handover) = ctx.handover.as_ref().filter(|_| agreed) else {
            // Decided on something else than what pingora read, or not at all: never forwarded.
            tracing::error!("a request reached the proxy that the gate had not decided on");
            return Error::e_explain(ErrorType::InternalError, "no decision");
        };
        let (passage, last) = (&handover.passage, handover.last);
        if last || !passage.framing.keep_alive {
            session.set_keepalive(None);
        }
        if passage.framing.version == HttpVersion::Http10 {
            // Its clients know no informational answers, and an expectation of theirs is ignored (RFC 9110 sections 15.2, 10.1.1).
            session.set_ignore_info_resp(true);
            session.req_header_mut().remove_header(&header::EXPECT);
        }
        // What `Connection` names, the gate has decided on; pingora would remove more, and refuse what the short way takes.
        if handover.siblings.is_none() {
            let connection = if passage.framing.keep_alive { "keep-alive" } else { "close" };
            session.req_header_mut().insert_header(header::CONNECTION, connection)?;
        }
        if passage.framing.expects_continue && handover.snapshot.upstreams.speak_http2() {
            // No 100 of the backend would come back on that way.
            session.req_header_mut().remove_header(&header::EXPECT);
            session.write_continue_response().await?;
        }
        let body_timeout = handover.snapshot.limits.body_timeout;
        session.set_read_timeout(Some(passage.forward.idle_timeout.unwrap_or_default().max(body_timeout)));
        session.set_write_timeout(Some(body_timeout));
        session.set_total_drain_timeout(Some(body_timeout));
        Ok(false)
    }

    async fn upstream_peer(&self, _session: &mut Session, ctx: &mut Ctx) -> pingora::Result<Box<HttpPeer>> {
        let Some(handover) = &ctx.handover else {
            return Error::e_explain(ErrorType::InternalError, "no decision");
        };
        let upstreams = &handover.snapshot.upstreams;
        let Some(at) = upstreams.pick(&mut ctx.tried) else {
            return Error::e_explain(ErrorType::InternalError, "no backend is left");
        };
        ctx.backend = Some(at);
        let mut peer = Box::new(HttpPeer::clone(&upstreams.get(at).peer()));
        if let Some(idle) = handover.passage.forward.idle_timeout {
            peer.options.read_timeout = Some(idle);
        }
        Ok(peer)
    }

    async fn upstream_request_filter(
        &self,
        _session: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Ctx,
    ) -> pingora::Result<()> {
        let Some(handover) = &ctx.handover else {
            return Error::e_explain(ErrorType::InternalError, "no decision");
        };
        let passage = &handover.passage;
        for name in &handover.removed {
            request.remove_header(name);
        }
        let snapshot = &handover.snapshot;
        let Some(backend) = ctx.backend.map(|at| snapshot.upstreams.get(at)) else {
            return Error::e_explain(ErrorType::InternalError, "no backend");
        };
        if handover.te_trailers && snapshot.upstreams.speak_http2() {
            request.insert_header(header::TE, "trailers")?;
        }
        snapshot.outgoing.add(request, passage, &handover.request_id, backend, handover.timing.at)
    }

    /// A body may be as long as it likes, not as slow: one byte before each timeout would hold a place for ever.
    async fn request_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut Ctx,
    ) -> pingora::Result<()> {
        let Some(handover) = &ctx.handover else { return Ok(()) };
        handover.progress.moved(&handover.timing);
        ctx.body_begun = true;
        if end {
            handover.progress.received.store(true, Ordering::Relaxed);
            handover.forget_unread();
            // pingora writes an empty last part as a chunk of size 0, and then the last chunk: two ends of one message, of which
            // the backend takes the second for the beginning of the next request (RFC 9112 section 7.1).
            if body.as_ref().is_some_and(Bytes::is_empty) {
                *body = None;
            }
        }
        // Either side of a conversation may be silent for long.
        if handover.call {
            return Ok(());
        }
        ctx.received = ctx.received.saturating_add(body.as_ref().map_or(0, |part| part.len() as u64));
        let allowed = handover.snapshot.limits.body_timeout + Duration::from_secs(ctx.received / MIN_BODY_RATE);
        if handover.timing.start.elapsed() > allowed {
            return Err(Error::explain(ErrorType::ReadTimedout, "the body comes too slowly").into_down());
        }
        Ok(())
    }

    /// What only menshen may say, the backend may not.
    async fn upstream_response_filter(
        &self,
        _session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Ctx,
    ) -> pingora::Result<()> {
        if response.status == StatusCode::SWITCHING_PROTOCOLS {
            // A WebSocket goes the short way, so nobody asked; what follows would be taken for the next answer.
            return Err(Error::explain(ErrorType::InvalidHTTPHeader, "an upgrade nobody asked for").into_up());
        }
        if let Some(backend) = ctx.backend() {
            backend.health.answered();
        }
        ctx.answered = true;
        if let Some(handover) = &ctx.handover {
            handover.progress.status.store(response.status.as_u16(), Ordering::Relaxed);
            if !response.status.is_informational() {
                handover.progress.begun.notify_one();
            }
            let empty = matches!(response.status.as_u16(), 204 | 304) || handover.passage.forward.method == Method::HEAD;
            if empty || response.headers.get(header::CONTENT_LENGTH).is_some_and(|length| length == "0") {
                handover.progress.answered();
            }
        }
        if let Some(handover) = ctx.handover.as_ref().filter(|_| is_event_stream(response)) {
            handover.opened(Kind::Events);
        }
        let ours: Vec<_> = response.headers.keys().filter(|name| !backend_may_send(name.as_str())).cloned().collect();
        for name in &ours {
            response.remove_header(name);
        }
        response.remove_header(&header::PROXY_AUTHENTICATE);
        if response.status.is_informational() || response.status == StatusCode::NO_CONTENT {
            // They have no body, so nothing tells its length (RFC 9110 section 8.6, RFC 9112 section 6.1).
            response.remove_header(&header::CONTENT_LENGTH);
            response.remove_header(&header::TRANSFER_ENCODING);
        }
        Ok(())
    }

    /// A client of HTTP/1.0 reads no chunks (RFC 9112 section 6.1): the end of the connection is the end of such an answer.
    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Ctx,
    ) -> pingora::Result<()> {
        let old = ctx.handover.as_ref().is_some_and(|handover| handover.passage.framing.version == HttpVersion::Http10);
        if old && response.remove_header(&header::TRANSFER_ENCODING).is_some() {
            session.set_keepalive(None);
        }
        Ok(())
    }

    /// What only menshen may say is no trailer of the backend's either.
    async fn response_trailer_filter(
        &self,
        _session: &mut Session,
        trailers: &mut HeaderMap,
        _ctx: &mut Ctx,
    ) -> pingora::Result<Option<Bytes>> {
        let ours: Vec<_> = trailers.keys().filter(|name| !backend_may_send(name.as_str())).cloned().collect();
        for name in &ours {
            trailers.remove(name);
        }
        Ok(None)
    }

    /// What comes is never held back.
    fn response_body_filter(
        &self,
        _session: &mut Session,
        _body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut Ctx,
    ) -> pingora::Result<Option<Duration>> {
        if let Some(handover) = &ctx.handover {
            handover.progress.moved(&handover.timing);
            if end {
                handover.progress.answered();
            }
        }
        Ok(None)
    }

    /// Another backend is tried only where no connection came about, so nothing can have been sent.
    fn fail_to_connect(&self, _session: &mut Session, peer: &HttpPeer, ctx: &mut Ctx, mut fault: Box<Error>) -> Box<Error> {
        // A connection on which the backend takes no more requests says nothing against the backend.
        if is_unprocessed(&fault) {
            let again = ctx.may_take_another();
            settle_unprocessed(&mut fault, again);
            return fault;
        }
        let (Some(handover), Some(at)) = (&ctx.handover, ctx.backend) else { return fault };
        let upstreams = &handover.snapshot.upstreams;
        let has_failed = upstreams.connection_failed(at, peer, &fault, &mut ctx.tried);
        if has_failed {
            ctx.give_up_backend();
        }
        fault.set_retry(ctx.begin_again());
        fault
    }

    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        _session: &mut Session,
        mut fault: Box<Error>,
        ctx: &mut Ctx,
        _reused: bool,
    ) -> Box<Error> {
        fault.set_retry(false);
        if *fault.esource() == ErrorSource::Upstream && !ctx.answered && is_unprocessed(&fault) {
            let again = ctx.may_send_again();
            settle_unprocessed(&mut fault, again);
            return fault;
        }
        // The backend waits for a body that does not come.
        if *fault.esource() == ErrorSource::Upstream
            && *fault.etype() == ErrorType::ReadTimedout
            && ctx.handover.as_ref().is_some_and(|handover| handover.siblings.is_some() && !handover.progress.is_received())
        {
            return fault.into_down();
        }
        if *fault.esource() == ErrorSource::Upstream && !ctx.answered {
            ctx.blame();
        }
        fault
    }

    async fn fail_to_proxy(&self, session: &mut Session, fault: &Error, ctx: &mut Ctx) -> FailToProxy {
        let gone = FailToProxy { error_code: 0, can_reuse_downstream: false };
        // Nothing that was not handed over is forwarded, so nothing of the kind can fail.
        let Some(handover) = ctx.handover.as_deref() else { return gone };
        let Handover { snapshot, passage, request_id, siblings, .. } = handover;
        let failure = Failure::of(fault);
        snapshot.recorder.metrics().upstream_errors.with_label_values(&[failure.kind]).inc();
        let Some(code) = failure.code else {
            if let Some(siblings) = siblings {
                siblings.abandoned();
            }
            return gone;
        };
        ctx.failed = Some(code);
        failure.log(fault, &snapshot.recorder);
        let begun = session.response_written().is_some_and(|sent| !sent.status.is_informational() || sent.status == 101);
        if failure.kind == "client_slow" {
            handover.forget_unread();
        }
        if begun {
            handover.break_off();
            return gone;
        }
        let problem = Problem::new(code);
        let said = snapshot.voices.say(passage.path(), &problem, request_id).with(passage.cors.as_ref());
        let status = said.status.as_u16();
        // The client may be gone by now; there is nobody else to tell.
        drop(tell(session, &problem, said, request_id).await);
        FailToProxy { error_code: status, can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, _fault: Option<&Error>, ctx: &mut Ctx) {
        let Some(handover) = &ctx.handover else { return };
        let outcome = if ctx.failed.is_some() { Outcome::Failed } else { Outcome::Forwarded };
        let status = session.response_written().map_or(0, |sent| sent.status.as_u16());
        handover.record(outcome, status, ctx.failed);
    }

    /// pingora's own lines may quote what clients sent; ours say what happened.
    fn suppress_error_log(&self, _session: &Session, _ctx: &Ctx, _fault: &Error) -> bool {
        true
    }
}

/// A request that the backend has not begun with: sent again, or refused as one that the client may send again.
fn settle_unprocessed(fault: &mut Error, again: bool) {
    fault.set_retry(again);
    if !again {
        fault.etype = NOT_PROCESSED;
    }
}

/// How far a request has come on HTTP/2, where the library waits for a body without a deadline.
#[derive(Default)]
pub(super) struct Progress {
    /// Milliseconds from the start until bytes last came, of either side.
    moved: AtomicU64,
    /// The body is whole.
    received: AtomicBool,
    /// The backend's answer is whole.
    answered: AtomicBool,
    /// Of the answer; 0 before.
    status: AtomicU16,
    changed: Notify,
    /// The answer has begun.
    begun: Notify,
}

impl Progress {
    /// Of a request whose body may be whole from the start.
    pub(super) fn new(received: bool) -> Self {
        Self { received: received.into(), ..Self::default() }
    }

    fn is_received(&self) -> bool {
        self.received.load(Ordering::Relaxed)
    }

    fn moved(&self, timing: &Timing) {
        let millis = u64::try_from(timing.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved.store(millis, Ordering::Relaxed);
    }

    fn answered(&self) {
        self.answered.store(true, Ordering::Relaxed);
        self.changed.notify_one();
    }
}

impl Handover {
    /// Resolves when the rest of a body on HTTP/2 is no longer waited for: nothing came for too long, or the answer is over.
    pub(super) async fn stalled(&self) {
        let progress = &self.progress;
        let patience = self.passage.forward.idle_timeout.unwrap_or_default().max(self.snapshot.limits.body_timeout);
        loop {
            if self.siblings.is_none() || progress.is_received() {
                return std::future::pending().await;
            }
            if progress.answered.load(Ordering::Relaxed) {
                sleep(LINGER_TIMEOUT).await;
                if !progress.is_received() {
                    return;
                }
                continue;
            }
            let due = self.timing.start + Duration::from_millis(progress.moved.load(Ordering::Relaxed)) + patience;
            if due <= Instant::now() {
                return;
            }
            tokio::select! {
                () = sleep_until(due.into()) => {}
                () = progress.changed.notified() => {}
            }
        }
    }

    /// The connection ends at once: nothing that the client still sends is read on.
    fn forget_unread(&self) {
        self.unread.iter().for_each(|unread| unread.set(0));
    }

    /// Records a request whose body was no longer waited for. That is the client's doing, never the backend's.
    pub(super) fn record_stalled(&self) {
        let status = self.progress.status.load(Ordering::Relaxed);
        if self.progress.answered.load(Ordering::Relaxed) {
            return self.record(Outcome::Forwarded, status, None);
        }
        self.snapshot.recorder.metrics().upstream_errors.with_label_values(&["client_slow"]).inc();
        self.record(Outcome::Failed, status, Some(ErrorCode::RequestMalformed));
    }

    /// Makes a stream of what goes on for long, however quiet it is: an answer from its head on, a call of gRPC from its
    /// beginning, since its client can be the one who talks. It never resolves: it is polled beside the work.
    pub(super) async fn lengthen(&self) {
        if self.call {
            sleep_until((self.timing.start + LONG).into()).await;
            self.opened(Kind::Call);
        } else {
            self.progress.begun.notified().await;
            sleep(LONG).await;
            self.opened(Kind::Answer);
        }
        std::future::pending::<()>().await;
    }

    /// It has turned out to be a stream.
    fn opened(&self, kind: Kind) {
        if self.stream.get().is_none() {
            let open = self.snapshot.streams.register(kind, self.passage.identity.as_ref());
            // Nobody else sets it: one request is one task.
            drop(self.stream.set(open));
        }
    }

    /// The answer is not whole, and its end must not say that it is.
    pub(super) fn break_off(&self) {
        self.forget_unread();
        self.breaker.iter().for_each(Breaker::arm);
    }

    /// Records a request that was ended while it was under way, when pingora no longer has it.
    pub(super) fn record_ended(&self, ending: Ending) {
        self.record(Outcome::Forwarded, self.progress.status.load(Ordering::Relaxed), ending.code());
    }

    fn record(&self, outcome: Outcome, status: u16, error: Option<ErrorCode>) {
        let record = Record::forwarded(&self.passage, &self.timing, &self.request_id, outcome, status, error);
        self.snapshot.recorder.write(&record);
    }
}

/// Writes a refusal through pingora and ends the connection.
async fn tell(session: &mut Session, problem: &Problem, said: Said, request_id: &str) -> pingora::Result<()> {
    if let ServerSession::H2(session) = &mut *session.downstream_session {
        return answer::on_http2(session, problem, said, request_id).await;
    }
    let body = if session.req_header().method == Method::HEAD { Bytes::new() } else { said.body.clone().into() };
    let head = answer::head(problem, said, request_id)?;
    session.set_keepalive(None);
    session.write_response_header(Box::new(head), body.is_empty()).await?;
    if !body.is_empty() {
        session.write_response_body(Some(body), true).await?;
    }
    Ok(())
}
