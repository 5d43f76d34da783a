//! Logins in production: the real binary in front of a simulated WeChat on a real socket.

use std::{
    collections::HashSet,
    path::Path,
    time::{Duration, Instant},
};

use menshen::dev::wechat::{KnownApp, SimulatedWechat};
use serde_json::{Value, json};

use super::{
    backend::Backend,
    menshen::{Menshen, Setup},
    wire::{self, Answer},
};

pub(super) const APP_ID: &str = "wx7d2f0f1c9a8b6e5d";
pub(super) const SECRET: &str = "0123456789abcdef0123456789abcdef";
const LOGIN: &str = "/auth/wechat/login";

/// WeChat, with the runtime that it lives in.
pub(super) struct Wechat {
    pub(super) server: SimulatedWechat,
    _runtime: tokio::runtime::Runtime,
}

impl Wechat {
    pub(super) fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let apps = vec![KnownApp {
            app_id: APP_ID.to_owned(),
            secret: SECRET.to_owned(),
        }];
        let server = runtime
            .block_on(SimulatedWechat::start(apps))
            .expect("a port");
        Self {
            server,
            _runtime: runtime,
        }
    }

    /// A menshen in production that asks this WeChat; every peer of it is a trusted proxy.
    pub(super) fn setup(&self, backend: &Backend, wechat_keys: &str) -> Setup {
        production(backend, &self.server.base_url(), wechat_keys)
    }
}

fn production(backend: &Backend, base_url: &str, wechat_keys: &str) -> Setup {
    Setup::before(backend.address).in_production().with(&format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\nunready_grace = \"1ms\"\ntrusted_proxies = [\"127.0.0.0/8\"]\n\
         [wechat]\nbase_url = \"{base_url}\"\napp_id = \"{APP_ID}\"\nsecret = \"{SECRET}\"\n{wechat_keys}\n"
    ))
}

fn post(menshen: &Menshen, code: &str) -> Answer {
    menshen.post(LOGIN, &[], &json!({ "code": code }))
}

fn post_from(menshen: &Menshen, client: &str, code: &str) -> Answer {
    menshen.post(
        LOGIN,
        &[("X-Forwarded-For", client)],
        &json!({ "code": code }),
    )
}

fn says(answer: &Answer) -> (u16, Option<&str>) {
    (answer.status, answer.error())
}

#[test]
fn a_code_of_wx_login_signs_in_the_person_behind_it() {
    let (backend, wechat) = (Backend::start(), Wechat::start());
    let menshen = wechat.setup(&backend, "").start();
    let first = menshen.login("alice-1");
    let again = menshen.login("alice-2");
    let other = menshen.login("bob-1");
    assert_eq!(
        [&first, &again, &other].map(|answer| &answer["is_new_user"]),
        [true, false, true]
    );
    assert_eq!(first["user"]["id"], again["user"]["id"]);
    assert_ne!(first["user"]["id"], other["user"]["id"]);
    assert!(
        first.get("session_key").is_none() && first["user"].get("openid").is_none(),
        "{first}"
    );
    let token = format!(
        "Bearer {}",
        first["access_token"].as_str().expect("a token")
    );
    assert_eq!(
        menshen.get("/orders", &[("Authorization", &token)]).status,
        200
    );
    assert_eq!(
        backend.last().folded("x-user-id"),
        [first["user"]["id"].as_str().expect("an id")]
    );

    let asked = wechat.server.calls();
    let stranger = menshen.post(
        LOGIN,
        &[],
        &json!({ "code": "carol-1", "app_id": "wx0000000000000000" }),
    );
    assert_eq!(says(&stranger), (400, Some("validation_failed")));
    let named = menshen.post(LOGIN, &[], &json!({ "code": "carol-1", "app_id": APP_ID }));
    assert_eq!(
        (named.status, wechat.server.calls()),
        (200, asked + 1),
        "an app id of somebody else asks nobody"
    );
}

#[test]
fn a_code_that_signs_in_administrators_in_development_is_like_any_other_in_production() {
    let (backend, wechat) = (Backend::start(), Wechat::start());
    let menshen = wechat
        .setup(&backend, "")
        .with("[[rule]]\nname = \"office\"\npath = \"/admin/**\"\nuser_types = [\"admin\"]")
        .start();
    let session = menshen.login("admin-1");
    assert_eq!(session["user"]["user_type"], "user");
    let token = format!(
        "Bearer {}",
        session["access_token"].as_str().expect("a token")
    );
    assert_eq!(
        says(&menshen.get("/admin/x", &[("Authorization", &token)])),
        (403, Some("forbidden"))
    );
    assert!(backend.received().is_empty());
}

#[test]
fn every_published_answer_of_wechat_has_its_code_and_status() {
    let (backend, wechat) = (Backend::start(), Wechat::start());
    let mut menshen = wechat.setup(&backend, "").start();
    menshen.expect_error("WeChat refuses our credentials or request");
    let vectors: Value =
        serde_json::from_str(include_str!("../data/wechat-code2session.json")).expect("vectors");
    let answers = vectors["responses"].as_array().expect("a list");
    for answer in answers {
        let id = answer["id"].as_str().expect("a name");
        let body = answer["body_raw"]
            .as_str()
            .map_or_else(|| answer["body"].to_string(), str::to_owned);
        wechat.server.set_response(id, &body);
        let (status, code, retry_after) = match answer["expect"].as_str().expect("a class") {
            "ok" => (200, None, None),
            "invalid_code" | "code_used" => (401, Some("wechat_code_invalid"), None),
            "user_blocked" => (403, Some("wechat_blocked"), None),
            "rate_limited" => (429, Some("rate_limited"), Some("60")),
            "retryable" => (503, Some("wechat_busy"), Some("1")),
            "upstream_error" => (503, Some("wechat_busy"), Some("2")),
            "config_error" => (503, Some("wechat_misconfigured"), Some("60")),
            other => panic!("{id} is of a class without a meaning: {other}"),
        };
        let got = post(&menshen, id);
        assert_eq!(
            (says(&got), got.header("Retry-After")),
            ((status, code), retry_after),
            "{id}"
        );
        if let Some(code) = code {
            assert_eq!(
                (&got.json()["code"], &got.json()["status"]),
                (&json!(code), &json!(status)),
                "{id}"
            );
            assert_eq!(
                got.header("Content-Type"),
                Some("application/problem+json"),
                "{id}"
            );
        }
        let calls = if answer["expect"] == "retryable" {
            2
        } else {
            1
        };
        assert_eq!(wechat.server.calls_for(id), calls, "{id}");
    }
    assert_eq!(answers.len(), 13);
}

#[test]
fn a_double_tap_is_one_call_and_one_answer() {
    let (backend, wechat) = (Backend::start(), Wechat::start());
    let menshen = wechat.setup(&backend, "").start();
    let code = "slow.300-tap";
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let taps: Vec<_> = (0..20)
            .map(|_| scope.spawn(|| post(&menshen, code)))
            .collect();
        taps.into_iter()
            .map(|tap| tap.join().expect("an answer"))
            .collect()
    });
    for answer in &answers {
        assert_eq!(answer.status, 200);
        assert_eq!(
            answer.json()["refresh_token"],
            answers[0].json()["refresh_token"]
        );
    }
    assert_eq!(
        post(&menshen, code).json()["refresh_token"],
        answers[0].json()["refresh_token"],
        "a moment later"
    );
    assert_eq!(wechat.server.calls_for(code), 1);
    assert!((menshen.metric("menshen_sessions_opened_total") - 1.0).abs() < 0.1);
}

#[test]
fn a_spent_code_is_refused_to_others_and_after_a_restart_without_asking() {
    let (backend, wechat) = (Backend::start(), Wechat::start());
    let mut first = wechat.setup(&backend, "").start();
    let signed_in = post_from(&first, "203.0.113.7", "alice-1");
    assert_eq!(signed_in.status, 200);
    let thief = post_from(&first, "203.0.113.8", "alice-1");
    assert_eq!(says(&thief), (401, Some("wechat_code_invalid")));
    let owner = post_from(&first, "203.0.113.7", "alice-1");
    assert_eq!(
        owner.json()["refresh_token"],
        signed_in.json()["refresh_token"],
        "the owner's repeat is answered still"
    );

    let dir = first.keep_directory();
    first.stop();
    let second = wechat.setup(&backend, "").in_directory(dir).start();
    let thief = post_from(&second, "203.0.113.8", "alice-1");
    assert_eq!(says(&thief), (401, Some("wechat_code_invalid")));
    // What the spent code remembers is told for as long.
    let owner = post_from(&second, "203.0.113.7", "alice-1");
    if owner.status == 200 {
        assert_eq!(
            owner.json()["refresh_token"],
            signed_in.json()["refresh_token"]
        );
    } else {
        assert_eq!(says(&owner), (401, Some("wechat_code_invalid")));
    }
    assert_eq!(wechat.server.calls_for("alice-1"), 1);
}

#[test]
fn a_busy_wechat_is_asked_once_more() {
    let (backend, wechat) = (Backend::start(), Wechat::start());
    let menshen = wechat.setup(&backend, "").start();
    assert_eq!(post(&menshen, "once-1").status, 200);
    assert_eq!(wechat.server.calls_for("once-1"), 2);
    let busy = post(&menshen, "busy-1");
    assert_eq!(
        (says(&busy), busy.header("Retry-After")),
        ((503, Some("wechat_busy")), Some("1"))
    );
    assert_eq!(wechat.server.calls_for("busy-1"), 2, "and no third time");
}

#[test]
fn a_wechat_that_hangs_is_cut_at_its_time() {
    let (backend, wechat) = (Backend::start(), Wechat::start());
    let menshen = wechat.setup(&backend, "timeout = \"400ms\"").start();
    let begun = Instant::now();
    let answer = post(&menshen, "slow.30000-1");
    let took = begun.elapsed();
    assert_eq!(
        (says(&answer), answer.header("Retry-After")),
        ((503, Some("wechat_busy")), Some("2"))
    );
    assert!(
        (Duration::from_millis(400)..Duration::from_secs(5)).contains(&took),
        "{took:?}"
    );
    assert_eq!(
        wechat.server.calls_for("slow.30000-1"),
        1,
        "a code may be used up after a timeout"
    );
}

#[test]
fn a_code_can_be_tried_again_when_wechat_is_back() {
    let (backend, wechat) = (Backend::start(), Wechat::start());
    let menshen = wechat.setup(&backend, "").start();
    let broken = [
        "down-1",
        "empty-1",
        "garbage-1",
        "huge-1",
        "cut-1",
        "moved-1",
        "busy-1",
    ];
    for code in broken {
        let answer = post_from(&menshen, "203.0.113.7", code);
        assert_eq!(says(&answer), (503, Some("wechat_busy")), "{code}");
        assert!(answer.header("Retry-After").is_some(), "{code}");
        assert_eq!(
            wechat.server.calls_for("moved"),
            0,
            "a redirect is never followed"
        );
    }
    for code in broken {
        wechat.server.set_response(
            code,
            r#"{"openid":"o-back","session_key":"tiihtNczf5v6AKRyjwEUhQ=="}"#,
        );
        assert_eq!(
            post_from(&menshen, "203.0.113.8", code).status,
            200,
            "{code}"
        );
    }
}

#[test]
fn an_unreachable_wechat_is_a_wait_and_the_gate_goes_on() {
    let backend = Backend::start();
    let gone = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a port");
    let menshen = production(&backend, &format!("http://{gone}"), "").start();
    for _ in 0..2 {
        let answer = post(&menshen, "alice-1");
        assert_eq!(
            (says(&answer), answer.header("Retry-After")),
            ((503, Some("wechat_busy")), Some("2"))
        );
    }
    let series = "menshen_wechat_calls_total{api=\"jscode2session\",class=\"unreachable\"}";
    assert!((menshen.metric(series) - 2.0).abs() < 0.1, "each try asked");
    assert_eq!(says(&menshen.get("/x", &[])), (401, Some("token_missing")));
}

#[test]
fn calls_are_counted_by_class() {
    let (backend, wechat) = (Backend::start(), Wechat::start());
    let mut menshen = wechat.setup(&backend, "timeout = \"1s\"").start();
    menshen.expect_error("WeChat refuses our credentials or request");
    for code in [
        "ada-1",
        "eve-1",
        "fail.40029-1",
        "fail.40163-1",
        "fail.40226-1",
        "fail.45011-1",
        "fail.40125-1",
        "busy-1",
        "cut-1",
    ] {
        post(&menshen, code);
    }
    post(&menshen, "slow.30000-1");
    for (class, count) in [
        ("ok", 2.0),
        ("code_invalid", 2.0),
        ("blocked", 1.0),
        ("rate_limited", 1.0),
        ("misconfigured", 1.0),
        ("busy", 2.0),
        ("unusable", 1.0),
        ("timeout", 1.0),
    ] {
        let series =
            format!("menshen_wechat_calls_total{{api=\"jscode2session\",class=\"{class}\"}}");
        assert!(
            (menshen.metric(&series) - count).abs() < 0.1,
            "{class}: {}",
            menshen.metric(&series)
        );
    }
    let timed =
        menshen.metric("menshen_wechat_call_duration_seconds_count{api=\"jscode2session\"}");
    assert!((timed - 11.0).abs() < 0.1, "{timed}");
    for (result, count) in [
        ("success", 2.0),
        ("wechat_code_invalid", 2.0),
        ("wechat_busy", 3.0),
    ] {
        let series = format!("menshen_logins_total{{method=\"wechat\",result=\"{result}\"}}");
        assert!((menshen.metric(&series) - count).abs() < 0.1, "{result}");
    }
}

#[test]
fn two_hundred_first_logins_of_one_person_make_one_user() {
    let (backend, wechat) = (Backend::start(), Wechat::start());
    let menshen = wechat.setup(&backend, "").start();
    let codes: Vec<_> = (1..=200).map(|n| format!("alice-{n}")).collect();
    let answers: Vec<Value> = std::thread::scope(|scope| {
        let logins: Vec<_> = codes
            .iter()
            .map(|code| scope.spawn(|| menshen.login(code)))
            .collect();
        logins
            .into_iter()
            .map(|login| login.join().expect("an answer"))
            .collect()
    });
    let distinct =
        |of: &dyn Fn(&Value) -> String| answers.iter().map(of).collect::<HashSet<_>>().len();
    assert_eq!(answers.len(), 200);
    assert_eq!(distinct(&|answer| answer["user"]["id"].to_string()), 1);
    assert_eq!(distinct(&|answer| answer["refresh_token"].to_string()), 200);
    assert_eq!(
        answers
            .iter()
            .filter(|answer| answer["is_new_user"] == true)
            .count(),
        1
    );
}

/// Whether `needle` stands anywhere in the files below `dir`; says how many bytes were looked at
/// too.
fn search(dir: &Path, needle: &[u8]) -> (bool, usize) {
    let mut seen = (false, 0);
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        let inner = if path.is_dir() {
            search(&path, needle)
        } else {
            let bytes = std::fs::read(&path).expect("a file");
            (memchr::memmem::find(&bytes, needle).is_some(), bytes.len())
        };
        seen = (seen.0 || inner.0, seen.1 + inner.1);
    }
    seen
}

#[test]
fn what_wechat_tells_in_confidence_is_in_no_log_no_metric_and_no_file() {
    const OPENID: &str = "oGZUI0egBJY1zhBYw2KhdUfwVJJE";
    const UNIONID: &str = "o6_bmasdasdsad6_2sgVt7hMZOPfL";
    const SESSION_KEY: &str = "tiihtNczf5v6AKRyjwEUhQ==";
    let (backend, wechat) = (Backend::start(), Wechat::start());
    let mut menshen = wechat
        .setup(&backend, "timeout = \"500ms\"")
        .with("[telemetry]\nlog_level = \"trace\"")
        .start();
    menshen.expect_error("WeChat refuses our credentials or request");
    let good =
        json!({ "openid": OPENID, "unionid": UNIONID, "session_key": SESSION_KEY }).to_string();
    let codes = [
        "confidential-code-1",
        "fail.40029-confidential",
        "fail.40125-confidential",
        "cut-confidential",
        "busy-confidential",
    ];
    wechat.server.set_response(codes[0], &good);
    let mut answers: Vec<Answer> = codes.iter().map(|code| post(&menshen, code)).collect();
    answers.push(post(&menshen, "slow.30000-confidential"));
    answers.push(post_from(&menshen, "203.0.113.7", codes[0]));
    assert_eq!(answers[0].status, 200);
    let tokens = answers[0].json();
    assert_eq!(
        menshen
            .post(
                "/auth/refresh",
                &[],
                &json!({ "refresh_token": tokens["refresh_token"] })
            )
            .status,
        200
    );
    menshen.wait_for_log("\"path\":\"/auth/refresh\"");
    let metrics = menshen.metrics();
    menshen.stop();

    let said = answers
        .iter()
        .map(|answer| String::from_utf8_lossy(&answer.body).into_owned())
        .collect::<String>();
    let told = format!("{}{metrics}", menshen.log().join("\n"));
    for event in [
        "login.succeeded",
        "errcode 40029",
        "errcode 40125",
        "errcode -1",
        "broken answer",
        "no answer in time",
    ] {
        assert!(
            told.contains(event),
            "{event} was not told, so it proves nothing"
        );
    }
    for secret in [SECRET, OPENID, UNIONID, SESSION_KEY, "confidential"] {
        assert!(!said.contains(secret), "{secret} was answered");
        assert!(!told.contains(secret), "{secret} was told");
    }
    assert!(!metrics.contains(APP_ID));
    let (data, key) = (
        menshen.directory().join("data"),
        SESSION_KEY.trim_end_matches('='),
    );
    let raw_key = b"\xb6\x28\xa1\xb4\xd7\x33\x7f\x9b\xfa\x00\xa4\x72\x8f\x01\x14\x85";
    for secret in [
        OPENID.as_bytes(),
        UNIONID.as_bytes(),
        key.as_bytes(),
        raw_key,
        SECRET.as_bytes(),
        b"confidential",
    ] {
        let (found, looked_at) = search(&data, secret);
        assert!(!found, "{} is in the files", secret.escape_ascii());
        assert!(looked_at > 1000, "{looked_at} bytes");
    }
    let (found, _) = search(
        &data,
        tokens["user"]["id"].as_str().expect("an id").as_bytes(),
    );
    assert!(found, "the search finds what is not sealed");
    // The same person signs in to the same account, so it was all there.
    let again = wechat
        .setup(&backend, "")
        .in_directory(menshen.keep_directory())
        .start();
    wechat.server.set_response("code-2", &good);
    assert_eq!(again.login("code-2")["user"]["id"], tokens["user"]["id"]);
    assert_eq!(
        wire::ask(again.admin, "GET", "/readyz", &[], b"").status,
        200
    );
}

#[test]
fn the_access_token_is_lent_to_who_knows_the_secret_for_it_and_to_nobody_else() {
    let (backend, wechat) = (Backend::start(), Wechat::start());
    let secret = "lend-me-your-token-lend-me-your-token";
    let menshen = wechat
        .setup(&backend, &format!("lend_token = \"{secret}\""))
        .start();
    let path = "/wechat/access_token";
    let asked = |path: &str, token: &str| {
        wire::ask(
            menshen.admin,
            "GET",
            path,
            &[("Authorization", &format!("Bearer {token}"))],
            b"",
        )
    };
    let lent = asked(path, secret);
    assert_eq!((lent.status, &lent.json()["app_id"]), (200, &json!(APP_ID)));
    assert_eq!(lent.header("Cache-Control"), Some("no-store"));
    let token = lent.json()["access_token"]
        .as_str()
        .expect("a token")
        .to_owned();
    assert!(token.len() > 20, "{token}");
    let again = asked(&format!("{path}?app_id={APP_ID}"), secret);
    assert_eq!(
        (&again.json()["access_token"], wechat.server.token_calls()),
        (&json!(token), 1),
        "one owner, one call"
    );

    assert_eq!(
        asked(path, "lend-me-your-token-lend-me-your-tokem").status,
        401
    );
    assert_eq!(wire::ask(menshen.admin, "GET", path, &[], b"").status, 401);
    assert_eq!(
        asked(&format!("{path}?app_id=wx0000000000000000"), secret).status,
        404
    );
    assert_eq!(
        asked("/admin/users", secret).status,
        404,
        "it opens nothing else"
    );
    assert_eq!(
        menshen.get(path, &[]).status,
        401,
        "and clients of the gate do not reach it"
    );
    let log = menshen.log().join("\n");
    assert!(!log.contains(&token) && !log.contains(secret), "{log}");

    let others = wechat.setup(&backend, "").start();
    assert_eq!(
        wire::ask(others.admin, "GET", path, &[], b"").status,
        404,
        "off unless it is asked for"
    );
}
