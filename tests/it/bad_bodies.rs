//! Bodies of clients that are none, each as a class (RFC 9112 section 7, RFC 9113 section 8.1):
//! they are refused or broken off, and what stands behind them is no request. `bad_answers.rs` has
//! those of backends.

use std::{
    io::{ErrorKind, Read, Write},
    net::Shutdown,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use http::HeaderMap;

use super::{
    byte_backend::{Answers, ByteBackend},
    http2::{self, Http2},
    http2_frames::DATA,
    menshen::{Menshen, Setup},
    raw_http2::{Outcome, Raw},
    wire::{self, Client},
};

pub(super) const OPEN: &str = "[[rule]]\nname = \"open\"\npath = \"/open/**\"\naccess = \"public\"\n\
                    [server]\nlisten = [\"127.0.0.1:0\"]\nunready_grace = \"100ms\"\nh2c = true\nbody_timeout = \"2s\"";
const SMUGGLED: &str = "GET /open/smuggled HTTP/1.1\r\nHost: shop.example\r\n\r\n";
/// How much more memory a flood may take.
pub(super) const FEW_BUFFERS: usize = 32 * 1024;

/// Bodies in chunks that RFC 9112 section 7.1 does not know, with `N` for the size of `D`.
const BAD_CHUNKS: &[&str] = &[
    // Sizes.
    "\r\nD\r\n0\r\n\r\n",
    "+N\r\nD\r\n0\r\n\r\n",
    "-N\r\nD\r\n0\r\n\r\n",
    "0xN\r\nD\r\n0\r\n\r\n",
    "0XN\r\nD\r\n0\r\n\r\n",
    " N\r\nD\r\n0\r\n\r\n",
    "\tN\r\nD\r\n0\r\n\r\n",
    "N \r\nD\r\n0\r\n\r\n",
    "N\t\r\nD\r\n0\r\n\r\n",
    "N,N\r\nD\r\n0\r\n\r\n",
    "N N\r\nD\r\n0\r\n\r\n",
    "N_\r\nD\r\n0\r\n\r\n",
    "N.0\r\nD\r\n0\r\n\r\n",
    "\"N\"\r\nD\r\n0\r\n\r\n",
    "g\r\nD\r\n0\r\n\r\n",
    "N\0\r\nD\r\n0\r\n\r\n",
    "N\u{b}\r\nD\r\n0\r\n\r\n",
    "\r\nN\r\nD\r\n0\r\n\r\n",
    "1000000000000000N\r\nD\r\n0\r\n\r\n",
    "10000000000000000\r\nD\r\n0\r\n\r\n",
    "fffffffffffffffff\r\nD\r\n0\r\n\r\n",
    "N\r\nD\r\n+0\r\n\r\n",
    "N\r\nD\r\n-0\r\n\r\n",
    "N\r\nD\r\n0x0\r\n\r\n",
    "N\r\nD\r\n 0\r\n\r\n",
    "N\r\nD\r\n0 \r\n\r\n",
    "N\r\nD\r\n\r\n\r\n",
    // Extensions.
    "N;\r\nD\r\n0\r\n\r\n",
    "N; \r\nD\r\n0\r\n\r\n",
    "N;;\r\nD\r\n0\r\n\r\n",
    "N;;a\r\nD\r\n0\r\n\r\n",
    "N;a;\r\nD\r\n0\r\n\r\n",
    "N;=\r\nD\r\n0\r\n\r\n",
    "N;=b\r\nD\r\n0\r\n\r\n",
    "N;a=\r\nD\r\n0\r\n\r\n",
    "N;a=b=c\r\nD\r\n0\r\n\r\n",
    "N;a b\r\nD\r\n0\r\n\r\n",
    "N;a=b c\r\nD\r\n0\r\n\r\n",
    "N;a=\"\r\nD\r\n0\r\n\r\n",
    "N;a=\"b\r\nD\r\n0\r\n\r\n",
    "N;a=b\"\r\nD\r\n0\r\n\r\n",
    "N;a=\"b\"c\r\nD\r\n0\r\n\r\n",
    "N;a=\"b\\\r\nD\r\n0\r\n\r\n",
    "N;\"a\"=b\r\nD\r\n0\r\n\r\n",
    "N;a=(b)\r\nD\r\n0\r\n\r\n",
    "N a=b\r\nD\r\n0\r\n\r\n",
    "N;a\u{1}=b\r\nD\r\n0\r\n\r\n",
    "N;a=\u{1}\r\nD\r\n0\r\n\r\n",
    "N;a=\"\u{1}\"\r\nD\r\n0\r\n\r\n",
    "N;a=\"\\\u{1}\"\r\nD\r\n0\r\n\r\n",
    "N;a=\u{7f}\r\nD\r\n0\r\n\r\n",
    "N;a=\0\r\nD\r\n0\r\n\r\n",
    "N;a\nb\r\nD\r\n0\r\n\r\n",
    "N;a=\"b\nc\"\r\nD\r\n0\r\n\r\n",
    "N;a=b\rc\r\nD\r\n0\r\n\r\n",
    "N\r\nD\r\n0;\r\n\r\n",
    "N\r\nD\r\n0;a=\r\n\r\n",
    // Ends of lines.
    "N\nD\r\n0\r\n\r\n",
    "N\nD\n0\n\n",
    "N\rD\r\n0\r\n\r\n",
    "N\r\r\nD\r\n0\r\n\r\n",
    "N\n\r\nD\r\n0\r\n\r\n",
    "N;a\nD\r\n0\r\n\r\n",
    "N\r\nD\n0\r\n\r\n",
    "N\r\nD\r0\r\n\r\n",
    "N\r\nD0\r\n\r\n",
    "N\r\nD\r\r\n0\r\n\r\n",
    "N\r\nD \r\n0\r\n\r\n",
    "N\r\nDD\r\n0\r\n\r\n",
    "N\r\nD\r\n0\n\r\n",
    "N\r\nD\r\n0\r\n\n",
    "N\r\nD\r\n0\n\n",
    "N\r\nD\r\n0\r\r\n",
    "N\r\nD\r\n0\r\n\r\r\n",
    // Trailers.
    "N\r\nD\r\n0\r\nX: 1\n\r\n",
    "N\r\nD\r\n0\r\nX: 1\r\n\n",
    "N\r\nD\r\n0\r\nX\r\n\r\n",
    "N\r\nD\r\n0\r\n: 1\r\n\r\n",
    "N\r\nD\r\n0\r\nX : 1\r\n\r\n",
    "N\r\nD\r\n0\r\n X: 1\r\n\r\n",
    "N\r\nD\r\n0\r\nX: 1\r\n 2\r\n\r\n",
    "N\r\nD\r\n0\r\nX: 1\0\r\n\r\n",
    "N\r\nD\r\n0\r\nX: 1\r2\r\n\r\n",
    "N\r\nD\r\n0\r\nX Y: 1\r\n\r\n",
];

/// What the grammar allows, however strange.
const GOOD_CHUNKS: &[&str] = &[
    "N\r\nD\r\n0\r\n\r\n",
    "000N\r\nD\r\n000\r\n\r\n",
    "N;a\r\nD\r\n0\r\n\r\n",
    "N;a=b\r\nD\r\n0;c=d\r\n\r\n",
    "N;a;b;c=d\r\nD\r\n0\r\n\r\n",
    "N;a=\"b\"\r\nD\r\n0\r\n\r\n",
    "N;a=\"\"\r\nD\r\n0\r\n\r\n",
    "N;a=\"b c;d=e,\\\"f\\\\\"\r\nD\r\n0\r\n\r\n",
    "N;a=\"\u{e4}\"\r\nD\r\n0\r\n\r\n",
    "N\r\nD\r\n0\r\nX: 1\r\nY:\r\n\r\n",
];

pub(super) fn filled(chunks: &str, data: &str) -> String {
    chunks
        .replace('D', data)
        .replace('N', &format!("{:x}", data.len()))
}

pub(super) fn before(backend: &ByteBackend) -> Menshen {
    Setup::before(backend.address).with(OPEN).start()
}

/// Asks on a connection of its own; it has to be this request's own answer.
pub(super) fn probe(menshen: &Menshen, target: &str) {
    let answer = wire::ask(menshen.http, "GET", target, &[], b"");
    assert_eq!(
        (
            answer.status,
            String::from_utf8_lossy(&answer.body).as_ref()
        ),
        (200, target)
    );
}

/// It never came whole, and nothing came that stood behind it.
fn assert_never_whole(backend: &ByteBackend, target: &str, name: &str) {
    for connection in backend.connections() {
        let wrong = connection
            .messages
            .iter()
            .find(|message| message.target == target || message.target == "/open/smuggled");
        assert!(wrong.is_none(), "{name}: {wrong:?}");
    }
}

/// No answer, or a refusal that ends the connection.
fn assert_refused(client: &mut Client, name: &str) {
    if let Some(answer) = client.receive() {
        assert!(
            (400..600).contains(&answer.status),
            "{name}: {}",
            answer.status
        );
        assert_eq!(answer.header("Connection"), Some("close"), "{name}");
    }
    assert!(client.ended(), "{name}");
}

#[test]
fn bad_chunks_of_a_client_are_no_body_and_nothing_stands_behind_them() {
    let backend = ByteBackend::start(Answers::default());
    let menshen = before(&backend);
    assert!(BAD_CHUNKS.len() >= 80, "{}", BAD_CHUNKS.len());
    for (at, chunks) in BAD_CHUNKS.iter().enumerate() {
        let body = filled(chunks, "hello") + SMUGGLED;
        for split in ["whole", "after the head", "byte by byte"] {
            let name = format!("{chunks:?}, {split}");
            let target = format!("/open/{at}-{}", split.replace(' ', "-"));
            let head = format!(
                "POST {target} HTTP/1.1\r\nHost: shop.example\r\nTransfer-Encoding: chunked\r\n\r\n"
            );
            let mut client = Client::connect(menshen.http);
            match split {
                "whole" => client.send(head + &body),
                "after the head" => {
                    client.send(head);
                    backend.wait_for(&target);
                    client.send(&body);
                }
                _ => {
                    client.send(head);
                    body.bytes().for_each(|byte| client.send([byte]));
                }
            }
            assert_refused(&mut client, &name);
            assert_never_whole(&backend, &target, &name);
        }
        // The auth API reads as strictly.
        let body = filled(chunks, "{\"code\": \"alice\"}") + SMUGGLED;
        let head = "POST /auth/wechat/login HTTP/1.1\r\nHost: shop.example\r\nContent-Type: application/json\r\n\
                    Transfer-Encoding: chunked\r\n\r\n";
        let mut client = Client::connect(menshen.http);
        client.send(head.to_owned() + &body);
        assert_refused(&mut client, &format!("{chunks:?} at the auth API"));
        assert_never_whole(&backend, "", chunks);
    }
    probe(&menshen, "/open/after");
}

#[test]
fn strange_chunks_that_the_grammar_allows_are_a_body_without_their_strangeness() {
    let backend = ByteBackend::start(Answers::default());
    let menshen = before(&backend);
    for (at, chunks) in GOOD_CHUNKS.iter().enumerate() {
        for byte_by_byte in [false, true] {
            let target = format!("/open/{at}-{byte_by_byte}");
            let mut client = Client::connect(menshen.http);
            client.send(format!(
                "POST {target} HTTP/1.1\r\nHost: shop.example\r\nTransfer-Encoding: chunked\r\n\r\n"
            ));
            let body = filled(chunks, "hello");
            if byte_by_byte {
                body.bytes().for_each(|byte| client.send([byte]));
            } else {
                client.send(body);
            }
            let answer = client
                .receive()
                .unwrap_or_else(|| panic!("{chunks:?}: no answer"));
            assert_eq!(
                (answer.status, &answer.body[..]),
                (200, target.as_bytes()),
                "{chunks:?}"
            );
            let connection = backend.of(&target);
            let message = connection
                .messages
                .iter()
                .find(|message| message.target == target)
                .expect("a whole message");
            assert_eq!(message.body, b"hello", "{chunks:?}: {message:?}");
            // Sizes and ends of lines are all that is there besides.
            let strange = message.wire.iter().any(|byte| b";=\"XY".contains(byte));
            assert!(!strange, "{chunks:?}: {}", message.wire.escape_ascii());
        }
    }
}

/// Names by which a trailer could become somebody or end a message (facts of section 2.1 of the
/// catalogue).
const TRAILERS: [&str; 14] = [
    "x-user-id",
    "x_user_id",
    "x-auth-state",
    "x-forwarded-for",
    "x-real-ip",
    "x-request-id",
    "authorization",
    "cookie",
    "host",
    "content-length",
    "content-type",
    "x-menshen-secret",
    "x-http-method-override",
    "x-app",
];

#[test]
fn no_trailer_of_a_client_reaches_the_backend_in_any_place() {
    let backend = ByteBackend::start(Answers::default());
    let menshen = before(&backend);
    let names = TRAILERS.iter().chain(&["transfer-encoding"]).copied();
    let lines = names
        .map(|name| [name, ": forged\r\n"].concat())
        .collect::<String>();
    let mut client = Client::connect(menshen.http);
    for target in ["/open/first", "/open/second"] {
        client.send(format!(
            "POST {target} HTTP/1.1\r\nHost: shop.example\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\
             Trailer: x-user-id\r\n\r\n5\r\nhello\r\n0\r\n{lines}\r\n"
        ));
        assert_eq!(
            client.receive().map(|answer| (answer.status, answer.body)),
            Some((200, target.as_bytes().to_vec()))
        );
    }
    let http2 = Http2::connect(menshen.http);
    let target = "/open/http2";
    let status = http2.runtime.block_on(http2::within(async {
        let request = http2::request(
            "POST",
            &format!("http://shop.example{target}"),
            &[("te", "trailers")],
        );
        let mut send = http2.send.clone().ready().await.expect("a stream");
        let (answer, mut stream) = send.send_request(request, false).expect("a stream");
        stream.send_data("hello".into(), false).expect("a frame");
        let forged = TRAILERS.iter().map(|name| {
            (
                http::HeaderName::from_static(name),
                http::HeaderValue::from_static("forged"),
            )
        });
        stream
            .send_trailers(forged.collect::<HeaderMap>())
            .expect("trailers");
        answer.await.expect("an answer").status().as_u16()
    }));
    assert_eq!(status, 200);
    for target in ["/open/first", "/open/second", target] {
        let connection = backend.of(target);
        let message = connection
            .messages
            .iter()
            .find(|message| message.target == target)
            .expect("a whole message");
        assert_eq!(message.body, b"hello");
        assert!(!message.head.contains("forged"), "{}", message.head);
        assert!(
            !message.wire.windows(6).any(|part| part == b"forged"),
            "{}",
            message.wire.escape_ascii()
        );
    }
    probe(&menshen, "/open/after");
}

/// Sends parts until there is an answer or an end: the status, and how many bytes were taken until
/// then.
fn flood(client: &mut Client, part: &[u8]) -> (Option<u16>, usize) {
    let sent = AtomicUsize::new(0);
    let mut writer = client.stream().get_ref().try_clone().expect("a handle");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while let Ok(written) = writer.write(part) {
                sent.fetch_add(written, Ordering::AcqRel);
            }
        });
        let status = client.receive().map(|answer| answer.status);
        let until_then = sent.load(Ordering::Acquire);
        // So that the writer ends: a refused client may be read on for a while. It may have ended
        // already.
        drop(client.stream().get_ref().shutdown(Shutdown::Both));
        (status, until_then)
    })
}

#[test]
fn floods_of_framing_are_refused_and_take_no_memory() {
    // More than the sockets hold between them, if the system likes.
    const MOST: usize = 256 << 20;
    let backend = ByteBackend::start(Answers::default());
    let menshen = before(&backend);
    let extension = format!("1;a=\"{}\"\r\nx\r\n", "b".repeat(200));
    let floods = [
        (
            "one endless extension",
            "5;a=",
            "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb".repeat(1000),
        ),
        (
            "one endless quoted extension",
            "5;a=\"",
            "; b; b; b; b; b; b; b; b; b; b; b".repeat(1000),
        ),
        ("endless extensions", "5", ";a=b".repeat(10_000)),
        ("an endless size", "", "0".repeat(50_000)),
        // CVE-2023-39326.
        (
            "chunks that are mostly extension",
            "",
            extension.repeat(200),
        ),
        (
            "an endless trailer",
            "5\r\nhello\r\n0\r\nX: ",
            "b".repeat(50_000),
        ),
        (
            "endless trailers",
            "5\r\nhello\r\n0\r\n",
            "X: bbbbbbbb\r\n".repeat(5000),
        ),
        (
            "an endless name of a trailer",
            "5\r\nhello\r\n0\r\n",
            "b".repeat(50_000),
        ),
    ];
    for (path, more) in [
        ("/open/flood", ""),
        ("/auth/wechat/login", "Content-Type: application/json\r\n"),
    ] {
        for (name, begin, part) in &floods {
            let name = format!("{name} at {path}");
            let known = menshen.memory();
            let mut client = Client::connect(menshen.http);
            client.send(format!(
                "POST {path} HTTP/1.1\r\nHost: a\r\n{more}Transfer-Encoding: chunked\r\n\r\n{begin}"
            ));
            let (status, sent) = flood(&mut client, part.as_bytes());
            assert!(
                status.is_none_or(|status| (400..500).contains(&status)),
                "{name}: {status:?}"
            );
            assert!(
                sent < MOST,
                "{name}: {sent} bytes were taken before there was an answer"
            );
            let grown = menshen.memory().saturating_sub(known);
            assert!(grown < FEW_BUFFERS, "{name}: {grown} KiB more");
        }
    }
    assert_never_whole(&backend, "/open/flood", "a flood");
    probe(&menshen, "/open/after");
}

/// RFC 9113 section 8.1.1. What comes after a whole body cannot call it back, and is no part of
/// anything.
#[test]
fn a_body_of_http2_that_is_not_its_length_never_comes_whole_or_longer() {
    let backend = ByteBackend::start(Answers::default());
    let menshen = before(&backend);
    // With the body that is whole before what is wrong comes, where there is one.
    let cases: [(&str, &str, &[&str], Option<&str>); 7] = [
        ("shorter", "5", &["hell"], None),
        ("nothing", "5", &[""], None),
        ("longer", "5", &["hello!"], None),
        ("more-than-nothing", "0", &["!"], Some("")),
        ("longer-in-two", "5", &["hello", "!"], Some("hello")),
        (
            "longer-after-nothing",
            "5",
            &["hello", "", "!"],
            Some("hello"),
        ),
        ("a-request-behind", "5", &["hello", SMUGGLED], Some("hello")),
    ];
    for (name, length, parts, whole) in cases {
        for together in [true, false] {
            let target = format!("/open/{name}-{together}");
            let fields = [
                (":method", "POST"),
                (":scheme", "http"),
                (":path", &target),
                (":authority", "shop.example"),
                ("content-length", length),
            ];
            let mut raw = Raw::connect(menshen.http);
            raw.headers(1, &fields, false);
            for (at, part) in parts.iter().enumerate() {
                if !together && at > 0 {
                    backend.wait_for(&target);
                }
                raw.frame(DATA, u8::from(at + 1 == parts.len()), 1, part.as_bytes());
            }
            let outcome = raw.outcome(1);
            if let Some(whole) = whole {
                let connections = backend.connections();
                let mut messages = connections
                    .iter()
                    .flat_map(|connection| &connection.messages);
                assert!(messages.all(|message| message.target != target || message.body == whole.as_bytes()), "{target}");
            } else {
                assert_ne!(outcome, Outcome::Status(200), "{target}");
                assert_never_whole(&backend, &target, &target);
            }
            assert_never_whole(&backend, "", &target);
            probe(&menshen, &format!("{target}-after"));
        }
    }
}

/// Below 512 bytes a second, where each byte comes well before the timeout for one silence.
#[test]
fn bodies_that_dribble_are_given_up_in_either_protocol_and_framing() {
    let backend = ByteBackend::start(Answers::default());
    let section = "[[rule]]\nname = \"open\"\npath = \"/open/**\"\naccess = \"public\"\n[server]\nlisten = [\"127.0.0.1:0\"]\n\
                   unready_grace = \"100ms\"\nh2c = true\nbody_timeout = \"300ms\"";
    let menshen = Setup::before(backend.address).with(section).start();
    let cases: [(&str, &str, &[u8]); 5] = [
        ("a-length", "Content-Length: 100000\r\n\r\n", b"x"),
        (
            "chunks",
            "Transfer-Encoding: chunked\r\n\r\n",
            b"1\r\nx\r\n",
        ),
        (
            "a-chunk",
            "Transfer-Encoding: chunked\r\n\r\nffff\r\n",
            b"x",
        ),
        ("an-extension", "Transfer-Encoding: chunked\r\n\r\n1;", b"a"),
        (
            "a-trailer",
            "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX:",
            b"a",
        ),
    ];
    for (name, rest, part) in cases {
        let target = format!("/open/{name}");
        let mut client = Client::connect(menshen.http);
        client.send(format!("POST {target} HTTP/1.1\r\nHost: a\r\n{rest}"));
        let stream = client.stream().get_mut();
        // What is waited for is the end.
        stream
            .set_read_timeout(Some(Duration::from_millis(20)))
            .expect("a socket option");
        let cut = (0..500).any(|_| {
            let waiting = stream
                .read(&mut [0; 1024])
                .is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
            !waiting || stream.write_all(part).is_err()
        });
        assert!(cut, "{name}: 10 seconds of dribbling were taken");
        assert_never_whole(&backend, &target, name);
    }
    for (name, part) in [("frames", &b"x"[..]), ("empty-frames", b"")] {
        let target = format!("/open/{name}");
        let mut raw = Raw::connect(menshen.http);
        raw.headers(
            1,
            &[
                (":method", "POST"),
                (":scheme", "http"),
                (":path", &target),
                (":authority", "a"),
            ],
            false,
        );
        let mut heard = raw.stream.try_clone().expect("a handle");
        heard
            .set_read_timeout(Some(Duration::from_millis(20)))
            .expect("a socket option");
        let mut all = Vec::new();
        let cut = (0..500).any(|_| {
            let mut some = [0; 1024];
            match heard.read(&mut some) {
                Ok(0) => return true,
                Ok(read) => all.extend_from_slice(&some[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return true,
            }
            ends_stream(&all) || !raw.frame(DATA, 0, 1, part)
        });
        assert!(cut, "{name}: 10 seconds of dribbling were taken");
        assert_never_whole(&backend, &target, name);
    }
}

/// Whether one of these frames resets stream 1, begins its answer, or ends the connection.
fn ends_stream(mut bytes: &[u8]) -> bool {
    while let [a, b, c, kind, _flags, _, _, _, stream, rest @ ..] = bytes {
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        if matches!(kind, 1 | 3) && *stream == 1 || *kind == 7 {
            return true;
        }
        bytes = rest.get(length..).unwrap_or_default();
    }
    false
}
