//! The four built-in dialects, answer by answer, with a clock that is moved by hand.

use serde_json::{Value, json};

use super::world::{APP, Answered, Ask, START, World};
use crate::{
    config::{Config, DialectConfig, DialectKind, ShownPhone, SmsProvider, UserIds},
    dev::{sms::Script, wechat::SimulatedWechat},
};

const DAY: u64 = 86_400;

/// A world that speaks this dialect, with ids as such backends have them.
async fn speaking(kind: DialectKind) -> World {
    World::with(|config| {
        config.users.ids = UserIds::Integer;
        config.wechat.legacy_decrypt = true;
        config.dialect = vec![DialectConfig::of(kind)];
    })
    .await
}

async fn post(world: &World, path: &str, body: &Value) -> Answered {
    world.send(Ask::post(path, body)).await
}

/// Status and body, of a success and of a refusal.
fn told(answer: &Answered) -> (u16, &Value) {
    assert_eq!(answer.header("content-type"), "application/json; charset=utf-8");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("x-menshen-error").is_empty(), answer.status.is_success());
    (answer.status.as_u16(), &answer.body)
}

/// What a token says.
pub(super) fn claims(token: &str) -> Value {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let payload = token.split('.').nth(1).expect("a JWT");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

mod nest {
    use super::*;

    async fn login(world: &World, code: &str, nickname: &str) -> Answered {
        let body = json!({ "code": code, "nickName": nickname, "avatarUrl": "https://a.example/1.png" });
        let answer = post(world, "/api/v1/auth/wx-login", &body).await;
        assert_eq!(answer.status.as_u16(), 200, "{}", answer.body);
        answer
    }

    fn token(answer: &Answered) -> String {
        answer.body["data"]["access_token"].as_str().expect("a token").to_owned()
    }

    async fn refresh(world: &World, token: &str) -> Answered {
        world.send(Ask::new(http::Method::POST, "/api/v1/auth/refresh").token(token)).await
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
        let order = ["\"code\"", "\"message\"", "\"data\"", "\"access_token\"", "\"expires_in\"", "\"timestamp\""];
        let text = String::from_utf8(answer.bytes.to_vec()).unwrap();
        assert!(order.map(|name| text.find(name).unwrap()).is_sorted(), "in the order of the document");
        let claims = claims(&token(&answer));
        assert_eq!((&claims["sub"], &claims["openid"], &claims["nickname"]), (&json!("1"), &openid, &json!("张三")));
        assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 604_800);
    }

    #[tokio::test]
    async fn the_profile_of_each_login_counts_but_nobody_s_name_is_none() {
        let world = speaking(DialectKind::Nest).await;
        let name = |answer: &Answered| answer.body["data"]["user"]["nickname"].clone();
        assert_eq!(name(&login(&world, "alice-1", "微信用户").await), "微信用户", "what a stranger is shown as");
        assert_eq!(name(&login(&world, "alice-2", "张三").await), "张三");
        assert_eq!(name(&login(&world, "alice-3", "微信用户").await), "张三");
        assert_eq!(name(&login(&world, "alice-4", "").await), "张三", "one that is not valid keeps nobody out");
        assert_eq!(name(&login(&world, "alice-5", "李四").await), "李四");
        // WeChat's own pair for everybody: neither half of it takes the place of anything.
        let grey = json!({ "code": "alice-7", "nickName": "微信用户", "avatarUrl": "https://thirdwx.qlogo.cn/grey/132" });
        let answer = post(&world, "/api/v1/auth/wx-login", &grey).await;
        assert_eq!(answer.body["data"]["user"]["avatar"], "https://a.example/1.png");
        let body = json!({ "code": "alice-6", "nickName": 7, "avatarUrl": "wxfile://tmp/a.png" });
        let odd = post(&world, "/api/v1/auth/wx-login", &body).await;
        assert_eq!((name(&odd), &odd.body["data"]["user"]["avatar"]), (json!("李四"), &json!("https://a.example/1.png")));
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
        assert_eq!(claims(&token(&renewed))["openid"], claims(&first)["openid"], "also what only the login knew");
        // Expired for three weeks, and the session lives, as long as it is used within its idle time.
        let mut newest = token(&renewed);
        for day in [29, 58, 87] {
            world.advance(29 * DAY);
            let me = world.send(Ask::get("/auth/me").token(&newest)).await;
            assert_eq!(me.says(), (401, "token_expired"), "day {day}: it opens nothing");
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
        let out = world.send(Ask::new(http::Method::POST, "/api/v1/auth/logout").token(&second)).await;
        let expected = json!({
            "code": 200,
            "message": "退出成功",
            "data": { "message": "退出成功" },
            "timestamp": "2027-01-15T08:00:00.000Z",
        });
        assert_eq!(told(&out), (200, &expected));
        for token in [&first, &second] {
            let refused = refresh(&world, token).await;
            assert_eq!((refused.header("x-menshen-error"), refused.body["code"].clone()), ("session_revoked", json!(401)));
        }
        for header in ["Bearer", "Bearer x.y.z", &first, "Basic YTpi"] {
            let ask = Ask::new(http::Method::POST, "/api/v1/auth/refresh").header("authorization", header);
            assert_eq!(world.send(ask).await.status.as_u16(), 401, "{header}");
        }
        assert_eq!(world.send(Ask::new(http::Method::POST, "/api/v1/auth/refresh")).await.body["message"], "请先登录");
    }

    #[tokio::test]
    async fn a_token_of_another_kind_renews_nothing() {
        let world = speaking(DialectKind::Nest).await;
        let native = world.login("alice-1").await;
        for kind in ["refresh_token", "access_token"] {
            let answer = refresh(&world, native.text(kind)).await;
            assert_eq!(answer.header("x-menshen-error"), "token_invalid", "{kind}");
        }
        // One of this API is, also through the auth API's routes; but what those give in its place is not.
        let own = token(&login(&world, "alice-2", "张三").await);
        assert_eq!(world.send(Ask::get("/auth/me").token(&own)).await.says(), (200, ""));
        assert_eq!(claims(&own)["renewable"], true);
    }

    #[tokio::test]
    async fn what_wechat_refuses_is_a_401_with_its_number() {
        let world = speaking(DialectKind::Nest).await;
        for (code, status, message) in [
            ("fail.40029-1", 401, "微信登录失败: invalid code (错误码: 40029)"),
            ("fail.40226-1", 401, "微信登录失败: code blocked (错误码: 40226)"),
            ("fail.45011-1", 401, "微信登录失败: api minute-quota reach limit, retry next minute (错误码: 45011)"),
            ("fail.99999-1", 401, "微信登录失败: refused by wechat (错误码: 99999)"),
            ("empty-1", 503, "微信登录失败: 微信返回的数据无效"),
            ("slow.5000-1", 503, "微信登录失败: 微信服务暂时不可用，请稍后再试"),
        ] {
            let answer = post(&world, "/api/v1/auth/wx-login", &json!({ "code": code })).await;
            assert_eq!((told(&answer).0, &answer.body["message"]), (status, &json!(message)), "{code}");
            assert_eq!(answer.body["code"], status);
            assert_eq!(answer.body.as_object().unwrap().len(), 4);
        }
        login(&world, "alice-1", "张三").await;
        world.advance(60);
        let again = post(&world, "/api/v1/auth/wx-login", &json!({ "code": "alice-1" })).await;
        assert_eq!(again.body["message"], "微信登录失败: code been used (错误码: 40163)");
        let empty = post(&world, "/api/v1/auth/wx-login", &json!({})).await;
        assert_eq!((told(&empty).0, &empty.body["error"]), (400, &json!("Bad Request")));
    }
}

mod simplejwt {
    use super::*;

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
        assert_eq!((&access["token_type"], &access["user_id"]), (&json!("access"), &json!("1")));
        assert_eq!((&wrapped["token_type"], &wrapped["user_id"]), (&json!("refresh"), &json!("1")));
        assert!(access["jti"].is_string() && wrapped["jti"].is_string());
        assert_eq!(wrapped["exp"], START.as_secs() + 90 * DAY, "when the session ends at the latest");
    }

    #[tokio::test]
    async fn the_first_refresh_token_works_on_the_last_day() {
        let world = speaking(DialectKind::Simplejwt).await;
        let login = post(&world, "/api/login/", &json!({ "code": "alice-1" })).await;
        let first = login.text("refresh").to_owned();
        for _ in 0..3 {
            world.advance(29 * DAY);
            let renewed = refresh(&world, &first).await;
            assert_eq!(renewed.body.as_object().unwrap().keys().collect::<Vec<_>>(), ["access"], "{}", renewed.body);
            assert_eq!(claims(renewed.text("access"))["token_type"], "access");
        }
        world.advance(3 * DAY - 1);
        assert_eq!(refresh(&world, &first).await.status.as_u16(), 200, "the last second");
        world.advance(1);
        let over = json!({ "detail": "Token is invalid or expired", "code": "token_not_valid" });
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
        assert_eq!(second.says(), (200, ""), "the auth API takes it too, and rotates");
        assert_eq!(refresh(&world, &inside).await.header("x-menshen-error"), "refresh_reused", "two hold its tokens");
        assert_eq!(world.refresh(second.text("refresh_token")).await.says(), (401, "session_revoked"));
        assert_eq!(world.audited("refresh.reused"), 1);
    }

    #[tokio::test]
    async fn a_refresh_token_opens_nothing_and_an_access_token_refreshes_nothing() {
        let world = speaking(DialectKind::Simplejwt).await;
        let login = post(&world, "/api/login/", &json!({ "code": "alice-1" })).await;
        let me = world.send(Ask::get("/auth/me").token(login.text("refresh"))).await;
        assert_eq!(me.says(), (401, "token_invalid"));
        let refused = json!({ "detail": "Token is invalid or expired", "code": "token_not_valid" });
        assert_eq!(told(&refresh(&world, login.text("access")).await), (401, &refused));
        for body in [json!({}), json!({ "refresh": null })] {
            let answer = post(&world, "/api/token/refresh/", &body).await;
            assert_eq!(told(&answer), (400, &json!({ "refresh": ["This field is required."] })));
        }
    }

    #[tokio::test]
    async fn errors_are_those_of_such_a_backend() {
        let world = speaking(DialectKind::Simplejwt).await;
        let answer = async |code: &str| post(&world, "/api/login/", &json!({ "code": code })).await;
        let refused =
            |errcode: i64, errmsg: &str| json!({ "error": "WeChat API error", "errcode": errcode, "errmsg": errmsg });
        for (code, status, body) in [
            ("fail.40029-1", 400, refused(40029, "invalid code")),
            ("busy-1", 400, refused(-1, "system error")),
            ("empty-1", 500, json!({ "error": "Invalid WeChat response" })),
            ("slow.5000-1", 503, json!({ "error": "WeChat API unavailable" })),
        ] {
            assert_eq!(told(&answer(code).await), (status, &body), "{code}");
        }
        world.wechat.write("odd-1", r#"{"session_key":"k","errcode":0}"#);
        assert_eq!(told(&answer("odd-1").await), (500, &json!({ "error": "Invalid WeChat response" })), "no openid");
        for body in [json!({}), json!({ "code": "" }), json!({ "code": 7 }), json!({ "code": ["a"] })] {
            let answer = post(&world, "/api/login/", &body).await;
            if body["code"] == 7 {
                // A number is taken for its digits, and is a code like any other.
                assert_eq!(answer.status.as_u16(), 200);
                continue;
            }
            assert_eq!(told(&answer), (400, &json!({ "error": "Code is required" })), "{body}");
        }
        let wrong = post(&world, "/api/admin/login/", &json!({ "username": "root", "password": "x" })).await;
        assert_eq!(told(&wrong), (401, &json!({ "detail": "No active account found with the given credentials" })));
        let missing = post(&world, "/api/admin/login/", &json!({ "username": "root" })).await;
        assert_eq!(told(&missing), (400, &json!({ "password": ["This field is required."] })));
    }

    #[tokio::test]
    async fn a_name_that_nobody_can_have_is_one_that_nobody_has() {
        let world = speaking(DialectKind::Simplejwt).await;
        for (username, password) in [("管理员", "x"), ("a b", "x"), ("root", &*"x".repeat(400))] {
            let answer = post(&world, "/api/admin/login/", &json!({ "username": username, "password": password })).await;
            let expected = json!({ "detail": "No active account found with the given credentials" });
            assert_eq!(told(&answer), (401, &expected), "{username}");
        }
    }

    #[tokio::test]
    async fn an_id_beyond_the_numbers_of_json_is_a_text() {
        let world = World::with(|config: &mut Config| {
            config.users.ids = UserIds::Integer;
            config.users.first_integer = 9_007_199_254_740_992;
            config.dialect = vec![DialectConfig::of(DialectKind::Simplejwt)];
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
            config.dialect = vec![DialectConfig::of(DialectKind::Simplejwt)];
        })
        .await;
        post(&world, "/api/login/", &json!({ "code": "alice-1" })).await;
        let answer = post(&world, "/api/login/", &json!({ "code": "alice-2" })).await;
        let expected =
            json!({ "detail": format!("Request was throttled. Expected available in {} seconds.", answer.wait()) });
        assert_eq!(told(&answer), (429, &expected));
    }
}

#[tokio::test]
async fn a_code_that_is_posted_to_two_apis_signs_in_once() {
    let world = speaking(DialectKind::Nest).await;
    let login = post(&world, "/api/v1/auth/wx-login", &json!({ "code": "alice-1" })).await;
    assert_eq!(login.status.as_u16(), 200);
    assert_eq!(world.login("alice-1").await.says(), (401, "wechat_code_invalid"), "its tokens would be of the other kind");
    let again = post(&world, "/api/v1/auth/wx-login", &json!({ "code": "alice-1" })).await;
    assert_eq!(again.body, login.body, "a double tap");
    assert_eq!(world.wechat.calls_for("alice-1"), 1);
}

mod success_data {
    use super::*;

    async fn login(world: &World, code: &str) -> Value {
        post(world, "/api/login", &json!({ "code": code })).await.body["data"].clone()
    }

    async fn decrypt(world: &World, encrypted: (String, String), handle: &Value, openid: &Value) -> Answered {
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
        assert!(data["session_key"].as_str().unwrap().starts_with("msh1_"));
        assert!(data["openid"].as_str().unwrap().starts_with('o'));
        let handle = data["session_key"].as_str().unwrap();
        assert_eq!(world.send(Ask::get("/auth/me").token(handle)).await.says(), (401, "token_invalid"));
        assert_eq!(world.refresh(handle).await.says(), (401, "refresh_invalid"));
    }

    #[tokio::test]
    async fn the_phone_is_decrypted_for_the_handle_of_its_session() {
        let world = speaking(DialectKind::SuccessData).await;
        let alice = login(&world, "alice-1").await;
        let answer = decrypt(&world, encrypted("alice-1"), &alice["session_key"], &alice["openid"]).await;
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
        let me = world.send(Ask::get("/auth/me").token(alice["access_token"].as_str().unwrap())).await;
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
            ("bob's handle", encrypted("alice-1"), &bob["session_key"], &bob["openid"]),
            ("bob's openid", encrypted("alice-1"), key, &bob["openid"]),
            ("no openid", encrypted("alice-1"), key, &Value::Null),
            ("no handle", encrypted("alice-1"), &Value::Null, &alice["openid"]),
            ("a refresh token", encrypted("alice-1"), &alice["refresh_token"], &alice["openid"]),
            ("an access token", encrypted("alice-1"), &alice["access_token"], &alice["openid"]),
            ("a made-up handle", encrypted("alice-1"), &json!(format!("msh1_{}", "A".repeat(64))), &alice["openid"]),
            ("damaged data", (data.replacen(&data[..2], "zz", 1), iv.clone()), key, &alice["openid"]),
            ("a number", encrypted("alice-1"), &json!(7), &alice["openid"]),
        ] {
            assert_eq!(told(&decrypt(&world, sent, handle, openid).await), (400, &expected), "{what}");
        }
        for missing in [json!({ "sessionKey": key, "openid": alice["openid"] }), json!({})] {
            assert_eq!(told(&post(&world, "/api/decrypt-phone", &missing).await), (400, &expected), "{missing}");
        }
        // Signing out ends the handle too.
        let token = alice["access_token"].as_str().unwrap();
        world.send(Ask::new(http::Method::POST, "/auth/logout").token(token)).await;
        assert_eq!(told(&decrypt(&world, (data, iv), key, &alice["openid"]).await), (400, &expected), "signed out");
    }

    #[tokio::test]
    async fn a_phone_of_somebody_else_is_said_to_be() {
        let world = speaking(DialectKind::SuccessData).await;
        for (person, status) in [("alice-1", 200), ("bob-1", 409)] {
            let data = login(&world, person).await;
            let answer = decrypt(&world, encrypted(person), &data["session_key"], &data["openid"]).await;
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
        assert_eq!(told(&missing), (400, &json!({ "success": false, "message": "缺少登录凭证code" })));
        for (code, status, error) in [
            ("fail.40029-1", 401, json!({ "code": "wechat_code_invalid", "errcode": 40029, "errmsg": "invalid code" })),
            ("slow.5000-1", 503, json!({ "code": "wechat_busy" })),
            ("empty-1", 503, json!({ "code": "wechat_busy" })),
        ] {
            let answer = post(&world, "/api/login", &json!({ "code": code })).await;
            let expected = json!({ "success": false, "message": "微信登录失败", "error": error });
            assert_eq!(told(&answer), (status, &expected), "{code}");
        }
    }
}

mod code_data {
    use super::*;

    const PHONE: &str = "13800138000";
    const E164: &str = "+8613800138000";

    #[tokio::test]
    async fn a_phone_signs_in_with_the_code_that_it_got() {
        let world = speaking(DialectKind::CodeData).await;
        let sent = post(&world, "/sendsms", &json!({ "phone": PHONE })).await;
        assert_eq!(told(&sent), (200, &json!({ "code": 200, "message": "验证码已发送" })));
        world.advance(20);
        let soon = post(&world, "/sendsms", &json!({ "phone": PHONE })).await;
        assert_eq!(told(&soon), (429, &json!({ "code": 429, "error": "请在40秒后再试" })));
        assert_eq!(soon.wait(), 40);
        let code = world.sms.code_on(E164).expect("a message");
        let login = async |code: &str| {
            post(&world, "/login", &json!({ "phone": PHONE, "verificationCode": code, "clientType": "app" })).await
        };
        let wrong = if code == "000000" { "000001" } else { "000000" };
        assert_eq!(told(&login(wrong).await), (400, &json!({ "code": 400, "error": "验证码不正确" })));
        let answer = login(&code).await;
        let token = answer.body["data"]["token"].as_str().unwrap();
        assert_eq!(told(&answer), (200, &json!({ "code": 200, "message": "登录成功", "data": { "token": token } })));
        let claims = claims(token);
        assert_eq!(
            (&claims["_id"], &claims["phone"], &claims["clientType"]),
            (&json!(1), &json!("138****8000"), &json!("app"))
        );
        assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 3600);
        assert_eq!(told(&login(&code).await), (400, &json!({ "code": 400, "error": "验证码不存在或已过期" })), "used");
        let other = json!({ "phone": "13900139000", "verificationCode": "123456" });
        assert_eq!(post(&world, "/login", &other).await.body["error"], "验证码不存在或已过期", "never sent");
        // The auth API says neither.
        assert_eq!(world.sms_login("13900139000", "123456").await.says(), (400, "code_invalid"));
    }

    #[tokio::test]
    async fn a_phone_is_whole_in_a_token_where_that_is_wanted() {
        let world = World::with(|config: &mut Config| {
            config.dialect =
                vec![DialectConfig { phone: Some(ShownPhone::Full), ..DialectConfig::of(DialectKind::CodeData) }];
        })
        .await;
        let code = world.sms_code(E164).await;
        let answer = post(&world, "/login", &json!({ "phone": PHONE, "verificationCode": code })).await;
        assert_eq!(claims(answer.body["data"]["token"].as_str().unwrap())["phone"], PHONE);
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
            let says = ["手机号必须是11位", "请输入有效的手机号", "请输入有效的手机号"];
            wrong(value, says[n], "phone")
        };
        for (sent, expected) in [
            (json!({}), vec![phone(None, 0), phone(None, 1)]),
            (json!({ "phone": "123" }), vec![phone(Some(json!("123")), 0), phone(Some(json!("123")), 1)]),
            (json!({ "phone": "03800138000" }), vec![phone(Some(json!("03800138000")), 1)]),
            // Right for the validator, and not a number that gets messages.
            (json!({ "phone": "23800138000" }), vec![phone(Some(json!("23800138000")), 1)]),
        ] {
            assert_eq!(told(&post(&world, "/sendsms", &sent).await), (400, &json!({ "errors": expected })), "{sent}");
        }
        let sent = json!({ "phone": 13_800_138_000_u64, "verificationCode": "12a" });
        let code =
            |n: usize| wrong(Some(json!("12a")), ["验证码必须是6位数字", "验证码必须是6位数字"][n], "verificationCode");
        let expected = vec![phone(Some(json!(13_800_138_000_u64)), 1), code(0), code(1)];
        assert_eq!(told(&post(&world, "/login", &sent).await), (400, &json!({ "code": 400, "errors": expected })));
    }

    #[tokio::test]
    async fn a_number_that_the_vendor_refuses_is_a_bad_field() {
        let world = speaking(DialectKind::CodeData).await;
        world.sms.script(SmsProvider::Aliyun, Script::Refuse("isv.MOBILE_NUMBER_ILLEGAL".to_owned()));
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
        assert_eq!(told(&answer), (200, &json!({ "code": 200, "message": "微信登录成功", "data": { "token": token } })));
        let claims = claims(token);
        assert!(claims.get("phone").is_none() && claims.get("openid").is_none(), "{claims}");
        assert_eq!(claims["clientType"], "miniprogram");
        for (code, status, error) in [
            ("fail.40029-1", 400, "invalid code"),
            ("slow.5000-1", 500, "服务器内部错误"),
            ("empty-1", 500, "服务器内部错误"),
        ] {
            let answer = post(&world, "/wechatlogin", &json!({ "code": code })).await;
            assert_eq!(told(&answer), (status, &json!({ "code": status, "error": error })), "{code}");
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
        for (header, status) in [(token.clone(), 200), (format!("Bearer {token}"), 200), (format!("{token}x"), 401)] {
            let answer = world.send(Ask::get("/x/me").header("authorization", &header)).await;
            assert_eq!(answer.status.as_u16(), status);
        }
        let twice = Ask::get("/x/me").header("authorization", &token).header("authorization", &token);
        assert_eq!(told(&world.send(twice).await), (400, &json!("request_malformed")));
        let native = world.send(Ask::get("/auth/me").header("authorization", &token)).await;
        assert_eq!(native.says(), (401, "token_invalid"), "only where it is said");
    }
}
