//! One reading of a path: a target that two servers could read differently is rejected, never
//! repaired.
//!
//! The rules decide on exactly the bytes that are forwarded. That is sound only if no decoding,
//! merging or trimming by a backend leads to another path: so dot segments, empty segments, `;`,
//! `\`, `#` and encodings of characters that matter to routing are rejected. A second decoding
//! changes nothing that the first has left. A rule may allow `%2F` and `%25` in its paths
//! (`allow_encoded`): then the path is also checked decoded once and twice.
//!
//! Must stay true: an accepted path begins with one `/`, is visible ASCII, and its percent-encoded
//! bytes are valid UTF-8 without control characters; no segment consists of dots and blanks only,
//! however often it is decoded. The query decides nothing.

use super::reject_reason::RejectReason;
use crate::{config::EncodedDelimiter, error::ErrorCode};

const BAD_ENCODING: &str = "The path has a bad percent-encoding.";
const CONTROL: &str = "The path has an encoded control character.";

/// The two parts of a target in origin-form (RFC 9112 section 3.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target<'a> {
    /// From the first `/` to the `?`, as sent.
    pub path: &'a str,
    /// What follows the first `?`, as sent.
    pub query: Option<&'a str>,
}

/// Delimiters that may be percent-encoded in a path, although servers read such paths differently.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AllowedDelimiters {
    slash: bool,
    percent: bool,
}

impl AllowedDelimiters {
    const NONE: Self = Self {
        slash: false,
        percent: false,
    };

    pub fn new(allowed: &[EncodedDelimiter]) -> Self {
        let has = |delimiter| allowed.contains(&delimiter);
        Self {
            slash: has(EncodedDelimiter::Slash),
            percent: has(EncodedDelimiter::Percent),
        }
    }

    /// Those that both allow.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            slash: self.slash && other.slash,
            percent: self.percent && other.percent,
        }
    }

    pub const fn is_empty(self) -> bool {
        !self.slash && !self.percent
    }
}

/// Reads a target. Absolute-form, authority-form and `*` are rejected: they are no path of this
/// host.
pub fn check(target: &str) -> Result<Target<'_>, RejectReason> {
    check_target(target, AllowedDelimiters::NONE)
}

/// Reads a target whose path may have some delimiters encoded. A server may decode it once, twice,
/// or not at all, so each result has to be a valid path for which the same rule decides
/// (`comes_to_same_rule`).
pub fn check_decoded(
    target: &str,
    allowed: AllowedDelimiters,
    comes_to_same_rule: impl Fn(&str) -> bool,
) -> Result<Target<'_>, RejectReason> {
    let parts = check_target(target, allowed)?;
    let once = decode_path(parts.path).map_err(ambiguous)?;
    let twice = decode_path(&once).map_err(ambiguous)?;
    let slashes = |path: &str| memchr::memchr_iter(b'/', path.as_bytes()).count();
    if !allowed.slash && slashes(&twice) > slashes(parts.path) {
        return Err(ambiguous("The path has an encoded delimiter."));
    }
    for path in [&once, &twice] {
        check_plain(path).map_err(ambiguous)?;
        if !comes_to_same_rule(path) {
            return Err(ambiguous("Decoded, the path belongs to another rule."));
        }
    }
    if decode_path(&twice).as_ref() != Ok(&twice) {
        return Err(ambiguous("The path is percent-encoded more than twice."));
    }
    Ok(parts)
}

/// The two parts of a target, unchecked.
pub fn split(target: &str) -> Target<'_> {
    match memchr::memchr(b'?', target.as_bytes()) {
        Some(at) => Target {
            path: &target[..at],
            query: Some(&target[at + 1..]),
        },
        None => Target {
            path: target,
            query: None,
        },
    }
}

fn check_target(target: &str, allowed: AllowedDelimiters) -> Result<Target<'_>, RejectReason> {
    let parts = split(target);
    check_path_allowing(parts.path, allowed).map_err(ambiguous)?;
    parts.query.map_or(Ok(()), check_query)?;
    Ok(parts)
}

const fn ambiguous(detail: &'static str) -> RejectReason {
    RejectReason::new(ErrorCode::PathAmbiguous, detail)
}

/// The parts of an ambiguous target, for report-only mode, if it can be forwarded
/// unchanged.
pub fn raw_target(target: &str) -> Option<Target<'_>> {
    let same = http::uri::PathAndQuery::try_from(target).is_ok_and(|read| read.as_str() == target);
    let plain = target.starts_with('/') && target.bytes().all(|b| b.is_ascii_graphic());
    (same && plain).then(|| split(target))
}

/// Why a path has no single reading.
pub(super) fn check_path(path: &str) -> Result<(), &'static str> {
    check_path_allowing(path, AllowedDelimiters::NONE)
}

fn check_path_allowing(path: &str, allowed: AllowedDelimiters) -> Result<(), &'static str> {
    if !path.starts_with('/') {
        return Err("The target has to be a path that begins with '/'.");
    }
    if is_plain(path) {
        return Ok(());
    }
    check_bytes(path.as_bytes(), allowed)?;
    check_segments(path)
}

/// Whether a path that begins with `/` has no encoded and no invalid byte, and no segment that is
/// empty or consists of dots: nearly all paths are like this, and one pass finds out. It accepts
/// nothing that [`check_bytes`] or [`check_segments`] would reject.
fn is_plain(path: &str) -> bool {
    let mut has_name = true;
    for &byte in path.as_bytes() {
        match KINDS[byte as usize] {
            ByteKind::Name => has_name = true,
            ByteKind::Dot => {}
            ByteKind::Slash if has_name => has_name = false,
            ByteKind::Slash | ByteKind::Other => return false,
        }
    }
    has_name || path.ends_with('/')
}

/// The class of a byte, for [`is_plain`].
#[derive(Clone, Copy, PartialEq, Eq)]
enum ByteKind {
    /// It stands for itself, and is not a dot.
    Name,
    Dot,
    Slash,
    /// It may be invalid, or encode another.
    Other,
}

/// The characters besides letters and digits that stand for themselves: the slash; pchar of RFC
/// 3986 without `;`, which starts a parameter that Java and Ruby servers cut off; and four
/// characters that browsers do not encode (path percent-encode set of the WHATWG URL standard) and
/// that all servers read alike.
const SIGNS: &[u8] = b"/-._~!$&'()*+,=:@[]|^";

const KINDS: [ByteKind; 256] = {
    let mut table = [ByteKind::Other; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        if byte.is_ascii_alphanumeric() {
            table[byte as usize] = ByteKind::Name;
        }
        byte += 1;
    }
    let mut at = 0;
    while at < SIGNS.len() {
        table[SIGNS[at] as usize] = ByteKind::Name;
        at += 1;
    }
    table[b'/' as usize] = ByteKind::Slash;
    table[b'.' as usize] = ByteKind::Dot;
    table
};

const fn stands_for_itself(byte: u8) -> bool {
    !matches!(KINDS[byte as usize], ByteKind::Other)
}

/// Checks a path as a server sees it after decoding.
fn check_plain(path: &str) -> Result<(), &'static str> {
    // IIS decodes this to a character.
    let is_wide = |six: &[u8]| matches!(six, [b'%', b'u' | b'U', digits @ ..] if digits.iter().all(u8::is_ascii_hexdigit));
    if path.contains(char::is_control) {
        return Err(CONTROL);
    }
    if path.contains(['\\', ';', '?', '#']) {
        return Err("Decoded, the path has a delimiter.");
    }
    if path.as_bytes().windows(6).any(is_wide) {
        return Err(BAD_ENCODING);
    }
    check_segments(path)
}

fn check_segments(path: &str) -> Result<(), &'static str> {
    let mut segments = path[1..].split('/').peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        if segment.is_empty() {
            if !is_last {
                return Err("The path has an empty segment ('//').");
            }
        } else if is_dots_and_blanks(segment) {
            return Err(if segment.starts_with('.') {
                "The path has a dot segment."
            } else {
                "The path has a segment of nothing but dots and blanks."
            });
        }
    }
    Ok(())
}

/// Whether a segment is empty after dots and blanks are trimmed, as Windows does with names and
/// routers do with their input. `.. ` is `..` then, `...` may be, and a segment of blanks is
/// empty.
fn is_dots_and_blanks(segment: &str) -> bool {
    let mut rest = segment;
    while !rest.is_empty() {
        let Some((sign, length)) = first_char(rest) else {
            return false;
        };
        if sign != '.' && !is_blank(sign) {
            return false;
        }
        rest = rest.get(length..).unwrap_or_default();
    }
    true
}

/// White space, and invisible characters.
pub(super) const fn is_blank(sign: char) -> bool {
    let is_visually_empty = matches!(
        sign,
        '\u{ad}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
    );
    sign.is_whitespace() || is_visually_empty
}

fn check_bytes(path: &[u8], allowed: AllowedDelimiters) -> Result<(), &'static str> {
    let mut at = 0;
    while let Some(&byte) = path.get(at) {
        at += match byte {
            b'%' => check_encoded(&path[at..], allowed)?,
            byte if stands_for_itself(byte) => 1,
            b';' => return Err("The path has a ';'."),
            b'\\' => return Err("The path has a backslash."),
            b'#' => return Err("The path has a '#'."),
            _ => return Err("The path has a character that has to be percent-encoded."),
        };
    }
    Ok(())
}

/// Checks a percent-encoded character, of one byte or all bytes of its UTF-8. Returns its length in
/// the path.
fn check_encoded(rest: &[u8], allowed: AllowedDelimiters) -> Result<usize, &'static str> {
    match decode(rest).ok_or(BAD_ENCODING)? {
        b'/' if allowed.slash => Ok(3),
        b'%' if allowed.percent => Ok(3),
        // A server that decodes once more, or not at all, would see another path: separators,
        // delimiters, `%` itself, and plain characters, for which `/%61dmin` is `/admin`.
        b'/' | b'\\' | b';' | b'?' | b'#' | b'%' => Err("The path has an encoded delimiter."),
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            Err("The path has an encoded character that needs no encoding.")
        }
        0..=0x1f | 0x7f => Err(CONTROL),
        0x20..=0x7e => Ok(3),
        0x80..=0xff => match encoded_char(rest) {
            Some((sign, length)) if !sign.is_control() => Ok(length),
            Some(_) => Err(CONTROL),
            None => Err(BAD_ENCODING),
        },
    }
}

/// The first character of a text, decoded if it is percent-encoded, and its length in the text.
pub(super) fn first_char(text: &str) -> Option<(char, usize)> {
    if text.starts_with('%')
        && let Some(encoded) = encoded_char(text.as_bytes())
    {
        return Some(encoded);
    }
    text.chars().next().map(|sign| (sign, sign.len_utf8()))
}

/// The percent-encoded character at the start of `text`, in UTF-8, and its length in the text.
/// Overlong forms and surrogates are not UTF-8.
fn encoded_char(text: &[u8]) -> Option<(char, usize)> {
    let count = match decode(text)? {
        0..=0x7f => 1,
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        0x80..=0xc1 | 0xf5..=0xff => return None,
    };
    let mut bytes = [0; 4];
    for (index, byte) in bytes[..count].iter_mut().enumerate() {
        *byte = text.get(index * 3..).and_then(decode)?;
    }
    str::from_utf8(&bytes[..count])
        .ok()?
        .chars()
        .next()
        .map(|sign| (sign, count * 3))
}

/// A path as a server sees it after decoding; invalid encodings stay.
fn decode_path(path: &str) -> Result<String, &'static str> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let byte = decode(rest);
        decoded.push(byte.unwrap_or(first));
        rest = if byte.is_some() { &rest[3..] } else { after };
    }
    String::from_utf8(decoded).map_err(|_| BAD_ENCODING)
}

/// The byte that `%` and two hex digits stand for, at the start of `text`.
pub(super) fn decode(text: &[u8]) -> Option<u8> {
    const fn digit(byte: u8) -> Option<u8> {
        match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            b'A'..=b'F' => Some(byte - b'A' + 10),
            _ => None,
        }
    }
    match text {
        [b'%', high, low, ..] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    }
}

/// The query is for the backend; it only must not end the line or its part of the target.
fn check_query(query: &str) -> Result<(), RejectReason> {
    let plain = |b: u8| (0x21..=0x7e).contains(&b) && !matches!(b, b'"' | b'#' | b'<' | b'>');
    if query.bytes().all(plain) {
        return Ok(());
    }
    Err(ambiguous(
        "The query has a character that has to be percent-encoded.",
    ))
}

#[cfg(test)]
mod tests;
