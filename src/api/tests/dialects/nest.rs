//! `nest`, response by response.

use super::*;

async fn login(world: &World, code: &str, nickname: &str) -> Answered {
    let body =
        json!({ "code": code, "nickName": nickname, "avatarUrl": "https://a.example/1.png" });
    let answer = post(world, "/api/v1/auth/wx-login", &body).await;
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.body);
    answer
}

fn token(answer: &Answered) -> String {
    answer.body["data"]["access_token"]
        .as_str()
        .expect("a token")
        .to_owned()
}

async fn refresh(world: &World, token: &str) -> Answered {
    world
        .send(Ask::new(http::Method::POST, "/api/v1/auth/refresh").token(token))
        .await
}

#[tokio::test]
async fn a_login_is_answered_as_the_document_has_it() {
    let world = speaking(DialectKind::Nest).await;
    let answer = login(&world, "alice-1", "张三").await;
    let openid = answer.body["data"]["user"]["openid"].clone();
    let expected = json!({
        "code": 200,
        "message": "success",
        "data": {
            "access_token": token(&answer),
            "token_type": "Bearer",
            "expires_in": 604_800,
            "user": {
                "id": 1,
                "openid": openid,
                "nickname": "张三",
                "avatar": "https://a.example/1.png",
                "created_at": "2027-01-15T08:00:00.000Z",
            },
        },
        "timestamp": "2027-01-15T08:00:00.000Z",
    });
    assert_eq!(told(&answer), (200, &expected));
    let order = [
        "\"code\"",
        "\"message\"",
        "\"data\"",
        "\"access_token\"",
        "\"expires_in\"",
        "\"timestamp\"",
    ];
    let text = String::from_utf8(answer.bytes.to_vec()).unwrap();
    assert!(
        order.map(|name| text.find(name).unwrap()).is_sorted(),
        "in the order of the document"
    );
    let claims = claims(&token(&answer));
    assert_eq!(
        (&claims["sub"], &claims["openid"], &claims["nickname"]),
        (&json!("1"), &openid, &json!("张三"))
    );
    assert_eq!(
        claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(),
        604_800
    );
}

#[tokio::test]
async fn the_profile_of_each_login_counts_but_nobody_s_name_is_none() {
    let world = speaking(DialectKind::Nest).await;
    let name = |answer: &Answered| answer.body["data"]["user"]["nickname"].clone();
    assert_eq!(
        name(&login(&world, "alice-1", "微信用户").await),
        "微信用户",
        "what a stranger is shown as"
    );
    assert_eq!(name(&login(&world, "alice-2", "张三").await), "张三");
    assert_eq!(name(&login(&world, "alice-3", "微信用户").await), "张三");
    assert_eq!(
        name(&login(&world, "alice-4", "").await),
        "张三",
        "one that is not valid keeps nobody out"
    );
    assert_eq!(name(&login(&world, "alice-5", "李四").await), "李四");
    // WeChat's anonymous profile: neither its nickname nor its avatar replaces anything.
    let grey = json!({ "code": "alice-7", "nickName": "微信用户", "avatarUrl": "https://thirdwx.qlogo.cn/grey/132" });
    let answer = post(&world, "/api/v1/auth/wx-login", &grey).await;
    assert_eq!(
        answer.body["data"]["user"]["avatar"],
        "https://a.example/1.png"
    );
    let body = json!({ "code": "alice-6", "nickName": 7, "avatarUrl": "wxfile://tmp/a.png" });
    let odd = post(&world, "/api/v1/auth/wx-login", &body).await;
    assert_eq!(
        (name(&odd), &odd.body["data"]["user"]["avatar"]),
        (json!("李四"), &json!("https://a.example/1.png"))
    );
}

#[tokio::test]
async fn the_login_and_its_fields_have_two_names() {
    let world = speaking(DialectKind::Nest).await;
    let (one, other) = ("https://a.example/1.png", "https://a.example/2.png");
    let mut logins = 0;
    for path in ["/api/v1/auth/wx-login", "/api/v1/auth/wechat-login"] {
        for (body, nickname, avatar) in [
            (json!({}), "微信用户", ""),
            (json!({ "nickName": "张三", "avatarUrl": one }), "张三", one),
            (
                json!({ "nickname": "李四", "avatar": other }),
                "李四",
                other,
            ),
            // The first one with a value counts.
            (
                json!({ "nickName": "张三", "nickname": "李四", "avatarUrl": one, "avatar": other }),
                "张三",
                one,
            ),
            (
                json!({ "nickName": "", "nickname": "李四", "avatarUrl": null, "avatar": other }),
                "李四",
                other,
            ),
            (
                json!({ "nickName": "张三", "nickname": null, "avatarUrl": one, "avatar": "" }),
                "张三",
                one,
            ),
        ] {
            logins += 1;
            let mut body = body;
            body["code"] = json!(format!("user{logins}-1"));
            let answer = post(&world, path, &body).await;
            let user = &answer.body["data"]["user"];
            assert_eq!(
                (answer.status.as_u16(), &user["nickname"]),
                (200, &json!(nickname)),
                "{path} {body}"
            );
            assert_eq!(user["avatar"], avatar, "{path} {body}");
        }
        let empty = post(&world, path, &json!({})).await;
        assert_eq!(
            (told(&empty).0, &empty.body["message"]),
            (400, &json!("缺少登录凭证 code"))
        );
        let refused = post(
            &world,
            path,
            &json!({ "code": format!("fail.40029-{logins}") }),
        )
        .await;
        assert_eq!(
            (told(&refused).0, &refused.body["error"]),
            (401, &json!("Unauthorized"))
        );
    }
    assert_eq!(logins, 12);
}

#[tokio::test]
async fn an_access_token_is_renewed_while_its_session_lives() {
    let world = speaking(DialectKind::Nest).await;
    let first = token(&login(&world, "alice-1", "张三").await);
    let renewed = refresh(&world, &first).await;
    let expected = json!({
        "code": 200,
        "message": "success",
        "data": { "access_token": token(&renewed), "expires_in": 604_800 },
        "timestamp": "2027-01-15T08:00:00.000Z",
    });
    assert_eq!(told(&renewed), (200, &expected));
    assert_eq!(
        claims(&token(&renewed))["openid"],
        claims(&first)["openid"],
        "also what only the login knew"
    );
    // The token expired three weeks ago; the session is active as long as it is used within its
    // idle time.
    let mut newest = token(&renewed);
    for day in [29, 58, 87] {
        world.advance(29 * DAY);
        let me = world.send(Ask::get("/auth/me").token(&newest)).await;
        assert_eq!(
            me.says(),
            (401, "token_expired"),
            "day {day}: it opens nothing"
        );
        let renewed = refresh(&world, &newest).await;
        assert_eq!(renewed.status.as_u16(), 200, "day {day}");
        let of_first = refresh(&world, &first).await;
        assert_eq!(
            of_first.status.as_u16(),
            if day == 29 { 200 } else { 401 },
            "day {day}: one that ended too long ago"
        );
        newest = token(&renewed);
    }
    world.advance(3 * DAY);
    let over = refresh(&world, &newest).await;
    let expected = json!({
        "code": 401,
        "message": "登录状态已失效，请重新登录",
        "error": "Unauthorized",
        "timestamp": "2027-04-15T08:00:00.000Z",
    });
    assert_eq!(told(&over), (401, &expected));
}

#[tokio::test]
async fn a_session_that_was_signed_out_is_not_renewed() {
    let world = speaking(DialectKind::Nest).await;
    let first = token(&login(&world, "alice-1", "张三").await);
    let second = token(&refresh(&world, &first).await);
    let out = world
        .send(Ask::new(http::Method::POST, "/api/v1/auth/logout").token(&second))
        .await;
    let expected = json!({
        "code": 200,
        "message": "退出成功",
        "data": { "message": "退出成功" },
        "timestamp": "2027-01-15T08:00:00.000Z",
    });
    assert_eq!(told(&out), (200, &expected));
    for token in [&first, &second] {
        let refused = refresh(&world, token).await;
        assert_eq!(
            (
                refused.header("x-menshen-error"),
                refused.body["code"].clone()
            ),
            ("session_revoked", json!(401))
        );
    }
    for header in ["Bearer", "Bearer x.y.z", &first, "Basic YTpi"] {
        let ask =
            Ask::new(http::Method::POST, "/api/v1/auth/refresh").header("authorization", header);
        assert_eq!(world.send(ask).await.status.as_u16(), 401, "{header}");
    }
    assert_eq!(
        world
            .send(Ask::new(http::Method::POST, "/api/v1/auth/refresh"))
            .await
            .body["message"],
        "请先登录"
    );
}

#[tokio::test]
async fn a_token_of_another_kind_renews_nothing() {
    let world = speaking(DialectKind::Nest).await;
    let native = world.login("alice-1").await;
    for kind in ["refresh_token", "access_token"] {
        let answer = refresh(&world, native.text(kind)).await;
        assert_eq!(answer.header("x-menshen-error"), "token_invalid", "{kind}");
    }
    // A refresh token of this API is valid on the auth API's routes too, but its successor from
    // there is not valid here.
    let own = token(&login(&world, "alice-2", "张三").await);
    assert_eq!(
        world.send(Ask::get("/auth/me").token(&own)).await.says(),
        (200, "")
    );
    assert_eq!(claims(&own)["renewable"], true);
}

#[tokio::test]
async fn what_wechat_refuses_is_a_401_with_its_number() {
    let world = speaking(DialectKind::Nest).await;
    world
        .wechat
        .set_response("odd-1", r#"{"session_key":"k","errcode":0}"#);
    for (code, status, message) in [
        (
            "fail.40029-1",
            401,
            "微信登录失败: invalid code (错误码: 40029)",
        ),
        (
            "fail.40226-1",
            401,
            "微信登录失败: code blocked (错误码: 40226)",
        ),
        (
            "fail.45011-1",
            401,
            "微信登录失败: api minute-quota reach limit, retry next minute (错误码: 45011)",
        ),
        (
            "fail.99999-1",
            401,
            "微信登录失败: refused by wechat (错误码: 99999)",
        ),
        ("odd-1", 503, "微信登录失败: 微信返回的数据无效"),
        (
            "empty-1",
            503,
            "微信登录失败: 微信服务暂时不可用，请稍后再试",
        ),
        (
            "slow.5000-1",
            503,
            "微信登录失败: 微信服务暂时不可用，请稍后再试",
        ),
    ] {
        let answer = post(&world, "/api/v1/auth/wx-login", &json!({ "code": code })).await;
        assert_eq!(
            (told(&answer).0, &answer.body["message"]),
            (status, &json!(message)),
            "{code}"
        );
        assert_eq!(answer.body["code"], status);
        assert_eq!(answer.body.as_object().unwrap().len(), 4);
    }
    login(&world, "alice-1", "张三").await;
    world.advance(60);
    let again = post(
        &world,
        "/api/v1/auth/wx-login",
        &json!({ "code": "alice-1" }),
    )
    .await;
    assert_eq!(
        again.body["message"],
        "微信登录失败: code been used (错误码: 40163)"
    );
    let empty = post(&world, "/api/v1/auth/wx-login", &json!({})).await;
    assert_eq!(
        (told(&empty).0, &empty.body["error"]),
        (400, &json!("Bad Request"))
    );
}
