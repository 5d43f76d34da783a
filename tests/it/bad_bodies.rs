//! Bodies that are none, of clients and of backends, each as a class (RFC 9112 section 7, RFC 9113
//! section 8.1): a client's is refused or broken off and what stands behind it is no request; a
//! backend's never looks whole to a client.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use http::HeaderMap;

use super::{
    byte_backend::{Answers, ByteBackend, Reply},
    http2::{self, Http2},
    http2_frames::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, FRAME_HEAD_LEN, HEADERS, PREFACE_LEN,
        SETTINGS, STATUS_200, frame, payload_len,
    },
    menshen::{Menshen, Setup},
    raw_http2::{Outcome, Raw},
    wire::{self, Client},
};

const OPEN: &str = "[[rule]]\nname = \"open\"\npath = \"/open/**\"\naccess = \"public\"\n\
                    [server]\nlisten = [\"127.0.0.1:0\"]\nunready_grace = \"100ms\"\nh2c = true\nbody_timeout = \"2s\"";
const SMUGGLED: &str = "GET /open/smuggled HTTP/1.1\r\nHost: shop.example\r\n\r\n";
/// How much more memory a flood may take.
const FEW_BUFFERS: usize = 32 * 1024;

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

fn filled(chunks: &str, data: &str) -> String {
    chunks
        .replace('D', data)
        .replace('N', &format!("{:x}", data.len()))
}

fn before(backend: &ByteBackend) -> Menshen {
    Setup::before(backend.address).with(OPEN).start()
}

/// Asks on a connection of its own; it has to be this request's own answer.
fn probe(menshen: &Menshen, target: &str) {
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

/// A backend that does this with each connection, and how often it could not go on.
fn flooding(
    pour: impl Fn(TcpStream) -> std::io::Result<()> + Clone + Send + 'static,
) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let cut = Arc::new(AtomicUsize::new(0));
    let count = cut.clone();
    // It ends with the program: nothing waits for it.
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (pour, count) = (pour.clone(), count.clone());
            std::thread::spawn(move || {
                if pour(stream).is_err() {
                    count.fetch_add(1, Ordering::AcqRel);
                }
            });
        }
    });
    (address, cut)
}

/// Ends in an error.
fn pour(mut stream: TcpStream, begin: &[u8], part: &[u8]) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    stream.write_all(begin)?;
    loop {
        stream.write_all(part)?;
    }
}

fn wait_until(name: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < end, "{name}: it goes on");
        std::thread::yield_now();
    }
}

#[test]
fn floods_of_a_backend_before_its_answer_are_cut() {
    // More than the sockets hold between them, if the system likes.
    const MOST: usize = 128 << 20;
    let hint = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(500);
    let floods: [(&str, &'static [u8], Vec<u8>); 6] = [
        ("informational answers", b"", hint),
        (
            "empty informational answers",
            b"",
            b"HTTP/1.1 100 Continue\r\n\r\n".repeat(500),
        ),
        ("a field", b"HTTP/1.1 200 OK\r\nX: ", vec![b'x'; 50_000]),
        ("fields", b"HTTP/1.1 200 OK\r\n", b"X: y\r\n".repeat(5000)),
        ("a name", b"HTTP/1.1 200 OK\r\n", vec![b'x'; 50_000]),
        ("a reason", b"HTTP/1.1 200 ", vec![b'x'; 50_000]),
    ];
    for (name, begin, part) in floods {
        let (address, cut) = flooding(move |stream| pour(stream, begin, &part));
        let menshen = Setup::before(address).with(OPEN).start();
        let known = menshen.memory();
        let mut client = Client::connect(menshen.http);
        client.send("GET /open/flood HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n");
        // What comes is an answer or nothing; it ends, and not by a timeout.
        let mut read = 0;
        let mut some = vec![0; 64 * 1024];
        loop {
            match client.stream().get_mut().read(&mut some) {
                Ok(0) => break,
                Ok(length) => read += length,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
                Err(error) => panic!("{name}: neither an answer nor an end: {error}"),
            }
            assert!(read < MOST, "{name}: {read} bytes were passed on");
        }
        wait_until(name, || cut.load(Ordering::Acquire) == 1);
        let http2 = Http2::connect(menshen.http);
        let answer = http2.ask(
            http2::request("GET", "http://shop.example/open/flood", &[]),
            b"",
        );
        assert!(
            answer.is_err() || answer.is_ok_and(|answer| answer.status == 502),
            "{name}"
        );
        wait_until(name, || cut.load(Ordering::Acquire) == 2);
        // Nor is what nobody reads heaped up: heads have no flow control (RFC 9113 section 5.2.1).
        let mut silent = Raw::connect(menshen.http);
        silent.headers(
            1,
            &[
                (":method", "GET"),
                (":scheme", "http"),
                (":path", "/open/flood"),
                (":authority", "a"),
            ],
            true,
        );
        wait_until(name, || cut.load(Ordering::Acquire) == 3);
        let grown = menshen.memory().saturating_sub(known);
        assert!(grown < 2 * FEW_BUFFERS, "{name}: {grown} KiB more");
    }
}

/// Says the preface's answer, waits for the head of stream 1, and then goes on as [`pour`] does.
fn pour_frames(mut stream: TcpStream, begin: &[u8], part: &[u8]) -> std::io::Result<()> {
    stream.write_all(&frame(SETTINGS, 0, 0, &[]))?;
    stream.read_exact(&mut [0; PREFACE_LEN])?;
    loop {
        let mut head = [0; FRAME_HEAD_LEN];
        stream.read_exact(&mut head)?;
        stream.read_exact(&mut vec![0; payload_len(&head)])?;
        if head[3] == HEADERS {
            break;
        }
    }
    // What it says further is of no interest, but has to be taken.
    let mut heard = stream.try_clone()?;
    std::thread::spawn(move || while heard.read(&mut [0; 4096]).is_ok_and(|read| read > 0) {});
    stream.write_all(begin)?;
    if part.is_empty() {
        // It is the other side that ends it.
        std::thread::park();
    }
    loop {
        stream.write_all(part)?;
    }
}

/// `:status: 103`, as a literal for the name of index 8 (RFC 7541 section 6.2.2).
const STATUS_103: &[u8] = b"\x08\x03103";

/// A field of 101 bytes that is indexed nowhere.
fn field() -> Vec<u8> {
    [&[0, 1, b'x', 100][..], &[b'y'; 100]].concat()
}

fn before_http2(address: SocketAddr) -> Menshen {
    let upstream = format!(
        "[upstream]\nurls = [\"http://{address}\"]\nprotocol = \"http2\"\nread_timeout = \"2s\""
    );
    Setup::before(address)
        .with(&format!("{OPEN}\n{upstream}"))
        .start()
}

#[test]
fn floods_of_a_backend_of_http2_are_cut() {
    let floods = [
        (
            "CONTINUATION",
            frame(HEADERS, 0, 1, &[STATUS_200]),
            frame(CONTINUATION, 0, 1, &field().repeat(100)).repeat(10),
        ),
        (
            "empty CONTINUATION",
            frame(HEADERS, 0, 1, &[STATUS_200]),
            frame(CONTINUATION, 0, 1, &[]).repeat(1000),
        ),
        (
            "informational answers",
            Vec::new(),
            frame(HEADERS, END_HEADERS, 1, STATUS_103).repeat(1000),
        ),
    ];
    for (name, begin, part) in floods {
        // Those of a stream that was given up are read on, as all of it: the library cannot know
        // yet that the backend has heard.
        let goes_on = name == "informational answers";
        let (address, cut) = flooding(move |stream| pour_frames(stream, &begin, &part));
        let menshen = before_http2(address);
        let known = menshen.memory();
        let answer = wire::ask(menshen.http, "GET", "/open/flood", &[], b"");
        assert!(
            matches!(answer.status, 502 | 504),
            "{name}: {}",
            answer.status
        );
        wait_until(name, || goes_on || cut.load(Ordering::Acquire) >= 1);
        let http2 = Http2::connect(menshen.http);
        let answer = http2.ask(
            http2::request("GET", "http://shop.example/open/flood", &[]),
            b"",
        );
        assert!(
            answer.is_err() || answer.is_ok_and(|answer| matches!(answer.status, 502 | 504)),
            "{name}"
        );
        wait_until(name, || goes_on || cut.load(Ordering::Acquire) >= 2);
        let grown = menshen.memory().saturating_sub(known);
        assert!(grown < 2 * FEW_BUFFERS, "{name}: {grown} KiB more");
    }
}

/// As one of HTTP/1.1 is.
#[test]
fn a_head_of_a_mebibyte_of_a_backend_of_http2_is_refused() {
    let rest = frame(CONTINUATION, 0, 1, &field().repeat(150)).repeat(70);
    let head = [
        frame(HEADERS, 0, 1, &[STATUS_200]),
        rest,
        frame(CONTINUATION, END_HEADERS, 1, &field()),
    ]
    .concat();
    let end = frame(DATA, END_STREAM, 1, b"ok");
    let (address, _) = {
        let begin = [head, end].concat();
        flooding(move |stream| pour_frames(stream, &begin, &[]))
    };
    let menshen = before_http2(address);
    let answer = wire::ask(menshen.http, "GET", "/open/large", &[], b"");
    assert_eq!(
        (answer.status, answer.error(), answer.headers.len() < 50),
        (502, Some("upstream_unavailable"), true)
    );
}
