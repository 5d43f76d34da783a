//! The head of an HTTP/2 request, laid into one buffer as the gate reads every head.
//!
//! Method, target and fields are copied once, and both the decision and the forwarded request use
//! that copy. A malformed HTTP/2 request (RFC 9113 sections 8.2 and 8.3) is rejected here; the
//! length of its body comes from [`framing::check`](super::super::framing::check).
//!
//! Must stay true: the head has one `host`, which is the `:authority`; no field belongs to a
//! connection of HTTP/1.1; the crumbs of the cookie are one field.

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderName, HeaderValue, Method, header, request::Parts};
use httparse::Header;

use super::{Head, HeaderRange, HttpVersion, MAX_NAME_LEN};

/// Fields that belong to a connection of HTTP/1.1 and make an HTTP/2 request malformed (RFC 9113
/// section 8.2.2).
const CONNECTION_FIELDS: [HeaderName; 5] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// An HTTP/2 head in a buffer of its own.
#[derive(Clone)]
pub struct Http2Head {
    bytes: Bytes,
    method_len: usize,
    target: Range<usize>,
    fields: Vec<HeaderRange>,
    ends_stream: bool,
}

/// Targets and header values carry tokens and personal data, so they do not print.
impl std::fmt::Debug for Http2Head {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http2Head")
            .field("fields", &self.fields.len())
            .finish_non_exhaustive()
    }
}

impl Http2Head {
    /// Copies the head of a request, or returns why it is malformed. `ends_stream`: no body follows
    /// it.
    pub fn new(request: &Parts, ends_stream: bool) -> Result<Self, &'static str> {
        let target = target(request)?;
        let host = authority(request)?;
        let mut buffer = Buffer::with_capacity(request);
        let method_len = buffer.put(request.method.as_str().as_bytes()).len();
        let target = buffer.put(target.as_bytes());
        buffer.field("host", host)?;
        for (name, value) in &request.headers {
            if CONNECTION_FIELDS.contains(name) {
                return Err("A header field belongs to a connection of HTTP/1.1.");
            }
            if value.as_bytes().trim_ascii().len() != value.len() {
                return Err("A header value begins or ends with white space.");
            }
            match *name {
                // The host is copied above, the cookies are joined below.
                header::HOST | header::COOKIE => {}
                header::TE if value != "trailers" => return Err("TE can only be trailers."),
                // Menshen meets it itself, so it is not forwarded (RFC 9110 section 10.1.1).
                header::EXPECT
                    if value.as_bytes().eq_ignore_ascii_case(b"100-continue") && !ends_stream => {}
                _ => buffer.field(name.as_str(), value.as_bytes())?,
            }
        }
        let crumbs: Vec<_> = request
            .headers
            .get_all(header::COOKIE)
            .iter()
            .map(HeaderValue::as_bytes)
            .collect();
        if !crumbs.is_empty() {
            // RFC 9113 section 8.2.3.
            buffer.field("cookie", &crumbs.join(&b"; "[..]))?;
        }
        let Buffer { bytes, fields } = buffer;
        Ok(Self {
            bytes: bytes.freeze(),
            method_len,
            target,
            fields,
            ends_stream,
        })
    }

    /// The buffer that the ranges of its header fields point into.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Length in bytes of the equivalent HTTP/1.1 head, which `server.max_header_bytes` limits.
    pub fn http1_len(&self) -> usize {
        // "METHOD TARGET HTTP/1.1", the line ends of that line and of the last, and ": " and a line
        // end for each field.
        self.bytes.len() + "  HTTP/1.1\r\n\r\n".len() + self.fields.len() * ": \r\n".len()
    }

    /// Lends the head to `read`.
    pub fn lend<T>(&self, read: impl FnOnce(&Head<'_>) -> T) -> T {
        let text = |range: Range<usize>| {
            self.bytes
                .get(range)
                .and_then(|part| str::from_utf8(part).ok())
                .unwrap_or_default()
        };
        let fields = self.fields.iter();
        let headers: Vec<_> = fields
            .map(|field| Header {
                name: text(field.name()),
                value: self.bytes.get(field.value()).unwrap_or_default(),
            })
            .collect();
        read(&Head {
            bytes: &self.bytes,
            method: text(0..self.method_len),
            target: text(self.target.clone()),
            version: HttpVersion::Http2,
            headers: &headers,
            is_followed: !self.ends_stream,
        })
    }
}

/// The bytes of a head, and where its fields are in them.
struct Buffer {
    bytes: BytesMut,
    fields: Vec<HeaderRange>,
}

impl Buffer {
    /// With room for the whole request, so that nothing is copied twice.
    fn with_capacity(request: &Parts) -> Self {
        let fields = request
            .headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len() + "; ".len());
        // The target and the host are rarely longer.
        let capacity = 256 + fields.sum::<usize>();
        Self {
            bytes: BytesMut::with_capacity(capacity),
            fields: Vec::with_capacity(request.headers.len() + 1),
        }
    }

    fn put(&mut self, part: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.put_slice(part);
        start..self.bytes.len()
    }

    fn field(&mut self, name: &str, value: &[u8]) -> Result<(), &'static str> {
        if name.len() > MAX_NAME_LEN {
            return Err("A header name is too long.");
        }
        let (name, value) = (self.put(name.as_bytes()), self.put(value));
        self.fields.push(HeaderRange::new(name, value));
        Ok(())
    }
}

/// `:path`. A CONNECT has neither that nor a scheme (RFC 9113 section 8.5); its target is the
/// authority, as in HTTP/1.1 (RFC 9112 section 3.2.3), so that the gate rejects it like any other.
fn target(request: &Parts) -> Result<&str, &'static str> {
    match (
        request.uri.scheme_str(),
        request.uri.path_and_query(),
        request.uri.authority(),
    ) {
        (None, None, Some(authority)) if request.method == Method::CONNECT => {
            Ok(authority.as_str())
        }
        (Some("http" | "https"), Some(path), _) => Ok(path.as_str()),
        (Some("http" | "https"), None, _) => Err("The :path is missing."),
        (Some(_) | None, _, _) => Err("The :scheme is not http or https."),
    }
}

/// `:authority`, or `Host` if there is no `:authority` (RFC 9113 section 8.3.1).
fn authority(request: &Parts) -> Result<&[u8], &'static str> {
    let mut hosts = request.headers.get_all(header::HOST).iter();
    let host = hosts.next().map(HeaderValue::as_bytes);
    if hosts.next().is_some() {
        return Err("A header that may be there once is there twice.");
    }
    match (
        request
            .uri
            .authority()
            .map(|authority| authority.as_str().as_bytes()),
        host,
    ) {
        (Some(authority), None) => Ok(authority),
        (Some(authority), Some(host)) if authority == host => Ok(authority),
        (Some(_), Some(_)) => Err("The Host header is not the :authority."),
        (None, Some(host)) => Ok(host),
        (None, None) => Err("The :authority is missing."),
    }
}

#[cfg(test)]
mod tests;
