//! What `policy::head::http2` promises.

use http::Request;

use super::*;
use crate::policy::{
    BodyLength, FramingLimits, RejectReason,
    framing::{self, Framing},
};

const LIMITS: FramingLimits = FramingLimits { max_headers: 30 };

fn head(
    method: &str,
    uri: &str,
    fields: &[(&str, &str)],
    ends_stream: bool,
) -> Result<Http2Head, &'static str> {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let (parts, ()) = request.body(()).unwrap().into_parts();
    Http2Head::new(&parts, ends_stream)
}

/// Method, target and fields, one to a line.
fn lines(head: &Http2Head) -> String {
    head.lend(|head| {
        assert_eq!(head.version, HttpVersion::Http2);
        let fields = head.headers.iter().map(|header| {
            let range = head.range(header);
            assert_eq!(&head.bytes[range.name()], header.name.as_bytes());
            assert_eq!(&head.bytes[range.value()], header.value);
            format!(
                "{}: {}\n",
                header.name,
                str::from_utf8(header.value).unwrap()
            )
        });
        format!(
            "{} {}\n{}",
            head.method,
            head.target,
            fields.collect::<String>()
        )
    })
}

fn framing(fields: &[(&str, &str)], ends_stream: bool) -> Result<Framing, RejectReason> {
    head("POST", "http://h/p", fields, ends_stream)
        .unwrap()
        .lend(|head| framing::check(head, &LIMITS))
}

#[test]
fn a_head_has_one_host_and_one_cookie() {
    let fields = [
        ("cookie", "a=1"),
        ("accept", "x"),
        ("cookie", "b=2"),
        ("te", "trailers"),
        ("host", "h:1"),
    ];
    let head = head("POST", "https://h:1/p?q", &fields, true).unwrap();
    assert_eq!(
        lines(&head),
        "POST /p?q\nhost: h:1\naccept: x\nte: trailers\ncookie: a=1; b=2\n"
    );
}

#[test]
fn the_limit_of_bytes_is_that_of_the_http1_head_which_says_the_same() {
    for (uri, fields, same) in [
        ("http://h/", &[][..], "POST / HTTP/1.1\r\nhost: h\r\n\r\n"),
        (
            "https://h:1/p?q",
            &[
                ("cookie", "a=1"),
                ("accept", ""),
                ("cookie", "b=2"),
                ("host", "h:1"),
            ],
            "POST /p?q HTTP/1.1\r\nhost: h:1\r\naccept: \r\ncookie: a=1; b=2\r\n\r\n",
        ),
    ] {
        assert_eq!(
            head("POST", uri, fields, true).unwrap().http1_len(),
            same.len(),
            "{same:?}"
        );
    }
}

#[test]
fn a_body_is_as_long_as_announced_or_as_its_stream() {
    for (fields, ends_stream, body) in [
        (&[][..], true, BodyLength::None),
        (&[], false, BodyLength::Unknown),
        (&[("content-length", "0")], true, BodyLength::Length(0)),
        (&[("content-length", "0")], false, BodyLength::Length(0)),
        (&[("content-length", "5")], false, BodyLength::Length(5)),
    ] {
        assert_eq!(
            framing(fields, ends_stream).map(|framing| framing.body),
            Ok(body),
            "{fields:?} {ends_stream}"
        );
    }
    for (fields, ends_stream) in [
        (&[("content-length", "5")][..], true),
        (&[("content-length", "05")], false),
        (&[("content-length", "+5")], false),
        (&[("content-length", "5, 5")], false),
        (&[("content-length", "")], false),
        (&[("content-length", "5"), ("content-length", "5")], false),
        (&[("content-length", "9007199254740993")], false),
    ] {
        assert!(
            framing(fields, ends_stream).is_err(),
            "{fields:?} {ends_stream}"
        );
    }
}

#[test]
fn a_transfer_encoding_frames_nothing() {
    let header = [
        Header {
            name: "host",
            value: b"h",
        },
        Header {
            name: "transfer-encoding",
            value: b"chunked",
        },
    ];
    let head = Head {
        bytes: b"",
        method: "POST",
        target: "/",
        version: HttpVersion::Http2,
        headers: &header,
        is_followed: true,
    };
    assert!(framing::check(&head, &LIMITS).is_err());
}

#[test]
fn an_expectation_is_dropped_where_a_body_follows() {
    let expects = [("expect", "100-Continue")];
    assert_eq!(
        lines(&head("POST", "http://h/p", &expects, false).unwrap()),
        "POST /p\nhost: h\n"
    );
    let checked = framing(&expects, false).unwrap();
    assert_eq!(
        (checked.expects_continue, checked.keep_alive),
        (false, true)
    );
    assert!(framing(&expects, true).is_err());
    assert!(framing(&[("expect", "200-ok")], false).is_err());
}

#[test]
fn a_connect_has_its_authority_for_a_target_and_nothing_else_has() {
    let target = |method: &str, uri: &str| head(method, uri, &[], true).map(|head| lines(&head));
    assert_eq!(
        target("CONNECT", "h:443").unwrap(),
        "CONNECT h:443\nhost: h:443\n"
    );
    for (method, uri) in [
        ("GET", "h:443"),
        ("POST", "h:443"),
        ("CONNECT", "/p"),
        ("GET", "/p"),
    ] {
        assert!(target(method, uri).is_err(), "{method} {uri}");
    }
}

#[test]
fn a_malformed_request_is_rejected() {
    let long = "x".repeat(MAX_NAME_LEN + 1);
    for (uri, fields) in [
        ("ftp://h/p", &[][..]),
        ("/p", &[]),
        ("https://h/p", &[("host", "other")]),
        ("https://h/p", &[("host", "h"), ("host", "h")]),
        ("https://h/p", &[("connection", "close")]),
        ("https://h/p", &[("transfer-encoding", "chunked")]),
        ("https://h/p", &[("upgrade", "websocket")]),
        ("https://h/p", &[("keep-alive", "1")]),
        ("https://h/p", &[("proxy-connection", "close")]),
        ("https://h/p", &[("te", "gzip")]),
        ("https://h/p", &[("x", " y")]),
        ("https://h/p", &[("x", "y\t")]),
        ("https://h/p", &[(&long, "y")]),
    ] {
        for ends_stream in [true, false] {
            assert!(
                head("POST", uri, fields, ends_stream).is_err(),
                "{uri} {fields:?}"
            );
        }
    }
    assert!(head("POST", "https://h/p", &[(&long[1..], "y")], true).is_ok());
}
