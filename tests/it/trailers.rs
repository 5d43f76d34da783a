//! Trailers of an answer reach a client that asks for them, and everything else is what it is for a
//! client that does not.

use std::{
    collections::HashSet,
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use super::{
    backend::Backend,
    menshen::{Menshen, Setup},
    wire::{self, Answer, Client},
};

const ASKED: [(&str, &str); 2] = [("TE", "trailers"), ("Connection", "TE")];

/// What a backend says, with all that may not trail.
const TRAILING: &[u8] = b"HTTP/1.1 200 Fine\r\nX-Kept: Yes\r\nTrailer: X-Checksum, X-Menshen-Error, Content-Length\r\n\
    Connection: keep-alive, X-Hop\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Checksum: abc\r\nX-Checksum: def\r\n\
    X-Menshen-Error: mine\r\nx_menshen.error: mine\r\nContent-Length: 7\r\nContent_Length: 7\r\nTransfer-Encoding: gzip\r\n\
    Connection: close\r\nKeep-Alive: 1\r\nX-Hop: 1\r\nSet-Cookie: a=1\r\nLocation: /\r\nTrailer: x\r\nTE: x\r\nServer-Timing: db\r\n\r\n";

fn asking(menshen: &Menshen, method: &str, path: &str, more: &[(&str, &str)]) -> Client {
    let authorization = format!("Bearer {}", menshen.token("alice"));
    let fields = [more, &[("Authorization", authorization.as_str())]].concat();
    let mut client = Client::connect(menshen.http);
    client.send(wire::request(method, path, &fields, b""));
    client
}

/// The head and what follows it, up to the end of a chunked answer.
fn chunked(client: &mut Client) -> (String, String) {
    let mut until = |end: &dyn Fn(&[u8]) -> bool| {
        let mut seen = Vec::new();
        while !end(&seen) {
            let mut byte = [0];
            client
                .stream()
                .read_exact(&mut byte)
                .unwrap_or_else(|fault| panic!("{fault} after {}", seen.escape_ascii()));
            seen.push(byte[0]);
        }
        String::from_utf8(seen).expect("text")
    };
    let head = until(&|seen| seen.ends_with(b"\r\n\r\n"));
    let last = |seen: &[u8]| {
        seen.ends_with(b"\r\n\r\n") && seen.windows(5).any(|part| part == b"\r\n0\r\n")
    };
    let body = until(&|seen| last(seen) || seen == b"0\r\n\r\n");
    (head, body)
}

#[test]
fn trailers_reach_who_asks_for_them_and_only_those_that_may() {
    let connections = Arc::new(Mutex::new(HashSet::new()));
    let seen = connections.clone();
    let backend = Backend::answering(move |_, stream| {
        seen.lock()
            .expect("a lock")
            .insert(stream.peer_addr().expect("an address"));
        stream.write_all(TRAILING).is_ok()
    });
    let menshen = Setup::before(backend.address).start();
    let token = format!("Bearer {}", menshen.token("alice"));
    let mut client = Client::connect(menshen.http);
    for te in ["trailers", "deflate;q=0.5, Trailers"] {
        client.send(wire::request(
            "GET",
            "/x?a=%41",
            &[
                ("Authorization", &token),
                ("TE", te),
                ("Connection", "TE"),
                ("X-User-Id", "1"),
            ],
            b"",
        ));
        let (head, body) = chunked(&mut client);
        assert!(head.starts_with("HTTP/1.1 200 Fine\r\n"), "{head}");
        let lower = head.to_ascii_lowercase();
        for there in [
            "x-kept: yes\r\n",
            "trailer: x-checksum\r\n",
            "transfer-encoding: chunked\r\n",
            "connection: keep-alive\r\n",
        ] {
            assert_eq!(lower.matches(there).count(), 1, "{there} in {head}");
        }
        assert_eq!(
            body,
            "5\r\nhello\r\n0\r\nX-Checksum: abc\r\nX-Checksum: def\r\nServer-Timing: db\r\n\r\n"
        );
        let asked = backend.last();
        assert_eq!(
            (
                asked.line.as_str(),
                asked.folded("te"),
                asked.folded("connection")
            ),
            (
                "GET /x?a=%41 HTTP/1.1",
                vec!["trailers".to_owned()],
                vec!["TE".to_owned()]
            )
        );
        assert_eq!(asked.folded("x-auth-state"), ["authenticated"]);
        assert_eq!(asked.folded("x-user-id").len(), 1);
        assert_ne!(asked.folded("x-user-id"), ["1"]);
        assert_eq!(asked.folded("host"), ["shop.example"]);
    }
    assert_eq!(
        connections.lock().expect("a lock").len(),
        1,
        "the connection to the backend is kept"
    );
    menshen.wait_for_metric(
        "menshen_requests_total{decision=\"forwarded\",rule=\"default\",status=\"2xx\"}",
        2.0,
    );
}

#[test]
fn who_does_not_ask_gets_none_and_the_backend_is_not_told() {
    let backend = Backend::answering(|_, stream| stream.write_all(TRAILING).is_ok());
    let menshen = Setup::before(backend.address).start();
    for te in [
        &[][..],
        &[("TE", "gzip")],
        &[("TE", "trailers;q=1")],
        &[("X-TE", "trailers")],
    ] {
        let (head, body) = chunked(&mut asking(&menshen, "GET", "/x", te));
        assert!(
            !head.to_ascii_lowercase().contains("trailer:"),
            "{te:?}: {head}"
        );
        assert_eq!(body, "5\r\nhello\r\n0\r\n\r\n", "{te:?}");
        assert!(backend.last().folded("te").is_empty(), "{te:?}");
    }
    let mut old = Client::connect(menshen.http);
    let token = menshen.token("alice");
    old.send(format!(
        "GET /x HTTP/1.0\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\nAuthorization: Bearer {token}\r\n\r\n"
    ));
    let answer = old.receive().expect("an answer");
    assert_eq!(
        (answer.status, answer.body.as_slice()),
        (200, &b"hello"[..])
    );
    assert!(backend.last().folded("te").is_empty());
}

/// A backend that says one thing to everybody and ends the connection.
fn saying(bytes: &'static [u8]) -> Backend {
    Backend::answering(move |_, stream| stream.write_all(bytes).is_err())
}

#[test]
fn answers_without_trailers_are_the_same_for_who_asks() {
    let told = |answer: &Answer| {
        let fields = answer
            .headers
            .iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()));
        let mut fields: Vec<_> = fields
            .filter(|(name, _)| name != "x-request-id" && name != "date")
            .collect();
        fields.sort();
        // The id of the request is in there.
        let body = if answer.error().is_none() {
            answer.body.clone()
        } else {
            Vec::new()
        };
        (answer.status, fields, body)
    };
    let answers: [(&str, &[u8]); 13] = [
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: 1\r\nX-A: 2\r\n\r\nhello"),
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello"),
        ("GET", b"HTTP/1.1 200 OK\r\n\r\nuntil the end"),
        ("GET", b"HTTP/1.0 200 OK\r\nX: y\r\n\r\nuntil the end"),
        ("GET", b"HTTP/1.1 204 No Content\r\nX: y\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 17\r\n\r\n"),
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 123456\r\n\r\n"),
        ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("DELETE", b"HTTP/1.1 404 Nothing There\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\n\r\n"),
        ("GET", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"),
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"),
        ("GET", b"not HTTP at all\r\n\r\n"),
        ("GET", b"HTTP/1.1 200"),
    ];
    for (method, bytes) in answers {
        let backend = saying(bytes);
        let menshen = Setup::before(backend.address).start();
        let [plain, asked] = [&[][..], &ASKED[..]].map(|fields| {
            let answer = asking(&menshen, method, "/x", fields).receive_to(method);
            answer.as_ref().map(told)
        });
        assert!(plain.is_some(), "{}", bytes.escape_ascii());
        assert_eq!(plain, asked, "{}", bytes.escape_ascii());
    }
    // A coding that the client would not be told of.
    let backend =
        saying(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n1\r\na\r\n0\r\n\r\n");
    let menshen = Setup::before(backend.address).start();
    let answer = asking(&menshen, "GET", "/x", &ASKED)
        .receive()
        .expect("an answer");
    assert_eq!(
        (answer.status, answer.error()),
        (502, Some("upstream_unavailable"))
    );
}

#[test]
fn an_answer_that_breaks_off_never_looks_whole_to_who_asks() {
    for bytes in [
        &b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"[..],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Checksum: a",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Checksum: abc\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nno field\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello",
    ] {
        let backend = saying(bytes);
        let menshen = Setup::before(backend.address).start();
        let mut client = asking(&menshen, "GET", "/x", &ASKED);
        let mut all = Vec::new();
        client.stream().read_to_end(&mut all).expect("an end");
        let text = String::from_utf8(all).expect("text");
        assert!(text.starts_with("HTTP/1.1 200 ") && text.contains("hello"), "{text}");
        assert!(!text.contains("\r\n0\r\n") && !text.contains("x-checksum"), "{}: {text}", bytes.escape_ascii());
        let line = menshen.wait_for_log("\"path\":\"/x\"");
        assert!(line.contains("upstream_unavailable"), "{line}");
    }
}

#[test]
fn informational_answers_pass_in_their_order() {
    let backend = saying(
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </b>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    );
    let menshen = Setup::before(backend.address).start();
    let mut client = asking(&menshen, "GET", "/x", &ASKED);
    for link in ["</a>", "</b>"] {
        let hints = client.receive().expect("hints");
        assert_eq!((hints.status, hints.header("Link")), (103, Some(link)));
    }
    assert_eq!(
        client.receive().map(|answer| (answer.status, answer.body)),
        Some((200, b"ok".to_vec()))
    );
}

/// A backend whose connections the test has in its own hands.
fn by_hand() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

/// The next connection, once its request is there.
fn accept(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = listener.accept().expect("a connection");
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("a socket option");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a head");
        head.push(byte[0]);
    }
    assert!(
        head.starts_with(b"GET /x HTTP/1.1\r\n"),
        "{}",
        head.escape_ascii()
    );
    stream
}

#[test]
fn a_client_that_leaves_takes_its_request_with_it() {
    let (listener, address) = by_hand();
    let menshen = Setup::before(address).start();
    let client = asking(&menshen, "GET", "/x", &ASKED);
    let mut stream = accept(&listener);
    stream
        .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        .expect("sent");
    drop(client);
    // What was not read of the response makes a reset of the end.
    let end = stream.read(&mut [0]);
    assert!(
        matches!(&end, Ok(0))
            || end
                .as_ref()
                .is_err_and(|end| end.kind() == ErrorKind::ConnectionReset),
        "{end:?}"
    );
    menshen.wait_for_metric("menshen_upstream_errors_total{kind=\"client_gone\"}", 1.0);
}

#[test]
fn a_silent_backend_is_waited_for_as_long_as_the_config_says() {
    let (listener, address) = by_hand();
    let section = format!("[upstream]\nurls = [\"http://{address}\"]\nread_timeout = \"300ms\"");
    let menshen = Setup::before(address).with(&section).start();
    let mut client = asking(&menshen, "GET", "/x", &ASKED);
    let _silent = accept(&listener);
    let answer = client.receive().expect("an answer");
    assert_eq!(
        (answer.status, answer.error()),
        (504, Some("upstream_timeout"))
    );
    // The same in the middle of a body.
    let mut client = asking(&menshen, "GET", "/x", &ASKED);
    let mut stream = accept(&listener);
    stream
        .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
        .expect("sent");
    let mut all = Vec::new();
    client.stream().read_to_end(&mut all).expect("an end");
    assert!(all.ends_with(b"2\r\nok\r\n"), "{}", all.escape_ascii());
    menshen.wait_for_metric("menshen_upstream_errors_total{kind=\"timeout\"}", 2.0);
}

#[test]
fn a_logout_ends_the_stream_of_a_client_that_asks() {
    let (said, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let backend = Backend::answering(move |_, stream| {
        stream
            .write_all(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n",
            )
            .expect("sent");
        // Until the test is over.
        let _ = wait.lock().expect("a lock").recv();
        false
    });
    let menshen = Setup::before(backend.address).start();
    let token = menshen.token("alice");
    let authorization = format!("Bearer {token}");
    let mut client = Client::connect(menshen.http);
    client.send(wire::request(
        "GET",
        "/x",
        &[ASKED[0], ASKED[1], ("Authorization", &authorization)],
        b"",
    ));
    let mut seen = Vec::new();
    while !seen.ends_with(b"one\r\n") {
        let mut byte = [0];
        client
            .stream()
            .read_exact(&mut byte)
            .expect("the beginning");
        seen.push(byte[0]);
    }
    let answer = menshen.post(
        "/auth/logout",
        &[("Authorization", &authorization)],
        &serde_json::json!({ "scope": "local" }),
    );
    assert_eq!(answer.status, 204);
    let mut rest = Vec::new();
    client.stream().read_to_end(&mut rest).expect("an end");
    assert_eq!(rest, b"");
    menshen.wait_for_metric("menshen_streams_ended_total{reason=\"revoked\"}", 1.0);
    drop(said);
}
