//! A token in a header of the team's own choice: of the gate, of a rule, of a dialect.

use std::net::TcpListener;

use serde_json::json;

use super::{
    backend::Backend,
    forward_auth::asked_by,
    menshen::{Setup, command},
    wire::{self, Answer},
};

/// Underscores are what backends fold and nginx drops.
const CONFIG: &str = r#"
[gate]
token_header = "_token"
[cors]
allowed_origins = ["https://shop.example"]
[[rule]]
name = "open"
path = "/open/**"
access = "public"
[[rule]]
name = "office"
path = "/office/**"
token_header = "X-Office"
cors = true
[[dialect]]
kind = "custom"
prefix = "/x"
access_token = "header.X_Shop_Token"
[[dialect.route]]
method = "GET"
path = "/me"
action = "me"
body = '{ "id": "{user.id}" }'
[[dialect.route]]
method = "POST"
path = "/out"
action = "logout"
body = '{}'
[[dialect.error]]
body = '"{code}"'
"#;

fn code(answer: &Answer) -> (u16, &str) {
    (answer.status, answer.error().unwrap_or_default())
}

#[test]
fn a_token_counts_in_the_header_of_its_path_and_in_no_other() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address).with(CONFIG).start();
    let login = menshen.login("alice");
    let (token, user) = (
        login["access_token"].as_str().expect("a token"),
        login["user"]["id"].as_str().expect("an id"),
    );
    let names = ["_token", "X-Office", "X_Shop_Token"];
    for (path, own) in [
        ("/orders", "_token"),
        ("/auth/me", "_token"),
        ("/auth/sessions", "_token"),
        ("/office/1", "X-Office"),
        ("/x/me", "X_Shop_Token"),
        ("/x/orders", "X_Shop_Token"),
    ] {
        for name in names {
            let answer = menshen.get(path, &[(name, token)]);
            let expected = if name == own {
                (200, "")
            } else {
                (401, "token_missing")
            };
            assert_eq!(code(&answer), expected, "{name} on {path}");
        }
        let bearer = format!("Bearer {token}");
        for value in [bearer.as_str(), &bearer.to_uppercase()[..7]] {
            let sent = [(own, value)];
            let expected = if value == bearer { 200 } else { 401 };
            assert_eq!(menshen.get(path, &sent).status, expected, "{path}");
        }
        let authorization = ("Authorization", bearer.as_str());
        assert_eq!(menshen.get(path, &[authorization]).status, 200, "{path}");
        for second in [
            [authorization, (own, token)],
            [("Authorization", "Basic YTpi"), (own, token)],
            [(own, token), (own, token)],
        ] {
            assert_eq!(
                code(&menshen.get(path, &second)),
                (400, "request_malformed"),
                "{path}"
            );
        }
        // A client that has no token yet.
        assert_eq!(
            code(&menshen.get(path, &[(own, "")])),
            (401, "token_missing")
        );
        assert_eq!(menshen.get(path, &[authorization, (own, "")]).status, 200);
        assert_eq!(
            code(&menshen.get(path, &[(own, "a.b.c")])),
            (401, "token_invalid")
        );
    }
    for request in backend.received() {
        assert_eq!(request.folded("x-user-id"), [user], "{}", request.line);
        assert!(!request.head.contains(token), "{}", request.head);
    }
    let changed = menshen.post("/auth/me", &[("_token", token)], &json!({ "bio": "hi" }));
    assert_eq!(
        (changed.status, &changed.json()["bio"]),
        (200, &json!("hi"))
    );
    let out = wire::post(
        menshen.http,
        "/x/out",
        &[("X_Shop_Token", token)],
        &json!({}),
    );
    assert_eq!(out.status, 200);
    assert_eq!(
        code(&menshen.get("/orders", &[("_token", token)])),
        (401, "token_revoked")
    );
}

#[test]
fn no_spelling_of_the_header_goes_on() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address).with(CONFIG).start();
    let token = menshen.token("alice");
    let spellings = [
        "_token",
        "-Token",
        ".token",
        "x-office",
        "X_OFFICE",
        "x-shop.token",
    ];
    for path in ["/open/1", "/orders"] {
        let more = spellings.map(|name| (name, "another"));
        let mut sent: Vec<_> = more
            .into_iter()
            .filter(|(name, _)| *name != "_token")
            .collect();
        sent.push(("_token", &token));
        assert_eq!(menshen.get(path, &sent).status, 200, "{path}");
        let seen = backend.last();
        assert!(
            !seen.head.contains("another") && !seen.head.contains(&token),
            "{}",
            seen.head
        );
    }
}

#[test]
fn a_backend_that_gets_tokens_gets_the_header_in_its_one_spelling() {
    let backend = Backend::start();
    let keep = format!(
        "[upstream]\nurls = [\"http://{}\"]\nauthorization = \"keep\"",
        backend.address
    );
    let menshen = Setup::before(backend.address)
        .with(&keep)
        .with(CONFIG)
        .start();
    let token = menshen.token("alice");
    for (path, own) in [("/orders", "_Token"), ("/office/1", "X-Office")] {
        let others = [
            "_token",
            "-token",
            "X-Office",
            "X_Office",
            "X_Shop_Token",
            "X-Shop-Token",
        ];
        let mut sent: Vec<_> = others
            .into_iter()
            .filter(|name| !name.eq_ignore_ascii_case(own))
            .map(|name| (name, "another"))
            .collect();
        // It is end to end, whatever the client says.
        sent.extend([(own, token.as_str()), ("Connection", own)]);
        assert_eq!(menshen.get(path, &sent).status, 200, "{path}");
        let seen = backend.last();
        assert_eq!(seen.folded(own), [token.as_str()], "{}", seen.head);
        assert!(!seen.head.contains("another"), "{}", seen.head);
    }
}

#[test]
fn browsers_may_send_the_headers() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address).with(CONFIG).start();
    for path in ["/auth/me", "/x/me", "/office/1"] {
        let sent = [
            ("Origin", "https://shop.example"),
            ("Access-Control-Request-Method", "GET"),
            ("Access-Control-Request-Headers", "_token"),
        ];
        let answer = wire::ask(menshen.http, "OPTIONS", path, &sent, b"");
        assert_eq!(
            (answer.status, answer.header("Access-Control-Allow-Headers")),
            (
                204,
                Some("Authorization, Content-Type, _token, X-Office, X_Shop_Token")
            ),
            "{path}"
        );
    }
}

#[test]
fn a_proxy_that_asks_shows_the_header_and_is_told_what_becomes_of_it() {
    let backend = Backend::start();
    let gate = "[gate]\ntoken_header = \"_token\"\n[[rule]]\nname = \"office\"\npath = \"/office/**\"\n\
        token_header = \"X-Office\"\n";
    let keep = format!(
        "{gate}[upstream]\nurls = [\"http://{}\"]\nauthorization = \"keep\"",
        backend.address
    );
    for (more, is_kept) in [(gate, false), (keep.as_str(), true)] {
        for dialect in ["nginx", "envoy"] {
            let menshen = asked_by(dialect, backend.address, more);
            let token = menshen.token("alice");
            let (path, told): (_, &[(&str, &str)]) = if dialect == "envoy" {
                ("/auth/verify/orders", &[])
            } else {
                let told = &[("X-Original-Method", "GET"), ("X-Original-URI", "/orders")];
                ("/auth/verify", told)
            };
            let ask = |more: &[(&str, &str)]| menshen.get(path, &[told, more].concat());
            let yes = ask(&[("_token", &token), ("X-Office", "another")]);
            assert_eq!(
                (yes.status, yes.header("X-Auth-State")),
                (200, Some("authenticated")),
                "{dialect}"
            );
            assert_eq!(yes.header("_token"), is_kept.then_some(token.as_str()));
            assert_eq!(yes.header("X-Office"), None);
            if dialect == "envoy" {
                let removed = yes.header("X-Envoy-Auth-Headers-To-Remove");
                let is_listed = |wanted| {
                    let names = removed.unwrap_or_default();
                    names.split(',').any(|name| name == wanted)
                };
                assert_eq!(is_listed("_token"), !is_kept, "{removed:?}");
                assert!(is_listed("x-office"), "{removed:?}");
            }
            let odd = ask(&[("_token", &token), ("X_Office", "another")]);
            let removed = odd.header("X-Envoy-Auth-Headers-To-Remove");
            if dialect == "envoy" {
                assert!(removed.is_some_and(|names| names.contains("x_office")));
            } else {
                assert_eq!(odd.status, 403, "nginx would forward it");
            }
            let bearer = format!("Bearer {token}");
            assert_eq!(
                ask(&[("_token", &token), ("Authorization", &bearer)]).status,
                403,
                "{dialect}: two credentials"
            );
        }
    }
}

#[test]
fn explain_reads_the_header_and_says_that_it_stays_behind() {
    let backend = Backend::start();
    // Its keys are asked for at the address in its config.
    let port = TcpListener::bind("127.0.0.1:0")
        .and_then(|reserved| reserved.local_addr())
        .expect("a port")
        .port();
    let server = format!("[server]\nlisten = [\"127.0.0.1:{port}\"]\nunready_grace = \"1ms\"");
    let menshen = Setup::before(backend.address)
        .with(&server)
        .with(CONFIG)
        .start();
    let token = menshen.token("alice");
    let explain = |path: &str, headers: &[&str]| {
        let mut args = vec!["explain", "GET", path, "--json"];
        for header in headers {
            args.extend(["--header", header]);
        }
        let output = command(menshen.directory(), &args, &[]);
        let text = String::from_utf8(output.stdout).expect("text");
        serde_json::from_str::<serde_json::Value>(&text).unwrap_or_else(|_| panic!("{text}"))
    };
    for (path, name) in [
        ("/orders", "_token"),
        ("/auth/me", "_token"),
        ("/office/1", "X-Office"),
        ("/x/orders", "x_shop_token"),
        ("/x/me", "x_shop_token"),
    ] {
        let told = explain(path, &[&format!("{name}: {token}")]);
        assert_eq!(told["token"]["state"], "valid", "{told}");
        assert!(!told.to_string().contains(&token), "a token is not told");
        let other = explain(path, &[&format!("X-Other: {token}")]);
        assert_eq!(other["token"]["state"], "none", "{other}");
    }
    let (own, bearer) = (
        format!("_token: {token}"),
        format!("Authorization: Bearer {token}"),
    );
    let two = explain("/orders", &[&own, &bearer]);
    assert_eq!(
        (&two["code"], &two["token"]["state"]),
        (&json!("request_malformed"), &json!("malformed"))
    );
    let open = explain("/open/1", &[&own]);
    assert_eq!(
        open["stripped"],
        json!([{ "name": "_token", "value": "the credential has been checked (upstream.authorization)" }])
    );
}

#[test]
fn a_header_with_another_meaning_cannot_carry_a_token() {
    for name in [
        "",
        "a b",
        "Authorization",
        "Cookie",
        "X-User-Id",
        "x_user_id",
        "X-Forwarded-For",
        "Connection",
        "X-WX-OPENID",
    ] {
        for (key, text) in [
            (
                "gate.token_header",
                format!("[gate]\ntoken_header = \"{name}\""),
            ),
            (
                "rule[0].token_header",
                format!("[[rule]]\nname = \"a\"\npath = \"/a\"\ntoken_header = \"{name}\""),
            ),
            (
                "dialect[0].access_token",
                format!("[[dialect]]\nkind = \"nest\"\naccess_token = \"header.{name}\""),
            ),
        ] {
            let setup = Setup::before(([127, 0, 0, 1], 9).into()).with(&text);
            setup.config();
            let output = command(setup.directory().path(), &["check"], &[]);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(
                !output.status.success() && said.contains(key),
                "{name:?}: {said}"
            );
        }
    }
    for (text, says) in [
        (
            "[[rule]]\nname = \"a\"\npath = \"/a\"\naccess = \"public\"\ntoken_header = \"_token\"",
            "rule[0].token_header: needs access",
        ),
        (
            "[[dialect]]\nkind = \"nest\"\naccess_token = \"body.token\"",
            "dialect[0].access_token: \"body.token\" is not a header",
        ),
    ] {
        let setup = Setup::before(([127, 0, 0, 1], 9).into()).with(text);
        setup.config();
        let output = command(setup.directory().path(), &["check"], &[]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(says), "{said}");
    }
}
