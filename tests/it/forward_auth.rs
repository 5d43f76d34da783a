//! Forward-auth with the questions that proxies are documented to ask. `forward_auth_proxies.rs`
//! has the proxies themselves.

use std::net::SocketAddr;

use super::{
    backend::Backend,
    menshen::{Menshen, Setup},
    wire::{self, Answer},
};

const RULES: &str = r#"
[[rule]]
name = "open"
path = "/public/**"
access = "public"
[[rule]]
name = "back-office"
path = "/admin/**"
user_types = ["admin"]
[[rule]]
name = "hidden"
path = "/internal/**"
access = "deny"
"#;

pub(super) fn asked_by(dialect: &str, backend: SocketAddr, more: &str) -> Menshen {
    let trust = "[\"127.0.0.1/32\"]";
    Setup::before(backend)
        .with(&format!("[server]\nlisten = [\"127.0.0.1:0\"]\nunready_grace = \"100ms\"\ntrusted_proxies = {trust}"))
        .with(&format!("[forward_auth]\nenabled = true\ndialect = \"{dialect}\"\ntrusted_callers = {trust}\n{more}"))
        .with(RULES)
        .start()
}

/// Method, target and headers of a question; status and wire code of its answer.
type Question<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], u16, &'a str);

fn refused_questions<'a>(signed_in: &'a [(&'a str, &'a str)]) -> [Question<'a>; 9] {
    [
        ("GET", "/api/x", &[], 401, "token_missing"),
        ("GET", "/admin/x", signed_in, 403, "forbidden"),
        ("GET", "/public/../admin", &[], 403, "path_ambiguous"),
        ("GET", "/public/x#/../y", &[], 403, "path_ambiguous"),
        ("TRACE", "/public/x", &[], 403, "method_not_allowed"),
        ("GET", "/auth/me", signed_in, 403, "forbidden"),
        // Traefik hands on every spelling.
        (
            "GET",
            "/public/x",
            &[("X_User_Id", "1")],
            403,
            "request_malformed",
        ),
        (
            "GET",
            "/public/x",
            &[("X-HTTP-Method-Override", "DELETE")],
            403,
            "request_malformed",
        ),
        // Two of them: which one did the proxy write?
        (
            "GET",
            "/public/x",
            &[("X-Forwarded-Uri", "/public/x")],
            403,
            "request_malformed",
        ),
    ]
}

/// What Traefik sends by its source (`writeHeader` of its forward-auth middleware): all of the
/// client's headers, and these.
#[test]
fn the_questions_of_traefik_and_apisix_are_answered() {
    let backend = Backend::start();
    let menshen = asked_by("traefik", backend.address, "");
    let login = menshen.login("alice");
    let bearer = format!(
        "Bearer {}",
        login["access_token"].as_str().expect("a token")
    );
    let ask = |method: &str, uri: &str, more: &[(&str, &str)]| {
        let told = [
            ("X-Forwarded-Method", method),
            ("X-Forwarded-Uri", uri),
            ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-Host", "shop.example"),
            ("X-Forwarded-For", "203.0.113.9"),
            ("Accept-Encoding", "gzip"),
        ];
        let answer = menshen.get("/auth/verify", &[&told, more].concat());
        assert!(answer.body.is_empty());
        assert_eq!(answer.header("Cache-Control"), Some("no-store"));
        answer
    };
    let yes = ask("POST", "/api/orders?x=1", &[("Authorization", &bearer)]);
    assert_eq!(
        (yes.status, yes.header("X-Auth-State")),
        (200, Some("authenticated"))
    );
    assert_eq!(yes.header("X-User-Id"), login["user"]["id"].as_str());
    assert_eq!(
        (
            yes.header("Authorization"),
            yes.header("X-Envoy-Auth-Headers-To-Remove")
        ),
        (None, None)
    );
    let open = ask("GET", "/public/x", &[("Authorization", &bearer)]);
    assert_eq!(
        (
            open.status,
            open.header("X-Auth-State"),
            open.header("X-User-Id")
        ),
        (200, Some("anonymous"), None)
    );
    let signed_in = [("Authorization", bearer.as_str())];
    for (method, uri, headers, status, code) in refused_questions(&signed_in) {
        let no = ask(method, uri, headers);
        assert_eq!(
            (no.status, no.error()),
            (status, Some(code)),
            "{method} {uri} {headers:?}"
        );
        assert_eq!(no.header("X-User-Id"), None);
    }
    assert!(backend.received().is_empty(), "nothing is forwarded");
    menshen.wait_for_log(
        r#""path":"/api/orders","status":200,"rule":"default","decision":"verified""#,
    );
    menshen.wait_for_log(r#""client_ip":"203.0.113.9""#);
    // A refused one, too, is named as the client sent it.
    menshen.wait_for_log(r#""method":"GET","path":"/public/../admin","status":403"#);
}

#[test]
fn a_rule_that_reports_lets_no_header_lead_past_the_others() {
    let backend = Backend::start();
    let reporting = "[[rule]]\nname = \"new\"\npath = \"/new/**\"\nreport_only = true";
    let menshen = asked_by("traefik", backend.address, reporting);
    let ask = |name| {
        let told = [
            ("X-Forwarded-Method", "GET"),
            ("X-Forwarded-Uri", "/new/x"),
            (name, "/admin/users"),
        ];
        menshen.get("/auth/verify", &told).status
    };
    assert_eq!(
        (
            ask("X-User-Role"),
            ask("X-Original-URL"),
            ask("X-Rewrite-URL")
        ),
        (200, 403, 403)
    );
}

#[test]
fn strangers_are_told_nothing_and_it_is_off_by_default() {
    let backend = Backend::start();
    let asked = [
        ("X-Original-Method", "GET"),
        ("X-Original-URI", "/public/x"),
    ];
    let menshen = Setup::before(backend.address)
        .with("[forward_auth]\nenabled = true\ntrusted_callers = [\"192.0.2.0/24\"]")
        .with(RULES)
        .start();
    let answer = menshen.get("/auth/verify", &asked);
    assert_eq!(
        (answer.status, answer.error(), answer.header("X-Auth-State")),
        (403, Some("forbidden"), None)
    );
    // Nobody becomes a caller by saying so.
    let answer = menshen.get(
        "/auth/verify",
        &[&asked[..], &[("X-Forwarded-For", "192.0.2.1")]].concat(),
    );
    assert_eq!((answer.status, answer.error()), (403, Some("forbidden")));
    let off = Setup::before(backend.address).with(RULES).start();
    let answer = off.get("/auth/verify", &asked);
    assert_eq!((answer.status, answer.error()), (404, Some("not_found")));
}

#[test]
fn a_yes_has_every_proof_that_the_backend_was_promised() {
    let backend = Backend::start();
    let upstream = format!(
        "[upstream]\nurls = [\"http://{}\"]\nauthorization = \"mint\"",
        backend.address
    );
    let mint = "[mint]\nsecret = \"q7Zr0vT2mXk9Lw4Bh8NcYs1GdJ5PfAeU\"\nclaims = { user_id = \"{user.id}\" }";
    let proofs = format!("{upstream}\n{mint}\n[identity]\nassertion = true");
    let menshen = asked_by("nginx", backend.address, &proofs);
    let (good, question) = (
        menshen.token("alice"),
        [("X-Original-Method", "GET"), ("X-Original-URI", "/orders")],
    );
    let bearer = format!("Bearer {good}");
    let yes = menshen.get(
        "/auth/verify",
        &[&question[..], &[("Authorization", bearer.as_str())]].concat(),
    );
    assert_eq!(yes.status, 200, "{yes:?}");
    let of = |answer: &Answer, name: &str| answer.header(name).map(str::to_owned);
    let (assertion, minted) = (
        of(&yes, "X-Auth-Assertion").expect("one"),
        of(&yes, "Authorization").expect("one"),
    );
    // What the gate itself would send is the same, and no token of the client's is among it.
    assert_eq!(
        menshen.get("/orders", &[("Authorization", &bearer)]).status,
        200
    );
    assert_eq!(backend.last().folded("authorization"), [minted.as_str()]);
    assert_eq!(
        backend.last().folded("x-auth-assertion"),
        [assertion.as_str()]
    );
    assert!(minted != bearer && !assertion.contains(&good));
    // Nobody is vouched for where nobody is.
    let open = [
        ("X-Original-Method", "GET"),
        ("X-Original-URI", "/public/x"),
    ];
    let yes = menshen.get(
        "/auth/verify",
        &[&open[..], &[("Authorization", bearer.as_str())]].concat(),
    );
    assert_eq!(
        (
            yes.status,
            of(&yes, "X-Auth-Assertion"),
            of(&yes, "Authorization")
        ),
        (200, None, None)
    );
}

#[test]
fn a_page_of_another_site_gets_no_yes_by_a_cookie() {
    const COOKIE: &str = "[[rule]]\nname = \"pages\"\npath = \"/pages/**\"\ntoken_cookie = \"at\"";
    let backend = Backend::start();
    for dialect in ["nginx", "traefik", "envoy"] {
        let menshen = asked_by(dialect, backend.address, COOKIE);
        let cookie = format!("at={}", menshen.token("alice"));
        let ask = |method: &'static str, more: &[(&str, &str)]| {
            let (path, told): (_, &[(&str, &str)]) = match dialect {
                "nginx" => (
                    "/auth/verify",
                    &[
                        ("X-Original-Method", method),
                        ("X-Original-URI", "/pages/1"),
                    ],
                ),
                "traefik" => (
                    "/auth/verify",
                    &[
                        ("X-Forwarded-Method", method),
                        ("X-Forwarded-Uri", "/pages/1"),
                    ],
                ),
                _ => ("/auth/verify/pages/1", &[]),
            };
            let carried = if dialect == "envoy" { method } else { "GET" };
            let headers = [told, &[("Cookie", cookie.as_str())], more].concat();
            wire::ask(menshen.http, carried, path, &headers, b"").status
        };
        let (evil, cross) = (
            ("Origin", "https://evil.example"),
            ("Sec-Fetch-Site", "cross-site"),
        );
        assert_eq!(ask("GET", &[cross]), 200, "{dialect}: a link");
        assert_eq!(
            ask("POST", &[("Sec-Fetch-Site", "same-origin")]),
            200,
            "{dialect}"
        );
        // Proxies keep `Upgrade` to themselves, so a handshake looks like this.
        let handshake = [
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        assert_eq!(
            ask("GET", &[&handshake[..], &[cross]].concat()),
            403,
            "{dialect}"
        );
        assert_eq!(ask("GET", &[evil]), 403, "{dialect}");
        assert_eq!(ask("POST", &[evil]), 403, "{dialect}");
        assert_eq!(
            ask("POST", &[]),
            403,
            "{dialect}: the proxy has not shown where it is from"
        );
    }
}

#[test]
fn a_gate_that_reports_says_yes_also_where_there_are_two_credentials() {
    const COOKIE: &str = "[gate]\nreport_only = true\n[[rule]]\nname = \"pages\"\npath = \"/pages/**\"\ntoken_cookie = \"at\"";
    let backend = Backend::start();
    let menshen = asked_by("nginx", backend.address, COOKIE);
    let question = [("X-Original-Method", "GET"), ("X-Original-URI", "/pages/1")];
    let two = [("Authorization", "Bearer a.b.c"), ("Cookie", "at=a.b.c")];
    assert_eq!(
        menshen
            .get("/auth/verify", &[question, two].concat())
            .status,
        200
    );
    assert_eq!(
        menshen.get("/pages/1", &two).status,
        200,
        "as it is where the gate itself forwards"
    );
}
