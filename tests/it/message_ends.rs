//! Where a message ends, byte for byte on the wire: a request has one end for the backend, whatever
//! its client wrote it in, and a connection to a backend is used again only where both messages on
//! it surely ended. Otherwise one client would get the answer of another.

use bytes::Bytes;
use http::HeaderMap;

use super::{
    byte_backend::{Answers, ByteBackend, Message},
    frame_backend::{Action, FrameBackend, Script},
    http2::{self, Http2},
    http2_frames,
    menshen::{Menshen, Setup},
    raw_http2::{Outcome, Raw},
    wire::{self, Client},
};

const OPEN: &str = "[[rule]]\nname = \"open\"\npath = \"/open/**\"\naccess = \"public\"\n\
                    [server]\nlisten = [\"127.0.0.1:0\"]\nunready_grace = \"100ms\"\nh2c = true";

pub(super) fn before(backend: &ByteBackend) -> Menshen {
    Setup::before(backend.address).with(OPEN).start()
}

/// Asks for `target` on a connection of its own; it has to be this request's own answer.
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

/// A name, what frames the body, what follows the head, and the body that it is. Pieces are sent
/// one after the other, the next when the backend has seen the one before.
type Pieces = (
    &'static str,
    &'static str,
    &'static [&'static str],
    &'static str,
);

const REQUESTS_OF_HTTP1: [Pieces; 12] = [
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

#[test]
fn a_request_of_http1_has_one_end_on_the_backends_wire() {
    let backend = ByteBackend::start(Answers::default());
    let menshen = before(&backend);
    let mut unanswered = 0;
    for (name, field, pieces, body) in REQUESTS_OF_HTTP1 {
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
    assert!(unanswered < REQUESTS_OF_HTTP1.len());
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
