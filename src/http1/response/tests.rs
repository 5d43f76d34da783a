//! What `http1::response` promises.

use super::*;

/// A parsed head.
#[derive(Debug, PartialEq, Eq)]
struct Parsed {
    status: u16,
    reason: String,
    version: Version,
    fields: Vec<(String, String)>,
    length: usize,
}

/// Parses one complete head, after unfolding it if necessary.
fn parse(text: &str) -> Result<Parsed, InvalidHead> {
    let mut bytes = text.as_bytes().to_vec();
    if parse_slots(&bytes, |_, _| ()) == Err(InvalidHead::Folded) {
        unfold(&mut bytes);
    }
    let parsed = parse_slots(&bytes, |head, length| {
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let fields = head
            .fields
            .iter()
            .map(|field| (field.name.to_owned(), text(field.value)))
            .collect();
        Parsed {
            status: head.status,
            reason: head.reason.to_owned(),
            version: head.version,
            fields,
            length,
        }
    });
    parsed.map(|whole| whole.unwrap_or_else(|| panic!("not whole: {}", bytes.escape_ascii())))
}

fn parse_slots<T>(
    bytes: &[u8],
    then: impl FnOnce(ParsedHead<'_, '_>, usize) -> T,
) -> Result<Option<T>, InvalidHead> {
    let mut slots = [const { MaybeUninit::uninit() }; 256];
    Ok(parse_response(bytes, &mut slots)?.map(|(head, length)| then(head, length)))
}

/// The framing of a response with this status line and these field lines.
fn framing(
    line: &str,
    fields: &[&str],
    request_is_head: bool,
) -> Result<ResponseFraming, InvalidHead> {
    let bytes = format!("{}\r\n\r\n", [&[line], fields].concat().join("\r\n"));
    parse_slots(bytes.as_bytes(), |head, _| {
        response_body(&head, request_is_head)
    })?
    .expect("a whole head")
}

/// The body of a 200 over HTTP/1.1 with these fields.
fn body(fields: &[&str]) -> Result<BodyLength, InvalidHead> {
    framing("HTTP/1.1 200 OK", fields, false).map(|framing| framing.body)
}

#[test]
fn a_head_is_read() {
    let text = "HTTP/1.1 404 Nothing There\r\nContent-Length: 5\r\nx-EMPTY:\r\nA: \t b c \t\r\nA:d\r\n\r\n";
    let fields = [
        ("Content-Length", "5"),
        ("x-EMPTY", ""),
        ("A", "b c"),
        ("A", "d"),
    ];
    let expected = Parsed {
        status: 404,
        reason: "Nothing There".to_owned(),
        version: Version::HTTP_11,
        fields: fields
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
        length: text.len(),
    };
    assert_eq!(parse(&format!("{text}hello")), Ok(expected));
    for (line, status, reason, version) in [
        ("HTTP/1.0 200 OK", 200, "OK", Version::HTTP_10),
        ("HTTP/1.1 100 Continue", 100, "Continue", Version::HTTP_11),
        ("HTTP/1.1 200 ", 200, "", Version::HTTP_11),
        ("HTTP/1.1 200", 200, "", Version::HTTP_11),
        ("HTTP/1.1 999 A b\tc", 999, "A b\tc", Version::HTTP_11),
        // Not ASCII: omitted.
        ("HTTP/1.1 200 gefällt", 200, "", Version::HTTP_11),
        ("\r\n\r\nHTTP/1.1 200 OK", 200, "OK", Version::HTTP_11),
    ] {
        let read =
            parse(&format!("{line}\r\n\r\n")).map(|head| (head.status, head.reason, head.version));
        assert_eq!(read, Ok((status, reason.to_owned(), version)), "{line:?}");
    }
}

#[test]
fn an_untidy_head_with_one_reading_is_read() {
    let expected = [("A", "b"), ("C", "d")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
    for text in [
        "HTTP/1.1 200 OK\nA: b\nC: d\n\n",
        "HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\n",
        "HTTP/1.1 200 OK\r\nA : b\r\nC\t: d\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA:\r\n b\r\nC: d\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA:\r\n \r\n\tb\r\n \r\nC: d\r\n\r\n",
        "HTTP/1.1 200 OK\nA:\n b\nC: d\n \n\n",
        "\r\n\r\nHTTP/1.1 200 OK\r\nA:\r\n b\r\nC: d\r\n\r\n",
    ] {
        assert_eq!(
            parse(text).map(|head| head.fields),
            Ok(expected.clone()),
            "{text:?}"
        );
    }
}

#[test]
fn a_folded_value_is_one_line_before_anything_reads_it() {
    let folded = b"HTTP/1.1 200 OK\r\nA: b\r\n\tc\r\n  d\r\nContent-Length: 5\r\n\r\nA: b\r\n c";
    assert_eq!(parse_slots(folded, |_, _| ()), Err(InvalidHead::Folded));
    let mut bytes = folded.to_vec();
    unfold(&mut bytes);
    assert_eq!(
        bytes, b"HTTP/1.1 200 OK\r\nA: b  \tc    d\r\nContent-Length: 5\r\n\r\nA: b\r\n c",
        "the body is not touched"
    );
    let once = bytes.clone();
    unfold(&mut bytes);
    assert_eq!(bytes, once);
    // A fold cannot hide a framing field, nor create one.
    let framing = |text: &str| {
        let mut bytes = text.as_bytes().to_vec();
        unfold(&mut bytes);
        parse_slots(&bytes, |head, _| response_body(&head, false))
            .map(|whole| whole.expect("a whole head"))
    };
    let head = "HTTP/1.1 200 OK\r\n";
    let known = |length| {
        Ok(Ok(ResponseFraming {
            body: BodyLength::Known(length),
            keep_alive: true,
            content_length: Some(length),
        }))
    };
    assert_eq!(
        framing(&format!("{head}Content-Length:\r\n 5\r\n\r\n")),
        known(5)
    );
    assert_eq!(
        framing(&format!(
            "{head}A: b\r\n Content-Length: 6\r\nContent-Length: 5\r\n\r\n"
        )),
        known(5)
    );
    assert_eq!(
        framing(&format!("{head}Content-Length: 5\r\n 6\r\n\r\n")),
        Ok(Err(InvalidHead::ContentLength))
    );
    let coded = framing(&format!(
        "{head}Transfer-Encoding: chunked\r\n , gzip\r\n\r\n"
    ));
    assert_eq!(coded, Ok(Err(InvalidHead::TransferEncoding)));
}

#[test]
fn unfolding_leaves_everything_else_as_it_is() {
    let table: [&[u8]; 13] = [
        b"",
        b"\n",
        b"\r\n\r\n",
        b"HTTP/1.1 200 OK",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n c\r\n d",
        b"HTTP/1.1 200 OK\r\n\r\n c\r\n d",
        b"HTTP/1.1 200 OK\n\n c\n d",
        // The status line is not a field.
        b"HTTP/1.1 200 OK\r\n A: b\r\n\r\n",
        b"HTTP/1.1 200 OK\n\tA: b\r\n c\r\n\r\n",
        b"\r\n HTTP/1.1 200 OK\r\n A: b\r\n\r\n",
        b"\r\nHTTP/1.1 200 OK\r\n A: b\r\n\r\n",
    ];
    for bytes in table {
        let mut unfolded = bytes.to_vec();
        unfold(&mut unfolded);
        assert_eq!(unfolded, bytes, "{}", bytes.escape_ascii());
    }
}

#[test]
fn what_is_not_a_head_is_an_error() {
    use InvalidHead::{FieldName, FieldValue, LineEnd, StatusLine, Version};
    let table = [
        ("HTTP/1.2 200 OK\r\n\r\n", Version),
        ("HTTP/2.0 200 OK\r\n\r\n", Version),
        ("HTTP/0.9 200 OK\r\n\r\n", Version),
        ("http/1.1 200 OK\r\n\r\n", Version),
        ("not HTTP at all\r\n\r\n", Version),
        ("hello, world\r\n\r\n", Version),
        (" HTTP/1.1 200 OK\r\n\r\n", Version),
        ("HTTP/1.1200 OK\r\n\r\n", Version),
        ("HTTP/1.1  200 OK\r\n\r\n", StatusLine),
        ("HTTP/1.1 2OO OK\r\n\r\n", StatusLine),
        ("HTTP/1.1 20 OK\r\n\r\n", StatusLine),
        ("HTTP/1.1 2000 OK\r\n\r\n", StatusLine),
        ("HTTP/1.1 000 OK\r\n\r\n", StatusLine),
        ("HTTP/1.1 099 OK\r\n\r\n", StatusLine),
        ("HTTP/1.1 +20 OK\r\n\r\n", StatusLine),
        ("HTTP/1.1 200 O\0K\r\n\r\n", StatusLine),
        ("HTTP/1.1 200 O\rK\r\n\r\n", StatusLine),
        ("HTTP/1.1 200\rX\r\n\r\n", StatusLine),
        ("HTTP/1.1 200 OK\r\n A: b\r\n\r\n", FieldName),
        ("HTTP/1.1 200 OK\r\n: b\r\n\r\n", FieldName),
        ("HTTP/1.1 200 OK\r\nA\r\n\r\n", FieldName),
        ("HTTP/1.1 200 OK\r\nA B: c\r\n\r\n", FieldName),
        ("HTTP/1.1 200 OK\r\nA\0: b\r\n\r\n", FieldName),
        ("HTTP/1.1 200 OK\r\nA\n: b\r\n\r\n", FieldName),
        ("HTTP/1.1 200 OK\r\n\u{e9}: b\r\n\r\n", FieldName),
        ("HTTP/1.1 200 OK\r\n(A): b\r\n\r\n", FieldName),
        ("HTTP/1.1 200 OK\r\nA: b\0\r\n\r\n", FieldValue),
        ("HTTP/1.1 200 OK\r\nA: b\rC: d\r\n\r\n", FieldValue),
        ("HTTP/1.1 200 OK\r\nA: b\r\r\n\r\n", FieldValue),
        ("HTTP/1.1 200 OK\r\nA: b\x7fc\r\n\r\n", FieldValue),
        ("HTTP/1.1 200 OK\r\nA: b\r\n\rC: d\r\n\r\n", LineEnd),
    ];
    for (text, error) in table {
        assert_eq!(
            parse_slots(text.as_bytes(), |_, _| ()),
            Err(error),
            "{text:?}"
        );
    }
}

#[test]
fn no_field_has_a_control_character() {
    for byte in (0..=0x1f)
        .chain([0x7f])
        .filter(|byte| !b"\t\n".contains(byte))
    {
        for bytes in [
            [b"A: b", &[byte][..], b"c"].concat(),
            [b"A: ", &[byte][..]].concat(),
            [b"A", &[byte][..], b": b"].concat(),
        ] {
            let head = [b"HTTP/1.1 200 OK\r\n", &bytes[..], b"\r\n\r\n"].concat();
            assert!(
                parse_slots(&head, |_, _| ()).is_err(),
                "{}",
                head.escape_ascii()
            );
        }
    }
}

#[test]
fn the_beginning_of_a_head_is_none() {
    let text = "\r\nHTTP/1.1 200 OK\r\nA: b\r\nC : d\n\r\n";
    for end in 0..text.len() {
        assert_eq!(
            parse_slots(&text.as_bytes()[..end], |_, _| ()),
            Ok(None),
            "{:?}",
            &text[..end]
        );
    }
    assert_eq!(
        parse_slots(text.as_bytes(), |_, length| length),
        Ok(Some(text.len()))
    );
}

#[test]
fn a_head_has_as_many_fields_as_there_is_room_for() {
    let head = |count: usize| format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(count));
    assert_eq!(
        parse_slots(head(256).as_bytes(), |head, _| head.fields.len()),
        Ok(Some(256))
    );
    assert_eq!(
        parse_slots(head(257).as_bytes(), |_, _| ()),
        Err(InvalidHead::TooManyFields)
    );
}

#[test]
fn values_do_not_print() {
    let printed = parse_slots(
        b"HTTP/1.1 200 OK\r\nX-Phone: 13800138000\r\n\r\n",
        |head, _| format!("{head:?}"),
    );
    assert!(
        printed
            .expect("a head")
            .is_some_and(|text| !text.contains("138"))
    );
}

#[test]
fn a_response_has_one_end() {
    let table: &[(&[&str], BodyLength)] = &[
        (&[], BodyLength::UntilClose),
        (&["Content-Length: 0"], BodyLength::Known(0)),
        (&["content-LENGTH: 17"], BodyLength::Known(17)),
        (&["Content-Length: 005"], BodyLength::Known(5)),
        (&["Content-Length: 5, 5"], BodyLength::Known(5)),
        (&["Content-Length: 5 ,\t05"], BodyLength::Known(5)),
        (
            &["Content-Length: 5", "Content-Length: 5"],
            BodyLength::Known(5),
        ),
        (
            &["Content-Length: 9007199254740992"],
            BodyLength::Known(MAX_LENGTH),
        ),
        (&["Transfer-Encoding: chunked"], BodyLength::Chunked),
        (&["transfer-encoding:\tCHUNKED "], BodyLength::Chunked),
        // Names that some servers treat as equal are different here.
        (&["Content_Length: 5"], BodyLength::UntilClose),
        (
            &["Content_Length: 5", "Content-Length: 6"],
            BodyLength::Known(6),
        ),
    ];
    for (fields, length) in table {
        assert_eq!(body(fields), Ok(*length), "{fields:?}");
        // 205 is not special.
        assert_eq!(
            framing("HTTP/1.1 205 Reset", fields, false).map(|framing| framing.body),
            Ok(*length),
            "{fields:?}"
        );
    }
}

#[test]
fn a_length_with_two_readings_is_an_error() {
    let table: &[&[&str]] = &[
        &["Content-Length: 5", "Content-Length: 6"],
        &["Content-Length: 5, 6"],
        &["Content-Length: 5, 5", "Content-Length: 6"],
        &["Content-Length: 5", "content-length: "],
        &["Content-Length:"],
        &["Content-Length: +5"],
        &["Content-Length: -5"],
        &["Content-Length: -0"],
        &["Content-Length: 0x5"],
        &["Content-Length: 5_0"],
        &["Content-Length: 5 0"],
        &["Content-Length: 5;"],
        &["Content-Length: 5.0"],
        &["Content-Length: 5e1"],
        &["Content-Length: \"5\""],
        &["Content-Length: 5,"],
        &["Content-Length: ,5"],
        &["Content-Length: 5,,5"],
        &["Content-Length: \u{ff15}"],
        &["Content-Length: \u{a0}5"],
        &["Content-Length: 9007199254740993"],
        &["Content-Length: 18446744073709551615"],
        &["Content-Length: 18446744073709551616"],
        &["Content-Length: 18446744073709551621"],
        &["Content-Length: 99999999999999999999999999999999999999999999"],
    ];
    for fields in table {
        assert_eq!(body(fields), Err(InvalidHead::ContentLength), "{fields:?}");
        // Even if no body follows, it would be passed on to the client.
        for (line, request_is_head) in [
            ("HTTP/1.1 200 OK", true),
            ("HTTP/1.1 304 Not Modified", false),
            ("HTTP/1.1 103 Hints", false),
        ] {
            assert_eq!(
                framing(line, fields, request_is_head),
                Err(InvalidHead::ContentLength),
                "{line} {fields:?}"
            );
        }
    }
}

#[test]
fn a_transfer_coding_is_one_chunked_and_nothing_beside_it() {
    let table: &[&[&str]] = &[
        &["Transfer-Encoding: gzip, chunked"],
        &["Transfer-Encoding: gzip", "Transfer-Encoding: chunked"],
        &["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
        &["Transfer-Encoding: chunked, chunked"],
        &["Transfer-Encoding: chunked, gzip"],
        &["Transfer-Encoding: chunked,"],
        &["Transfer-Encoding: , chunked"],
        &["Transfer-Encoding:"],
        &["Transfer-Encoding: identity"],
        &["Transfer-Encoding: chunked, identity"],
        &["Transfer-Encoding: gzip"],
        &["Transfer-Encoding: xchunked"],
        &["Transfer-Encoding: chunkedx"],
        &["Transfer-Encoding: chunked;q=1"],
        &["Transfer-Encoding: \"chunked\""],
        &["Transfer-Encoding: chun ked"],
        &["Transfer-Encoding: \u{a0}chunked"],
        &["Transfer-Encoding: chunked", "Content-Length: 5"],
        &["Content-Length: 5", "Transfer-Encoding: chunked"],
        &["Content-Length: 0", "Transfer-Encoding: chunked"],
        &["Content-Length: x", "Transfer-Encoding: chunked"],
        &["Content-Length: 5", "Transfer-Encoding: identity"],
        // CVE-2026-26365: a coding cannot be nominated away.
        &[
            "Content-Length: 5",
            "Transfer-Encoding: chunked",
            "Connection: Transfer-Encoding",
        ],
    ];
    for fields in table {
        assert_eq!(
            body(fields),
            Err(InvalidHead::TransferEncoding),
            "{fields:?}"
        );
    }
    let old = framing(
        "HTTP/1.0 200 OK",
        &["Transfer-Encoding: chunked", "Connection: keep-alive"],
        false,
    );
    assert_eq!(
        old,
        Err(InvalidHead::TransferEncoding),
        "HTTP/1.0 knows no transfer coding"
    );
}

#[test]
fn no_body_follows_some_heads_whatever_they_say() {
    let fields: &[&[&str]] = &[
        &[],
        &["Content-Length: 0"],
        &["Content-Length: 5"],
        &["Transfer-Encoding: chunked"],
        &["Transfer-Encoding: gzip, chunked"],
        &["Transfer-Encoding: chunked", "Content-Length: 5"],
    ];
    for fields in fields {
        for version in ["1.0", "1.1"] {
            for status in [100, 101, 102, 103, 199, 204, 304] {
                for request_is_head in [false, true] {
                    let line = format!("HTTP/{version} {status} X");
                    let framing =
                        framing(&line, fields, request_is_head).map(|framing| framing.body);
                    assert_eq!(framing, Ok(BodyLength::None), "{line} {fields:?}");
                }
            }
            for status in [200, 205, 404, 500, 999] {
                let line = format!("HTTP/{version} {status} X");
                assert_eq!(
                    framing(&line, fields, true).map(|framing| framing.body),
                    Ok(BodyLength::None),
                    "{line} {fields:?}"
                );
            }
        }
    }
    // The length is still known, to be passed on for information.
    for (line, request_is_head) in [
        ("HTTP/1.1 200 OK", true),
        ("HTTP/1.1 304 Not Modified", false),
    ] {
        let length = framing(line, &["Content-Length: 05, 5"], request_is_head)
            .map(|framing| framing.content_length);
        assert_eq!(length, Ok(Some(5)));
    }
}

#[test]
fn a_connection_is_kept_only_where_the_backend_keeps_it_and_the_end_is_sure() {
    const KNOWN: &str = "Content-Length: 5";
    let table: &[(&str, &[&str], bool)] = &[
        ("HTTP/1.1 200 OK", &[KNOWN], true),
        ("HTTP/1.1 200 OK", &["Transfer-Encoding: chunked"], true),
        ("HTTP/1.1 200 OK", &[KNOWN, "Connection: keep-alive"], true),
        ("HTTP/1.1 200 OK", &[KNOWN, "Connection: X-Hop"], true),
        (
            "HTTP/1.1 200 OK",
            &[KNOWN, "Connection: closed, not-close"],
            true,
        ),
        ("HTTP/1.1 200 OK", &[KNOWN, "Connection: close"], false),
        ("HTTP/1.1 200 OK", &[KNOWN, "connection: CLOSE"], false),
        (
            "HTTP/1.1 200 OK",
            &[KNOWN, "Connection: keep-alive, Close"],
            false,
        ),
        (
            "HTTP/1.1 200 OK",
            &[KNOWN, "Connection: close ,\tkeep-alive"],
            false,
        ),
        (
            "HTTP/1.1 200 OK",
            &[KNOWN, "Connection: keep-alive", "Connection: X, close,"],
            false,
        ),
        (
            "HTTP/1.1 200 OK",
            &[KNOWN, "Connection: close", "Connection: keep-alive"],
            false,
        ),
        ("HTTP/1.1 200 OK", &[], false),
        ("HTTP/1.1 200 OK", &["Connection: keep-alive"], false),
        ("HTTP/1.0 200 OK", &[KNOWN], false),
        ("HTTP/1.0 200 OK", &[KNOWN, "Connection: Keep-Alive"], true),
        (
            "HTTP/1.0 200 OK",
            &[KNOWN, "Connection: x, keep-alive"],
            true,
        ),
        (
            "HTTP/1.0 200 OK",
            &[KNOWN, "Connection: keep-alive, x"],
            true,
        ),
        (
            "HTTP/1.0 200 OK",
            &[KNOWN, "Connection: keep-alive, close"],
            false,
        ),
        ("HTTP/1.0 200 OK", &["Connection: keep-alive"], false),
        (
            "HTTP/1.0 304 Not Modified",
            &["Connection: keep-alive"],
            true,
        ),
        (
            "HTTP/1.0 304 Not Modified",
            &["Connection: keep-alive", "Transfer-Encoding: chunked"],
            false,
        ),
        ("HTTP/1.1 204 No Content", &[], true),
        ("HTTP/1.1 204 No Content", &["Content-Length: 0"], true),
        // A body may follow although none is allowed.
        ("HTTP/1.1 204 No Content", &[KNOWN], false),
        (
            "HTTP/1.1 204 No Content",
            &["Transfer-Encoding: chunked"],
            false,
        ),
        ("HTTP/1.1 304 Not Modified", &[], true),
        ("HTTP/1.1 304 Not Modified", &[KNOWN], false),
        ("HTTP/1.1 304 Not Modified", &["Connection: close"], false),
        (
            "HTTP/1.1 101 Switching Protocols",
            &["Connection: Upgrade"],
            false,
        ),
    ];
    for (line, fields, keeps) in table {
        assert_eq!(
            framing(line, fields, false).map(|framing| framing.keep_alive),
            Ok(*keeps),
            "{line} {fields:?}"
        );
    }
    assert_eq!(
        framing("HTTP/1.1 200 OK", &[], true).map(|framing| framing.keep_alive),
        Ok(true),
        "a HEAD without a length"
    );
    assert_eq!(
        framing("HTTP/1.1 200 OK", &[KNOWN], true).map(|framing| framing.keep_alive),
        Ok(false),
        "a HEAD with a length"
    );
}
