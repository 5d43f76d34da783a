//! A mini program's day: first login, calls, refresh, other devices, sign-out, as its backend and
//! its network see it.

use serde_json::json;

use super::{backend::Backend, menshen::Setup};

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

#[test]
fn a_login_code_becomes_a_session_and_the_backend_sees_who_calls() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address).start();

    let first = menshen.post(
        "/auth/wechat/login",
        &[],
        &json!({ "code": "alice", "nickname": "小明" }),
    );
    assert_eq!(first.status, 200);
    assert_eq!(first.header("Cache-Control"), Some("no-store"));
    let session = first.json();
    assert_eq!(session["token_type"], "Bearer");
    assert_eq!(session["expires_in"], 900);
    assert_eq!(session["refresh_expires_in"], 30 * 86_400);
    assert_eq!(session["is_new_user"], true);
    assert_eq!(session["user"]["nickname"], "小明");
    assert_eq!(session["user"]["user_type"], "user");
    for secret in ["session_key", "openid", "unionid"] {
        assert!(
            session.get(secret).is_none() && session["user"].get(secret).is_none(),
            "{secret} left"
        );
    }

    let user = session["user"]["id"].as_str().expect("an id");
    let token = session["access_token"].as_str().expect("a token");
    let answer = menshen.get("/orders?page=2", &[("Authorization", &bearer(token))]);
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"ok"[..]));
    let seen = backend.last();
    assert_eq!(seen.line, "GET /orders?page=2 HTTP/1.1");
    assert_eq!(seen.folded("x-user-id"), [user]);
    assert_eq!(seen.folded("x-user-type"), ["user"]);
    assert_eq!(seen.folded("x-client-type"), ["miniprogram"]);
    assert_eq!(seen.folded("x-auth-state"), ["authenticated"]);
    assert_eq!(seen.folded("x-session-id").len(), 1);
    assert_eq!(seen.folded("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen.folded("x-forwarded-proto"), ["http"]);
    assert_eq!(seen.folded("x-forwarded-host"), ["shop.example"]);
    assert_eq!(seen.folded("host"), ["shop.example"]);
    assert_eq!(seen.folded("authorization"), [""; 0]);
    assert_eq!(seen.folded("x-request-id").len(), 1);

    let again = menshen.login("alice");
    assert_eq!(again["is_new_user"], false);
    assert_eq!(again["user"]["id"], user);
    let other = menshen.login("bob");
    assert_ne!(other["user"]["id"], user);
}

#[test]
fn without_a_valid_token_nothing_reaches_the_backend() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address).start();
    let good = menshen.token("alice");
    let refresh = menshen.login("alice")["refresh_token"]
        .as_str()
        .expect("a token")
        .to_owned();
    let mut changed = good.clone().into_bytes();
    let last = changed.len() - 10;
    changed[last] = if changed[last] == b'A' { b'B' } else { b'A' };
    let changed = String::from_utf8(changed).expect("text");
    for (name, value, code) in [
        ("no token", None, "token_missing"),
        (
            "a changed signature",
            Some(bearer(&changed)),
            "token_invalid",
        ),
        ("a refresh token", Some(bearer(&refresh)), "token_invalid"),
        ("no scheme", Some(good.clone()), "token_invalid"),
        ("basic", Some("Basic YTpi".to_owned()), "token_invalid"),
        (
            "an empty token",
            Some("Bearer ".to_owned()),
            "token_invalid",
        ),
        (
            "two tokens",
            Some(format!("Bearer {good} {good}")),
            "token_invalid",
        ),
        (
            "alg none",
            Some(bearer("eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.")),
            "token_invalid",
        ),
    ] {
        let headers: Vec<(&str, &str)> = value
            .iter()
            .map(|value| ("Authorization", value.as_str()))
            .collect();
        let answer = menshen.get("/orders", &headers);
        assert_eq!((answer.status, answer.error()), (401, Some(code)), "{name}");
        assert!(
            answer
                .header("WWW-Authenticate")
                .is_some_and(|value| value.starts_with("Bearer")),
            "{name}"
        );
        assert_eq!(
            answer.header("Content-Type"),
            Some("application/problem+json"),
            "{name}"
        );
        let problem = answer.json();
        assert_eq!(
            (&problem["code"], &problem["status"]),
            (&json!(code), &json!(401)),
            "{name}"
        );
        assert_eq!(
            problem["request_id"].as_str(),
            answer.header("X-Request-Id"),
            "{name}"
        );
    }
    assert!(backend.received().is_empty());
}

#[test]
fn refresh_rotates_replays_a_lost_answer_and_ends_a_stolen_session() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address).start();
    let session = menshen.login("alice");
    let bystander = menshen.login("alice");
    let refresh = |token: &serde_json::Value| {
        menshen.post("/auth/refresh", &[], &json!({ "refresh_token": token }))
    };

    let second = refresh(&session["refresh_token"]).json();
    assert_ne!(second["refresh_token"], session["refresh_token"]);
    let replayed = refresh(&session["refresh_token"]).json();
    assert_eq!(
        replayed["refresh_token"], second["refresh_token"],
        "a lost answer is given again"
    );
    let third = refresh(&second["refresh_token"]).json();
    assert_eq!(
        menshen
            .get(
                "/",
                &[(
                    "Authorization",
                    &bearer(third["access_token"].as_str().expect("a token"))
                )]
            )
            .status,
        200
    );

    let stolen = refresh(&session["refresh_token"]);
    assert_eq!(
        (stolen.status, stolen.error()),
        (401, Some("refresh_reused"))
    );
    let ended = refresh(&third["refresh_token"]);
    assert_eq!(
        (ended.status, ended.error()),
        (401, Some("session_revoked"))
    );
    let denied = menshen.get(
        "/",
        &[(
            "Authorization",
            &bearer(third["access_token"].as_str().expect("a token")),
        )],
    );
    assert_eq!(
        (denied.status, denied.error()),
        (401, Some("token_revoked")),
        "access tokens of the stolen session"
    );
    assert_eq!(
        refresh(&bystander["refresh_token"]).status,
        200,
        "the user's other session lives"
    );
    menshen.wait_for_log("refresh.reused");
    for token in ["", "x", "mrt1.AAAA"] {
        let answer = refresh(&json!(token));
        assert!(
            matches!(
                answer.error(),
                Some("refresh_invalid" | "validation_failed")
            ),
            "{token:?}: {answer:?}"
        );
    }
}

#[test]
fn signing_out_bites_at_once_and_only_where_it_should() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address).start();
    let tokens: Vec<String> = (0..4).map(|_| menshen.token("alice")).collect();
    let stranger = menshen.token("bob");
    let status = |token: &String| {
        menshen
            .get("/", &[("Authorization", &bearer(token))])
            .status
    };
    let logout = |token: &String, scope: &str| {
        menshen
            .post(
                "/auth/logout",
                &[("Authorization", &bearer(token))],
                &json!({ "scope": scope }),
            )
            .status
    };

    assert_eq!(logout(&tokens[0], "local"), 204);
    assert_eq!(
        tokens.iter().map(status).collect::<Vec<_>>(),
        [401, 200, 200, 200]
    );
    assert_eq!(logout(&tokens[1], "others"), 204);
    assert_eq!(
        tokens.iter().map(status).collect::<Vec<_>>(),
        [401, 200, 401, 401]
    );
    let fresh = menshen.token("alice");
    assert_eq!(logout(&fresh, "global"), 204);
    assert_eq!((status(&tokens[1]), status(&fresh)), (401, 401));
    assert_eq!(
        status(&menshen.token("alice")),
        200,
        "a new login works after a global sign-out"
    );
    assert_eq!(status(&stranger), 200);
}

#[test]
fn a_user_sees_and_changes_the_own_account_and_devices() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address).start();
    let (phone, tablet) = (menshen.login("alice"), menshen.login("alice"));
    let auth = bearer(phone["access_token"].as_str().expect("a token"));
    let as_phone = [
        ("Authorization", auth.as_str()),
        ("Content-Type", "application/json"),
    ];

    let change = json!({ "nickname": "Alice", "birthday": "2000-02-29" }).to_string();
    let changed = super::wire::ask(
        menshen.http,
        "PATCH",
        "/auth/me",
        &as_phone,
        change.as_bytes(),
    );
    assert_eq!(
        (changed.status, &changed.json()["nickname"]),
        (200, &json!("Alice"))
    );
    let cleared = super::wire::ask(
        menshen.http,
        "PATCH",
        "/auth/me",
        &as_phone,
        br#"{"birthday":null}"#,
    )
    .json();
    assert_eq!(
        (&cleared["nickname"], &cleared["birthday"]),
        (&json!("Alice"), &json!(null))
    );
    let wrong = super::wire::ask(
        menshen.http,
        "PATCH",
        "/auth/me",
        &as_phone,
        br#"{"birthday":"2001-02-29","nickname":7}"#,
    );
    assert_eq!(
        (wrong.status, wrong.error()),
        (400, Some("validation_failed"))
    );
    let fields: Vec<_> = wrong.json()["errors"]
        .as_array()
        .expect("errors")
        .iter()
        .map(|e| e["field"].clone())
        .collect();
    assert!(
        fields.contains(&json!("birthday")) && fields.contains(&json!("nickname")),
        "{fields:?}"
    );

    let sessions = menshen.get("/auth/sessions", &as_phone).json();
    let list = sessions
        .as_array()
        .or_else(|| sessions["sessions"].as_array())
        .expect("a list");
    assert_eq!(list.len(), 2);
    assert_eq!(
        list.iter()
            .filter(|session| session["current"] == true)
            .count(),
        1
    );
    let other = list
        .iter()
        .find(|session| session["current"] != true)
        .expect("the tablet");
    let path = format!(
        "/auth/sessions/{}",
        other["id"]
            .as_str()
            .or(other["sid"].as_str())
            .expect("an id")
    );
    assert_eq!(
        super::wire::ask(menshen.http, "DELETE", &path, &as_phone, b"").status,
        204
    );
    let tablet = bearer(tablet["access_token"].as_str().expect("a token"));
    assert_eq!(menshen.get("/", &[("Authorization", &tablet)]).status, 401);
    let bob = bearer(&menshen.token("bob"));
    assert_eq!(
        super::wire::ask(
            menshen.http,
            "DELETE",
            &path,
            &[("Authorization", &bob)],
            b""
        )
        .status,
        404,
        "not his"
    );
}

#[test]
fn ten_parallel_refreshes_of_one_token_all_get_the_same_successor() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address).start();
    let session = menshen.login("alice");
    let token = &session["refresh_token"];
    let answers: Vec<_> = std::thread::scope(|scope| {
        let tasks: Vec<_> = (0..10)
            .map(|_| {
                scope.spawn(|| {
                    menshen
                        .post("/auth/refresh", &[], &json!({ "refresh_token": token }))
                        .json()
                })
            })
            .collect();
        tasks
            .into_iter()
            .map(|task| task.join().expect("an answer"))
            .collect()
    });
    assert_eq!(answers.len(), 10);
    for answer in &answers {
        assert_eq!(
            answer["refresh_token"], answers[0]["refresh_token"],
            "{answer}"
        );
    }
}

#[test]
fn two_hundred_parallel_first_logins_make_one_user() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address).start();
    let answers: Vec<_> = std::thread::scope(|scope| {
        let tasks: Vec<_> = (0..200)
            .map(|_| scope.spawn(|| menshen.login("alice")))
            .collect();
        tasks
            .into_iter()
            .map(|task| task.join().expect("an answer"))
            .collect()
    });
    assert!(
        answers
            .iter()
            .all(|answer| answer["user"]["id"] == answers[0]["user"]["id"])
    );
}

#[test]
fn logs_and_metrics_carry_no_secret_and_nothing_personal() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address)
        .with("[telemetry]\nlog_level = \"trace\"")
        .start();
    let session = menshen
        .post(
            "/auth/wechat/login",
            &[],
            &json!({ "code": "openid-of-alice", "nickname": "Nickname7" }),
        )
        .json();
    let token = session["access_token"].as_str().expect("a token");
    let refresh = session["refresh_token"].as_str().expect("a token");
    menshen.get(
        "/orders/13800138000?secret=query7",
        &[("Authorization", &bearer(token))],
    );
    menshen.post("/auth/refresh", &[], &json!({ "refresh_token": refresh }));
    menshen.post(
        "/auth/logout",
        &[("Authorization", &bearer(token))],
        &json!({}),
    );
    menshen.wait_for_log("/auth/logout");
    let metrics = super::wire::ask(menshen.admin, "GET", "/metrics", &[], b"").body;
    let written = format!(
        "{}{}",
        menshen.log().join("\n"),
        String::from_utf8(metrics).expect("text")
    );
    for secret in [
        token,
        refresh,
        "openid-of-alice",
        "Nickname7",
        "13800138000",
        "query7",
    ] {
        assert!(!written.contains(secret), "{secret} was written");
    }
    assert!(written.contains("login.succeeded") && written.contains("\"path\":\"/orders/***\""));
}

#[test]
fn metrics_count_what_happened_under_their_names() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address).start();
    let token = menshen.token("alice");
    menshen.get("/x", &[("Authorization", &bearer(&token))]);
    menshen.get("/x", &[]);
    assert!(menshen.metric("menshen_logins_total{method=\"wechat\",result=\"success\"}") >= 1.0);
    assert!(menshen.metric("menshen_sessions_opened_total") >= 1.0);
    menshen.wait_for_metric(
        "menshen_requests_total{decision=\"forwarded\",rule=\"default\",status=\"2xx\"}",
        1.0,
    );
    menshen.wait_for_metric(
        "menshen_requests_total{decision=\"refused\",rule=\"default\",status=\"4xx\"}",
        1.0,
    );
    menshen.wait_for_metric(
        "menshen_request_duration_seconds_count{rule=\"default\"}",
        2.0,
    );
    menshen.wait_for_metric("menshen_gate_duration_seconds_count", 2.0);
    assert!(menshen.metric("menshen_store_size_bytes") > 0.0);
    assert!(
        (menshen.metric(&format!(
            "menshen_build_info{{version=\"{}\"}}",
            env!("CARGO_PKG_VERSION")
        )) - 1.0)
            .abs()
            < 0.1
    );
    for path in ["/livez", "/readyz", "/startupz"] {
        assert_eq!(
            super::wire::ask(menshen.admin, "GET", path, &[], b"").status,
            200,
            "{path}"
        );
    }
}
