//! `success-data`, response by response.

use super::*;

async fn login(world: &World, code: &str) -> Value {
    post(world, "/api/login", &json!({ "code": code }))
        .await
        .body["data"]
        .clone()
}

async fn decrypt(
    world: &World,
    encrypted: (String, String),
    handle: &Value,
    openid: &Value,
) -> Answered {
    let (data, iv) = encrypted;
    let body = json!({ "encryptedData": data, "iv": iv, "sessionKey": handle, "openid": openid });
    post(world, "/api/decrypt-phone", &body).await
}

fn encrypted(code: &str) -> (String, String) {
    SimulatedWechat::encrypted_phone(APP, code, "13888888888", START.as_secs())
}

#[tokio::test]
async fn a_login_has_a_handle_in_place_of_the_session_key() {
    let world = speaking(DialectKind::SuccessData).await;
    let answer = post(&world, "/api/login", &json!({ "code": "alice-1" })).await;
    let data = &answer.body["data"];
    let expected = json!({
        "success": true,
        "data": {
            "openid": data["openid"],
            "session_key": data["session_key"],
            "access_token": data["access_token"],
            "token_type": "Bearer",
            "expires_in": 900,
            "refresh_token": data["refresh_token"],
        },
    });
    assert_eq!(told(&answer), (200, &expected));
    assert!(data["session_key"].as_str().unwrap().starts_with("msh2_"));
    assert!(data["openid"].as_str().unwrap().starts_with('o'));
    let handle = data["session_key"].as_str().unwrap();
    assert_eq!(
        world.send(Ask::get("/auth/me").token(handle)).await.says(),
        (401, "token_invalid")
    );
    assert_eq!(world.refresh(handle).await.says(), (401, "refresh_invalid"));
}

#[tokio::test]
async fn the_phone_is_decrypted_for_the_handle_of_its_session() {
    let world = speaking(DialectKind::SuccessData).await;
    let alice = login(&world, "alice-1").await;
    let answer = decrypt(
        &world,
        encrypted("alice-1"),
        &alice["session_key"],
        &alice["openid"],
    )
    .await;
    let expected = json!({
        "success": true,
        "data": {
            "phoneNumber": "138****8888",
            "purePhoneNumber": "13888888888",
            "countryCode": "86",
            "watermark": { "timestamp": START.as_secs(), "appid": APP },
        },
    });
    assert_eq!(told(&answer), (200, &expected));
    let me = world
        .send(Ask::get("/auth/me").token(alice["access_token"].as_str().unwrap()))
        .await;
    assert_eq!(me.text("phone_masked"), "138****8888", "and it is bound");
}

#[tokio::test]
async fn every_failure_of_it_is_one_answer() {
    let world = speaking(DialectKind::SuccessData).await;
    let (alice, bob) = (login(&world, "alice-1").await, login(&world, "bob-1").await);
    let (data, iv) = encrypted("alice-1");
    let expected = json!({ "success": false, "message": "手机号解密失败", "error": { "code": "phone_decrypt_failed" } });
    let key = &alice["session_key"];
    for (what, sent, handle, openid) in [
        ("bob's data", encrypted("bob-1"), key, &alice["openid"]),
        (
            "bob's handle",
            encrypted("alice-1"),
            &bob["session_key"],
            &bob["openid"],
        ),
        ("bob's openid", encrypted("alice-1"), key, &bob["openid"]),
        ("no openid", encrypted("alice-1"), key, &Value::Null),
        (
            "no handle",
            encrypted("alice-1"),
            &Value::Null,
            &alice["openid"],
        ),
        (
            "a refresh token",
            encrypted("alice-1"),
            &alice["refresh_token"],
            &alice["openid"],
        ),
        (
            "an access token",
            encrypted("alice-1"),
            &alice["access_token"],
            &alice["openid"],
        ),
        (
            "a made-up handle",
            encrypted("alice-1"),
            &json!("msh2_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAbm9ib2R5"),
            &alice["openid"],
        ),
        (
            "damaged data",
            (data.replacen(&data[..2], "zz", 1), iv.clone()),
            key,
            &alice["openid"],
        ),
        (
            "a number",
            encrypted("alice-1"),
            &json!(7),
            &alice["openid"],
        ),
    ] {
        assert_eq!(
            told(&decrypt(&world, sent, handle, openid).await),
            (400, &expected),
            "{what}"
        );
    }
    for missing in [
        json!({ "sessionKey": key, "openid": alice["openid"] }),
        json!({}),
    ] {
        assert_eq!(
            told(&post(&world, "/api/decrypt-phone", &missing).await),
            (400, &expected),
            "{missing}"
        );
    }
    // A logout revokes the handle too.
    let token = alice["access_token"].as_str().unwrap();
    world
        .send(Ask::new(http::Method::POST, "/auth/logout").token(token))
        .await;
    assert_eq!(
        told(&decrypt(&world, (data, iv), key, &alice["openid"]).await),
        (400, &expected),
        "signed out"
    );
}

#[tokio::test]
async fn a_phone_of_somebody_else_is_said_to_be() {
    let world = speaking(DialectKind::SuccessData).await;
    for (person, status) in [("alice-1", 200), ("bob-1", 409)] {
        let data = login(&world, person).await;
        let answer = decrypt(
            &world,
            encrypted(person),
            &data["session_key"],
            &data["openid"],
        )
        .await;
        assert_eq!(told(&answer).0, status, "{person}");
        if status == 409 {
            assert_eq!(answer.body["message"], "该手机号已绑定其他账号");
        }
    }
}

#[tokio::test]
async fn a_login_that_fails_says_what_the_document_says() {
    let world = speaking(DialectKind::SuccessData).await;
    let missing = post(&world, "/api/login", &json!({})).await;
    assert_eq!(
        told(&missing),
        (
            400,
            &json!({ "success": false, "message": "缺少登录凭证code" })
        )
    );
    for (code, status, error) in [
        (
            "fail.40029-1",
            401,
            json!({ "code": "wechat_code_invalid", "errcode": 40029, "errmsg": "invalid code" }),
        ),
        ("slow.5000-1", 503, json!({ "code": "wechat_busy" })),
        ("empty-1", 503, json!({ "code": "wechat_busy" })),
    ] {
        let answer = post(&world, "/api/login", &json!({ "code": code })).await;
        let expected = json!({ "success": false, "message": "微信登录失败", "error": error });
        assert_eq!(told(&answer), (status, &expected), "{code}");
    }
}
