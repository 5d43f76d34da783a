//! Bodies pass as they come, in both directions and in every framing: nothing is gathered, what
//! breaks off never looks whole, and a client that dribbles, stalls or leaves gives its place back.

use std::{
    io::{Read, Write},
    time::Duration,
};

use super::{
    backend::Backend,
    menshen::Setup,
    wire::{self, Client},
};

#[test]
fn answers_stream_and_are_never_gathered() {
    // The backend sends the second half only when the test has seen the first, so nothing can be
    // waiting for the whole.
    for (head, first, second) in [
        (
            "Transfer-Encoding: chunked",
            "5\r\nfirst\r\n",
            "6\r\nsecond\r\n0\r\n\r\n",
        ),
        ("Content-Length: 11", "first", "second"),
        ("Connection: close", "first", "second"),
    ] {
        for body in [&b""[..], b"upload"] {
            let (seen_first, wait) = std::sync::mpsc::channel::<()>();
            let wait = std::sync::Mutex::new(wait);
            let backend = Backend::answering(move |_, stream| {
                let begun = stream
                    .write_all(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{first}").as_bytes())
                    .is_ok();
                begun
                    && wait.lock().is_ok_and(|wait| wait.recv().is_ok())
                    && stream.write_all(second.as_bytes()).is_err()
            });
            let menshen = Setup::before(backend.address).start();
            let token = format!("Bearer {}", menshen.token("alice"));
            let mut client = Client::connect(menshen.http);
            client.send(wire::request(
                "POST",
                "/stream",
                &[("Authorization", &token)],
                body,
            ));
            let mut read_to = |mark: &str| {
                let (mut seen, mut byte) = (Vec::new(), [0; 1]);
                while !seen.ends_with(mark.as_bytes()) {
                    client
                        .stream()
                        .read_exact(&mut byte)
                        .unwrap_or_else(|fault| panic!("{head} {body:?} {mark}: {fault}"));
                    seen.push(byte[0]);
                }
            };
            read_to("first");
            seen_first.send(()).expect("a backend that waits");
            read_to("second");
        }
    }
}

#[test]
fn an_upload_streams_and_is_never_gathered() {
    // The backend answers after the first part of a body whose end never comes.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let (mut seen, mut part) = (Vec::new(), [0; 4096]);
        while !seen.ends_with(b"first") {
            let n = stream
                .read(&mut part)
                .expect("the first part before the rest is sent");
            seen.extend_from_slice(&part[..n]);
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .expect("an answer");
        // Held open until the client has it.
        drop(stream.read(&mut part));
    });
    let menshen = Setup::before(address).start();
    let token = menshen.token("alice");
    let mut client = Client::connect(menshen.http);
    client.send(format!(
        "PUT /x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nContent-Length: 1000000\r\n\r\nfirst"
    ));
    assert_eq!(
        client.receive().expect("an answer to half a body").status,
        200
    );
    drop(client);
    serving.join().expect("a backend");
}

/// What an answer's head must say and its body be, for each way a backend can end it and each kind
/// of client.
#[test]
fn every_framing_of_an_answer_reaches_every_client() {
    let kinds: [(&str, &str, &str); 6] = [
        (
            "length",
            "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody",
            "body",
        ),
        (
            "chunked",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n",
            "body",
        ),
        ("until close", "HTTP/1.0 200 OK\r\n\r\nbody", "body"),
        ("no content", "HTTP/1.1 204 No Content\r\n\r\n", ""),
        (
            "not modified",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\nETag: x\r\n\r\n",
            "",
        ),
        (
            "after a hint",
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody",
            "body",
        ),
    ];
    for (name, answer, body) in kinds {
        let backend = Backend::answering(move |_, stream| {
            stream.write_all(answer.as_bytes()).is_ok() && name != "until close"
        });
        let menshen = Setup::before(backend.address).start();
        let token = menshen.token("alice");
        for version in ["1.1", "1.0"] {
            let mut client = Client::connect(menshen.http);
            client.send(format!(
                "GET /x HTTP/{version}\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n"
            ));
            let mut received = client.receive().expect("an answer");
            if received.status == 103 {
                assert_eq!(version, "1.1", "{name}");
                received = client.receive().expect("the answer after the hint");
            }
            assert_eq!(
                String::from_utf8_lossy(&received.body),
                body,
                "{name} {version}"
            );
            assert!(received.header("Date").is_some(), "{name} {version}");
            let chunked = received.header("Transfer-Encoding").is_some();
            assert!(!(chunked && version == "1.0"), "{name}");
            assert!(
                !(chunked && received.header("Content-Length").is_some()),
                "{name} {version}"
            );
            let connection = received.header("Connection").map(str::to_owned);
            assert_eq!(
                connection.as_deref(),
                Some(if version == "1.1" {
                    "keep-alive"
                } else {
                    "close"
                }),
                "{name} {version}"
            );
        }
    }
}

#[test]
fn an_answer_that_breaks_off_is_never_taken_for_whole() {
    for head in ["Content-Length: 100", "Transfer-Encoding: chunked"] {
        let backend =
            Backend::answering(move |_, stream| {
                drop(stream.write_all(
                    format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n4\r\nhalf\r\n").as_bytes(),
                ));
                false
            });
        let menshen = Setup::before(backend.address).start();
        let token = menshen.token("alice");
        let mut client = Client::connect(menshen.http);
        client.send(format!(
            "GET /x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n"
        ));
        let mut text = String::new();
        client
            .stream()
            .read_to_string(&mut text)
            .expect("what there was, and the end");
        assert!(
            text.contains("half") && !text.contains("\r\n0\r\n"),
            "{head}: {text}"
        );
        assert!(
            menshen.metric("menshen_upstream_errors_total{kind=\"closed_early\"}") >= 1.0,
            "{head}"
        );
    }
}

/// A peaceful end is how an HTTP/1.0 client knows that an answer without a length is whole.
#[test]
fn an_answer_that_breaks_off_ends_in_a_reset_for_http_1_0() {
    let backend = Backend::answering(|_, stream| {
        drop(
            stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"),
        );
        false
    });
    let menshen = Setup::before(backend.address).start();
    let token = menshen.token("alice");
    let mut client = Client::connect(menshen.http);
    client.send(format!(
        "GET /x HTTP/1.0\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n"
    ));
    let mut text = Vec::new();
    let end = client.stream().read_to_end(&mut text);
    assert_eq!(
        end.map_err(|fault| fault.kind()),
        Err(std::io::ErrorKind::ConnectionReset)
    );
}

#[test]
fn a_body_of_the_auth_api_that_breaks_off_is_answered_and_counted() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address).start();
    let seen = "menshen_requests_total{decision=\"auth\",rule=\"auth\",status=\"4xx\"}";
    let head = "POST /auth/refresh HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n";
    for (count, rest) in [
        (1.0, "Transfer-Encoding: chunked\r\n\r\nzz\r\n{}"),
        (2.0, "Content-Length: 100\r\n\r\n{"),
    ] {
        let mut client = Client::connect(menshen.http);
        client.send(format!("{head}{rest}"));
        client
            .stream()
            .get_mut()
            .shutdown(std::net::Shutdown::Write)
            .expect("a connection");
        let answer = client.receive().expect("an answer");
        assert_eq!(
            (answer.status, answer.error()),
            (400, Some("request_malformed")),
            "{rest}"
        );
        assert!(client.ended(), "{rest}");
        menshen.wait_for_metric(seen, count);
    }
}

#[test]
fn a_client_that_reads_nothing_loses_its_place() {
    let big = vec![b'x'; 1 << 20];
    let backend = Backend::answering(move |_, stream| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 64 << 20);
        stream.write_all(head.as_bytes()).is_ok() && (0..64).all(|_| stream.write_all(&big).is_ok())
    });
    let section = "[server]\nlisten = [\"127.0.0.1:0\"]\nbody_timeout = \"300ms\"";
    let menshen = Setup::before(backend.address).with(section).start();
    let token = format!("Bearer {}", menshen.token("alice"));
    for (before, body) in [&b""[..], b"upload"].into_iter().enumerate() {
        let mut client = Client::connect(menshen.http);
        client.send(wire::request(
            "POST",
            "/big",
            &[("Authorization", &token)],
            body,
        ));
        // Nothing is read; the connection ends all the same, and its place is free again.
        let end = std::time::Instant::now() + Duration::from_secs(20);
        while backend.received().len() <= before || menshen.metric("menshen_connections") > 0.0 {
            assert!(std::time::Instant::now() < end, "the place is still taken");
            std::thread::yield_now();
        }
        drop(client);
    }
}

#[test]
fn an_upload_that_dribbles_is_given_up() {
    let backend = Backend::start();
    let section = "[server]\nlisten = [\"127.0.0.1:0\"]\nbody_timeout = \"300ms\"";
    let menshen = Setup::before(backend.address).with(section).start();
    let token = menshen.token("alice");
    let mut client = Client::connect(menshen.http);
    client.send(format!("POST /x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nContent-Length: 100000\r\n\r\n"));
    // Each byte comes well within the time for one read: dribbling is the attack.
    let cut = (0..400).any(|_| {
        std::thread::sleep(Duration::from_millis(25));
        client.stream().get_mut().write_all(b"x").is_err()
    });
    assert!(cut, "10 seconds of dribbling were taken");
    assert!(backend.received().is_empty());
}

#[test]
fn a_client_that_leaves_takes_its_request_with_it() {
    let (left, gone) = std::sync::mpsc::channel();
    let left = std::sync::Mutex::new(left);
    let backend = Backend::answering(move |_, stream| {
        // Nothing is answered; the connection ends when menshen gives the request up.
        let mut waste = [0; 1];
        let ended = stream.read(&mut waste).is_ok_and(|n| n == 0);
        left.lock().is_ok_and(|left| left.send(ended).is_err())
    });
    let menshen = Setup::before(backend.address).start();
    let token = format!("Bearer {}", menshen.token("alice"));
    // Also one with so much behind its request that nothing more is read of it.
    for (at, behind) in [0, 100_000].into_iter().enumerate() {
        let mut client = Client::connect(menshen.http);
        client.send(wire::request(
            "GET",
            "/long",
            &[("Authorization", &token)],
            b"",
        ));
        while backend.received().len() <= at {
            std::thread::yield_now();
        }
        client.send(vec![b'G'; behind]);
        drop(client);
        let ended = gone.recv_timeout(Duration::from_secs(10));
        assert!(
            ended.expect("the end of the request at the backend"),
            "{behind}"
        );
    }
}

#[test]
fn a_large_upload_passes_in_both_framings() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address).start();
    let token = format!("Bearer {}", menshen.token("alice"));
    let body: Vec<u8> = (0..3_000_000_u32)
        .map(|n| u8::try_from(n % 251).expect("a byte"))
        .collect();
    let answer = wire::ask(
        menshen.http,
        "PUT",
        "/upload",
        &[("Authorization", &token)],
        &body,
    );
    assert_eq!(answer.status, 200);
    assert!(backend.last().body == body);
    let mut client = Client::connect(menshen.http);
    client.send(format!("PUT /upload HTTP/1.1\r\nHost: a\r\nAuthorization: {token}\r\nTransfer-Encoding: chunked\r\n\r\n"));
    for part in body.chunks(100_000) {
        client.send(format!("{:x}\r\n", part.len()));
        client.send(part);
        client.send("\r\n");
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.receive().expect("an answer").status, 200);
    assert!(backend.last().body == body);
}
