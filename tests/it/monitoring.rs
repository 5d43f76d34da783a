//! What operators see: the metrics, their manual, the rules and alerts of `deploy/prometheus`, the
//! dashboard of `deploy/grafana`.
//!
//! A real Prometheus reads the real binary while people sign in and things go wrong; then each rule
//! and each panel is asked of it.

mod dashboard;
mod manual;
mod prometheus;
mod query;

use std::collections::BTreeSet;

use menshen::{config::SmsProvider, dev::sms::Scenario};
use rustix::process::Signal;
use serde_json::{Value, json};

use self::{manual::Manual, prometheus::Prometheus};
use super::{backend::Backend, menshen::Menshen, phones::Town, postgres};

const RULES: &str = "deploy/prometheus/rules.yaml";
const CASES: [&str; 2] = [
    "deploy/prometheus/rules.test.yaml",
    "deploy/prometheus/rules.hours.test.yaml",
];

/// Rules with names of their own, another issuer, and a backend that is asked about new users.
fn sections(backend: &Backend) -> String {
    format!(
        "[reload]\ninterval = \"0s\"\n\
         [hooks]\nurl = \"http://{}/hooks\"\nsecret = \"0123456789abcdef0123456789abcdef\"\n\
         [[issuer]]\nname = \"idp\"\nissuer = \"https://idp.example\"\naudience = \"shop\"\nalgorithms = [\"EdDSA\"]\n\
         jwks_file = \"idp.json\"\n\
         [[rule]]\nname = \"watched\"\npath = \"/watched/**\"\nreport_only = true\n\
         [[rule]]\nname = \"office\"\npath = \"/office/**\"\nuser_types = [\"admin\"]\n",
        backend.address
    )
}

/// The public key of RFC 8037 appendix A.2.
const JWKS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"1","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

/// A backend that knows hooks, and has a page that it never finishes.
fn backend() -> Backend {
    Backend::answering(|request, stream| {
        use std::io::Write;
        if request.line.contains("/broken") {
            return false;
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            .is_ok()
    })
}

/// A day at the gate, good and bad, in a second.
fn a_day(town: &Town, menshen: &Menshen) {
    let bearer = |tokens: &Value| {
        format!(
            "Bearer {}",
            tokens["access_token"].as_str().expect("a token")
        )
    };
    let get = |path: &str, token: &str| {
        menshen
            .get(path, &[("Authorization", token), ("X-User-Id", "admin")])
            .status
    };
    // People sign in: with WeChat, with either vendor's message, with WeChat out of order, with
    // wrong codes and passwords.
    let alice = menshen.login("alice-1");
    town.wechat
        .server
        .set_response("busy-1", r#"{"errcode":-1,"errmsg":"system error"}"#);
    assert_eq!(
        menshen
            .post("/auth/wechat/login", &[], &json!({ "code": "busy-1" }))
            .status,
        503
    );
    town.sign_in(menshen, "+8613800138000");
    town.sms.set_scenario(SmsProvider::Tencent, Scenario::Echo);
    let bob = town.sign_in(menshen, "+8613900139000");
    let guess = json!({ "phone": "+8613900139001", "code": "000000" });
    assert_eq!(
        menshen.post("/auth/sms/login", &[], &guess).error(),
        Some("code_invalid")
    );
    let again = json!({ "phone": "+8613900139000" });
    assert_eq!(
        menshen.post("/auth/sms/send", &[], &again).error(),
        Some("sms_cooldown")
    );
    let password = json!({ "username": "root", "password": "a wrong password" });
    assert_eq!(
        menshen.post("/auth/password/login", &[], &password).error(),
        Some("credentials_invalid")
    );
    let button = json!({ "code": "phone.13700137000-1" });
    let alices = bearer(&alice);
    let as_alice = [("Authorization", alices.as_str())];
    assert_eq!(
        menshen
            .post("/auth/phone/wechat", &as_alice, &button)
            .status,
        200
    );
    // They come back, once with a token of before, and one leaves.
    let refresh = json!({ "refresh_token": bob["refresh_token"] });
    let next = menshen.post("/auth/refresh", &[], &refresh).json();
    assert_eq!(
        menshen
            .post(
                "/auth/refresh",
                &[],
                &json!({ "refresh_token": next["refresh_token"] })
            )
            .status,
        200
    );
    assert_eq!(
        menshen.post("/auth/refresh", &[], &refresh).error(),
        Some("refresh_reused")
    );
    // They order; some have no token, a wrong one, or one of somebody who is no administrator; the
    // backend breaks.
    assert_eq!(get("/orders", &alices), 200);
    assert_eq!(get("/orders", "Bearer a.b.c"), 401);
    assert_eq!(get("/orders", &format!("Bearer {}", of_the_issuer())), 401);
    assert_eq!(menshen.get("/orders", &[]).status, 401);
    assert_eq!(get("/office/", &alices), 403);
    assert_eq!(menshen.get("/watched/a", &[]).status, 200);
    assert_eq!(get("/broken", &alices), 502);
    assert_eq!(
        menshen.post("/auth/logout", &as_alice, &json!({})).status,
        204
    );
    menshen.signal(Signal::HUP);
    menshen.wait_for_metric("menshen_config_reloads_total{result=\"applied\"}", 1.0);
}

/// A token that says it is the other issuer's, and is not.
fn of_the_issuer() -> String {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = part(&json!({ "alg": "EdDSA", "kid": "1", "typ": "JWT" }));
    let claims = part(
        &json!({ "iss": "https://idp.example", "aud": "shop", "sub": "7", "exp": 4_102_444_800_u64 }),
    );
    format!("{header}.{claims}.{}", URL_SAFE_NO_PAD.encode([0; 64]))
}

#[test]
fn what_prometheus_reads_answers_every_rule_and_every_panel() {
    let town = Town::before(backend());
    // On a database, so that what is said of one is there too.
    let empty = postgres::Server::shared().empty();
    let url = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(empty);
    let store = format!(
        "[store]\nurl = \"{url}\"\nencryption_key = \"{}\"",
        "42".repeat(32)
    );
    let setup = town.setup().with(&sections(&town.backend)).with(&store);
    std::fs::write(setup.directory().path().join("idp.json"), JWKS).expect("a file");
    let mut menshen = setup.start();
    menshen.expect_error("tencent refuses to send SMS codes");
    let prometheus = Prometheus::reading(menshen.admin);
    prometheus.wait_for("menshen_ready == 1");
    a_day(&town, &menshen);
    // A rate needs two samples of a series, and the reload came last.
    prometheus.wait_for(
        "count_over_time((menshen_config_reloads_total{result=\"applied\"} == 1)[1m:250ms]) >= 3",
    );

    // The page itself, and the manual.
    let (page, manual) = (menshen.metrics(), Manual::printed());
    let (code, said) = prometheus::promtool(&["check", "metrics"], &page);
    assert_eq!(
        (code, said.as_str()),
        (Some(0), ""),
        "promtool has something to say of the metrics"
    );
    let seen = manual.assert_agrees_with(&page);
    assert!(seen >= 700, "only {seen} series");

    // The rules.
    let rules = prometheus.rules();
    let (mut recording, mut alerts) = (0, 0);
    for rule in &rules {
        let (name, expression) = (
            rule["name"].as_str().expect("a name"),
            rule["query"].as_str().expect("a query"),
        );
        assert_eq!(
            (&rule["health"], &rule["lastError"]),
            (&json!("ok"), &Value::Null),
            "{name}"
        );
        manual.assert_knows(expression, name);
        prometheus.assert_has_selectors_of(expression, name);
        if rule["type"] == "recording" {
            prometheus.wait_for(name);
            recording += 1;
        } else {
            prometheus.ask(expression);
            alerts += 1;
        }
    }
    assert_eq!((recording, alerts), (4, 25));

    // The dashboard.
    let (mut queries, mut hiding, mut hidden) = (0, 0, Vec::new());
    for (panel, query) in dashboard::queries() {
        let query = dashboard::filled_in(&query);
        manual.assert_knows(&query, &panel);
        prometheus.assert_has_selectors_of(&query, &panel);
        let found = prometheus.ask(&query);
        // Where a panel hides what is zero, nothing may be left.
        let hides = query.contains(" > 0");
        assert!(hides || !found.is_empty(), "{panel} shows nothing: {query}");
        hiding += usize::from(hides);
        if found.is_empty() {
            hidden.push(panel);
        }
        queries += 1;
    }
    assert_eq!((queries, hiding), (91, 22));
    assert!(
        hidden.len() <= 8,
        "too little happens for these: {hidden:?}"
    );
    for variable in dashboard::variables() {
        assert!(!prometheus.ask(&variable).is_empty(), "{variable}");
    }

    // What went wrong is told, and that it ends.
    prometheus.wait_for_alert("MenshenSmsVendorRefuses", "firing");
    menshen.stop();
    prometheus.wait_for_alert("MenshenDown", "pending");
}

#[test]
fn rules_pass_their_own_cases() {
    for args in [
        ["check", "rules", RULES],
        ["test", "rules", CASES[0]],
        ["test", "rules", CASES[1]],
    ] {
        let (code, said) = prometheus::promtool(&args, "");
        assert_eq!(code, Some(0), "{said}");
    }
    let (rules, cases) = (
        prometheus::file(RULES),
        CASES.map(prometheus::file).concat(),
    );
    let manual = prometheus::file("docs/operations.md");
    let mut alerts = BTreeSet::new();
    for part in rules.split("      - alert: ").skip(1) {
        let (name, rest) = part.split_once('\n').expect("a rule");
        assert!(alerts.insert(name), "{name} is there twice");
        for wanted in [
            "        expr: ",
            "{severity: ",
            "          summary: ",
            "          description: ",
        ] {
            assert!(rest.contains(wanted), "{name} has no {wanted}");
        }
        let severity = rest
            .split_once("{severity: ")
            .and_then(|(_, rest)| rest.split_once('}'))
            .expect("a severity")
            .0;
        assert!(
            ["critical", "warning"].contains(&severity),
            "{name} is {severity}"
        );
        let book = format!(
            "          runbook_url: docs/operations.md#{}\n",
            name.to_lowercase()
        );
        assert!(
            rest.contains(&book),
            "{name} has another runbook than {book}"
        );
        assert!(
            manual.contains(&format!("\n### {name}\n")),
            "docs/operations.md does not say what to do about {name}"
        );
        let ill = format!("      - alertname: {name}\n");
        let well = format!("      - {{alertname: {name}, ");
        assert!(
            cases.contains(&ill) && cases.contains(&well),
            "{name} has no case in which it fires, or none in which it does not"
        );
    }
    assert_eq!(alerts.len(), 25);
}

#[test]
fn the_operator_s_rules_are_the_plain_ones() {
    let plain = prometheus::file(RULES);
    let indented: String = plain
        .lines()
        .map(|line| {
            if line.is_empty() {
                "\n".to_owned()
            } else {
                format!("  {line}\n")
            }
        })
        .collect();
    let wrapped = prometheus::file("deploy/prometheus/prometheusrule.yaml");
    let (head, spec) = wrapped.split_once("spec:\n").expect("a spec");
    assert!(
        spec == indented,
        "deploy/prometheus/prometheusrule.yaml is stale: deploy/prometheus/README.md has the command"
    );
    for line in [
        "apiVersion: monitoring.coreos.com/v1",
        "kind: PrometheusRule",
        "  name: menshen",
    ] {
        assert!(head.lines().any(|known| known == line), "{line} is missing");
    }
}
