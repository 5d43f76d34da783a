//! Messages whose end is not certain, of clients and of backends: the connection to the backend
//! ends with them, and is not used again.

use std::{io::BufRead, net::Shutdown};

use bytes::Bytes;

use super::{
    byte_backend::{Answers, ByteBackend, Reply},
    http2::{self, Http2},
    message_ends::{before, probe},
    wire::{self, Client},
};

/// A name, a request from its last header field to where it breaks off, and what is wrong at once.
const BROKEN_OFF_REQUESTS: [(&str, &str, &str); 9] = [
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

#[test]
fn a_connection_ends_where_a_request_broke_off() {
    let backend = ByteBackend::start(Answers::default());
    let menshen = before(&backend);
    for (name, rest, wrong) in BROKEN_OFF_REQUESTS {
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
