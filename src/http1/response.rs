//! Response heads of a backend: the status, the fields, and where the response ends (RFC 9112
//! sections 4 to 6).
//!
//! A backend may be old and untidy: a bare LF may end a line, blanks may precede a colon, and lines
//! may be folded, since each of these has one reading. What has two readings is an error: differing
//! lengths, a length together with a transfer coding, or a coding other than chunked.
//!
//! Must stay true: no field of a parsed head contains a control character other than the tab, so
//! each can be written on one line.

use std::{fmt, mem::MaybeUninit};

use http::Version;
use httparse::{Error, Header, ParserConfig, Status};

use super::{BodyLength, MAX_LENGTH, grammar::trim_blanks};

/// Why bytes are not a response head. Contains none of the bytes.
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

/// A response head, borrowed from its bytes.
#[derive(Clone, Copy)]
pub struct ParsedHead<'b, 'h> {
    /// 100 to 999.
    pub status: u16,
    /// Empty if there is none, or if it is not ASCII.
    pub reason: &'b str,
    /// `HTTP_10` or `HTTP_11`.
    pub version: Version,
    /// In order, with duplicates; values without surrounding white space.
    pub fields: &'h [Header<'b>],
}

impl<'b> ParsedHead<'b, '_> {
    /// All values of a field, in order; the name may be in any case.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &'b [u8]> {
        self.fields
            .iter()
            .filter(move |field| field.name.eq_ignore_ascii_case(name))
            .map(|field| field.value)
    }
}

/// Values may be personal data, so they are not printed.
impl fmt::Debug for ParsedHead<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParsedHead")
            .field("status", &self.status)
            .field("version", &self.version)
            .field("fields", &self.fields.len())
            .finish_non_exhaustive()
    }
}

/// Parses a head, and returns it with its length. `None`: it is not complete. It may have at most
/// as many fields as there are `slots`.
///
/// Each call starts from the beginning, so a caller that receives a head in small pieces should
/// first check whether it may be complete.
pub fn parse_response<'b, 'h>(
    bytes: &'b [u8],
    slots: &'h mut [MaybeUninit<Header<'b>>],
) -> Result<Option<(ParsedHead<'b, 'h>, usize)>, InvalidHead> {
    let mut parser = ParserConfig::default();
    parser.allow_spaces_after_header_name_in_responses(true);
    let mut response = httparse::Response::new(&mut []);
    let length = match parser.parse_response_with_uninit_headers(&mut response, bytes, slots) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Ok(None),
        Err(error) => return Err(classify_error(error, bytes)),
    };
    let (Some(status @ 100..), Some(version)) = (response.code, response.version) else {
        return Err(InvalidHead::StatusLine);
    };
    let version = if version == 0 {
        Version::HTTP_10
    } else {
        Version::HTTP_11
    };
    let reason = response.reason.unwrap_or_default();
    Ok(Some((
        ParsedHead {
            status,
            reason,
            version,
            fields: response.headers,
        },
        length,
    )))
}

fn classify_error(error: Error, bytes: &[u8]) -> InvalidHead {
    match error {
        Error::HeaderName if folded_line_ends(bytes).next().is_some() => InvalidHead::Folded,
        Error::HeaderName => InvalidHead::FieldName,
        Error::HeaderValue => InvalidHead::FieldValue,
        Error::NewLine => InvalidHead::LineEnd,
        Error::Status | Error::Token => InvalidHead::StatusLine,
        Error::TooManyHeaders => InvalidHead::TooManyFields,
        Error::Version => InvalidHead::Version,
    }
}

/// Joins folded field lines by overwriting their line ends with spaces (RFC 9112 section 5.2).
/// Leaves the bytes after the head unchanged.
pub fn unfold(bytes: &mut [u8]) {
    let ends: Vec<usize> = folded_line_ends(bytes).collect();
    for end in ends {
        bytes[end] = b' ';
        if bytes[end - 1] == b'\r' {
            bytes[end - 1] = b' ';
        }
    }
}

/// Positions of the LF before each continuation of a field line.
fn folded_line_ends(bytes: &[u8]) -> impl Iterator<Item = usize> {
    // The parser skips leading empty lines, and the status line cannot be continued.
    let first = bytes
        .iter()
        .position(|byte| !matches!(byte, b'\r' | b'\n'))
        .unwrap_or(bytes.len());
    let ends = memchr::memchr_iter(b'\n', &bytes[first..]).map(move |at| first + at);
    let mut in_field = false;
    let folded_line_ends = ends.map_while(move |end| match bytes[end + 1..] {
        [b' ' | b'\t', ..] if in_field => Some(Some(end)),
        [] | [b' ' | b'\t' | b'\n', ..] | [b'\r', b'\n', ..] => None,
        _ => {
            in_field = true;
            Some(None)
        }
    });
    folded_line_ends.flatten()
}

/// Where a response ends, and whether its connection can be reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseFraming {
    pub body: BodyLength,
    /// The backend keeps the connection open, and the end of the response is certain.
    pub keep_alive: bool,
    /// The value of `Content-Length`, even if no body follows: the length that the response to a
    /// `GET` would have had.
    pub content_length: Option<u64>,
}

/// The body that follows a head (RFC 9112 section 6.3). There is none after a 101: what follows is
/// another protocol.
pub fn response_body(
    head: &ParsedHead<'_, '_>,
    request_is_head: bool,
) -> Result<ResponseFraming, InvalidHead> {
    let fields = FramingFields::collect(head.fields);
    let content_length = fields.content_length()?;
    let is_coded = fields.codings > 0;
    let body = if request_is_head || matches!(head.status, 100..=199 | 204 | 304) {
        BodyLength::None
    } else if is_coded {
        // Another coding would have to be decoded, HTTP/1.0 has none, and other readers may believe
        // a length instead.
        if !fields.is_chunked
            || fields.codings > 1
            || fields.length.is_some()
            || head.version != Version::HTTP_11
        {
            return Err(InvalidHead::TransferEncoding);
        }
        BodyLength::Chunked
    } else {
        content_length.map_or(BodyLength::UntilClose, BodyLength::Known)
    };
    let announces_body = is_coded || content_length.is_some_and(|length| length > 0);
    let is_sure = match body {
        _ if head.status == 101 => false,
        BodyLength::UntilClose => false,
        // A backend may send the announced body although it must not.
        BodyLength::None => !announces_body,
        BodyLength::Known(_) | BodyLength::Chunked => true,
    };
    // RFC 9112 section 9.3, and section 6.1 for HTTP/1.0 with a transfer coding.
    let is_kept =
        !fields.close && (head.version == Version::HTTP_11 || fields.keep_alive && !is_coded);
    Ok(ResponseFraming {
        body,
        keep_alive: is_sure && is_kept,
        content_length,
    })
}

/// The fields that determine where a response ends.
#[derive(Default)]
struct FramingFields {
    /// An error if a `Content-Length` is not a number, or differs from an earlier one.
    length: Option<Result<u64, InvalidHead>>,
    /// Number of `Transfer-Encoding` fields.
    codings: usize,
    /// The last one is exactly `chunked`.
    is_chunked: bool,
    close: bool,
    keep_alive: bool,
}

impl FramingFields {
    fn collect(fields: &[Header<'_>]) -> Self {
        let mut framing = Self::default();
        for field in fields {
            // The length rules out nearly all other fields at once.
            match field.name.len() {
                10 if field.name.eq_ignore_ascii_case("connection") => {
                    framing.read_connection(field.value);
                }
                14 if field.name.eq_ignore_ascii_case("content-length") => {
                    framing.read_length(field.value);
                }
                17 if field.name.eq_ignore_ascii_case("transfer-encoding") => {
                    framing.codings += 1;
                    framing.is_chunked = field.value.eq_ignore_ascii_case(b"chunked");
                }
                _ => {}
            }
        }
        framing
    }

    fn read_connection(&mut self, value: &[u8]) {
        for option in value.split(|&byte| byte == b',').map(trim_blanks) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    /// One number: `1*DIGIT`, possibly repeated or as a list of the same number (RFC 9110 section
    /// 8.6).
    fn read_length(&mut self, value: &[u8]) {
        for part in value.split(|&byte| byte == b',') {
            let length = parse_decimal(trim_blanks(part)).ok_or(InvalidHead::ContentLength);
            let is_same = self.length.is_none_or(|known| known == length);
            self.length = Some(if is_same {
                length
            } else {
                Err(InvalidHead::ContentLength)
            });
        }
    }

    /// `None` also with a transfer coding, which overrides it.
    fn content_length(&self) -> Result<Option<u64>, InvalidHead> {
        match self.codings {
            0 => self.length.transpose(),
            _ => Ok(None),
        }
    }
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

#[cfg(test)]
mod tests;
