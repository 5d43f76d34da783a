//! HTTP/2 of clients: the same gate, whatever the frames say.

use std::{io::Write, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use tokio::runtime::Runtime;

use super::{
    backend::Backend,
    http2_frames::DATA,
    menshen::Setup,
    raw_http2::{Outcome, PLAIN, Raw, and, but},
    tls,
};

pub(super) const RULES: &str =
    "[[rule]]\nname = \"open\"\npath = \"/open/**\"\naccess = \"public\"";

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

/// A good request but for a field that is missing.
fn without(name: &str) -> Vec<(&'static str, &'static str)> {
    PLAIN
        .into_iter()
        .filter(|(known, _)| *known != name)
        .collect()
}

fn heads_without_a_single_reading() -> Vec<Vec<(&'static str, &'static str)>> {
    vec![
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
    ]
}

#[test]
fn what_has_no_single_reading_never_reaches_the_backend() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address)
        .with(&h2c(""))
        .with(RULES)
        .start();
    let attacks = heads_without_a_single_reading();
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
            "GET, HEAD, POST, PATCH, DELETE",
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
