//! A client's HTTP/1 connection: one request after another, each head read before a deadline.
//!
//! Must stay true: what is forwarded comes from the same bytes that the gate decided on; a
//! connection with doubtful framing is closed; a client that sends slowly or reads nothing loses
//! its connection.

use std::{
    net::IpAddr,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::AsyncReadExt,
    time::{Instant, Sleep, sleep, sleep_until},
};

use super::ConnectionService;
use crate::{
    gate::Decision,
    policy::{HttpVersion, head},
    proxy::{
        access_record::Timing,
        client::{Http1Client, RequestFraming},
        message::body_length,
        serve::{DecidedRequest, serve},
        snapshot::{ServerLimits, Snapshot},
        socket::Socket,
        upstream::session::Connections,
    },
};

/// Bytes of the first read; the buffer grows only for longer heads.
const FIRST_READ: usize = 2048;
/// How long a connection without a request is kept open after a stop: more than a round trip of a
/// phone.
const FIRST_REQUEST_GRACE: Duration = Duration::from_millis(500);

/// Why no head was read.
enum NoHead {
    /// The client has disconnected or been idle too long between requests, or menshen is stopping.
    Closed,
    /// The head is late or too long: reject it and close.
    Reject(&'static str),
}

/// A head with the gate's decision.
struct DecidedHead {
    decision: Decision,
    timing: Timing,
    snapshot: Arc<Snapshot>,
}

/// Limits and deadline for reading a head.
struct HeadWait {
    limits: ServerLimits,
    /// Until its first byte. From then on `header_timeout` covers the whole head, however slowly
    /// its bytes arrive.
    first_byte_timeout: Duration,
}

/// Serves a connection to its end. `peer`: `None` on a Unix socket.
pub(in crate::proxy) async fn serve_connection(
    service: &ConnectionService,
    connections: &Connections,
    socket: Socket,
    peer: Option<IpAddr>,
) {
    let is_tls = socket.is_tls();
    let mut client = Http1Client::new(socket);
    let mut stop = service.stop.clone();
    let is_new = AtomicBool::new(true);
    let mut stopped = pin!(async {
        // An error means that the server has been dropped, which is a stop too.
        drop(stop.wait_for(|stop| *stop).await);
        // The request of a client that has just connected may be on its way.
        if is_new.load(Ordering::Relaxed) {
            sleep(FIRST_REQUEST_GRACE).await;
        }
    });
    let mut timer = pin!(sleep_until(Instant::now()));
    let limits = service.limits();
    let mut wait = HeadWait {
        limits,
        first_byte_timeout: limits.header_timeout,
    };
    let mut served = 0;
    loop {
        let head = read_head(
            service,
            &mut client,
            peer,
            &wait,
            timer.as_mut(),
            stopped.as_mut(),
        )
        .await;
        served += 1;
        is_new.store(false, Ordering::Relaxed);
        let last = served >= wait.limits.keepalive_requests || *service.closing.borrow();
        let request = match head {
            Err(NoHead::Closed) => return,
            Err(NoHead::Reject(detail)) => malformed(service, &mut client, peer, detail),
            Ok(head) => begin_request(&mut client, head, last, is_tls),
        };
        // Boxed: most connections are idle, and their tasks must not reserve memory for it.
        Box::pin(serve(
            service,
            connections,
            &mut client,
            request,
            timer.as_mut(),
        ))
        .await;
        client.drain().await;
        if !client.is_reusable() || last {
            break;
        }
        let limits = service.limits();
        wait = HeadWait {
            limits,
            first_byte_timeout: limits.keepalive_timeout,
        };
    }
    client.close().await;
}

/// Starts a request whose head has arrived.
fn begin_request(
    client: &mut Http1Client,
    head: DecidedHead,
    last: bool,
    is_tls: bool,
) -> DecidedRequest {
    let decision = head.decision;
    let framing = decision.framing().copied();
    let version = framing.map_or(HttpVersion::Http11, |framing| framing.version);
    let request = match &decision {
        Decision::Forward(admitted) => Some(&admitted.forward),
        _ => None,
    };
    let bytes = match framing {
        // Its end is in doubt, so nothing after it is read.
        None => {
            client.begin_request(0, RequestFraming::closing(version));
            Bytes::new()
        }
        Some(framing) => client.begin_request(
            framing.head_len,
            RequestFraming {
                version,
                body: body_length(framing.body),
                keep_alive: framing.keep_alive && !last,
                expects_continue: framing.expects_continue,
                takes_trailers: request.is_some_and(|request| request.trailers),
            },
        ),
    };
    let context = ConnectionService::context(head.snapshot, head.timing, &decision, version);
    DecidedRequest {
        decision,
        context,
        head: bytes,
        is_tls,
    }
}

/// The rejection of an unreadable head, which closes the connection.
fn malformed(
    service: &ConnectionService,
    client: &mut Http1Client,
    peer: Option<IpAddr>,
    detail: &'static str,
) -> DecidedRequest {
    let snapshot = service.current.load_full();
    let ids = head::raw_values(client.input(), "x-request-id");
    let decision = Decision::Reject(Box::new(snapshot.gate.malformed(detail, peer, ids)));
    client.begin_request(0, RequestFraming::closing(HttpVersion::Http11));
    let (timing, version) = (service.timing(), HttpVersion::Http11);
    let context = ConnectionService::context(snapshot, timing, &decision, version);
    DecidedRequest {
        decision,
        context,
        head: Bytes::new(),
        is_tls: false,
    }
}

/// Reads a head and has the gate decide on it.
async fn read_head(
    service: &ConnectionService,
    client: &mut Http1Client,
    peer: Option<IpAddr>,
    wait: &HeadWait,
    mut timer: Pin<&mut Sleep>,
    mut stopped: Pin<&mut impl Future<Output = ()>>,
) -> Result<DecidedHead, NoHead> {
    let HeadWait {
        limits,
        first_byte_timeout,
    } = *wait;
    let (socket, input) = client.head_reader();
    let mut deadline = Instant::now()
        + if input.is_empty() {
            first_byte_timeout
        } else {
            limits.header_timeout
        };
    let mut scanned = 0;
    loop {
        if input.len() > scanned {
            // A first byte that begins no method (TLS, for example) is rejected at once.
            let is_not_http = scanned == 0 && !input[0].is_ascii_alphabetic();
            if is_not_http || head::may_be_complete(input, scanned) {
                let snapshot = service.current.load_full();
                let (decision, timing) = service.decide(&snapshot, |now| {
                    snapshot.gate.decide_http1(input, peer, now)
                });
                if let Some(decision) = decision {
                    return if decision
                        .head_len()
                        .is_some_and(|length| length > limits.max_header_bytes)
                    {
                        Err(NoHead::Reject("The request head is too long."))
                    } else {
                        Ok(DecidedHead {
                            decision,
                            timing,
                            snapshot,
                        })
                    };
                }
            }
            if input.len() > limits.max_header_bytes {
                return Err(NoHead::Reject("The request head is too long."));
            }
            scanned = input.len();
        }
        let first = input.is_empty();
        if first && input.capacity() > 0 {
            // An idle connection holds no buffer.
            *input = BytesMut::new();
        }
        let late = if first {
            NoHead::Closed
        } else {
            NoHead::Reject("The request head did not arrive in time.")
        };
        match before_deadline(
            socket.readable(),
            deadline,
            timer.as_mut(),
            stopped.as_mut(),
            first,
        )
        .await
        {
            Some(Ok(())) => {}
            Some(Err(_)) | None => return Err(late),
        }
        input.reserve(FIRST_READ);
        // Completes at once, except for a partial TLS record.
        match before_deadline(
            socket.read_buf(input),
            deadline,
            timer.as_mut(),
            stopped.as_mut(),
            first,
        )
        .await
        {
            None => return Err(late),
            Some(Ok(0) | Err(_)) => return Err(NoHead::Closed),
            Some(Ok(_)) if first => deadline = Instant::now() + limits.header_timeout,
            Some(Ok(_)) => {}
        }
    }
}

/// The result of `work`. `None`: the deadline has passed, or menshen stops while the connection is
/// idle.
async fn before_deadline<T>(
    work: impl Future<Output = T>,
    deadline: Instant,
    mut timer: Pin<&mut Sleep>,
    mut stopped: Pin<&mut impl Future<Output = ()>>,
    idle: bool,
) -> Option<T> {
    // The timer is reset only when it fires early or is set too late, which is rare on a busy
    // connection.
    if timer.deadline() > deadline {
        timer.as_mut().reset(deadline);
    }
    let mut work = pin!(work);
    loop {
        tokio::select! {
            biased;
            done = work.as_mut() => return Some(done),
            () = timer.as_mut() => {
                if Instant::now() >= deadline {
                    return None;
                }
                timer.as_mut().reset(deadline);
            }
            () = stopped.as_mut(), if idle => return None,
        }
    }
}
