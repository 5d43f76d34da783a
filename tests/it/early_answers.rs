//! Answers that come before the end of their request: the rest of the request reaches the backend,
//! or its connection ends, and no other message begins in it.

use bytes::Bytes;

use super::{
    byte_backend::{Answers, ByteBackend, Message, Reply},
    http2::{self, Http2},
    message_ends::{before, probe},
    wire::Client,
};

/// Answers before it has read the request.
fn early(target: &str) -> Option<Reply> {
    target
        .starts_with("/open/early")
        .then(|| Reply::naming(target))
}

#[test]
fn an_early_answer_and_the_rest_of_the_request_are_one_message() {
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
