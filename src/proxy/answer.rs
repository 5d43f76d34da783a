//! Refusals, written straight to the client's connection: the request never becomes anything more than bytes.

use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use pingora::{
    Error, ErrorType,
    http::ResponseHeader,
    protocols::{Shutdown, Stream, http::v2::server::HttpSession},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::grpc;
use crate::{
    api::{Said, problem::Problem},
    gate::MessageFraming,
    policy::BodyLength,
};

/// The longest body that is read and thrown away so that a refused client may keep its connection.
const DRAIN_AT_MOST: u64 = 16 * 1024;

/// How a refusal left its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Afterwards {
    /// The next request may come.
    Open,
    /// It has ended, or must.
    Closed,
}

/// The bytes of a refusal.
pub(super) fn refusal(problem: &Problem, said: &Said, request_id: &str, head_only: bool, keep: bool) -> Vec<u8> {
    let Said { status, content_type, headers, body } = said;
    let mut out = Vec::with_capacity(512 + body.len());
    let mut put = |parts: &[&str]| parts.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
    put(&["HTTP/1.1 ", status.as_str(), " ", status.canonical_reason().unwrap_or("Error"), "\r\n"]);
    put(&["Content-Type: ", content_type, "\r\nContent-Length: ", itoa::Buffer::new().format(body.len()), "\r\n"]);
    put(&["Cache-Control: no-store\r\nX-Menshen-Error: ", problem.code.as_str(), "\r\nX-Request-Id: ", request_id, "\r\n"]);
    if let Some(challenge) = problem.www_authenticate().filter(|_| matches!(status.as_u16(), 401 | 403)) {
        put(&["WWW-Authenticate: ", challenge, "\r\n"]);
    }
    if let Some(secs) = problem.retry_after_secs(request_id) {
        put(&["Retry-After: ", itoa::Buffer::new().format(secs), "\r\n"]);
    }
    if let Some(allow) = &problem.allow {
        put(&["Allow: ", allow, "\r\n"]);
    }
    let keep = if keep { "keep-alive" } else { "close" };
    match problem.websocket_version() {
        Some(version) => {
            put(&["Upgrade: websocket\r\nSec-WebSocket-Version: ", version, "\r\nConnection: ", keep, ", Upgrade\r\n"]);
        }
        None => put(&["Connection: ", keep, "\r\n"]),
    }
    for (name, value) in headers {
        out.extend_from_slice(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    out.extend_from_slice(b"\r\n");
    if !head_only {
        out.extend_from_slice(body);
    }
    out
}

/// The bytes of an answer without a body.
pub(super) fn bodiless(status: StatusCode, fields: &[(HeaderName, HeaderValue)], keep: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    let mut put = |parts: &[&[u8]]| parts.iter().for_each(|part| out.extend_from_slice(part));
    put(&[b"HTTP/1.1 ", status.as_str().as_bytes(), b" ", status.canonical_reason().unwrap_or("Error").as_bytes(), b"\r\n"]);
    for (name, value) in fields {
        put(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"]);
    }
    if status != StatusCode::NO_CONTENT {
        put(&[b"Content-Length: 0\r\n"]);
    }
    put(&[b"Connection: ", if keep { b"keep-alive" } else { b"close" }, b"\r\n\r\n"]);
    out
}

/// The head of a refusal, for whoever writes it through pingora.
pub(super) fn head(problem: &Problem, said: Said, request_id: &str) -> pingora::Result<ResponseHeader> {
    let Said { status, content_type, headers, body } = said;
    let mut head = ResponseHeader::build(status, Some(9 + headers.len()))?;
    for (name, value) in headers {
        head.append_header(name, value)?;
    }
    head.insert_header(header::CONTENT_TYPE, content_type)?;
    head.insert_header(header::CONTENT_LENGTH, HeaderValue::from(body.len()))?;
    head.insert_header(header::CACHE_CONTROL, "no-store")?;
    if let Some(challenge) = problem.www_authenticate().filter(|_| matches!(status.as_u16(), 401 | 403)) {
        head.insert_header(header::WWW_AUTHENTICATE, challenge)?;
    }
    if let Some(secs) = problem.retry_after_secs(request_id) {
        head.insert_header(header::RETRY_AFTER, HeaderValue::from(secs))?;
    }
    if let Some(allow) = &problem.allow {
        head.insert_header(header::ALLOW, value(allow)?)?;
    }
    mark(&mut head, problem, request_id)?;
    Ok(head)
}

/// Writes a refusal on HTTP/2, where the client may be one of gRPC. How long it may take, the session says.
pub(super) async fn on_http2(
    session: &mut HttpSession,
    problem: &Problem,
    said: Said,
    request_id: &str,
) -> pingora::Result<()> {
    let request = session.req_header();
    if grpc::is_grpc(&request.method, &request.headers) {
        return session.write_response_header(Box::new(grpc_head(problem, said.status, request_id)?), true);
    }
    let body = if request.method == Method::HEAD { Bytes::new() } else { said.body.clone().into() };
    session.write_response_header(Box::new(head(problem, said, request_id)?), body.is_empty())?;
    if body.is_empty() { Ok(()) } else { session.write_body(body, true).await }
}

/// The head of a refusal to a call of gRPC, which is all of it.
fn grpc_head(problem: &Problem, status: StatusCode, request_id: &str) -> pingora::Result<ResponseHeader> {
    let mut head = grpc::refusal(status, problem.detail)?;
    if let Some(secs) = problem.retry_after_secs(request_id) {
        head.insert_header(header::RETRY_AFTER, HeaderValue::from(secs))?;
    }
    mark(&mut head, problem, request_id)?;
    Ok(head)
}

/// Says that the answer is ours.
fn mark(head: &mut ResponseHeader, problem: &Problem, request_id: &str) -> pingora::Result<()> {
    head.insert_header("X-Menshen-Error", problem.code.as_str())?;
    head.insert_header("X-Request-Id", value(request_id)?)
}

fn value(text: &str) -> pingora::Result<HeaderValue> {
    HeaderValue::from_str(text).map_err(|_| Error::explain(ErrorType::InternalError, "not a header value"))
}

/// Whether a connection can go on after this request is refused unread: its end must be certain and near.
pub(super) const fn can_keep(extent: Option<&MessageFraming>) -> bool {
    match extent {
        None => false,
        Some(extent) => {
            extent.keep_alive
                && match extent.body {
                    BodyLength::None => true,
                    // A client that waits for 100 Continue may or may not send its body now.
                    BodyLength::Length(length) => length <= DRAIN_AT_MOST && !extent.expects_continue,
                    BodyLength::Unknown => false,
                }
        }
    }
}

/// Writes an answer and brings the connection to the next request: `bytes` starts at the refused head, and holds on return
/// what has been read of the next one. The caller bounds the time.
pub(super) async fn write(
    stream: &mut Stream,
    answer: &[u8],
    bytes: &mut BytesMut,
    extent: Option<&MessageFraming>,
    keep: bool,
) -> Afterwards {
    if stream.write_all(answer).await.is_err() || stream.flush().await.is_err() {
        return Afterwards::Closed;
    }
    let (true, Some(extent)) = (keep, extent) else {
        Shutdown::shutdown(&mut **stream).await;
        return Afterwards::Closed;
    };
    let length = match extent.body {
        BodyLength::None => 0,
        BodyLength::Length(length) => usize::try_from(length).unwrap_or(usize::MAX),
        BodyLength::Unknown => return Afterwards::Closed,
    };
    let end = extent.head_len.saturating_add(length);
    while bytes.len() < end {
        match stream.read_buf(bytes).await {
            Ok(0) | Err(_) => return Afterwards::Closed,
            Ok(_) => {}
        }
    }
    drop(bytes.split_to(end));
    if bytes.is_empty() {
        // An idle connection holds no memory for a head it may never send.
        *bytes = BytesMut::new();
    }
    Afterwards::Open
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;
    use crate::{
        api::{self, Voices},
        clock::Clock,
        config::{Config, Source},
        dialect::Dialects,
        error::ErrorCode,
        proxy::verify,
        types::Timestamp,
    };

    const DIALECT: &str = "mode = 'development'\n[[dialect]]\nkind = 'custom'\nprefix = '/old'\n\
                           [[dialect.route]]\nmethod = 'POST'\npath = '/in'\naction = 'wechat_login'\n\
                           inputs = { code = 'body.code' }\nbody = '{}'\n\
                           [[dialect.error]]\nbody = '{ \"wait\": \"{retry_after}\" }'\n";

    fn voices() -> Voices {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.toml");
        std::fs::write(&file, DIALECT).unwrap();
        let config = Config::load(&Source { file: Some(file), environment: Vec::new() }).unwrap().config;
        Voices::new(Arc::new(Dialects::compile(&config).unwrap()), Clock::manual(Timestamp::from_secs(1_800_000_000)))
    }

    fn field(text: &[u8]) -> Option<u64> {
        let text = str::from_utf8(text).unwrap().to_ascii_lowercase();
        let mut values = text.lines().filter_map(|line| line.strip_prefix("retry-after: ")?.parse().ok());
        let value = values.next();
        assert_eq!(values.next(), None);
        value
    }

    /// Whatever a refusal is written in, a client is told the same number, and with 503 it is always told one.
    #[test]
    fn every_way_of_writing_a_refusal_says_the_same_retry_after() {
        let voices = voices();
        let said_in = |header: Option<&HeaderValue>| header.map(|value| value.to_str().unwrap().parse().unwrap());
        let mut unavailable = 0;
        for code in ErrorCode::ALL {
            for problem in [Problem::new(code), Problem::new(code).retry_after(Duration::from_millis(61_001))] {
                for request_id in ["", "r1", "01900000-0000-7000-8000-00000000002a"] {
                    let expected: Option<u64> = problem.retry_after_secs(request_id);
                    let said = || voices.say("/x", &problem, request_id);
                    let in_dialect = voices.say("/old/x", &problem, request_id);
                    let in_body: serde_json::Value = serde_json::from_slice(&in_dialect.body).unwrap();
                    let (_, fields) = verify::no(&problem, request_id);
                    let asked = fields.iter().find(|(name, _)| *name == header::RETRY_AFTER).map(|(_, value)| value);
                    let ways = [
                        ("HTTP/1", field(&refusal(&problem, &said(), request_id, false, true))),
                        ("HTTP/1 in a dialect", field(&refusal(&problem, &in_dialect, request_id, false, true))),
                        ("HTTP/2", said_in(head(&problem, said(), request_id).unwrap().headers.get(header::RETRY_AFTER))),
                        (
                            "gRPC",
                            said_in(grpc_head(&problem, problem.status(), request_id).unwrap().headers.get("retry-after")),
                        ),
                        ("forward-auth", said_in(asked)),
                        ("the auth API", said_in(api::respond(&problem, request_id).headers().get(header::RETRY_AFTER))),
                        (
                            "a dialect's route",
                            said_in(voices.respond("/old/x", &problem, request_id).headers().get("retry-after")),
                        ),
                        ("a dialect's body", in_body["wait"].as_u64()),
                    ];
                    for (way, said) in ways {
                        assert_eq!(said, expected, "{code:?} {request_id:?} in {way}");
                    }
                    if problem.status() == StatusCode::SERVICE_UNAVAILABLE {
                        assert!(expected.is_some_and(|secs| secs > 0), "{code:?}");
                        unavailable += 1;
                    }
                }
            }
        }
        assert!(unavailable >= 6 * 8, "{unavailable}");
    }
}
