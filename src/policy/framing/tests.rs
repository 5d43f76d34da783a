//! What `policy::framing` promises.

mod websocket;

use proptest::prelude::*;

use super::*;
use crate::policy::head::{self, Parsed};

const LIMITS: FramingLimits = FramingLimits { max_headers: 30 };

fn read(bytes: &[u8]) -> Result<Framing, RejectReason> {
    let mut slots = [const { std::mem::MaybeUninit::uninit() }; 64];
    match head::parse(bytes, &mut slots)? {
        Parsed::Complete(head) => check(&head, &LIMITS),
        Parsed::Partial => Err(RejectReason::malformed("partial")),
    }
}

/// A request with a Host and these lines more.
fn request(line: &str, headers: &[&str]) -> Result<Framing, RejectReason> {
    read(
        format!(
            "{}\r\n\r\n",
            [&[line, "Host: example.com"], headers]
                .concat()
                .join("\r\n")
        )
        .as_bytes(),
    )
}

fn post(headers: &[&str]) -> Result<Framing, RejectReason> {
    request("POST /x HTTP/1.1", headers)
}

#[test]
fn a_plain_request_has_one_length() {
    let table: &[(&[&str], BodyLength)] = &[
        (&[], BodyLength::None),
        (&["Content-Length: 0"], BodyLength::Length(0)),
        (&["content-length: 17"], BodyLength::Length(17)),
        (
            &["Content-Length: 9007199254740992"],
            BodyLength::Length(MAX_BODY_LEN),
        ),
        (&["Transfer-Encoding: chunked"], BodyLength::Unknown),
        (&["TRANSFER-ENCODING: Chunked"], BodyLength::Unknown),
    ];
    for (headers, body) in table {
        assert_eq!(
            post(headers).map(|framing| framing.body),
            Ok(*body),
            "{headers:?}"
        );
    }
    // CVE-2021-32715: a body on GET is framed like any other.
    assert_eq!(
        request("GET / HTTP/1.1", &["Content-Length: 3"]).map(|framing| framing.body),
        Ok(BodyLength::Length(3))
    );
}

/// Header fields that give a length two readings.
const TWO_LENGTHS: &[(&str, &[&str])] = &[
    // section 1 rows 4, 5; CVE-2023-40167, CVE-2024-1135, HTTP Garden 10, CVE-2023-40225,
    // CVE-2018-7159, CVE-2021-32714
    ("plus sign", &["Content-Length: +5"]),
    ("minus sign", &["Content-Length: -5"]),
    ("minus zero", &["Content-Length: -0"]),
    ("leading zeros", &["Content-Length: 005"]),
    ("double zero", &["Content-Length: 00"]),
    ("list", &["Content-Length: 5,5"]),
    ("list with space", &["Content-Length: 5, 5"]),
    ("empty", &["Content-Length:"]),
    ("blank", &["Content-Length:   "]),
    ("inner space", &["Content-Length: 5 0"]),
    ("inner tab", &["Content-Length: 5\t0"]),
    ("underscore, as Python reads it", &["Content-Length: 1_0"]),
    ("plus and underscore", &["Content-Length: +1_0"]),
    ("hexadecimal", &["Content-Length: 0x5"]),
    ("octal", &["Content-Length: 0o5"]),
    ("exponent", &["Content-Length: 1e1"]),
    ("fraction", &["Content-Length: 5.0"]),
    ("trailing letter", &["Content-Length: 5a"]),
    ("quoted", &["Content-Length: \"5\""]),
    ("other digits", &["Content-Length: ٥"]),
    ("semicolon", &["Content-Length: 5;"]),
    ("above 2^53", &["Content-Length: 9007199254740993"]),
    ("2^63", &["Content-Length: 9223372036854775808"]),
    ("2^64", &["Content-Length: 18446744073709551616"]),
    ("2^64 and 5", &["Content-Length: 18446744073709551621"]),
    ("twice, equal", &["Content-Length: 5", "Content-Length: 5"]),
    (
        "twice, differing",
        &["Content-Length: 5", "Content-Length: 6"],
    ),
    (
        "twice, other case",
        &["Content-Length: 5", "content-length: 5"],
    ),
    // section 1 row 7; CVE-2026-2835, CVE-2022-32213, CVE-2022-32215, CVE-2024-6827,
    // CVE-2019-18801, Kettle CL.TE and TE.CL
    ("both", &["Content-Length: 5", "Transfer-Encoding: chunked"]),
    (
        "both, other order",
        &["Transfer-Encoding: chunked", "Content-Length: 5"],
    ),
    (
        "both, other coding",
        &["Transfer-Encoding: identity", "Content-Length: 5"],
    ),
    (
        "both, zero",
        &["Transfer-Encoding: chunked", "Content-Length: 0"],
    ),
    (
        "both, empty length",
        &["Transfer-Encoding: chunked", "Content-Length:"],
    ),
    (
        "both, empty coding",
        &["Transfer-Encoding:", "Content-Length: 5"],
    ),
    ("two codings", &["Transfer-Encoding: gzip, chunked"]),
    ("chunked first", &["Transfer-Encoding: chunked, gzip"]),
    (
        "chunked, identity",
        &["Transfer-Encoding: chunked, identity"],
    ),
    (
        "chunked twice in a line",
        &["Transfer-Encoding: chunked, chunked"],
    ),
    (
        "chunked twice",
        &["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
    ),
    (
        "two lines",
        &["Transfer-Encoding: gzip", "Transfer-Encoding: chunked"],
    ),
    (
        "two lines, other case",
        &["Transfer-Encoding: chunked", "transfer-encoding: identity"],
    ),
    ("identity", &["Transfer-Encoding: identity"]),
    ("cow", &["Transfer-Encoding: cow"]),
    ("xchunked", &["Transfer-Encoding: xchunked"]),
    ("parameter", &["Transfer-Encoding: chunked;x=1"]),
    ("quoted coding", &["Transfer-Encoding: \"chunked\""]),
    ("trailing comma", &["Transfer-Encoding: chunked,"]),
    ("leading comma", &["Transfer-Encoding: ,chunked"]),
    ("empty coding", &["Transfer-Encoding:"]),
    ("inner space in coding", &["Transfer-Encoding: chun ked"]),
    ("NBSP after coding", &["Transfer-Encoding: chunked\u{a0}"]),
    // CVE-2025-32094, CVE-2024-24791, section 1 row 15, Kettle 2025
    ("unknown expectation", &["Expect: x", "Content-Length: 5"]),
    (
        "expectation and more",
        &["Expect: 100-continue, x", "Content-Length: 5"],
    ),
    (
        "obscured expectation",
        &["Expect: y 100-continue", "Content-Length: 5"],
    ),
    ("empty expectation", &["Expect:", "Content-Length: 5"]),
    (
        "two expectations",
        &[
            "Expect: 100-continue",
            "Expect: 100-continue",
            "Content-Length: 5",
        ],
    ),
    ("expectation without body", &["Expect: 100-continue"]),
];

#[test]
fn whatever_gives_a_length_two_readings_is_refused() {
    for (name, headers) in TWO_LENGTHS {
        for line in [
            "POST /x HTTP/1.1",
            "GET / HTTP/1.1",
            "OPTIONS / HTTP/1.1",
            "POST /x HTTP/1.0",
        ] {
            let refusal = request(line, headers).expect_err(name);
            assert!(
                refusal.close && refusal.code == ErrorCode::RequestMalformed,
                "{line} {name}"
            );
        }
    }
}

#[test]
fn http_1_0_has_no_transfer_coding() {
    // CVE-2026-2835
    assert!(request("POST / HTTP/1.0", &["Transfer-Encoding: chunked"]).is_err());
    assert!(request("POST / HTTP/1.0", &["Content-Length: 5"]).is_ok());
}

#[test]
fn a_name_that_only_looks_like_a_framing_header_does_not_frame() {
    // section 1 row 6: these are dropped by the header policy, and must not have been counted here.
    for header in [
        "Content_Length: 5",
        "Transfer_Encoding: chunked",
        "Content.Length: 5",
        "XContent-Length: 5",
    ] {
        assert_eq!(
            post(&[header]).map(|framing| framing.body),
            Ok(BodyLength::None),
            "{header}"
        );
    }
}

#[test]
fn connection_has_no_effect_on_framing() {
    // CVE-2026-26365
    for option in [
        "Transfer-Encoding",
        "Content-Length",
        "transfer-encoding, content-length",
        "Host",
    ] {
        let connection = format!("Connection: {option}");
        assert_eq!(
            post(&[&connection, "Content-Length: 5"]).map(|framing| framing.body),
            Ok(BodyLength::Length(5)),
            "{option}"
        );
        assert_eq!(
            post(&[&connection, "Transfer-Encoding: chunked"]).map(|framing| framing.body),
            Ok(BodyLength::Unknown)
        );
    }
}

#[test]
fn there_is_one_valid_host() {
    let with = |host: &str| read(format!("GET / HTTP/1.1\r\n{host}\r\n").as_bytes());
    for host in [
        "example.com",
        "EXAMPLE.com:8080",
        "localhost",
        "my_service:80",
        "127.0.0.1",
        "127.0.0.1:1",
        "[::1]",
        "[2001:db8::1]:443",
        "a.example.",
    ] {
        assert!(with(&format!("Host: {host}\r\n")).is_ok(), "{host}");
    }
    // section 1 rows 8, 9, 10; HAProxy "forbid comma in authority"
    let bad = [
        "",
        " ",
        "a b",
        "127.0.0.1, evil.example",
        "a,b",
        "a/b",
        "a/",
        "user@a",
        "a?b",
        "a#b",
        "a\\b",
        "a:b",
        "a:",
        "a:80:80",
        "a:+80",
        "a:65536",
        "a:999999999999",
        ":80",
        "[::1",
        "::1",
        "[::1]80",
        "[::1]:",
        "[v1.a]",
        "[1.2.3.4]",
        "%61",
        "a%00",
        "é.example",
        "a;b",
        "a|b",
        "<a>",
        "a\"b",
        "http://a",
        ".",
        "..",
        "-",
        "[fe80::1%25eth0]",
    ];
    for host in bad {
        assert!(with(&format!("Host: {host}\r\n")).is_err(), "{host:?}");
    }
    assert!(with(&format!("Host: {}\r\n", "a".repeat(254))).is_err());
    assert!(with("").is_err(), "missing");
    assert!(with("Host: a\r\nHost: a\r\n").is_err(), "twice");
    assert!(with("Host: a\r\nhost: b\r\n").is_err(), "twice, other case");
    assert!(
        read(b"GET / HTTP/1.0\r\n\r\n").is_ok(),
        "HTTP/1.0 may have none"
    );
    assert!(read(b"GET / HTTP/1.0\r\nHost: a/b\r\n\r\n").is_err());
    assert!(read(b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n").is_err());
}

#[test]
fn what_decides_something_is_there_once() {
    // CVE-2020-25017, CVE-2026-26308: readers differ on which of several counts.
    for name in [
        "Authorization",
        "Content-Type",
        "Upgrade",
        "Sec-WebSocket-Key",
        "Sec-WebSocket-Version",
    ] {
        let (one, two) = (
            format!("{name}: x"),
            format!("{}: y", name.to_ascii_uppercase()),
        );
        assert!(post(&[&one]).is_ok(), "{name}");
        assert!(
            post(&[&one, &two]).is_err_and(|refusal| refusal.close),
            "{name}"
        );
        assert!(post(&[&one, "X: y", &one]).is_err(), "{name}");
    }
    assert!(
        post(&[
            "Accept: a",
            "Accept: b",
            "Cookie: a",
            "Cookie: b",
            "X-A: 1",
            "X-A: 2"
        ])
        .is_ok()
    );
}

#[test]
fn only_methods_that_everybody_knows_pass() {
    for method in METHODS {
        assert!(
            request(&format!("{method} / HTTP/1.1"), &[]).is_ok(),
            "{method}"
        );
    }
    // section 1 row 18, CVE-2026-71324
    for method in [
        "TRACE", "CONNECT", "PROPFIND", "PURGE", "TRACK", "DEBUG", "PRI", "QUERY",
    ] {
        let refusal = request(&format!("{method} / HTTP/1.1"), &[]).expect_err(method);
        assert_eq!(
            (refusal.code, refusal.close),
            (ErrorCode::MethodNotAllowed, true),
            "{method}"
        );
    }
    for method in ["get", "Get", "GET1", "G-T", "G_T", "connect", "Trace"] {
        let refusal = request(&format!("{method} / HTTP/1.1"), &[]).expect_err(method);
        assert_eq!(refusal.code, ErrorCode::RequestMalformed, "{method}");
    }
}

#[test]
fn the_wish_for_a_continue_and_for_keeping_the_connection_is_read() {
    let expects =
        |headers: &[&str], line| request(line, headers).map(|framing| framing.expects_continue);
    assert_eq!(
        expects(
            &["Expect: 100-Continue", "Content-Length: 5"],
            "POST / HTTP/1.1"
        ),
        Ok(true)
    );
    assert_eq!(
        expects(
            &["Expect: 100-continue", "Content-Length: 0"],
            "POST / HTTP/1.1"
        ),
        Ok(false)
    );
    assert_eq!(
        expects(
            &["Expect: 100-continue", "Content-Length: 5"],
            "POST / HTTP/1.0"
        ),
        Ok(false)
    );
    let keeps = |line, headers: &[&str]| request(line, headers).map(|framing| framing.keep_alive);
    for (line, headers, expected) in [
        ("GET / HTTP/1.1", &[][..], true),
        ("GET / HTTP/1.1", &["Connection: close"], false),
        ("GET / HTTP/1.1", &["Connection: x, CLOSE"], false),
        (
            "GET / HTTP/1.1",
            &["Connection: keep-alive", "Connection: close"],
            false,
        ),
        ("GET / HTTP/1.0", &[], false),
        ("GET / HTTP/1.0", &["Connection: Keep-Alive"], true),
        ("GET / HTTP/1.0", &["Connection: keep-alive, close"], false),
    ] {
        assert_eq!(keeps(line, headers), Ok(expected), "{line} {headers:?}");
    }
}

#[test]
fn the_number_of_headers_is_limited() {
    let many = vec!["X: y"; LIMITS.max_headers];
    assert!(post(&many[1..]).is_ok());
    assert!(post(&many).is_err());
}

/// How lenient servers find the end of a request, each in its own way; `None` where it would
/// refuse.
mod readers {
    use super::BodyLength;

    fn lines(bytes: &[u8], end: &str) -> Vec<(String, String)> {
        let text: String = bytes.iter().map(|&byte| char::from(byte)).collect();
        let head = text.trim_start_matches(['\r', '\n']);
        let head = head
            .split_once(&format!("{end}{end}"))
            .map_or(head, |(head, _)| head);
        let named = |line: &str| {
            let (name, value) = line.split_once(':')?;
            Some((
                name.trim().to_ascii_lowercase(),
                value.trim().to_ascii_lowercase(),
            ))
        };
        head.split(end).skip(1).filter_map(named).collect()
    }

    fn number(value: &str) -> Option<u64> {
        value
            .trim_start_matches('+')
            .replace('_', "")
            .split(',')
            .next_back()?
            .trim()
            .parse()
            .ok()
    }

    /// Reads with these line ends; prefers the coding or the length; the first or the last of
    /// several.
    pub(super) fn body(
        bytes: &[u8],
        end: &str,
        coding_wins: bool,
        last: bool,
    ) -> Option<BodyLength> {
        let lines = lines(bytes, end);
        let mut lengths = lines
            .iter()
            .filter(|(name, _)| name == "content-length")
            .map(|(_, value)| value);
        let mut codings = lines
            .iter()
            .filter(|(name, _)| name == "transfer-encoding")
            .map(|(_, value)| value);
        let length = if last {
            lengths.next_back()
        } else {
            lengths.next()
        };
        let coding = if last {
            codings.next_back()
        } else {
            codings.next()
        };
        let chunked = coding
            .filter(|value| value.contains("chunked"))
            .map(|_| BodyLength::Unknown);
        let length = match length {
            Some(value) => Some(BodyLength::Length(number(value)?)),
            None => None,
        };
        Some(
            if coding_wins {
                chunked.or(length)
            } else {
                length.or(chunked)
            }
            .unwrap_or(BodyLength::None),
        )
    }
}

fn line() -> impl Strategy<Value = String> {
    let names = [
        "Content-Length",
        "content-length",
        "Transfer-Encoding",
        "TRANSFER-ENCODING",
        "Content-Length ",
        "X",
        "Connection",
        "Expect",
        "",
        " X",
    ];
    let values = [
        "5",
        "05",
        "+5",
        "5, 6",
        "0",
        "chunked",
        "Chunked",
        "gzip, chunked",
        "identity",
        "",
        "x\r\nContent-Length: 6",
        "x\nTransfer-Encoding: chunked",
        "close",
        "100-continue",
        "\0",
        "7\r",
        "\x0bchunked",
    ];
    let colons = [": ", ":", " : ", ":\t"];
    let ends = ["\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\n", "\r", "\r\n "];
    (
        prop::sample::select(names.to_vec()),
        prop::sample::select(colons.to_vec()),
        prop::sample::select(values.to_vec()),
        prop::sample::select(ends.to_vec()),
    )
        .prop_map(|(name, colon, value, end)| format!("{name}{colon}{value}{end}"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Kettle 2019 to 2025: any disagreement on length. What is accepted is read alike by every
    /// kind of reader.
    #[test]
    fn an_accepted_request_has_one_length_for_every_reader(lines in proptest::collection::vec(line(), 0..4)) {
        let bytes = format!("POST / HTTP/1.1\r\nHost: a\r\n{}\r\n", lines.concat()).into_bytes();
        if let Ok(framing) = read(&bytes) {
            for end in ["\r\n", "\n"] {
                for (coding_wins, last) in [(true, true), (true, false), (false, true), (false, false)] {
                    prop_assert_eq!(readers::body(&bytes, end, coding_wins, last), Some(framing.body));
                }
            }
        }
    }

    #[test]
    fn no_bytes_make_the_check_panic(line in "[A-Z]{1,8} [ -~]{1,20} HTTP/1\\.[01]", headers in "(\\PC{0,12}: \\PC{0,12}\r\n){0,6}") {
        let _ = read(format!("{line}\r\n{headers}\r\n").as_bytes());
    }
}
