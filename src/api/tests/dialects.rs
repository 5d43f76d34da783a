//! The four built-in dialects, response by response, with a clock that tests move.

mod code_data;
mod nest;
mod simplejwt;
mod success_data;

use serde_json::{Value, json};

use super::world::{APP, Answered, Ask, START, World};
use crate::{
    config::{Config, DialectConfig, DialectKind, ShownPhone, SmsProvider, UserIds},
    dev::{sms::Scenario, wechat::SimulatedWechat},
};

const DAY: u64 = 86_400;

/// A world with this dialect, and with ids as such backends have them.
async fn speaking(kind: DialectKind) -> World {
    World::with(|config| {
        config.users.ids = UserIds::Integer;
        config.wechat.legacy_decrypt = true;
        config.dialect = vec![DialectConfig::for_kind(kind)];
    })
    .await
}

async fn post(world: &World, path: &str, body: &Value) -> Answered {
    world.send(Ask::post(path, body)).await
}

/// Status and body, of a success or a rejection.
fn told(answer: &Answered) -> (u16, &Value) {
    assert_eq!(
        answer.header("content-type"),
        "application/json; charset=utf-8"
    );
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(
        answer.header("x-menshen-error").is_empty(),
        answer.status.is_success()
    );
    (answer.status.as_u16(), &answer.body)
}

/// The claims of a token.
pub(super) fn claims(token: &str) -> Value {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let payload = token.split('.').nth(1).expect("a JWT");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

#[tokio::test]
async fn a_code_that_is_posted_to_two_apis_signs_in_once() {
    let world = speaking(DialectKind::Nest).await;
    let login = post(
        &world,
        "/api/v1/auth/wx-login",
        &json!({ "code": "alice-1" }),
    )
    .await;
    assert_eq!(login.status.as_u16(), 200);
    assert_eq!(
        world.login("alice-1").await.says(),
        (401, "wechat_code_invalid"),
        "its tokens would be of the other kind"
    );
    let again = post(
        &world,
        "/api/v1/auth/wx-login",
        &json!({ "code": "alice-1" }),
    )
    .await;
    assert_eq!(again.body, login.body, "a double tap");
    assert_eq!(world.wechat.calls_for("alice-1"), 1);
}
