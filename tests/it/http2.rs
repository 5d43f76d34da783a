//! HTTP/2 of clients: the same gate, whatever the frames say, and bounds on what they can cost.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use tokio::runtime::Runtime;

use super::{
    backend::Backend,
    http2_frames::{CONTINUATION, DATA, GOAWAY, HEADERS, PING, RST_STREAM, frame},
    menshen::{Menshen, Setup},
    tls,
};

const RULES: &str = "[[rule]]\nname = \"open\"\npath = \"/open/**\"\naccess = \"public\"";

pub fn h2c(more: &str) -> String {
    format!("[server]\nlisten = [\"127.0.0.1:0\"]\nunready_grace = \"100ms\"\nh2c = true\n{more}")
}

/// An answer with all that belongs to it.
pub struct Whole {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub trailers: HeaderMap,
}

/// A client's connection, without TLS.
pub struct Http2 {
    pub runtime: Runtime,
    pub send: h2::client::SendRequest<Bytes>,
}

impl Http2 {
    pub fn connect(to: SocketAddr) -> Self {
        let runtime = runtime();
        let send = runtime.block_on(async {
            let stream = tokio::net::TcpStream::connect(to)
                .await
                .expect("a connection");
            let (send, connection) = h2::client::handshake(stream).await.expect("a handshake");
            tokio::spawn(connection);
            send
        });
        Self { runtime, send }
    }

    pub fn ask(&self, request: Request<()>, body: &'static [u8]) -> Result<Whole, h2::Error> {
        self.runtime.block_on(within(async {
            let mut send = self.send.clone().ready().await?;
            let (answer, mut stream) = send.send_request(request, body.is_empty())?;
            if !body.is_empty() {
                stream.send_data(body.into(), true)?;
            }
            whole(answer.await?).await
        }))
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime")
}

pub async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), work)
        .await
        .expect("an end in time")
}

pub async fn whole(answer: Response<h2::RecvStream>) -> Result<Whole, h2::Error> {
    let (head, mut incoming) = answer.into_parts();
    let mut body = Vec::new();
    while let Some(part) = incoming.data().await {
        let part = part?;
        incoming.flow_control().release_capacity(part.len())?;
        body.extend_from_slice(&part);
    }
    let trailers = incoming.trailers().await?.unwrap_or_default();
    Ok(Whole {
        status: head.status.as_u16(),
        headers: head.headers,
        body,
        trailers,
    })
}

pub fn request(method: &str, url: &str, fields: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).expect("a request")
}

#[test]
fn a_request_over_http2_is_decided_and_forwarded_as_any() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address)
        .with(&h2c(""))
        .with(RULES)
        .start();
    let client = Http2::connect(menshen.http);
    let forged = [
        ("x-user-id", "1"),
        ("x_user_id", "1"),
        ("x-forwarded-for", "6.6.6.6"),
        ("x-real-ip", "6.6.6.6"),
        ("x-auth-state", "authenticated"),
    ];
    let fields = [
        &forged[..],
        &[("cookie", "a=1"), ("cookie", "b=2"), ("te", "trailers")],
    ]
    .concat();
    let answer = client
        .ask(
            request("GET", "http://shop.example/open/x?q=1", &fields),
            b"",
        )
        .expect("an answer");
    assert_eq!((answer.status, &answer.body[..]), (200, &b"ok"[..]));
    let seen = backend.last();
    assert_eq!(seen.line, "GET /open/x?q=1 HTTP/1.1");
    for (name, expected) in [
        ("host", &["shop.example"][..]),
        ("cookie", &["a=1; b=2"]),
        ("x-user-id", &[]),
        ("x-forwarded-for", &["127.0.0.1"]),
        ("x-real-ip", &["127.0.0.1"]),
        ("x-forwarded-proto", &["http"]),
        ("x-forwarded-host", &["shop.example"]),
        ("x-auth-state", &["anonymous"]),
        ("te", &["trailers"]),
        ("transfer-encoding", &[]),
    ] {
        assert_eq!(seen.folded(name), expected, "{name}");
    }
    // The auth API, a refusal, and a token.
    let login = client
        .ask(
            request(
                "POST",
                "http://h/auth/wechat/login",
                &[("content-type", "application/json")],
            ),
            b"{\"code\": \"alice\"}",
        )
        .expect("an answer");
    assert_eq!(login.status, 200);
    let login: serde_json::Value = serde_json::from_slice(&login.body).expect("JSON");
    let refused = client
        .ask(request("GET", "http://h/closed", &[]), b"")
        .expect("an answer");
    assert_eq!(
        (
            refused.status,
            refused.headers["x-menshen-error"].as_bytes()
        ),
        (401, &b"token_missing"[..])
    );
    assert_eq!(refused.headers["www-authenticate"], "Bearer");
    let bearer = format!(
        "Bearer {}",
        login["access_token"].as_str().expect("a token")
    );
    let posted = client.ask(
        request("POST", "http://h/closed", &[("authorization", &bearer)]),
        b"a body",
    );
    assert_eq!(posted.expect("an answer").status, 200);
    let seen = backend.last();
    assert_eq!(
        (seen.body.clone(), seen.folded("x-auth-state")),
        (b"a body".to_vec(), vec!["authenticated".to_owned()])
    );
    assert_eq!(seen.head.matches("authorization").count(), 0);
    menshen.wait_for_metric(
        "menshen_requests_total{decision=\"forwarded\",rule=\"open\",status=\"2xx\"}",
        1.0,
    );
    // A client of HTTP/1.1 is served at the same address.
    assert_eq!(menshen.get("/open/x", &[]).status, 200);
}

#[test]
fn http2_without_tls_is_off_unless_the_config_says_so() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address).with(RULES).start();
    let mut raw = Raw::connect(menshen.http);
    raw.headers(
        1,
        &[
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/open/x"),
            (":authority", "h"),
        ],
        true,
    );
    assert!(raw.text().starts_with("HTTP/1.1 400 "), "{}", raw.text());
    assert!(backend.received().is_empty());
}

/// A connection on which each frame is written by hand.
pub struct Raw {
    pub stream: TcpStream,
    heard: Vec<u8>,
}

/// A frame as it came.
#[derive(Debug, Clone)]
pub struct Frame {
    pub kind: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Raw {
    pub fn connect(to: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(to).expect("a connection");
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("a socket option");
        stream
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
            .expect("a write");
        Self {
            stream,
            heard: Vec::new(),
        }
    }

    /// `false`: the other side has ended the connection.
    pub fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        self.stream
            .write_all(&frame(kind, flags, stream, payload))
            .is_ok()
    }

    pub fn headers(&mut self, stream: u32, fields: &[(&str, &str)], last: bool) -> bool {
        self.frame(HEADERS, if last { 5 } else { 4 }, stream, &block(fields))
    }

    /// The answer to a stream: its status, or what ended it.
    pub fn outcome(&mut self, stream: u32) -> Outcome {
        loop {
            let Some(frame) = self.next() else {
                return Outcome::Ended;
            };
            match frame.kind {
                HEADERS if frame.stream == stream => {
                    return Outcome::Status(status(&frame.payload));
                }
                RST_STREAM if frame.stream == stream => return Outcome::Reset,
                GOAWAY => return Outcome::Ended,
                _ => {}
            }
        }
    }

    pub fn next(&mut self) -> Option<Frame> {
        loop {
            if let [a, b, c, kind, _flags, s, t, u, v, rest @ ..] = &self.heard[..] {
                let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
                if rest.len() >= length {
                    let stream = u32::from_be_bytes([*s & 0x7f, *t, *u, *v]);
                    let frame = Frame {
                        kind: *kind,
                        stream,
                        payload: rest[..length].to_vec(),
                    };
                    self.heard.drain(..9 + length);
                    return Some(frame);
                }
            }
            let mut part = [0; 4096];
            match self.stream.read(&mut part) {
                Ok(0) => return None,
                Ok(read) => self.heard.extend_from_slice(&part[..read]),
                Err(fault) if fault.kind() == ErrorKind::ConnectionReset => return None,
                Err(fault) => panic!("no frame and no end: {fault}"),
            }
        }
    }

    /// Waits until the other side has heard all that was said. `false`: it has ended the
    /// connection.
    pub fn ping(&mut self) -> bool {
        if !self.frame(PING, 0, 0, b"anything") {
            return false;
        }
        loop {
            match self.next() {
                Some(Frame { kind: PING, .. }) => return true,
                Some(Frame { kind: GOAWAY, .. }) | None => return false,
                Some(_) => {}
            }
        }
    }

    /// The same on a connection that has been told to end.
    pub fn ping_through_goaway(&mut self) -> bool {
        self.frame(PING, 0, 0, b"anything")
            && std::iter::from_fn(|| self.next()).any(|frame| frame.kind == PING)
    }

    /// All that is said until the end.
    fn text(&mut self) -> String {
        drop(self.stream.read_to_end(&mut self.heard));
        String::from_utf8_lossy(&self.heard).into_owned()
    }
}

#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    Status(u16),
    Reset,
    Ended,
}

/// A header block of literals that are not indexed (RFC 7541 section 6.2.2).
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    let text = |out: &mut Vec<u8>, text: &str| {
        let mut rest = text.len();
        if rest < 127 {
            out.push(u8::try_from(rest).expect("short"));
        } else {
            out.push(127);
            rest -= 127;
            while rest >= 128 {
                out.push(u8::try_from(rest % 128).expect("short") | 128);
                rest /= 128;
            }
            out.push(u8::try_from(rest).expect("short"));
        }
        out.extend_from_slice(text.as_bytes());
    };
    for (name, value) in fields {
        out.push(0);
        text(&mut out, name);
        text(&mut out, value);
    }
    out
}

/// `:status` is the first field of an answer's block, and comes by its index or as digits (RFC 7541
/// appendix A).
fn status(block: &[u8]) -> u16 {
    match block {
        [0x88, ..] => 200,
        [0x8c, ..] => 400,
        [0x8d, ..] => 404,
        // A literal value for the name of index 8; Huffman codes of digits are not worth a table.
        _ => 0,
    }
}

pub const PLAIN: [(&str, &str); 4] = [
    (":method", "GET"),
    (":scheme", "http"),
    (":path", "/open/x"),
    (":authority", "shop.example"),
];

/// A good request but for one field.
fn but(name: &'static str, value: &'static str) -> Vec<(&'static str, &'static str)> {
    PLAIN
        .iter()
        .map(|&(known, said)| {
            if known == name {
                (name, value)
            } else {
                (known, said)
            }
        })
        .collect()
}

/// A good request and one more field.
fn and(name: &'static str, value: &'static str) -> Vec<(&'static str, &'static str)> {
    [&PLAIN[..], &[(name, value)]].concat()
}

#[test]
fn what_has_no_single_reading_never_reaches_the_backend() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address)
        .with(&h2c(""))
        .with(RULES)
        .start();
    let without = |name: &str| {
        PLAIN
            .into_iter()
            .filter(|(known, _)| *known != name)
            .collect::<Vec<_>>()
    };
    let attacks = [
        // Paths.
        but(":path", "/open/../closed"),
        but(":path", "/open/%2e%2e/closed"),
        but(":path", "/open//closed"),
        but(":path", "//closed"),
        but(":path", "/open/a;b"),
        but(":path", "/open/a\\b"),
        but(":path", "/open/a%2fb"),
        but(":path", "http://other/open/x"),
        but(":path", "/open/x HTTP/1.1\r\nx-user-id: 1\r\n"),
        but(":path", "/open/x\0"),
        but(":path", "open/x"),
        but(":path", "*"),
        but(":path", ""),
        // Methods.
        but(":method", "CONNECT"),
        but(":method", "TRACE"),
        but(":method", "get"),
        but(":method", "GET /closed HTTP/1.1\r\n"),
        but(":method", ""),
        // Schemes and authorities.
        but(":scheme", "ftp"),
        but(":scheme", "http://other/closed?"),
        but(":authority", "a@shop.example"),
        but(":authority", "shop.example/closed"),
        but(":authority", "shop.example, other"),
        but(":authority", "shop.example\r\nx-user-id: 1"),
        but(":authority", ""),
        and("host", "other.example"),
        and("host", "SHOP.example"),
        [and("host", "shop.example"), vec![("host", "shop.example")]].concat(),
        // Pseudo-header fields: missing, twice, unknown, late, of answers.
        without(":method"),
        without(":path"),
        without(":scheme"),
        without(":authority"),
        and(":path", "/closed"),
        and(":method", "POST"),
        and(":authority", "other"),
        and(":protocol", "websocket"),
        and(":status", "200"),
        and(":unknown", "x"),
        [vec![("x", "y")], PLAIN.to_vec()].concat(),
        // Fields of HTTP/1.1 connections, and bytes that end lines.
        and("connection", "x-user-id"),
        and("transfer-encoding", "chunked"),
        and("upgrade", "websocket"),
        and("keep-alive", "1"),
        and("proxy-connection", "close"),
        and("te", "gzip"),
        and("X-Upper", "1"),
        and("x\r\nx-user-id", "1"),
        and("x", "1\r\nx-user-id: 1"),
        and("x", "1\nx-user-id: 1"),
        and("x", "1\0"),
        and("x", " 1"),
        and("x", "1\t"),
        and("", "1"),
        and("x y", "1"),
        and("x:", "1"),
        // Lengths.
        and("content-length", "5"),
        and("content-length", "+0"),
        and("content-length", "00"),
        and("content-length", ""),
        [and("content-length", "0"), vec![("content-length", "1")]].concat(),
        and("expect", "something"),
    ];
    assert!(attacks.len() > 55, "{}", attacks.len());
    for fields in attacks {
        let mut raw = Raw::connect(menshen.http);
        raw.headers(1, &fields, true);
        let outcome = raw.outcome(1);
        // 405 and 417 are not in the table of statuses.
        assert!(
            matches!(
                outcome,
                Outcome::Status(400 | 0) | Outcome::Reset | Outcome::Ended
            ),
            "{fields:?}: {outcome:?}"
        );
        assert!(
            backend.received().is_empty(),
            "{fields:?}: {:?}",
            backend.received()
        );
    }
    let mut raw = Raw::connect(menshen.http);
    raw.headers(1, &PLAIN, true);
    assert_eq!(raw.outcome(1), Outcome::Status(200), "the plain one passes");
}

/// RFC 9110 section 15.5.6.
#[test]
fn a_405_names_the_methods_that_are_taken_over_http2_too() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address)
        .with(&h2c(""))
        .with(RULES)
        .start();
    let client = Http2::connect(menshen.http);
    let passed_on = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
    for (method, url, allow) in [
        ("TRACE", "http://shop.example/open/x", passed_on),
        ("TRACK", "http://shop.example/open/x", passed_on),
        (
            "TRACE",
            "http://shop.example/auth/me",
            "GET, HEAD, PATCH, DELETE",
        ),
        ("PUT", "http://shop.example/auth/wechat/login", "POST"),
        ("CONNECT", "shop.example:443", passed_on),
    ] {
        let answer = client
            .ask(request(method, url, &[]), b"")
            .expect("an answer");
        let header = |name: &str| {
            answer
                .headers
                .get(name)
                .map(|value| value.to_str().expect("text"))
        };
        assert_eq!(
            (answer.status, header("x-menshen-error")),
            (405, Some("method_not_allowed")),
            "{method} {url}"
        );
        assert_eq!(
            header("allow").map(|allow| allow.replace(',', ", ").replace("  ", " ")),
            Some(allow.to_owned()),
            "{method} {url}"
        );
    }
    assert!(backend.received().is_empty());
}

#[test]
fn a_refusal_over_http2_keeps_the_request_id_of_a_trusted_proxy() {
    let backend = Backend::start();
    for (trusted, keeps) in [("trusted_proxies = [\"127.0.0.0/8\"]", true), ("", false)] {
        let menshen = Setup::before(backend.address)
            .with(&h2c(trusted))
            .with(RULES)
            .start();
        let client = Http2::connect(menshen.http);
        for (why, path, field, status) in [
            ("a token is missing", "/x", ("x-app", "1"), 401),
            ("an ambiguous path", "/a//b", ("x-app", "1"), 400),
            (
                "a head that HTTP/1.1 could not say",
                "/open/x",
                ("x-app", " 1"),
                400,
            ),
            ("an expectation", "/open/x", ("expect", "something"), 400),
        ] {
            let url = format!("http://shop.example{path}");
            let answer = client
                .ask(
                    request("GET", &url, &[field, ("x-request-id", "proxy-1")]),
                    b"",
                )
                .expect("an answer");
            assert_eq!(answer.status, status, "{why}");
            assert_eq!(
                answer.headers["x-request-id"] == "proxy-1",
                keeps,
                "{why}: {:?}",
                answer.headers
            );
        }
    }
}

#[test]
fn trailers_of_a_client_go_nowhere() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address)
        .with(&h2c(""))
        .with(RULES)
        .start();
    let mut raw = Raw::connect(menshen.http);
    let mut post = PLAIN;
    post[0].1 = "POST";
    raw.headers(1, &post, false);
    raw.frame(DATA, 0, 1, b"body");
    raw.headers(1, &[("x-user-id", "1"), ("x-other", "1")], true);
    assert_eq!(raw.outcome(1), Outcome::Status(200));
    let seen = backend.last();
    assert_eq!(seen.body, b"body");
    assert!(
        seen.folded("x-user-id").is_empty() && seen.folded("x-other").is_empty(),
        "{}",
        seen.head
    );
    // Nor do they stand in for a head.
    raw.headers(3, &post, false);
    raw.headers(3, &[(":path", "/closed"), ("x", "y")], true);
    assert_ne!(raw.outcome(3), Outcome::Ended, "of this stream alone");
    let seen = backend.last();
    assert_eq!(
        (seen.line.as_str(), seen.folded("x")),
        ("POST /open/x HTTP/1.1", vec![])
    );
}

/// Resident memory of a process, in bytes.
fn memory(menshen: &Menshen) -> u64 {
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", menshen.pid())).expect("a process");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .expect("a line");
    line.trim()
        .trim_end_matches(" kB")
        .parse::<u64>()
        .expect("a number")
        * 1024
}

/// What it is called, and how its next frame is sent: `false` when nobody takes it any more.
type Flood<'a> = (&'a str, Box<dyn Fn(&mut Raw, u32) -> bool + 'a>);

#[test]
fn floods_of_frames_end_their_connection_and_nobody_elses() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address)
        .with(&h2c(""))
        .with(RULES)
        .start();
    let honest = Http2::connect(menshen.http);
    let still_served = || {
        let answer = honest
            .ask(request("GET", "http://h/open/x", &[]), b"")
            .expect("an answer");
        assert_eq!(answer.status, 200);
    };
    still_served();
    let before = memory(&menshen);
    let big = "x".repeat(8000);
    let floods: [Flood<'_>; 5] = [
        // CVE-2023-44487.
        (
            "rapid reset",
            Box::new(|raw, n| {
                raw.headers(2 * n + 1, &PLAIN, true)
                    && raw.frame(RST_STREAM, 0, 2 * n + 1, &[0, 0, 0, 8])
            }),
        ),
        // VU#421644: a head that never ends.
        (
            "continuation",
            Box::new(|raw, n| {
                if n == 0 {
                    raw.frame(HEADERS, 1, 1, &block(&PLAIN))
                } else {
                    raw.frame(CONTINUATION, 0, 1, &block(&[("x", &big)]))
                }
            }),
        ),
        (
            "malformed",
            Box::new(|raw, n| raw.headers(2 * n + 1, &and("host", "other"), true)),
        ),
        ("settings", Box::new(|raw, _| raw.frame(4, 0, 0, &[]))),
        (
            "headers",
            Box::new(|raw, n| {
                raw.headers(
                    2 * n + 1,
                    &[&PLAIN[..], &[("x", &big), ("y", &big), ("z", &big)]].concat(),
                    true,
                )
            }),
        ),
    ];
    for (name, flood) in floods {
        let mut raw = Raw::connect(menshen.http);
        raw.stream
            .set_write_timeout(Some(Duration::from_secs(10)))
            .expect("a socket option");
        let end = Instant::now() + Duration::from_secs(15);
        let mut n = 0;
        // Some end at once; of acknowledgements and refusals nobody reads, what has to be sent
        // stops the connection.
        while flood(&mut raw, n) && n < 200_000 && Instant::now() < end {
            n += 1;
        }
        still_served();
        assert!(n < 200_000 || name == "settings", "{name}: {n} were taken");
    }
    let grown = memory(&menshen).saturating_sub(before);
    assert!(grown < 64 * 1024 * 1024, "grew by {grown} bytes");
    assert!(
        backend
            .received()
            .iter()
            .all(|seen| seen.folded("x").is_empty())
    );
}

#[test]
fn a_connection_takes_no_more_streams_than_the_config_says() {
    let (release, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let backend = Backend::answering(move |_, stream| {
        wait.lock()
            .expect("a lock")
            .recv_timeout(Duration::from_secs(20))
            .expect("a word");
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .is_ok()
    });
    let menshen = Setup::before(backend.address)
        .with(&h2c("http2_streams = 2"))
        .with(RULES)
        .start();
    let mut raw = Raw::connect(menshen.http);
    for stream in [1, 3, 5] {
        raw.headers(stream, &PLAIN, true);
    }
    assert_eq!(raw.outcome(5), Outcome::Reset);
    for _ in 0..2 {
        release.send(()).expect("a backend");
    }
    assert_eq!(raw.outcome(1), Outcome::Status(200));
    drop(release);
}

#[test]
fn a_long_upload_passes_in_constant_memory_and_waits_for_the_backend() {
    const PART: usize = 64 * 1024;
    const PARTS: usize = 2048;
    let received = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = received.clone();
    // Reads slowly, in its own time.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let reading = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut part = vec![0; PART];
        let mut tail = Vec::new();
        while !tail.ends_with(b"0\r\n\r\n") {
            let read = stream.read(&mut part).expect("a part");
            assert!(read > 0, "the upload broke off");
            counted.fetch_add(read, std::sync::atomic::Ordering::Relaxed);
            tail.extend_from_slice(&part[..read]);
            tail.drain(..tail.len().saturating_sub(8));
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .expect("an answer");
    });
    let menshen = Setup::before(address).with(&h2c("")).with(RULES).start();
    let client = Http2::connect(menshen.http);
    let before = memory(&menshen);
    let mut most = 0;
    let status = client.runtime.block_on(async {
        let mut send = client.send.clone().ready().await.expect("a connection");
        let (answer, mut stream) = send
            .send_request(request("POST", "http://h/open/x", &[]), false)
            .expect("a stream");
        for n in 0..PARTS {
            stream.reserve_capacity(PART);
            let mut left = PART;
            while left > 0 {
                let given = within(std::future::poll_fn(|cx| stream.poll_capacity(cx))).await;
                let now = given.expect("a stream").expect("capacity").min(left);
                stream
                    .send_data(vec![b'x'; now].into(), false)
                    .expect("a stream");
                left -= now;
            }
            if n % 64 == 0 {
                most = most.max(memory(&menshen).saturating_sub(before));
            }
        }
        stream.send_data(Bytes::new(), true).expect("a stream");
        within(answer).await.expect("an answer").status().as_u16()
    });
    assert_eq!(status, 200);
    reading.join().expect("the whole upload");
    assert!(received.load(std::sync::atomic::Ordering::Relaxed) > PART * PARTS);
    assert!(
        most < 32 * 1024 * 1024,
        "grew by {most} bytes for {} bytes of upload",
        PART * PARTS
    );
}

#[test]
fn a_stop_loses_no_request_of_an_open_connection() {
    let backend = Backend::answering(|_, stream| {
        std::thread::sleep(Duration::from_millis(300));
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .is_ok()
    });
    let mut menshen = Setup::before(backend.address)
        .with(&h2c("drain_timeout = \"10s\""))
        .with(RULES)
        .start();
    let client = Http2::connect(menshen.http);
    let answers = client.runtime.block_on(async {
        let mut send = client.send.clone().ready().await.expect("a connection");
        let (first, _) = send
            .send_request(request("GET", "http://h/open/1", &[]), true)
            .expect("a stream");
        menshen.wait_for_metric("menshen_requests_in_flight", 1.0);
        menshen.signal(rustix::process::Signal::TERM);
        let first = within(first).await.expect("an answer");
        whole(first).await.expect("a whole answer").body
    });
    assert_eq!(answers, b"ok");
    assert_eq!(menshen.wait().code(), Some(0));
    // Told by GOAWAY, the client knows that the connection takes nothing more.
    let again = client.runtime.block_on(within(client.send.clone().ready()));
    assert!(again.is_err());
}

#[test]
fn a_connection_ends_after_its_requests_and_after_silence() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address)
        .with(&h2c(
            "keepalive_requests = 3\nkeepalive_timeout = \"300ms\"",
        ))
        .with(RULES)
        .start();
    let client = Http2::connect(menshen.http);
    for _ in 0..3 {
        assert_eq!(
            client
                .ask(request("GET", "http://h/open/x", &[]), b"")
                .expect("an answer")
                .status,
            200
        );
    }
    assert!(client.runtime.block_on(within(async {
        loop {
            if client.send.clone().ready().await.is_err() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })));
    let mut raw = Raw::connect(menshen.http);
    raw.headers(1, &PLAIN, true);
    assert_eq!(raw.outcome(1), Outcome::Status(200));
    while let Some(frame) = raw.next() {
        if frame.kind == GOAWAY {
            return;
        }
    }
    panic!("no GOAWAY");
}

#[test]
fn http2_over_tls_is_told_to_the_backend_and_may_be_off() {
    let backend = Backend::start();
    for (http2, expected) in [(true, Some(&b"h2"[..])), (false, None)] {
        let menshen = tls::setup(backend.address)
            .with(&tls::server(&format!("http2 = {http2}"), ""))
            .start();
        let mut config = tls::client_config(menshen.directory(), None);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let runtime = runtime();
        runtime.block_on(within(async {
            let tcp = tokio::net::TcpStream::connect(tls::address(&menshen))
                .await
                .expect("a connection");
            let name = rustls::pki_types::ServerName::try_from("localhost").expect("a name");
            let stream = tokio_rustls::TlsConnector::from(Arc::new(config))
                .connect(name, tcp)
                .await
                .expect("a handshake");
            let chosen = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
            assert_eq!(chosen.as_deref() == Some(b"h2"), expected.is_some());
            if http2 {
                let (send, connection) = h2::client::handshake(stream).await.expect("a handshake");
                tokio::spawn(connection);
                let mut send = send.ready().await.expect("a connection");
                let (answer, _) = send
                    .send_request(request("GET", "https://h/x", &[]), true)
                    .expect("a stream");
                assert_eq!(answer.await.expect("an answer").status(), 200);
                assert_eq!(backend.last().folded("x-forwarded-proto"), ["https"]);
            }
        }));
    }
}

#[test]
fn who_gives_up_request_after_request_that_a_backend_works_on_loses_the_connection() {
    let (arrived, waits) = std::sync::mpsc::channel::<()>();
    let busy = Arc::new(std::sync::RwLock::new(()));
    let held = busy.clone();
    let backend = Backend::answering(move |_, _| {
        arrived.send(()).unwrap_or_default();
        drop(held.read());
        false
    });
    let menshen = Setup::before(backend.address)
        .with(&h2c(""))
        .with(RULES)
        .start();
    let work = busy.write().expect("a lock");
    let mut raw = Raw::connect(menshen.http);
    let mut given_up = 0;
    while given_up < 300
        && raw.headers(2 * given_up + 1, &PLAIN, true)
        && waits.recv_timeout(Duration::from_secs(3)).is_ok()
    {
        raw.frame(RST_STREAM, 0, 2 * given_up + 1, &[0, 0, 0, 8]);
        given_up += 1;
    }
    assert!((100..300).contains(&given_up), "{given_up} were taken");
    assert_eq!(raw.outcome(999), Outcome::Ended);
    drop(work);
}

#[test]
fn a_body_that_never_comes_is_not_waited_for() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address)
        .with(&h2c("body_timeout = \"1s\""))
        .with(RULES)
        .start();
    let mut raw = Raw::connect(menshen.http);
    let mut fields = PLAIN.to_vec();
    for field in &mut fields {
        if field.0 == ":method" {
            field.1 = "POST";
        }
    }
    raw.headers(1, &fields, false);
    assert_eq!(raw.outcome(1), Outcome::Status(400));
}

#[test]
fn who_gives_up_login_after_login_loses_the_connection_too() {
    let (arrived, waits) = std::sync::mpsc::channel::<()>();
    let (go, may_go) = std::sync::mpsc::channel::<()>();
    let may_go = std::sync::Mutex::new(may_go);
    // A new user waits until the backend has said its id.
    let hooks = Backend::answering(move |request, stream| {
        if request.folded("x-menshen-event") == ["user.created"] {
            arrived.send(()).unwrap_or_default();
            may_go.lock().expect("a lock").recv().unwrap_or_default();
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            .is_ok()
    });
    let section = format!(
        "[hooks]\nurl = \"http://{}/hooks\"\nsecret = \"0123456789abcdef0123456789abcdef\"\ntimeout = \"30s\"",
        hooks.address
    );
    let menshen = Setup::before(hooks.address)
        .with(&h2c(""))
        .with(&section)
        .start();
    let mut raw = Raw::connect(menshen.http);
    let login = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/auth/wechat/login"),
        (":authority", "h"),
        ("content-type", "application/json"),
    ];
    let mut given_up = 0;
    while given_up < 300 {
        let stream = 2 * given_up + 1;
        let body = format!("{{\"code\": \"user-{given_up}\"}}");
        if !raw.headers(stream, &login, false) || !raw.frame(DATA, 1, stream, body.as_bytes()) {
            break;
        }
        if waits.recv_timeout(Duration::from_secs(3)).is_err() {
            break;
        }
        raw.frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]);
        given_up += 1;
        // It has been heard before the login ends.
        if !raw.ping() {
            break;
        }
        go.send(()).expect("a backend");
    }
    drop(go);
    assert!((100..300).contains(&given_up), "{given_up} were taken");
    assert!((menshen.metric("menshen_http2_connections_cut_total") - 1.0).abs() < 0.1);
}

/// A backend that reads heads, and says this to each at once or never anything; it reads no body.
fn reading_heads(answer: Option<&'static str>) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            std::thread::spawn(move || {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    if !stream.read(&mut byte).is_ok_and(|n| n > 0) {
                        return;
                    }
                    head.push(byte[0]);
                }
                answer
                    .map_or(Ok(()), |answer| stream.write_all(answer.as_bytes()))
                    .expect("sent");
                // Until the other side ends it.
                while stream.read(&mut [0; 1024]).is_ok_and(|n| n > 0) {}
            });
        }
    });
    address
}

/// A request whose body never comes.
fn unfinished() -> Vec<(&'static str, &'static str)> {
    but(":method", "POST")
}

#[test]
fn a_body_that_never_comes_is_waited_for_only_a_little_after_the_answer() {
    let address = reading_heads(Some("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
    let menshen = Setup::before(address)
        .with(&h2c("body_timeout = \"1h\""))
        .with(RULES)
        .start();
    let mut raw = Raw::connect(menshen.http);
    raw.headers(1, &unfinished(), false);
    assert_eq!(raw.outcome(1), Outcome::Status(200));
    let begun = Instant::now();
    assert_eq!(raw.outcome(1), Outcome::Reset, "the rest is not wanted");
    let took = begun.elapsed();
    assert!(
        (Duration::from_secs(1)..Duration::from_secs(15)).contains(&took),
        "after {took:?}"
    );
    // It is a whole answer of the backend, and nobody's fault.
    menshen.wait_for_metric(
        "menshen_requests_total{decision=\"forwarded\",rule=\"open\",status=\"2xx\"}",
        1.0,
    );
    let metrics = menshen.metrics();
    let blamed = metrics
        .lines()
        .filter(|line| line.starts_with("menshen_upstream_errors_total{"));
    assert!(
        blamed.clone().count() > 5 && blamed.clone().all(|line| line.ends_with(" 0")),
        "{metrics}"
    );
    // The connection serves on.
    raw.headers(3, &unfinished(), false);
    assert_eq!(raw.outcome(3), Outcome::Status(200));
}

#[test]
fn a_backend_is_not_blamed_for_a_body_that_its_client_never_sends() {
    let address = reading_heads(None);
    let upstream = format!("[upstream]\nurls = [\"http://{address}\"]\nread_timeout = \"100ms\"");
    let menshen = Setup::before(address)
        .with(&h2c("body_timeout = \"1h\""))
        .with(&upstream)
        .with(RULES)
        .start();
    let mut raw = Raw::connect(menshen.http);
    // More than the failures for which a backend is passed over.
    for n in 0..8 {
        raw.headers(2 * n + 1, &unfinished(), false);
        assert_eq!(raw.outcome(2 * n + 1), Outcome::Status(400), "{n}");
    }
    menshen.wait_for_metric("menshen_upstream_errors_total{kind=\"client_slow\"}", 8.0);
    let metrics = menshen.metrics();
    assert!(
        metrics.contains("menshen_upstream_errors_total{kind=\"timeout\"} 0\n"),
        "{metrics}"
    );
    assert!(
        metrics.contains(&format!(
            "menshen_upstream_healthy{{upstream=\"{address}\"}} 1"
        )),
        "{metrics}"
    );
    // The same silence to a request without a body is the backend's own.
    for n in 8..16 {
        raw.headers(2 * n + 1, &PLAIN, true);
        assert!(matches!(raw.outcome(2 * n + 1), Outcome::Status(_)), "{n}");
    }
    menshen.wait_for_metric("menshen_upstream_errors_total{kind=\"timeout\"}", 8.0);
    menshen.wait_for_metric(
        &format!("menshen_upstream_ejections_total{{upstream=\"{address}\"}}"),
        1.0,
    );
}

#[test]
fn pages_of_listed_origins_are_told_the_same_over_http2() {
    let backend = Backend::start();
    let cors = "[cors]\nallowed_origins = [\"https://shop.example\"]\n[[rule]]\nname = \"pages\"\npath = \"/api/**\"\ncors = true";
    let menshen = Setup::before(backend.address)
        .with(&h2c(""))
        .with(cors)
        .start();
    let client = Http2::connect(menshen.http);
    let asked = [
        ("access-control-request-method", "PUT"),
        ("access-control-request-headers", "authorization"),
    ];
    for path in ["/api/orders", "/auth/me"] {
        for (origin, allowed) in [
            ("https://shop.example", true),
            ("https://evil.example", false),
            ("null", false),
        ] {
            let fields = [&asked[..], &[("origin", origin)]].concat();
            let preflight = client
                .ask(request("OPTIONS", &format!("http://h{path}"), &fields), b"")
                .expect("an answer");
            assert_eq!(
                (preflight.status, preflight.body.len()),
                (204, 0),
                "{path} {origin}"
            );
            let told = |name: &str| {
                preflight
                    .headers
                    .get(name)
                    .map(|value| value.to_str().expect("text"))
            };
            assert_eq!(
                told("access-control-allow-origin"),
                allowed.then_some(origin),
                "{path} {origin}"
            );
            assert_eq!(
                told("access-control-allow-methods").is_some(),
                allowed,
                "{path} {origin}"
            );
            assert_eq!(told("vary"), Some("Origin"), "{path} {origin}");
            // And the refusals of the gate and of the auth API.
            let refused = client.ask(
                request("GET", &format!("http://h{path}"), &[("origin", origin)]),
                b"",
            );
            let refused = refused.expect("an answer");
            assert_eq!(
                (
                    refused.status,
                    refused.headers["x-menshen-error"].as_bytes()
                ),
                (401, &b"token_missing"[..])
            );
            let told = refused
                .headers
                .get("access-control-allow-origin")
                .map(|value| value.to_str().expect("text"));
            assert_eq!(told, allowed.then_some(origin), "{path} {origin}");
        }
    }
    assert!(backend.received().is_empty());
    menshen.wait_for_metric(
        r#"menshen_requests_total{decision="preflight",rule="pages",status="2xx"}"#,
        3.0,
    );
}

#[test]
fn a_gate_that_only_reports_forwards_over_http2_what_it_would_refuse() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address)
        .with(&h2c(""))
        .with("[gate]\nreport_only = true")
        .with(RULES)
        .start();
    let client = Http2::connect(menshen.http);
    let forged = [
        ("x-user-id", "1"),
        ("x-auth-state", "authenticated"),
        ("authorization", "Bearer legacy"),
    ];
    for (path, rule, code) in [
        ("/closed", "default", "token_invalid"),
        ("/open/../closed", "none", "path_ambiguous"),
        ("/a%2fb;c", "none", "path_ambiguous"),
    ] {
        for (method, body) in [("GET", &b""[..]), ("POST", b"body")] {
            let answer = client
                .ask(request(method, &format!("http://h{path}"), &forged), body)
                .expect("an answer");
            assert_eq!(
                (answer.status, answer.headers.get("x-menshen-error")),
                (200, None),
                "{method} {path}"
            );
            let seen = backend.last();
            assert_eq!(
                (seen.line.as_str(), &seen.body[..]),
                (format!("{method} {path} HTTP/1.1").as_str(), body),
                "as it came"
            );
            assert_eq!(seen.folded("x-user-id"), Vec::<String>::new(), "{path}");
            assert_eq!(seen.folded("x-auth-state"), ["anonymous"], "{path}");
            assert_eq!(seen.folded("authorization"), ["Bearer legacy"], "{path}");
        }
        let series =
            format!(r#"menshen_report_only_total{{backend="2xx",code="{code}",rule="{rule}"}}"#);
        menshen.wait_for_metric(&series, 2.0);
    }
    // What HTTP/1.1 would say otherwise is refused all the same.
    let seen = backend.received().len();
    let mut raw = Raw::connect(menshen.http);
    raw.headers(1, &and("te", "gzip"), true);
    assert!(matches!(
        raw.outcome(1),
        Outcome::Status(400) | Outcome::Reset
    ));
    assert_eq!(backend.received().len(), seen);
}
