//! Path patterns of rules: exact, `*` for one segment, `/**` for everything below.
//!
//! A pattern is compared segment by segment, so `/public/**` never covers `/publicx`. There are two
//! readings: the path byte by byte, and the path as a lenient backend may read it (it ignores
//! letter case, percent-encoding and a trailing slash, as Express does by default; dots and blanks
//! at the end of a name, as Windows does; blanks in front of it, as servers do that trim names).
//! Only the first may open a path; the second may close one.

use super::path::{self, first_char, is_blank};

/// How a pattern covers a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Match {
    /// Byte by byte.
    Exact,
    /// Only for a backend that ignores case, encoding, a trailing slash, blanks around a name, or
    /// dots at its end.
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
    /// `decoded` is `text` percent-decoded; `folded` is that in lower case, without blanks around
    /// it and dots at its end.
    Literal {
        text: Box<str>,
        decoded: Box<[u8]>,
        folded: Box<[u8]>,
    },
}

/// A path split into its names, once for all patterns.
pub(super) struct PathNames<'p> {
    first: [&'p str; MAX_CUT],
    /// The rest of the path.
    rest: &'p str,
    count: usize,
    /// A slash follows the last name.
    slash: bool,
    /// Each name folds to itself.
    is_folded: bool,
}

/// Names that are split in advance. The few paths that have more are split again for patterns that
/// have more too.
const MAX_CUT: usize = 8;

impl<'p> PathNames<'p> {
    pub(super) fn new(path: &'p str) -> Self {
        let names = path.strip_prefix('/').unwrap_or(path);
        let (names, slash) = match names.strip_suffix('/') {
            Some(names) => (names, true),
            None => (names, false),
        };
        let mut cut = Self {
            first: [""; MAX_CUT],
            rest: "",
            count: 0,
            slash,
            is_folded: true,
        };
        let mut start = 0;
        for (at, &byte) in names.as_bytes().iter().enumerate() {
            match byte {
                b'/' => {
                    cut.push(names, start, at);
                    start = at + 1;
                }
                b'%' | b'A'..=b'Z' | 0x80.. => cut.is_folded = false,
                _ => {}
            }
        }
        cut.push(names, start, names.len());
        cut
    }

    #[inline]
    fn push(&mut self, names: &'p str, start: usize, end: usize) {
        let name = &names[start..end];
        // Servers that merge slashes see no name between them.
        let (Some(first), Some(last)) = (name.bytes().next(), name.bytes().next_back()) else {
            return;
        };
        // All other blanks are not ASCII.
        self.is_folded &= last != b'.' && last > b' ' && first > b' ';
        match self.first.get_mut(self.count) {
            Some(slot) => *slot = name,
            None if self.count == MAX_CUT => self.rest = &names[start..],
            None => {}
        }
        self.count += 1;
    }

    #[inline]
    fn get(&self, index: usize) -> &'p str {
        match self.first.get(index) {
            Some(name) => name,
            None => self.get_further(index - MAX_CUT),
        }
    }

    #[cold]
    fn get_further(&self, index: usize) -> &'p str {
        self.rest
            .split('/')
            .filter(|name| !name.is_empty())
            .nth(index)
            .unwrap_or_default()
    }
}

impl Pattern {
    /// Parses a pattern, or returns what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        path::check_path(text).map_err(|detail| format!("no request has such a path: {detail}"))?;
        let (fixed, below) = match text.strip_suffix("/**") {
            Some(fixed) => (fixed, true),
            None => (text, false),
        };
        let names = PathNames::new(fixed);
        let segments = (0..names.count)
            .map(|index| Segment::parse(names.get(index)))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            segments,
            below,
            slash: names.slash,
        })
    }

    /// `/**`
    pub(super) fn everything() -> Self {
        Self {
            segments: Box::default(),
            below: true,
            slash: false,
        }
    }

    /// How it covers a path that [`path::check`] accepted.
    pub(super) fn covers(&self, path: &PathNames<'_>) -> Match {
        self.covers_by(path, |text, _, name| *text == *name)
    }

    /// The same for a path that has been percent-decoded.
    pub(super) fn covers_decoded(&self, path: &PathNames<'_>) -> Match {
        self.covers_by(path, |_, decoded, name| *decoded == *name.as_bytes())
    }

    #[inline]
    fn covers_by(
        &self,
        path: &PathNames<'_>,
        is_exact: impl Fn(&str, &[u8], &str) -> bool,
    ) -> Match {
        let wanted = self.segments.len();
        if path.count < wanted || (path.count > wanted && !self.below) {
            return Match::No;
        }
        let mut exact = self.below || path.slash == self.slash;
        for (index, segment) in self.segments.iter().enumerate() {
            let Segment::Literal {
                text,
                decoded,
                folded,
            } = segment
            else {
                continue;
            };
            let name = path.get(index);
            if is_exact(text, decoded, name) {
                continue;
            }
            let folds = if path.is_folded {
                **folded == *name.as_bytes()
            } else {
                folds_to(name, folded)
            };
            if !folds {
                return Match::No;
            }
            exact = false;
        }
        if exact { Match::Exact } else { Match::Lenient }
    }
}

impl Segment {
    fn parse(name: &str) -> Result<Self, String> {
        match name {
            "*" => Ok(Self::Any),
            "**" => Err("'**' may only be the last segment".to_owned()),
            _ if name.contains('*') => {
                Err("'*' is a whole segment; write %2A for the character".to_owned())
            }
            _ => Ok(Self::Literal {
                text: name.into(),
                decoded: decode(name).collect(),
                folded: fold(name).collect(),
            }),
        }
    }
}

fn folds_to(name: &str, folded: &[u8]) -> bool {
    name.len() >= folded.len() && fold(name).eq(folded.iter().copied())
}

/// The bytes of a segment, decoded and in lower case, without blanks around it and dots at its end.
fn fold(name: &str) -> impl Iterator<Item = u8> + '_ {
    decode(trim(name)).map(|byte| byte.to_ascii_lowercase())
}

/// A segment without blanks around it and dots at its end, encoded or not.
fn trim(name: &str) -> &str {
    let (mut start, mut end, mut at) = (0, 0, 0);
    while let Some((sign, length)) = name.get(at..).and_then(first_char) {
        at += length;
        if !is_blank(sign) && sign != '.' {
            end = at;
        } else if is_blank(sign) && start + length == at {
            start = at;
        }
    }
    name.get(start..end.max(start)).unwrap_or_default()
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
    use proptest::prelude::*;

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
            // Windows cuts dots and blanks off the end of each name, other servers trim names.
            ("/admin/**", "/admin./x", Lenient),
            ("/admin/**", "/Admin%20/x", Lenient),
            ("/admin/**", "/admin.%20./x", Lenient),
            ("/admin/**", "/admin.x/x", No),
            ("/admin/**", "/%20admin/x", Lenient),
            ("/admin/**", "/admin%C2%A0/x", Lenient),
            ("/admin/**", "/%E3%80%80ADMIN%E2%80%8B.%20/x", Lenient),
            ("/admin/**", "/%20%20admin/x", Lenient),
            ("/admin/**", "/.admin/x", No),
            ("/admin/**", "/.%20admin/x", No),
            ("/admin/**", "/ad%20min/x", No),
            ("/.well-known", "/%20.well-known", Lenient),
            ("/a.", "/a", Lenient),
            ("/a.", "/a.", Exact),
        ];
        for (pattern, path, expected) in table {
            assert_eq!(
                Pattern::parse(pattern)
                    .unwrap()
                    .covers(&PathNames::new(path)),
                expected,
                "{pattern} {path}"
            );
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
            assert_eq!(
                Pattern::parse(pattern)
                    .unwrap()
                    .covers_decoded(&PathNames::new(path)),
                expected,
                "{pattern} {path}"
            );
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        /// A path that is said to fold to itself is compared without folding it.
        #[test]
        fn a_path_is_cut_and_folded_as_its_names_are(path in "(/|/?[a-cA.% \u{a0}]{0,3}|%20|%C2%A0|%41|\u{200b}){0,40}") {
            let cut = PathNames::new(&path);
            let inner = path.strip_prefix('/').unwrap_or(&path);
            let names: Vec<&str> = inner.split('/').filter(|name| !name.is_empty()).collect();
            prop_assert_eq!((0..cut.count).map(|index| cut.get(index)).collect::<Vec<_>>(), names.clone());
            prop_assert_eq!(cut.slash, inner.ends_with('/'));
            if cut.is_folded {
                prop_assert!(names.iter().all(|name| fold(name).eq(name.bytes())), "{:?}", path);
            }
        }
    }

    #[test]
    fn a_pattern_that_no_request_can_meet_is_refused() {
        for text in [
            "", "health", "*", "/a//b", "/a/../b", "/a/.../b", "/a/%20", "/a%2Fb", "/a%25",
            "/a/**/b", "/a*", "/a**", "/**x", "/a;b", "/%61", "/a b", "/a?b", "/a#b",
        ] {
            assert!(Pattern::parse(text).is_err(), "{text:?}");
        }
    }
}
