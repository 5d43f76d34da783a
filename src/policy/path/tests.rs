//! What `policy::path` promises.

use proptest::prelude::*;

use super::*;

#[test]
fn a_plain_target_passes_as_it_is() {
    let table = [
        ("/", "/", None),
        ("/a/b", "/a/b", None),
        ("/a/b/", "/a/b/", None),
        ("/a?b=c", "/a", Some("b=c")),
        ("/a?", "/a", Some("")),
        ("/a?b?c", "/a", Some("b?c")),
        (
            "/~user/-._/$a&b'(c)*+,d=e:f@g!",
            "/~user/-._/$a&b'(c)*+,d=e:f@g!",
            None,
        ),
        ("/%E4%BD%A0%E5%A5%BD", "/%E4%BD%A0%E5%A5%BD", None),
        ("/%e4%bd%a0", "/%e4%bd%a0", None),
        ("/a%20b", "/a%20b", None),
        ("/%F0%9F%9A%AA", "/%F0%9F%9A%AA", None),
        ("/u%40example.com", "/u%40example.com", None),
        ("/a%2Cb%3Ac%22%7B%7D", "/a%2Cb%3Ac%22%7B%7D", None),
        ("/[id]|a^b", "/[id]|a^b", None),
        ("/a...", "/a...", None),
        ("/a%20", "/a%20", None),
        ("/.well-known/x", "/.well-known/x", None),
        ("/a..b", "/a..b", None),
        (
            "/a?next=/b/../c//d;e%2f%zz&f={}",
            "/a",
            Some("next=/b/../c//d;e%2f%zz&f={}"),
        ),
    ];
    for (target, path, query) in table {
        assert_eq!(check(target), Ok(Target { path, query }), "{target}");
    }
}

/// Targets that servers read differently, by what makes them ambiguous.
const TWO_READINGS: &[(&str, &[&str])] = &[
    (
        "dot segments: CVE-2026-33494, CVE-2021-29492, CVE-2019-9901, section 1 row 13",
        &[
            "/.",
            "/..",
            "/./a",
            "/../a",
            "/a/.",
            "/a/..",
            "/a/./b",
            "/a/../b",
            "/public/../admin",
            "/a/../",
        ],
    ),
    (
        "encoded dots: CVE-2026-48020, CVE-2026-67309",
        &[
            "/%2e",
            "/%2E%2e/a",
            "/.%2e/a",
            "/%2e./a",
            "/a/%2E%2E/b",
            "/a%2eb",
            "/..%2fa",
            "/%2e%2e%2fa",
            "/a/%2e%2e",
        ],
    ),
    (
        "encoded separators: CVE-2021-31920, CVE-2025-66490",
        &[
            "/a%2fb",
            "/a%2Fb",
            "/%2f",
            "/%2F%2Fadmin",
            "/a%5cb",
            "/a%5C..%5Cb",
            "/public%2f..%2fadmin",
        ],
    ),
    (
        "backslash: CVE-2021-31920",
        &["/a\\b", "/\\admin", "/a\\..\\b", "\\a"],
    ),
    (
        "NUL and control bytes: CVE-2025-66490, HTTP Garden",
        &[
            "/a%00",
            "/%00",
            "/a%0d%0ab",
            "/a%0A",
            "/%7f",
            "/%1f",
            "/%09a",
            "/a%c2%85",
        ],
    ),
    (
        "parameters",
        &[
            "/a;b",
            "/;",
            "/a;/b",
            "/public/..;/admin",
            "/a;jsessionid=1/b",
            "/a%3bb",
            "/a%3Bb",
        ],
    ),
    (
        "empty segments: CVE-2026-26205, CVE-2019-9901",
        &[
            "//",
            "//a",
            "/a//b",
            "/a//",
            "///",
            "//admin/x",
            "//evil.example/a",
        ],
    ),
    (
        "fragments: CVE-2026-41059, CVE-2021-32779, CVE-2021-39156, CVE-2023-47106, CVE-2023-45539",
        &[
            "/a#b",
            "/#",
            "/admin#/public",
            "/a%23b",
            "/a?b#c",
            "/public?#/../admin",
        ],
    ),
    (
        "encoded query: CVE-2025-47952",
        &["/a%3fb", "/a%3Fb=c", "/public%3f/../admin"],
    ),
    (
        "twice encoded: CVE-2025-32431",
        &[
            "/%252e%252e/a",
            "/a%252fb",
            "/a%255cb",
            "/a%2500",
            "/a%25",
            "/a%2525",
            "/%25%32%65",
            "/%25252e",
            "/100%25",
        ],
    ),
    (
        "encoded plain characters: CVE-2026-40912",
        &[
            "/%61dmin", "/admi%6E", "/%41", "/%30", "/a%2db", "/a%5fb", "/a%7Eb",
        ],
    ),
    (
        "bad encoding",
        &[
            "/%", "/a%2", "/%zz", "/%2", "/%g0", "/%u002e", "/a%%20", "/% 20", "/%+1", "/%é",
        ],
    ),
    (
        "invalid UTF-8 and overlong forms",
        &[
            "/%c0%af",
            "/%c0%ae%c0%ae",
            "/%c1%9c",
            "/%e0%80%af",
            "/%f0%80%80%af",
            "/%80",
            "/%bf",
            "/%ff",
            "/%fe",
            "/%e4%bd",
            "/%e4%bdx",
            "/%e4",
            "/%e4a%bd%a0",
            "/%ed%a0%80",
            "/%f4%90%80%80",
            "/%f5%80%80%80",
            "/%E4%BD%20",
        ],
    ),
    (
        "other forms of a target: RFC 9112 section 3.2",
        &[
            "",
            "*",
            "a",
            "a/b",
            "http://example.com/",
            "https://evil.example/admin",
            "HTTP://a/",
            "example.com:443",
            "?a",
            "?/admin",
            "#",
            "%2fadmin",
            "file:///etc",
            "@a",
        ],
    ),
    (
        "bytes that no path has: section 1 row 12",
        &[
            "/a b", "/a\tb", "/a\r", "/a\n", "/a\0b", "/\u{7f}", "/你", "/é", "/a\"b", "/<a>",
            "/a`b", "/{a}", "/a?b c", "/a?你", "/a?\0", "/a?<", "/a?\"",
        ],
    ),
];

#[test]
fn a_path_with_two_readings_is_refused() {
    let mut seen = 0;
    for (class, targets) in TWO_READINGS {
        for target in *targets {
            let refusal = check(target).expect_err(&format!("{class}: {target:?}"));
            assert_eq!(
                (refusal.code, refusal.close),
                (ErrorCode::PathAmbiguous, false),
                "{target:?}"
            );
            seen += 1;
        }
    }
    assert_eq!(
        seen,
        TWO_READINGS
            .iter()
            .map(|(_, targets)| targets.len())
            .sum::<usize>()
    );
}

#[test]
fn a_segment_that_is_cut_down_to_dots_or_to_nothing_is_refused() {
    // Windows cuts dots and blanks off names, routers trim.
    for target in [
        "/public/..%20/api/orders",
        "/..%20",
        "/.%20/a",
        "/.%20.",
        "/...",
        "/..../a",
        "/a/.../b",
        "/..%20./b",
        "/..%C2%A0/b",
        "/..%E3%80%80/b",
        "/..%E2%80%8B/b",
        "/.%EF%BB%BF./b",
        "/%20../b",
        "/a/%20/b",
        "/a/%20%20",
        "/a/%E3%80%80",
    ] {
        let refusal = check(target).expect_err(target);
        assert_eq!(
            (refusal.code, refusal.close),
            (ErrorCode::PathAmbiguous, false),
            "{target}"
        );
    }
    for target in [
        "/a..b",
        "/..a",
        "/..%20a",
        "/%20a",
        "/a%20",
        "/a..",
        "/a.%20.b",
        "/.well-known",
        "/%E4%BD%A0..",
        "/",
        "/a/",
    ] {
        assert!(check(target).is_ok(), "{target}");
    }
}

#[test]
fn no_single_byte_hides_in_an_encoding() {
    let mut passed = 0;
    for byte in 0..=u8::MAX {
        for text in [format!("/a%{byte:02x}b"), format!("/a%{byte:02X}b")] {
            let harmless = b" !\"$&'()*+,:<=>@[]^`{|}".contains(&byte);
            assert_eq!(check(&text).is_ok(), harmless, "{text}");
            passed += usize::from(harmless);
        }
    }
    assert_eq!(passed, 46);
}

#[test]
fn what_passes_is_forwarded_byte_by_byte() {
    // section 1 row 12: the type that carries the target onwards must neither refuse nor change it.
    let mut seen = 0;
    for byte in 0x21..=0x7e_u8 {
        let sign = char::from(byte);
        for target in [
            format!("/a{sign}b"),
            format!("/a?{sign}b"),
            format!("/a{sign}?b"),
        ] {
            if check(&target).is_ok() {
                let carried = http::uri::PathAndQuery::try_from(target.as_str());
                assert_eq!(
                    carried.map(|carried| carried.to_string()).ok(),
                    Some(target)
                );
                seen += 1;
            }
        }
    }
    assert!(seen > 200, "{seen}");
}

fn allowing(allowed: &[EncodedDelimiter], target: &str) -> Result<Vec<String>, &'static str> {
    let seen = std::cell::RefCell::new(Vec::new());
    let checked = check_decoded(target, AllowedDelimiters::new(allowed), |decoded| {
        seen.borrow_mut().push(decoded.to_owned());
        decoded.starts_with("/files/") && !decoded.starts_with("/files/closed/")
    });
    checked
        .map(|_| seen.into_inner())
        .map_err(|refusal| refusal.detail)
}

/// Targets that pass, and their paths decoded once and twice.
const SAME_RULE: &[(&str, &str, &str)] = &[
    ("/files/a/b", "/files/a/b", "/files/a/b"),
    (
        "/files/group%2Fproject?ref=a%2Fb",
        "/files/group/project",
        "/files/group/project",
    ),
    (
        "/files/@scope%2fname",
        "/files/@scope/name",
        "/files/@scope/name",
    ),
    ("/files/a%2F", "/files/a/", "/files/a/"),
    ("/files/100%25", "/files/100%", "/files/100%"),
    ("/files/a%2520b", "/files/a%20b", "/files/a b"),
    ("/files/a%252Fb", "/files/a%2Fb", "/files/a/b"),
    ("/files/a%252eb", "/files/a%2eb", "/files/a.b"),
    (
        "/files/%25E4%25BD%25A0",
        "/files/%E4%BD%A0",
        "/files/\u{4f60}",
    ),
    (
        "/files/%E4%BD%A0%2F1",
        "/files/\u{4f60}/1",
        "/files/\u{4f60}/1",
    ),
    ("/files/%2525", "/files/%25", "/files/%"),
];

const DOTS: &str = "The path has a dot segment.";
const DELIMITER: &str = "Decoded, the path has a delimiter.";
const OTHER_RULE: &str = "Decoded, the path belongs to another rule.";

/// Targets that are ambiguous although some delimiters are allowed, and why.
const STILL_AMBIGUOUS: &[(&str, &str)] = &[
    ("/files/..%2Fapi", DOTS),
    ("/files/a%2F..%2F..%2Fapi", DOTS),
    ("/files/a%2F.", DOTS),
    (
        "/files/%252e%252e/api",
        "The path has a segment of nothing but dots and blanks.",
    ),
    ("/files/.%252e%252Fapi", DOTS),
    ("/files/..%2520/api", DOTS),
    ("/files/..%2520%2Fapi", DOTS),
    (
        "/files/%2520%252Fapi",
        "The path has a segment of nothing but dots and blanks.",
    ),
    ("/files/...%2Fapi", DOTS),
    ("/files/..%25C2%25A0%2Fapi", DOTS),
    ("/files/a%2F%2Fb", "The path has an empty segment ('//')."),
    (
        "/files/a%252F%252Fb",
        "The path has an empty segment ('//').",
    ),
    ("/files/a%2F/b", "The path has an empty segment ('//')."),
    ("/files%2F/b", "The path has an empty segment ('//')."),
    ("/files/..%253B%2Fapi", DELIMITER),
    ("/files/a%255Cb", DELIMITER),
    ("/files/a%253Fb", DELIMITER),
    ("/files/a%2523b", DELIMITER),
    ("/files/a%2500b", CONTROL),
    ("/files/a%250d%250ab", CONTROL),
    ("/files/a%25C2%2585b", CONTROL),
    ("/files/%25c0%25af", BAD_ENCODING),
    ("/files/%25ff", BAD_ENCODING),
    ("/files/%25u002e%25u002e%2Fapi", BAD_ENCODING),
    (
        "/files/a%25252Fb",
        "The path is percent-encoded more than twice.",
    ),
    ("/files/%2563losed%252Fa", OTHER_RULE),
    ("/files/closed%2Fa", OTHER_RULE),
    ("/api%2Fx", OTHER_RULE),
    // What is allowed is these two and nothing else.
    ("/files/a%5Cb%2Fc", "The path has an encoded delimiter."),
    ("/files/a%3Bb%2Fc", "The path has an encoded delimiter."),
    ("/files/a;b%2Fc", "The path has a ';'."),
    (
        "/files/%61%2Fc",
        "The path has an encoded character that needs no encoding.",
    ),
    ("/files/a%2Fb%zz", BAD_ENCODING),
    (
        "files%2Fa",
        "The target has to be a path that begins with '/'.",
    ),
];

#[test]
fn allowed_delimiters_pass_where_each_decoding_is_a_good_path_of_the_same_rule() {
    use EncodedDelimiter::{Percent, Slash};
    for (target, once, twice) in SAME_RULE {
        assert_eq!(
            allowing(&[Slash, Percent], target),
            Ok(vec![(*once).to_owned(), (*twice).to_owned()]),
            "{target}"
        );
    }
    for (target, why) in STILL_AMBIGUOUS {
        assert_eq!(allowing(&[Slash, Percent], target), Err(*why), "{target}");
    }
    for (allowed, target, passes) in [
        (&[][..], "/files/a/b", true),
        (&[], "/files/a%2Fb", false),
        (&[], "/files/a%25b", false),
        (&[Slash], "/files/a%2Fb", true),
        (&[Slash], "/files/a%25", false),
        (&[Percent], "/files/a%25", true),
        (&[Percent], "/files/a%2520b", true),
        (&[Percent], "/files/a%2Fb", false),
        (&[Percent], "/files/a%252Fb", false),
    ] {
        assert_eq!(
            allowing(allowed, target).is_ok(),
            passes,
            "{allowed:?} {target}"
        );
    }
}

/// What servers do to a path, one after another.
mod backend {
    pub(super) fn decode(path: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut at = 0;
        while at < path.len() {
            let byte = path.get(at..at + 3).and_then(|three| {
                let digits = std::str::from_utf8(three.strip_prefix(b"%")?).ok()?;
                u8::from_str_radix(digits, 16).ok()
            });
            out.push(byte.unwrap_or(path[at]));
            at += if byte.is_some() { 3 } else { 1 };
        }
        out
    }

    pub(super) fn unslash(path: &[u8]) -> Vec<u8> {
        path.iter()
            .map(|&byte| if byte == b'\\' { b'/' } else { byte })
            .collect()
    }

    pub(super) fn strip_parameters(path: &[u8]) -> Vec<u8> {
        let segments = path
            .split(|&byte| byte == b'/')
            .map(|segment| segment.split(|&byte| byte == b';').next().unwrap());
        segments.collect::<Vec<_>>().join(&b'/')
    }

    pub(super) fn merge_slashes(path: &[u8]) -> Vec<u8> {
        let mut out = path.to_vec();
        out.dedup_by(|a, b| *a == b'/' && *b == b'/');
        out
    }

    pub(super) fn remove_dots(path: &[u8]) -> Vec<u8> {
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

    pub(super) fn cut(path: &[u8]) -> Vec<u8> {
        path.iter()
            .copied()
            .take_while(|byte| !matches!(byte, 0 | b'?' | b'#' | b'\r' | b'\n'))
            .collect()
    }
}

fn target() -> impl Strategy<Value = String> {
    let pieces = [
        "/",
        "/",
        "/",
        "a",
        "admin",
        ".",
        "..",
        "...",
        "..%20",
        "%2e",
        "%2E",
        "%2f",
        "%5c",
        "\\",
        ";",
        "%3b",
        "%25",
        "%252e",
        "%61",
        "%E4%BD%A0",
        "%e4%bd%a0",
        "%c0%af",
        "%00",
        "?",
        "#",
        "%20",
        "%40",
        "@",
        "%",
        "2e",
        "%ff",
        "*",
        "é",
        "%7b",
        ":",
    ];
    proptest::collection::vec(prop::sample::select(pieces.to_vec()), 0..7)
        .prop_map(|pieces| format!("/{}", pieces.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Invariant 1 of the threat list: the same path under every reading.
    #[test]
    fn nothing_a_backend_does_changes_an_accepted_path(target in target()) {
        if let Ok(Target { path, .. }) = check(&target) {
            let raw = path.as_bytes();
            let once = backend::decode(raw);
            prop_assert_eq!(&backend::decode(&once), &once);
            prop_assert!(str::from_utf8(&once).is_ok());
            prop_assert_eq!(once.split(|&b| b == b'/').count(), path.split('/').count());
            let is_cut_off = |name: &[u8]| !name.is_empty() && name.iter().all(|byte| b". ".contains(byte));
            prop_assert!(!once.split(|&b| b == b'/').any(is_cut_off));
            for reading in [backend::unslash, backend::strip_parameters, backend::merge_slashes, backend::remove_dots, backend::cut] {
                prop_assert_eq!(&reading(raw), raw);
                prop_assert_eq!(&reading(&once), &once);
            }
        }
    }

    #[test]
    fn the_quick_look_passes_nothing_that_the_thorough_one_rejects(target in target(), text in "/[a-z./%;]{0,12}") {
        for path in [split(&target).path, text.as_str()] {
            if is_plain(path) {
                prop_assert_eq!(check_bytes(path.as_bytes(), AllowedDelimiters::NONE), Ok(()));
                prop_assert_eq!(check_segments(path), Ok(()));
            }
        }
    }

    #[test]
    fn no_text_makes_the_check_panic(target in "\\PC{0,40}") {
        let _ = check(&target);
    }
}

#[test]
fn an_ambiguous_target_is_sent_as_it_came_or_not_at_all() {
    for (target, goes) in [
        ("/a/../b", true),
        ("//a", true),
        ("/a%2fb;c?d=/../e", true),
        ("/%zz", true),
        ("/a\\b", true),
        ("/a#b", false),
        ("http://other.example/a", false),
        ("*", false),
        ("a", false),
        ("", false),
        ("/a b", false),
        ("/a\u{e9}", false),
        ("/a\u{7f}", false),
    ] {
        let parts = raw_target(target);
        assert_eq!(parts.is_some(), goes, "{target:?}");
        if let Some(Target { path, query }) = parts {
            assert_eq!(
                query.map_or(path.to_owned(), |query| format!("{path}?{query}")),
                target
            );
        }
    }
}
