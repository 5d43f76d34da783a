//! The backend.

use std::{
    future::poll_fn,
    net::{self, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use h2::Reason;
use http::{HeaderName, Request, Response, StatusCode, header};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
};

use super::{
    BodyLength, BodyReader, BodyWriter, Broken, CONNECTION_WINDOW, Protocol, Socket, prepare,
    wire::{Framing, Wire, body_length, framing_field, parse_head},
    within,
};

/// A backend that gives each request to the test.
#[derive(Debug)]
pub struct BackendEnd {
    pub address: SocketAddr,
    pub protocol: Protocol,
    requests: tokio::sync::Mutex<mpsc::UnboundedReceiver<Exchange>>,
}

/// A request, and how to answer it.
#[derive(Debug)]
pub struct Exchange {
    /// Which connection it came on.
    pub connection: usize,
    pub method: String,
    pub target: String,
    pub body: BodyReader,
    pub respond: Responder,
    pub leave: Leave,
}

/// How the backend leaves in the middle of an exchange.
#[derive(Debug, Clone)]
pub struct Leave {
    pub socket: Arc<Socket>,
    go_away: mpsc::UnboundedSender<GoAway>,
}

/// GOAWAY is to be sent. No reason: when all streams may end first. The sender hears that what is
/// sent from then on comes after it.
type GoAway = (Option<Reason>, oneshot::Sender<()>);

impl Leave {
    /// GOAWAY, and the end of the connection.
    pub fn go_away(&self, reason: Reason) {
        self.go_away
            .send((Some(reason), oneshot::channel().0))
            .expect("a connection");
    }

    /// GOAWAY, before all that is sent from now on, and the end of the connection when the streams
    /// have ended.
    pub async fn go_away_in_peace(&self) {
        let (told, heard) = oneshot::channel();
        self.go_away.send((None, told)).expect("a connection");
        heard.await.expect("a connection");
    }
}

#[derive(Debug)]
pub enum Responder {
    Http1(Arc<Wire>),
    Http2(h2::server::SendResponse<Bytes>),
}

impl BackendEnd {
    /// Listens; has to be called on a runtime.
    pub fn start(protocol: Protocol) -> Self {
        let listener = net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a socket option");
        let address = listener.local_addr().expect("an address");
        let listener = TcpListener::from_std(listener).expect("a listener");
        let (tell, requests) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let count = AtomicUsize::new(0);
            while let Ok((stream, _)) = listener.accept().await {
                let (stream, socket) = prepare(stream.into_std().expect("a stream"));
                let connection = count.fetch_add(1, Ordering::Relaxed);
                let (go_away, commands) = mpsc::unbounded_channel();
                let leave = Leave {
                    socket: Arc::new(socket),
                    go_away,
                };
                match protocol {
                    Protocol::Http1 => {
                        tokio::spawn(serve_http1(stream, connection, leave, tell.clone()))
                    }
                    Protocol::Http2 => tokio::spawn(serve_http2(
                        stream,
                        connection,
                        leave,
                        commands,
                        tell.clone(),
                    )),
                };
            }
        });
        Self {
            address,
            protocol,
            requests: requests.into(),
        }
    }

    /// The next request, on whatever connection.
    pub async fn next(&self) -> Exchange {
        let mut requests = self.requests.lock().await;
        within("a request at the backend", requests.recv())
            .await
            .expect("a backend")
    }
}

async fn serve_http1(
    stream: TcpStream,
    connection: usize,
    leave: Leave,
    tell: mpsc::UnboundedSender<Exchange>,
) {
    let wire = Wire::new(stream);
    while let Ok(Some(text)) = wire.until(b"\r\n\r\n").await {
        let (line, fields) = parse_head(&text);
        let mut words = line.split(' ').map(str::to_owned);
        let (method, target) = (
            words.next().expect("a method"),
            words.next().expect("a target"),
        );
        let upgrades = fields.contains_key(header::UPGRADE);
        let framing = if upgrades {
            Framing::UntilEnd
        } else {
            body_length(&fields, Framing::Complete)
        };
        let (complete, completed) = oneshot::channel();
        let body = BodyReader::http1(&wire, framing, Some(complete));
        let respond = Responder::Http1(wire.clone());
        // The test may be over.
        let _ = tell.send(Exchange {
            connection,
            method,
            target,
            body,
            respond,
            leave: leave.clone(),
        });
        // The next request comes after the body of this one, and never where that is not read to
        // its end.
        if upgrades || completed.await.is_err() {
            return;
        }
    }
}

async fn serve_http2(
    stream: TcpStream,
    connection: usize,
    leave: Leave,
    mut commands: mpsc::UnboundedReceiver<GoAway>,
    tell: mpsc::UnboundedSender<Exchange>,
) {
    let mut builder = h2::server::Builder::new();
    builder.initial_connection_window_size(CONNECTION_WINDOW);
    let Ok(mut carried) = builder.handshake(stream).await else {
        return;
    };
    loop {
        let accepted = tokio::select! {
            accepted = carried.accept() => accepted,
            command = commands.recv() => {
                let Some((reason, told)) = command else { return };
                match reason {
                    Some(reason) => carried.abrupt_shutdown(reason),
                    None => carried.graceful_shutdown(),
                }
                // Not everybody waits for it.
                let _ = told.send(());
                continue;
            }
        };
        let Some(Ok((request, respond))) = accepted else {
            return;
        };
        let (head, body): (http::request::Parts, _) = Request::into_parts(request);
        // The test may be over.
        let _ = tell.send(Exchange {
            connection,
            method: head.method.to_string(),
            target: head
                .uri
                .path_and_query()
                .map_or_else(String::new, ToString::to_string),
            body: BodyReader::http2(body),
            respond: Responder::Http2(respond),
            leave: leave.clone(),
        });
    }
}

impl Responder {
    fn head(status: u16, fields: &[(&str, &str)]) -> Response<()> {
        let mut head = Response::new(());
        *head.status_mut() = StatusCode::from_u16(status).expect("a status");
        for (name, value) in fields {
            head.headers_mut().append(
                name.parse::<HeaderName>().expect("a name"),
                value.parse().expect("a value"),
            );
        }
        head
    }

    fn text(status: u16, fields: &[(&str, &str)]) -> String {
        let mut head = format!("HTTP/1.1 {status} X\r\n");
        for (name, value) in fields {
            head += &format!("{name}: {value}\r\n");
        }
        head
    }

    /// Sends an informational answer.
    pub async fn inform(&mut self, status: u16, fields: &[(&str, &str)]) -> Result<(), Broken> {
        match self {
            Self::Http1(wire) => {
                wire.write((Self::text(status, fields) + "\r\n").as_bytes())
                    .await
            }
            Self::Http2(respond) => Ok(respond.send_informational(Self::head(status, fields))?),
        }
    }

    /// Sends the head of the answer.
    pub async fn respond(
        self,
        status: u16,
        fields: &[(&str, &str)],
        body: BodyLength,
    ) -> Result<BodyWriter, Broken> {
        match self {
            Self::Http1(wire) => {
                let body = if body == BodyLength::None && status != 101 {
                    BodyLength::Known(0)
                } else {
                    body
                };
                let head = Self::text(status, fields) + &framing_field(body) + "\r\n";
                wire.write(head.as_bytes()).await?;
                Ok(BodyWriter::Http1(wire, body == BodyLength::Unknown))
            }
            Self::Http2(mut respond) => {
                let mut head = Self::head(status, fields);
                if let BodyLength::Known(length) = body {
                    head.headers_mut()
                        .insert(header::CONTENT_LENGTH, length.into());
                }
                let ended = matches!(body, BodyLength::None | BodyLength::Known(0));
                Ok(BodyWriter::Http2(respond.send_response(head, ended)?))
            }
        }
    }

    /// Sends a whole answer.
    pub async fn answer(self, status: u16, body: &str) -> Result<(), Broken> {
        let mut writer = self
            .respond(status, &[], BodyLength::Known(body.len()))
            .await?;
        if body.is_empty() {
            return Ok(());
        }
        writer
            .write(Bytes::copy_from_slice(body.as_bytes()))
            .await?;
        writer.finish().await
    }

    pub fn reset(&mut self, reason: Reason) {
        let Self::Http2(respond) = self else {
            panic!("HTTP/1.1 has no streams")
        };
        respond.send_reset(reason);
    }

    /// Waits until menshen has given the request up.
    pub async fn peer_gone(&mut self) {
        match self {
            Self::Http1(wire) => wire.end().await,
            Self::Http2(respond) => drop(poll_fn(|cx| respond.poll_reset(cx)).await),
        }
    }
}
