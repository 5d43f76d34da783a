//! Report only: a first day in front of a live backend.

use std::{fs, io::Write};

use rustix::process::Signal;
use serde_json::Value;

use super::{
    backend::Backend,
    menshen::{Menshen, Setup},
    wire,
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

/// What `/readyz` says of the gate.
fn state(menshen: &Menshen) -> Value {
    wire::ask(menshen.admin, "GET", "/readyz", &[], b"").json()["details"]["gate"].clone()
}

/// Answers with the status in its path.
fn backend() -> Backend {
    Backend::answering(|request, stream| {
        let status = request
            .line
            .split(['/', ' ', '?'])
            .find(|part| part.len() == 3 && part.parse::<u16>().is_ok());
        let status = status.unwrap_or("200");
        stream
            .write_all(format!("HTTP/1.1 {status} X\r\nContent-Length: 2\r\n\r\nok").as_bytes())
            .is_ok()
    })
}

fn reporting(backend: &Backend) -> Menshen {
    Setup::before(backend.address)
        .with("[gate]\nreport_only = true")
        .with(RULES)
        .start()
}

/// Method, path and `Authorization`; rule, code and class of the status with which it is counted.
type Reported<'a> = (&'a str, &'a str, Option<&'a str>, &'a str, &'a str, &'a str);

fn reported_requests<'a>(good: &'a str, legacy: &'a str) -> [Reported<'a>; 12] {
    [
        ("GET", "/orders", None, "default", "token_missing", "2xx"),
        (
            "GET",
            "/orders/401",
            None,
            "default",
            "token_missing",
            "401",
        ),
        (
            "POST",
            "/orders/403",
            Some(legacy),
            "default",
            "token_invalid",
            "403",
        ),
        (
            "POST",
            "/orders/201",
            Some(legacy),
            "default",
            "token_invalid",
            "2xx",
        ),
        (
            "GET",
            "/admin/500",
            Some(good),
            "back-office",
            "forbidden",
            "5xx",
        ),
        ("GET", "/internal/302", None, "hidden", "forbidden", "3xx"),
        ("GET", "/orders/404", Some(good), "default", "pass", "4xx"),
        ("GET", "/orders/401", Some(good), "default", "pass", "401"),
        ("GET", "/public/204", None, "open", "pass", "2xx"),
        (
            "GET",
            "/public/../admin",
            None,
            "none",
            "path_ambiguous",
            "2xx",
        ),
        (
            "GET",
            "//public/%2e%2e/x",
            None,
            "none",
            "path_ambiguous",
            "2xx",
        ),
        (
            "POST",
            "/a%2fb;c=d\\e",
            Some(legacy),
            "none",
            "path_ambiguous",
            "2xx",
        ),
    ]
}

#[test]
fn what_would_be_refused_is_forwarded_and_counted_beside_what_the_backend_says() {
    let backend = backend();
    let menshen = reporting(&backend);
    let good = format!("Bearer {}", menshen.token("alice"));
    let legacy = "Bearer eyJhbGciOiJIUzI1NiJ9.eyJ1c2VyIjoxfQ.c2lnbmF0dXJl";
    for (method, path, token, rule, code, class) in reported_requests(&good, legacy) {
        let headers: Vec<_> = token
            .iter()
            .map(|token| ("Authorization", *token))
            .collect();
        let body: &[u8] = if method == "POST" { b"{}" } else { b"" };
        let answer = wire::ask(menshen.http, method, path, &headers, body);
        assert_eq!(answer.error(), None, "{method} {path}");
        let seen = backend.last();
        assert_eq!(seen.line, format!("{method} {path} HTTP/1.1"), "as it came");
        assert_eq!(
            seen.folded("authorization"),
            token.into_iter().collect::<Vec<_>>(),
            "{path}"
        );
        let known = code == "pass" && token.is_some();
        assert_eq!(seen.folded("x-user-id").len(), usize::from(known), "{path}");
        assert_eq!(
            seen.folded("x-auth-state"),
            [if known { "authenticated" } else { "anonymous" }],
            "{path}"
        );
        let series = format!(
            r#"menshen_report_only_total{{backend="{class}",code="{code}",rule="{rule}"}}"#
        );
        menshen.wait_for_metric(&series, 1.0);
    }
    assert!(menshen.metrics().contains("menshen_report_only 1"));
    menshen.wait_for_log(
        r#""path":"/internal/302","status":302,"rule":"hidden","decision":"forwarded","would_refuse":"forbidden""#,
    );
    menshen.wait_for_log("the backend accepted a request that would have been rejected");
    menshen.wait_for_log("the backend rejected a user that would have been allowed");
    menshen.wait_for_log("gate.report_only: is true");
}

#[test]
fn what_has_no_certain_end_is_refused_all_the_same() {
    let backend = backend();
    let menshen = reporting(&backend);
    for head in [
        "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: +2\r\n\r\nok",
        "GET /x HTTP/1.1\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: a\r\nX: a\n b\r\n\r\n",
        "GET http://other.example/x HTTP/1.1\r\nHost: a\r\n\r\n",
        "TRACE /x HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        let mut client = wire::Client::connect(menshen.http);
        client.send(head);
        let answer = client.receive().expect("an answer");
        assert!(
            matches!(answer.status, 400 | 405),
            "{head:?}: {}",
            answer.status
        );
    }
    assert!(backend.received().is_empty());
}

#[test]
fn headers_pass_unless_they_would_be_taken_for_ours_or_frame_the_request() {
    let backend = backend();
    let menshen = reporting(&backend);
    let passing = [
        ("X-User-Role", "1"),
        ("X-Client-Version", "2"),
        ("X-Real-IP", "3"),
        ("app_version", "4"),
        ("X-HTTP-Method-Override", "5"),
    ];
    let gone = [
        ("X-User-Id", "6"),
        ("x_user_id", "6"),
        ("X.Auth.State", "6"),
        ("X-Auth-Assertion", "6"),
        ("X_User_Role", "6"),
        ("Content_Length", "6"),
        ("Transfer_Encoding", "6"),
        ("X_Forwarded_For", "6"),
        ("X-Menshen-Error", "6"),
        ("X-Request-Id", "6"),
        ("X-Forwarded-For", "6"),
    ];
    for (method, body) in [("GET", &b""[..]), ("POST", b"{}")] {
        wire::ask(
            menshen.http,
            method,
            "/x",
            &[&passing[..], &gone].concat(),
            body,
        );
        let seen = backend.last();
        for (name, value) in passing {
            assert!(
                seen.headers()
                    .contains(&(name.to_owned(), value.to_owned()))
                    || seen.folded(name) == [value],
                "{name}"
            );
        }
        assert!(
            seen.headers().iter().all(|(_, value)| value != "6"),
            "{}",
            seen.head
        );
    }
    menshen.wait_for_metric("menshen_report_only_headers_total", 10.0);
    // Logins work as always.
    assert_eq!(menshen.get("/auth/me", &[]).status, 401);
}

#[test]
fn one_rule_can_report_while_the_others_refuse_and_the_other_way_round() {
    let backend = backend();
    let one = "[[rule]]\nname = \"new\"\npath = \"/new/**\"\nreport_only = true";
    let menshen = Setup::before(backend.address).with(one).start();
    assert_eq!(menshen.get("/new/x", &[]).status, 200);
    assert_eq!(menshen.get("/x", &[]).status, 401);
    assert_eq!(menshen.get("/new/../x", &[]).status, 400);
    assert!(menshen.metrics().contains("menshen_report_only 1"));
    let strict = "[gate]\nreport_only = true\n[[rule]]\nname = \"done\"\npath = \"/done/**\"\nreport_only = false";
    let menshen = Setup::before(backend.address).with(strict).start();
    assert_eq!(
        (
            menshen.get("/done/x", &[]).status,
            menshen.get("/x", &[]).status
        ),
        (401, 200)
    );
    let menshen = Setup::before(backend.address).start();
    assert!(menshen.metrics().contains("menshen_report_only 0"));
}

#[test]
fn nothing_leads_past_a_rule_that_is_enforced() {
    let backend = backend();
    let strict = "[gate]\nreport_only = true\n[[rule]]\nname = \"done\"\npath = \"/done/**\"\nreport_only = false";
    let menshen = Setup::before(backend.address).with(strict).start();
    for path in [
        "/./done/x",
        "/%64one/x",
        "//done/x",
        "/done;/x",
        "/x/../done/x",
        "/done%2fx",
    ] {
        let answer = menshen.get(path, &[]);
        assert_eq!(
            (answer.status, answer.error()),
            (400, Some("path_ambiguous")),
            "{path}"
        );
    }
    assert!(backend.received().is_empty());
    let elsewhere = [
        ("X-Original-URL", "/done/x"),
        ("X-Rewrite-URL", "/done/x"),
        ("X-HTTP-Method-Override", "DELETE"),
    ];
    let one = "[[rule]]\nname = \"new\"\npath = \"/new/**\"\nreport_only = true";
    for menshen in [menshen, Setup::before(backend.address).with(one).start()] {
        assert_eq!(
            menshen
                .get(
                    "/new/x",
                    &[&elsewhere[..], &[("X-User-Role", "1")]].concat()
                )
                .status,
            200
        );
        let seen = backend.last();
        assert!(
            elsewhere
                .iter()
                .all(|(name, _)| seen.folded(name).is_empty()),
            "{}",
            seen.head
        );
        assert_eq!(seen.folded("x-user-role"), ["1"]);
        menshen.wait_for_metric("menshen_headers_stripped_total", 3.0);
    }
}

/// A backend that ignores case or a slash at the end takes these paths for those of the enforced
/// rule.
#[test]
fn no_lenient_spelling_leads_past_a_rule_that_is_enforced() {
    let backend = backend();
    let strict = "[gate]\nreport_only = true\n[[rule]]\nname = \"done\"\npath = \"/done/**\"\nreport_only = false\n\
                  [[rule]]\nname = \"exact\"\npath = \"/exact\"\nreport_only = false\n\
                  [[rule]]\nname = \"open\"\npath = \"/open\"\naccess = \"public\"\nreport_only = false";
    let menshen = Setup::before(backend.address).with(strict).start();
    for path in [
        "/done/x", "/DONE/x", "/Done/x", "/exact", "/exact/", "/EXACT",
    ] {
        assert_eq!((menshen.get(path, &[]).status, path), (401, path));
    }
    assert!(backend.received().is_empty());
    let token = format!("Bearer {}", menshen.token("alice"));
    for path in ["/DONE/x", "/exact/"] {
        assert_eq!(
            menshen.get(path, &[("Authorization", &token)]).status,
            200,
            "{path}"
        );
    }
    // What is open there is nothing to enforce.
    for path in ["/open", "/OPEN", "/other"] {
        assert_eq!(menshen.get(path, &[]).status, 200, "{path}");
    }

    // And the other way round: a stricter rule that only reports opens nothing of a laxer one that
    // is enforced.
    let reporting = "[[rule]]\nname = \"trial\"\npath = \"/trial/**\"\nuser_types = [\"admin\"]\nreport_only = true";
    let menshen = Setup::before(backend.address).with(reporting).start();
    assert_eq!(menshen.get("/trial/x", &[]).status, 200, "it reports");
    assert_eq!(
        menshen.get("/TRIAL/x", &[]).status,
        401,
        "that is a path of the default rule, which does not"
    );
}

#[test]
fn the_first_day_ends_with_a_reload() {
    let backend = backend();
    let strict = Setup::before(backend.address).start();
    assert_eq!(state(&strict), Value::Null);
    let menshen = Setup::before(backend.address)
        .with("[reload]\ninterval = \"0s\"\n[gate]\nreport_only = true")
        .start();
    assert_eq!(menshen.get("/x", &[]).status, 200);
    assert_eq!(
        state(&menshen),
        "report only: no request is rejected by path, token or rule"
    );
    let file = menshen.directory().join("config.toml");
    let config = fs::read_to_string(&file).expect("a config");
    fs::write(
        &file,
        config.replace("report_only = true", "report_only = false"),
    )
    .expect("a file");
    menshen.signal(Signal::HUP);
    menshen.wait_for_metric("menshen_config_reloads_total{result=\"applied\"}", 1.0);
    assert_eq!(menshen.get("/x", &[]).status, 401);
    assert_eq!(state(&menshen), "refuses");
    assert!(menshen.metrics().contains("menshen_report_only 0"));
}
