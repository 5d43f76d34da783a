//! Path patterns of rules: exact, `*` for one segment, `/**` for everything below.
//!
//! A pattern is compared segment by segment, so `/public/**` never covers `/publicx`. Two readings are told apart: the path
//! byte by byte, and the path as a lenient router may take it (letter case, percent-encoding and a trailing slash ignored,
//! as Express does by default). Only the first may open a path; the second may close one.

use super::path;

/// How a pattern covers a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Match {
    /// Byte by byte.
    Exact,
    /// Only for a backend that ignores case, encoding or a trailing slash.
    Lenient,
    No,
}

/// A pattern, compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    segments: Box<[Segment]>,
    /// It ends in `/**`.
    below: bool,
    /// It ends in `/`.
    slash: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    /// `*`
    Any,
    /// `folded` is `text` percent-decoded and in lower case.
    Literal { text: Box<str>, folded: Box<[u8]> },
}

impl Pattern {
    /// Reads a pattern, or says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        path::check_path(text).map_err(|detail| format!("no request has such a path: {detail}"))?;
        let (fixed, below) = match text.strip_suffix("/**") {
            Some(fixed) => (fixed, true),
            None => (text, false),
        };
        let (names, slash) = split(fixed);
        let segments = names.map(Segment::parse).collect::<Result<_, _>>()?;
        Ok(Self { segments, below, slash })
    }

    /// `/**`
    pub(super) fn everything() -> Self {
        Self { segments: Box::default(), below: true, slash: false }
    }

    /// Whether it covers a path that [`path::check`] accepted.
    pub(super) fn covers(&self, path: &str) -> Match {
        let (mut names, slash) = split(path);
        let mut exact = true;
        for segment in &self.segments {
            let Some(name) = names.next() else { return Match::No };
            match segment {
                Segment::Any => {}
                Segment::Literal { text, .. } if **text == *name => {}
                Segment::Literal { folded, .. } if folds_to(name, folded) => exact = false,
                Segment::Literal { .. } => return Match::No,
            }
        }
        if !self.below {
            if names.next().is_some() {
                return Match::No;
            }
            exact &= slash == self.slash;
        }
        if exact { Match::Exact } else { Match::Lenient }
    }
}

impl Segment {
    fn parse(name: &str) -> Result<Self, String> {
        match name {
            "*" => Ok(Self::Any),
            "**" => Err("'**' may only be the last segment".to_owned()),
            _ if name.contains('*') => Err("'*' stands for a whole segment; write %2A for the character".to_owned()),
            _ => Ok(Self::Literal { text: name.into(), folded: fold(name).collect() }),
        }
    }
}

/// The segments of a path, and whether a slash follows the last.
fn split(path: &str) -> (impl Iterator<Item = &str>, bool) {
    let names = path.strip_prefix('/').unwrap_or(path);
    let (names, slash) = match names.strip_suffix('/') {
        Some(names) => (names, true),
        None => (names, false),
    };
    (names.split('/').filter(|name| !name.is_empty()), slash)
}

fn folds_to(name: &str, folded: &[u8]) -> bool {
    name.len() >= folded.len() && fold(name).eq(folded.iter().copied())
}

/// The bytes of a segment, decoded and in lower case.
fn fold(name: &str) -> impl Iterator<Item = u8> + '_ {
    let mut rest = name.as_bytes();
    std::iter::from_fn(move || {
        let (&first, after) = rest.split_first()?;
        let decoded = path::decode(rest);
        rest = if decoded.is_some() { &rest[3..] } else { after };
        Some(decoded.unwrap_or(first).to_ascii_lowercase())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_covers_whole_segments_only() {
        use Match::{Exact, Lenient, No};
        let table = [
            ("/health", "/health", Exact),
            ("/health", "/health/", Lenient),
            ("/health", "/Health", Lenient),
            ("/health", "/healthz", No),
            ("/health", "/health/x", No),
            ("/health", "/", No),
            ("/health/", "/health/", Exact),
            ("/health/", "/health", Lenient),
            ("/public/**", "/public", Exact),
            ("/public/**", "/public/", Exact),
            ("/public/**", "/public/a/b", Exact),
            ("/public/**", "/PUBLIC/a", Lenient),
            ("/public/**", "/publicx", No),
            ("/public/**", "/publicx/a", No),
            ("/public/**", "/a/public/b", No),
            ("/users/*/posts", "/users/7/posts", Exact),
            ("/users/*/posts", "/users/7/Posts", Lenient),
            ("/users/*/posts", "/users/posts", No),
            ("/users/*/posts", "/users/7/8/posts", No),
            ("/users/*", "/users/", No),
            ("/users/*", "/users/7", Exact),
            ("/users/*/**", "/users/7/a/b", Exact),
            ("/users/*/**", "/users", No),
            ("/**", "/", Exact),
            ("/**", "/a/b/", Exact),
            ("/", "/", Exact),
            ("/", "/a", No),
            ("/u@x", "/u%40x", Lenient),
            ("/u%40x", "/u@x", Lenient),
            ("/%E4%BD%A0", "/%E4%BD%A0", Exact),
            ("/%E4%BD%A0", "/%e4%bd%a0", Lenient),
            ("/a%2Ab", "/a*b", Lenient),
        ];
        for (pattern, path, expected) in table {
            assert_eq!(Pattern::parse(pattern).unwrap().covers(path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn a_pattern_that_no_request_can_meet_is_refused() {
        for text in
            ["", "health", "*", "/a//b", "/a/../b", "/a/**/b", "/a*", "/a**", "/**x", "/a;b", "/%61", "/a b", "/a?b", "/a#b"]
        {
            assert!(Pattern::parse(text).is_err(), "{text:?}");
        }
    }
}
