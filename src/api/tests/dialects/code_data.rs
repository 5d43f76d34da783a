//! `code-data`, response by response.

use super::*;

const PHONE: &str = "13800138000";
const E164: &str = "+8613800138000";

#[tokio::test]
async fn a_phone_signs_in_with_the_code_that_it_got() {
    let world = speaking(DialectKind::CodeData).await;
    let sent = post(&world, "/sendsms", &json!({ "phone": PHONE })).await;
    assert_eq!(
        told(&sent),
        (200, &json!({ "code": 200, "message": "验证码已发送" }))
    );
    world.advance(20);
    let soon = post(&world, "/sendsms", &json!({ "phone": PHONE })).await;
    assert_eq!(
        told(&soon),
        (429, &json!({ "code": 429, "error": "请在40秒后再试" }))
    );
    assert_eq!(soon.wait(), 40);
    let code = world.sms.code_on(E164).expect("a message");
    let login = async |code: &str| {
        post(
            &world,
            "/login",
            &json!({ "phone": PHONE, "verificationCode": code, "clientType": "app" }),
        )
        .await
    };
    let wrong = if code == "000000" { "000001" } else { "000000" };
    assert_eq!(
        told(&login(wrong).await),
        (400, &json!({ "code": 400, "error": "验证码不正确" }))
    );
    let answer = login(&code).await;
    let token = answer.body["data"]["token"].as_str().unwrap();
    assert_eq!(
        told(&answer),
        (
            200,
            &json!({ "code": 200, "message": "登录成功", "data": { "token": token } })
        )
    );
    let claims = claims(token);
    assert_eq!(
        (&claims["_id"], &claims["phone"], &claims["clientType"]),
        (&json!(1), &json!("138****8000"), &json!("app"))
    );
    assert_eq!(
        claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(),
        3600
    );
    assert_eq!(
        told(&login(&code).await),
        (
            400,
            &json!({ "code": 400, "error": "验证码不存在或已过期" })
        ),
        "used"
    );
    let other = json!({ "phone": "13900139000", "verificationCode": "123456" });
    assert_eq!(
        post(&world, "/login", &other).await.body["error"],
        "验证码不存在或已过期",
        "never sent"
    );
    // The auth API distinguishes neither.
    assert_eq!(
        world.sms_login("13900139000", "123456").await.says(),
        (400, "code_invalid")
    );
}

#[tokio::test]
async fn a_phone_is_whole_in_a_token_where_that_is_wanted() {
    let world = World::with(|config: &mut Config| {
        config.dialect = vec![DialectConfig {
            phone: Some(ShownPhone::Full),
            ..DialectConfig::for_kind(DialectKind::CodeData)
        }];
    })
    .await;
    let code = world.sms_code(E164).await;
    let answer = post(
        &world,
        "/login",
        &json!({ "phone": PHONE, "verificationCode": code }),
    )
    .await;
    assert_eq!(
        claims(answer.body["data"]["token"].as_str().unwrap())["phone"],
        PHONE
    );
}

#[tokio::test]
async fn bad_fields_are_told_as_the_validator_tells_them() {
    let world = speaking(DialectKind::CodeData).await;
    let wrong = |value: Option<Value>, msg: &str, path: &str| {
        let mut item = json!({ "type": "field", "msg": msg, "path": path, "location": "body" });
        if let Some(value) = value {
            item["value"] = value;
        }
        item
    };
    let phone = |value: Option<Value>, n: usize| {
        let says = [
            "手机号必须是11位",
            "请输入有效的手机号",
            "请输入有效的手机号",
        ];
        wrong(value, says[n], "phone")
    };
    for (sent, expected) in [
        (json!({}), vec![phone(None, 0), phone(None, 1)]),
        (
            json!({ "phone": "123" }),
            vec![phone(Some(json!("123")), 0), phone(Some(json!("123")), 1)],
        ),
        (
            json!({ "phone": "03800138000" }),
            vec![phone(Some(json!("03800138000")), 1)],
        ),
        // The validator accepts it, but no message can be sent to it.
        (
            json!({ "phone": "23800138000" }),
            vec![phone(Some(json!("23800138000")), 1)],
        ),
    ] {
        assert_eq!(
            told(&post(&world, "/sendsms", &sent).await),
            (400, &json!({ "errors": expected })),
            "{sent}"
        );
    }
    let sent = json!({ "phone": 13_800_138_000_u64, "verificationCode": "12a" });
    let code = |n: usize| {
        wrong(
            Some(json!("12a")),
            ["验证码必须是6位数字", "验证码必须是6位数字"][n],
            "verificationCode",
        )
    };
    let expected = vec![phone(Some(json!(13_800_138_000_u64)), 1), code(0), code(1)];
    assert_eq!(
        told(&post(&world, "/login", &sent).await),
        (400, &json!({ "code": 400, "errors": expected }))
    );
}

#[tokio::test]
async fn a_phone_and_a_code_are_taken_as_they_are_pasted() {
    let world = speaking(DialectKind::CodeData).await;
    let sent = post(
        &world,
        "/sendsms",
        &json!({ "phone": "\u{202d}138 0013\u{2013}8000\u{202c}" }),
    )
    .await;
    assert_eq!(told(&sent).0, 200, "{}", sent.body);
    let code = world.sms.code_on(E164).expect("a message");
    let pasted = format!("\u{200b}{} {}", &code[..3], &code[3..]);
    let body = json!({ "phone": "１３８００１３８０００", "verificationCode": pasted });
    assert_eq!(told(&post(&world, "/login", &body).await).0, 200);
    for phone in [
        json!("-13800138000"),
        json!(-13_800_138_000_i64),
        json!("\u{2013}13800138000"),
    ] {
        let answer = post(&world, "/sendsms", &json!({ "phone": phone })).await;
        assert_eq!(
            (told(&answer).0, &answer.body["errors"][0]["value"]),
            (400, &phone)
        );
    }
    assert!(world.sms.code_on("+8613000000000").is_none());
}

#[tokio::test]
async fn a_number_that_the_vendor_refuses_is_a_bad_field() {
    let world = speaking(DialectKind::CodeData).await;
    world.sms.set_scenario(
        SmsProvider::Aliyun,
        Scenario::Refuse("isv.MOBILE_NUMBER_ILLEGAL".to_owned()),
    );
    let answer = post(&world, "/sendsms", &json!({ "phone": PHONE })).await;
    let expected = json!({
        "errors": [{ "type": "field", "value": PHONE, "msg": "请输入有效的手机号", "path": "phone", "location": "body" }],
    });
    assert_eq!(told(&answer), (400, &expected));
}

#[tokio::test]
async fn wechat_signs_in_too() {
    let world = speaking(DialectKind::CodeData).await;
    let answer = post(&world, "/wechatlogin", &json!({ "code": "alice-1" })).await;
    let token = answer.body["data"]["token"].as_str().unwrap();
    assert_eq!(
        told(&answer),
        (
            200,
            &json!({ "code": 200, "message": "微信登录成功", "data": { "token": token } })
        )
    );
    let claims = claims(token);
    assert!(
        claims.get("phone").is_none() && claims.get("openid").is_none(),
        "{claims}"
    );
    assert_eq!(claims["clientType"], "miniprogram");
    for (code, status, error) in [
        ("fail.40029-1", 400, "invalid code"),
        ("slow.5000-1", 500, "服务器内部错误"),
        ("empty-1", 500, "服务器内部错误"),
    ] {
        let answer = post(&world, "/wechatlogin", &json!({ "code": code })).await;
        assert_eq!(
            told(&answer),
            (status, &json!({ "code": status, "error": error })),
            "{code}"
        );
    }
}

#[tokio::test]
async fn a_token_may_stand_alone() {
    let world = World::with(|config: &mut Config| {
        let mut own = super::super::dialects_custom::parse(
            "[[dialect]]\nkind = 'custom'\nprefix = '/x'\nbare_token = true\n[[dialect.route]]\nmethod = 'GET'\npath = '/me'\n\
             action = 'me'\nbody = '{ \"id\": \"{user.id}\" }'\n[[dialect.error]]\nbody = '\"{code}\"'",
        );
        config.dialect.append(&mut own);
    })
    .await;
    let token = world.login("alice-1").await.text("access_token").to_owned();
    for (header, status) in [
        (token.clone(), 200),
        (format!("Bearer {token}"), 200),
        (format!("{token}x"), 401),
    ] {
        let answer = world
            .send(Ask::get("/x/me").header("authorization", &header))
            .await;
        assert_eq!(answer.status.as_u16(), status);
    }
    let twice = Ask::get("/x/me")
        .header("authorization", &token)
        .header("authorization", &token);
    assert_eq!(
        told(&world.send(twice).await),
        (400, &json!("request_malformed"))
    );
    let native = world
        .send(Ask::get("/auth/me").header("authorization", &token))
        .await;
    assert_eq!(
        native.says(),
        (401, "token_invalid"),
        "only where it is said"
    );
}
