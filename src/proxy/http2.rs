//! HTTP/2 of clients: one connection, many streams, each a request like any other.
//!
//! The h2 library speaks the protocol and bounds what a client can make it hold: open streams, the bytes of a header list and
//! its CONTINUATION frames, streams that are reset before anybody has looked at them, its own resets for malformed frames,
//! empty frames, and windows of bodies. Here are the bounds of what it lets through: malformed and abandoned requests, idle
//! connections, and the end of a connection, which loses no request (GOAWAY, RFC 9113 section 6.8).
//!
//! Must stay true: what is decided on and forwarded is the one copy of the head in [`Http2Head`]; trailers of a client go nowhere.

use std::{
    net::IpAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, Version, request::Parts};
use pingora::{
    http::{RequestHeader, ResponseHeader},
    protocols::{
        Digest, Stream,
        http::{
            ServerSession,
            v2::server::{H2Accept, H2Options, HttpSession, handshake},
        },
    },
};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

use super::{
    answer,
    bridge::Client,
    connection::{Door, InFlight, one_too_many, problem},
    forward::{Handover, Progress},
    grpc,
    record::{Outcome, Record, RuleIndex, Timing},
    snapshot::{Limits, Snapshot},
    socket::Socket,
    verify::{self, Fields},
};
use crate::{
    error::ErrorCode,
    gate::{AdmittedRequest, Decision, Rejection},
    policy::Http2Head,
    types::Timestamp,
};

/// What every HTTP/2 connection begins with (RFC 9113 section 3.4).
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long a client may take to leave, once it was told to and has no request open.
const LINGER: Duration = Duration::from_secs(2);
/// Malformed requests on one connection before it ends. They cost work and come from nobody honest.
const MOST_MALFORMED: u32 = 32;
/// Requests on one connection that the client gave up, before it ends, if they are most of all. Each costs a connection to the
/// backend (CVE-2023-44487 in small).
const MOST_ABANDONED: u32 = 100;
/// Bytes of a body that one stream may send before they are taken from it (RFC 9113 section 5.2). A connection may send as many for
/// each of its streams, so that a body which its backend does not take holds up no other.
const STREAM_WINDOW: u32 = 128 * 1024;
/// Largest window that there is (RFC 9113 section 6.9.1).
const MAX_WINDOW: u32 = (1 << 31) - 1;
/// Bytes of an answer that wait in memory for one stream.
const SEND_BUFFER: usize = 64 * 1024;

/// The streams of one connection.
#[derive(Debug, Default)]
pub(super) struct Siblings {
    open: AtomicUsize,
    emptied: Notify,
    abandoned: AtomicU32,
}

impl Siblings {
    /// The client has given up a request.
    pub(super) fn abandoned(&self) {
        self.abandoned.fetch_add(1, Ordering::Relaxed);
    }

    /// Resolves when no stream has been open for `patience`.
    async fn idle(&self, patience: Duration) {
        while self.open.load(Ordering::Acquire) > 0 {
            self.emptied.notified().await;
        }
        sleep(patience).await;
    }
}

/// One stream; counted until dropped.
struct Open(Arc<Siblings>);

impl Open {
    fn new(streams: &Arc<Siblings>) -> Self {
        streams.open.fetch_add(1, Ordering::AcqRel);
        Self(streams.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if self.0.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.emptied.notify_one();
        }
    }
}

/// The decision on a request, on its way to pingora's hooks in the request's own extensions.
#[derive(Clone)]
pub(super) struct Handed(pub(super) Arc<Handover>);

/// What comes next on a connection.
#[expect(clippy::large_enum_variant, reason = "lives on the stack for one turn of a loop")]
enum Next {
    Stream(pingora::Result<Option<H2Accept>>),
    /// Menshen stops, or wants clients elsewhere.
    Leave,
    /// No request for longer than a client may wait.
    Idle,
}

/// Serves a connection to its end. `peer`: `None` on a Unix socket.
pub(super) async fn serve(door: Arc<Door>, socket: Socket, peer: Option<IpAddr>) {
    let limits = door.limits();
    let secure = socket.is_tls();
    let stream: Stream = Box::new(socket);
    let Ok(Ok(mut connection)) = timeout(limits.header_timeout, handshake(stream, Some(options(&limits)))).await else {
        return;
    };
    let (digest, streams) = (Arc::new(Digest::default()), Arc::new(Siblings::default()));
    let (mut closing, mut stop) = (door.closing.clone(), door.stop.clone());
    let (mut served, mut malformed) = (0_u32, 0_u32);
    // How many had been served when the client was told to leave.
    let mut left_at = None;
    let mut patience = limits.header_timeout;
    loop {
        // An error of the watches says that the server is gone, which is a stop too.
        let next = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop), if left_at.is_none() => Next::Leave,
            // Who comes while we want to go is served once: nobody is sent away unheard.
            _ = closing.wait_for(|closing| *closing), if left_at.is_none() && served > 0 => Next::Leave,
            accepted = HttpSession::from_h2_conn(&mut connection, digest.clone()) => Next::Stream(accepted),
            () = streams.idle(patience) => Next::Idle,
        };
        let mut leave = false;
        match next {
            Next::Stream(Err(_) | Ok(None)) => return,
            Next::Stream(Ok(Some(H2Accept::Rejected))) => {
                malformed += 1;
                rejected(&door, peer);
            }
            Next::Stream(Ok(Some(H2Accept::Session(session)))) => {
                served = served.saturating_add(1);
                leave = served >= limits.keepalive_requests;
                let (door, open) = (door.clone(), Open::new(&streams));
                tokio::spawn(async move { answer(&door, session, peer, secure, open).await });
            }
            Next::Idle if left_at.is_some() => return,
            Next::Leave | Next::Idle => leave = true,
        }
        let abandoned = streams.abandoned.load(Ordering::Relaxed);
        if malformed >= MOST_MALFORMED || abandoned >= MOST_ABANDONED && abandoned > served / 2 {
            door.metrics.http2_connections_cut.inc();
            connection.abrupt_shutdown(h2::Reason::ENHANCE_YOUR_CALM);
            // Once, so that what is left of it is sent.
            drop(timeout(LINGER, HttpSession::from_h2_conn(&mut connection, digest)).await);
            return;
        }
        match left_at {
            None if leave => {
                connection.graceful_shutdown();
                left_at = Some(served);
            }
            // One that goes on although it was told to leave is not waited for.
            Some(at) if served - at > limits.http2_streams => return,
            None | Some(_) => {}
        }
        patience = if left_at.is_some() { LINGER } else { door.limits().keepalive_timeout };
    }
}

/// The limits of one connection, of those that the library keeps.
fn options(limits: &Limits) -> H2Options {
    let mut options = H2Options::default();
    let head = u32::try_from(limits.max_header_bytes).unwrap_or(u32::MAX);
    options
        // The library counts 32 bytes for each field besides (RFC 9113 section 6.5.2); what passes here is measured again.
        .max_header_list_size(head.saturating_add(32 * 100))
        .max_concurrent_streams(limits.http2_streams)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(STREAM_WINDOW.saturating_mul(limits.http2_streams).min(MAX_WINDOW))
        .max_send_buffer_size(SEND_BUFFER);
    options
}

/// pingora has answered a malformed request itself, or ended its stream.
fn rejected(door: &Door, peer: Option<IpAddr>) {
    let refused = Rejection::malformed(ErrorCode::RequestMalformed, "", peer);
    let timing = Timing { at: door.clock.now(), start: Instant::now(), gate_us: 0 };
    let snapshot = door.current.load();
    record(&snapshot, &refused, &timing, &snapshot.recorder.request_id(), 400);
}

/// Answers one request, whoever should.
async fn answer(door: &Door, session: HttpSession, peer: Option<IpAddr>, secure: bool, open: Open) {
    let snapshot = door.current.load_full();
    let (now, start) = (door.clock.now(), Instant::now());
    let (decision, bytes) = decide(&snapshot, &session, peer, now);
    let timing = snapshot.recorder.decided(now, start);
    match decision {
        Decision::Reject(refused) => refuse(&snapshot, session, &refused, &timing).await,
        Decision::AllowForwardAuth(allowed) => {
            let (status, fields) = verify::yes(&snapshot, &allowed, timing.at);
            give(&snapshot, session, status, fields, Outcome::Verified, &allowed.request, &timing);
        }
        Decision::Preflight(passage) => {
            let fields = passage.cors.iter().flat_map(|fields| fields.iter().cloned()).collect();
            give(&snapshot, session, StatusCode::NO_CONTENT, fields, Outcome::Preflight, &passage, &timing);
        }
        Decision::AuthApi(passage) => {
            let Some(_in_flight) = InFlight::new(&door.metrics, snapshot.limits.max_auth_requests) else {
                return refuse(&snapshot, session, &one_too_many(&passage), &timing).await;
            };
            // The connection is not its own, so it does not come back.
            snapshot.bridge.serve(ServerSession::new_http2(session), *passage, timing, Client::Http2(&open.0)).await;
        }
        Decision::Forward(mut passage) => {
            let Some(_in_flight) = InFlight::new(&door.metrics, snapshot.limits.max_requests) else {
                return refuse(&snapshot, session, &one_too_many(&passage), &timing).await;
            };
            passage.origin.mark_tls(secure);
            forward(door, snapshot, session, bytes, passage, timing, &open.0).await;
        }
    }
    drop(open);
}

/// The gate's decision on the head, and the bytes that it decided on.
fn decide(snapshot: &Snapshot, session: &HttpSession, peer: Option<IpAddr>, now: Timestamp) -> (Decision, Bytes) {
    let malformed = |detail| {
        let ids = session.req_header().headers.get_all("x-request-id").iter().map(HeaderValue::as_bytes);
        let refused = snapshot.gate.malformed(detail, peer, ids);
        (Decision::Reject(Box::new(refused)), Bytes::new())
    };
    let head = match Http2Head::new(session.req_header(), session.is_body_done()) {
        Ok(head) => head,
        Err(detail) => return malformed(detail),
    };
    if head.http1_len() > snapshot.limits.max_header_bytes {
        return malformed("The request head is too long.");
    }
    (snapshot.gate.decide_http2(&head, peer, now), head.bytes().clone())
}

/// Hands the request to pingora, made anew of what the gate lets through.
async fn forward(
    door: &Door,
    snapshot: Arc<Snapshot>,
    mut session: HttpSession,
    bytes: Bytes,
    passage: Box<AdmittedRequest>,
    timing: Timing,
    siblings: &Arc<Siblings>,
) {
    let request_id = passage.log.request_id.clone().unwrap_or_else(|| snapshot.recorder.request_id());
    let te_trailers = passage.forward.trailers;
    let Some(mut request) = request(&bytes, &passage) else {
        // It was read from such bytes, so it can be made of them.
        tracing::error!("a request could not be made anew");
        return;
    };
    let call = snapshot.upstreams.speak_http2() && grpc::is_grpc(&request.method, &request.headers);
    let handover = Handover {
        snapshot,
        passage,
        // The request is made of what goes on.
        removed: Vec::new(),
        timing,
        request_id,
        last: false,
        te_trailers,
        unread: None,
        siblings: Some(siblings.clone()),
        call,
        breaker: None,
        stream: OnceLock::new(),
        progress: Progress::new(session.is_body_done()),
    };
    let handover = Arc::new(handover);
    request.extensions.insert(Handed(handover.clone()));
    *session.req_header_mut() = RequestHeader::from(request);
    // The stream ends with its session; there is no connection to come back.
    door.long_way(ServerSession::new_http2(session), &handover).await;
}

/// The request without what does not go on.
fn request(bytes: &Bytes, passage: &AdmittedRequest) -> Option<Parts> {
    let (mut request, ()) = http::Request::new(()).into_parts();
    request.method = passage.forward.method.clone();
    request.uri = passage.forward.target.parse().ok()?;
    request.version = Version::HTTP_2;
    request.headers.reserve(passage.forward.forwarded_headers.len());
    for field in &passage.forward.forwarded_headers {
        let name = HeaderName::from_bytes(bytes.get(field.name())?).ok()?;
        let value = HeaderValue::from_maybe_shared(bytes.slice(field.value())).ok()?;
        request.headers.append(name, value);
    }
    Some(request)
}

/// Answers a refusal.
async fn refuse(snapshot: &Snapshot, mut session: HttpSession, refused: &Rejection, timing: &Timing) {
    let problem = problem(snapshot, refused);
    let request_id = refused.request_id.clone().unwrap_or_else(|| snapshot.recorder.request_id());
    if refused.forward_auth {
        let (status, fields) = verify::no(&problem, &request_id);
        record(snapshot, refused, timing, &request_id, status.as_u16());
        say(session, status, fields);
        return;
    }
    let said = snapshot.voices.say(&refused.path, &problem, &request_id).with(refused.cors.as_ref());
    record(snapshot, refused, timing, &request_id, said.status.as_u16());
    session.set_write_timeout(Some(LINGER));
    // The client may be gone by now; there is nobody else to tell.
    drop(answer::on_http2(&mut session, &problem, said, &request_id).await);
}

/// Gives an answer of the gate that is no refusal and has no body.
fn give(
    snapshot: &Snapshot,
    session: HttpSession,
    status: StatusCode,
    mut fields: Fields,
    outcome: Outcome,
    passage: &AdmittedRequest,
    timing: &Timing,
) {
    let request_id = passage.log.request_id.clone().unwrap_or_else(|| snapshot.recorder.request_id());
    fields.extend(HeaderValue::from_str(&request_id).ok().map(|id| (HeaderName::from_static("x-request-id"), id)));
    say(session, status, fields);
    snapshot.recorder.write(&Record {
        timing,
        rule: passage.log.rule.map_or(RuleIndex::AuthApi, RuleIndex::Rule),
        outcome,
        request_id: &request_id,
        method: passage.forward.method.as_str(),
        path: passage.path(),
        status: status.as_u16(),
        error: None,
        would: passage.log.dry_run,
        user: passage.identity.as_ref().map(|identity| identity.claims.sub().as_str()),
        client_ip: passage.origin.ip,
    });
}

/// Writes a head that is the whole answer.
fn say(mut session: HttpSession, status: StatusCode, fields: Fields) {
    let Ok(mut head) = ResponseHeader::build(status, Some(fields.len())) else { return };
    for (name, value) in fields {
        if head.append_header(name, value).is_err() {
            return;
        }
    }
    // The client may be gone by now; there is nobody else to tell.
    drop(session.write_response_header(Box::new(head), true));
}

fn record(snapshot: &Snapshot, refused: &Rejection, timing: &Timing, request_id: &str, status: u16) {
    snapshot.recorder.write(&Record {
        timing,
        rule: refused.rule.map_or(RuleIndex::None, RuleIndex::Rule),
        outcome: Outcome::Refused,
        request_id,
        method: &refused.method,
        path: &refused.path,
        status,
        error: Some(refused.code),
        would: None,
        user: refused.identity.as_ref().map(|identity| identity.claims.sub().as_str()),
        client_ip: refused.origin.ip,
    });
}
