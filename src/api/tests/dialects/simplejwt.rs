//! `simplejwt`, response by response.

use super::*;
use crate::{store::RightsChange, types::UserId};

async fn refresh(world: &World, token: &str) -> Answered {
    post(world, "/api/token/refresh/", &json!({ "refresh": token })).await
}

#[tokio::test]
async fn a_login_gives_both_tokens_and_the_user() {
    let world = speaking(DialectKind::Simplejwt).await;
    let answer = post(&world, "/api/login/", &json!({ "code": "alice-1" })).await;
    let (access, wrapped) = (answer.text("access"), answer.text("refresh"));
    let expected = json!({
        "access": access,
        "refresh": wrapped,
        "user": {
            "id": 1,
            "username": "",
            "avatar_url": "",
            "phone": "",
            "email": "",
            "user_type": "wechat",
            "is_staff": false,
            "last_login_at": "2027-01-15T08:00:00Z",
        },
    });
    assert_eq!(told(&answer), (200, &expected));
    let (access, wrapped) = (claims(access), claims(wrapped));
    assert_eq!(
        (&access["token_type"], &access["user_id"]),
        (&json!("access"), &json!("1"))
    );
    assert_eq!(
        (&wrapped["token_type"], &wrapped["user_id"]),
        (&json!("refresh"), &json!("1"))
    );
    assert!(access["jti"].is_string() && wrapped["jti"].is_string());
    assert_eq!(
        wrapped["exp"],
        START.as_secs() + 90 * DAY,
        "when the session ends at the latest"
    );
}

#[tokio::test]
async fn the_first_refresh_token_works_on_the_last_day() {
    let world = speaking(DialectKind::Simplejwt).await;
    let login = post(&world, "/api/login/", &json!({ "code": "alice-1" })).await;
    let first = login.text("refresh").to_owned();
    for _ in 0..3 {
        world.advance(29 * DAY);
        let renewed = refresh(&world, &first).await;
        assert_eq!(
            renewed.body.as_object().unwrap().keys().collect::<Vec<_>>(),
            ["access"],
            "{}",
            renewed.body
        );
        assert_eq!(claims(renewed.text("access"))["token_type"], "access");
    }
    world.advance(3 * DAY - 1);
    assert_eq!(
        refresh(&world, &first).await.status.as_u16(),
        200,
        "the last second"
    );
    world.advance(1);
    let over = json!({ "detail": "Token is expired", "code": "token_not_valid" });
    assert_eq!(told(&refresh(&world, &first).await), (401, &over));
    assert_eq!(world.metrics.refresh.with_label_values(&["kept"]).get(), 4);
}

#[tokio::test]
async fn a_wrapped_token_that_is_rotated_elsewhere_is_theft() {
    let world = speaking(DialectKind::Simplejwt).await;
    let login = post(&world, "/api/login/", &json!({ "code": "alice-1" })).await;
    let wrapped = login.text("refresh").to_owned();
    let inside = claims(&wrapped)["jti"].as_str().unwrap().to_owned();
    let second = world.refresh(&wrapped).await;
    assert_eq!(
        second.says(),
        (200, ""),
        "the auth API takes it too, and rotates"
    );
    let reused = refresh(&world, &inside).await;
    assert_eq!(
        reused.header("x-menshen-error"),
        "refresh_reused",
        "two hold its tokens"
    );
    assert_eq!(
        told(&reused),
        (
            401,
            &json!({ "detail": "Token is blacklisted", "code": "token_not_valid" })
        )
    );
    assert_eq!(
        world.refresh(second.text("refresh_token")).await.says(),
        (401, "session_revoked")
    );
    assert_eq!(world.audited("refresh.reused"), 1);
}

#[tokio::test]
async fn a_refresh_token_opens_nothing_and_an_access_token_refreshes_nothing() {
    let world = speaking(DialectKind::Simplejwt).await;
    let login = post(&world, "/api/login/", &json!({ "code": "alice-1" })).await;
    let me = world
        .send(Ask::get("/auth/me").token(login.text("refresh")))
        .await;
    assert_eq!(me.says(), (401, "token_invalid"));
    let refused = json!({ "detail": "Token has wrong type", "code": "token_not_valid" });
    assert_eq!(
        told(&refresh(&world, login.text("access")).await),
        (401, &refused)
    );
    assert_eq!(
        refresh(&world, login.text("access"))
            .await
            .header("x-menshen-error"),
        "refresh_invalid"
    );
}

/// `tests/it/backends.rs` compares it with the library itself, as far as that works without moving
/// the clock of the library.
#[tokio::test]
async fn a_refresh_that_is_refused_has_the_words_of_simplejwt_5_5() {
    let world = speaking(DialectKind::Simplejwt).await;
    let login = post(&world, "/api/login/", &json!({ "code": "alice-1" })).await;
    let good = login.text("refresh").to_owned();
    let not_valid = |detail: &str| json!({ "detail": detail, "code": "token_not_valid" });
    let mut forged = good.clone();
    forged.replace_range(..2, "zz");
    for (body, status, expected) in [
        (
            json!({}),
            400,
            json!({ "refresh": ["This field is required."] }),
        ),
        (
            json!({ "refresh": null }),
            400,
            json!({ "refresh": ["This field may not be null."] }),
        ),
        (
            json!({ "refresh": "" }),
            400,
            json!({ "refresh": ["This field may not be blank."] }),
        ),
        (
            json!({ "refresh": " \t\n" }),
            400,
            json!({ "refresh": ["This field may not be blank."] }),
        ),
        (
            json!({ "refresh": true }),
            400,
            json!({ "refresh": ["Not a valid string."] }),
        ),
        (
            json!({ "refresh": [good] }),
            400,
            json!({ "refresh": ["Not a valid string."] }),
        ),
        (
            json!({ "refresh": {} }),
            400,
            json!({ "refresh": ["Not a valid string."] }),
        ),
        (json!({ "refresh": 7 }), 401, not_valid("Token is invalid")),
        (
            json!({ "refresh": -1.5 }),
            401,
            not_valid("Token is invalid"),
        ),
        (
            json!({ "refresh": "garbage" }),
            401,
            not_valid("Token is invalid"),
        ),
        (
            json!({ "refresh": "mrt2_x" }),
            401,
            not_valid("Token is invalid"),
        ),
        (
            json!({ "refresh": login.text("access") }),
            401,
            not_valid("Token has wrong type"),
        ),
    ] {
        assert_eq!(
            told(&post(&world, "/api/token/refresh/", &body).await),
            (status, &expected),
            "{body}"
        );
    }
    let out = world
        .send(Ask::new(http::Method::POST, "/auth/logout").token(login.text("access")))
        .await;
    assert_eq!(out.says(), (204, ""));
    assert_eq!(
        told(&refresh(&world, &good).await),
        (401, &not_valid("Token is blacklisted"))
    );
    let old = post(&world, "/api/login/", &json!({ "code": "alice-2" })).await;
    world.advance(90 * DAY);
    assert_eq!(
        told(&refresh(&world, old.text("refresh")).await),
        (401, &not_valid("Token is expired"))
    );
    assert_eq!(
        refresh(&world, old.text("refresh"))
            .await
            .header("x-menshen-error"),
        "refresh_invalid"
    );
    // The auth API does not distinguish an expired one from an invalid one.
    assert_eq!(
        world.refresh(old.text("refresh")).await.says(),
        (401, "refresh_invalid")
    );
}

#[tokio::test]
async fn a_user_who_was_shut_out_has_no_active_account() {
    let world = speaking(DialectKind::Simplejwt).await;
    let login = post(&world, "/api/login/", &json!({ "code": "alice-1" })).await;
    let user = UserId::parse("1").unwrap();
    world
        .store
        .change_rights(&user, &RightsChange::Ban, START)
        .await
        .unwrap();
    let expected = json!({ "detail": "No active account found for the given token." });
    assert_eq!(
        told(&refresh(&world, login.text("refresh")).await),
        (401, &expected)
    );
    let again = post(&world, "/api/login/", &json!({ "code": "alice-2" })).await;
    assert_eq!(
        told(&again),
        (
            401,
            &json!({ "detail": "User is inactive", "code": "user_inactive" })
        )
    );
}

/// A WeChat that is unreachable, closes the connection, or is another server.
#[tokio::test]
async fn wechat_that_does_not_answer_is_a_503() {
    let expected = json!({ "error": "Failed to connect to WeChat API" });
    let world = speaking(DialectKind::Simplejwt).await;
    for code in [
        "slow.5000-1",
        "empty-1",
        "garbage-1",
        "huge-1",
        "cut-1",
        "moved-1",
        "down-1",
    ] {
        let answer = post(&world, "/api/login/", &json!({ "code": code })).await;
        assert_eq!(
            (told(&answer), answer.header("x-menshen-error")),
            ((503, &expected), "wechat_busy"),
            "{code}"
        );
        assert_eq!(answer.header("retry-after"), "2", "{code}");
    }
    // One that accepts the connection and closes it before a response, and one without a listener.
    let resetting = tokio::net::TcpListener::bind(("127.0.0.1", 0))
        .await
        .unwrap();
    let nobody = {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.local_addr().unwrap()
    };
    let addresses = [resetting.local_addr().unwrap(), nobody];
    tokio::spawn(async move {
        use tokio::io::AsyncReadExt;
        while let Ok((mut stream, _)) = resetting.accept().await {
            // A socket that is closed with unread data sends a reset.
            drop(stream.read(&mut [0; 16]).await);
        }
    });
    for address in addresses {
        let world = World::with(|config: &mut Config| {
            config.wechat.base_url = format!("http://{address}");
            config.dialect = vec![DialectConfig::for_kind(DialectKind::Simplejwt)];
        })
        .await;
        let answer = post(&world, "/api/login/", &json!({ "code": "alice-1" })).await;
        assert_eq!(told(&answer), (503, &expected), "{address}");
    }
}

#[tokio::test]
async fn errors_are_those_of_such_a_backend() {
    let world = speaking(DialectKind::Simplejwt).await;
    let answer = async |code: &str| post(&world, "/api/login/", &json!({ "code": code })).await;
    let refused = |errcode: i64, errmsg: &str| json!({ "error": "WeChat API error", "errcode": errcode, "errmsg": errmsg });
    for (code, status, body) in [
        ("fail.40029-1", 400, refused(40029, "invalid code")),
        ("busy-1", 400, refused(-1, "system error")),
    ] {
        assert_eq!(told(&answer(code).await), (status, &body), "{code}");
    }
    let no_answer = [
        r#"{"session_key":"k","errcode":0}"#,
        "{}",
        "[]",
        "null",
        r#"{"openid":""}"#,
        r#"{"openid":7}"#,
    ];
    for (n, odd) in no_answer.into_iter().enumerate() {
        let code = format!("odd{n}-1");
        world.wechat.set_response(&code, odd);
        assert_eq!(
            told(&answer(&code).await),
            (500, &json!({ "error": "Invalid WeChat response" })),
            "{odd}"
        );
    }
    for body in [
        json!({}),
        json!({ "code": "" }),
        json!({ "code": 7 }),
        json!({ "code": ["a"] }),
    ] {
        let answer = post(&world, "/api/login/", &body).await;
        if body["code"] == 7 {
            // A number counts as its digits, and is a code like any other.
            assert_eq!(answer.status.as_u16(), 200);
            continue;
        }
        assert_eq!(
            told(&answer),
            (400, &json!({ "error": "Code is required" })),
            "{body}"
        );
    }
    let wrong = post(
        &world,
        "/api/admin/login/",
        &json!({ "username": "root", "password": "x" }),
    )
    .await;
    assert_eq!(
        told(&wrong),
        (
            401,
            &json!({ "detail": "No active account found with the given credentials" })
        )
    );
    for (body, expected) in [
        (
            json!({ "username": "root" }),
            json!({ "password": ["This field is required."] }),
        ),
        (
            json!({ "username": null, "password": "" }),
            json!({ "username": ["This field may not be null."], "password": ["This field may not be blank."] }),
        ),
        (
            json!({ "username": " ", "password": false }),
            json!({ "username": ["This field may not be blank."], "password": ["Not a valid string."] }),
        ),
    ] {
        assert_eq!(
            told(&post(&world, "/api/admin/login/", &body).await),
            (400, &expected),
            "{body}"
        );
    }
}

#[tokio::test]
async fn a_name_that_nobody_can_have_is_one_that_nobody_has() {
    let world = speaking(DialectKind::Simplejwt).await;
    for (username, password) in [("管理员", "x"), ("a b", "x"), ("root", &*"x".repeat(400))] {
        let answer = post(
            &world,
            "/api/admin/login/",
            &json!({ "username": username, "password": password }),
        )
        .await;
        let expected = json!({ "detail": "No active account found with the given credentials" });
        assert_eq!(told(&answer), (401, &expected), "{username}");
    }
}

#[tokio::test]
async fn an_id_beyond_the_numbers_of_json_is_a_text() {
    let world = World::with(|config: &mut Config| {
        config.users.ids = UserIds::Integer;
        config.users.first_integer = Some(9_007_199_254_740_992);
        config.dialect = vec![DialectConfig::for_kind(DialectKind::Simplejwt)];
    })
    .await;
    let exact = post(&world, "/api/login/", &json!({ "code": "alice-1" })).await;
    assert_eq!(exact.body["user"]["id"], 9_007_199_254_740_992_u64);
    let beyond = post(&world, "/api/login/", &json!({ "code": "bob-1" })).await;
    assert_eq!(beyond.body["user"]["id"], "9007199254740993");
    assert_eq!(claims(beyond.text("access"))["user_id"], "9007199254740993");
}

#[tokio::test]
async fn too_many_are_throttled_with_the_wait() {
    let world = World::with(|config: &mut Config| {
        config.limits.login_per_ip = "1/1m".parse().unwrap();
        config.dialect = vec![DialectConfig::for_kind(DialectKind::Simplejwt)];
    })
    .await;
    post(&world, "/api/login/", &json!({ "code": "alice-1" })).await;
    let answer = post(&world, "/api/login/", &json!({ "code": "alice-2" })).await;
    let expected = json!({ "detail": format!("Request was throttled. Expected available in {} seconds.", answer.wait()) });
    assert_eq!(told(&answer), (429, &expected));
}
