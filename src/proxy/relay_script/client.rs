//! The client in a script.

use std::task::{Context, Poll};

use bytes::Bytes;
use h2::{
    RecvStream,
    client::{Connection, ResponseFuture, SendRequest},
};
use http::Request;
use tokio::net::UnixStream;

use super::{
    REQUESTS,
    ledger::{Ledger, ResponseHead},
    link::{Http1Link, Http2Sender, Received, Room, receive},
    script::Framing,
    wire::{Body, Event, Head},
};

/// Invalid or unexpected requests.
const GARBAGE: [&[u8]; 8] = [
    b"\0",
    b"\r\n\r\n",
    b"0\r\n\r\n",
    b"fffffffffffffffff\r\n",
    b"GET /open/2 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /open/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
];

pub(super) struct Client {
    pub(super) room: Room,
    /// Requests that were started.
    begun: usize,
    pub(super) wire: ClientWire,
}

pub(super) enum ClientWire {
    Http1(Http1Client),
    Http2(Box<Http2Client>),
    Gone,
}

impl Client {
    pub(super) async fn new(socket: UnixStream, http2: bool) -> Self {
        let wire = if http2 {
            let (requests, connection) = h2::client::handshake(socket)
                .await
                .expect("room for a preface");
            ClientWire::Http2(Box::new(Http2Client {
                requests,
                connection,
                is_over: false,
                streams: [const { None }; REQUESTS],
            }))
        } else {
            ClientWire::Http1(Http1Client {
                link: Http1Link::new(socket),
                chunked: false,
                front: 0,
                body: None,
                closing: false,
            })
        };
        Self {
            room: Room::ALL,
            begun: 0,
            wire,
        }
    }

    /// Starts the next request, if the previous one allows it.
    pub(super) fn begin(&mut self, framing: Framing, ledger: &mut Ledger) {
        let n = self.begun;
        if n == REQUESTS || ledger.in_order && n > 0 && !ledger.exchanges[n - 1].up.ended {
            return;
        }
        let framing = if framing == Framing::UntilClose {
            Framing::Chunked
        } else {
            framing
        };
        match &mut self.wire {
            ClientWire::Gone => return,
            ClientWire::Http1(client) => {
                client.chunked = framing == Framing::Chunked;
                let field = match framing {
                    Framing::None => String::new(),
                    Framing::Length(length) => format!("Content-Length: {length}\r\n"),
                    Framing::Chunked | Framing::UntilClose => {
                        "Transfer-Encoding: chunked\r\n".to_owned()
                    }
                };
                client.link.put(
                    format!("POST /open/{n} HTTP/1.1\r\nHost: a.test\r\n{field}\r\n").as_bytes(),
                );
            }
            ClientWire::Http2(client) => {
                let mut request = Request::post(format!("http://a.test/open/{n}"));
                if let Framing::Length(length) = framing {
                    request = request.header("content-length", length);
                }
                let is_whole = framing == Framing::None;
                let request = request.body(()).expect("a request");
                // It fails if the connection has ended.
                let Ok((response, sender)) = client.requests.send_request(request, is_whole) else {
                    return;
                };
                let sender = Http2Sender::new(sender, is_whole);
                client.streams[n] = Some(ClientStream {
                    sender,
                    response: Some(response),
                    body: None,
                });
            }
        }
        ledger.exchanges[n].up.begin(framing);
        self.begun += 1;
    }

    pub(super) fn upload(&mut self, n: usize, size: usize, ledger: &mut Ledger) {
        let part = ledger.exchanges[n].up.queue(size);
        if let ClientWire::Http1(client) = &mut self.wire {
            client.link.put_part(part, client.chunked);
        }
    }

    pub(super) fn end_upload(&mut self, n: usize, ledger: &mut Ledger) {
        let up = &mut ledger.exchanges[n].up;
        if !up.begun || up.ended {
            return;
        }
        let rest = up.end();
        if let ClientWire::Http1(client) = &mut self.wire {
            client.link.put_part(rest, client.chunked);
            if client.chunked {
                client.link.put(b"0\r\n\r\n");
            }
        }
    }

    /// Abandons one request, or all.
    pub(super) fn reset(&mut self, n: usize, ledger: &mut Ledger) {
        match &mut self.wire {
            ClientWire::Http2(client) => {
                if let Some(mut stream) = client.streams[n].take() {
                    ledger.roughen(n);
                    stream.sender.reset();
                }
            }
            ClientWire::Http1(_) | ClientWire::Gone => self.leave(ledger),
        }
    }

    pub(super) fn leave(&mut self, ledger: &mut Ledger) {
        (0..REQUESTS).for_each(|n| ledger.roughen(n));
        self.wire = ClientWire::Gone;
    }

    pub(super) fn send_garbage(&mut self, at: usize, ledger: &mut Ledger) {
        if let ClientWire::Http1(client) = &mut self.wire {
            ledger.client_is_hostile();
            client.link.put(GARBAGE[at % GARBAGE.len()]);
        }
    }

    /// Makes progress without waiting. Returns whether there was any.
    pub(super) fn pump(&mut self, cx: &mut Context<'_>, ledger: &mut Ledger) -> bool {
        match &mut self.wire {
            ClientWire::Gone => false,
            ClientWire::Http1(client) => client.pump(&mut self.room, ledger),
            ClientWire::Http2(client) => client.pump(cx, &mut self.room, ledger),
        }
    }

    /// The request whose response is next, if responses have an order.
    pub(super) fn front(&self) -> Option<usize> {
        match &self.wire {
            ClientWire::Http1(client) => Some(client.front),
            ClientWire::Http2(_) | ClientWire::Gone => None,
        }
    }

    /// Whether the connection ends after the responses so far.
    pub(super) fn is_closing(&self) -> bool {
        match &self.wire {
            ClientWire::Http1(client) => client.closing && client.body.is_none(),
            ClientWire::Http2(_) | ClientWire::Gone => false,
        }
    }

    /// Whether menshen has closed the connection without announcing it.
    pub(super) fn is_cut(&self) -> bool {
        match &self.wire {
            ClientWire::Http1(client) => client.link.is_over && !client.closing,
            ClientWire::Http2(client) => client.is_over,
            ClientWire::Gone => false,
        }
    }
}

pub(super) struct Http1Client {
    link: Http1Link,
    /// The current request is chunked.
    chunked: bool,
    front: usize,
    /// The framing of the current response.
    body: Option<Body>,
    /// A response announced that it is the last one.
    closing: bool,
}

impl Http1Client {
    fn pump(&mut self, room: &mut Room, ledger: &mut Ledger) -> bool {
        let mut moved = self.link.pump(room);
        while let Some(event) = self.link.next() {
            moved = true;
            if let Event::Head(head) = &event {
                self.body = self.take_head(head, ledger);
                continue;
            }
            // A hostile client may get more responses than the requests that it counts.
            let Some(exchange) = ledger.exchanges.get_mut(self.front) else {
                continue;
            };
            if let Event::Data(part) = event {
                exchange.down.take(&part);
            } else {
                exchange.down.complete();
                self.front += 1;
                self.body = None;
            }
        }
        moved
    }

    fn take_head(&mut self, head: &Head, ledger: &mut Ledger) -> Option<Body> {
        assert!(!self.closing, "a response behind the last one: {head:?}");
        let status = head
            .line
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3))
            .expect("a status line");
        let status = status.parse().expect("a status");
        if status < 200 {
            assert_eq!(head.body(), None);
            assert!(status != 101, "an upgrade that was not asked for");
            if let Some(n) = Some(self.front).filter(|&n| n < REQUESTS && !ledger.hostile_client) {
                ledger.informational_arrived(n);
            }
            return None;
        }
        self.closing = head.values("connection").contains(&"close");
        // None is delimited by the end of the connection, since this client accepts chunks.
        let body = head.body().filter(|_| !matches!(status, 204 | 304));
        assert!(
            body.is_some() || matches!(status, 204 | 304),
            "a response without an end: {head:?}"
        );
        self.link.reader.begin_body(body.unwrap_or(Body::Length(0)));
        if !ledger.hostile_client {
            let length = match body {
                Some(Body::Length(length)) => Some(length),
                _ => None,
            };
            let (numbers, own) = (head.values("x-n"), head.values("x-menshen-error"));
            ledger.response_arrived(
                self.front,
                &ResponseHead {
                    status,
                    numbers,
                    own,
                    length,
                },
            );
        }
        Some(body.unwrap_or(Body::Length(0)))
    }
}

pub(super) struct Http2Client {
    requests: SendRequest<Bytes>,
    connection: Connection<UnixStream, Bytes>,
    is_over: bool,
    streams: [Option<ClientStream>; REQUESTS],
}

struct ClientStream {
    sender: Http2Sender,
    response: Option<ResponseFuture>,
    body: Option<RecvStream>,
}

impl Http2Client {
    fn pump(&mut self, cx: &mut Context<'_>, room: &mut Room, ledger: &mut Ledger) -> bool {
        let mut moved = false;
        self.is_over = self.is_over || std::pin::Pin::new(&mut self.connection).poll(cx).is_ready();
        for (n, stream) in self.streams.iter_mut().enumerate() {
            if let Some(stream) = stream {
                moved |= stream.pump(n, cx, room, ledger);
            }
        }
        // The window that was released is for the connection.
        self.is_over = self.is_over || std::pin::Pin::new(&mut self.connection).poll(cx).is_ready();
        moved
    }
}

impl ClientStream {
    fn pump(
        &mut self,
        n: usize,
        cx: &mut Context<'_>,
        room: &mut Room,
        ledger: &mut Ledger,
    ) -> bool {
        let mut moved = self.sender.pump(cx, &ledger.exchanges[n].up);
        if let Some(response) = &mut self.response {
            while let Poll::Ready(Some(Ok(_))) = response.poll_informational(cx) {
                ledger.informational_arrived(n);
                moved = true;
            }
            if let Poll::Ready(response) = std::pin::Pin::new(response).poll(cx) {
                (self.response, moved) = (None, true);
                // An error means a reset.
                if let Ok(response) = response {
                    let (head, body) = response.into_parts();
                    let text = |name: &str| {
                        head.headers
                            .get_all(name)
                            .iter()
                            .map(|value| value.to_str().expect("text"))
                            .collect::<Vec<_>>()
                    };
                    let length = text("content-length")
                        .first()
                        .map(|length| length.parse().expect("a length"));
                    let (numbers, own) = (text("x-n"), text("x-menshen-error"));
                    ledger.response_arrived(
                        n,
                        &ResponseHead {
                            status: head.status.as_u16(),
                            numbers,
                            own,
                            length,
                        },
                    );
                    self.body = Some(body);
                }
            }
        }
        if let Some(body) = &mut self.body {
            let received = receive(body, cx, room, &mut ledger.exchanges[n].down);
            moved |= received != Received::Nothing;
            if received == Received::Over {
                self.body = None;
            }
        }
        moved
    }
}
