//! What pages say and do.

use std::time::Duration;

use axum::{
    body::Body,
    http::{Request, StatusCode, header},
};

use super::{Bench, CONFIG, HOST, SCRIPT, rejected};
use crate::{
    console::{LastReload, SeenReplicas},
    store::{Replica, ReplicaFacts, ReplicaId},
    telemetry::LogCapture,
    types::UserId,
};

#[tokio::test]
async fn a_person_is_found_exactly_and_each_look_and_act_is_an_audit_event() {
    let bench = Bench::new().await;
    bench.add_person("person-42", "小明").await;
    let log = LogCapture::start();
    let (session, form_token) = bench.sign_in().await;
    let find = async |by: &str, value: &str| {
        let fields = [
            ("form_token", form_token.as_str()),
            ("by", by),
            ("value", value),
            ("app_id", "wx0123456789abcdef"),
        ];
        bench.post("/console/people/find", &session, &fields).await
    };
    for (by, value) in [
        ("phone", "138 0013 8000"),
        ("id", "person-42"),
        ("openid", "openid-of-person-42"),
    ] {
        let found = find(by, value).await;
        assert_eq!(
            found.header(header::LOCATION),
            "/console/people/person-42",
            "{by}"
        );
    }
    for (by, value, status) in [
        ("phone", "13800138001", StatusCode::NOT_FOUND),
        ("phone", "1380013", StatusCode::BAD_REQUEST),
        ("username", "nobody", StatusCode::NOT_FOUND),
        ("openid", "openid-of-person-4", StatusCode::NOT_FOUND),
    ] {
        assert_eq!(find(by, value).await.status, status, "{by} {value}");
    }
    let page = bench.get("/console/people/person-42", &session).await;
    for shown in ["小明", "138****8000", "openid-of-person-42", "person-42"] {
        assert!(page.text.contains(shown), "{shown}");
    }
    assert!(!page.text.contains("13800138000"));
    let only_token = [("form_token", form_token.as_str())];
    for act in ["ban", "unban", "sign-out"] {
        let done = bench
            .post(
                &format!("/console/people/person-42/{act}"),
                &session,
                &only_token,
            )
            .await;
        assert_eq!(
            done.header(header::LOCATION),
            format!("/console/people/person-42?done={act}&ended=0")
        );
    }
    // The second question.
    let delete = "/console/people/person-42/delete";
    let asked = bench.post(delete, &session, &only_token).await;
    assert_eq!(asked.status, StatusCode::BAD_REQUEST);
    assert!(asked.text.contains("name=\"confirm\""));
    let id = UserId::parse("person-42").unwrap();
    assert!(bench.admin.administration.user(&id).await.is_ok());
    let confirmed = [only_token[0], ("confirm", "yes")];
    let done = bench.post(delete, &session, &confirmed).await;
    assert_eq!(
        done.header(header::LOCATION),
        "/console/people?done=deleted"
    );
    assert!(bench.admin.administration.user(&id).await.is_err());
    assert_eq!(
        bench
            .get("/console/people/person-42", &session)
            .await
            .status,
        StatusCode::GONE
    );
    let log = log.finish();
    for (event, count) in [
        // Those by the openid and the phone, found or not; none for an id, whose page is the look.
        ("account.searched", 5),
        ("account.shown", 1),
        ("rights.changed", 2),
        ("sessions.revoked", 1),
        ("account.erased", 1),
    ] {
        let mut lines = log.lines().filter(|line| line.contains(event));
        let lines: Vec<_> = lines.by_ref().collect();
        assert_eq!(lines.len(), count, "{event}: {log}");
        assert!(
            lines.iter().all(|line| line.contains("by=\"console\"")),
            "{event}: {log}"
        );
    }
    assert!(!log.contains("13800138000") && !log.contains("openid-of"));
}

#[tokio::test]
async fn a_key_is_rotated_after_the_second_question() {
    let bench = Bench::new().await;
    let log = LogCapture::start();
    let (session, form_token) = bench.sign_in().await;
    let kid = || bench.admin.keyrings.current().signing_kid().to_owned();
    let before = kid();
    assert!(
        bench
            .get("/console/keys", &session)
            .await
            .text
            .contains(&before)
    );
    let token = ("form_token", form_token.as_str());
    let asked = bench.post("/console/keys/rotate", &session, &[token]).await;
    assert_eq!(
        (asked.status, kid()),
        (StatusCode::BAD_REQUEST, before.clone())
    );
    let done = bench
        .post(
            "/console/keys/rotate",
            &session,
            &[token, ("confirm", "yes")],
        )
        .await;
    assert_eq!(done.status, StatusCode::SEE_OTHER);
    assert_ne!(kid(), before);
    let page = bench.get("/console/keys?done=rotated", &session).await.text;
    assert!(page.contains(&before) && page.contains(&kid()));
    let log = log.finish();
    let line = log
        .lines()
        .find(|line| line.contains("key.added"))
        .expect("an event");
    assert!(line.contains("by=\"console\""), "{line}");
}

#[tokio::test]
async fn keys_of_the_config_are_not_rotated_here() {
    let config = format!(
        "{CONFIG}[tokens]\nalgorithm = 'HS256'\nsecret = '{}'\n",
        "q8Zr2LwX0vTn5YbK1dHs7JfGp3UcEa9MeR4tVi6oBhNy"
    );
    let bench = Bench::with_config(&config).await;
    let (session, form_token) = bench.sign_in().await;
    let fields = [("form_token", form_token.as_str()), ("confirm", "yes")];
    let shown = bench.post("/console/keys/rotate", &session, &fields).await;
    assert_eq!(shown.status, StatusCode::CONFLICT);
}

#[tokio::test]
async fn a_refusal_is_found_by_its_request_id() {
    let bench = Bench::new().await;
    bench.log(&rejected());
    let (session, _) = bench.sign_in().await;
    let list = bench.get("/console/why", &session).await.text;
    assert!(list.contains("forbidden") && list.contains("/office/x") && list.contains("office"));
    let found = bench.get("/console/why?id=request-1", &session).await.text;
    // What the code means, and a form to explain it with.
    assert!(
        found.contains(crate::error::ErrorCode::Forbidden.detail()),
        "{found}"
    );
    assert!(
        found.contains("name=\"path\" value=\"/office/x\""),
        "{found}"
    );
    let missing = bench.get("/console/why?id=request-2", &session).await.text;
    assert!(missing.contains("No request with this id"));
}

#[tokio::test]
async fn a_request_is_explained_as_the_gate_decides() {
    let bench = Bench::new().await;
    let (session, form_token) = bench.sign_in().await;
    let explain = async |path: &str, headers: &str, from: &str| {
        let fields = [
            ("form_token", form_token.as_str()),
            ("method", "GET"),
            ("path", path),
            ("headers", headers),
            ("from", from),
        ];
        bench.post("/console/why/explain", &session, &fields).await
    };
    let refused = explain("/office/x", "X_User_Id: 1", "198.51.100.7")
        .await
        .text;
    assert!(
        refused.contains("It is refused") && refused.contains("token_missing"),
        "{refused}"
    );
    let answered = explain("/auth/me", "", "").await.text;
    assert!(answered.contains("menshen answers it itself"), "{answered}");
    for (path, headers, from) in [
        ("/x\r\nX: y", "", ""),
        ("/x", "no colon", ""),
        ("/x", "", "somewhere"),
    ] {
        assert_eq!(
            explain(path, headers, from).await.status,
            StatusCode::BAD_REQUEST,
            "{path:?} {headers:?} {from:?}"
        );
    }
}

#[tokio::test]
async fn the_config_in_use_is_shown_without_secrets_and_another_is_checked() {
    let bench = Bench::new().await;
    let (session, form_token) = bench.sign_in().await;
    let set = bench.get("/console/config", &session).await.text;
    assert!(set.contains("rule[0].path") && set.contains("admin.token") && set.contains("***"));
    assert!(!set.contains("0123456789abcdef0123456789abcdef") && !set.contains("tokens.leeway"));
    assert!(
        bench
            .get("/console/config?all=yes", &session)
            .await
            .text
            .contains("tokens.leeway")
    );
    let check = async |config: &str| {
        let fields = [("form_token", form_token.as_str()), ("config", config)];
        bench
            .post("/console/config/check", &session, &fields)
            .await
            .text
    };
    assert!(check(CONFIG).await.contains("It is valid."));
    let invalid =
        check("mode = 'development'\nadmin.hosts = ['http://x']\nserver.listens = []\n").await;
    assert!(invalid.contains("It is invalid. Problems: 2"), "{invalid}");
    assert!(
        invalid.contains("did you mean `listen`?") && invalid.contains("admin.hosts[0]"),
        "{invalid}"
    );
    // A file that the config in use does not name is not even looked for.
    for file in ["/etc/hostname", "/dev/zero", "/no/such/file"] {
        let of_file = check(&format!(
            "mode = 'development'\nadmin.token_file = '{file}'\n"
        ))
        .await;
        assert!(
            of_file.contains("admin.token_file: the config in use does not name this file"),
            "{of_file}"
        );
    }
    // What was pasted may have secrets: the page does not repeat it.
    let secret = "mode = 'development'\nadmin.token = 'a-secret-that-is-pasted-and-long-enough'\n";
    assert!(!check(secret).await.contains("a-secret-that"));
    bench.memory.record_reload(LastReload::Refused {
        at: bench.clock.now(),
        why: "1 problems in it".to_owned(),
        problems: vec!["config.toml:3: server.listens: is not a key".to_owned()],
    });
    let shown = bench.get("/console/config", &session).await.text;
    assert!(shown.contains("config.toml:3: server.listens: is not a key"));
    bench.memory.record_reload(LastReload::Applied {
        at: bench.clock.now(),
        restart_keys: vec!["server.listen"],
    });
    let shown = bench.get("/console/config", &session).await.text;
    assert!(shown.contains("need a restart") && shown.contains("server.listen"));
}

#[tokio::test]
async fn processes_on_the_same_store_are_listed_with_what_differs() {
    let bench = Bench::new().await;
    let (session, _) = bench.sign_in().await;
    let now = async || bench.get("/console", &session).await.text;
    assert!(!now().await.contains("Replicas"), "the store is its own");
    let here = ReplicaFacts {
        version: "0.1.0".to_owned(),
        ..ReplicaFacts::default()
    };
    let replica = |id: u128, clock_ahead_ms, version: &str| Replica {
        id: ReplicaId(id << 96),
        at: bench.clock.now(),
        clock_ahead_ms,
        facts: ReplicaFacts {
            version: version.to_owned(),
            ..here.clone()
        },
    };
    bench.memory.record_replicas(SeenReplicas {
        at: bench.clock.now(),
        here: here.clone(),
        clock_ahead_ms: -3,
        others: vec![
            replica(0xa1, 5, "0.1.0"),
            replica(0xb2, 2100, &format!("0.2.0{SCRIPT}")),
        ],
    });
    bench.clock.advance(Duration::from_secs(42));
    let page = now().await;
    for shown in [
        "Replicas (3)",
        "before 42.0 s",
        "this process",
        "-3 ms",
        "000000a1",
        "+5 ms",
        "000000b2",
        "+2100 ms",
        "<span class=\"tag bad\">version</span> <code>0.2.0&lt;script&gt;",
    ] {
        assert!(page.contains(shown), "{shown}: {page}");
    }
    assert!(!page.contains(SCRIPT));
}

#[tokio::test]
async fn the_language_is_the_browsers_until_another_is_chosen() {
    let bench = Bench::new().await;
    let page = async |uri: &str, accepted: &str, cookie: &str| {
        let request = Request::get(uri)
            .header(header::HOST, HOST)
            .header(header::ACCEPT_LANGUAGE, accepted)
            .header(header::COOKIE, cookie);
        bench.send(request.body(Body::empty()).unwrap()).await
    };
    assert!(
        page("/console", "zh-CN,zh;q=0.9", "")
            .await
            .text
            .contains("<html lang=\"zh-CN\">")
    );
    assert!(
        page("/console", "en", "")
            .await
            .text
            .contains("<html lang=\"en\">")
    );
    let chosen = page("/console?lang=zh-CN", "en", "").await;
    assert!(chosen.text.contains("登录控制台"));
    let cookie = chosen.header(header::SET_COOKIE);
    assert!(
        cookie.starts_with("menshen_language=zh-CN; Path=/console; HttpOnly; SameSite=Strict"),
        "{cookie}"
    );
    assert!(
        page("/console", "en", "menshen_language=zh-CN")
            .await
            .text
            .contains("登录控制台")
    );
    assert!(
        page("/console", "en", "menshen_language=x")
            .await
            .text
            .contains("Sign in")
    );
}

#[tokio::test]
async fn the_script_is_small_and_everything_is_of_this_origin() {
    let bench = Bench::new().await;
    let (session, _) = bench.sign_in().await;
    let script = bench.get("/console/console.js", "").await;
    assert!(
        script.text.len() < 10 * 1024
            && script.headers["content-type"] == "text/javascript; charset=utf-8"
    );
    for path in [
        "/console",
        "/console/why",
        "/console/people",
        "/console/audit",
        "/console/config",
        "/console/keys",
    ] {
        let page = bench.get(path, &session).await;
        assert_eq!(page.status, StatusCode::OK);
        assert!(
            !page.text.contains("http://") || path == "/console/config" || path == "/console/why",
            "{path}"
        );
        assert!(
            page.text.contains("<main") && page.text.contains("<nav") && page.text.contains("<h1>"),
            "{path}"
        );
    }
}
