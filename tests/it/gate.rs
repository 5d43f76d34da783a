//! What passes the gate, and how: rules, forged headers, bodies, failures of the backend.

use std::{
    io::{Read, Write},
    time::Duration,
};

use super::{
    backend::Backend,
    menshen::Setup,
    wire::{self, Client},
};

const RULES: &str = r#"
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
fn no_spelling_of_a_managed_header_gets_through_on_any_route() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address).with(RULES).start();
    let token = format!("Bearer {}", menshen.token("alice"));
    let spellings = [
        "X-User-Id",
        "x-user-id",
        "X_User_Id",
        "X-User_Id",
        "X.User.Id",
        "X~User~Id",
        "x_user-id",
        "X!User!Id",
        "X'User'Id",
        "X*User*Id",
        "X+User+Id",
        "X^User^Id",
        "X`User`Id",
        "X|User|Id",
        "X#User#Id",
        "X$User$Id",
        "X%User%Id",
        "X&User&Id",
        "X-User-Role",
        "X-User-Anything",
        "X_User_Roles",
        "X-Auth-State",
        "X_Auth_State",
        "X-Auth-Assertion",
        "X-Session-Id",
        "X-Client-Type",
        "X-Menshen-Error",
        "X-Menshen-Anything",
        "X-WX-OPENID",
        "X_WX_OPENID",
        "X-Forwarded-User",
        "X-Original-URL",
        "X-Rewrite-URL",
        "X-HTTP-Method-Override",
        "Forwarded",
        "X-Real-IP",
        "X_Forwarded_For",
        "Content_Length",
        "Transfer_Encoding",
        "Proxy",
    ];
    for (route, authorization) in [
        ("/health", None),
        ("/feed/x", None),
        ("/feed/x", Some(&token)),
        ("/x", Some(&token)),
    ] {
        for spelling in spellings {
            for connection in [None, Some(spelling)] {
                let mut headers = vec![(spelling, "forged-1"), (spelling, "forged-2")];
                headers.extend(authorization.map(|token| ("Authorization", token.as_str())));
                headers.extend(connection.map(|name| ("Connection", name)));
                let before = backend.received().len();
                let answer = wire::ask(menshen.http, "GET", route, &headers, b"");
                if answer.status == 400 {
                    assert_eq!(backend.received().len(), before, "{route} {spelling}");
                    continue;
                }
                assert_eq!(answer.status, 200, "{route} {spelling} {connection:?}");
                let seen = backend.last();
                assert!(
                    !seen.head.contains("forged"),
                    "{route} {spelling} {connection:?}: {}",
                    seen.head
                );
                let ids = seen.folded("x-user-id");
                assert_eq!(
                    ids.len(),
                    usize::from(authorization.is_some()),
                    "{route} {spelling} {connection:?}"
                );
            }
        }
    }
    assert!(menshen.metric("menshen_headers_stripped_total") > 100.0);
}

#[test]
fn hop_by_hop_headers_and_trailers_end_here() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address).start();
    let token = menshen.token("alice");
    let mut client = Client::connect(menshen.http);
    client.send(format!(
        "POST /x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n\
         TE: trailers\r\nUpgrade: h2c\r\nProxy-Connection: x\r\nTrailer: X-User-Id\r\nTransfer-Encoding: chunked\r\n\r\n\
         3;ext=1\r\nabc\r\n0\r\nX-User-Id: forged\r\n\r\n"
    ));
    let answer = client.receive().expect("an answer");
    assert_eq!(answer.status, 200);
    let seen = backend.last();
    assert_eq!(seen.body, b"abc");
    for name in [
        "x-hop",
        "keep-alive",
        "upgrade",
        "proxy-connection",
        "trailer",
    ] {
        assert!(seen.folded(name).is_empty(), "{name} in {}", seen.head);
    }
    // The client takes trailers, and so does menshen on its own connection (RFC 9110 section
    // 10.1.4).
    assert_eq!(
        (seen.folded("te"), seen.folded("connection")),
        (vec!["trailers".to_owned()], vec!["TE".to_owned()])
    );
    assert!(!seen.head.contains("forged"));
}

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
fn connection_names_the_same_headers_on_both_ways() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address)
        .with("[[rule]]\nname = \"open\"\npath = \"/**\"\naccess = \"public\"")
        .start();
    let headers = [
        (
            "Connection",
            "keep-alive, X-Hop, content-length, content-type, cookie, x-forwarded-for, host",
        ),
        ("Content-Type", "text/plain"),
        ("Cookie", "a=b"),
        ("X-Hop", "1"),
    ];
    for (method, body) in [("GET", &b""[..]), ("POST", b"12345")] {
        let mut client = Client::connect(menshen.http);
        for _ in 0..2 {
            client.send(wire::request(method, "/x", &headers, body));
            let answer = client.receive().expect("an answer");
            assert_eq!(
                (answer.status, answer.header("Connection")),
                (200, Some("keep-alive")),
                "{method}"
            );
            let received = backend.last();
            assert_eq!(received.body, body, "{method}");
            assert_eq!(received.folded("Content-Type"), ["text/plain"], "{method}");
            assert_eq!(received.folded("Cookie"), ["a=b"], "{method}");
            assert_eq!(received.folded("X-Hop"), [""; 0], "{method}");
            assert_eq!(
                received.folded("X-Forwarded-For"),
                ["127.0.0.1"],
                "{method}"
            );
            assert_eq!(received.folded("Transfer-Encoding"), [""; 0], "{method}");
        }
    }
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
fn forwarded_addresses_count_only_from_trusted_hops() {
    let backend = Backend::start();
    for (trusted, expected) in [
        ("[]", "127.0.0.1"),
        ("[\"127.0.0.0/8\"]", "203.0.113.7"),
        ("[\"10.0.0.0/8\"]", "127.0.0.1"),
    ] {
        let section = format!("[server]\nlisten = [\"127.0.0.1:0\"]\ntrusted_proxies = {trusted}");
        let menshen = Setup::before(backend.address).with(&section).start();
        let token = format!("Bearer {}", menshen.token("alice"));
        let headers = [
            ("Authorization", token.as_str()),
            ("X-Forwarded-For", "evil, 203.0.113.7"),
            ("X-Forwarded-Proto", "https"),
        ];
        assert_eq!(menshen.get("/x", &headers).status, 200);
        assert_eq!(
            backend.last().folded("x-forwarded-for"),
            [expected],
            "{trusted}"
        );
        assert_eq!(backend.last().folded("x-real-ip"), [expected], "{trusted}");
    }
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

#[test]
fn the_address_of_a_client_is_said_by_menshen_alone() {
    let backend = Backend::start();
    let rules = "[[rule]]\nname = \"open\"\npath = \"/public/**\"\naccess = \"public\"";
    let menshen = Setup::before(backend.address).with(rules).start();
    let token = format!("Bearer {}", menshen.token("alice"));
    let names = [
        "X-Real-IP",
        "x_real_ip",
        "EO-Connecting-IP",
        "EO-Client-IP",
        "Cdn-Src-Ip",
        "DO-Connecting-IP",
        "X-Vercel-Forwarded-For",
        "CF-Connecting-IP",
        "True-Client-IP",
        "Ali-Cdn-Real-Ip",
        "Cdn_Src_Ip",
        "X-New-Cdn-Client-IP",
        "CloudFront-Viewer-Address",
    ];
    for path in ["/public/x", "/orders"] {
        for (method, body) in [("GET", &b""[..]), ("POST", b"12345")] {
            let mut headers: Vec<_> = names.iter().map(|name| (*name, "6.6.6.6")).collect();
            headers.push(("Authorization", &token));
            assert_eq!(
                wire::ask(menshen.http, method, path, &headers, body).status,
                200,
                "{method} {path}"
            );
            let seen = backend.last();
            assert!(
                seen.headers().iter().all(|(_, value)| value != "6.6.6.6"),
                "{method} {path}: {:?}",
                seen.headers()
            );
            assert_eq!(seen.folded("x-real-ip"), ["127.0.0.1"], "{method} {path}");
            assert_eq!(
                seen.folded("x-forwarded-for"),
                ["127.0.0.1"],
                "{method} {path}"
            );
        }
    }
}
