//! Requests that two parsers could read in two ways: refused, the connection ended where framing is
//! in doubt, and not one byte forwarded. Each row is a class of `SECURITY.md`, not one payload.

use std::io::Write;

use super::{
    backend::Backend,
    menshen::Setup,
    wire::{self, Client},
};

/// Whether the connection must end after the refusal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum After {
    Ends,
    Either,
}

#[test]
fn ambiguous_requests_are_refused_and_nothing_is_forwarded() {
    use After::{Either, Ends};
    let backend = Backend::start();
    let menshen = Setup::before(backend.address)
        .with("[[rule]]\nname = \"open\"\npath = \"/**\"\naccess = \"public\"")
        .start();
    let long = "x".repeat(20 * 1024);
    let many = "X-A: 1\r\n".repeat(120);
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let cases: Vec<(&str, String, &str, After)> = [
        // Lengths.
        ("length and chunked", format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"), Ends),
        ("chunked and length", format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n{smuggled}"), Ends),
        ("two lengths", format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n{smuggled}"), Ends),
        ("two equal lengths", format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n{smuggled}"), Ends),
        ("a list of lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5,5\r\n\r\nabcde".into(), Ends),
        ("a signed length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nabcde".into(), Ends),
        ("a negative length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n".into(), Ends),
        ("an underscored length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1_0\r\n\r\nabcdefghij".into(), Ends),
        ("a padded length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 005\r\n\r\nabcde".into(), Ends),
        ("an empty length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\n".into(), Ends),
        ("a hex length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\nabcde".into(), Ends),
        ("an endless length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n".into(), Ends),
        // Transfer codings.
        ("chunked twice", format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"), Ends),
        ("gzip, chunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n".into(), Ends),
        ("chunked, identity", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n".into(), Ends),
        ("xchunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n".into(), Ends),
        ("a tab in chunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n".into(), Ends),
        ("a space before the colon", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n".into(), Ends),
        ("1.0 with chunking", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(), Ends),
        // Lines and bytes.
        ("a folded header", "GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\r\n 2\r\n\r\n".into(), Ends),
        ("a leading space", "GET / HTTP/1.1\r\n Host: a\r\n\r\n".into(), Ends),
        ("a NUL", "GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\x002\r\n\r\n".into(), Ends),
        ("a bare line feed", "GET / HTTP/1.1\r\nHost: a\nX-A: 1\r\n\r\n".into(), Ends),
        ("only line feeds", "GET / HTTP/1.1\nHost: a\n\n".into(), Ends),
        ("a bare carriage return", "GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\r2\r\n\r\n".into(), Ends),
        ("an empty header name", "GET / HTTP/1.1\r\nHost: a\r\n: 1\r\n\r\n".into(), Ends),
        ("a header without a colon", "GET / HTTP/1.1\r\nHost: a\r\nX-A\r\n\r\n".into(), Ends),
        ("a space in a name", "GET / HTTP/1.1\r\nHost: a\r\nX A: 1\r\n\r\n".into(), Ends),
        // Sizes.
        ("a 20 KiB header", format!("GET / HTTP/1.1\r\nHost: a\r\nX-A: {long}\r\n\r\n"), Ends),
        ("a 20 KiB path", format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), Ends),
        ("120 headers", format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n"), Ends),
        // Hosts.
        ("no host", "GET / HTTP/1.1\r\n\r\n".into(), Either),
        ("two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".into(), Either),
        ("a list of hosts", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n".into(), Either),
        ("a path in the host", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n".into(), Either),
        ("a user in the host", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n".into(), Either),
        ("another authority", "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n".into(), Either),
        // Credentials, expectations, upgrades, versions, methods.
        ("two authorizations", "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n".into(), Either),
        ("an unknown expectation", "GET / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n".into(), Either),
        ("an upgrade with a body", format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nContent-Length: {}\r\n\r\n{smuggled}", smuggled.len()), Ends),
        ("HTTP/0.9", "GET /\r\n\r\n".into(), Ends),
        ("HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), Ends),
        ("HTTP/1.2", "GET / HTTP/1.2\r\nHost: a\r\n\r\n".into(), Ends),
        ("TLS", "\x16\x03\x01\x02\x00\x01\x00".into(), Ends),
    ]
    .into_iter()
    .map(|(name, bytes, after)| (name, bytes, "request_malformed", after))
    .collect();
    assert_eq!(cases.len(), 44);
    for (name, bytes, code, after) in cases {
        let mut client = Client::connect(menshen.http);
        client.send(&bytes);
        let answer = client
            .receive()
            .unwrap_or_else(|| panic!("{name}: no answer"));
        let codes = [Some(code), Some("path_ambiguous")];
        assert!(
            codes.contains(&answer.error()) && answer.status == 400,
            "{name}: {} {:?}",
            answer.status,
            answer.error()
        );
        if after == After::Ends {
            assert_eq!(answer.header("Connection"), Some("close"), "{name}");
            assert!(client.ended(), "{name}");
        }
        assert!(
            backend.received().is_empty(),
            "{name}: forwarded {:?}",
            backend.received()
        );
    }
}

#[test]
fn paths_with_two_readings_are_refused() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address)
        .with("[[rule]]\nname = \"open\"\npath = \"/public/**\"\naccess = \"public\"")
        .start();
    let paths = [
        "/public/../admin",
        "/public/./x",
        "/public/..",
        "/public/%2e%2e/admin",
        "/public/.%2e/admin",
        "/public/%2E%2E/admin",
        "/public%2fadmin",
        "/public%2Fadmin",
        "/public/%5c../admin",
        "/public\\..\\admin",
        "/public/%00",
        "//public/x",
        "/public//x",
        "/public/x;a=b",
        "/public/..;/admin",
        "/public/%3b/x",
        "/public/%",
        "/public/%2",
        "/public/%zz",
        "/public/%252e%252e/admin",
        "/public/%252fadmin",
        "/public/x#y",
        "/%70ublic/x",
        "/public/%c0%ae%c0%ae/admin",
        "/public/%ff",
        "public/x",
        "*",
        "/public/x%23y",
        "/public/x%3fy",
        "/public/a%0d%0ab",
        "http://shop.example/public/x",
    ];
    for path in paths {
        let mut client = Client::connect(menshen.http);
        client.send(format!("GET {path} HTTP/1.1\r\nHost: shop.example\r\n\r\n"));
        let answer = client
            .receive()
            .unwrap_or_else(|| panic!("{path}: no answer"));
        assert_eq!(answer.status, 400, "{path}: {:?}", answer.error());
        assert!(
            matches!(answer.error(), Some("path_ambiguous" | "request_malformed")),
            "{path}: {:?}",
            answer.error()
        );
    }
    assert!(backend.received().is_empty());
    for path in [
        "/public/%E4%BD%A0%E5%A5%BD",
        "/public/a%20b",
        "/public/a.b/..c",
        "/public/x?to=/../%2e//;%zz",
        "/public/~x/(1)/@a:b,c='d'!*$&+",
    ] {
        let answer = wire::ask(menshen.http, "GET", path, &[], b"");
        assert_eq!(answer.status, 200, "{path}: {:?}", answer.error());
        assert_eq!(backend.last().line, format!("GET {path} HTTP/1.1"));
    }
}

#[test]
fn methods_that_tunnel_or_echo_are_refused() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address)
        .with("[[rule]]\nname = \"open\"\npath = \"/**\"\naccess = \"public\"")
        .start();
    let passed_on = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
    for (method, target, allow) in [
        ("TRACE", "/", Some(passed_on)),
        ("TRACE", "/x?y=1", Some(passed_on)),
        ("CONNECT", "a:443", Some(passed_on)),
        ("CONNECT", "/", Some(passed_on)),
        ("TRACK", "/", Some(passed_on)),
        ("FOO", "/", Some(passed_on)),
        // What the auth API answers takes fewer (RFC 9110 section 15.5.6).
        (
            "TRACE",
            "/auth/me?x",
            Some("GET, HEAD, POST, PATCH, DELETE"),
        ),
        ("TRACE", "/auth/wechat/login", Some("POST")),
        ("TRACE", "/auth/sessions/0123", Some("DELETE")),
        ("TRACE", "/auth/nothing", Some(passed_on)),
        ("TRACE", "/authors", Some(passed_on)),
        // No method at all: 400.
        ("get", "/", None),
    ] {
        let mut client = Client::connect(menshen.http);
        client.send(format!("{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let answer = client
            .receive()
            .unwrap_or_else(|| panic!("{method}: no answer"));
        let expected = if allow.is_some() {
            (405, Some("method_not_allowed"))
        } else {
            (400, Some("request_malformed"))
        };
        assert_eq!(
            (answer.status, answer.error()),
            expected,
            "{method} {target}"
        );
        assert_eq!(answer.header("Allow"), allow, "{method} {target}");
    }
    assert!(backend.received().is_empty());
}

#[test]
fn bad_chunks_never_reach_the_backend_as_a_whole_request() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address)
        .with("[[rule]]\nname = \"open\"\npath = \"/**\"\naccess = \"public\"")
        .start();
    for chunks in [
        "zz\r\nab\r\n0\r\n\r\n",
        "-1\r\n",
        "ffffffffffffffffff\r\nab\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "0x3\r\nabc\r\n0\r\n\r\n",
    ] {
        let mut client = Client::connect(menshen.http);
        client.send(format!(
            "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"
        ));
        if let Some(answer) = client.receive() {
            assert!(answer.status >= 400, "{chunks:?}: {}", answer.status);
            assert_eq!(answer.header("Connection"), Some("close"), "{chunks:?}");
        }
        assert!(client.ended(), "{chunks:?}");
        assert!(backend.received().is_empty(), "{chunks:?}");
    }
}

#[test]
fn hostile_json_gets_a_code_and_never_a_500() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address).start();
    let deep = format!("{{\"code\":{}1{}}}", "[".repeat(5000), "]".repeat(5000));
    let huge = format!("{{\"code\":\"{}\"}}", "x".repeat(20_000));
    let json = [("Content-Type", "application/json")];
    let bodies: [(&str, &[u8], u16); 13] = [
        ("nothing", b"", 400),
        ("not JSON", b"code=1", 400),
        ("an array", b"[]", 400),
        ("null", b"null", 400),
        ("no code", b"{}", 400),
        ("a number", b"{\"code\":1}", 400),
        ("an empty code", b"{\"code\":\"\"}", 400),
        ("a control byte", b"{\"code\":\"a\\u0000b\"}", 400),
        ("cut off", b"{\"code\":\"a", 400),
        ("not UTF-8", b"{\"code\":\"\xff\xfe\"}", 400),
        ("twice", b"{\"code\":\"a\",\"code\":\"b\"}", 400),
        ("deep", deep.as_bytes(), 400),
        ("huge", huge.as_bytes(), 413),
    ];
    for (name, body, status) in bodies {
        for path in ["/auth/wechat/login", "/auth/refresh"] {
            let answer = wire::ask(menshen.http, "POST", path, &json, body);
            assert_eq!(
                answer.status,
                status,
                "{name} at {path}: {}",
                String::from_utf8_lossy(&answer.body)
            );
            let code = answer.error().expect("a code");
            let expected: &[&str] = if status == 413 {
                &["body_too_large"]
            } else {
                &["request_malformed", "validation_failed"]
            };
            assert!(expected.contains(&code), "{name} at {path}: {code}");
        }
    }
    let form = wire::ask(
        menshen.http,
        "POST",
        "/auth/wechat/login",
        &[("Content-Type", "text/plain")],
        b"{\"code\":\"a\"}",
    );
    assert_eq!(form.status, 400, "a login that a foreign page could post");
    assert!(backend.received().is_empty());
}

#[test]
fn one_byte_at_a_time_holds_nothing() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address)
        .with("[server]\nlisten = [\"127.0.0.1:0\"]\nheader_timeout = \"400ms\"")
        .start();
    let mut client = Client::connect(menshen.http);
    client.send("GET /x HTTP/1.1\r\nHost: a\r\nX-A: ");
    // Dribbling is the attack: each byte comes well within any timeout for a single read.
    let cut = (0..200).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(25));
        client.stream().get_mut().write_all(b"a").is_err()
    });
    assert!(cut, "5 seconds of dribbling were taken");
    assert!(backend.received().is_empty());
}
