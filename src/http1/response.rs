//! Response heads of a backend: the status, the fields, and where the response ends (RFC 9112 sections 4 to 6).
//!
//! A backend may be old and untidy: a bare LF ends a line, blanks may precede a colon, lines may be folded. Each of these has one
//! reading. What has two readings is an error: lengths that differ, a length beside a transfer coding, a coding other than chunked.
//!
//! Must stay true: no field of a parsed head has a control character but the tab, so any of them can be written on one line.

use std::{fmt, mem::MaybeUninit};

use http::Version;
use httparse::{Error, Header, ParserConfig, Status};

use super::{BodyLength, MAX_LENGTH, grammar::trim_blanks};

/// Why bytes are not a response head. Nothing of the bytes is quoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHead {
    #[error("the status line is not valid")]
    StatusLine,
    #[error("the HTTP version is not 1.0 or 1.1")]
    Version,
    #[error("a field name is not valid")]
    FieldName,
    #[error("a field value has a control character")]
    FieldValue,
    #[error("a line of the head does not end in CRLF or LF")]
    LineEnd,
    #[error("there are too many fields")]
    TooManyFields,
    /// [`unfold`] makes such a head readable.
    #[error("a field line is folded")]
    Folded,
    #[error("Content-Length is not one number")]
    ContentLength,
    #[error("Transfer-Encoding is not chunked, or not alone")]
    TransferEncoding,
}

/// A response head, borrowed from the bytes in which it came.
#[derive(Clone, Copy)]
pub struct ResponseHead<'b, 'h> {
    /// 100 to 999.
    pub status: u16,
    /// Empty where there was none, or where it was not ASCII.
    pub reason: &'b str,
    /// `HTTP_10` or `HTTP_11`.
    pub version: Version,
    /// In their order, duplicates included; values without the white space around them.
    pub fields: &'h [Header<'b>],
}

impl<'b> ResponseHead<'b, '_> {
    /// Every value of a field, in order; the name in any case.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &'b [u8]> {
        self.fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
    }
}

/// Values may be personal, so they do not print.
impl fmt::Debug for ResponseHead<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseHead")
            .field("status", &self.status)
            .field("version", &self.version)
            .field("fields", &self.fields.len())
            .finish_non_exhaustive()
    }
}

/// Reads a head: the head and its length, or `None` where it is not whole yet. It has as many fields at most as there are `slots`.
///
/// Each call reads from the beginning, so a caller that gets a head in small pieces first looks whether it may be whole.
pub fn parse_response<'b, 'h>(
    bytes: &'b [u8],
    slots: &'h mut [MaybeUninit<Header<'b>>],
) -> Result<Option<(ResponseHead<'b, 'h>, usize)>, InvalidHead> {
    let mut parser = ParserConfig::default();
    parser.allow_spaces_after_header_name_in_responses(true);
    let mut response = httparse::Response::new(&mut []);
    let length = match parser.parse_response_with_uninit_headers(&mut response, bytes, slots) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Ok(None),
        Err(error) => return Err(explain(error, bytes)),
    };
    let (Some(status @ 100..), Some(version)) = (response.code, response.version) else {
        return Err(InvalidHead::StatusLine);
    };
    let version = if version == 0 { Version::HTTP_10 } else { Version::HTTP_11 };
    let reason = response.reason.unwrap_or_default();
    Ok(Some((ResponseHead { status, reason, version, fields: response.headers }, length)))
}

fn explain(error: Error, bytes: &[u8]) -> InvalidHead {
    match error {
        Error::HeaderName if folds(bytes).next().is_some() => InvalidHead::Folded,
        Error::HeaderName => InvalidHead::FieldName,
        Error::HeaderValue => InvalidHead::FieldValue,
        Error::NewLine => InvalidHead::LineEnd,
        Error::Status | Error::Token => InvalidHead::StatusLine,
        Error::TooManyHeaders => InvalidHead::TooManyFields,
        Error::Version => InvalidHead::Version,
    }
}

/// Joins folded field lines by writing spaces over their line ends (RFC 9112 section 5.2). Does nothing to what follows the head.
pub fn unfold(bytes: &mut [u8]) {
    let ends: Vec<usize> = folds(bytes).collect();
    for end in ends {
        bytes[end] = b' ';
        if bytes[end - 1] == b'\r' {
            bytes[end - 1] = b' ';
        }
    }
}

/// The LF before each line that continues the field line before it.
fn folds(bytes: &[u8]) -> impl Iterator<Item = usize> {
    // Empty lines in front are skipped by the parser, and the status line cannot be continued.
    let first = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(bytes.len());
    let mut ends = memchr::memchr_iter(b'\n', &bytes[first..]).map(move |at| first + at).peekable();
    let mut in_field = false;
    std::iter::from_fn(move || {
        loop {
            let end = ends.next()?;
            match bytes[end + 1..] {
                [b' ' | b'\t', ..] if in_field => return Some(end),
                [] | [b' ' | b'\t' | b'\n', ..] | [b'\r', b'\n', ..] => {
                    ends.by_ref().for_each(drop);
                    return None;
                }
                _ => in_field = true,
            }
        }
    })
}

/// Where a response ends, and whether another request may follow it on its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseFraming {
    pub body: BodyLength,
    /// The backend keeps the connection open, and the end of the response is sure.
    pub keep_alive: bool,
    /// What `Content-Length` says, also where no body follows: the length that the response to a `GET` would have had.
    pub content_length: Option<u64>,
}

/// The body that follows a head (RFC 9112 section 6.3). After a 101 there is none: what follows is another protocol.
pub fn response_body(head: &ResponseHead<'_, '_>, request_is_head: bool) -> Result<ResponseFraming, InvalidHead> {
    let is_coded = head.values("transfer-encoding").next().is_some();
    let content_length = if is_coded { None } else { content_length(head)? };
    let body = if request_is_head || matches!(head.status, 100..=199 | 204 | 304) {
        BodyLength::None
    } else if is_coded {
        check_chunked(head)?;
        BodyLength::Chunked
    } else {
        content_length.map_or(BodyLength::UntilClose, BodyLength::Known)
    };
    // A 204 that announces a body is wrong about one of both, so nobody knows whether a body follows.
    let is_sure = head.status != 101
        && body != BodyLength::UntilClose
        && (head.status != 204 || !is_coded && content_length.is_none_or(|length| length == 0));
    Ok(ResponseFraming { body, keep_alive: is_sure && is_kept_alive(head), content_length })
}

/// One number, however often: `1*DIGIT`, also as a list of the same number (RFC 9110 section 8.6).
fn content_length(head: &ResponseHead<'_, '_>) -> Result<Option<u64>, InvalidHead> {
    let mut known = None;
    for value in head.values("content-length").flat_map(|value| value.split(|&byte| byte == b',')) {
        let length = parse_decimal(trim_blanks(value)).ok_or(InvalidHead::ContentLength)?;
        if known.is_some_and(|known| known != length) {
            return Err(InvalidHead::ContentLength);
        }
        known = Some(length);
    }
    Ok(known)
}

fn parse_decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, digit| {
        let number = number * 10 + u64::from(digit.is_ascii_digit().then(|| digit - b'0')?);
        (number <= MAX_LENGTH).then_some(number)
    })
}

/// One `chunked` and nothing else: another coding would have to be undone, HTTP/1.0 knows none, and a length beside it says
/// something else to another reader.
fn check_chunked(head: &ResponseHead<'_, '_>) -> Result<(), InvalidHead> {
    let mut codings = head.values("transfer-encoding");
    let is_chunked = codings.next().is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked"));
    let is_alone = codings.next().is_none() && head.values("content-length").next().is_none();
    if is_chunked && is_alone && head.version == Version::HTTP_11 { Ok(()) } else { Err(InvalidHead::TransferEncoding) }
}

/// RFC 9112 section 9.3.
fn is_kept_alive(head: &ResponseHead<'_, '_>) -> bool {
    let mut keeps = head.version == Version::HTTP_11;
    for option in head.values("connection").flat_map(|value| value.split(|&byte| byte == b',')) {
        let option = trim_blanks(option);
        if option.eq_ignore_ascii_case(b"close") {
            return false;
        }
        keeps |= option.eq_ignore_ascii_case(b"keep-alive");
    }
    keeps
}

#[cfg(test)]
mod tests;
