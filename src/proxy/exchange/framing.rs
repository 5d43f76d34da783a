//! The answer as a client of HTTP/1 gets it: its head, how its end is found, and its parts.
//!
//! Must stay true: an answer has one end for every reader (RFC 9112 section 6.3); fields of the backend's own connection end
//! here, and so do those that only menshen may set.

use std::{borrow::Cow, io};

use http::{HeaderMap, HeaderName, Method, StatusCode, header};
use pingora::{
    http::ResponseHeader,
    protocols::{Stream, http::date::get_cached_date},
};
use tokio::io::AsyncWriteExt;

use crate::policy::headers::{backend_may_send, backend_may_trail};

/// How the client finds the end of an answer (RFC 9112 section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AnswerFraming {
    /// By its status or the request's method there is no body.
    Bodiless,
    Length(u64),
    Chunked,
    UntilClose,
}

impl AnswerFraming {
    pub(super) fn of(answer: &ResponseHeader, method: &Method, http10: bool) -> Self {
        if *method == Method::HEAD || answer.status == StatusCode::NO_CONTENT || answer.status == StatusCode::NOT_MODIFIED {
            return Self::Bodiless;
        }
        // pingora has checked it: one number, or the same one several times.
        let length = answer.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        let length = length.and_then(|text| text.split(',').next()).and_then(|first| first.trim().parse().ok());
        match length {
            Some(length) if !answer.headers.contains_key(header::TRANSFER_ENCODING) => Self::Length(length),
            Some(_) | None if http10 => Self::UntilClose,
            Some(_) | None => Self::Chunked,
        }
    }
}

/// The head of an answer as the client gets it. `framing` and `keep`: `None` for an informational one.
pub(super) fn head_text(answer: &ResponseHeader, framing: Option<AnswerFraming>, keep: Option<bool>) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    let mut put = |parts: &[&[u8]]| parts.iter().for_each(|part| out.extend_from_slice(part));
    let reason = answer.get_reason_phrase().unwrap_or_default();
    put(&[b"HTTP/1.1 ", answer.status.as_str().as_bytes(), b" ", reason.as_bytes(), b"\r\n"]);
    let nominated = nominated(answer);
    let bodiless = framing.is_none_or(|framing| framing == AnswerFraming::Bodiless);
    for (name, value) in answer.case_header_iter() {
        let text = name.as_slice();
        let passes = match text.len() {
            // The end of the body is said anew, except where there is none and the field only informs (RFC 9110 section 8.6).
            14 if text.eq_ignore_ascii_case(b"content-length") => {
                bodiless && framing.is_some() && answer.status != StatusCode::NO_CONTENT
            }
            2 | 7 | 10 | 16..=18 if is_hop_by_hop(text) => false,
            _ => !nominated.iter().any(|nominated| text.eq_ignore_ascii_case(nominated.as_str().as_bytes())),
        };
        if passes && str::from_utf8(text).is_ok_and(backend_may_send) {
            put(&[text, b": ", value.as_bytes(), b"\r\n"]);
        }
    }
    match framing {
        Some(AnswerFraming::Length(length)) => {
            put(&[b"Content-Length: ", itoa::Buffer::new().format(length).as_bytes(), b"\r\n"]);
        }
        Some(AnswerFraming::Chunked) => put(&[b"Transfer-Encoding: chunked\r\n"]),
        Some(AnswerFraming::Bodiless | AnswerFraming::UntilClose) | None => {}
    }
    if let Some(keep) = keep {
        if !answer.headers.contains_key(header::DATE) {
            put(&[b"Date: ", get_cached_date().as_bytes(), b"\r\n"]);
        }
        put(&[if keep { b"Connection: keep-alive\r\n" } else { b"Connection: close\r\n" }]);
    }
    put(&[b"\r\n"]);
    out
}

/// Says in a head which trailers the backend has announced, of those that will pass.
pub(super) fn announce_trailers(text: &mut Vec<u8>, answer: &ResponseHeader) {
    let nominated = nominated(answer);
    let announced = answer.headers.get_all(header::TRAILER).iter().filter_map(|value| value.to_str().ok());
    let names: Vec<_> = announced
        .flat_map(|value| value.split(',').map(str::trim))
        .filter(|name| HeaderName::from_bytes(name.as_bytes()).is_ok_and(|name| may_trail(&name, &nominated)))
        .collect();
    if !names.is_empty() {
        text.truncate(text.len() - 2);
        text.extend_from_slice(format!("Trailer: {}\r\n\r\n", names.join(", ")).as_bytes());
    }
}

/// The end of a chunked answer, with the trailers that may pass.
pub(super) fn last_chunk(answer: Option<&ResponseHeader>, trailers: Option<&HeaderMap>) -> Cow<'static, [u8]> {
    let (Some(answer), Some(trailers)) = (answer, trailers) else { return Cow::Borrowed(b"0\r\n\r\n") };
    let nominated = nominated(answer);
    let mut out = b"0\r\n".to_vec();
    for (name, value) in trailers.iter().filter(|(name, _)| may_trail(name, &nominated)) {
        out.extend_from_slice(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    out.extend_from_slice(b"\r\n");
    Cow::Owned(out)
}

fn may_trail(name: &HeaderName, nominated: &[HeaderName]) -> bool {
    backend_may_trail(name.as_str()) && !nominated.contains(name)
}

fn is_hop_by_hop(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 8] = [
        b"te",
        b"trailer",
        b"upgrade",
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"transfer-encoding",
        b"proxy-authenticate",
    ];
    NAMES.iter().any(|hop| name.eq_ignore_ascii_case(hop))
}

/// Fields that the answer's `Connection` names, which are for this hop only (RFC 9110 section 7.6.1).
fn nominated(answer: &ResponseHeader) -> Vec<HeaderName> {
    answer
        .headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|option| !option.eq_ignore_ascii_case(b"close") && !option.eq_ignore_ascii_case(b"keep-alive"))
        .filter_map(|option| HeaderName::from_bytes(option).ok())
        .filter(|name| name != header::CONTENT_LENGTH)
        .collect()
}

/// One part of a body, framed for the client.
pub(super) async fn pass_on(stream: &mut Stream, part: &[u8], framing: AnswerFraming) -> io::Result<()> {
    if part.is_empty() {
        return Ok(());
    }
    match framing {
        AnswerFraming::Bodiless => Ok(()),
        AnswerFraming::Length(_) | AnswerFraming::UntilClose => stream.write_all(part).await,
        AnswerFraming::Chunked => {
            stream.write_all(format!("{:x}\r\n", part.len()).as_bytes()).await?;
            stream.write_all(part).await?;
            stream.write_all(b"\r\n").await
        }
    }
}
