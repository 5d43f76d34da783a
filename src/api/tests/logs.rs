//! Log lines about logins contain no credential and no identity at WeChat.

use serde_json::json;

use super::world::{Ask, World};
use crate::telemetry::LogCapture;

#[tokio::test]
async fn no_log_line_holds_a_secret_code_token_or_openid() {
    let log_capture = LogCapture::start();
    let world = World::with(|config| config.auth.openid_in_answers = true).await;
    let body = json!({ "code": "c0de-1", "nickname": "N1ckname", "avatar_url": "https://avatar.example/" });
    let first = world.send(Ask::post("/auth/wechat/login", &body)).await;
    for code in [
        "fail.40029-c0de",
        "fail.40125-c0de",
        "garbage-c0de",
        "cut-c0de",
        "slow.9000-c0de",
        "empty-c0de",
    ] {
        assert_ne!(world.login(code).await.status, 200);
    }
    let second = world.refresh(first.text("refresh_token")).await;
    let third = world.refresh(second.text("refresh_token")).await;
    assert_eq!(
        world.refresh(first.text("refresh_token")).await.says(),
        (401, "refresh_reused")
    );
    assert_eq!(
        world.send(Ask::get("/auth/me").by(&third)).await.says(),
        (401, "token_revoked")
    );
    let password_login = json!({ "username": "r00t@example.com", "password": "hunter2" });
    let refused = world
        .send(Ask::post("/auth/password/login", &password_login))
        .await;
    assert_eq!(refused.says(), (401, "credentials_invalid"));
    world.store.close().await.unwrap();
    assert_eq!(
        world.login("c0de-2").await.says(),
        (503, "store_unavailable")
    );
    let said = log_capture.finish();
    for expected in [
        "login.succeeded",
        "login.failed",
        "refresh.reused",
        "errcode=40125",
        "0d0d0d0d-simulated",
        "the store failed",
    ] {
        assert!(said.contains(expected), "{expected} is not in:\n{said}");
    }
    let openid = first.body["user"]["openid"].as_str().unwrap();
    let tokens = [&first, &second, &third]
        .map(|answer| [answer.text("access_token"), answer.text("refresh_token")]);
    for hidden in [
        "c0de",
        "N1ckname",
        "avatar.example",
        "an app secret",
        "an+app+secret",
        "r00t",
        "hunter2",
        openid,
    ]
    .iter()
    .chain(tokens.as_flattened())
    {
        assert!(!said.contains(hidden), "{hidden} is in:\n{said}");
    }
}
