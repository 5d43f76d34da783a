//! A request head of any HTTP version, which the gate decides on.
//!
//! A head of HTTP/1 is parsed strictly from the bytes of the connection; one of HTTP/2 is copied
//! into a buffer of its own ([`http2`]).
//!
//! The proxy library uses the same parser, so both read the same bytes alike; what it tolerates (a
//! bare LF as a line end, any number of empty lines in front) is rejected here, because a server
//! behind may not tolerate it.
//!
//! Must stay true: every line of a parsed head ends in CRLF; names are tokens (RFC 9110 section
//! 5.6.2) of at most [`MAX_NAME_LEN`]; values hold no NUL, CR, LF or other control byte but the
//! tab; no line is folded.

pub mod http2;

use std::{fmt, mem::MaybeUninit, ops::Range};

use httparse::{Error, Header, Status};

use super::reject_reason::RejectReason;

/// Longest header name, in bytes. Real ones are shorter than 50; beyond 255, a proxy's counter has
/// overflowed (CVE-2021-40346).
pub const MAX_NAME_LEN: usize = 128;

/// The HTTP version of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpVersion {
    Http10,
    Http11,
    Http2,
}

/// A request head, borrowed from its bytes.
#[derive(Clone, Copy)]
pub struct Head<'a> {
    /// The whole head, of which the other fields are parts.
    pub bytes: &'a [u8],
    /// Case-sensitive (RFC 9110 section 9.1).
    pub method: &'a str,
    /// The request target as sent, query included.
    pub target: &'a str,
    pub version: HttpVersion,
    /// In their order, with duplicates; values without the white space around them.
    pub headers: &'a [Header<'a>],
    /// Whether anything follows the head. HTTP/1: bytes that arrived together with it. HTTP/2: a
    /// body, because the stream is still open.
    pub is_followed: bool,
}

/// The range of a slice of these bytes. For a slice of anything else, a range outside of them.
pub fn range_within(bytes: &[u8], part: &[u8]) -> Range<usize> {
    let start = part.as_ptr().addr().wrapping_sub(bytes.as_ptr().addr());
    start..start.saturating_add(part.len())
}

/// A header field, as ranges of the bytes of its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeaderRange {
    name: (u32, u32),
    value: (u32, u32),
}

impl HeaderRange {
    /// `name` and `value` are slices of `bytes`.
    pub fn within(bytes: &[u8], name: &[u8], value: &[u8]) -> Self {
        Self::new(range_within(bytes, name), range_within(bytes, value))
    }

    fn new(name: Range<usize>, value: Range<usize>) -> Self {
        // A head is much shorter than 4 GiB.
        let range = |range: Range<usize>| {
            (
                u32::try_from(range.start).unwrap_or(u32::MAX),
                u32::try_from(range.end).unwrap_or(u32::MAX),
            )
        };
        Self {
            name: range(name),
            value: range(value),
        }
    }

    /// The range of the name.
    pub const fn name(self) -> Range<usize> {
        self.name.0 as usize..self.name.1 as usize
    }

    /// The range of the value, without the white space around it.
    pub const fn value(self) -> Range<usize> {
        self.value.0 as usize..self.value.1 as usize
    }
}

impl<'a> Head<'a> {
    /// Every value of a header, in order; the name in any case.
    #[inline]
    pub fn values(&self, name: &str) -> impl DoubleEndedIterator<Item = &'a [u8]> {
        self.headers
            .iter()
            .filter(move |header| header.name.eq_ignore_ascii_case(name))
            .map(|header| header.value)
    }

    /// The value of a header that is there exactly once.
    pub fn only_value(&self, name: &str) -> Option<&'a [u8]> {
        let mut values = self.values(name);
        let value = values.next()?;
        values.next().is_none().then_some(value)
    }

    /// The ranges of a header of this head.
    #[inline]
    pub fn range(&self, header: &Header<'_>) -> HeaderRange {
        HeaderRange::within(self.bytes, header.name.as_bytes(), header.value)
    }
}

/// Targets and header values carry tokens and personal data, so they do not print.
impl fmt::Debug for Head<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Head")
            .field("version", &self.version)
            .field("headers", &self.headers.len())
            .finish_non_exhaustive()
    }
}

/// Whether a header name equals, in any case, `known`, which consists of lower-case letters, digits
/// and `-`. Compares eight bytes at once.
#[inline]
pub(super) fn is_name(name: &str, known: &str) -> bool {
    let (name, known) = (name.as_bytes(), known.as_bytes());
    if name.len() != known.len() {
        return false;
    }
    let (Some(last), Some(last_known)) = (name.last_chunk(), known.last_chunk()) else {
        return name.eq_ignore_ascii_case(known);
    };
    // The last eight may be compared twice.
    let chunks = name.as_chunks().0.iter().zip(known.as_chunks().0);
    is_same_eight(*last, *last_known)
        && chunks
            .into_iter()
            .all(|(eight, known)| is_same_eight(*eight, *known))
}

/// Lower-case letters, digits and `-` have the bit that distinguishes the cases of a letter. A
/// control character that would equal one of them with that bit has neither it nor the next.
#[inline]
const fn is_same_eight(name: [u8; 8], known: [u8; 8]) -> bool {
    const CASE: u64 = 0x2020_2020_2020_2020;
    let (name, known) = (u64::from_le_bytes(name), u64::from_le_bytes(known));
    (name | CASE) == known && (name | name >> 1) & CASE == CASE
}

/// What the bytes so far contain.
#[derive(Debug, Clone, Copy)]
pub enum Parsed<'a> {
    /// A whole head; what follows its bytes is the body or the next request.
    Complete(Head<'a>),
    /// The beginning of one.
    Partial,
}

/// Parses a head with at most as many header fields as there are `slots`.
pub fn parse<'b: 'h, 'h>(
    bytes: &'b [u8],
    slots: &'h mut [MaybeUninit<Header<'b>>],
) -> Result<Parsed<'h>, RejectReason> {
    // One empty line in front is tolerated, as RFC 9112 section 2.2 asks; more are not a request.
    if bytes.starts_with(b"\n") || bytes.starts_with(b"\r\n\r\n") || bytes.starts_with(b"\r\n\n") {
        return Err(RejectReason::malformed(
            "The request does not begin with a request line.",
        ));
    }
    let mut request = httparse::Request::new(&mut []);
    let length = match request.parse_with_uninit_headers(bytes, slots) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Ok(Parsed::Partial),
        Err(error) => return Err(reason(error)),
    };
    let (Some(method), Some(target), Some(version)) =
        (request.method, request.path, request.version)
    else {
        return Err(RejectReason::malformed("The request line is not complete."));
    };
    let version = if version == 0 {
        HttpVersion::Http10
    } else {
        HttpVersion::Http11
    };
    let headers: &[Header<'_>] = request.headers;
    let (bytes, rest) = bytes.split_at(length);
    let head = Head {
        bytes,
        method,
        target,
        version,
        headers,
        is_followed: !rest.is_empty(),
    };
    if !lines_end_in_crlf(&head) {
        return Err(RejectReason::malformed(
            "Lines of a request head end in CRLF.",
        ));
    }
    if headers
        .iter()
        .any(|header| header.name.len() > MAX_NAME_LEN)
    {
        return Err(RejectReason::malformed("A header name is too long."));
    }
    Ok(Parsed::Complete(head))
}

/// Whether `bytes` may hold a whole head, if only the bytes after the first `seen` are new.
///
/// A cheap check, so that a reader need not parse again after each byte of a slow client. It has
/// false positives, but no false negatives.
pub fn may_be_complete(bytes: &[u8], seen: usize) -> bool {
    let new = &bytes[seen.saturating_sub(2).min(bytes.len())..];
    memchr::memchr_iter(b'\n', new)
        .any(|at| matches!(new[at + 1..], [b'\n', ..] | [b'\r', b'\n', ..]))
}

/// Every value of a field in the bytes of an invalid or incomplete head: from complete lines, up to
/// an empty one. Only for the log and the response of a request that is rejected.
pub fn raw_values<'b>(bytes: &'b [u8], name: &'static str) -> impl Iterator<Item = &'b [u8]> {
    let lines = bytes
        .split_inclusive(|&byte| byte == b'\n')
        .map_while(|line| line.strip_suffix(b"\n"));
    // The first line is the request line.
    let fields = lines
        .skip(1)
        .take_while(|line| !line.trim_ascii().is_empty());
    fields.filter_map(move |line| {
        let colon = memchr::memchr(b':', line)?;
        line[..colon]
            .eq_ignore_ascii_case(name.as_bytes())
            .then(|| line[colon + 1..].trim_ascii())
    })
}

/// The parser accepts a bare LF as a line end, others do not (RFC 9112 section 2.2,
/// CVE-2025-22871).
///
/// After parsing, line feeds are only at line ends: before each name, and at the end of the last
/// field and of the head. The start has been checked already.
fn lines_end_in_crlf(head: &Head<'_>) -> bool {
    let ends_so = |end: usize| {
        head.bytes
            .get(..end)
            .is_some_and(|line| line.ends_with(b"\r\n"))
    };
    let is_so = head
        .headers
        .iter()
        .all(|header| ends_so(head.range(header).name().start))
        && ends_so(head.bytes.len())
        && ends_so(head.bytes.len().saturating_sub(2));
    debug_assert_eq!(
        is_so,
        memchr::memchr_iter(b'\n', head.bytes).all(|at| at > 0 && head.bytes[at - 1] == b'\r')
    );
    is_so
}

const fn reason(error: Error) -> RejectReason {
    RejectReason::malformed(match error {
        Error::HeaderName => "A header name is not valid, or a header line is folded.",
        Error::HeaderValue => "A header value has a control character.",
        Error::NewLine => "Lines of a request head end in CRLF.",
        Error::Status | Error::Token => "The request line is not valid.",
        Error::TooManyHeaders => "There are too many header fields.",
        Error::Version => "The HTTP version is not 1.0 or 1.1.",
    })
}

#[cfg(test)]
mod tests;
