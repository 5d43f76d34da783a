//! What `policy::head` promises.

use proptest::prelude::*;

use super::*;

/// Parses with room for 20 headers and tells only how it ended.
fn outcome(bytes: &[u8]) -> Result<Option<usize>, RejectReason> {
    let mut slots = [const { MaybeUninit::uninit() }; 20];
    match parse(bytes, &mut slots)? {
        Parsed::Complete(head) => Ok(Some(head.bytes.len())),
        Parsed::Partial => Ok(None),
    }
}

#[test]
fn a_head_is_read_as_it_was_sent() {
    let bytes =
        b"POST /a?b=c HTTP/1.1\r\nHost: example.com\r\nX-A:  1 \r\nx-a:\t2\t\r\nEmpty:\r\n\r\nbody";
    let mut slots = [const { MaybeUninit::uninit() }; 4];
    let Ok(Parsed::Complete(head)) = parse(bytes, &mut slots) else {
        panic!("a plain head")
    };
    assert_eq!(
        (head.method, head.target, head.version),
        ("POST", "/a?b=c", HttpVersion::Http11)
    );
    assert_eq!(head.values("X-a").collect::<Vec<_>>(), [b"1", b"2"]);
    assert_eq!(head.values("empty").collect::<Vec<_>>(), [b""]);
    assert_eq!(&bytes[head.bytes.len()..], b"body");
    assert!(head.is_followed);
}

#[test]
fn a_beginning_is_partial_and_a_head_needs_no_more_than_its_end() {
    let whole = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    for end in 0..whole.len() {
        assert_eq!(outcome(&whole[..end]), Ok(None), "{end}");
        assert!(
            !may_be_complete(&whole[..end], end.saturating_sub(1)),
            "{end}"
        );
    }
    assert_eq!(outcome(whole), Ok(Some(whole.len())));
    for seen in 0..whole.len() {
        assert!(may_be_complete(whole, seen), "{seen}");
    }
}

#[test]
fn one_empty_line_in_front_is_forgiven() {
    assert_eq!(outcome(b"\r\nGET / HTTP/1.0\r\n\r\n"), Ok(Some(20)));
    assert_eq!(outcome(b"\r\n"), Ok(None));
}

/// Heads that servers read differently.
const TWO_READINGS: &[(&str, &[u8])] = &[
    // security.md section 1 row 11, CVE-2025-22871, CVE-2022-32214: line ends
    (
        "bare LF after the request line",
        b"GET / HTTP/1.1\nHost: a\r\n\r\n",
    ),
    (
        "bare LF after a header",
        b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
    ),
    ("bare LF at the end", b"GET / HTTP/1.1\r\nHost: a\r\n\n"),
    ("bare LF everywhere", b"GET / HTTP/1.1\nHost: a\n\n"),
    ("bare LF in front", b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    (
        "many empty lines in front",
        b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    (
        "CR as line end (CVE-2023-30589)",
        b"GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n",
    ),
    (
        "CR at the end (CVE-2025-23167)",
        b"GET / HTTP/1.1\r\nHost: a\r\n\rX: b\r\n\r\n",
    ),
    ("CR CR LF", b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n"),
    (
        "CR after the request line",
        b"GET / HTTP/1.1\rHost: a\r\n\r\n",
    ),
    // CVE-2025-32094: obs-fold
    (
        "folded with a space",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n",
    ),
    (
        "folded with a tab",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n\tc\r\n\r\n",
    ),
    (
        "folded with nothing",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n \r\n\r\n",
    ),
    ("folded first header", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    (
        "folded Expect",
        b"OPTIONS / HTTP/1.1\r\nHost: a\r\nExpect:\r\n 100-continue\r\n\r\n",
    ),
    // HTTP Garden 2, 13, 16; CVE-2023-27493: control bytes in values
    ("NUL", b"GET / HTTP/1.1\r\nHost: a\r\nX: b\0c\r\n\r\n"),
    ("NUL alone", b"GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n"),
    ("SOH", b"GET / HTTP/1.1\r\nHost: a\r\nX: b\x01\r\n\r\n"),
    (
        "VT",
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n",
    ),
    (
        "FF",
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\x0c\r\n\r\n",
    ),
    ("ESC", b"GET / HTTP/1.1\r\nHost: a\r\nX: \x1b[0m\r\n\r\n"),
    ("DEL", b"GET / HTTP/1.1\r\nHost: a\r\nX: \x7f\r\n\r\n"),
    // CVE-2023-25725, CVE-2019-18801, CVE-2022-42252: names
    ("empty name", b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n"),
    ("no colon", b"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n"),
    (
        "space before the colon",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\n",
    ),
    (
        "tab before the colon",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length\t: 5\r\n\r\n",
    ),
    (
        "space in a name",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent Length: 5\r\n\r\n",
    ),
    (
        "NUL in a name",
        b"GET / HTTP/1.1\r\nHost: a\r\nX\0: 5\r\n\r\n",
    ),
    (
        "bracket in a name",
        b"GET / HTTP/1.1\r\nHost: a\r\nX(a): 5\r\n\r\n",
    ),
    (
        "non-ASCII name",
        b"GET / HTTP/1.1\r\nHost: a\r\nX\xc3\xa9: 5\r\n\r\n",
    ),
    (
        "non-ASCII space after a name",
        b"GET / HTTP/1.1\r\nHost: a\r\nX\xa0: 5\r\n\r\n",
    ),
    // CVE-2023-27491, section 1 row 12: the request line
    (
        "space in the target",
        b"GET /or ders HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    ("two spaces", b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
    (
        "space after the version",
        b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
    ),
    ("tab as separator", b"GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n"),
    ("leading space", b" GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("no target", b"GET HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("HTTP/0.9", b"GET /\r\n\r\n"),
    ("HTTP/1.2", b"GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
    ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ("lower-case version", b"GET / http/1.1\r\nHost: a\r\n\r\n"),
    ("long version", b"GET / HTTP/1.10\r\nHost: a\r\n\r\n"),
    ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    ("NUL in the target", b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n"),
    (
        "invalid UTF-8 target",
        b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
];

#[test]
fn a_head_with_two_readings_is_refused_and_the_connection_ends() {
    for (name, bytes) in TWO_READINGS {
        let refusal = outcome(bytes).expect_err(name);
        assert!(refusal.close, "{name}");
        assert_eq!(
            refusal.code,
            crate::error::ErrorCode::RequestMalformed,
            "{name}"
        );
    }
}

#[test]
fn the_number_of_headers_and_the_length_of_names_are_limited() {
    let with = |lines: &str| format!("GET / HTTP/1.1\r\n{lines}\r\n");
    assert!(matches!(
        outcome(with(&"A: b\r\n".repeat(20)).as_bytes()),
        Ok(Some(_))
    ));
    assert!(outcome(with(&"A: b\r\n".repeat(21)).as_bytes()).is_err());
    // CVE-2021-40346: a name of 256 + n bytes was read as one of n.
    let named = |length: usize| with(&format!("{}: 5\r\n", "x".repeat(length)));
    assert!(matches!(
        outcome(named(MAX_NAME_LEN).as_bytes()),
        Ok(Some(_))
    ));
    for length in [MAX_NAME_LEN + 1, 255, 256, 256 + 14, 300] {
        assert!(outcome(named(length).as_bytes()).is_err(), "{length}");
    }
}

#[test]
fn a_head_does_not_print_what_was_sent() {
    let mut slots = [const { MaybeUninit::uninit() }; 4];
    let parsed = parse(
        b"GET /?token=hunter2 HTTP/1.0\r\nAuthorization: Bearer hunter2\r\n\r\n",
        &mut slots,
    );
    assert!(!format!("{parsed:?}").contains("hunter2"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = outcome(&bytes);
    }

    /// A reader that skips parsing until `may_be_complete` misses nothing.
    #[test]
    fn the_cheap_look_never_says_no_wrongly(
        pieces in proptest::collection::vec(
            prop_oneof![Just("\r\n"), Just("\n"), Just("\r"), Just("A: b"), Just("GET / HTTP/1.1\r\n"), Just(" ")], 0..10),
        at in any::<prop::sample::Index>(),
    ) {
        let bytes = pieces.concat().into_bytes();
        let seen = if bytes.is_empty() { 0 } else { at.index(bytes.len()) };
        let known = outcome(&bytes[..seen]);
        if known == Ok(None) && matches!(outcome(&bytes), Ok(Some(_))) {
            prop_assert!(may_be_complete(&bytes, seen));
        }
    }
}

#[test]
fn a_value_is_found_in_what_is_no_head() {
    let table: [(&[u8], &[&[u8]]); 9] = [
        (b"GET /\r\nX-Request-Id: a\r\n\r\n", &[b"a"]),
        (
            b"GET / HTTP/1.1\nx-request-id:a\nX: \x01\nX-Request-ID: b\n",
            &[b"a", b"b"],
        ),
        (b"GET / HTTP/1.1\r\nX-Request-Id: a", &[]),
        (b"X-Request-Id: a\r\n", &[]),
        (b"GET / HTTP/1.1\r\n\r\nX-Request-Id: of-the-body\r\n", &[]),
        (
            b"GET / HTTP/1.1\r\n X-Request-Id: a\r\nX-Request-Id : b\r\nX_Request_Id: c\r\n",
            &[],
        ),
        (
            b"GET / HTTP/1.1\r\nX-Request-Id\r\nno colon\r\n: x\r\n",
            &[],
        ),
        (b"\x16\x03\x01\x00\n\n", &[]),
        (b"", &[]),
    ];
    for (bytes, expected) in table {
        let found: Vec<_> = raw_values(bytes, "x-request-id").collect();
        assert_eq!(found, expected, "{}", bytes.escape_ascii());
    }
}
