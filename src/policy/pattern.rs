//! Path patterns of rules: exact, `*` for one segment, `/**` for everything below.
//!
//! A pattern is compared segment by segment, so `/public/**` never covers `/publicx`. Two readings are told apart: the path
//! byte by byte, and the path as a lenient backend may take it (letter case, percent-encoding and a trailing slash ignored,
//! as Express does by default; dots and blanks at the end of a name, as Windows does). Only the first may open a path; the second
//! may close one.

use super::path;

/// How a pattern covers a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Match {
    /// Byte by byte.
    Exact,
    /// Only for a backend that ignores case, encoding, a trailing slash, or dots and blanks at the end of a name.
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
    /// `decoded` is `text` percent-decoded; `folded` is that in lower case, without dots and blanks at the end.
    Literal { text: Box<str>, decoded: Box<[u8]>, folded: Box<[u8]> },
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
        self.covers_by(path, |text, _, name| *text == *name)
    }

    /// The same of a path that has been percent-decoded.
    pub(super) fn covers_decoded(&self, path: &str) -> Match {
        self.covers_by(path, |_, decoded, name| *decoded == *name.as_bytes())
    }

    fn covers_by(&self, path: &str, is_exact: impl Fn(&str, &[u8], &str) -> bool) -> Match {
        let (mut names, slash) = split(path);
        let mut exact = true;
        for segment in &self.segments {
            let Some(name) = names.next() else { return Match::No };
            match segment {
                Segment::Any => {}
                Segment::Literal { text, decoded, .. } if is_exact(text, decoded, name) => {}
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
            _ => Ok(Self::Literal { text: name.into(), decoded: decode(name).collect(), folded: fold(name).collect() }),
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

/// The bytes of a segment, decoded and in lower case, without dots and blanks at the end.
fn fold(name: &str) -> impl Iterator<Item = u8> + '_ {
    let mut name = name;
    while let Some(shorter) = name.strip_suffix(['.', ' ']).or_else(|| name.strip_suffix("%20")) {
        name = shorter;
    }
    decode(name).map(|byte| byte.to_ascii_lowercase())
}

/// The bytes of a segment, decoded.
fn decode(name: &str) -> impl Iterator<Item = u8> + '_ {
    let mut rest = name.as_bytes();
    std::iter::from_fn(move || {
        let (&first, after) = rest.split_first()?;
        let decoded = path::decode(rest);
        rest = if decoded.is_some() { &rest[3..] } else { after };
        Some(decoded.unwrap_or(first))
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
            // Windows cuts dots and blanks off the end of each name.
            ("/admin/**", "/admin./x", Lenient),
            ("/admin/**", "/Admin%20/x", Lenient),
            ("/admin/**", "/admin.%20./x", Lenient),
            ("/admin/**", "/admin.x/x", No),
            ("/admin/**", "/%20admin/x", No),
            ("/a.", "/a", Lenient),
            ("/a.", "/a.", Exact),
        ];
        for (pattern, path, expected) in table {
            assert_eq!(Pattern::parse(pattern).unwrap().covers(path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn a_decoded_path_is_compared_with_a_decoded_pattern() {
        use Match::{Exact, Lenient, No};
        for (pattern, path, expected) in [
            ("/%E4%BD%A0/**", "/\u{4f60}/a/b", Exact),
            ("/u%40x/**", "/u@x/a", Exact),
            ("/u@x/**", "/u@x/a", Exact),
            ("/U@x/**", "/u@x/a", Lenient),
            ("/u@x/**", "/u%40x/a", Lenient),
            ("/files/**", "/files/a/b", Exact),
            ("/files/*", "/files/a/b", No),
            ("/files/**", "/filesa/b", No),
        ] {
            assert_eq!(Pattern::parse(pattern).unwrap().covers_decoded(path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn a_pattern_that_no_request_can_meet_is_refused() {
        for text in [
            "", "health", "*", "/a//b", "/a/../b", "/a/.../b", "/a/%20", "/a%2Fb", "/a%25", "/a/**/b", "/a*", "/a**",
            "/**x", "/a;b", "/%61", "/a b", "/a?b", "/a#b",
        ] {
            assert!(Pattern::parse(text).is_err(), "{text:?}");
        }
    }
}
