//! Answers of backends that are none (RFC 9112 section 7): they never look whole to a client, and
//! what has one reading is tidied before it is passed on.

use std::io::{ErrorKind, Read};

use super::{
    bad_bodies::{before, filled, probe},
    byte_backend::{Answers, ByteBackend, Reply},
    http2::{self, Http2},
    wire::Client,
};

/// The answer in chunks of a backend, by the number in its target, which chunks follow the head.
fn bad_answer(target: &str) -> Reply {
    const HEAD: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let number = target
        .strip_prefix("/open/bad-")
        .and_then(|rest| rest.split('-').next()?.parse::<usize>().ok());
    match number.and_then(|at| BAD_ANSWERS.get(at)) {
        Some(chunks) => Reply::bytes(format!("{HEAD}{}", filled(chunks, "hello"))),
        None => match target
            .strip_prefix("/open/untidy-")
            .and_then(|at| at.parse::<usize>().ok())
        {
            Some(at) => Reply::bytes(format!("{HEAD}{}", filled(UNTIDY_ANSWERS[at], "hello"))),
            None => Reply::naming(target),
        },
    }
}

/// Bodies of a backend that have no single reading.
const BAD_ANSWERS: &[&str] = &[
    "+N\r\nD\r\n0\r\n\r\n",
    "-N\r\nD\r\n0\r\n\r\n",
    "0xN\r\nD\r\n0\r\n\r\n",
    "g\r\nD\r\n0\r\n\r\n",
    "N N\r\nD\r\n0\r\n\r\n",
    "10000000000000000\r\nD\r\n0\r\n\r\n",
    "N\nD\r\n0\r\n\r\n",
    "N\rD\r\n0\r\n\r\n",
    "N;a\nD\r\n0\r\n\r\n",
    "N;a\0\r\nD\r\n0\r\n\r\n",
    "N\r\nD\n0\r\n\r\n",
    "N\r\nD0\r\n\r\n",
    "N\r\nDD\r\n0\r\n\r\n",
    "N\r\nD\r\n0\n\r\n",
    "N\r\nD\r\n0\r\n\n",
    "N\r\nD\r\n0\r\nX\r\n\r\n",
    "N\r\nD\r\n0\r\nX: 1\r\n 2\r\n\r\n",
    "N\r\nD\r\n0\r\nX: 1\0\r\n\r\n",
];

/// Those that have one.
const UNTIDY_ANSWERS: &[&str] = &[
    "N \r\nD\r\n0\r\n\r\n",
    "N\t\r\nD\r\n0 \r\n\r\n",
    "N;\r\nD\r\n0\r\n\r\n",
    "N;a=\r\nD\r\n0\r\n\r\n",
    "N ; a b\r\nD\r\n0\r\n\r\n",
    "000N;a=\"b\r\nD\r\n0\r\n\r\n",
];

#[test]
fn bad_chunks_of_a_backend_never_look_whole_and_untidy_ones_are_tidied() {
    let backend = ByteBackend::start(Answers {
        late: bad_answer,
        ..Answers::default()
    });
    let menshen = before(&backend);
    let http2 = Http2::connect(menshen.http);
    for (at, name) in BAD_ANSWERS.iter().enumerate() {
        for fields in ["", "TE: trailers\r\nConnection: TE\r\n"] {
            let target = format!("/open/bad-{at}-{}", fields.len());
            let mut client = Client::connect(menshen.http);
            client.send(format!(
                "GET {target} HTTP/1.1\r\nHost: shop.example\r\n{fields}\r\n"
            ));
            let mut all = Vec::new();
            let end = client
                .stream()
                .read_to_end(&mut all)
                .map_err(|error| error.kind());
            assert!(
                matches!(end, Ok(_) | Err(ErrorKind::ConnectionReset)),
                "{name:?}: {end:?}"
            );
            let text = String::from_utf8_lossy(&all);
            let refused = text.starts_with("HTTP/1.1 502 ");
            assert!(
                refused || !text.ends_with("0\r\n\r\n"),
                "{name:?} looks whole: {text:?}"
            );
            backend.wait_for_end(&target);
        }
        let target = format!("/open/bad-{at}-http2");
        let answer = http2.ask(
            http2::request("GET", &format!("http://shop.example{target}"), &[]),
            b"",
        );
        assert!(
            answer.as_ref().is_ok_and(|answer| answer.status == 502) || answer.is_err(),
            "{name:?} looks whole"
        );
        backend.wait_for_end(&target);
        probe(&menshen, &format!("/open/after-{at}"));
    }
    for (at, name) in UNTIDY_ANSWERS.iter().enumerate() {
        let mut client = Client::connect(menshen.http);
        client.send(format!(
            "GET /open/untidy-{at} HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n"
        ));
        let mut all = String::new();
        client
            .stream()
            .read_to_string(&mut all)
            .expect("an answer and the end");
        let (_, body) = all.split_once("\r\n\r\n").expect("a head");
        assert_eq!(body, "5\r\nhello\r\n0\r\n\r\n", "{name:?}");
        let url = format!("http://shop.example/open/untidy-{at}");
        let answer = http2
            .ask(http2::request("GET", &url, &[]), b"")
            .expect("an answer");
        assert_eq!(
            (answer.status, &answer.body[..]),
            (200, &b"hello"[..]),
            "{name:?}"
        );
    }
}

/// A head of a backend whose lines end with a line feed alone is refused or tidied, and never
/// passed on as it is.
#[test]
fn bare_line_feeds_of_a_backend_reach_no_client() {
    fn late(target: &str) -> Reply {
        match target {
            "/open/all" => Reply::bytes("HTTP/1.1 200 OK\nX-A: 1\nContent-Length: 2\n\nok"),
            "/open/one" => {
                Reply::bytes("HTTP/1.1 200 OK\r\nX-A: 1\nX-B: 2\r\nContent-Length: 2\r\n\r\nok")
            }
            "/open/end" => Reply::bytes("HTTP/1.1 200 OK\r\nX-A: 1\r\nContent-Length: 2\r\n\nok"),
            "/open/line" => Reply::bytes("HTTP/1.1 200 OK\nX-A: 1\r\nContent-Length: 2\r\n\r\nok"),
            _ => Reply::naming(target),
        }
    }
    let backend = ByteBackend::start(Answers {
        late,
        ..Answers::default()
    });
    let menshen = before(&backend);
    for target in ["/open/all", "/open/one", "/open/end", "/open/line"] {
        let mut client = Client::connect(menshen.http);
        client.send(format!(
            "GET {target} HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n"
        ));
        let mut all = Vec::new();
        client
            .stream()
            .read_to_end(&mut all)
            .expect("an answer and the end");
        let text = String::from_utf8_lossy(&all);
        assert!(
            !text.replace("\r\n", "").contains(['\r', '\n']),
            "{target}: {text:?}"
        );
        let whole = text.starts_with("HTTP/1.1 200 ") && text.ends_with("\r\n\r\nok");
        assert!(
            whole || text.starts_with("HTTP/1.1 502 "),
            "{target}: {text:?}"
        );
        probe(&menshen, "/open/after");
    }
}
