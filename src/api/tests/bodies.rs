//! Bodies that are wrong, huge, deep or not text: always a 4xx with a code.

use std::convert::Infallible;

use axum::{
    body::{Body, Bytes},
    http::Method,
};
use futures::stream;
use serde_json::json;

use super::world::{Ask, World};

const MALFORMED: (u16, &str) = (400, "request_malformed");
const INVALID: (u16, &str) = (400, "validation_failed");
const TOO_LARGE: (u16, &str) = (413, "body_too_large");

#[tokio::test]
async fn no_body_is_ever_a_fault() {
    let world = World::with(|config| config.limits.enabled = false).await;
    let deep = |n: usize| format!(r#"{{"code":{}{}}}"#, "[".repeat(n), "]".repeat(n));
    let table: Vec<(Vec<u8>, (u16, &str))> = vec![
        (b"".into(), MALFORMED),
        (b" ".into(), MALFORMED),
        (b"{".into(), MALFORMED),
        (b"null".into(), MALFORMED),
        (b"[]".into(), MALFORMED),
        (b"\"code\"".into(), MALFORMED),
        (b"1e999".into(), MALFORMED),
        (b"{\"code\":1e999}".into(), MALFORMED),
        (b"{\"code\":\"a\"}{}".into(), MALFORMED),
        (b"{\"code\":\"a\",}".into(), MALFORMED),
        (b"{'code':'a'}".into(), MALFORMED),
        (b"{\"code\":\"a\",\"code\":\"b\"}".into(), MALFORMED),
        (b"{\"code\":\"a\",\"x\":1,\"x\":2}".into(), MALFORMED),
        (b"{\"code\":\"a\",\"c\\u006fde\":\"b\"}".into(), MALFORMED),
        (b"{\"code\":\"\\ud800\"}".into(), MALFORMED),
        (b"{\"code\":\"\xff\xfe\"}".into(), MALFORMED),
        (b"\xef\xbb\xbf{\"code\":\"a\"}".into(), MALFORMED),
        (b"\x1f\x8b\x08".into(), MALFORMED),
        (deep(1000).into(), MALFORMED),
        (deep(100).into(), INVALID),
        (b"{}".into(), INVALID),
        (b"{\"code\":null}".into(), INVALID),
        (b"{\"code\":1}".into(), INVALID),
        (b"{\"code\":{}}".into(), INVALID),
        (b"{\"code\":\"\"}".into(), INVALID),
        (b"{\"code\":\"\\u0000\"}".into(), INVALID),
        (b"{\"Code\":\"a\"}".into(), INVALID),
        (json!({ "code": "x".repeat(257) }).to_string().into(), INVALID),
        (json!({ "code": "x".repeat(16 * 1024) }).to_string().into(), TOO_LARGE),
        (vec![b' '; 1 << 20], TOO_LARGE),
    ];
    for (body, expected) in &table {
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        let ask = |path| Ask::new(Method::POST, path).header("content-type", "application/json").raw(body.clone());
        assert_eq!(world.send(ask("/auth/wechat/login")).await.says(), *expected, "{shown}");
        if *expected != INVALID {
            // What is wrong whatever the fields are is wrong on every route.
            assert_eq!(world.send(ask("/auth/refresh")).await.says(), *expected, "{shown}");
        }
    }
    assert_eq!(world.send(Ask::post("/auth/refresh", &json!({}))).await.says(), INVALID);
    assert_eq!(world.wechat.calls(), 0);
}

#[tokio::test]
async fn every_wrong_field_is_named_at_once() {
    let world = World::new().await;
    let body = json!({ "nickname": "a\nb", "avatar_url": "javascript:x", "client_type": "tv", "app_id": "a b" });
    let answer = world.send(Ask::post("/auth/wechat/login", &body)).await;
    assert_eq!(answer.says(), INVALID);
    assert_eq!(answer.wrong_fields(), ["code", "nickname", "avatar_url", "client_type", "app_id"]);
    assert!(answer.body["errors"][0]["message"] == "is required", "{}", answer.body);
    assert!(!answer.body.to_string().contains("javascript"), "what was sent is not repeated");
    let null = json!({ "code": "alice-1", "nickname": null, "avatar_url": null, "client_type": null, "app_id": null });
    assert_eq!(world.send(Ask::post("/auth/wechat/login", &null)).await.says(), (200, ""), "null is absent");
}

#[tokio::test]
async fn only_json_is_taken_and_only_as_it_is() {
    let world = World::with(|config| config.limits.enabled = false).await;
    let ask =
        |n: usize| Ask::new(Method::POST, "/auth/wechat/login").raw(json!({ "code": format!("alice-{n}") }).to_string());
    for (n, kind) in
        ["application/json", "Application/JSON; charset=utf-8", "application/json;charset=UTF-8"].iter().enumerate()
    {
        assert_eq!(world.send(ask(n).header("content-type", kind)).await.says(), (200, ""), "{kind}");
    }
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", "application/merge-patch+json", ""]
    {
        assert_eq!(world.send(ask(9).header("content-type", kind)).await.says(), MALFORMED, "{kind}");
    }
    assert_eq!(world.send(ask(9)).await.says(), MALFORMED, "no Content-Type");
    let two = ask(9).header("content-type", "application/json").header("content-type", "text/plain");
    assert_eq!(world.send(two).await.says(), MALFORMED);
    let packed = ask(9).header("content-type", "application/json").header("content-encoding", "gzip");
    assert_eq!(world.send(packed).await.says(), MALFORMED);
}

#[tokio::test]
async fn a_body_without_a_length_is_bounded_too() {
    let world = World::new().await;
    let endless = stream::repeat_with(|| Ok::<_, Infallible>(Bytes::from_static(b"          ")));
    let ask = Ask::new(Method::POST, "/auth/refresh").header("content-type", "application/json");
    assert_eq!(world.send(ask.raw(Body::from_stream(endless))).await.says(), TOO_LARGE);
    let broken = stream::iter([Ok(Bytes::from_static(b"{")), Err(std::io::Error::other("gone"))]);
    let ask = Ask::new(Method::POST, "/auth/refresh").header("content-type", "application/json");
    assert_eq!(world.send(ask.raw(Body::from_stream(broken))).await.says(), MALFORMED);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let world = World::new().await;
    let silent = stream::pending::<Result<Bytes, Infallible>>();
    let ask = Ask::new(Method::POST, "/auth/refresh").header("content-type", "application/json");
    assert_eq!(world.send(ask.raw(Body::from_stream(silent))).await.says(), MALFORMED);
}
