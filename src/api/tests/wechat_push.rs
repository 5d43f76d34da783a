//! WeChat's message push: a deleted account is erased, withdrawn data is cleared.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::world::*;
use crate::{
    config::{HooksConfig, SecretText},
    dev::wechat::{
        openid,
        push::{PushRequest, SimulatedPush},
    },
    store::OutboxEvent,
};

const KEY: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPA";
const PHONE: &str = "+8613800138000";

fn wechat() -> SimulatedPush {
    SimulatedPush {
        app_id: APP.to_owned(),
        token: "apushtoken".to_owned(),
        aes_key: KEY.to_owned(),
    }
}

/// Pushes are accepted, and events for the backend wait in the outbox.
async fn world() -> World {
    World::with(|config| {
        config.wechat.push.enabled = true;
        config.wechat.push_token = Some(SecretText::new("apushtoken".to_owned()));
        config.wechat.push_aes_key = Some(SecretText::new(KEY.to_owned()));
        config.hooks = HooksConfig {
            url: Some("http://127.0.0.1:9/".to_owned()),
            secret: Some(SecretText::new(
                "a secret of thirty-two bytes and more".to_owned(),
            )),
            created: crate::config::HookCreated::Tell,
            ..HooksConfig::default()
        };
        config
            .hooks
            .events
            .retain(|event| *event != crate::config::HookEvent::UserCreated);
    })
    .await
}

async fn push(world: &World, sent: &PushRequest) -> Answered {
    let path = format!("/auth/wechat/push?{}", sent.query);
    world
        .send(
            Ask::new(axum::http::Method::POST, &path)
                .header("content-type", "text/xml")
                .raw(sent.body.clone()),
        )
        .await
}

async fn pushed(world: &World, name: &str, person: &str, more: Value) -> Answered {
    push(
        world,
        &wechat().event(name, &openid(APP, person), &more, world.clock.now()),
    )
    .await
}

fn counted(world: &World, event: &str, result: &str) -> u64 {
    world
        .metrics
        .wechat_pushes
        .with_label_values(&[event, result])
        .get()
}

async fn told(world: &World) -> Vec<OutboxEvent> {
    let now = world.clock.now();
    let taken = world
        .store
        .take_outbox(now, now.plus(std::time::Duration::from_hours(1)), 100)
        .await
        .unwrap();
    taken.into_iter().map(|entry| entry.event).collect()
}

#[tokio::test]
async fn wechat_finds_its_address() {
    let world = world().await;
    let get = async |query: &str| {
        world
            .send(Ask::get(&format!("/auth/wechat/push?{query}")))
            .await
    };
    let good = wechat().query(world.clock.now(), "123");
    let answered = get(&format!("{good}&echostr=437512")).await;
    assert_eq!(
        (answered.status, &answered.body),
        (StatusCode::OK, &json!("437512"))
    );
    assert_eq!(
        (
            answered.header("x-content-type-options"),
            answered.header("cache-control")
        ),
        ("nosniff", "no-store")
    );
    for query in [
        "",
        "echostr=1",
        good.as_str(),
        &format!("{}&echostr=1", good.replace("nonce=123", "nonce=124")),
        &format!("{good}&echostr=%3Cscript%3E"),
        &format!("{good}&echostr=1&echostr=2"),
    ] {
        assert_eq!(get(query).await.says(), (403, "forbidden"), "{query}");
    }
    let off = World::new().await;
    let answered = off
        .send(Ask::get(&format!("/auth/wechat/push?{good}&echostr=1")))
        .await;
    assert_eq!(answered.says(), (404, "not_found"));
}

#[tokio::test]
async fn who_cancels_is_erased_as_by_their_own_wish() {
    let world = world().await;
    let (alice, bob) = (world.login("alice-1").await, world.login("bob-1").await);
    let answered = pushed(
        &world,
        "user_authorization_cancellation",
        "alice",
        json!({}),
    )
    .await;
    assert_eq!(
        (answered.status, &answered.body),
        (StatusCode::OK, &json!("success"))
    );
    assert_eq!(world.me(&alice).await.says(), (401, "token_revoked"));
    assert_eq!(
        world
            .refresh(alice.text("refresh_token"))
            .await
            .status
            .as_u16(),
        401
    );
    assert_eq!(world.me(&bob).await.says(), (200, ""));
    assert_eq!(world.audited("account.erased"), 1);
    assert_eq!(
        told(&world)
            .await
            .iter()
            .map(OutboxEvent::id)
            .collect::<Vec<_>>(),
        [format!("user.deleted.{}", alice.user())]
    );

    for person in ["alice", "nobody"] {
        world.advance(1);
        let again = pushed(&world, "user_authorization_cancellation", person, json!({})).await;
        assert_eq!(again.body, "success", "{person}");
    }
    assert_eq!(
        counted(&world, "user_authorization_cancellation", "nobody"),
        2
    );
    assert_ne!(world.login("alice-2").await.user(), alice.user());
}

#[tokio::test]
async fn a_withdrawal_of_everything_erases_and_of_something_takes_that() {
    let world = world().await;
    let login =
        json!({ "code": "alice-1", "nickname": "Alice", "avatar_url": "https://a.example/1.png" });
    let alice = world.send(Ask::post("/auth/wechat/login", &login)).await;
    assert_eq!(world.bind_by_sms(&alice, PHONE).await.says(), (200, ""));
    let revoke = async |kinds: &str| {
        let answered = pushed(
            &world,
            "user_authorization_revoke",
            "alice",
            json!({ "RevokeInfo": kinds }),
        )
        .await;
        assert_eq!(answered.body, "success");
        world.advance(1);
        let me = world.me(&alice).await;
        (me.body["nickname"].clone(), me.body["phone_masked"].clone())
    };
    let (nickname, phone) = (json!("Alice"), json!("138****8000"));
    assert_eq!(
        revoke("1").await,
        (nickname.clone(), phone.clone()),
        "nothing that menshen has"
    );
    assert_eq!(revoke("8").await, (nickname, Value::Null));
    assert_eq!(revoke("6,13").await, (Value::Null, Value::Null));
    let user = alice.user();
    let heard = told(&world).await;
    let kinds: Vec<_> = heard
        .iter()
        .map(|event| match event {
            OutboxEvent::Withdrawn {
                user: whose, kinds, ..
            } if whose.as_str() == user => kinds.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(kinds, [vec![1], vec![8], vec![6, 13]]);
    assert_eq!(world.audited("data.withdrawn"), 3);
    pushed(&world, "user_authorization_revoke", "alice", json!({})).await;
    assert_eq!(world.me(&alice).await.says(), (401, "token_revoked"));
}

#[tokio::test]
async fn two_withdrawals_in_one_second_are_two_and_one_that_is_said_again_is_one() {
    let world = world().await;
    let alice = world.login("alice-1").await;
    let revoke = async |kinds: &str| {
        let answered = pushed(
            &world,
            "user_authorization_revoke",
            "alice",
            json!({ "RevokeInfo": kinds }),
        )
        .await;
        assert_eq!(answered.body, "success");
    };
    for kinds in ["6", "8", "6,8", "8", "6"] {
        revoke(kinds).await;
    }
    pushed(&world, "user_info_modified", "alice", json!({})).await;
    assert_eq!(counted(&world, "user_authorization_revoke", "done"), 3);
    assert_eq!(counted(&world, "user_authorization_revoke", "repeated"), 2);
    let ids: Vec<String> = told(&world).await.iter().map(OutboxEvent::id).collect();
    assert_eq!(
        (
            ids.len(),
            ids.iter().collect::<std::collections::BTreeSet<_>>().len()
        ),
        (4, 4),
        "{ids:?}"
    );
    for id in &ids {
        assert!(
            id.starts_with(&format!("user.withdrawn.{}.", alice.user())),
            "{id}"
        );
        assert!(
            !id.contains(&openid(APP, "alice")) && !id.contains(APP),
            "{id}"
        );
    }
}

#[tokio::test]
async fn a_name_that_wechat_has_cleaned_goes() {
    let world = world().await;
    let alice = world
        .send(Ask::post(
            "/auth/wechat/login",
            &json!({ "code": "alice-1", "nickname": "Alice" }),
        ))
        .await;
    pushed(&world, "user_info_modified", "alice", json!({})).await;
    assert_eq!(world.me(&alice).await.body["nickname"], Value::Null);
    let other = pushed(&world, "wxa_media_check", "alice", json!({})).await;
    assert_eq!(
        (&other.body, counted(&world, "other", "done")),
        (&json!("success"), 1)
    );
}

#[tokio::test]
async fn who_has_come_back_is_not_erased_for_what_was_before() {
    let world = world().await;
    world.login("alice-1").await;
    let cancelled = wechat().event(
        "user_authorization_cancellation",
        &openid(APP, "alice"),
        &json!({}),
        world.clock.now(),
    );
    assert_eq!(push(&world, &cancelled).await.body, "success");
    let back = world.login("alice-2").await;
    assert_eq!(
        push(&world, &cancelled).await.body,
        "success",
        "the very same push"
    );
    assert_eq!(
        counted(&world, "user_authorization_cancellation", "repeated"),
        1
    );
    assert_eq!(world.me(&back).await.says(), (200, ""));

    // The same event with a new signature.
    let before = json!({ "CreateTime": START.as_secs() - 301 });
    assert_eq!(
        pushed(&world, "user_authorization_cancellation", "alice", before)
            .await
            .body,
        "success"
    );
    assert_eq!(
        counted(&world, "user_authorization_cancellation", "outdated"),
        1
    );
    assert_eq!(world.me(&back).await.says(), (200, ""));
    world.advance(601);
    assert_eq!(
        push(&world, &cancelled).await.says(),
        (403, "forbidden"),
        "too old"
    );
    assert_eq!(counted(&world, "unknown", "stale"), 1);
}

#[tokio::test]
async fn what_wechat_did_not_sign_changes_nothing() {
    let world = world().await;
    let alice = world.login("alice-1").await;
    let good = wechat().event(
        "user_authorization_cancellation",
        &openid(APP, "alice"),
        &json!({}),
        world.clock.now(),
    );
    let plain = json!({ "Event": "user_authorization_cancellation", "OpenID": openid(APP, "alice"), "AppID": APP });
    for sent in [
        PushRequest {
            query: good.query.replace("msg_signature=", "msg_signature=0"),
            ..good.clone()
        },
        PushRequest {
            query: String::new(),
            ..good.clone()
        },
        PushRequest {
            body: plain.to_string(),
            ..good.clone()
        },
        PushRequest {
            body: String::new(),
            ..good.clone()
        },
        PushRequest {
            body: "<!DOCTYPE x [<!ENTITY e \"1\">]><xml><Encrypt>&e;</Encrypt></xml>".to_owned(),
            ..good.clone()
        },
    ] {
        assert_eq!(
            push(&world, &sent).await.says(),
            (403, "forbidden"),
            "{sent:?}"
        );
    }
    assert_eq!(counted(&world, "unknown", "forged"), 5);
    let huge = PushRequest {
        body: " ".repeat(20_000),
        ..good.clone()
    };
    assert_eq!(push(&world, &huge).await.says(), (413, "body_too_large"));
    assert_eq!(world.me(&alice).await.says(), (200, ""));

    world.store.close().await.unwrap();
    assert_eq!(
        push(&world, &good).await.says(),
        (503, "store_unavailable"),
        "WeChat will push again"
    );
}
