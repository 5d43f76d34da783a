//! A client's HTTP/2 connection: many streams, each of them one request.
//!
//! The h2 library implements the protocol and its limits: open streams, bytes of a header list and
//! of CONTINUATION frames, streams that are reset before they are accepted, its own resets for
//! malformed frames, empty frames, and flow control windows. This file adds limits for what the
//! library lets through: malformed and reset requests, and idle connections; and it closes
//! connections without losing a request (GOAWAY, RFC 9113 section 6.8).
//!
//! Must stay true: each stream has one decision and one response; a client's trailers are not
//! forwarded.

use std::{net::IpAddr, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use h2::{
    Reason, RecvStream,
    server::{Builder, SendResponse},
};
use http::{HeaderValue, Request, header};
use tokio::time::{sleep_until, timeout};

use super::ConnectionService;
use crate::{
    gate::Decision,
    policy::{Http2Head, HttpVersion},
    proxy::{
        client::Http2Client,
        grpc,
        serve::{DecidedRequest, serve},
        snapshot::{ServerLimits, Snapshot},
        socket::Socket,
        stream_tracker::{StreamGuard, StreamTracker},
    },
    types::Timestamp,
};

/// The first bytes of every HTTP/2 connection (RFC 9113 section 3.4).
pub(in crate::proxy) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long a client without open streams may keep the connection after GOAWAY.
const GOAWAY_TIMEOUT: Duration = Duration::from_secs(2);
/// Malformed requests on one connection before it is closed. They cost work, and no honest client
/// sends them.
const MAX_MALFORMED: u32 = 32;
/// Requests that a client may reset before its connection is closed, if they are more than half of
/// all. Each costs a connection to the backend (compare CVE-2023-44487).
const MAX_RESET: u32 = 100;
/// Flow control window of one stream, in bytes (RFC 9113 section 5.2). The connection's window
/// covers as many for each of its streams, so that a body which its backend does not read blocks no
/// other.
const STREAM_WINDOW: u32 = 128 * 1024;
/// Largest possible window (RFC 9113 section 6.9.1).
const MAX_WINDOW: u32 = (1 << 31) - 1;
/// Bytes of a response that are buffered for one stream.
const SEND_BUFFER: usize = 64 * 1024;

/// A request and the handle to respond to it.
type Accepted = Result<(Request<RecvStream>, SendResponse<Bytes>), h2::Error>;

/// A request and what serving it needs to know of its connection.
struct ClientStream {
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
    peer: Option<IpAddr>,
    is_tls: bool,
    /// Counts the stream until it has been served.
    guard: StreamGuard,
}

/// The next event of a connection.
#[expect(
    clippy::large_enum_variant,
    reason = "lives on the stack for one turn of a loop"
)]
enum Next {
    Stream(Option<Accepted>),
    /// menshen stops or drains, so GOAWAY is due.
    GoAway,
    /// No stream has been open for the idle timeout.
    Idle,
}

/// Serves a connection to its end. `peer`: `None` on a Unix socket.
/// `worker`: the one that serves it.
pub(in crate::proxy) async fn serve_connection(
    service: Arc<ConnectionService>,
    worker: usize,
    socket: Socket,
    peer: Option<IpAddr>,
) {
    let limits = service.limits();
    let is_tls = socket.is_tls();
    let Ok(Ok(mut connection)) = timeout(
        limits.header_timeout,
        builder(&limits).handshake::<_, Bytes>(socket),
    )
    .await
    else {
        return;
    };
    let streams = Arc::new(StreamTracker::default());
    let (mut closing, mut stop) = (service.closing.clone(), service.stop.clone());
    let mut served = 0_u32;
    // Requests that had been accepted when GOAWAY was sent.
    let mut served_at_goaway = None;
    let mut idle_timeout = limits.header_timeout;
    loop {
        // An error of the watch channels means that the server has been dropped, which is a stop
        // too.
        let next = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop), if served_at_goaway.is_none() => Next::GoAway,
            // A client that connects while menshen drains gets its first request served.
            _ = closing.wait_for(|closing| *closing), if served_at_goaway.is_none() && served > 0 => Next::GoAway,
            accepted = connection.accept() => Next::Stream(accepted),
            () = streams.idle(idle_timeout) => Next::Idle,
        };
        let send_goaway = match next {
            Next::Stream(Some(Err(_)) | None) => return,
            Next::Stream(Some(Ok((request, respond)))) => {
                served = served.saturating_add(1);
                let stream = ClientStream {
                    request,
                    respond,
                    peer,
                    is_tls,
                    guard: StreamGuard::new(&streams),
                };
                tokio::spawn(serve_stream(service.clone(), worker, stream));
                served >= limits.keepalive_requests
            }
            Next::Idle if served_at_goaway.is_some() => return,
            Next::GoAway | Next::Idle => true,
        };
        let reset = streams.reset_count();
        if streams.malformed_count() >= MAX_MALFORMED || reset >= MAX_RESET && reset > served / 2 {
            service.metrics.http2_connections_cut.inc();
            connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
            // Polled once more, so that the GOAWAY frame is sent.
            drop(timeout(GOAWAY_TIMEOUT, connection.accept()).await);
            return;
        }
        match served_at_goaway {
            None if send_goaway => {
                connection.graceful_shutdown();
                served_at_goaway = Some(served);
            }
            // A client that keeps sending requests after GOAWAY is not waited for.
            Some(at) if served - at > limits.http2_streams => return,
            None | Some(_) => {}
        }
        idle_timeout = if served_at_goaway.is_some() {
            GOAWAY_TIMEOUT
        } else {
            service.limits().keepalive_timeout
        };
    }
}

/// The limits that the library enforces on one connection.
fn builder(limits: &ServerLimits) -> Builder {
    let mut builder = Builder::new();
    let head = u32::try_from(limits.max_header_bytes).unwrap_or(u32::MAX);
    builder
        // The library adds 32 bytes for each field (RFC 9113 section 6.5.2); the exact length is
        // checked later.
        .max_header_list_size(head.saturating_add(32 * 100))
        .max_concurrent_streams(limits.http2_streams)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(
            STREAM_WINDOW
                .saturating_mul(limits.http2_streams)
                .min(MAX_WINDOW),
        )
        .max_send_buffer_size(SEND_BUFFER);
    builder
}

/// Serves one request.
async fn serve_stream(service: Arc<ConnectionService>, worker: usize, stream: ClientStream) {
    let ClientStream {
        request,
        respond,
        peer,
        is_tls,
        guard,
    } = stream;
    let streams = guard.streams();
    let snapshot = service.current.load_full();
    let (request, receive) = request.into_parts();
    let ends_stream = receive.is_end_stream();
    let ((decision, head), timing) = service.decide(&snapshot, |now| {
        decide(&snapshot, &request, ends_stream, peer, now, streams)
    });
    let is_grpc = grpc::is_grpc(&request.method, &request.headers);
    let expects_continue = request
        .headers
        .get(header::EXPECT)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    drop(request);
    let context = ConnectionService::context(snapshot, timing, &decision, HttpVersion::Http2);
    let write_timeout = context.snapshot.limits.body_timeout;
    let mut client = Http2Client::new(
        receive,
        respond,
        streams.clone(),
        write_timeout,
        is_grpc,
        expects_continue,
    );
    let mut timer = pin!(sleep_until(timing.start + write_timeout));
    let request = DecidedRequest {
        decision,
        context,
        head,
        is_tls,
    };
    serve(
        &service,
        &service.connections[worker],
        &mut client,
        request,
        timer.as_mut(),
    )
    .await;
}

/// The gate's decision, and the head into which its ranges point.
fn decide(
    snapshot: &Snapshot,
    request: &http::request::Parts,
    ends_stream: bool,
    peer: Option<IpAddr>,
    now: Timestamp,
    streams: &StreamTracker,
) -> (Decision, Bytes) {
    let malformed = |detail| {
        let ids = request
            .headers
            .get_all("x-request-id")
            .iter()
            .map(HeaderValue::as_bytes);
        (
            Decision::Reject(Box::new(snapshot.gate.malformed(detail, peer, ids))),
            Bytes::new(),
        )
    };
    let head = match Http2Head::new(request, ends_stream) {
        Ok(head) => head,
        Err(detail) => {
            streams.count_malformed();
            return malformed(detail);
        }
    };
    if head.http1_len() > snapshot.limits.max_header_bytes {
        return malformed("The request head is too long.");
    }
    (
        snapshot.gate.decide_http2(&head, peer, now),
        head.bytes().clone(),
    )
}
