//! The client.

use std::{
    future::poll_fn,
    net::{self, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::Poll,
};

use bytes::Bytes;
use http::HeaderMap;

use super::{
    super::http2,
    BodyLength, BodyReader, BodyWriter, Broken, CONNECTION_WINDOW, Protocol, Socket, prepare,
    wire::{Framing, Wire, body_length, framing_field, parse_head},
    within,
};

/// A client's connection.
#[derive(Debug)]
pub struct ClientEnd {
    pub socket: Socket,
    how: Connected,
}

#[derive(Debug)]
enum Connected {
    Http1(Arc<Wire>),
    Http2(h2::client::SendRequest<Bytes>),
}

impl ClientEnd {
    pub async fn connect(to: SocketAddr, protocol: Protocol) -> Self {
        let (stream, socket) = prepare(net::TcpStream::connect(to).expect("a connection"));
        let how = match protocol {
            Protocol::Http1 => Connected::Http1(Wire::new(stream)),
            Protocol::Http2 => {
                let mut builder = h2::client::Builder::new();
                builder.initial_connection_window_size(CONNECTION_WINDOW);
                let (send, connection) = within("a handshake", builder.handshake(stream))
                    .await
                    .expect("HTTP/2");
                tokio::spawn(connection);
                Connected::Http2(send)
            }
        };
        Self { socket, how }
    }

    /// Sends the head of a request.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: BodyLength,
    ) -> (BodyWriter, Pending) {
        let length = if let BodyLength::Known(length) = body {
            length.to_string()
        } else {
            String::new()
        };
        match &self.how {
            Connected::Http1(wire) => {
                let mut head = format!("{method} {path} HTTP/1.1\r\nHost: shop.example\r\n");
                for (name, value) in fields {
                    head += &format!("{name}: {value}\r\n");
                }
                head += &framing_field(body);
                head.push_str("\r\n");
                wire.write(head.as_bytes())
                    .await
                    .expect("an open connection");
                let writer = BodyWriter::Http1(wire.clone(), body == BodyLength::Unknown);
                (writer, Pending::Http1(wire.clone(), method == "HEAD"))
            }
            Connected::Http2(send) => {
                let mut fields = fields.to_vec();
                if !length.is_empty() {
                    fields.push(("content-length", &length));
                }
                let request =
                    http2::request(method, &format!("http://shop.example{path}"), &fields);
                let mut send = within("a stream", send.clone().ready())
                    .await
                    .expect("an open connection");
                let ended = matches!(body, BodyLength::None | BodyLength::Known(0));
                let (answer, stream) = send.send_request(request, ended).expect("a stream");
                (BodyWriter::Http2(stream), Pending::Http2(answer))
            }
        }
    }
}

/// An answer that has not come.
#[derive(Debug)]
pub enum Pending {
    /// `true`: to HEAD.
    Http1(Arc<Wire>, bool),
    Http2(h2::client::ResponseFuture),
}

/// The head of an answer, and its body as it comes.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub fields: HeaderMap,
    pub body: BodyReader,
    /// The informational answers before it.
    pub informational: Vec<(u16, HeaderMap)>,
}

impl Pending {
    /// Waits for what comes first: `true` where it is a 100.
    pub async fn continued(mut self) -> (bool, Self) {
        let continued = match &mut self {
            Self::Http1(wire, _) => {
                let head = wire
                    .until(b"\r\n\r\n")
                    .await
                    .expect("an answer")
                    .expect("an answer");
                head.starts_with("HTTP/1.1 100 ")
            }
            Self::Http2(answer) => {
                let first = poll_fn(|cx| answer.poll_informational(cx)).await;
                first.is_some_and(|first| first.expect("an answer").status() == 100)
            }
        };
        (continued, self)
    }

    pub async fn head(self) -> Result<Answer, Broken> {
        let mut informational = Vec::new();
        match self {
            Self::Http1(wire, to_head) => loop {
                let text = wire
                    .until(b"\r\n\r\n")
                    .await?
                    .ok_or_else(|| Broken("no answer".to_owned()))?;
                let (line, fields) = parse_head(&text);
                let status: u16 = line
                    .split(' ')
                    .nth(1)
                    .and_then(|status| status.parse().ok())
                    .expect("a status");
                if status < 200 && status != 101 {
                    informational.push((status, fields));
                    continue;
                }
                let bodiless = to_head || matches!(status, 204 | 304);
                let framing = match status {
                    101 => Framing::UntilEnd,
                    _ if bodiless => Framing::Complete,
                    _ => body_length(&fields, Framing::UntilEnd),
                };
                let body = BodyReader::http1(&wire, framing, None);
                return Ok(Answer {
                    status,
                    fields,
                    body,
                    informational,
                });
            },
            Self::Http2(mut answer) => {
                let answer = poll_fn(|cx| {
                    while let Poll::Ready(Some(Ok(head))) = answer.poll_informational(cx) {
                        informational.push((head.status().as_u16(), head.headers().clone()));
                    }
                    Pin::new(&mut answer).poll(cx)
                });
                let (head, body) = answer.await?.into_parts();
                let body = BodyReader::http2(body);
                Ok(Answer {
                    status: head.status.as_u16(),
                    fields: head.headers,
                    body,
                    informational,
                })
            }
        }
    }
}
