//! What passes the gate, and how: rules, refusals, failures of the backend.

use std::io::{Read, Write};

use super::{
    backend::Backend,
    menshen::Setup,
    wire::{self, Client},
};

pub(super) const RULES: &str = r#"
[[rule]]
name = "health"
path = "/health"
methods = ["GET"]
access = "public"
[[rule]]
name = "feed"
path = "/feed/**"
access = "optional"
[[rule]]
name = "back-office"
path = "/admin/**"
user_types = ["admin"]
[[rule]]
name = "hidden"
path = "/internal/**"
access = "deny"
"#;

/// Method, path, `Authorization`; status and wire code.
type Case<'a> = (&'a str, &'a str, Option<&'a str>, u16, Option<&'a str>);

#[test]
fn rules_decide_by_path_method_and_kind_of_user() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address).with(RULES).start();
    let user = format!("Bearer {}", menshen.token("alice"));
    let admin = format!("Bearer {}", menshen.token("admin-1"));
    let (user, admin) = (Some(user.as_str()), Some(admin.as_str()));
    let broken = Some("Bearer a.b.c");
    let cases: [Case<'_>; 19] = [
        ("GET", "/health", None, 200, None),
        ("GET", "/health?x=1", None, 200, None),
        ("GET", "/health", broken, 200, None),
        ("POST", "/health", None, 401, Some("token_missing")),
        ("HEAD", "/health", None, 401, Some("token_missing")),
        ("GET", "/health/", None, 401, Some("token_missing")),
        ("GET", "/Health", None, 401, Some("token_missing")),
        ("GET", "/feed", None, 200, None),
        ("GET", "/feed/1/2", None, 200, None),
        ("GET", "/feed/1", user, 200, None),
        ("GET", "/feed/1", broken, 401, Some("token_invalid")),
        ("GET", "/feedback", None, 401, Some("token_missing")),
        ("GET", "/admin", user, 403, Some("forbidden")),
        ("GET", "/admin/x", user, 403, Some("forbidden")),
        ("GET", "/admin/x", admin, 200, None),
        ("GET", "/administer", user, 200, None),
        ("GET", "/internal/x", admin, 403, Some("forbidden")),
        ("GET", "/", user, 200, None),
        ("GET", "/", None, 401, Some("token_missing")),
    ];
    for (method, path, token, status, code) in cases {
        let headers: Vec<_> = token
            .iter()
            .map(|token| ("Authorization", *token))
            .collect();
        let before = backend.received().len();
        let answer = wire::ask(menshen.http, method, path, &headers, b"");
        assert_eq!(
            (answer.status, answer.error()),
            (status, code),
            "{method} {path} {token:?}"
        );
        assert_eq!(
            backend.received().len() - before,
            usize::from(status == 200),
            "{method} {path} {token:?}"
        );
    }
}

#[test]
fn an_anonymous_request_after_an_authenticated_one_is_anonymous() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address).with(RULES).start();
    let token = format!("Bearer {}", menshen.token("alice"));
    let mut client = Client::connect(menshen.http);
    client.send(wire::request(
        "GET",
        "/feed/1",
        &[("Authorization", &token)],
        b"",
    ));
    client.receive().expect("an answer");
    assert_eq!(backend.last().folded("x-user-id").len(), 1);
    client.send(wire::request("GET", "/feed/2", &[], b""));
    client.receive().expect("an answer on the same connection");
    let seen = backend.last();
    assert_eq!(seen.line, "GET /feed/2 HTTP/1.1");
    assert_eq!(
        (seen.folded("x-user-id").len(), seen.folded("x-auth-state")),
        (0, vec!["anonymous".to_owned()])
    );
}

#[test]
fn head_does_not_dodge_a_rule_for_get() {
    let backend = Backend::start();
    let rules = "[[rule]]\nname = \"reports\"\npath = \"/reports/**\"\nmethods = [\"GET\"]\nuser_types = [\"admin\"]\n\
                 [[rule]]\nname = \"open\"\npath = \"/open\"\nmethods = [\"GET\"]\naccess = \"public\"\n";
    let menshen = Setup::before(backend.address).with(rules).start();
    let user = format!("Bearer {}", menshen.token("alice"));
    for (method, path, status) in [
        ("GET", "/reports/1", 403),
        ("HEAD", "/reports/1", 403),
        ("GET", "/open", 200),
    ] {
        let answer = wire::ask(menshen.http, method, path, &[("Authorization", &user)], b"");
        assert_eq!(answer.status, status, "{method} {path}");
    }
    // It closes HEAD, it does not open it.
    assert_eq!(
        wire::ask(menshen.http, "HEAD", "/open", &[], b"").status,
        401
    );
}

#[test]
fn a_backend_that_is_down_slow_or_broken_is_told_apart() {
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("an address")
    };
    let silent = Backend::answering(|_, stream| {
        let mut waste = [0; 1];
        stream.read(&mut waste).is_ok_and(|n| n > 0)
    });
    let closing = Backend::answering(|_, _| false);
    let garbage =
        Backend::answering(|_, stream| stream.write_all(b"no HTTP at all\r\n\r\n").is_err());
    for (name, address, status, code, kind) in [
        ("down", gone, 502, "upstream_unavailable", "connect"),
        ("slow", silent.address, 504, "upstream_timeout", "timeout"),
        (
            "closing",
            closing.address,
            502,
            "upstream_unavailable",
            "closed_early",
        ),
        (
            "garbage",
            garbage.address,
            502,
            "upstream_unavailable",
            "invalid_answer",
        ),
    ] {
        let section =
            format!("[upstream]\nurls = [\"http://{address}\"]\nread_timeout = \"300ms\"");
        let menshen = Setup::before(address).with(&section).start();
        let token = format!("Bearer {}", menshen.token("alice"));
        let answer = wire::ask(
            menshen.http,
            "POST",
            "/x",
            &[("Authorization", &token)],
            b"once",
        );
        assert_eq!(
            (answer.status, answer.error()),
            (status, Some(code)),
            "{name}"
        );
        assert_eq!(answer.json()["code"], code, "{name}");
        assert!(
            menshen.metric(&format!("menshen_upstream_errors_total{{kind=\"{kind}\"}}")) >= 1.0,
            "{name}"
        );
    }
    assert_eq!(
        closing.received().len(),
        1,
        "nothing that was sent is sent again"
    );
}

#[test]
fn the_backend_may_not_speak_as_menshen() {
    let backend = Backend::answering(|_, stream| {
        stream
            .write_all(
                b"HTTP/1.1 401 No\r\nX-Menshen-Error: token_expired\r\nContent-Length: 0\r\n\r\n",
            )
            .is_ok()
    });
    let menshen = Setup::before(backend.address).start();
    let token = format!("Bearer {}", menshen.token("alice"));
    let answer = menshen.get("/x", &[("Authorization", &token)]);
    assert_eq!((answer.status, answer.error()), (401, None));
}

#[test]
fn a_refusal_keeps_the_request_id_of_a_trusted_proxy_and_of_nobody_else() {
    let backend = Backend::start();
    let long = "x".repeat(20_000);
    let refused = [
        ("a token is missing", "GET /x HTTP/1.1\r\nHost: a\r\n{ID}\r\n".to_owned(), 401),
        ("nobody passes", "GET /internal/x HTTP/1.1\r\nHost: a\r\n{ID}\r\n".to_owned(), 403),
        (
            "two credentials",
            "GET /x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer a\r\nAuthorization: Bearer b\r\n{ID}\r\n".to_owned(),
            400,
        ),
        ("an ambiguous path", "GET /a/../b HTTP/1.1\r\nHost: a\r\n{ID}\r\n".to_owned(), 400),
        ("a method", "TRACE / HTTP/1.1\r\nHost: a\r\n{ID}\r\n".to_owned(), 405),
        ("no host", "GET / HTTP/1.1\r\n{ID}\r\n".to_owned(), 400),
        (
            "two lengths",
            "POST / HTTP/1.1\r\nHost: a\r\n{ID}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
            400,
        ),
        (
            "another WebSocket",
            "GET / HTTP/1.1\r\nHost: a\r\n{ID}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n".to_owned(),
            426,
        ),
        ("a field that is none", "GET / HTTP/1.1\r\nHost: a\r\n{ID}a b: c\r\n\r\n".to_owned(), 400),
        ("a bare line feed", "GET / HTTP/1.1\nHost: a\r\n{ID}\r\n".to_owned(), 400),
        ("another version", "GET / HTTP/3.0\r\n{ID}\r\n".to_owned(), 400),
        ("a head that is too long", format!("GET / HTTP/1.1\r\nHost: a\r\n{{ID}}X: {long}\r\n\r\n"), 400),
    ];
    for (trusted, keeps) in [("[\"127.0.0.0/8\"]", true), ("[]", false)] {
        let section = format!("[server]\nlisten = [\"127.0.0.1:0\"]\ntrusted_proxies = {trusted}");
        let menshen = Setup::before(backend.address)
            .with(&section)
            .with(RULES)
            .start();
        for (n, (why, head, status)) in refused.iter().enumerate() {
            let id = format!("proxy-{n}");
            let mut client = Client::connect(menshen.http);
            client.send(head.replace("{ID}", &format!("X-Request-Id: {id}\r\n")));
            let answer = client
                .receive()
                .unwrap_or_else(|| panic!("{why}: no answer"));
            assert_eq!(answer.status, *status, "{why}");
            assert_eq!(
                answer.header("X-Request-Id") == Some(&id),
                keeps,
                "{why}, trusted {trusted}"
            );
            assert_eq!(
                answer.json()["request_id"].as_str(),
                answer.header("X-Request-Id"),
                "{why}"
            );
            if keeps {
                menshen.wait_for_log(&format!("\"request_id\":\"{id}\""));
            }
        }
        // One that could be two, or is not fit for a log, is nobody's.
        for ids in [
            "X-Request-Id: a\r\nX-Request-Id: b\r\n",
            "X-Request-Id: a b\r\n",
            "X-Request-Id:\r\n",
        ] {
            for line in ["GET /x HTTP/1.1", "GET /x HTTP/3.0"] {
                let mut client = Client::connect(menshen.http);
                client.send(format!("{line}\r\nHost: a\r\n{ids}\r\n"));
                let made = client.receive().expect("an answer");
                assert!(
                    made.header("X-Request-Id").is_some_and(|id| id.len() > 10),
                    "{ids:?}: {made:?}"
                );
            }
        }
    }
}

#[test]
fn a_refused_client_keeps_its_connection_where_framing_is_certain() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address).start();
    let token = format!("Bearer {}", menshen.token("alice"));
    let mut client = Client::connect(menshen.http);
    for body in [&b""[..], b"{\"a\":1}"] {
        client.send(wire::request("POST", "/x", &[], body));
        let answer = client.receive().expect("an answer");
        assert_eq!(
            (answer.status, answer.header("Connection")),
            (401, Some("keep-alive"))
        );
    }
    client.send(wire::request(
        "GET",
        "/x",
        &[("Authorization", &token)],
        b"",
    ));
    assert_eq!(
        client
            .receive()
            .expect("an answer on the same connection")
            .status,
        200
    );
    client.send("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(
        client.receive().expect("an answer").header("Connection"),
        Some("close")
    );
    assert!(client.ended());
}

#[test]
fn a_websocket_passes_after_authentication_and_only_then() {
    let backend = Backend::answering(|request, stream| {
        if request.folded("upgrade") != ["websocket"] {
            return false;
        }
        let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n";
        drop(stream.write_all(head.as_bytes()));
        let mut frame = [0; 5];
        drop(stream.read_exact(&mut frame));
        drop(stream.write_all(&frame));
        false
    });
    let menshen = Setup::before(backend.address).start();
    let token = format!("Bearer {}", menshen.token("alice"));
    let handshake = |authorization: &str| {
        format!(
            "GET /ws HTTP/1.1\r\nHost: a\r\n{authorization}Connection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
    };
    let mut stranger = Client::connect(menshen.http);
    stranger.send(handshake(""));
    assert_eq!(stranger.receive().expect("an answer").status, 401);
    assert!(backend.received().is_empty());
    for round in 0..50 {
        let mut client = Client::connect(menshen.http);
        client.send(handshake(&format!("Authorization: {token}\r\n")));
        assert_eq!(
            client.receive().expect("an answer").status,
            101,
            "round {round}"
        );
        client.send("hello");
        let mut echo = [0; 5];
        client.stream().read_exact(&mut echo).expect("an echo");
        assert_eq!(&echo, b"hello", "round {round}");
    }
}

#[test]
fn it_listens_and_reaches_its_backend_over_unix_sockets() {
    let dir = std::sync::Arc::new(tempfile::tempdir().expect("a directory"));
    let (front, back) = (dir.path().join("front.sock"), dir.path().join("back.sock"));
    let listener = std::os::unix::net::UnixListener::bind(&back).expect("a socket");
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut head = [0; 4096];
        let n = stream.read(&mut head).expect("a request");
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .expect("an answer");
        String::from_utf8_lossy(&head[..n]).into_owned()
    });
    let sections = format!(
        "[server]\nlisten = [\"127.0.0.1:0\", \"unix:{}\"]\n[upstream]\nurls = [\"unix:{}\"]",
        front.display(),
        back.display()
    );
    let menshen = Setup::before(([127, 0, 0, 1], 1).into())
        .in_directory(dir.clone())
        .with(&sections)
        .start();
    let token = menshen.token("alice");
    let mut stream = std::os::unix::net::UnixStream::connect(&front).expect("a connection");
    let request = format!(
        "GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok"),
        "{answer}"
    );
    let seen = serving.join().expect("a request");
    assert!(
        seen.starts_with("GET /x HTTP/1.1\r\n") && seen.to_lowercase().contains("x-user-id: "),
        "{seen}"
    );
}

#[test]
fn encoded_delimiters_reach_the_backend_as_they_came_where_the_rule_allows_them() {
    let backend = Backend::start();
    let rules = "[[rule]]\nname = \"corner\"\npath = \"/files/corner/**\"\naccess = \"deny\"\n\
                 [[rule]]\nname = \"files\"\npath = \"/files/**\"\naccess = \"public\"\nallow_encoded = [\"%2F\", \"%25\"]";
    let menshen = Setup::before(backend.address).with(rules).start();
    for (path, passes) in [
        ("/files/group%2Fproject?ref=a%2Fb", true),
        ("/files/100%25", true),
        ("/files/a%252Fb", true),
        ("/files/..%2Fapi", false),
        ("/files/%252e%252e/api", false),
        ("/files/corner%2Fa", false),
        ("/files%2Fa", false),
        ("/other/a%2Fb", false),
        ("/auth%2Fme", false),
    ] {
        for (method, body) in [("GET", &b""[..]), ("POST", b"body")] {
            let before = backend.received().len();
            let answer = wire::ask(menshen.http, method, path, &[], body);
            let expected = if passes {
                (200, None)
            } else {
                (400, Some("path_ambiguous"))
            };
            assert_eq!((answer.status, answer.error()), expected, "{method} {path}");
            assert_eq!(
                backend.received().len() - before,
                usize::from(passes),
                "{method} {path}"
            );
            if passes {
                assert_eq!(backend.last().line, format!("{method} {path} HTTP/1.1"));
            }
        }
    }
}
