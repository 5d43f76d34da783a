//! Where a message ends, byte for byte on the wire: a request has one end for the backend, whatever
//! its client wrote it in, and a connection to a backend is used again only where both messages on
//! it surely ended. Otherwise one client would get the answer of another.

use std::{io::BufRead, net::Shutdown};

use bytes::Bytes;
use http::HeaderMap;

use super::{
    byte_backend::{Answers, ByteBackend, Message, Reply},
    frame_backend::{Action, FrameBackend, Script},
    http2::{self, Http2},
    http2_frames,
    menshen::{Menshen, Setup},
    raw_http2::{Outcome, Raw},
    wire::{self, Client},
};

const OPEN: &str = "[[rule]]\nname = \"open\"\npath = \"/open/**\"\naccess = \"public\"\n\
                    [server]\nlisten = [\"127.0.0.1:0\"]\nunready_grace = \"100ms\"\nh2c = true";

fn before(backend: &ByteBackend) -> Menshen {
    Setup::before(backend.address).with(OPEN).start()
}

/// Asks for `target` on a connection of its own; it has to be this request's own answer.
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

/// How a client of HTTP/2 ends its request.
#[derive(Clone, Copy)]
enum End {
    Head,
    LastPart,
    EmptyFrame,
    Trailers,
}

/// Sends a request in these DATA frames and gives the body of its answer.
fn send_over_http2(
    client: &Http2,
    target: &str,
    fields: &[(&str, &str)],
    parts: &[&'static str],
    end: End,
) -> Vec<u8> {
    let request = http2::request("POST", &format!("http://shop.example{target}"), fields);
    let answer = client.runtime.block_on(http2::within(async {
        let mut send = client.send.clone().ready().await?;
        let (answer, mut stream) = send.send_request(request, matches!(end, End::Head))?;
        for (at, part) in parts.iter().enumerate() {
            let last = at + 1 == parts.len() && matches!(end, End::LastPart);
            stream.send_data(Bytes::from_static(part.as_bytes()), last)?;
        }
        match end {
            End::Head | End::LastPart => {}
            End::EmptyFrame => stream.send_data(Bytes::new(), true)?,
            End::Trailers => {
                let mut trailers = HeaderMap::new();
                trailers.insert("x-user-id", "1".parse().expect("a value"));
                stream.send_trailers(trailers)?;
            }
        }
        http2::whole(answer.await?).await
    }));
    let answer = answer.unwrap_or_else(|fault| panic!("{target}: {fault}"));
    assert_eq!(answer.status, 200, "{target}");
    answer.body
}

/// A name, fields, DATA frames, how they end, and the body that they are.
type Case = (
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static [&'static str],
    End,
    &'static str,
);

#[test]
fn a_request_of_http2_has_one_end_on_the_backends_wire() {
    const NO_FIELDS: &[(&str, &str)] = &[];
    const FIVE: &[(&str, &str)] = &[("content-length", "5")];
    const ZERO: &[(&str, &str)] = &[("content-length", "0")];
    let backend = ByteBackend::start(Answers::default());
    let menshen = before(&backend);
    let client = Http2::connect(menshen.http);
    let cases: [Case; 14] = [
        ("nothing", NO_FIELDS, &[], End::Head, ""),
        ("nothing,-of-length-0", ZERO, &[], End::Head, ""),
        ("an-empty-frame", NO_FIELDS, &[], End::EmptyFrame, ""),
        ("an-empty-frame-of-length-0", ZERO, &[], End::EmptyFrame, ""),
        ("only-trailers", NO_FIELDS, &[], End::Trailers, ""),
        ("one-frame", NO_FIELDS, &["hello"], End::LastPart, "hello"),
        (
            "one-frame-and-an-empty-one",
            NO_FIELDS,
            &["hello"],
            End::EmptyFrame,
            "hello",
        ),
        (
            "one-frame-and-trailers",
            NO_FIELDS,
            &["hello"],
            End::Trailers,
            "hello",
        ),
        (
            "two-frames",
            NO_FIELDS,
            &["hel", "lo"],
            End::LastPart,
            "hello",
        ),
        (
            "an-empty-frame-between",
            NO_FIELDS,
            &["hel", "", "lo"],
            End::EmptyFrame,
            "hello",
        ),
        (
            "an-empty-frame-first",
            NO_FIELDS,
            &["", "hello"],
            End::LastPart,
            "hello",
        ),
        ("a-length", FIVE, &["hello"], End::LastPart, "hello"),
        (
            "a-length-and-an-empty-frame",
            FIVE,
            &["hel", "lo"],
            End::EmptyFrame,
            "hello",
        ),
        (
            "a-length-and-trailers",
            FIVE,
            &["hello"],
            End::Trailers,
            "hello",
        ),
    ];
    let mut sent = 0;
    for (name, fields, parts, end, body) in cases {
        let target = format!("/open/{name}");
        assert_eq!(
            send_over_http2(&client, &target, fields, parts, end),
            target.as_bytes()
        );
        let connection = backend.of(&target);
        let message = connection
            .messages
            .iter()
            .find(|message| message.target == target)
            .expect("a whole message");
        assert_eq!(message.body, body.as_bytes(), "{name}: {message:?}");
        assert!(!message.head.contains("x-user-id"), "{name}: {message:?}");
        probe(&menshen, &format!("/open/after-{name}"));
        sent += 2;
    }
    assert_each_came_once(&backend, sent);
}

/// Every byte at the backend belongs to one of so many messages.
fn assert_each_came_once(backend: &ByteBackend, sent: usize) {
    let connections = backend.connections();
    assert!(
        connections
            .iter()
            .all(|connection| connection.rest.is_empty()),
        "bytes of no message: {connections:?}"
    );
    assert_eq!(
        connections
            .iter()
            .map(|connection| connection.messages.len())
            .sum::<usize>(),
        sent,
        "{connections:?}"
    );
}

#[test]
fn a_request_of_http1_has_one_end_on_the_backends_wire() {
    let backend = ByteBackend::start(Answers::default());
    let menshen = before(&backend);
    // What follows the head; pieces are sent one after the other, the next when the backend has
    // seen the one before.
    let cases: [(&str, &str, &[&str], &str); 12] = [
        ("no-body", "", &[""], ""),
        ("length-0", "Content-Length: 0", &[""], ""),
        ("a-length", "Content-Length: 5", &["hello"], "hello"),
        (
            "a-length-in-pieces",
            "Content-Length: 5",
            &["h", "ello"],
            "hello",
        ),
        (
            "chunks",
            "Transfer-Encoding: chunked",
            &["5\r\nhello\r\n0\r\n\r\n"],
            "hello",
        ),
        (
            "two-chunks",
            "Transfer-Encoding: chunked",
            &["3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"],
            "hello",
        ),
        (
            "chunks-in-pieces",
            "Transfer-Encoding: chunked",
            &["5\r\nhello\r\n", "0\r\n\r\n"],
            "hello",
        ),
        (
            "the-last-chunk-in-pieces",
            "Transfer-Encoding: chunked",
            &["5\r\nhello\r\n", "0\r\n", "\r\n"],
            "hello",
        ),
        (
            "an-extension",
            "Transfer-Encoding: chunked",
            &["5;a=\"b\"\r\nhello\r\n0;c\r\n\r\n"],
            "hello",
        ),
        ("no-chunk", "Transfer-Encoding: chunked", &["0\r\n\r\n"], ""),
        (
            "no-chunk-in-pieces",
            "Transfer-Encoding: chunked",
            &["", "0\r\n\r\n"],
            "",
        ),
        (
            "trailers",
            "Transfer-Encoding: chunked",
            &["5\r\nhello\r\n0\r\nX-User-Id: 1\r\n\r\n"],
            "hello",
        ),
    ];
    let mut unanswered = 0;
    for (name, field, pieces, body) in cases {
        // Alone, and with the next request right behind it: then its client is answered rightly or
        // not at all.
        for pipelined in [false, true] {
            let target = format!("/open/{name}-{pipelined}");
            let mut client = Client::connect(menshen.http);
            let field = if field.is_empty() {
                String::new()
            } else {
                format!("{field}\r\n")
            };
            client.send(format!(
                "POST {target} HTTP/1.1\r\nHost: shop.example\r\n{field}\r\n{}",
                pieces[0]
            ));
            for piece in &pieces[1..] {
                backend.wait_for(&target);
                client.send(piece);
            }
            if pipelined {
                client.send(format!(
                    "GET {target}-next HTTP/1.1\r\nHost: shop.example\r\n\r\n"
                ));
            }
            let Some(answer) = client.receive() else {
                assert!(pipelined, "{target}: no answer");
                unanswered += 1;
                continue;
            };
            assert_eq!((answer.status, &answer.body[..]), (200, target.as_bytes()));
            if !pipelined {
                client.send(format!(
                    "GET {target}-next HTTP/1.1\r\nHost: shop.example\r\n\r\n"
                ));
            }
            if let Some(next) = client.receive() {
                assert_eq!(
                    (next.status, next.body),
                    (200, format!("{target}-next").into_bytes())
                );
            } else {
                assert!(pipelined, "{target}: no second answer");
            }
            let connection = backend.of(&target);
            let message = connection
                .messages
                .iter()
                .find(|message| message.target == target)
                .expect("a whole message");
            assert_eq!(message.body, body.as_bytes(), "{target}: {message:?}");
            assert!(
                !message.head.to_ascii_lowercase().contains("x-user-id"),
                "{target}: {message:?}"
            );
        }
    }
    for connection in backend.connections() {
        assert!(
            connection.rest.is_empty() || connection.ended,
            "bytes of no message: {connection:?}"
        );
        let ours = |message: &Message| message.target.starts_with("/open/");
        assert!(connection.messages.iter().all(ours), "{connection:?}");
    }
    assert!(unanswered < cases.len());
}

/// The next requests come in the same packet as the last piece of this one.
#[test]
fn requests_behind_a_body_in_pieces_are_answered() {
    let backend = ByteBackend::start(Answers::default());
    let menshen = before(&backend);
    let bodies = [
        ("length", "Content-Length: 5", "hello"),
        (
            "chunks",
            "Transfer-Encoding: chunked",
            "2\r\nhe\r\n3;a=b\r\nllo\r\n0\r\nX: 1\r\n\r\n",
        ),
    ];
    let mut sent = 0;
    for (name, field, body) in bodies {
        // The body is cut at each of its bytes.
        for cut in 0..=body.len() {
            let target = format!("/open/behind-{name}-{cut}");
            let mut client = Client::connect(menshen.http);
            client.send(format!(
                "POST {target} HTTP/1.1\r\nHost: shop.example\r\n{field}\r\n\r\n{}",
                &body[..cut]
            ));
            backend.wait_for(&target);
            client.send(format!(
                "{}GET {target}-a HTTP/1.1\r\nHost: shop.example\r\n\r\n\
                 POST {target}-b HTTP/1.1\r\nHost: shop.example\r\n{field}\r\n\r\n{body}\
                 GET {target}-c HTTP/1.1\r\nHost: shop.example\r\n\r\n",
                &body[cut..]
            ));
            for behind in ["", "-a", "-b", "-c"] {
                let answer = client
                    .receive()
                    .unwrap_or_else(|| panic!("{target}{behind}: no answer"));
                assert_eq!(
                    (answer.status, answer.body),
                    (200, format!("{target}{behind}").into_bytes())
                );
                sent += 1;
            }
            for (behind, body) in [("", "hello"), ("-a", ""), ("-b", "hello"), ("-c", "")] {
                let target = format!("{target}{behind}");
                let connection = backend.of(&target);
                let message = connection
                    .messages
                    .iter()
                    .find(|message| message.target == target)
                    .expect("a whole message");
                assert_eq!(message.body, body.as_bytes(), "{target}: {message:?}");
            }
        }
    }
    assert_each_came_once(&backend, sent);
}

/// Payload and padding of DATA frames (RFC 9113 section 6.1), the last of which ends the stream.
type Padded = &'static [(&'static str, Option<u8>)];

#[test]
fn padding_and_empty_frames_are_no_part_of_a_message() {
    let backend = ByteBackend::start(Answers::default());
    let menshen = before(&backend);
    let cases: [(&str, Padded, &str); 9] = [
        ("padded", &[("hello", Some(7))], "hello"),
        ("padded-with-nothing", &[("hello", Some(0))], "hello"),
        ("all-padding", &[("", Some(255))], ""),
        ("padding-last", &[("hello", None), ("", Some(255))], "hello"),
        (
            "padding-first",
            &[("", Some(255)), ("hello", None)],
            "hello",
        ),
        (
            "padding-between",
            &[
                ("hel", Some(1)),
                ("", Some(255)),
                ("", Some(0)),
                ("lo", Some(255)),
            ],
            "hello",
        ),
        (
            "empty-first",
            &[("", None), ("", None), ("hello", None)],
            "hello",
        ),
        (
            "empty-between",
            &[
                ("hel", None),
                ("", None),
                ("", None),
                ("lo", None),
                ("", None),
            ],
            "hello",
        ),
        ("empty-only", &[("", None), ("", None), ("", None)], ""),
    ];
    let mut sent = 0;
    for (name, frames, body) in cases {
        for known in [false, true] {
            let target = format!("/open/{name}-{known}");
            let length = body.len().to_string();
            let mut fields = vec![
                (":method", "POST"),
                (":scheme", "http"),
                (":path", &target),
                (":authority", "shop.example"),
            ];
            if known {
                fields.push(("content-length", &length));
            }
            let mut raw = Raw::connect(menshen.http);
            raw.headers(1, &fields, false);
            for (at, (part, padding)) in frames.iter().enumerate() {
                let last = u8::from(at + 1 == frames.len());
                match padding {
                    None => raw.frame(http2_frames::DATA, last, 1, part.as_bytes()),
                    Some(padding) => {
                        let payload = [
                            &[*padding],
                            part.as_bytes(),
                            &vec![0; usize::from(*padding)],
                        ]
                        .concat();
                        raw.frame(http2_frames::DATA, last | 8, 1, &payload)
                    }
                };
            }
            assert_eq!(raw.outcome(1), Outcome::Status(200), "{target}");
            let connection = backend.of(&target);
            let message = connection
                .messages
                .iter()
                .find(|message| message.target == target)
                .expect("a whole message");
            assert_eq!(message.body, body.as_bytes(), "{target}: {message:?}");
            let head = message.head.to_ascii_lowercase();
            let framing = if known {
                format!("content-length: {length}\r\n")
            } else {
                "transfer-encoding: chunked\r\n".into()
            };
            assert!(head.contains(&framing), "{target}: {head}");
            probe(&menshen, &format!("{target}-after"));
            sent += 2;
        }
    }
    assert_each_came_once(&backend, sent);
}

#[test]
fn a_connection_ends_where_a_request_broke_off() {
    let backend = ByteBackend::start(Answers::default());
    let menshen = before(&backend);
    let cases = [
        ("within-a-length", "Content-Length: 10\r\n\r\nhello", ""),
        ("before-a-body", "Content-Length: 10\r\n\r\n", ""),
        (
            "within-a-chunk",
            "Transfer-Encoding: chunked\r\n\r\na\r\nhello",
            "",
        ),
        (
            "between-chunks",
            "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
            "",
        ),
        (
            "before-the-first-chunk",
            "Transfer-Encoding: chunked\r\n\r\n",
            "",
        ),
        (
            "within-the-last-chunk",
            "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
            "",
        ),
        (
            "within-trailers",
            "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: 1\r\n",
            "",
        ),
        // What is wrong at once never reaches a backend.
        (
            "a-chunk-of-no-size",
            "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
            "zz\r\n\r\n",
        ),
        (
            "a-chunk-that-is-too-long",
            "Transfer-Encoding: chunked\r\n\r\n5\r\nhello",
            "o\r\n0\r\n\r\n",
        ),
    ];
    for (name, rest, wrong) in cases {
        // The client has gone, or has said all that it says and listens.
        for listens in [false, true] {
            let target = format!("/open/{name}-{listens}");
            let mut client = Client::connect(menshen.http);
            client.send(format!(
                "POST {target} HTTP/1.1\r\nHost: shop.example\r\n{rest}"
            ));
            backend.wait_for(&target);
            client.send(wrong);
            if listens {
                client
                    .stream()
                    .get_ref()
                    .shutdown(Shutdown::Write)
                    .expect("half a connection");
                if let Some(answer) = client.receive() {
                    assert!(
                        (400..600).contains(&answer.status),
                        "{target}: {}",
                        answer.status
                    );
                }
            } else {
                drop(client);
            }
            let connection = backend.wait_for_end(&target);
            assert!(
                connection
                    .messages
                    .iter()
                    .all(|message| message.target != target),
                "{target}: {connection:?}"
            );
            probe(&menshen, &format!("{target}-after"));
        }
    }
    let client = Http2::connect(menshen.http);
    for (name, fields, part) in [
        ("reset-within-a-body", &[][..], "hello"),
        (
            "reset-within-a-length",
            &[("content-length", "10")][..],
            "hello",
        ),
        ("reset-before-a-body", &[][..], ""),
    ] {
        let target = format!("/open/{name}");
        let request = http2::request("POST", &format!("http://shop.example{target}"), fields);
        let mut stream = client.runtime.block_on(http2::within(async {
            let mut send = client.send.clone().ready().await.expect("a stream");
            let (_answer, mut stream) = send.send_request(request, false).expect("a stream");
            stream
                .send_data(Bytes::from_static(part.as_bytes()), false)
                .expect("a frame");
            stream
        }));
        backend.wait_for(&target);
        stream.send_reset(h2::Reason::CANCEL);
        let connection = backend.wait_for_end(&target);
        assert!(
            connection
                .messages
                .iter()
                .all(|message| message.target != target),
            "{name}: {connection:?}"
        );
        probe(&menshen, &format!("/open/after-{name}"));
    }
}

/// An answer whose end is not sure, by the name of its target.
fn unsure(target: &str) -> Reply {
    let name = target.split('/').nth(2).unwrap_or_default();
    let evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    match name {
        "longer-than-its-length" => {
            Reply::bytes("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokevil")
        }
        "two-answers" => Reply::bytes(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok{evil}"
        )),
        "204-with-a-body" => {
            Reply::bytes("HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nevil")
        }
        "204-with-chunks" => Reply::bytes(
            "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n",
        ),
        "204-and-another" => Reply::bytes(format!("HTTP/1.1 204 No Content\r\n\r\n{evil}")),
        "304-with-a-body" => {
            Reply::bytes("HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\nevil")
        }
        "after-the-last-chunk" => Reply::bytes(format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n{evil}"
        )),
        "until-it-closes" => Reply::bytes("HTTP/1.1 200 OK\r\n\r\nok").then_close(),
        "shorter-than-its-length" => {
            Reply::bytes("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok").then_close()
        }
        "without-a-last-chunk" => {
            Reply::bytes("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
                .then_close()
        }
        "a-bad-chunk" => {
            Reply::bytes("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\nzz\r\n")
        }
        "an-unasked-upgrade" => Reply::bytes(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nevil",
        ),
        "it-says-close" => {
            Reply::bytes("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        }
        "http-1.0" => Reply::bytes("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        _ => Reply::naming(target),
    }
}

#[test]
fn a_connection_ends_where_an_answer_did_not_surely_end() {
    let backend = ByteBackend::start(Answers {
        late: unsure,
        ..Answers::default()
    });
    let menshen = before(&backend);
    let names = [
        "longer-than-its-length",
        "two-answers",
        "204-with-a-body",
        "204-with-chunks",
        "204-and-another",
        "304-with-a-body",
        "after-the-last-chunk",
        "until-it-closes",
        "shorter-than-its-length",
        "without-a-last-chunk",
        "a-bad-chunk",
        "an-unasked-upgrade",
        "it-says-close",
        "http-1.0",
    ];
    let http2 = Http2::connect(menshen.http);
    let mut asked = 0;
    for name in names {
        for (method, body) in [("GET", ""), ("POST", "hello")] {
            let target = format!("/open/{name}/{method}");
            let mut client = Client::connect(menshen.http);
            client.send(wire::request(method, &target, &[], body.as_bytes()));
            // What it is told is another test's; here it is about the next one.
            drop(client.stream().fill_buf());
            drop(client);
            backend.wait_for_end(&target);
            probe(&menshen, &format!("/open/after-{name}-{method}"));
            asked += 1;
        }
        let target = format!("/open/{name}/http2");
        let request = http2::request("POST", &format!("http://shop.example{target}"), &[]);
        drop(http2.ask(request, b"hello"));
        backend.wait_for_end(&target);
        probe(&menshen, &format!("/open/after-{name}-http2"));
        asked += 1;
    }
    assert_eq!(asked, names.len() * 3);
    for connection in backend.connections() {
        let unsure = connection
            .messages
            .iter()
            .position(|message| !message.target.starts_with("/open/after-"));
        assert!(
            unsure.is_none_or(|at| at + 1 == connection.messages.len()),
            "used again: {connection:?}"
        );
    }
}

#[test]
fn an_early_answer_and_the_rest_of_the_request_are_one_message() {
    fn early(target: &str) -> Option<Reply> {
        target
            .starts_with("/open/early")
            .then(|| Reply::naming(target))
    }
    let backend = ByteBackend::start(Answers {
        early,
        ..Answers::default()
    });
    let menshen = before(&backend);
    // The client goes on after the answer, or leaves.
    for (name, field, body) in [
        ("length", "Content-Length: 5", "hello"),
        (
            "chunks",
            "Transfer-Encoding: chunked",
            "5\r\nhello\r\n0\r\n\r\n",
        ),
    ] {
        let target = format!("/open/early-{name}");
        let mut client = Client::connect(menshen.http);
        client.send(format!(
            "POST {target} HTTP/1.1\r\nHost: shop.example\r\n{field}\r\n\r\n"
        ));
        let answer = client.receive().expect("an answer");
        assert_eq!(
            (answer.status, &answer.body[..]),
            (200, target.as_bytes()),
            "{name}"
        );
        client.send(body);
        // A client that may go on does; the next answer is its own.
        client.send(format!(
            "GET {target}-next HTTP/1.1\r\nHost: shop.example\r\n\r\n"
        ));
        if let Some(next) = client.receive() {
            assert_eq!(
                (next.status, next.body),
                (200, format!("{target}-next").into_bytes()),
                "{name}"
            );
        }
        probe(&menshen, &format!("/open/after-{name}"));
        let target = format!("/open/early-{name}-left");
        let mut client = Client::connect(menshen.http);
        client.send(format!(
            "POST {target} HTTP/1.1\r\nHost: shop.example\r\n{field}\r\n\r\n"
        ));
        assert_eq!(client.receive().expect("an answer").status, 200, "{name}");
        drop(client);
        let connection = backend.wait_for_end(&target);
        assert!(
            connection
                .messages
                .iter()
                .all(|message| message.target != target),
            "{name}: {connection:?}"
        );
        probe(&menshen, &format!("/open/after-{name}-left"));
    }
}

/// An answer does not end the upload that it answers early: all of it reaches the backend, and the
/// connection goes on.
#[test]
fn an_upload_goes_on_after_its_whole_answer() {
    fn early(target: &str) -> Option<Reply> {
        target
            .starts_with("/open/early")
            .then(|| Reply::naming(target))
    }
    let backend = ByteBackend::start(Answers {
        early,
        ..Answers::default()
    });
    let menshen = before(&backend);
    let part = vec![b'x'; 64 * 1024];
    let body = part.repeat(32);
    for (name, field) in [
        ("length", format!("Content-Length: {}", body.len())),
        ("chunks", "Transfer-Encoding: chunked".into()),
    ] {
        let target = format!("/open/early-{name}");
        let mut client = Client::connect(menshen.http);
        client.send(format!(
            "POST {target} HTTP/1.1\r\nHost: shop.example\r\n{field}\r\n\r\n"
        ));
        let answer = client.receive().expect("an answer");
        assert_eq!(
            (answer.status, &answer.body[..]),
            (200, target.as_bytes()),
            "{name}"
        );
        for part in body.chunks(part.len()) {
            match name {
                "length" => client.send(part),
                _ => client
                    .send([format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat()),
            }
        }
        if name == "chunks" {
            client.send("0\r\n\r\n");
        }
        client.send(format!(
            "GET {target}-next HTTP/1.1\r\nHost: shop.example\r\n\r\n"
        ));
        assert_eq!(
            client.receive().expect("the next answer").body,
            format!("{target}-next").into_bytes(),
            "{name}"
        );
        let is_message = |message: &Message| message.target == target;
        let connection = backend.wait_until(&target, |connection| {
            connection.messages.iter().any(is_message)
        });
        let message = connection
            .messages
            .into_iter()
            .find(is_message)
            .expect("the message");
        assert!(
            message.body == body,
            "{name}: {} bytes came",
            message.body.len()
        );
    }
}

#[test]
fn an_early_answer_over_http2_and_the_rest_of_the_request_are_one_message() {
    fn early(target: &str) -> Option<Reply> {
        target
            .starts_with("/open/early")
            .then(|| Reply::naming(target))
    }
    let backend = ByteBackend::start(Answers {
        early,
        ..Answers::default()
    });
    let menshen = before(&backend);
    let client = Http2::connect(menshen.http);
    for known in [false, true] {
        for goes_on in [false, true] {
            let target = format!("/open/early-{known}-{goes_on}");
            let fields: &[_] = if known {
                &[("content-length", "10")]
            } else {
                &[]
            };
            let request = http2::request("POST", &format!("http://shop.example{target}"), fields);
            client.runtime.block_on(http2::within(async {
                let mut send = client.send.clone().ready().await.expect("a stream");
                let (answer, mut stream) = send.send_request(request, false).expect("a stream");
                stream
                    .send_data(Bytes::from_static(b"hello"), false)
                    .expect("a frame");
                let answer = http2::whole(answer.await.expect("an answer"))
                    .await
                    .expect("a whole answer");
                assert_eq!(
                    (answer.status, answer.body),
                    (200, target.clone().into_bytes())
                );
                if goes_on {
                    // It may have been told that nobody wants the rest.
                    drop(stream.send_data(Bytes::from_static(b"world"), true));
                }
            }));
            // The rest has come, or the connection has ended.
            let is_message = |message: &Message| message.target == target;
            let connection = backend.wait_until(&target, |connection| {
                connection.ended || goes_on && connection.messages.iter().any(is_message)
            });
            for message in connection
                .messages
                .iter()
                .filter(|message| is_message(message))
            {
                assert!(goes_on, "{target}: {message:?}");
                assert_eq!(message.body, b"helloworld", "{target}: {message:?}");
            }
            probe(&menshen, &format!("/open/after-early-{known}-{goes_on}"));
        }
    }
}

#[test]
fn a_connection_of_http2_that_ends_in_the_middle_leaves_a_broken_message() {
    let backend = ByteBackend::start(Answers::default());
    let menshen = before(&backend);
    for (name, fields) in [
        ("a-body", &[][..]),
        ("a-length", &[("content-length", "10")][..]),
    ] {
        let target = format!("/open/ends-within-{name}");
        let client = Http2::connect(menshen.http);
        let request = http2::request("POST", &format!("http://shop.example{target}"), fields);
        client.runtime.block_on(http2::within(async {
            let mut send = client.send.clone().ready().await.expect("a stream");
            let (_, mut stream) = send.send_request(request, false).expect("a stream");
            stream
                .send_data(Bytes::from_static(b"hello"), false)
                .expect("a frame");
            tokio::task::block_in_place(|| backend.wait_for(&target));
        }));
        drop(client);
        let connection = backend.wait_for_end(&target);
        assert!(
            connection
                .messages
                .iter()
                .all(|message| message.target != target),
            "{name}: {connection:?}"
        );
        probe(&menshen, &format!("{target}-after"));
    }
}

#[test]
fn a_request_that_waits_for_100_has_one_end() {
    fn early(target: &str) -> Option<Reply> {
        let refused =
            || Reply::bytes("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n");
        (target == "/open/refused").then(refused)
    }
    fn late(target: &str) -> Reply {
        let Reply { bytes, close } = Reply::naming(target);
        Reply {
            bytes: [b"HTTP/1.1 100 Continue\r\n\r\n", &bytes[..]].concat(),
            close,
        }
    }
    let backend = ByteBackend::start(Answers {
        early,
        late,
        ..Answers::default()
    });
    let menshen = before(&backend);
    for target in ["/open/continued", "/open/refused"] {
        let mut client = Client::connect(menshen.http);
        client.send(format!(
            "POST {target} HTTP/1.1\r\nHost: shop.example\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
        ));
        backend.wait_for(target);
        client.send("hello");
        let status = client.receive().expect("an answer").status;
        assert_eq!(status, if target == "/open/refused" { 417 } else { 200 });
        // Whole, or the connection is not used again.
        backend.wait_until(target, |connection| {
            connection.rest.is_empty() || connection.ended
        });
    }
}

#[test]
fn an_answer_of_http2_has_one_end_on_the_clients_wire() {
    let cases: [(&str, Script, &str); 8] = [
        (
            "nothing, and trailers",
            |_, _| Action::TrailersAfterNothing,
            "",
        ),
        ("nothing", |_, _| Action::Head, ""),
        ("one frame", |_, _| Action::Frames(&["hello"]), "hello"),
        (
            "an empty frame at the end",
            |_, _| Action::Frames(&["hello", ""]),
            "hello",
        ),
        (
            "an empty frame between",
            |_, _| Action::Frames(&["hel", "", "lo"]),
            "hello",
        ),
        ("only an empty frame", |_, _| Action::Frames(&[""]), ""),
        (
            "trailers",
            |_, _| Action::FramesAndTrailers(&["hello"]),
            "hello",
        ),
        (
            "an empty frame and trailers",
            |_, _| Action::FramesAndTrailers(&["hello", ""]),
            "hello",
        ),
    ];
    for (name, script, body) in cases {
        let backend = FrameBackend::start(script);
        let config = format!(
            "[upstream]\nurls = [\"http://{}\"]\nprotocol = \"http2\"\n{OPEN}",
            backend.address
        );
        let menshen = Setup::before(backend.address).with(&config).start();
        // Two answers on one connection: a byte too many would be the beginning of the second.
        let mut client = Client::connect(menshen.http);
        for _ in 0..2 {
            client.send("GET /open/x HTTP/1.1\r\nHost: shop.example\r\n\r\n");
            let answer = client
                .receive()
                .unwrap_or_else(|| panic!("{name}: no answer"));
            assert_eq!(
                (answer.status, &answer.body[..]),
                (200, body.as_bytes()),
                "{name}"
            );
        }
        let http2 = Http2::connect(menshen.http);
        let answer = http2
            .ask(
                http2::request("GET", "http://shop.example/open/x", &[]),
                b"",
            )
            .expect("an answer");
        assert_eq!(
            (answer.status, &answer.body[..]),
            (200, body.as_bytes()),
            "{name}"
        );
        let trailers = answer
            .trailers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().expect("text")));
        let expected: &[&str] = if name.ends_with("trailers") {
            &["x: y"]
        } else {
            &[]
        };
        assert_eq!(trailers.collect::<Vec<_>>(), expected, "{name}");
    }
}
