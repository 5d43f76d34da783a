//! What `explain` promises.

use super::*;
use crate::{app, config::Source};

const CONFIG: &str = r#"
mode = "development"
[server]
listen = ["127.0.0.1:8080"]
trusted_proxies = ["10.0.0.0/8"]
[[rule]]
name = "open"
path = "/public/**"
methods = ["GET"]
access = "public"
[[rule]]
name = "back-office"
path = "/admin/**"
user_types = ["admin"]
roles = ["a", "b"]
[[rule]]
name = "hidden"
path = "/internal/**"
access = "deny"
[[rule]]
name = "everything"
path = "/**"
access = "public"
[[dialect]]
kind = "nest"
"#;

fn config(more: &str) -> Config {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.toml");
    std::fs::write(&file, format!("{CONFIG}{more}")).unwrap();
    Config::load_with(
        &Source {
            file: Some(file),
            environment: Vec::new(),
        },
        app::check,
    )
    .unwrap()
    .config
}

async fn explain_with(more: &str, peer: &str, head: &str) -> Explanation {
    let config = config(more);
    let gate = app::offline_gate(&config, false).await.unwrap().gate;
    super::explain(
        &gate,
        &config,
        head.as_bytes(),
        peer.parse().ok(),
        Timestamp::from_secs(1),
    )
}

/// With rules before those of the config.
async fn explain_first(rules: &str, more: &str, peer: &str, head: &str) -> Explanation {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.toml");
    let (top, rest) = CONFIG.split_once("[[rule]]").unwrap();
    std::fs::write(&file, format!("{top}{rules}[[rule]]{rest}{more}")).unwrap();
    let config = Config::load_with(
        &Source {
            file: Some(file),
            environment: Vec::new(),
        },
        app::check,
    )
    .unwrap()
    .config;
    let gate = app::offline_gate(&config, false).await.unwrap().gate;
    super::explain(
        &gate,
        &config,
        head.as_bytes(),
        peer.parse().ok(),
        Timestamp::from_secs(1),
    )
}

async fn explain(line: &str, headers: &str) -> Explanation {
    explain_with(
        "",
        "127.0.0.1",
        &format!("{line} HTTP/1.1\r\nHost: x\r\n{headers}\r\n"),
    )
    .await
}

fn why(told: &Explanation) -> Vec<&str> {
    told.rules.iter().map(|rule| rule.why.as_str()).collect()
}

#[tokio::test]
async fn each_rule_says_why_it_decides_or_not() {
    let told = explain("POST /public/x?token=secret", "").await;
    assert_eq!(
        (told.passes, told.rule.as_deref(), told.rule_index),
        (true, Some("everything"), Some(3))
    );
    assert_eq!(
        why(&told),
        [
            "another method: it is for GET /public/**",
            "another path: it is for /admin/**",
            "another path: it is for /internal/**",
            "/** is the first that matches",
            "a rule before it matches",
        ]
    );
    assert!(
        !format!("{told:?}").contains("secret"),
        "a query can hold anything"
    );
    let told = explain("POST /orders", "").await;
    assert_eq!(
        why(&told)[0],
        "another path and method: it is for GET /public/**"
    );
}

#[tokio::test]
async fn a_lenient_match_that_decides_says_so() {
    let told = explain("GET /Admin/x", "").await;
    assert_eq!(
        (told.rule.as_deref(), told.code, told.status),
        (Some("back-office"), Some("token_missing"), Some(401))
    );
    assert_eq!(
        told.asks.as_deref(),
        Some("required: a valid token, user type admin, role a or b")
    );
    assert!(
        why(&told)[1].contains("matches for a backend that ignores case"),
        "{told:?}"
    );
    assert_eq!(
        why(&told)[3],
        "/** matches, but an earlier rule is stricter"
    );
    let told = explain("HEAD /public/x", "").await;
    assert_eq!(told.rule.as_deref(), Some("everything"));
    assert!(why(&told)[0].contains("which opens nothing"), "{told:?}");
}

#[tokio::test]
async fn what_is_refused_before_the_rules_has_none() {
    let told = explain("GET /a/../b", "").await;
    assert_eq!(
        (told.code, told.rule, told.rules.len()),
        (Some("path_ambiguous"), None, 0)
    );
    assert_eq!(
        (told.head.as_str(), told.path_reading.as_deref()),
        ("sound", Some("The path has a dot segment."))
    );
    let told = explain(
        "GET /a",
        "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
    )
    .await;
    assert_eq!(
        (told.code, told.status, told.path_reading),
        (Some("request_malformed"), Some(400), None)
    );
    assert_ne!(told.head, "sound");
    let told = explain_with("", "127.0.0.1", "GET / HTTP/1.1\r\n").await;
    assert_eq!(
        (told.passes, told.head.as_str()),
        (false, "The head does not end.")
    );
}

#[tokio::test]
async fn nobody_passes_a_rule_that_denies() {
    let told = explain("GET /internal/x", "").await;
    assert_eq!(
        (told.status, told.detail.as_deref()),
        (Some(403), Some("no request passes here"))
    );
    assert!(!told.token.matters);
}

#[tokio::test]
async fn what_menshen_answers_itself_is_told_apart() {
    for (line, by) in [
        ("GET /auth/me", "auth_api"),
        ("GET /authors", "backend"),
        ("POST /api/v1/auth/wx-login", "dialect"),
        ("GET /api/v1/auth/wx-login", "backend"),
    ] {
        let told = explain(line, "").await;
        assert_eq!(
            (told.answered_by, told.rule.is_none()),
            (by, by != "backend"),
            "{line}"
        );
    }
}

#[tokio::test]
async fn headers_that_do_not_go_on_say_why() {
    let sent = "X-User-Id: 7\r\nx_user_role: a\r\nX-Forwarded-For: 1.2.3.4\r\nConnection: X-Mine\r\nX-Mine: 1\r\nAccept: */*\r\n\
                Authorization: Basic c2VjcmV0\r\n";
    let told = explain("GET /orders", sent).await;
    let names: Vec<_> = told
        .stripped
        .iter()
        .map(|told| told.name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "X-User-Id",
            "x_user_role",
            "X-Forwarded-For",
            "Connection",
            "X-Mine",
            "Authorization"
        ]
    );
    assert_eq!(told.stripped[0].value, "only menshen may set it");
    assert!(told.stripped[4].value.contains("Connection"));
    assert_eq!((told.token.state, told.token.matters), ("malformed", false));
    assert!(
        !format!("{told:?}").contains("c2VjcmV0"),
        "no credential is told"
    );
    let told_to_backend: Vec<_> = told
        .backend_gets
        .iter()
        .map(|told| format!("{}: {}", told.name, told.value))
        .collect();
    let expected = [
        "x-auth-state: anonymous",
        "x-forwarded-for: 127.0.0.1",
        "x-real-ip: 127.0.0.1",
        "x-forwarded-proto: http",
        "x-forwarded-host: x",
        "x-request-id: (generated)",
    ];
    assert_eq!(told_to_backend, expected);
}

#[tokio::test]
async fn the_client_of_a_trusted_proxy_is_the_one_that_it_names() {
    let head = "GET /orders HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n";
    assert_eq!(
        explain_with("", "10.0.0.1", head).await.client_ip,
        "1.2.3.4"
    );
    assert_eq!(
        explain_with("", "192.0.2.1", head).await.client_ip,
        "192.0.2.1"
    );
}

#[tokio::test]
async fn a_gate_that_only_reports_tells_what_it_would_do() {
    let head = "GET /internal/x HTTP/1.1\r\nHost: x\r\n\r\n";
    let told = explain_with("[gate]\nreport_only = true\n", "127.0.0.1", head).await;
    assert_eq!(
        (told.passes, told.outcome, told.would_refuse),
        (true, "forwarded", Some("forbidden"))
    );
}

#[tokio::test]
async fn a_proxy_that_asks_is_told_of_the_request_it_asks_about() {
    let more =
        "[forward_auth]\nenabled = true\ndialect = \"nginx\"\ntrusted_callers = [\"10.0.0.0/8\"]\n";
    let question = |uri: &str| {
        format!(
            "GET /auth/verify HTTP/1.1\r\nHost: x\r\nX-Original-Method: GET\r\nX-Original-URI: {uri}\r\n\r\n"
        )
    };
    let told = explain_with(more, "10.0.0.1", &question("/public/a")).await;
    assert_eq!(
        (told.outcome, told.path.as_str(), told.rule.as_deref()),
        ("verified", "/public/a", Some("open"))
    );
    let told = explain_with(more, "10.0.0.1", &question("/internal/a")).await;
    assert_eq!(
        (told.forward_auth, told.code, told.rule.as_deref()),
        (true, Some("forbidden"), Some("hidden"))
    );
    let told = explain_with(more, "127.0.0.1", &question("/public/a")).await;
    assert_eq!(
        (told.forward_auth, told.passes, told.rule),
        (true, false, None)
    );
}

#[tokio::test]
async fn a_path_with_allowed_delimiters_is_explained_as_it_is_decided() {
    const FILES: &str = "[forward_auth]\nenabled = true\ndialect = \"nginx\"\ntrusted_callers = [\"10.0.0.0/8\"]\n\
                         [[rule]]\nname = \"corner\"\npath = \"/files/corner/**\"\naccess = \"deny\"\n\
                         [[rule]]\nname = \"files\"\npath = \"/files/**\"\nallow_encoded = [\"%2F\", \"%25\"]\naccess = \"public\"\n";
    for (path, passes, reading) in [
        ("/files/a/b", true, "one reading"),
        (
            "/files/a%2Fb",
            true,
            "decoded once or twice it is another, which comes to the same rule, and that allows it (allow_encoded)",
        ),
        ("/files/..%2Fadmin/x", false, "The path has a dot segment."),
        (
            "/files/corner%2Fx",
            false,
            "Decoded, the path belongs to another rule.",
        ),
        (
            "/files/%2563orner/x",
            false,
            "Decoded, the path belongs to another rule.",
        ),
        ("/files%2Fa", false, "The path has an encoded delimiter."),
        ("/files/a%3Bb", false, "The path has an encoded delimiter."),
        ("/auth%2Fme", false, "The path has an encoded delimiter."),
        ("/public/a%2Fb", false, "The path has an encoded delimiter."),
    ] {
        let direct = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        let told = explain_first(FILES, "", "127.0.0.1", &direct).await;
        assert_eq!(
            (told.passes, told.path_reading.as_deref()),
            (passes, Some(reading)),
            "{path}"
        );
        assert_eq!(told.code, (!passes).then_some("path_ambiguous"), "{path}");
        // A proxy that asks is told the same.
        let question = format!(
            "GET /auth/verify HTTP/1.1\r\nHost: x\r\nX-Original-Method: GET\r\nX-Original-URI: {path}\r\n\r\n"
        );
        let asked = explain_first(FILES, "", "10.0.0.1", &question).await;
        assert_eq!(
            (asked.passes, asked.path_reading.as_deref()),
            (passes, Some(reading)),
            "{path}"
        );
        assert_eq!(
            (asked.code, asked.forward_auth),
            ((!passes).then_some("path_ambiguous"), true),
            "{path}"
        );
        // So does a gate that only reports, which sends it on all the same.
        let told = explain_first(FILES, "[gate]\nreport_only = true\n", "127.0.0.1", &direct).await;
        let would = (!passes).then_some("path_ambiguous");
        assert_eq!((told.passes, told.would_refuse), (true, would), "{path}");
        assert_eq!(told.rule.is_some(), passes, "{path}");
    }
}
