//! One path truth: a target that two servers could read differently is refused, never repaired.
//!
//! The rules decide on the very bytes that are forwarded. That is sound only when no decoding, merging or cutting that a
//! backend may do leads to another path: so neither dot segments, empty segments, `;`, `\`, `#`, nor an encoding of anything
//! that matters to routing gets through. What remains after one decoding holds nothing that a second one would change.
//!
//! Must stay true: an accepted path begins with one `/`, is visible ASCII, and its percent-encoded bytes are valid UTF-8
//! without control characters. The query never decides anything.

use super::Refusal;
use crate::error::ErrorCode;

/// The two parts of a target in origin-form (RFC 9112 section 3.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target<'a> {
    /// From the first `/` to the `?`, as sent.
    pub path: &'a str,
    /// What follows the first `?`, as sent.
    pub query: Option<&'a str>,
}

/// Reads a target. Absolute-form, authority-form and `*` are refused: they name no path below this host.
pub fn check(target: &str) -> Result<Target<'_>, Refusal> {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    check_path(path).map_err(|detail| Refusal::wrong(ErrorCode::PathAmbiguous, detail))?;
    if let Some(query) = query {
        check_query(query)?;
    }
    Ok(Target { path, query })
}

/// A target without a single reading, for a gate that only reports: its parts, if it can be sent on exactly as it came.
pub fn as_it_came(target: &str) -> Option<Target<'_>> {
    let same = http::uri::PathAndQuery::try_from(target).is_ok_and(|read| read.as_str() == target);
    let plain = target.starts_with('/') && target.bytes().all(|b| b.is_ascii_graphic());
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    (same && plain).then_some(Target { path, query })
}

/// Why a path has no single reading.
pub(super) fn check_path(path: &str) -> Result<(), &'static str> {
    let Some(below) = path.strip_prefix('/') else {
        return Err("The target has to be a path that begins with '/'.");
    };
    check_bytes(path.as_bytes())?;
    let mut segments = below.split('/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "" if !last => return Err("The path has an empty segment ('//')."),
            "." | ".." => return Err("The path has a dot segment."),
            _ => {}
        }
    }
    Ok(())
}

fn check_bytes(path: &[u8]) -> Result<(), &'static str> {
    let mut at = 0;
    while let Some(&byte) = path.get(at) {
        at += match byte {
            b'%' => check_encoded(&path[at..])?,
            // pchar of RFC 3986 without `;`, which starts a parameter that Java and Ruby servers cut off; and four signs that
            // browsers send as they are (path percent-encode set of the WHATWG URL standard) and no server reads in two ways.
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' => 1,
            _ if b"/-._~!$&'()*+,=:@[]|^".contains(&byte) => 1,
            b';' => return Err("The path has a ';'."),
            b'\\' => return Err("The path has a backslash."),
            b'#' => return Err("The path has a '#'."),
            _ => return Err("The path has a character that has to be percent-encoded."),
        };
    }
    Ok(())
}

/// Looks at what begins with `%`: one ASCII character, or all bytes of one UTF-8 character. Gives the length it takes.
fn check_encoded(rest: &[u8]) -> Result<usize, &'static str> {
    const BAD: &str = "The path has a bad percent-encoding.";
    let first = decode(rest).ok_or(BAD)?;
    let length = match first {
        // Whoever decodes once more, or not at all, would see another path: separators, delimiters, `%` itself, and plain
        // characters, for which `/%61dmin` is `/admin`.
        b'/' | b'\\' | b';' | b'?' | b'#' | b'%' => return Err("The path has an encoded delimiter."),
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            return Err("The path has an encoded character that needs no encoding.");
        }
        0..=0x1f | 0x7f => return Err("The path has an encoded control character."),
        0x20..=0x7e => return Ok(3),
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        0x80..=0xc1 | 0xf5..=0xff => return Err(BAD),
    };
    let mut bytes = [0; 4];
    for (index, byte) in bytes[..length].iter_mut().enumerate() {
        *byte = rest.get(index * 3..).and_then(decode).ok_or(BAD)?;
    }
    // Overlong forms and surrogates are not UTF-8.
    match str::from_utf8(&bytes[..length]) {
        Ok(text) if !text.contains(char::is_control) => Ok(length * 3),
        Ok(_) => Err("The path has an encoded control character."),
        Err(_) => Err(BAD),
    }
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

/// A query is the backend's own; it only has to stay in its line and in its part of the target.
fn check_query(query: &str) -> Result<(), Refusal> {
    let plain = |b: u8| (0x21..=0x7e).contains(&b) && !matches!(b, b'"' | b'#' | b'<' | b'>');
    if query.bytes().all(plain) {
        return Ok(());
    }
    Err(Refusal::wrong(ErrorCode::PathAmbiguous, "The query has a character that has to be percent-encoded."))
}

#[cfg(test)]
mod tests;
