//! One client's connection: request after request, each read under a deadline, decided by the gate, and answered by whoever
//! should.
//!
//! Must stay true: what goes on is read from the very bytes that the gate decided on; a connection whose framing is in doubt
//! ends; nobody holds a place here by sending slowly or by reading nothing.

use std::{
    any::Any,
    future::poll_fn,
    net::IpAddr,
    pin::{Pin, pin},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use bytes::BytesMut;
use http::{HeaderName, HeaderValue, StatusCode};
use pingora::{
    apps::HttpServerApp,
    protocols::{Stream, http::ServerSession},
    proxy::HttpProxy,
};
use prometheus::IntGauge;
use tokio::{
    io::AsyncReadExt,
    sync::{Semaphore, watch},
    time::{Sleep, sleep_until, timeout},
};

use super::{
    answer::{self, Afterwards},
    connection_tracker::{ConnectionPermit, ConnectionTracker, UnreadBody},
    exchange::{Errand, Exchange},
    forward::{Forward, Handover, Progress},
    record::{Outcome, Record, RuleIndex, Timing},
    snapshot::{Limits, Snapshot},
    socket::Socket,
    tls::Tls,
    verify::{self, Fields},
};
use crate::{
    api::problem::Problem,
    clock::Clock,
    error::ErrorCode,
    gate::{AdmittedRequest, Decision, MessageFraming, Rejection},
    metrics::Metrics,
    policy::{BodyLength, HttpVersion, head},
};

/// What is read at first; grows only for longer heads.
const FIRST_READ: usize = 2048;
/// How long a connection on which nothing was asked yet is kept open after the stop: more than a round trip of a phone.
const FIRST_WORD: Duration = Duration::from_millis(500);
/// Most connections over the limit that are told so at the same time.
pub(super) const TURNED_AWAY_AT_ONCE: usize = 1024;

/// Everything that connections share.
pub(super) struct Door {
    /// What the next request is handled by.
    pub(super) current: Arc<ArcSwap<Snapshot>>,
    pub(super) exchange: Exchange,
    pub(super) proxy: Arc<HttpProxy<Forward>>,
    pub(super) metrics: Metrics,
    pub(super) clock: Clock,
    pub(super) tls: Option<Arc<Tls>>,
    /// `true`: answers say `Connection: close`, so that clients move on.
    pub(super) closing: watch::Receiver<bool>,
    /// `true`: connections that wait for a request end.
    pub(super) stop: watch::Receiver<bool>,
    pub(super) connections: Arc<ConnectionTracker>,
    pub(super) turned_away: Arc<Semaphore>,
}

/// A request on its way; counted until dropped, whatever happens to it.
pub(super) struct InFlight<'a>(&'a IntGauge);

impl<'a> InFlight<'a> {
    /// Counts one more, unless that would be more than `most`.
    pub(super) fn new(metrics: &'a Metrics, most: i64) -> Option<Self> {
        metrics.in_flight.inc();
        let counted = Self(&metrics.in_flight);
        // Whoever comes at the same moment is counted by then, so there are never more; both may be one too many.
        if counted.0.get() <= most {
            return Some(counted);
        }
        metrics.requests_overloaded.inc();
        None
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Why no head was read.
enum NoHead {
    /// The client has gone, has been silent too long between requests, or menshen is stopping.
    Over,
    /// The head is late or too long; say so and end.
    Refuse(&'static str),
}

/// A decided head.
struct Decided {
    decision: Decision,
    /// When it was there.
    timing: Timing,
    /// What decided, and goes on with it.
    snapshot: Arc<Snapshot>,
}

impl Door {
    /// A permit for one more connection, or `None` when there are too many.
    pub(super) fn admit(&self) -> Option<ConnectionPermit> {
        let permit = self.connections.admit(self.limits().max_connections);
        if permit.is_none() {
            self.metrics.connections_refused.inc();
        }
        permit
    }

    /// What a connection over the limit is told.
    pub(super) fn overloaded(&self) -> Vec<u8> {
        let (snapshot, problem) = (self.current.load(), Problem::new(ErrorCode::Overloaded));
        let request_id = snapshot.recorder.request_id();
        let said = snapshot.voices.say("", &problem, &request_id);
        answer::refusal(&problem, &said, &request_id, false, false)
    }

    /// What the config of the moment allows.
    pub(super) fn limits(&self) -> Limits {
        self.current.load().limits
    }

    /// Serves a connection to its end. `peer`: `None` on a Unix socket.
    pub(super) async fn serve(&self, socket: Socket, peer: Option<IpAddr>) {
        let secure = socket.is_tls();
        let mut stream: Stream = Box::new(socket);
        let mut bytes = BytesMut::new();
        let mut stop = self.stop.clone();
        let is_new = AtomicBool::new(true);
        let mut stopped = pin!(async {
            // An error says that the server is gone, which is a stop too.
            drop(stop.wait_for(|stop| *stop).await);
            // Who has just come is about to ask: its request may be on its way already.
            if is_new.load(Ordering::Relaxed) {
                tokio::time::sleep(FIRST_WORD).await;
            }
        });
        let mut timer = pin!(sleep_until(tokio::time::Instant::now()));
        let mut limits = self.limits();
        let mut patience = limits.header_timeout;
        let mut served = 0;
        loop {
            let head = self.head(&mut stream, &mut bytes, peer, limits, patience, timer.as_mut(), stopped.as_mut()).await;
            served += 1;
            is_new.store(false, Ordering::Relaxed);
            let last = served >= limits.keepalive_requests || *self.closing.borrow();
            let next = match head {
                Err(NoHead::Refuse(detail)) => {
                    self.give_up(&mut stream, &mut bytes, peer, detail).await;
                    None
                }
                Err(NoHead::Over) => None,
                Ok(Decided { decision, timing, snapshot }) => match decision {
                    Decision::Reject(refused) => {
                        refuse(&snapshot, &mut stream, &mut bytes, &refused, timing, last).await.then_some(stream)
                    }
                    Decision::AllowForwardAuth(allowed) => {
                        let (status, fields) = verify::yes(&snapshot, &allowed, timing.at);
                        let reply = Reply { status, fields, outcome: Outcome::Verified };
                        let passage = &allowed.request;
                        reply.give(&snapshot, &mut stream, &mut bytes, passage, timing, last).await.then_some(stream)
                    }
                    Decision::Preflight(passage) => {
                        let fields = passage.cors.iter().flat_map(|fields| fields.iter().cloned()).collect();
                        let reply = Reply { status: StatusCode::NO_CONTENT, fields, outcome: Outcome::Preflight };
                        reply.give(&snapshot, &mut stream, &mut bytes, &passage, timing, last).await.then_some(stream)
                    }
                    Decision::AuthApi(passage) => match InFlight::new(&self.metrics, snapshot.limits.max_auth_requests) {
                        Some(_in_flight) => {
                            let (request, rest) = request_bytes(bytes, &passage);
                            bytes = rest;
                            snapshot.bridge.answer(stream, request, *passage, timing, last).await
                        }
                        None => turn_away(&snapshot, stream, &mut bytes, &passage, timing, last).await,
                    },
                    Decision::Forward(mut passage) => match InFlight::new(&self.metrics, snapshot.limits.max_requests) {
                        Some(_in_flight) => {
                            passage.origin.mark_tls(secure);
                            let (request, rest) = request_bytes(bytes, &passage);
                            bytes = rest;
                            self.forward(snapshot, stream, request, passage, timing, last).await
                        }
                        None => turn_away(&snapshot, stream, &mut bytes, &passage, timing, last).await,
                    },
                },
            };
            match next {
                Some(same) if !last => {
                    // Its message has ended, whichever task read it.
                    announce(&same, None, 0);
                    stream = same;
                }
                Some(_) | None => return,
            }
            limits = self.limits();
            patience = limits.keepalive_timeout;
        }
    }

    /// Reads until a head is there and decided. `patience` is for its first byte; from there the header timeout runs, however
    /// the bytes dribble in.
    #[expect(clippy::too_many_arguments, reason = "the state of the one loop that calls it")]
    async fn head(
        &self,
        stream: &mut Stream,
        bytes: &mut BytesMut,
        peer: Option<IpAddr>,
        limits: Limits,
        patience: Duration,
        mut timer: Pin<&mut Sleep>,
        mut stopped: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<Decided, NoHead> {
        let waiting_since = tokio::time::Instant::now();
        let mut until = waiting_since + if bytes.is_empty() { patience } else { limits.header_timeout };
        let mut looked_at = 0;
        loop {
            if bytes.len() > looked_at {
                // What begins like no method (TLS, for one) never becomes a head, so it is refused before it is whole.
                let hopeless = looked_at == 0 && !bytes[0].is_ascii_alphabetic();
                if hopeless || head::may_be_complete(bytes, looked_at) {
                    let snapshot = self.current.load_full();
                    let (now, start) = (self.clock.now(), Instant::now());
                    let decision = snapshot.gate.decide_http1(bytes, peer, now);
                    let timing = snapshot.recorder.decided(now, start);
                    if decision.as_ref().and_then(Decision::head_len).is_some_and(|length| length > limits.max_header_bytes)
                    {
                        return Err(NoHead::Refuse("The request head is too long."));
                    }
                    if let Some(decision) = decision {
                        announce(stream, decision.framing(), bytes.len());
                        return Ok(Decided { decision, timing, snapshot });
                    }
                }
                if bytes.len() > limits.max_header_bytes {
                    return Err(NoHead::Refuse("The request head is too long."));
                }
                looked_at = bytes.len();
            }
            let first = bytes.is_empty();
            let late = if first { NoHead::Over } else { NoHead::Refuse("The request head did not arrive in time.") };
            let Some(socket) = stream.as_any().downcast_ref::<Socket>() else { return Err(NoHead::Over) };
            match in_time(socket.readable(), until, timer.as_mut(), stopped.as_mut(), first).await {
                Some(Ok(())) => {}
                Some(Err(_)) | None => return Err(late),
            }
            bytes.reserve(FIRST_READ);
            // There at once, but for a TLS record that has not come whole.
            match in_time(stream.read_buf(bytes), until, timer.as_mut(), stopped.as_mut(), first).await {
                None => return Err(late),
                Some(Ok(0) | Err(_)) => return Err(NoHead::Over),
                Some(Ok(_)) if first => until = tokio::time::Instant::now() + limits.header_timeout,
                Some(Ok(_)) => {}
            }
        }
    }

    /// Answers a head that never became one, and ends the connection.
    async fn give_up(&self, stream: &mut Stream, bytes: &mut BytesMut, peer: Option<IpAddr>, detail: &'static str) {
        let snapshot = self.current.load_full();
        let refused = snapshot.gate.malformed(detail, peer, head::raw_values(bytes, "x-request-id"));
        let timing = Timing { at: self.clock.now(), start: Instant::now(), gate_us: 0 };
        refuse(&snapshot, stream, bytes, &refused, timing, true).await;
    }

    /// Sends a request to the backend. The connection comes back if it can go on.
    async fn forward(
        &self,
        snapshot: Arc<Snapshot>,
        stream: Stream,
        request: BytesMut,
        passage: Box<AdmittedRequest>,
        timing: Timing,
        last: bool,
    ) -> Option<Stream> {
        let request_id = passage.log.request_id.clone().unwrap_or_else(|| snapshot.recorder.request_id());
        if Exchange::takes(&passage) && !snapshot.upstreams.speak_http2() {
            let head = request.freeze();
            let errand =
                Errand { snapshot: &snapshot, head, passage: &passage, request_id: &request_id, timing: &timing, last };
            return self.exchange.carry(stream, errand).await;
        }
        let ends_with_connection = passage.framing.version == HttpVersion::Http10;
        let socket = stream.as_any().downcast_ref::<Socket>();
        let breaker = socket.filter(|_| ends_with_connection).and_then(Socket::breaker);
        let unread = socket.map(|socket| socket.unread.clone());
        let mut session = ServerSession::new_http1(stream);
        let removed = passage.forward.removed_headers.iter();
        let removed = removed.filter_map(|range| HeaderName::from_bytes(&request[range.name()]).ok()).collect();
        session.set_pipelined_prefix(request);
        let handover = Handover {
            snapshot,
            passage,
            removed,
            timing,
            request_id,
            last,
            te_trailers: false,
            unread,
            siblings: None,
            call: false,
            breaker,
            stream: OnceLock::new(),
            progress: Progress::default(),
        };
        let handover = Arc::new(handover);
        let handed: Box<dyn Any + Send + Sync> = Box::new(handover.clone());
        session.set_connection_user_context(Some(handed));
        self.long_way(session, &handover).await
    }

    /// Lets pingora carry a request, unless it turns out to be a stream that is ended. The connection comes back if it can
    /// go on, and is the request's own.
    pub(super) async fn long_way(&self, session: ServerSession, handover: &Handover) -> Option<Stream> {
        let carried = tokio::select! {
            biased;
            carried = self.proxy.process_new_http(session, &self.closing) => carried,
            () = handover.lengthen() => return None,
            // Looked at after each step of the above, which is where it turns out to be a stream. It breaks off in here: the
            // connection has gone by the time that the arm runs.
            ending = poll_fn(|cx| {
                let ended = handover.stream.get().map_or(Poll::Pending, |open| open.poll_ended(cx));
                ended.map(|ending| {
                    handover.break_off();
                    ending
                })
            }) => {
                handover.record_ended(ending);
                return None;
            }
            () = handover.stalled() => {
                handover.record_stalled();
                return None;
            }
        };
        let (stream, _settings) = carried?.consume();
        Some(stream)
    }
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door")
            .field("current", &self.current)
            .field("connections", &self.connections)
            .finish_non_exhaustive()
    }
}

/// Tells a client that there are too many requests. The connection comes back if it can go on.
async fn turn_away(
    snapshot: &Snapshot,
    mut stream: Stream,
    bytes: &mut BytesMut,
    passage: &AdmittedRequest,
    timing: Timing,
    last: bool,
) -> Option<Stream> {
    refuse(snapshot, &mut stream, bytes, &one_too_many(passage), timing, last).await.then_some(stream)
}

/// The refusal of a request that could go on but for all the others.
pub(super) fn one_too_many(passage: &AdmittedRequest) -> Rejection {
    Rejection {
        code: ErrorCode::Overloaded,
        detail: None,
        rule: passage.log.rule,
        method: passage.forward.method.as_str().to_owned(),
        path: passage.path().to_owned(),
        origin: passage.origin,
        framing: Some(passage.framing),
        identity: passage.identity.clone(),
        cors: passage.cors.clone(),
        forward_auth: false,
        request_id: passage.log.request_id.clone(),
    }
}

/// What a refused client is told.
pub(super) fn problem(snapshot: &Snapshot, refused: &Rejection) -> Problem {
    let mut problem = Problem::new(refused.code);
    if refused.code == ErrorCode::MethodNotAllowed {
        problem.allow = Some(snapshot.voices.allow(&refused.path));
    }
    match refused.detail {
        Some(detail) => problem.detail(detail),
        None => problem,
    }
}

/// Answers a refusal. `true`: the connection goes on.
async fn refuse(
    snapshot: &Snapshot,
    stream: &mut Stream,
    bytes: &mut BytesMut,
    refused: &Rejection,
    timing: Timing,
    last: bool,
) -> bool {
    let problem = problem(snapshot, refused);
    let extent = refused.framing.as_ref();
    let keep = !last && answer::can_keep(extent);
    let request_id = refused.request_id.clone().unwrap_or_else(|| snapshot.recorder.request_id());
    let (status, text) = if refused.forward_auth {
        let (status, fields) = verify::no(&problem, &request_id);
        (status, answer::bodiless(status, &fields, keep))
    } else {
        let said = snapshot.voices.say(&refused.path, &problem, &request_id).with(refused.cors.as_ref());
        (said.status, answer::refusal(&problem, &said, &request_id, refused.method == "HEAD", keep))
    };
    let written = timeout(snapshot.limits.body_timeout, answer::write(stream, &text, bytes, extent, keep)).await;
    snapshot.recorder.write(&Record {
        timing: &timing,
        rule: refused.rule.map_or(RuleIndex::None, RuleIndex::Rule),
        outcome: Outcome::Refused,
        request_id: &request_id,
        method: &refused.method,
        path: &refused.path,
        status: status.as_u16(),
        error: Some(refused.code),
        would: None,
        user: refused.identity.as_ref().map(|identity| identity.claims.sub().as_str()),
        client_ip: refused.origin.ip,
    });
    written == Ok(Afterwards::Open)
}

/// An answer of the gate that is no refusal and has no body.
struct Reply {
    status: StatusCode,
    fields: Fields,
    outcome: Outcome,
}

impl Reply {
    /// Writes it. `true`: the connection goes on.
    async fn give(
        mut self,
        snapshot: &Snapshot,
        stream: &mut Stream,
        bytes: &mut BytesMut,
        passage: &AdmittedRequest,
        timing: Timing,
        last: bool,
    ) -> bool {
        let extent = Some(&passage.framing);
        let keep = !last && answer::can_keep(extent);
        let request_id = passage.log.request_id.clone().unwrap_or_else(|| snapshot.recorder.request_id());
        self.fields.extend(HeaderValue::from_str(&request_id).ok().map(|id| (HeaderName::from_static("x-request-id"), id)));
        let text = answer::bodiless(self.status, &self.fields, keep);
        let written = timeout(snapshot.limits.body_timeout, answer::write(stream, &text, bytes, extent, keep)).await;
        snapshot.recorder.write(&Record {
            timing: &timing,
            rule: passage.log.rule.map_or(RuleIndex::AuthApi, RuleIndex::Rule),
            outcome: self.outcome,
            request_id: &request_id,
            method: passage.forward.method.as_str(),
            path: passage.path(),
            status: self.status.as_u16(),
            error: None,
            would: passage.log.dry_run,
            user: passage.identity.as_ref().map(|identity| identity.claims.sub().as_str()),
            client_ip: passage.origin.ip,
        });
        written == Ok(Afterwards::Open)
    }
}

/// What comes of the work. `None`: the time is over, or menshen stops and no request has begun.
async fn in_time<T>(
    work: impl Future<Output = T>,
    until: tokio::time::Instant,
    mut timer: Pin<&mut Sleep>,
    mut stopped: Pin<&mut impl Future<Output = ()>>,
    idle: bool,
) -> Option<T> {
    // The timer is moved only when it goes off early or stands too late: on a busy connection that is almost never.
    if timer.deadline() > until {
        timer.as_mut().reset(until);
    }
    let mut work = pin!(work);
    loop {
        tokio::select! {
            biased;
            done = work.as_mut() => return Some(done),
            () = timer.as_mut() => {
                if tokio::time::Instant::now() >= until {
                    return None;
                }
                timer.as_mut().reset(until);
            }
            () = stopped.as_mut(), if idle => return None,
        }
    }
}

/// Notes what the client has announced of a body, of which `there` bytes are read with its head.
fn announce(stream: &Stream, extent: Option<&MessageFraming>, there: usize) {
    let Some(socket) = stream.as_any().downcast_ref::<Socket>() else { return };
    socket.unread.set(match extent {
        // Where a message ends that cannot be read, its client has not said.
        None => 0,
        Some(extent) => match extent.body {
            BodyLength::None => 0,
            BodyLength::Length(length) => length.saturating_sub(there.saturating_sub(extent.head_len) as u64),
            BodyLength::Unknown => UnreadBody::UNKNOWN,
        },
    });
}

/// Splits off the bytes of this request; what follows belongs to the next.
fn request_bytes(mut bytes: BytesMut, passage: &AdmittedRequest) -> (BytesMut, BytesMut) {
    let extent = &passage.framing;
    let end = match extent.body {
        BodyLength::None => extent.head_len,
        BodyLength::Unknown => bytes.len(),
        BodyLength::Length(length) => {
            usize::try_from(length).unwrap_or(usize::MAX).saturating_add(extent.head_len).min(bytes.len())
        }
    };
    if end >= bytes.len() {
        return (bytes, BytesMut::new());
    }
    let rest = bytes.split_off(end);
    (bytes, rest)
}
