//! How servers behind a gate read what passed it: each on its own, and naively.

/// Percent-decoding of a server that leaves alone what it cannot decode.
pub fn decode(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = path;
    while let Some((&first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let plain = digits.filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let byte = plain
            .filter(|_| first == b'%')
            .and_then(|text| u8::from_str_radix(text, 16).ok());
        out.push(byte.unwrap_or(first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    out
}

/// IIS and some of Java take a backslash for a slash.
pub fn unslash(path: &[u8]) -> Vec<u8> {
    path.iter()
        .map(|&byte| if byte == b'\\' { b'/' } else { byte })
        .collect()
}

/// Tomcat, Jetty and Rack cut parameters off each segment.
pub fn strip_parameters(path: &[u8]) -> Vec<u8> {
    let segments = path.split(|&byte| byte == b'/');
    let cut: Vec<&[u8]> = segments
        .map(|segment| {
            segment
                .split(|&byte| byte == b';')
                .next()
                .unwrap_or_default()
        })
        .collect();
    cut.join(&b'/')
}

/// nginx merges slashes.
pub fn merge_slashes(path: &[u8]) -> Vec<u8> {
    let mut out = path.to_vec();
    out.dedup_by(|a, b| *a == b'/' && *b == b'/');
    out
}

/// RFC 3986 section 5.2.4, by segments.
pub fn remove_dots(path: &[u8]) -> Vec<u8> {
    let mut out: Vec<&[u8]> = Vec::new();
    for segment in path.split(|&byte| byte == b'/') {
        match segment {
            b"." => {}
            b".." => drop(out.pop()),
            _ => out.push(segment),
        }
    }
    out.join(&b'/')
}

/// C and everything that ends a path where its own syntax says so.
pub fn cut(path: &[u8]) -> Vec<u8> {
    path.iter()
        .copied()
        .take_while(|byte| !matches!(byte, 0 | b'?' | b'#' | b'\r' | b'\n' | b' '))
        .collect()
}

/// Windows cuts dots and blanks off the end of each name, and many a router trims names, of all
/// that shows nothing.
pub fn cut_names(path: &[u8]) -> Vec<u8> {
    let is_blank = |sign: char| {
        let is_visually_empty = "\u{ad}\u{180e}\u{feff}".contains(sign)
            || ('\u{200b}'..='\u{200f}').contains(&sign)
            || ('\u{202a}'..='\u{202e}').contains(&sign)
            || ('\u{2060}'..='\u{206f}').contains(&sign);
        sign.is_whitespace() || is_visually_empty
    };
    let cut = |segment: &[u8]| match std::str::from_utf8(segment) {
        Ok(text) => text
            .trim_end_matches(|sign| sign == '.' || is_blank(sign))
            .trim_start_matches(is_blank)
            .as_bytes()
            .to_vec(),
        Err(_) => segment.to_vec(),
    };
    path.split(|&byte| byte == b'/')
        .map(cut)
        .collect::<Vec<_>>()
        .join(&b'/')
}

/// How many segments have a name.
pub fn names(path: &[u8]) -> usize {
    path.split(|&byte| byte == b'/')
        .filter(|segment| !segment.is_empty())
        .count()
}

/// What a server makes of a path.
pub type Reading = fn(&[u8]) -> Vec<u8>;

/// Each of them but decoding, which takes text to other text by right.
pub const READINGS: [Reading; 5] = [unslash, strip_parameters, merge_slashes, remove_dots, cut];

/// A header name as an environment of CGI or WSGI has it: what is no letter or digit is one sign.
pub fn fold(name: &[u8]) -> Vec<u8> {
    name.iter()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() {
                byte.to_ascii_uppercase()
            } else {
                b'_'
            }
        })
        .collect()
}

/// Name and value of a header field.
pub type Field<'a> = (&'a [u8], &'a [u8]);

/// A head cut into lines at `end`, and each line at its first colon; the first line is the request
/// line.
pub fn lines<'a>(head: &'a [u8], end: &[u8]) -> (&'a [u8], Vec<Field<'a>>) {
    let mut rest = head;
    let mut all = Vec::new();
    while let Some(at) = rest.windows(end.len()).position(|window| window == end) {
        all.push(&rest[..at]);
        rest = &rest[at + end.len()..];
    }
    let first = all
        .iter()
        .position(|line| !line.trim_ascii().is_empty())
        .unwrap_or(all.len());
    let fields = all.iter().skip(first + 1).filter_map(|line| {
        let colon = line.iter().position(|&byte| byte == b':')?;
        Some((&line[..colon], line[colon + 1..].trim_ascii()))
    });
    (
        all.get(first).copied().unwrap_or_default(),
        fields.collect(),
    )
}

/// How long one of the many kinds of server takes a body to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    Bytes(u128),
    Chunked,
}

/// Reads the length as a server would that looks at folded names or not, lets the first or the last
/// of several count, and prefers `Transfer-Encoding` or `Content-Length`.
pub fn length(fields: &[Field<'_>], folds: bool, last: bool, coding_wins: bool) -> Length {
    let named = |name: &[u8]| {
        let mut values = fields.iter().filter(|(sent, _)| {
            if folds {
                fold(sent.trim_ascii()) == fold(name)
            } else {
                sent.trim_ascii().eq_ignore_ascii_case(name)
            }
        });
        if last {
            values.next_back()
        } else {
            values.next()
        }
        .map(|(_, value)| *value)
    };
    let coding = named(b"transfer-encoding")
        .filter(|value| {
            value
                .to_ascii_lowercase()
                .windows(7)
                .any(|window| window == b"chunked")
        })
        .map(|_| Length::Chunked);
    let bytes = named(b"content-length").map(|value| {
        // The most lenient reader of numbers: a sign, zeros, underscores, and whatever follows the
        // digits.
        let text = value.strip_prefix(b"+").unwrap_or(value);
        let digits = text
            .iter()
            .take_while(|byte| byte.is_ascii_digit() || **byte == b'_')
            .filter(|byte| **byte != b'_');
        Length::Bytes(digits.fold(0, |sum: u128, digit| {
            sum.saturating_mul(10)
                .saturating_add(u128::from(digit - b'0'))
        }))
    });
    if coding_wins {
        coding.or(bytes)
    } else {
        bytes.or(coding)
    }
    .unwrap_or(Length::Bytes(0))
}
