//! A backend's response head, from either protocol, and the head that the client gets.
//!
//! Must stay true: every reader finds the same end of a response (RFC 9112 section 6.3); hop-by-hop
//! fields and those that only menshen may set are removed, from the head and from the trailers.

use std::ops::Range;

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use pingora::protocols::http::date::get_cached_date;

use super::message::{put, put_content_length, put_field, put_status_line};
use crate::{
    http1::{BodyLength, Trailers},
    policy::{
        HeaderRange,
        headers::{backend_may_send, backend_may_trail},
    },
};

/// Server-sent events.
const EVENT_STREAM: &[u8] = b"text/event-stream";

/// What a backend sends before the response body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeadEvent {
    /// An informational response other than 101.
    Informational,
    Final(BodyLength),
    /// `101 Switching Protocols` to the requested protocol.
    Upgraded,
}

/// A response head, borrowed from its connection.
#[derive(Clone, Copy)]
pub(super) struct ResponseHead<'a> {
    pub(super) status: StatusCode,
    /// Empty on HTTP/2, which has none.
    pub(super) reason: &'a [u8],
    /// The value of `Content-Length`, even if no body follows.
    pub(super) content_length: Option<u64>,
    pub(super) fields: HeaderFields<'a>,
}

/// Header fields, in the form of their protocol.
#[derive(Clone, Copy)]
pub(super) enum HeaderFields<'a> {
    /// The head's bytes, and the ranges of names and values in it.
    Http1(&'a [u8], &'a [HeaderRange]),
    Http2(&'a HeaderMap),
}

impl<'a> HeaderFields<'a> {
    /// Names and values, in order.
    pub(super) fn iter(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let slice = |bytes: &'a [u8], range: Range<usize>| bytes.get(range).unwrap_or_default();
        let (bytes, ranges, map) = match self {
            Self::Http1(bytes, ranges) => (bytes, ranges, None),
            Self::Http2(map) => (&[][..], &[][..], Some(map)),
        };
        let of_http1 = ranges
            .iter()
            .map(move |range| (slice(bytes, range.name()), slice(bytes, range.value())));
        let of_http2 = map
            .into_iter()
            .flatten()
            .map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()));
        of_http1.chain(of_http2)
    }

    /// All values of a field, whose name may be in any case.
    pub(super) fn values(self, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
        self.iter()
            .filter(move |(known, _)| known.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value)
    }
}

impl<'a> ResponseHead<'a> {
    /// Whether it starts a stream of server-sent events.
    pub(super) fn is_event_stream(&self) -> bool {
        let mut kinds = self.fields.values("content-type");
        kinds.next().is_some_and(|kind| {
            kind.get(..EVENT_STREAM.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(EVENT_STREAM))
        })
    }

    /// Hop-by-hop fields that its `Connection` nominates (RFC 9110 section 7.6.1).
    fn nominated(&self) -> Vec<&'a [u8]> {
        self.fields
            .values("connection")
            .flat_map(|value| value.split(|byte| *byte == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|option| {
                ["close", "keep-alive", "content-length"]
                    .iter()
                    .all(|known| !option.eq_ignore_ascii_case(known.as_bytes()))
            })
            .filter(|option| !option.is_empty())
            .collect()
    }

    /// The fields that are passed on to a client, without framing fields: the client's connection
    /// has its own framing.
    fn end_to_end(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let nominated = self.nominated();
        self.fields.iter().filter(move |(name, _)| {
            let passes = match name.len() {
                14 if name.eq_ignore_ascii_case(b"content-length") => false,
                2 | 7 | 10 | 16..=18 if is_hop_by_hop(name) => false,
                _ => !nominated
                    .iter()
                    .any(|nominated| name.eq_ignore_ascii_case(nominated)),
            };
            passes && backend_may_send(name)
        })
    }

    /// The client's `Content-Length`: the length of the body, or, if none follows, the backend's
    /// value for information (RFC 9110 section 8.6).
    fn length_field(&self, length: BodyLength) -> Option<u64> {
        match length {
            BodyLength::Known(length) => Some(length),
            BodyLength::None if self.status == StatusCode::NO_CONTENT => None,
            BodyLength::None => self.content_length,
            BodyLength::Chunked | BodyLength::UntilClose => None,
        }
    }

    /// The names in its `Trailer` that may be passed on, joined. `None`: there are none.
    fn announced_trailers(&self) -> Option<Vec<u8>> {
        let names: Vec<_> = self
            .fields
            .values("trailer")
            .flat_map(|value| value.split(|byte| *byte == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|name| self.may_trail(name))
            .collect();
        (!names.is_empty()).then(|| names.join(&b", "[..]))
    }

    fn may_trail(&self, name: &[u8]) -> bool {
        HeaderName::from_bytes(name).is_ok_and(|name| backend_may_trail(name.as_str()))
            && !self
                .nominated()
                .iter()
                .any(|nominated| name.eq_ignore_ascii_case(nominated))
    }

    /// The trailers that are passed on to a client.
    pub(super) fn end_to_end_trailers(&self, mut trailers: Trailers) -> Option<Trailers> {
        trailers.retain(|name, _| self.may_trail(name));
        (!trailers.is_empty()).then_some(trailers)
    }

    /// Puts the head of an informational response for a client of HTTP/1.1 (RFC 9110 section 15.2).
    /// `own`: the fields that menshen adds, each as a line.
    pub(super) fn put_informational(&self, out: &mut Vec<u8>, own: &[u8]) {
        self.put_status_line(out);
        for (name, value) in self.end_to_end() {
            put_field(out, name, value);
        }
        put(out, &[own, b"\r\n"]);
    }

    /// Puts the head for a client of HTTP/1. `trailers`: the client accepts them.
    pub(super) fn put(
        &self,
        out: &mut Vec<u8>,
        length: BodyLength,
        keep_alive: bool,
        trailers: bool,
    ) {
        self.put_status_line(out);
        let mut has_date = false;
        for (name, value) in self.end_to_end() {
            has_date |= name.len() == 4 && name.eq_ignore_ascii_case(b"date");
            put_field(out, name, value);
        }
        if let Some(length) = self.length_field(length) {
            put_content_length(out, length);
        }
        if length == BodyLength::Chunked {
            put(out, &[b"Transfer-Encoding: chunked\r\n"]);
        }
        if trailers
            && length == BodyLength::Chunked
            && let Some(names) = self.announced_trailers()
        {
            put_field(out, b"Trailer", &names);
        }
        if !has_date {
            put_field(out, b"Date", get_cached_date().as_bytes());
        }
        let option: &[u8] = if keep_alive { b"keep-alive" } else { b"close" };
        put(out, &[b"Connection: ", option, b"\r\n\r\n"]);
    }

    /// Puts a `101 Switching Protocols` for a WebSocket.
    pub(super) fn put_upgrade(&self, out: &mut Vec<u8>) {
        self.put_informational(out, b"Connection: Upgrade\r\nUpgrade: websocket\r\n");
    }

    fn put_status_line(&self, out: &mut Vec<u8>) {
        out.reserve(512);
        let reason = match self.fields {
            HeaderFields::Http1(..) => self.reason,
            HeaderFields::Http2(_) => {
                let reason = self.status.canonical_reason().unwrap_or_default();
                reason.as_bytes()
            }
        };
        put_status_line(out, self.status, reason);
    }

    /// The head for a client of HTTP/2. `length`: how the body is framed.
    pub(super) fn to_http2(self, length: BodyLength) -> Response<()> {
        let mut response = Response::new(());
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        for (name, value) in self.end_to_end() {
            // Parsed fields are always valid.
            if let (Ok(name), Ok(value)) =
                (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
            {
                headers.append(name, value);
            }
        }
        let length = self
            .length_field(length)
            .filter(|_| !self.status.is_informational());
        headers.extend(length.map(|length| (header::CONTENT_LENGTH, HeaderValue::from(length))));
        if let Some(names) = self
            .announced_trailers()
            .and_then(|names| HeaderValue::try_from(names).ok())
        {
            headers.insert(header::TRAILER, names);
        }
        if !self.status.is_informational() && !headers.contains_key(header::DATE) {
            headers.extend([(header::DATE, get_cached_date())]);
        }
        response
    }
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
