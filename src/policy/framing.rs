//! Where a request ends, and what it asks of its connection: one reading, or a rejection.
//!
//! Request smuggling is a disagreement on length between two servers in a row. A request passes
//! only if every server that follows any reading of RFC 9112 section 6 finds the same end; what
//! other servers merely tolerate is rejected.
//!
//! Must stay true: at most one of `Content-Length` and `Transfer-Encoding`, once, in its canonical
//! spelling; exactly one valid `Host`; no second value of a field that decides anything. Every
//! rejection closes the connection, because the end of the request is uncertain.

use super::{
    head::{Head, HttpVersion, is_name},
    reject_reason::RejectReason,
};
use crate::error::ErrorCode;

/// Methods that pass, for `Allow` too: those of RFC 9110 and RFC 5789 whose meaning backends agree
/// on.
///
/// An unknown method could mean anything to the backend and nothing to the rules; those of RFC 4918
/// (`PROPFIND`, ...) have no place behind a mini program. TRACE echoes credentials and CONNECT
/// opens a tunnel.
pub const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// Largest `Content-Length`, in bytes: the largest number that every JSON and floating point reader
/// keeps exact.
pub const MAX_BODY_LEN: u64 = 1 << 53;

/// The version of the WebSocket protocol (RFC 6455 section 4.1).
pub const WEBSOCKET_VERSION: &str = "13";

/// Limit on the options in `Connection`: each costs a search for the field that it names.
const MAX_CONNECTION_OPTIONS: usize = 9;

/// How long the body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyLength {
    /// A request without a body (RFC 9112 section 6.3).
    None,
    /// `Content-Length`, 0 to [`MAX_BODY_LEN`].
    Length(u64),
    /// Chunked transfer coding on HTTP/1.1; on HTTP/2, the stream ends it.
    Unknown,
}

impl BodyLength {
    /// Whether no byte of a body follows the head.
    pub const fn is_empty(self) -> bool {
        matches!(self, Self::None | Self::Length(0))
    }
}

/// The framing of a message, and the options of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Framing {
    pub body: BodyLength,
    /// A valid WebSocket handshake (RFC 6455 section 4.1). Other upgrades are ignored.
    pub websocket: bool,
    /// The client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// The connection persists after this request (RFC 9112 section 9.3).
    pub keep_alive: bool,
}

/// Limits of the config on a head.
#[derive(Debug, Clone, Copy)]
pub struct FramingLimits {
    /// Number of header fields.
    pub max_headers: usize,
}

/// Reads the framing of a head, or returns why it is rejected.
pub fn check(head: &Head<'_>, limits: &FramingLimits) -> Result<Framing, RejectReason> {
    if head.headers.len() > limits.max_headers {
        return Err(RejectReason::malformed("There are too many header fields."));
    }
    check_method(head.method)?;
    let fields = DecidingFields::collect(head)?;
    fields.check_host(head.version)?;
    let body = fields.body(head)?;
    let expects_continue = fields.expects_continue(head.version, body)?;
    let websocket = fields.websocket(head, body)?;
    if websocket && head.is_followed {
        // A client sends nothing before the response to a handshake (CVE-2026-2833).
        return Err(RejectReason::malformed(
            "A WebSocket handshake is not followed by anything before its answer.",
        ));
    }
    let keep_alive = !fields.close && (head.version != HttpVersion::Http10 || fields.keep_alive);
    Ok(Framing {
        body,
        websocket,
        expects_continue,
        keep_alive,
    })
}

fn check_method(method: &str) -> Result<(), RejectReason> {
    if METHODS.contains(&method) {
        return Ok(());
    }
    // Some backends fold case, so `get` could become a GET that no rule has seen.
    if method.is_empty() || !method.bytes().all(|b| b.is_ascii_uppercase()) {
        return Err(RejectReason::malformed("The method is not valid."));
    }
    Err(RejectReason {
        code: ErrorCode::MethodNotAllowed,
        detail: "This method is not passed on.",
        close: true,
    })
}

/// The fields that decide the framing, each at most once, and the options in `Connection`.
#[derive(Default)]
struct DecidingFields<'a> {
    host: Option<&'a [u8]>,
    content_length: Option<&'a [u8]>,
    transfer_encoding: Option<&'a [u8]>,
    expect: Option<&'a [u8]>,
    upgrade: Option<&'a [u8]>,
    authorization: Option<&'a [u8]>,
    content_type: Option<&'a [u8]>,
    websocket_key: Option<&'a [u8]>,
    websocket_version: Option<&'a [u8]>,
    close: bool,
    keep_alive: bool,
    connection_upgrade: bool,
    connection_options: usize,
}

impl<'a> DecidingFields<'a> {
    fn collect(head: &Head<'a>) -> Result<Self, RejectReason> {
        let mut fields = Self::default();
        for header in head.headers {
            let Some(first) = header.name.bytes().next() else {
                continue;
            };
            // Length and first letter already exclude nearly all other fields.
            let (name, slot) = match (header.name.len(), first | 0x20) {
                (4, b'h') => ("host", &mut fields.host),
                (6, b'e') => ("expect", &mut fields.expect),
                (7, b'u') => ("upgrade", &mut fields.upgrade),
                (10, b'c') => {
                    if is_name(header.name, "connection") {
                        fields.read_connection(header.value);
                    }
                    continue;
                }
                (12, b'c') => ("content-type", &mut fields.content_type),
                (13, b'a') => ("authorization", &mut fields.authorization),
                (14, b'c') => ("content-length", &mut fields.content_length),
                (17, b's') => ("sec-websocket-key", &mut fields.websocket_key),
                (17, b't') => ("transfer-encoding", &mut fields.transfer_encoding),
                (21, b's') => ("sec-websocket-version", &mut fields.websocket_version),
                _ => continue,
            };
            if is_name(header.name, name) && slot.replace(header.value).is_some() {
                return Err(RejectReason::malformed(
                    "A header that may be there once is there twice.",
                ));
            }
        }
        if fields.connection_options > MAX_CONNECTION_OPTIONS {
            return Err(RejectReason::malformed(
                "The Connection header has too many options.",
            ));
        }
        Ok(fields)
    }

    fn read_connection(&mut self, value: &[u8]) {
        for option in value.split(|&b| b == b',') {
            self.connection_options += 1;
            let option = option.trim_ascii();
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            self.connection_upgrade |= option.eq_ignore_ascii_case(b"upgrade");
        }
    }

    /// HTTP/1.0 does not require `Host`, and simple health checks send none.
    fn check_host(&self, version: HttpVersion) -> Result<(), RejectReason> {
        match (self.host, version) {
            (Some(host), _) if is_host(host) => Ok(()),
            (Some(_), _) => Err(RejectReason::malformed(
                "The Host header is not a host name with an optional port.",
            )),
            (None, HttpVersion::Http10) => Ok(()),
            (None, HttpVersion::Http11 | HttpVersion::Http2) => {
                Err(RejectReason::malformed("The Host header is missing."))
            }
        }
    }

    fn body(&self, head: &Head<'_>) -> Result<BodyLength, RejectReason> {
        if head.version == HttpVersion::Http2 {
            return self.body_of_stream(head.is_followed);
        }
        match (self.announced(), self.transfer_encoding) {
            (Ok(None), None) => Ok(BodyLength::None),
            (Ok(Some(_)) | Err(_), Some(_)) => Err(RejectReason::malformed(
                "Content-Length and Transfer-Encoding exclude each other.",
            )),
            (Ok(Some(length)), None) => Ok(BodyLength::Length(length)),
            (Err(reason), None) => Err(reason),
            (Ok(None), Some(_)) if head.version == HttpVersion::Http10 => Err(
                RejectReason::malformed("HTTP/1.0 has no Transfer-Encoding."),
            ),
            (Ok(None), Some(coding)) if coding.eq_ignore_ascii_case(b"chunked") => {
                Ok(BodyLength::Unknown)
            }
            (Ok(None), Some(_)) => Err(RejectReason::malformed(
                "Transfer-Encoding can only be chunked.",
            )),
        }
    }

    /// The body of an HTTP/2 request, which is framed by its stream (RFC 9113 section 8.1.1).
    fn body_of_stream(&self, goes_on: bool) -> Result<BodyLength, RejectReason> {
        if self.transfer_encoding.is_some() {
            return Err(RejectReason::malformed("HTTP/2 has no Transfer-Encoding."));
        }
        match (self.announced()?, goes_on) {
            (Some(1..), false) => Err(RejectReason::malformed(
                "Content-Length announces a body, and there is none.",
            )),
            (Some(length), _) => Ok(BodyLength::Length(length)),
            (None, true) => Ok(BodyLength::Unknown),
            (None, false) => Ok(BodyLength::None),
        }
    }

    /// The value of `Content-Length`.
    fn announced(&self) -> Result<Option<u64>, RejectReason> {
        let Some(value) = self.content_length else {
            return Ok(None);
        };
        let length = canonical_length(value);
        length.map(Some).ok_or(RejectReason::malformed(
            "Content-Length is not one plain decimal number.",
        ))
    }

    /// RFC 9110 section 10.1.1. An expectation without a body has been a smuggling vector itself.
    fn expects_continue(
        &self,
        version: HttpVersion,
        body: BodyLength,
    ) -> Result<bool, RejectReason> {
        let Some(expect) = self.expect else {
            return Ok(false);
        };
        if !expect.eq_ignore_ascii_case(b"100-continue") {
            return Err(RejectReason::malformed("Expect can only be 100-continue."));
        }
        if body == BodyLength::None {
            return Err(RejectReason::malformed("Expect needs a body."));
        }
        Ok(version == HttpVersion::Http11 && !body.is_empty())
    }

    fn websocket(&self, head: &Head<'_>, body: BodyLength) -> Result<bool, RejectReason> {
        let Some(upgrade) = self.upgrade else {
            return Ok(false);
        };
        let mut protocols = upgrade.split(|&b| b == b',').map(<[u8]>::trim_ascii);
        if !protocols.any(|protocol| protocol.eq_ignore_ascii_case(b"websocket")) {
            return Ok(false);
        }
        let asks = upgrade.eq_ignore_ascii_case(b"websocket")
            && head.method == "GET"
            && head.version == HttpVersion::Http11
            && body.is_empty()
            && self.connection_upgrade;
        if asks && self.websocket_version != Some(WEBSOCKET_VERSION.as_bytes()) {
            // In other versions, bytes that HTTP does not know of may follow the head, like the 8
            // bytes of hixie-76.
            return Err(RejectReason {
                code: ErrorCode::WebsocketVersionUnsupported,
                detail: "WebSocket is spoken here in version 13 (RFC 6455).",
                close: true,
            });
        }
        let valid = asks && self.websocket_key.is_some_and(is_websocket_key);
        if valid {
            Ok(true)
        } else {
            Err(RejectReason::malformed(
                "The WebSocket handshake is not valid.",
            ))
        }
    }
}

/// `1*DIGIT` in its shortest form. Some servers accept `+5`, `005`, `5,5`, `1_0` or the empty
/// value.
fn canonical_length(value: &[u8]) -> Option<u64> {
    let shortest = value == b"0" || value.first().is_some_and(|b| (b'1'..=b'9').contains(b));
    if !shortest || value.len() > 16 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let length = value
        .iter()
        .fold(0_u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    (length <= MAX_BODY_LEN).then_some(length)
}

/// `host [":" port]` (RFC 9110 section 7.2): the host is a name, an IPv4 address or an IPv6 address
/// in brackets. Of RFC 3986's names only those of letters, digits, `.`, `-` and `_`: others do not
/// occur, and servers read them differently.
pub fn is_host(value: &[u8]) -> bool {
    let end = value
        .iter()
        .position(|&b| b == b':' || b == b'[')
        .unwrap_or(value.len());
    let (name, rest) = value.split_at(end);
    if rest.starts_with(b"[") {
        return name.is_empty() && is_address_with_port(rest);
    }
    let plain = name
        .iter()
        .all(|&b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
    plain
        && name.len() <= 253
        && name.iter().any(u8::is_ascii_alphanumeric)
        && is_port_or_nothing(rest)
}

/// `"[" IPv6address "]" [":" port]`
fn is_address_with_port(value: &[u8]) -> bool {
    let Some((address, port)) = str::from_utf8(value)
        .ok()
        .and_then(|text| text.strip_prefix('[')?.split_once(']'))
    else {
        return false;
    };
    address.parse::<std::net::Ipv6Addr>().is_ok() && is_port_or_nothing(port.as_bytes())
}

/// `[":" port]`
fn is_port_or_nothing(rest: &[u8]) -> bool {
    let Some((b':', digits)) = rest.split_first() else {
        return rest.is_empty();
    };
    let number = str::from_utf8(digits)
        .ok()
        .and_then(|text| text.parse::<u16>().ok());
    digits.iter().all(u8::is_ascii_digit) && number.is_some()
}

/// 16 bytes in base64 (RFC 6455 section 4.1).
fn is_websocket_key(value: &[u8]) -> bool {
    let [digits @ .., b'=', b'='] = value else {
        return false;
    };
    digits.len() == 22
        && digits
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'))
}

#[cfg(test)]
mod tests;
