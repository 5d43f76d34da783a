//! A custom dialect, written in config only.

use serde_json::{Value, json};

use super::world::{APP, Answered, Ask, START, World};
use crate::{
    config::{Config, DialectConfig, DialectKind, Merge, UserIds},
    dev::wechat::SimulatedWechat,
    dialect,
};

/// The dialects of a config file.
pub(super) fn parse(toml: &str) -> Vec<DialectConfig> {
    #[derive(serde::Deserialize)]
    struct File {
        dialect: Vec<DialectConfig>,
    }
    toml_edit::de::from_str::<File>(toml).unwrap().dialect
}

async fn speaking(dialects: Vec<DialectConfig>) -> World {
    World::with(|config: &mut Config| {
        config.users.ids = UserIds::Integer;
        config.wechat.legacy_decrypt = true;
        config.dialect = dialects;
    })
    .await
}

/// `nest` again, written from the document of that API and README.md, without our file.
const NEST_AGAIN: &str = r#"
[[dialect]]
kind = "custom"
prefix = "/api/v1"
access_ttl = "7d"
language = "zh"
claims = { nickname = "{user.nickname|'微信用户'}", openid = "{user.openid}" }

[[dialect.route]]
method = "POST"
path = "/auth/wx-login"
action = "wechat_login"
profile = "replace"
inputs = { avatar_url = "body.avatarUrl|body.avatar", code = "body.code", nickname = "body.nickName|body.nickname" }
body = '''{"code":200,"message":"success","data":{"access_token":"{access_token}","token_type":"Bearer","expires_in":"{expires_in}","user":{
  "id":"{user.id}","openid?":"{user.openid}","nickname":"{user.nickname|'微信用户'}","avatar":"{user.avatar_url|''}","created_at":"{user.created_at:iso}"}},
  "timestamp":"{now:iso}"}'''

[[dialect.route]]
method = "POST"
path = "/auth/refresh"
action = "renew"
body = '''{"code":200,"message":"success","data":{"access_token":"{access_token}","expires_in":"{expires_in}"},"timestamp":"{now:iso}"}'''

[[dialect.route]]
method = "POST"
path = "/auth/logout"
action = "logout"
body = '''{"code":"{status}","message":"退出成功","data":{"message":"退出成功"},"timestamp":"{now:iso}"}'''

[[dialect.error]]
codes = ["wechat_refused"]
status = 401
body = '''{"code":401,"message":"微信登录失败: {wechat.errmsg} (错误码: {wechat.errcode})","error":"Unauthorized","timestamp":"{now:iso}"}'''

[[dialect.error]]
codes = ["wechat_unreachable"]
body = '''{"code":503,"message":"微信登录失败: 微信服务暂时不可用，请稍后再试","error":"{reason}","timestamp":"{now:iso}"}'''

[[dialect.error]]
codes = ["wechat_unusable"]
body = '''{"code":503,"message":"微信登录失败: 微信返回的数据无效","error":"{reason}","timestamp":"{now:iso}"}'''

[[dialect.error]]
codes = ["validation_failed"]
body = '''{"code":400,"message":"缺少登录凭证 code","error":"Bad Request","timestamp":"{now:iso}"}'''

[[dialect.error]]
body = '''{"code":"{status}","message":"{message}","error":"{reason}","timestamp":"{now:iso}"}'''
"#;

/// The parts of a response that are not random: status, content type and bytes, with tokens and
/// handles masked.
fn bytes(answer: &Answered) -> (u16, String, String) {
    let text = String::from_utf8(answer.bytes.to_vec()).unwrap();
    let blot = |word: &str| {
        let is_secret =
            word.starts_with("eyJ") || word.starts_with("mrt2_") || word.starts_with("msh2_");
        if is_secret {
            "***".to_owned()
        } else {
            word.to_owned()
        }
    };
    let parts: Vec<_> = text.split('"').map(blot).collect();
    (
        answer.status.as_u16(),
        answer.header("content-type").to_owned(),
        parts.join("\""),
    )
}

/// A value at a path in a response.
fn value<'a>(answer: &'a Answered, pointer: &str) -> &'a str {
    answer
        .body
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The same requests to two worlds, and the responses of each.
async fn nest_story(world: &World) -> Vec<(u16, String, String)> {
    let mut said = Vec::new();
    let login = "/api/v1/auth/wx-login";
    world
        .wechat
        .set_response("odd-1", r#"{"session_key":"k","errcode":0}"#);
    for body in [
        json!({ "code": "alice-1", "nickName": "张三", "avatarUrl": "https://a.example/1.png" }),
        json!({ "code": "alice-2", "nickName": "微信用户" }),
        json!({ "code": "bob-1" }),
        json!({ "code": "fail.40029-1" }),
        json!({ "code": "fail.40163-1" }),
        json!({ "code": "empty-1" }),
        json!({ "code": "odd-1" }),
        json!({}),
        json!({ "code": [] }),
    ] {
        said.push(bytes(&world.send(Ask::post(login, &body)).await));
    }
    said.push(bytes(
        &world.send(Ask::post(login, &json!({})).raw("{")).await,
    ));
    said.push(bytes(
        &world
            .send(Ask::new(http::Method::POST, login).raw("code=1"))
            .await,
    ));
    let carol = world
        .send(Ask::post(login, &json!({ "code": "carol-1" })))
        .await;
    let token = value(&carol, "/data/access_token").to_owned();
    for path in [
        "/api/v1/auth/refresh",
        "/api/v1/auth/logout",
        "/api/v1/auth/refresh",
    ] {
        said.push(bytes(
            &world
                .send(Ask::new(http::Method::POST, path).token(&token))
                .await,
        ));
        world.advance(8 * 86_400);
        said.push(bytes(&world.send(Ask::new(http::Method::POST, path)).await));
    }
    said
}

#[tokio::test]
async fn nest_in_config_alone_answers_byte_for_byte_the_same() {
    let builtin = speaking(vec![DialectConfig::for_kind(DialectKind::Nest)]).await;
    let custom = speaking(parse(NEST_AGAIN)).await;
    let (expected, got) = (nest_story(&builtin).await, nest_story(&custom).await);
    assert_eq!(expected.len(), 17);
    assert!(
        expected
            .iter()
            .filter(|(status, ..)| *status == 200)
            .count()
            >= 5,
        "{expected:?}"
    );
    for (n, (expected, got)) in expected.iter().zip(&got).enumerate() {
        assert_eq!(expected, got, "request {n}");
    }
}

/// Requests that every dialect responds to, whatever its routes are.
async fn any_story(world: &World, paths: &[&str]) -> Vec<(u16, String, String)> {
    let mut said = Vec::new();
    for path in paths {
        for body in [
            json!({}),
            json!({ "code": format!("alice-{}", path.len()), "nickName": "张三" }),
            json!({ "code": "fail.40029-9" }),
            json!({ "phone": "13800138000" }),
            json!({ "phone": "1", "verificationCode": 7 }),
            json!({ "phone": "13800138001", "verificationCode": "123456" }),
            json!({ "username": "nobody", "password": "x" }),
            json!({ "refresh": "mrt2_x" }),
            json!({ "encryptedData": "AA", "iv": "BB", "sessionKey": "CC", "openid": "DD" }),
        ] {
            said.push(bytes(&world.send(Ask::post(path, &body)).await));
        }
    }
    said
}

#[tokio::test]
async fn what_is_printed_of_a_builtin_dialect_is_all_of_it() {
    for (kind, paths) in [
        (
            DialectKind::Simplejwt,
            &["/api/login/", "/api/token/refresh/", "/api/admin/login/"][..],
        ),
        (
            DialectKind::Nest,
            &[
                "/api/v1/auth/wx-login",
                "/api/v1/auth/wechat-login",
                "/api/v1/auth/refresh",
                "/api/v1/auth/logout",
            ],
        ),
        (
            DialectKind::SuccessData,
            &["/api/login", "/api/decrypt-phone"],
        ),
        (
            DialectKind::CodeData,
            &["/sendsms", "/login", "/wechatlogin"],
        ),
    ] {
        let builtin = speaking(vec![DialectConfig::for_kind(kind)]).await;
        let printed = speaking(parse(dialect::source(kind).unwrap())).await;
        let (expected, got) = (
            any_story(&builtin, paths).await,
            any_story(&printed, paths).await,
        );
        assert_eq!(expected, got, "{kind:?}");
        assert!(
            expected.iter().any(|(status, ..)| *status == 200),
            "{kind:?}"
        );
    }
}

/// A dialect with inputs in every location.
const EVERYWHERE: &str = r#"
[[dialect]]
kind = "custom"
prefix = "/x"
[[dialect.route]]
method = "GET"
path = "/in"
action = "wechat_login"
inputs = { code = "query.c", nickname = "header.X-Nick" }
status = 201
headers = { X-Session = "{session_id}" }
body = '{ "t": "{access_token}", "r": "{refresh_token}", "h": "{session_handle}", "new": "{is_new_user}", "nick": "{user.nickname}" }'
[[dialect.route]]
method = "PUT"
path = "/me"
action = "change_me"
inputs = { access_token = "body.auth.token", bio = "body.profile.bio" }
body = '{ "bio": "{user.bio}", "at": "{user.last_login_at:unix}" }'
[[dialect.route]]
method = "DELETE"
path = "/in"
action = "logout"
inputs = { access_token = "header.X-Token", scope = "query.scope" }
status = 204
[[dialect.route]]
method = "POST"
path = "/again"
action = "refresh"
inputs = { refresh_token = "header.X-Refresh" }
body = '{ "t": "{access_token}", "r": "{refresh_token}", "in": "{refresh_expires_in}" }'
[[dialect.route]]
method = "POST"
path = "/phone"
action = "phone_wechat"
inputs = { code = "body.code" }
body = '{ "e164": "{phone.number}", "w": "{phone.watermark.timestamp}" }'
[[dialect.error]]
body = '{ "c": "{code}", "id": "{request_id}", "f": "{errors.by_field}" }'
"#;

#[tokio::test]
async fn inputs_are_read_from_the_body_headers_and_the_query() {
    let world = speaking(parse(EVERYWHERE)).await;
    let refused = |code: &str, fields: Value| json!({ "c": code, "id": "req-1", "f": fields });
    let login = world
        .send(Ask::get("/x/in?c=alice-1&other=2").header("x-nick", "Ann"))
        .await;
    assert_eq!(
        (
            login.status.as_u16(),
            &login.body["new"],
            &login.body["nick"]
        ),
        (201, &json!(true), &json!("Ann"))
    );
    assert_eq!(login.header("x-session").len(), 32);
    let (token, refresh) = (login.text("t").to_owned(), login.text("r").to_owned());

    let change = json!({ "auth": { "token": token }, "profile": { "bio": "hello" } });
    let changed = world
        .send(Ask::new(http::Method::PUT, "/x/me").json(&change))
        .await;
    assert_eq!(
        changed.body,
        json!({ "bio": "hello", "at": START.as_secs() })
    );
    let nobody = world
        .send(Ask::new(http::Method::PUT, "/x/me").json(&json!({ "profile": { "bio": "x" } })))
        .await;
    assert_eq!(
        (nobody.status.as_u16(), &nobody.body),
        (401, &refused("token_missing", json!({})))
    );

    let again = world
        .send(Ask::new(http::Method::POST, "/x/again").header("x-refresh", &refresh))
        .await;
    assert_eq!(
        (again.status.as_u16(), &again.body["in"]),
        (200, &json!(30 * 86_400))
    );
    assert_ne!(
        again.text("r"),
        refresh,
        "it rotates unless the route says otherwise"
    );

    let phone = world
        .send(Ask::post("/x/phone", &json!({ "code": "phone.13800138000-1" })).token(&token))
        .await;
    assert_eq!(phone.body, json!({ "e164": "+8613800138000", "w": null }));

    for (ask, expected) in [
        (
            Ask::get("/x/in"),
            refused("validation_failed", json!({ "c": ["is required"] })),
        ),
        (
            Ask::get("/x/in?c=a-1&c=b-1"),
            refused("request_malformed", json!({})),
        ),
        (
            Ask::get("/x/in?c=a-1")
                .header("x-nick", "a")
                .header("x-nick", "b"),
            refused("request_malformed", json!({})),
        ),
        (
            Ask::new(http::Method::DELETE, "/x/in?scope=all").header("x-token", &token),
            refused(
                "validation_failed",
                json!({ "scope": ["must be local, others or global"] }),
            ),
        ),
    ] {
        let answer = world.send(ask).await;
        assert_eq!((answer.status.as_u16(), &answer.body), (400, &expected));
    }
    let out = world
        .send(Ask::new(http::Method::DELETE, "/x/in?scope=global").header("x-token", &token))
        .await;
    assert_eq!(
        (
            out.status.as_u16(),
            out.bytes.len(),
            out.header("content-type")
        ),
        (204, 0, "")
    );
    assert_eq!(
        world.send(Ask::get("/auth/me").token(&token)).await.says(),
        (401, "token_revoked")
    );
}

#[tokio::test]
async fn a_hostile_body_gets_a_4xx_in_the_shape_of_the_dialect() {
    let world = speaking(vec![DialectConfig::for_kind(DialectKind::Nest)]).await;
    let deep = format!("{{\"code\":{}{}}}", "[".repeat(500), "]".repeat(500));
    let long = format!("{{\"code\":\"{}\"}}", "x".repeat(20_000));
    for (body, status, code) in [
        ("{", 400, "request_malformed"),
        ("[]", 400, "request_malformed"),
        ("null", 400, "request_malformed"),
        ("{\"code\":\"a\",\"code\":\"b\"}", 400, "request_malformed"),
        ("{\"code\":\"\\u0000\"}", 400, "validation_failed"),
        ("{\"code\":{\"$ne\":1}}", 400, "validation_failed"),
        (&deep, 400, "request_malformed"),
        (&long, 413, "body_too_large"),
        (
            "\u{feff}\u{feff}{\"code\":\"a-1\"}",
            400,
            "request_malformed",
        ),
    ] {
        let ask = Ask::new(http::Method::POST, "/api/v1/auth/wx-login")
            .header("content-type", "application/json");
        let answer = world.send(ask.raw(body.to_owned())).await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("x-menshen-error")),
            (status, code),
            "{body:.60}"
        );
        assert_eq!(answer.body["code"], status);
        assert_eq!(answer.body.as_object().unwrap().len(), 4);
    }
}

#[tokio::test]
async fn a_refused_phone_repeats_nothing_of_what_was_sent() {
    let world = speaking(vec![DialectConfig::for_kind(DialectKind::SuccessData)]).await;
    let (data, iv) =
        SimulatedWechat::encrypted_phone(APP, "alice-1", "13800138000", START.as_secs());
    let body = json!({ "encryptedData": data, "iv": iv, "sessionKey": "msh2_secret", "openid": "o-secret" });
    let answer = world.send(Ask::post("/api/decrypt-phone", &body)).await;
    let text = String::from_utf8(answer.bytes.to_vec()).unwrap();
    for secret in [data.as_str(), iv.as_str(), "msh2_secret", "o-secret"] {
        assert!(!text.contains(secret), "{text}");
    }
}

const PHONE: &str = "+8613800138000";

/// The openid is wherever the config puts it: also in a profile, after a renewal, and after a merge
/// of two accounts.
#[tokio::test]
async fn an_openid_that_is_asked_for_is_not_lost_on_the_way() {
    let world = World::with(|config: &mut Config| {
        config.users.merge = Merge::Proven;
        config.dialect = parse(
            r#"
[[dialect]]
kind = "custom"
prefix = "/x"
claims = { openid = "{user.openid}" }
[[dialect.route]]
method = "POST"
path = "/in"
action = "wechat_login"
inputs = { code = "body.code" }
body = '{ "t": "{access_token}", "o": "{user.openid}" }'
[[dialect.route]]
method = "POST"
path = "/renew"
action = "renew"
body = '{ "t": "{access_token}", "o": "{user.openid}" }'
[[dialect.route]]
method = "GET"
path = "/me"
action = "me"
body = '{ "o": "{user.openid}" }'
[[dialect.route]]
method = "POST"
path = "/phone"
action = "phone_sms"
inputs = { phone = "body.phone", code = "body.code" }
body = '{ "t?": "{access_token}" }'
[[dialect.error]]
body = '"{code}"'
"#,
        );
    })
    .await;
    world.sign_in_by_sms(PHONE).await;
    world.advance(60);
    let login = world
        .send(Ask::post("/x/in", &json!({ "code": "alice-1" })))
        .await;
    let (openid, token) = (login.text("o").to_owned(), login.text("t").to_owned());
    let renewed = world
        .send(Ask::new(http::Method::POST, "/x/renew").token(&token))
        .await;
    assert_eq!(renewed.text("o"), openid);
    assert_eq!(
        world.send(Ask::get("/x/me").token(&token)).await.body,
        json!({ "o": openid })
    );
    let code = world.bind_code(PHONE).await;
    let bound = world
        .send(Ask::post("/x/phone", &json!({ "phone": PHONE, "code": code })).token(&token))
        .await;
    let claims = super::dialects::claims(bound.text("t"));
    assert_eq!(
        (&claims["openid"], &claims["renewable"]),
        (&json!(openid), &json!(true)),
        "the older account is left"
    );
}

/// As the gate reads it.
#[tokio::test]
async fn a_dialect_below_another_takes_the_token_header_of_the_longest_prefix() {
    let dialects = parse(
        r#"
[[dialect]]
kind = "custom"
prefix = "/x"
access_token = "header.X-Shop"
[[dialect.route]]
method = "GET"
path = "/me"
action = "me"
body = '{ "id": "{user.id}" }'
[[dialect.error]]
body = '"{code}"'
[[dialect]]
kind = "custom"
prefix = "/x/y"
[[dialect.route]]
method = "GET"
path = "/me"
action = "me"
body = '{ "id": "{user.id}" }'
[[dialect.error]]
body = '"{code}"'
"#,
    );
    let world = World::with(|config: &mut Config| {
        config.gate.token_header = Some("X-Gate".to_owned());
        config.dialect = dialects;
    })
    .await;
    let alice = world.login("alice-1").await;
    for (name, status) in [("x-shop", 200), ("x-gate", 401)] {
        let ask = Ask::get("/x/y/me").header(name, alice.text("access_token"));
        assert_eq!(world.send(ask).await.status.as_u16(), status, "{name}");
    }
}
