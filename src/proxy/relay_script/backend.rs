//! The backend in a script.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use h2::{
    RecvStream,
    server::{Connection, Handshake, SendResponse},
};
use http::Response;
use tokio::net::{UnixListener, UnixStream};

use super::{
    REQUESTS,
    ledger::Ledger,
    link::{Http1Link, Http2Sender, Received, Room, keep_small, receive},
    script::Framing,
    wire::{Body, Event, Head},
};

/// Invalid or unexpected responses.
const GARBAGE: [&[u8]; 4] = [
    b"\0",
    b"0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-N: 0\r\n\r\nhi",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
];

/// Most informational responses that menshen accepts before the final one.
const MAX_INFORMATIONAL: usize = 32;
/// Bytes of a body that may have come to the backend though it reads none: the window of a stream
/// of HTTP/2. Whether they have come shows only when it reads.
const WINDOW: usize = 64 * 1024;

/// Accepts connections, and acts on them as the script says.
pub(super) struct Backend {
    listener: UnixListener,
    http2: bool,
    keeps_small: bool,
    pub(super) room: Room,
    http1: Vec<Http1Connection>,
    http2_connections: Vec<Http2Connection>,
}

impl Backend {
    pub(super) fn new(listener: UnixListener, http2: bool, keeps_small: bool) -> Self {
        Self {
            listener,
            http2,
            keeps_small,
            room: Room::ALL,
            http1: Vec::new(),
            http2_connections: Vec::new(),
        }
    }

    /// Makes progress without waiting. Returns whether there was any.
    pub(super) fn pump(&mut self, cx: &mut Context<'_>, ledger: &mut Ledger) -> bool {
        let mut moved = false;
        while let Poll::Ready(accepted) = self.listener.poll_accept(cx) {
            let (socket, _) = accepted.expect("a connection");
            if self.keeps_small {
                keep_small(&socket);
            }
            if self.http2 {
                self.http2_connections
                    .push(Http2Connection::Beginning(Box::new(h2::server::handshake(
                        socket,
                    ))));
            } else {
                self.http1.push(Http1Connection::new(socket));
            }
            moved = true;
        }
        for connection in &mut self.http1 {
            moved |= connection.pump(&mut self.room, ledger);
        }
        for connection in &mut self.http2_connections {
            moved |= connection.pump(cx, &mut self.room, ledger);
        }
        moved
    }

    fn http1(&mut self, n: usize) -> Option<&mut Http1Connection> {
        self.http1
            .iter_mut()
            .find(|connection| connection.current == Some(n) && !connection.link.is_closed())
    }

    fn stream(&mut self, n: usize) -> Option<&mut BackendStream> {
        self.http2_connections
            .iter_mut()
            .find_map(|connection| match connection {
                Http2Connection::Open { streams, .. } => {
                    streams.iter_mut().find(|stream| stream.n == n)
                }
                Http2Connection::Beginning(_) | Http2Connection::Over => None,
            })
    }

    pub(super) fn inform(&mut self, n: usize, ledger: &mut Ledger) {
        // menshen rejects any more as an invalid response.
        if ledger.exchanges[n].informational.0 >= MAX_INFORMATIONAL {
            return;
        }
        let exchange = &mut ledger.exchanges[n];
        // menshen's HTTP/2 library skips a backend's informational responses.
        if !exchange.down.begun
            && let Some(connection) = self.http1(n)
        {
            connection
                .link
                .put(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n");
            exchange.informational.0 += 1;
        }
    }

    pub(super) fn respond(&mut self, n: usize, framing: Framing, ledger: &mut Ledger) {
        let down = &mut ledger.exchanges[n].down;
        if down.begun {
            return;
        }
        if let Some(connection) = self.http1(n) {
            connection.framing = framing;
            let (status, field) = match framing {
                Framing::None => ("204 No Content", String::new()),
                Framing::Length(length) => ("200 OK", format!("Content-Length: {length}\r\n")),
                Framing::Chunked => ("200 OK", "Transfer-Encoding: chunked\r\n".to_owned()),
                Framing::UntilClose => ("200 OK", String::new()),
            };
            connection
                .link
                .put(format!("HTTP/1.1 {status}\r\nX-N: {n}\r\n{field}\r\n").as_bytes());
        } else if let Some(stream) = self.stream(n) {
            let is_whole = framing == Framing::None;
            let mut head = Response::builder()
                .status(if is_whole { 204 } else { 200 })
                .header("x-n", n);
            if let Framing::Length(length) = framing {
                head = head.header("content-length", length);
            }
            // It fails if menshen has reset the stream.
            let Ok(sender) = stream
                .respond
                .send_response(head.body(()).expect("a head"), is_whole)
            else {
                return;
            };
            stream.sender = Some(Http2Sender::new(sender, is_whole));
        } else {
            return;
        }
        down.begin(framing);
    }

    pub(super) fn download(&mut self, n: usize, size: usize, ledger: &mut Ledger) {
        let part = ledger.exchanges[n].down.queue(size);
        if let Some(connection) = self.http1(n) {
            connection
                .link
                .put_part(part, connection.framing == Framing::Chunked);
        }
    }

    pub(super) fn end_download(&mut self, n: usize, ledger: &mut Ledger) {
        let down = &mut ledger.exchanges[n].down;
        if !down.begun || down.ended {
            return;
        }
        let rest = down.end();
        if let Some(connection) = self.http1(n) {
            connection
                .link
                .put_part(rest, connection.framing == Framing::Chunked);
            match connection.framing {
                Framing::Chunked => connection.link.put(b"0\r\n\r\n"),
                Framing::UntilClose => connection.link.end_side(),
                Framing::None | Framing::Length(_) => {}
            }
        }
    }

    /// Closes the connection of a request that is on it or was its last; over HTTP/2 resets the
    /// stream.
    pub(super) fn close(&mut self, n: usize, ledger: &mut Ledger) {
        if let Some(connection) = self.http1(n) {
            connection.link.close();
            let Framing::UntilClose = connection.framing else {
                return ledger.requests_on_their_way(n);
            };
            // This may end the response after the bytes written so far.
            ledger.exchanges[n].down.hostile = true;
            ledger.requests_on_their_way(n);
        } else if let Some(stream) = self.stream(n) {
            ledger.roughen(n);
            match &mut stream.sender {
                Some(sender) => sender.reset(),
                None => stream.respond.send_reset(h2::Reason::CANCEL),
            }
            stream.body = None;
        }
    }

    pub(super) fn send_garbage(&mut self, n: usize, at: usize, ledger: &mut Ledger) {
        if let Some(connection) = self.http1(n) {
            ledger.backend_is_hostile();
            connection.is_hostile = true;
            connection.link.put(GARBAGE[at % GARBAGE.len()]);
        }
    }

    /// Whether menshen has not ended an HTTP/1 connection or a stream, and it is not closed.
    pub(super) fn is_held(&self, ledger: &Ledger) -> bool {
        self.http1
            .iter()
            .any(|connection| !connection.link.has_ended())
            || self
                .http2_connections
                .iter()
                .any(|connection| match connection {
                    Http2Connection::Open { streams, .. } => {
                        streams.iter().any(|stream| !stream.is_over(ledger))
                    }
                    Http2Connection::Beginning(_) | Http2Connection::Over => false,
                })
    }
}

struct Http1Connection {
    link: Http1Link,
    /// The last request.
    current: Option<usize>,
    /// All of it has arrived.
    requested: bool,
    /// How the response is sent.
    framing: Framing,
    is_hostile: bool,
}

impl Http1Connection {
    fn new(socket: UnixStream) -> Self {
        Self {
            link: Http1Link::new(socket),
            current: None,
            requested: true,
            framing: Framing::None,
            is_hostile: false,
        }
    }

    fn pump(&mut self, room: &mut Room, ledger: &mut Ledger) -> bool {
        let mut moved = self.link.pump(room);
        while let Some(event) = self.link.next() {
            moved = true;
            match event {
                Event::Head(head) => self.take_head(&head, ledger),
                Event::Data(part) => {
                    if let Some(n) = self.current {
                        ledger.exchanges[n].up.take(&part);
                    }
                }
                Event::End => {
                    self.requested = true;
                    if let Some(n) = self.current {
                        ledger.exchanges[n].up.complete();
                    }
                }
            }
        }
        moved
    }

    fn take_head(&mut self, head: &Head, ledger: &mut Ledger) {
        if let Some(before) = self
            .current
            .filter(|_| !self.is_hostile && !ledger.hostile_client)
        {
            let is_whole = self.requested
                && ledger.exchanges[before].down.ended
                && self.framing != Framing::UntilClose;
            assert!(
                is_whole,
                "a request on a connection that is not free: {head:?}"
            );
        }
        let body = head.body();
        self.link.reader.begin_body(body.unwrap_or(Body::Length(0)));
        self.requested = false;
        let target = head
            .line
            .split(' ')
            .nth(1)
            .and_then(|target| target.strip_prefix("/open/"));
        let n = target
            .and_then(|n| n.parse().ok())
            .filter(|&n| n < REQUESTS);
        assert!(
            head.line.ends_with(" HTTP/1.1") && (n.is_some() || ledger.hostile_client),
            "{head:?}"
        );
        self.current = n;
        if let Some(n) = n {
            let length = match body {
                Some(Body::Length(length)) => Some(length).filter(|&length| length > 0),
                _ => None,
            };
            ledger.request_arrived(n, length);
        }
    }
}

#[expect(clippy::large_enum_variant, reason = "one or two")]
enum Http2Connection {
    Beginning(Box<Handshake<UnixStream, Bytes>>),
    Open {
        connection: Connection<UnixStream, Bytes>,
        streams: Vec<BackendStream>,
    },
    Over,
}

struct BackendStream {
    n: usize,
    body: Option<RecvStream>,
    respond: SendResponse<Bytes>,
    sender: Option<Http2Sender>,
    is_reset: bool,
}

impl Http2Connection {
    fn pump(&mut self, cx: &mut Context<'_>, room: &mut Room, ledger: &mut Ledger) -> bool {
        match self {
            Self::Over => false,
            Self::Beginning(handshake) => match Pin::new(handshake).poll(cx) {
                Poll::Pending => false,
                Poll::Ready(Ok(connection)) => {
                    *self = Self::Open {
                        connection,
                        streams: Vec::new(),
                    };
                    true
                }
                Poll::Ready(Err(_)) => {
                    *self = Self::Over;
                    true
                }
            },
            Self::Open {
                connection,
                streams,
            } => {
                let mut moved = false;
                let is_over = loop {
                    match connection.poll_accept(cx) {
                        Poll::Pending => break false,
                        Poll::Ready(None | Some(Err(_))) => break true,
                        Poll::Ready(Some(Ok((request, respond)))) => {
                            let n = request
                                .uri()
                                .path()
                                .strip_prefix("/open/")
                                .and_then(|n| n.parse().ok());
                            let n = n.expect("a number");
                            let length = request.headers().get("content-length");
                            let length = length.map(|length| {
                                length.to_str().expect("text").parse().expect("a length")
                            });
                            ledger.request_arrived(n, length.filter(|&length: &usize| length > 0));
                            let body = Some(request.into_body());
                            streams.push(BackendStream {
                                n,
                                body,
                                respond,
                                sender: None,
                                is_reset: false,
                            });
                            moved = true;
                        }
                    }
                };
                for stream in &mut *streams {
                    moved |= stream.pump(cx, room, ledger);
                }
                if is_over {
                    *self = Self::Over;
                    return true;
                }
                // The window that was released is for the connection.
                let _ = connection.poll_closed(cx);
                moved
            }
        }
    }
}

impl BackendStream {
    fn pump(&mut self, cx: &mut Context<'_>, room: &mut Room, ledger: &mut Ledger) -> bool {
        let exchange = &mut ledger.exchanges[self.n];
        let mut moved = false;
        if let Some(body) = &mut self.body {
            let received = receive(body, cx, room, &mut exchange.up);
            moved = received != Received::Nothing;
            if received == Received::Over {
                // Complete, or reset.
                (self.body, self.is_reset) = (None, !exchange.up.whole);
            }
        }
        if let Some(sender) = &mut self.sender {
            moved |= sender.pump(cx, &exchange.down);
        }
        if !self.is_reset {
            self.is_reset = match &mut self.sender {
                Some(sender) => sender.is_reset(cx),
                None => self.respond.poll_reset(cx).is_ready(),
            };
            moved |= self.is_reset;
        }
        moved
    }

    /// Whether both messages have ended, or one was reset.
    fn is_over(&self, ledger: &Ledger) -> bool {
        let request = &ledger.exchanges[self.n].up;
        // The end of a body that is not read is unknown. Garbage of a client can be that end.
        let may_have_come = (request.ended || ledger.hostile_client)
            && request.queued.saturating_sub(request.received) <= WINDOW;
        let is_requested = self.body.is_none() || may_have_come;
        self.is_reset || is_requested && self.sender.as_ref().is_some_and(Http2Sender::is_over)
    }
}
