//! CORS: what a browser is told, and what it may show to which page.

use std::io::Write;

use serde_json::json;

use super::{
    backend::Backend,
    menshen::{Menshen, Setup},
    wire::{self, Answer},
};

const SHOP: &str = "https://shop.example";
const EVIL: &str = "https://evil.example";

const CONFIG: &str = r#"
[cors]
allowed_origins = ["https://admin.example", "https://shop.example"]
[[rule]]
name = "pages"
path = "/api/**"
cors = true
[[rule]]
name = "own"
path = "/own/**"
access = "public"
[[dialect]]
kind = "nest"
"#;

/// A backend with CORS of its own.
fn backend() -> Backend {
    Backend::answering(|_, stream| {
        let head = "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: https://its-own.example\r\nVary: Accept\r\n";
        stream
            .write_all(format!("{head}Content-Length: 2\r\n\r\nok").as_bytes())
            .is_ok()
    })
}

fn preflight(menshen: &Menshen, path: &str, origin: &str, method: &str) -> Answer {
    let asked = [
        ("Origin", origin),
        ("Access-Control-Request-Method", method),
        (
            "Access-Control-Request-Headers",
            "authorization, content-type",
        ),
    ];
    wire::ask(menshen.http, "OPTIONS", path, &asked, b"")
}

fn allowed(answer: &Answer) -> Option<&str> {
    answer.header("Access-Control-Allow-Origin")
}

#[test]
fn preflights_are_answered_without_a_token_where_cors_is_menshens() {
    let backend = backend();
    let menshen = Setup::before(backend.address).with(CONFIG).start();
    for (path, method) in [
        ("/auth/wechat/login", "POST"),
        ("/auth/me", "DELETE"),
        ("/auth/nothing", "GET"),
        ("/api/orders", "PUT"),
        ("/api/v1/auth/wx-login", "POST"),
    ] {
        let answer = preflight(&menshen, path, SHOP, method);
        assert_eq!(
            (answer.status, answer.body.len(), answer.error()),
            (204, 0, None),
            "{path}"
        );
        assert_eq!(allowed(&answer), Some(SHOP), "{path}");
        assert_eq!(
            answer.header("Access-Control-Allow-Methods"),
            Some("GET, HEAD, POST, PUT, PATCH, DELETE")
        );
        assert_eq!(
            answer.header("Access-Control-Allow-Headers"),
            Some("Authorization, Content-Type")
        );
        assert_eq!(answer.header("Access-Control-Max-Age"), Some("600"));
        assert_eq!(
            (
                answer.header("Vary"),
                answer.header("Access-Control-Allow-Credentials")
            ),
            (Some("Origin"), None)
        );
        for stranger in [
            EVIL,
            "null",
            "https://shop.example.evil",
            "https://SHOP.example",
        ] {
            let answer = preflight(&menshen, path, stranger, method);
            assert_eq!(
                (answer.status, allowed(&answer)),
                (204, None),
                "{stranger} on {path}"
            );
            assert_eq!(
                (
                    answer.header("Access-Control-Allow-Methods"),
                    answer.header("Vary")
                ),
                (None, Some("Origin"))
            );
        }
    }
    assert!(backend.received().is_empty(), "menshen answers them itself");
    menshen.wait_for_metric(
        r#"menshen_requests_total{decision="preflight",rule="pages",status="2xx"}"#,
        5.0,
    );
    menshen.wait_for_metric(
        r#"menshen_requests_total{decision="preflight",rule="auth",status="2xx"}"#,
        20.0,
    );
}

#[test]
fn other_requests_with_options_go_on_as_they_would() {
    let backend = backend();
    let menshen = Setup::before(backend.address).with(CONFIG).start();
    // No method is asked about, or no rule says that menshen answers.
    let plain = wire::ask(
        menshen.http,
        "OPTIONS",
        "/api/orders",
        &[("Origin", SHOP)],
        b"",
    );
    assert_eq!(
        (plain.status, plain.error(), allowed(&plain)),
        (401, Some("token_missing"), Some(SHOP))
    );
    let plain = wire::ask(
        menshen.http,
        "OPTIONS",
        "/auth/me",
        &[("Origin", SHOP)],
        b"",
    );
    assert_eq!(
        (plain.status, plain.error(), allowed(&plain)),
        (405, Some("method_not_allowed"), Some(SHOP))
    );
    assert_eq!(preflight(&menshen, "/other", SHOP, "GET").status, 401);
    assert!(backend.received().is_empty());
    let own = preflight(&menshen, "/own/x", SHOP, "GET");
    assert_eq!(
        (own.status, allowed(&own)),
        (200, Some("https://its-own.example"))
    );
    assert_eq!(backend.last().line, "OPTIONS /own/x HTTP/1.1");
    assert_eq!(
        backend.last().folded("access-control-request-method"),
        ["GET"]
    );
}

#[test]
fn pages_of_listed_origins_may_read_menshens_answers() {
    let backend = backend();
    let menshen = Setup::before(backend.address).with(CONFIG).start();
    let login = |origin: &str| {
        menshen.post(
            "/auth/wechat/login",
            &[("Origin", origin)],
            &json!({ "code": "alice" }),
        )
    };
    let answer = login(SHOP);
    assert_eq!(
        (answer.status, allowed(&answer), answer.header("Vary")),
        (200, Some(SHOP), Some("Origin"))
    );
    let exposed = answer.header("Access-Control-Expose-Headers");
    assert_eq!(
        exposed,
        Some("X-Menshen-Error, X-Request-Id, Retry-After, WWW-Authenticate")
    );
    // A page of another origin may have sent it; its browser shows it nothing.
    let answer = login(EVIL);
    assert_eq!(
        (answer.status, allowed(&answer), answer.header("Vary")),
        (200, None, Some("Origin"))
    );
    // Without an origin there is nothing to allow, but a cache has to know.
    let answer = menshen.get("/auth/jwks.json", &[]);
    assert_eq!(
        (answer.status, allowed(&answer), answer.header("Vary")),
        (200, None, Some("Origin"))
    );
    // Refusals: of the auth API, of a dialect's routes and of the gate where its rule says so.
    let bad = ("Authorization", "Bearer a.b.c");
    for (path, status, may) in [
        ("/auth/me", 401, true),
        ("/auth/none", 404, true),
        ("/api/orders", 401, true),
        ("/api/v1/user", 401, true),
        ("/other", 401, false),
    ] {
        let answer = menshen.get(path, &[("Origin", SHOP), bad]);
        assert_eq!(
            (answer.status, allowed(&answer)),
            (status, may.then_some(SHOP)),
            "{path}"
        );
        let answer = menshen.get(path, &[("Origin", EVIL), bad]);
        assert_eq!((answer.status, allowed(&answer)), (status, None), "{path}");
    }
    let answer = menshen.post("/api/v1/auth/wx-login", &[("Origin", SHOP)], &json!({}));
    assert_eq!((answer.status >= 400, allowed(&answer)), (true, Some(SHOP)));
}

#[test]
fn a_page_is_told_that_its_path_is_ambiguous() {
    let backend = backend();
    let menshen = Setup::before(backend.address).with(CONFIG).start();
    for path in [
        "/api/a%2fb",
        "/api//a",
        "/api/..%20/a",
        "/other/a;b",
        "/auth/a%2fb",
        "/api/100%",
    ] {
        // Its browser asks first where the request has a token; then the page sees why it is
        // refused.
        let answer = preflight(&menshen, path, SHOP, "PUT");
        assert_eq!(
            (answer.status, answer.error(), allowed(&answer)),
            (204, None, Some(SHOP)),
            "{path}"
        );
        for (origin, may) in [(SHOP, true), (EVIL, false)] {
            let answer = wire::ask(menshen.http, "PUT", path, &[("Origin", origin)], b"{}");
            assert_eq!(
                (answer.status, answer.error()),
                (400, Some("path_ambiguous")),
                "{path}"
            );
            assert_eq!(
                (allowed(&answer), answer.header("Vary")),
                (may.then_some(SHOP), Some("Origin")),
                "{path}"
            );
        }
    }
    // What can only be written in a log with care is refused at once.
    let answer = preflight(&menshen, "http://other.example/a", SHOP, "PUT");
    assert_eq!(
        (answer.status, answer.error(), allowed(&answer)),
        (400, Some("path_ambiguous"), Some(SHOP))
    );
    assert!(backend.received().is_empty());
}

#[test]
fn a_backends_own_fields_pass_and_are_never_doubled() {
    let backend = backend();
    let menshen = Setup::before(backend.address).with(CONFIG).start();
    let bearer = format!("Bearer {}", menshen.token("alice"));
    for (method, body) in [("GET", &b""[..]), ("POST", b"{}")] {
        let headers = [("Origin", SHOP), ("Authorization", bearer.as_str())];
        let answer = wire::ask(menshen.http, method, "/api/orders", &headers, body);
        assert_eq!(
            (answer.status, allowed(&answer)),
            (200, Some("https://its-own.example")),
            "{method}"
        );
        assert_eq!(answer.header("Vary"), Some("Accept"));
        assert_eq!(backend.last().folded("origin"), [SHOP]);
    }
}

#[test]
fn a_page_is_told_that_the_backend_is_down() {
    let gone = {
        let backend = backend();
        backend.address
    };
    let menshen = Setup::before(gone).with(CONFIG).start();
    let bearer = format!("Bearer {}", menshen.token("alice"));
    for (method, body) in [("GET", &b""[..]), ("POST", b"{}")] {
        let headers = [("Origin", SHOP), ("Authorization", bearer.as_str())];
        let answer = wire::ask(menshen.http, method, "/api/orders", &headers, body);
        assert_eq!(
            (answer.status, answer.error(), allowed(&answer)),
            (502, Some("upstream_unavailable"), Some(SHOP))
        );
        let other = wire::ask(menshen.http, method, "/other", &headers, body);
        assert_eq!(
            (other.status, allowed(&other), other.header("Vary")),
            (502, None, None)
        );
    }
}

#[test]
fn without_cors_nothing_is_said_of_it() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address).start();
    let answer = preflight(&menshen, "/auth/me", SHOP, "GET");
    assert_eq!(
        (answer.status, answer.error()),
        (405, Some("method_not_allowed"))
    );
    assert_eq!((allowed(&answer), answer.header("Vary")), (None, None));
    assert_eq!(preflight(&menshen, "/api/x", SHOP, "GET").status, 401);
}
