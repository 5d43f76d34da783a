//! Bodies that are invalid, huge, deep or not text always get a 4xx with a code.

use std::convert::Infallible;

use axum::{
    body::{Body, Bytes},
    http::Method,
};
use futures::stream;
use serde_json::json;

use super::world::{Ask, World};
use crate::config::{DialectConfig, DialectKind};

const MALFORMED: (u16, &str) = (400, "request_malformed");
const INVALID: (u16, &str) = (400, "validation_failed");
const TOO_LARGE: (u16, &str) = (413, "body_too_large");

#[tokio::test]
async fn no_body_is_ever_a_fault() {
    let world = World::with(|config| config.limits.enabled = false).await;
    let deep = |n: usize| format!(r#"{{"code":{}{}}}"#, "[".repeat(n), "]".repeat(n));
    // A body that is not an object is rejected on every route.
    let no_object: Vec<(Vec<u8>, (u16, &str))> = vec![
        (b"".into(), MALFORMED),
        (b" ".into(), MALFORMED),
        (b"{".into(), MALFORMED),
        (b"null".into(), MALFORMED),
        (b"[]".into(), MALFORMED),
        (b"\"code\"".into(), MALFORMED),
        (b"1e999".into(), MALFORMED),
        (b"{\"code\":\"a\"}{}".into(), MALFORMED),
        (b"{\"code\":\"a\",}".into(), MALFORMED),
        (b"{\"code\":\"a\",\"x\":[1}}".into(), MALFORMED),
        (b"{\"code\":\"a\",\"x\":nul}".into(), MALFORMED),
        (b"{'code':'a'}".into(), MALFORMED),
        (b"\xef\xbb\xbf".into(), MALFORMED),
        (b"\xff\xfe{\0}\0".into(), MALFORMED),
        (b"\x1f\x8b\x08".into(), MALFORMED),
        (
            json!({ "code": "x".repeat(16 * 1024) }).to_string().into(),
            TOO_LARGE,
        ),
        (vec![b' '; 1 << 20], TOO_LARGE),
    ];
    // An invalid field is rejected where it is read.
    let wrong_code: Vec<(Vec<u8>, (u16, &str))> = vec![
        (b"{\"code\":1e999}".into(), MALFORMED),
        (b"{\"code\":\"a\",\"code\":\"b\"}".into(), MALFORMED),
        (b"{\"code\":\"a\",\"c\\u006fde\":\"b\"}".into(), MALFORMED),
        (
            b"{\"code\":\"a\",\"nickname\":\"A\",\"nickname\":\"B\"}".into(),
            MALFORMED,
        ),
        (b"{\"code\":\"\\ud800\"}".into(), MALFORMED),
        (b"{\"code\":\"\xff\xfe\"}".into(), MALFORMED),
        (deep(1000).into(), MALFORMED),
        (deep(100).into(), INVALID),
        (b"{}".into(), INVALID),
        (b"{\"code\":null}".into(), INVALID),
        (b"{\"code\":1}".into(), INVALID),
        (b"{\"code\":{}}".into(), INVALID),
        (b"{\"code\":\"\"}".into(), INVALID),
        (b"{\"code\":\"\\u0000\"}".into(), INVALID),
        (b"{\"Code\":\"a\"}".into(), INVALID),
        (
            json!({ "code": "x".repeat(257) }).to_string().into(),
            INVALID,
        ),
    ];
    let shown = |body: &[u8]| String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
    let ask = |path, body: &[u8]| {
        Ask::new(Method::POST, path)
            .header("content-type", "application/json")
            .raw(body.to_vec())
    };
    for (body, expected) in no_object.iter().chain(&wrong_code) {
        assert_eq!(
            world.send(ask("/auth/wechat/login", body)).await.says(),
            *expected,
            "{}",
            shown(body)
        );
    }
    for (body, expected) in &no_object {
        assert_eq!(
            world.send(ask("/auth/refresh", body)).await.says(),
            *expected,
            "{}",
            shown(body)
        );
    }
    for (body, _) in &wrong_code {
        assert_eq!(
            world.send(ask("/auth/refresh", body)).await.says(),
            INVALID,
            "{}",
            shown(body)
        );
    }
    assert_eq!(
        world
            .send(Ask::post("/auth/refresh", &json!({})))
            .await
            .says(),
        INVALID
    );
    assert_eq!(world.wechat.calls(), 0);
}

/// Further values that mini programs send and backends ignore.
const UNREAD: [&str; 10] = [
    r#""\ud83d""#,
    "1e400",
    r#"{"\udf67":["\ud83d\ud83d"],"x":1,"x":2}"#,
    "\"\\u0000\u{feff}\"",
    "99999999999999999999999999999999",
    "-0.0e-99999",
    "null",
    "[]",
    "[[[[{}]]]]",
    "DEEP",
];

/// The body with `odd` in a field before, after and between those that are read, and in a name.
fn with_unread(fields: &str, odd: &str) -> Vec<String> {
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    let odd = if odd == "DEEP" { &deep } else { odd };
    vec![
        format!(r#"{{"x":{odd},{fields}}}"#),
        format!(r#"{{{fields},"x":{odd}}}"#),
        format!("\u{feff}{{\"x\":{odd} , {fields} ,\r\n\"y\":[], \"x\":1}}"),
        format!(r#"{{"\ud83d":{odd},{fields}}}"#),
    ]
}

#[tokio::test]
async fn what_no_route_reads_keeps_nobody_from_signing_in() {
    let world = World::with(|config| {
        config.limits.enabled = false;
        let kinds = [
            DialectKind::Simplejwt,
            DialectKind::Nest,
            DialectKind::SuccessData,
        ];
        config.dialect = kinds.map(DialectConfig::for_kind).to_vec();
        config.dialect[2].prefix = Some("/simple".to_owned());
        config.wechat.legacy_decrypt = true;
    })
    .await;
    let mut n = 0;
    for odd in UNREAD {
        for path in [
            "/auth/wechat/login",
            "/api/login/",
            "/api/v1/auth/wx-login",
            "/simple/login",
        ] {
            n += 1;
            for (part, body) in with_unread(&format!(r#""code":"alice-{n}CODE""#), odd)
                .iter()
                .enumerate()
            {
                let body = body.replace("CODE", &part.to_string());
                let ask = Ask::new(Method::POST, path)
                    .header("content-type", "application/json")
                    .raw(body);
                let answer = world.send(ask).await;
                assert_eq!(answer.status.as_u16(), 200, "{path} {odd}: {}", answer.body);
            }
        }
    }
    // Every other route with a body.
    let signed_in = world.login("alice-0").await;
    for odd in UNREAD {
        for body in with_unread(r#""bio":"b""#, odd) {
            let patch = Ask::new(Method::PATCH, "/auth/me")
                .header("content-type", "application/json")
                .by(&signed_in);
            assert_eq!(world.send(patch.raw(body)).await.says(), (200, ""), "{odd}");
        }
        for body in with_unread(r#""refresh_token":"x""#, odd) {
            let refresh =
                Ask::new(Method::POST, "/auth/refresh").header("content-type", "application/json");
            assert_eq!(
                world.send(refresh.raw(body)).await.says(),
                (401, "refresh_invalid"),
                "{odd}"
            );
        }
    }
}

#[tokio::test]
async fn a_nickname_or_avatar_that_is_not_valid_is_left_out() {
    let world = World::with(|config| {
        config.limits.enabled = false;
        config.dialect = vec![DialectConfig::for_kind(DialectKind::Nest)];
    })
    .await;
    let long = format!(r#""{}""#, "字".repeat(65));
    let odd = [
        r#""小明\ud83d""#,
        r#""a\u0000b""#,
        r#""a\nb""#,
        "7",
        "[]",
        "{\"a\":1}",
        "1e400",
        "true",
        "null",
        r#""""#,
        r#""  ""#,
        r#""\u3164""#,
        r#""\u200b\u2800""#,
        r#""wxfile://tmp_\u0001""#,
        &long,
    ];
    for (n, odd) in odd.iter().enumerate() {
        let body = format!(r#"{{"code":"odd{n}-1","nickname":{odd},"avatar_url":{odd}}}"#);
        let login = |path, body| {
            Ask::new(Method::POST, path)
                .header("content-type", "application/json")
                .raw(body)
        };
        let answer = world.send(login("/auth/wechat/login", body)).await;
        assert_eq!(answer.says(), (200, ""), "{odd}");
        assert_eq!(
            (
                &answer.body["user"]["nickname"],
                &answer.body["user"]["avatar_url"]
            ),
            (&json!(null), &json!(null))
        );
        let body = format!(r#"{{"code":"odd{n}-2","nickName":{odd},"avatarUrl":{odd}}}"#);
        let answer = world.send(login("/api/v1/auth/wx-login", body)).await;
        assert_eq!(
            (
                answer.status.as_u16(),
                &answer.body["data"]["user"]["avatar"]
            ),
            (200, &json!("")),
            "{odd}"
        );
        assert_eq!(answer.body["data"]["user"]["nickname"], "微信用户", "{odd}");
        if *odd != "null" {
            // Where the field is the purpose of the request, it is rejected.
            let patch =
                Ask::new(Method::PATCH, "/auth/me").header("content-type", "application/json");
            let signed_in = world.login(&format!("odd{n}-3")).await;
            let answer = world
                .send(patch.by(&signed_in).raw(format!(r#"{{"nickname":{odd}}}"#)))
                .await;
            assert_eq!(answer.status.as_u16(), 400, "{odd}");
        }
    }
}

#[tokio::test]
async fn an_avatar_that_nobody_else_can_see_is_none() {
    let world = World::with(|config| {
        config.limits.enabled = false;
        config.dialect = vec![DialectConfig::for_kind(DialectKind::Nest)];
    })
    .await;
    for (n, avatar) in [
        "wxfile://tmp_a.jpg",
        "http://tmp/a.jpg",
        "http://usr/a.jpg",
        "http://127.0.0.1:5000/__tmp__/a.jpg",
    ]
    .iter()
    .enumerate()
    {
        let body = json!({ "code": format!("odd{n}-1"), "nickname": "小明", "avatar_url": avatar });
        let native = world.send(Ask::post("/auth/wechat/login", &body)).await;
        assert_eq!(
            (native.says(), &native.body["user"]["avatar_url"]),
            ((200, ""), &json!(null)),
            "{avatar}"
        );
        assert_eq!(native.body["user"]["nickname"], "小明", "{avatar}");
        let body = json!({ "code": format!("odd{n}-2"), "avatarUrl": avatar });
        let nest = world.send(Ask::post("/api/v1/auth/wx-login", &body)).await;
        assert_eq!(nest.body["data"]["user"]["avatar"], "", "{avatar}");
        let patch = Ask::new(Method::PATCH, "/auth/me")
            .json(&json!({ "avatar_url": avatar }))
            .by(&native);
        assert_eq!(
            world.send(patch).await.wrong_fields(),
            ["avatar_url"],
            "{avatar}"
        );
    }
}

#[tokio::test]
async fn every_wrong_field_is_named_at_once() {
    let world = World::new().await;
    let body =
        json!({ "raw_data": "javascript", "signature": "x", "client_type": "tv", "app_id": "a b" });
    let answer = world.send(Ask::post("/auth/wechat/login", &body)).await;
    assert_eq!(answer.says(), INVALID);
    assert_eq!(
        answer.wrong_fields(),
        ["code", "client_type", "app_id", "signature"]
    );
    assert!(
        answer.body["errors"][0]["message"] == "is required",
        "{}",
        answer.body
    );
    assert!(
        !answer.body.to_string().contains("javascript"),
        "what was sent is not repeated"
    );
    let null = json!({ "code": "alice-1", "nickname": null, "avatar_url": null, "client_type": null, "app_id": null });
    assert_eq!(
        world
            .send(Ask::post("/auth/wechat/login", &null))
            .await
            .says(),
        (200, ""),
        "null is absent"
    );
}

#[tokio::test]
async fn only_json_is_taken_and_only_as_it_is() {
    let world = World::with(|config| config.limits.enabled = false).await;
    let ask = |n: usize| {
        Ask::new(Method::POST, "/auth/wechat/login")
            .raw(json!({ "code": format!("alice-{n}") }).to_string())
    };
    for (n, kind) in [
        "application/json",
        "Application/JSON; charset=utf-8",
        "application/json;charset=UTF-8",
    ]
    .iter()
    .enumerate()
    {
        assert_eq!(
            world.send(ask(n).header("content-type", kind)).await.says(),
            (200, ""),
            "{kind}"
        );
    }
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonx",
        "application/merge-patch+json",
        "",
    ] {
        assert_eq!(
            world.send(ask(9).header("content-type", kind)).await.says(),
            MALFORMED,
            "{kind}"
        );
    }
    assert_eq!(
        world.send(ask(9)).await.says(),
        MALFORMED,
        "no Content-Type"
    );
    let two = ask(9)
        .header("content-type", "application/json")
        .header("content-type", "text/plain");
    assert_eq!(world.send(two).await.says(), MALFORMED);
    let packed = ask(9)
        .header("content-type", "application/json")
        .header("content-encoding", "gzip");
    assert_eq!(world.send(packed).await.says(), MALFORMED);
}

#[tokio::test]
async fn a_body_without_a_length_is_bounded_too() {
    let world = World::new().await;
    let endless = stream::repeat_with(|| Ok::<_, Infallible>(Bytes::from_static(b"          ")));
    let ask = Ask::new(Method::POST, "/auth/refresh").header("content-type", "application/json");
    assert_eq!(
        world.send(ask.raw(Body::from_stream(endless))).await.says(),
        TOO_LARGE
    );
    let broken = stream::iter([
        Ok(Bytes::from_static(b"{")),
        Err(std::io::Error::other("gone")),
    ]);
    let ask = Ask::new(Method::POST, "/auth/refresh").header("content-type", "application/json");
    assert_eq!(
        world.send(ask.raw(Body::from_stream(broken))).await.says(),
        MALFORMED
    );
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let world = World::new().await;
    let silent = stream::pending::<Result<Bytes, Infallible>>();
    let ask = Ask::new(Method::POST, "/auth/refresh").header("content-type", "application/json");
    assert_eq!(
        world.send(ask.raw(Body::from_stream(silent))).await.says(),
        MALFORMED
    );
}
