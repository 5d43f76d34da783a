//! Answers with what comes after them: hyper's HTTP/1 client reads these, because pingora's discards trailers.
//!
//! Only for who asked with `TE: trailers`; `docs/decisions/0017-trailers-are-read-by-hyper.md` says why. The connection comes from
//! the same pool and goes back to it.
//!
//! Must stay true: one request on one connection, and nothing sent twice; a body that is not whole is a fault, never an end;
//! whoever drops this ends the connection.

use std::{
    error::Error as _,
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version, header, request::Parts};
use http_body_util::Empty;
use hyper::{
    body::{Body, Incoming},
    client::conn::http1::{self, Connection},
    ext::{ReasonPhrase, on_informational},
};
use hyper_util::rt::TokioIo;
use pingora::{
    Error, ErrorType,
    http::{RequestHeader, ResponseHeader},
    protocols::Stream,
};
use tokio::{sync::mpsc, time::timeout};

use super::Answer;

/// Header fields in an answer, and in its trailers: as many as pingora's client reads.
const MOST_FIELDS: usize = 256;
/// Informational answers that wait to be passed on. Nobody misses the ones beyond that.
const MOST_EARLY: usize = 16;

type Answered = Pin<Box<dyn Future<Output = hyper::Result<Response<Incoming>>> + Send>>;

/// One request and its answer on one connection.
pub(super) struct Trailing {
    /// Polled with each step, as it does the work. `None`: it has ended.
    connection: Option<Connection<TokioIo<Stream>, Empty<Bytes>>>,
    /// The connection after its end, where nothing more was read from it.
    over: Option<Stream>,
    answered: Answered,
    early: mpsc::Receiver<ResponseHeader>,
    head: Option<ResponseHeader>,
    body: Option<Incoming>,
    part: Bytes,
    trailers: Option<HeaderMap>,
    /// The body has been read to its end.
    whole: bool,
    /// Longest silence.
    patience: Duration,
}

/// The request as hyper sends it, target byte by byte. `None`: hyper would write another.
pub(super) fn request(from: &RequestHeader, target: &str) -> Option<Parts> {
    let mut parts = from.as_owned_parts();
    let same = parts.uri.path_and_query().is_some_and(|written| written == target) && parts.uri.authority().is_none();
    parts.version = Version::HTTP_11;
    parts.headers.insert(header::TE, HeaderValue::from_static("trailers"));
    // `TE` is for one hop, and says so (RFC 9110 section 10.1.4).
    parts.headers.insert(header::CONNECTION, HeaderValue::from_static("TE"));
    same.then_some(parts)
}

impl Trailing {
    /// Sends the request. `patience`: longest silence of the backend.
    pub(super) async fn send(stream: Stream, request: Parts, patience: Duration) -> pingora::Result<Self> {
        let handshake =
            http1::Builder::new().title_case_headers(true).max_headers(MOST_FIELDS).handshake(TokioIo::new(stream));
        let (mut sender, connection) = match handshake.await {
            Ok(ready) => ready,
            Err(fault) => return explain(&fault),
        };
        let mut request = Request::from_parts(request, Empty::new());
        let (heard, early) = mpsc::channel(MOST_EARLY);
        on_informational(&mut request, move |answer| {
            // Too many of them: the rest is not passed on.
            if let Ok(head) = head_of(answer.status(), answer.version(), answer.headers()) {
                drop(heard.try_send(head));
            }
        });
        // The sender goes at once, so the connection ends, in peace, with this answer.
        let answered = Box::pin(sender.send_request(request));
        Ok(Self {
            connection: Some(connection),
            over: None,
            answered,
            early,
            head: None,
            body: None,
            part: Bytes::new(),
            trailers: None,
            whole: false,
            patience,
        })
    }

    /// Lets the connection do what it can.
    fn drive(&mut self, cx: &mut Context<'_>) {
        let Some(connection) = &mut self.connection else { return };
        match connection.poll_without_shutdown(cx) {
            Poll::Pending => {}
            // What was wrong, the answer or its body is told.
            Poll::Ready(Err(_)) => self.connection = None,
            Poll::Ready(Ok(())) => {
                let parts = self.connection.take().map(Connection::into_parts);
                self.over = parts.filter(|parts| parts.read_buf.is_empty()).map(|parts| parts.io.into_inner());
            }
        }
    }

    /// The connection, where another request can be made on it.
    pub(super) async fn into_stream(mut self) -> Option<Stream> {
        poll_fn(|cx| {
            self.drive(cx);
            Poll::Ready(())
        })
        .await;
        let head = self.head.as_ref().filter(|_| self.whole)?;
        let framed = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING].iter().any(|name| head.headers.contains_key(name));
        (framed && head.version == Version::HTTP_11 && !closes(&head.headers)).then_some(self.over).flatten()
    }
}

impl Answer for Trailing {
    const TRAILS: bool = true;

    async fn read_head(&mut self) -> pingora::Result<()> {
        let patience = self.patience;
        let next = poll_fn(|cx| {
            self.drive(cx);
            // The informational ones came before it.
            if let Poll::Ready(Some(head)) = self.early.poll_recv(cx) {
                return Poll::Ready(Ok(Next::Early(head)));
            }
            self.answered.as_mut().poll(cx).map(|answer| answer.map(Next::Final))
        });
        match timeout(patience, next).await {
            Err(_) => silent(),
            Ok(Err(fault)) => explain(&fault),
            Ok(Ok(Next::Early(head))) => {
                self.head = Some(head);
                Ok(())
            }
            Ok(Ok(Next::Final(answer))) => {
                let (head, body) = answer.into_parts();
                let codings: Vec<_> = head.headers.get_all(header::TRANSFER_ENCODING).iter().collect();
                if !matches!(&codings[..], [] | [_]) || codings.iter().any(|coding| !is_chunked(coding)) {
                    return Err(Error::explain(ErrorType::InvalidHTTPHeader, "not one chunked coding").into_up());
                }
                let reason = head.extensions.get::<ReasonPhrase>().and_then(|reason| str::from_utf8(reason.as_bytes()).ok());
                let mut head = head_of(head.status, head.version, &head.headers)?;
                head.set_reason_phrase(reason)?;
                (self.head, self.body) = (Some(head), Some(body));
                Ok(())
            }
        }
    }

    fn head(&self) -> Option<&ResponseHeader> {
        self.head.as_ref()
    }

    fn is_upgraded(&self) -> bool {
        false
    }

    async fn part(&mut self) -> pingora::Result<Option<&[u8]>> {
        let patience = self.patience;
        loop {
            let next = poll_fn(|cx| {
                self.drive(cx);
                self.body.as_mut().map_or(Poll::Ready(None), |body| Pin::new(body).poll_frame(cx))
            });
            match timeout(patience, next).await {
                Err(_) => return silent(),
                Ok(Some(Err(fault))) => return explain(&fault),
                Ok(None) => {
                    self.whole = true;
                    return Ok(None);
                }
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(part) => {
                        self.part = part;
                        return Ok(Some(&self.part));
                    }
                    Err(frame) => self.trailers = frame.into_trailers().ok(),
                },
            }
        }
    }

    fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_ref()
    }
}

/// A head in pingora's terms. It writes names in title case, as hyper does not keep them as they came.
fn head_of(status: StatusCode, version: Version, fields: &HeaderMap) -> pingora::Result<ResponseHeader> {
    let mut head = ResponseHeader::build(status, Some(fields.len()))?;
    head.set_version(version);
    for (name, value) in fields {
        head.append_header(name, value)?;
    }
    Ok(head)
}

/// What is read before a body.
enum Next {
    Early(ResponseHeader),
    Final(Response<Incoming>),
}

fn closes(headers: &HeaderMap) -> bool {
    let options = headers.get_all(header::CONNECTION).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    options.map(<[u8]>::trim_ascii).any(|option| option.eq_ignore_ascii_case(b"close"))
}

fn is_chunked(coding: &HeaderValue) -> bool {
    coding.as_bytes().eq_ignore_ascii_case(b"chunked")
}

fn silent<T>() -> pingora::Result<T> {
    Err(Error::explain(ErrorType::ReadTimedout, "the backend is silent").into_up())
}

/// A fault of hyper in pingora's terms, without its text.
fn explain<T>(fault: &hyper::Error) -> pingora::Result<T> {
    let of_io = fault.source().and_then(|source| source.downcast_ref::<io::Error>()).map(io::Error::kind);
    let (kind, what) = match of_io {
        _ if fault.is_parse() => (ErrorType::InvalidHTTPHeader, "not an answer"),
        _ if fault.is_incomplete_message() || fault.is_canceled() || fault.is_closed() => {
            (ErrorType::ConnectionClosed, "the backend ended the connection")
        }
        Some(io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput) => (INVALID_BODY, "not a body"),
        Some(io::ErrorKind::UnexpectedEof) => (ErrorType::ConnectionClosed, "the backend ended the connection"),
        Some(_) | None => (ErrorType::ReadError, "the backend's connection broke"),
    };
    Err(Error::explain(kind, what).into_up())
}

/// Chunks or trailers that are none.
const INVALID_BODY: ErrorType = ErrorType::Custom("InvalidBody");
