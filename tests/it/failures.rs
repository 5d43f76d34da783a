//! A backend that fails, in every way there is, on both ways to it: what the client is told, what
//! is counted, that nothing is sent twice, and that the connection of the client is right
//! afterwards.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::{
    backend::Backend,
    menshen::Setup,
    wire::{self, Client},
};

/// What a backend does once it has read a request.
#[derive(Debug, Clone, Copy)]
enum Does {
    Says(&'static [u8]),
    /// And then keeps the connection, silently.
    SaysAndStalls(&'static [u8]),
    Resets,
    /// A head of so many bytes in one field.
    LongField(usize),
    /// So many fields.
    ManyFields(usize),
}

impl Does {
    fn act(self, stream: &mut TcpStream) -> bool {
        let mut say = |bytes: &[u8]| drop(stream.write_all(bytes));
        match self {
            Self::Says(bytes) => say(bytes),
            Self::SaysAndStalls(bytes) => {
                say(bytes);
                while stream.read(&mut [0; 64]).is_ok_and(|n| n > 0) {}
            }
            Self::Resets => {
                rustix::net::sockopt::set_socket_linger(&*stream, Some(Duration::ZERO))
                    .expect("a socket option");
            }
            Self::LongField(n) => {
                say(format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Long: {}\r\n\r\n",
                    "x".repeat(n)
                )
                .as_bytes());
            }
            Self::ManyFields(n) => {
                say(format!(
                    "HTTP/1.1 200 OK\r\n{}Content-Length: 0\r\n\r\n",
                    "X-Many: x\r\n".repeat(n)
                )
                .as_bytes());
            }
        }
        false
    }
}

/// What the client has of it.
#[derive(Debug, Clone, Copy)]
enum Told {
    /// This status and code, from menshen.
    Refusal(u16, &'static str),
    /// The start of the backend's answer, and an end that shows that it is not all.
    BrokenOff,
}

const UNAVAILABLE: Told = Told::Refusal(502, "upstream_unavailable");
const TIMEOUT: Told = Told::Refusal(504, "upstream_timeout");

const CASES: &[(&str, Does, Told, &str)] = &[
    ("says nothing and closes", Does::Says(b""), UNAVAILABLE, "closed_early"),
    ("resets", Does::Resets, UNAVAILABLE, "closed_early"),
    ("says nothing and stalls", Does::SaysAndStalls(b""), TIMEOUT, "timeout"),
    ("closes within the head", Does::Says(b"HTTP/1.1 200 OK\r\nContent-Le"), UNAVAILABLE, "closed_early"),
    ("stalls within the head", Does::SaysAndStalls(b"HTTP/1.1 200 OK\r\nContent-Le"), TIMEOUT, "timeout"),
    ("is no HTTP", Does::Says(b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n\r\n"), UNAVAILABLE, "invalid_answer"),
    ("has a bad status line", Does::Says(b"HTTP/1.1 two hundred\r\n\r\n"), UNAVAILABLE, "invalid_answer"),
    (
        "has two lengths",
        Does::Says(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"),
        UNAVAILABLE,
        "invalid_answer",
    ),
    (
        "has no number for a length",
        Does::Says(b"HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\nhello"),
        UNAVAILABLE,
        "invalid_answer",
    ),
    ("has a bad field", Does::Says(b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n"), UNAVAILABLE, "invalid_answer"),
    ("has a head without end", Does::LongField(3_000_000), UNAVAILABLE, "invalid_answer"),
    ("has too many fields", Does::ManyFields(2000), UNAVAILABLE, "invalid_answer"),
    (
        "switches protocols unasked",
        Does::SaysAndStalls(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"),
        UNAVAILABLE,
        "invalid_answer",
    ),
    (
        "closes within the body",
        Does::Says(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"),
        Told::BrokenOff,
        "closed_early",
    ),
    (
        "closes within a chunk",
        Does::Says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\nhe"),
        Told::BrokenOff,
        "closed_early",
    ),
    (
        "answers, then stalls",
        Does::SaysAndStalls(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"),
        Told::BrokenOff,
        "timeout",
    ),
];

#[test]
fn each_way_to_fail_is_told_counted_and_never_tried_again() {
    for method in ["GET", "POST"] {
        for (what, does, told, kind) in CASES {
            let does = *does;
            let backend = Backend::answering(move |request, stream| {
                if request.line.contains("/good") {
                    return stream
                        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood")
                        .is_ok();
                }
                does.act(stream)
            });
            let section = format!(
                "[upstream]\nurls = [\"http://{}\"]\nread_timeout = \"400ms\"",
                backend.address
            );
            let menshen = Setup::before(backend.address).with(&section).start();
            let authorization = format!("Bearer {}", menshen.token("alice"));
            let headers = [("Authorization", authorization.as_str())];
            let body: &[u8] = if method == "POST" { b"hello" } else { b"" };
            let mut client = Client::connect(menshen.http);
            client.send(wire::request(method, "/bad", &headers, body));
            match *told {
                Told::Refusal(status, code) => {
                    let answer = client
                        .receive()
                        .unwrap_or_else(|| panic!("{method} {what}: no answer"));
                    assert_eq!(
                        (answer.status, answer.error()),
                        (status, Some(code)),
                        "{method} {what}"
                    );
                    assert_eq!(answer.json()["code"], code, "{method} {what}");
                    // Nothing of the failed answer is taken for that of the next request.
                    if answer.header("Connection") == Some("keep-alive") {
                        client.send(wire::request("GET", "/good", &headers, b""));
                        assert_eq!(
                            client.receive().map(|next| next.body),
                            Some(b"good".to_vec()),
                            "{method} {what}"
                        );
                    } else {
                        assert!(client.ended(), "{method} {what}");
                    }
                }
                Told::BrokenOff => {
                    let mut seen = Vec::new();
                    let end = client
                        .stream()
                        .read_to_end(&mut seen)
                        .map_err(|fault| fault.kind());
                    assert!(
                        matches!(end, Ok(_) | Err(std::io::ErrorKind::ConnectionReset)),
                        "{method} {what}: {end:?}"
                    );
                    let text = String::from_utf8_lossy(&seen);
                    assert!(
                        text.starts_with("HTTP/1.1 200 OK\r\n") && text.contains("hello"),
                        "{method} {what}: {text}"
                    );
                    assert!(!text.ends_with("0\r\n\r\n"), "{method} {what}: {text}");
                }
            }
            let series = format!("menshen_upstream_errors_total{{kind=\"{kind}\"}}");
            menshen.wait_for_metric(&series, 1.0);
            let bad = backend
                .received()
                .iter()
                .filter(|request| request.line.contains("/bad"))
                .count();
            assert_eq!(bad, 1, "{method} {what}");
            assert_eq!(
                menshen.get("/good", &headers).body,
                b"good",
                "{method} {what}: it goes on"
            );
            assert!(
                menshen.metric("menshen_panics_total").abs() < 0.1,
                "{method} {what}"
            );
        }
    }
}

#[test]
fn a_backend_that_is_not_there_is_told_from_one_that_is_slow() {
    let closed = TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a port");
    let menshen = Setup::before(closed).start();
    let authorization = format!("Bearer {}", menshen.token("alice"));
    let headers = [("Authorization", authorization.as_str())];
    for (method, body) in [("GET", &b""[..]), ("POST", b"hello")] {
        let answer = wire::ask(menshen.http, method, "/x", &headers, body);
        assert_eq!(
            (answer.status, answer.error()),
            (502, Some("upstream_unavailable")),
            "{method}"
        );
    }
    menshen.wait_for_metric("menshen_upstream_errors_total{kind=\"connect\"}", 2.0);
}

/// A listener that counts what it gets and never answers well.
fn counting() -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let (address, count) = (
        listener.local_addr().expect("an address"),
        Arc::new(AtomicUsize::new(0)),
    );
    let counted = count.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            if stream.read(&mut [0; 4096]).is_ok_and(|n| n > 0) {
                counted.fetch_add(1, Ordering::AcqRel);
            }
        }
    });
    (address, count)
}

#[test]
fn what_was_sent_to_one_backend_is_not_sent_to_another() {
    let (bad, received) = counting();
    let (worse, also) = counting();
    let section = format!(
        "[upstream]\nurls = [\"http://{bad}\", \"http://{worse}\"]\nhealth.interval = \"0s\""
    );
    let menshen = Setup::before(bad).with(&section).start();
    let authorization = format!("Bearer {}", menshen.token("alice"));
    for n in 1..=12 {
        let (method, body) = if n % 2 == 0 {
            ("GET", &b""[..])
        } else {
            ("POST", &b"hello"[..])
        };
        let answer = wire::ask(
            menshen.http,
            method,
            "/x",
            &[("Authorization", &authorization)],
            body,
        );
        assert_eq!(answer.status, 502);
        assert_eq!(
            received.load(Ordering::Acquire) + also.load(Ordering::Acquire),
            n
        );
    }
}
