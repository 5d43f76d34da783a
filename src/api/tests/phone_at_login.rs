//! A login with WeChat that brings a phone: one call signs in and binds.

use futures::future::{join, join_all};
use serde_json::{Value, json};

use super::{
    dialects_custom::parse,
    world::{APP, Answered, Ask, START, World},
};
use crate::{
    config::{Config, HumanDuration, Merge, Registration},
    dev::wechat::SimulatedWechat,
};

const E164: &str = "+8613800138000";
const CODE: &str = "phone.13800138000-1";

/// WeChat takes its time over it.
const SLOW_CODE: &str = "slow.400-9";

/// Waits until menshen has asked WeChat about this phone.
async fn until_asked(world: &World, code: &str) {
    for _ in 0..100_000 {
        if world.wechat.calls_for(code) > 0 {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("WeChat is not asked");
}

async fn login(world: &World, code: &str, phone: &str) -> Answered {
    let body = json!({ "code": code, "phone_code": phone });
    world.send(Ask::post("/auth/wechat/login", &body)).await
}

/// Status, masked phone, and why it was not bound.
fn told(answer: &Answered) -> (u16, &str, &str) {
    let masked = answer.body["user"]["phone_masked"].as_str();
    let error = answer.body["phone_error"].as_str();
    (
        answer.status.as_u16(),
        masked.unwrap_or_default(),
        error.unwrap_or_default(),
    )
}

#[tokio::test]
async fn one_call_signs_in_and_binds() {
    let world = World::new().await;
    let alice = login(&world, "alice-1", CODE).await;
    assert_eq!(told(&alice), (200, "138****8000", ""));
    assert_eq!(alice.body["is_new_user"], true);
    assert!(alice.body.get("phone_error").is_none());
    assert_eq!(world.me(&alice).await.text("phone_masked"), "138****8000");
    assert_eq!(world.sign_in_by_sms(E164).await.user(), alice.user());
    let bound = world
        .metrics
        .phone_bindings
        .with_label_values(&["wechat", "bound"]);
    assert_eq!(bound.get(), 1);
    assert_eq!(
        (
            world.audited("login.succeeded"),
            world.audited("phone.bound")
        ),
        (2, 1)
    );
}

#[tokio::test]
async fn many_posts_of_one_login_are_one_login_and_one_phone() {
    let world = World::new().await;
    let answers = join_all((0..10).map(|_| login(&world, "slow.50-1", CODE))).await;
    for answer in &answers {
        assert_eq!(told(answer), (200, "138****8000", ""));
        assert_eq!(
            answer.text("refresh_token"),
            answers[0].text("refresh_token")
        );
    }
    assert_eq!(
        (
            world.wechat.calls_for("slow.50-1"),
            world.metrics.sessions_opened.get(),
            world.audited("phone.bound")
        ),
        (1, 1, 1)
    );
    // With another phone, or with none, it is another request, and the login code is spent.
    for phone in [json!("phone.13800138001-1"), Value::Null] {
        let body = json!({ "code": "slow.50-1", "phone_code": phone });
        let other = world.send(Ask::post("/auth/wechat/login", &body)).await;
        assert_eq!(other.says(), (401, "wechat_code_invalid"), "{phone}");
    }
}

#[tokio::test]
async fn a_phone_that_cannot_be_bound_keeps_nobody_from_signing_in() {
    let world = World::new().await;
    for (n, (phone, why)) in [
        ("alice-99", "phone_code_invalid"),
        ("phone.13800138000.bob-1", "phone_code_invalid"),
        ("busy-1", "wechat_busy"),
    ]
    .into_iter()
    .enumerate()
    {
        let alice = login(&world, &format!("alice-{n}"), phone).await;
        assert_eq!(told(&alice), (200, "", why), "{phone}");
        assert_eq!(alice.header("x-menshen-error"), "", "{phone}");
        assert_eq!(world.me(&alice).await.says(), (200, ""), "{phone}");
    }
    // The code was for one use.
    login(&world, "alice-3", CODE).await;
    let again = login(&world, "alice-4", CODE).await;
    assert_eq!(told(&again), (200, "138****8000", "phone_code_invalid"));
    assert_eq!(world.audited("phone.refused"), 4);
}

#[tokio::test]
async fn a_login_that_is_refused_uses_up_no_phone_code() {
    let world = World::with(|config| config.auth.registration = Registration::Closed).await;
    for (code, says) in [
        ("alice-1", (403, "registration_closed")),
        ("fail.40029-1", (401, "wechat_code_invalid")),
    ] {
        assert_eq!(login(&world, code, CODE).await.says(), says);
    }
    let malformed = login(&world, "alice-2", "a b").await;
    assert_eq!(
        (malformed.says(), malformed.wrong_fields()),
        ((400, "validation_failed"), vec!["phone_code"])
    );
    assert_eq!(
        (
            world.wechat.calls_for("alice-2"),
            world.wechat.token_calls()
        ),
        (0, 0),
        "neither code was sent to WeChat"
    );
}

#[tokio::test]
async fn a_phone_of_another_account_is_a_conflict() {
    let world = World::new().await;
    let alice = world.sign_in_by_sms(E164).await;
    let bob = login(&world, "bob-1", CODE).await;
    assert_eq!(told(&bob), (200, "", "phone_conflict"));
    assert_ne!(bob.user(), alice.user());
    world.advance(60);
    assert_eq!(world.sign_in_by_sms(E164).await.user(), alice.user());
}

#[tokio::test]
async fn a_phone_of_another_account_joins_the_two_where_the_config_says_so() {
    let world = World::with(|config| {
        config.users.merge = Merge::Proven;
        config.auth.openid_in_answers = true;
    })
    .await;
    let alice = world.sign_in_by_sms(E164).await;
    world.advance(60);
    let joined = login(&world, "alice-1", CODE).await;
    assert_eq!(told(&joined), (200, "138****8000", ""));
    assert_eq!(joined.user(), alice.user(), "the older account is left");
    assert_eq!(joined.body["is_new_user"], false);
    assert!(joined.body["user"]["openid"].is_string());
    assert_eq!(world.me(&joined).await.says(), (200, ""));
    assert_eq!(world.login("alice-2").await.user(), alice.user());
    // The other way round the account of this login is the older one, and its session stays.
    let world = World::with(|config| config.users.merge = Merge::Proven).await;
    let alice = world.login("alice-1").await;
    world.advance(60);
    world.sign_in_by_sms(E164).await;
    let joined = login(&world, "alice-2", CODE).await;
    assert_eq!(
        (told(&joined), joined.user()),
        ((200, "138****8000", ""), alice.user())
    );
    assert_eq!(world.audited("users.merged"), 1);
}

#[tokio::test]
async fn a_login_whose_session_ends_before_the_phone_is_bound_fails() {
    let world = World::new().await;
    let alice = world.login("alice-1").await;
    let sign_out = async {
        until_asked(&world, SLOW_CODE).await;
        let ask = Ask::post("/auth/logout", &json!({ "scope": "global" })).by(&alice);
        assert_eq!(world.send(ask).await.status.as_u16(), 204);
    };
    let (again, ()) = join(login(&world, "alice-2", SLOW_CODE), sign_out).await;
    assert_eq!(again.says(), (401, "token_revoked"), "its tokens are dead");
    assert_eq!(world.audited("phone.bound"), 0);
    assert_eq!(world.login("alice-3").await.says(), (200, ""));
}

/// The phone is refused before the session would be looked at.
#[tokio::test]
async fn a_login_that_ends_while_wechat_fails_is_none() {
    const NEVER_CODE: &str = "slow.9000-1";
    let world = World::with(|config| config.wechat.timeout = HumanDuration::millis(3000)).await;
    let alice = world.login("alice-1").await;
    let sign_out = async {
        until_asked(&world, NEVER_CODE).await;
        let ask = Ask::post("/auth/logout", &json!({ "scope": "global" })).by(&alice);
        assert_eq!(world.send(ask).await.status.as_u16(), 204);
    };
    let (again, ()) = join(login(&world, "alice-2", NEVER_CODE), sign_out).await;
    assert_eq!(again.says(), (401, "token_revoked"), "its tokens are dead");
    let signed_in = login(&world, "alice-3", "busy-1").await;
    assert_eq!(told(&signed_in), (200, "", "wechat_busy"));
}

#[tokio::test]
async fn tokens_are_issued_after_wechat_has_told_the_phone() {
    let world = World::new().await;
    let wait = async {
        until_asked(&world, SLOW_CODE).await;
        world.advance(100);
    };
    let (alice, ()) = join(login(&world, "alice-1", SLOW_CODE), wait).await;
    assert_eq!(told(&alice).2, "");
    let claims = super::dialects::claims(alice.text("access_token"));
    assert_eq!(claims["iat"], START.as_secs() + 100);
}

#[tokio::test]
async fn tries_to_decrypt_a_phone_are_counted_over_all_logins_of_a_user() {
    let world = World::with(|config| config.wechat.legacy_decrypt = true).await;
    let send = |code: &str, key_of: &str| {
        let mut body = encrypted(key_of, "13800138000");
        body["code"] = json!(code);
        world.send(Ask::post("/auth/wechat/login", &body))
    };
    for n in 0..5 {
        let alice = send(&format!("alice-{n}"), "mallory-1").await;
        assert_eq!(told(&alice), (200, "", "phone_decrypt_failed"), "{n}");
    }
    let alice = send("alice-5", "mallory-1").await;
    assert_eq!(told(&alice), (200, "", "rate_limited"));
    let bob = send("bob-1", "bob-1").await;
    assert_eq!(told(&bob), (200, "138****8000", ""), "another user");
}

fn encrypted(login_code: &str, phone: &str) -> Value {
    let (data, iv) = SimulatedWechat::encrypted_phone(APP, login_code, phone, START.as_secs());
    json!({ "code": login_code, "encrypted_data": data, "iv": iv })
}

#[tokio::test]
async fn what_the_old_button_encrypted_opens_with_the_key_of_this_login() {
    let world = World::with(|config| config.wechat.legacy_decrypt = true).await;
    let send = |body: Value| {
        let ask = Ask::post("/auth/wechat/login", &body);
        world.send(ask)
    };
    let alice = send(encrypted("alice-1", "13800138000")).await;
    assert_eq!(told(&alice), (200, "138****8000", ""));
    let mut other = encrypted("bob-1", "13800138001");
    other["code"] = json!("bob-2");
    let bob = send(other).await;
    assert_eq!(
        told(&bob),
        (200, "", "phone_decrypt_failed"),
        "of another key"
    );
    let mut half = encrypted("carol-1", "13800138002");
    half["iv"] = Value::Null;
    let half = send(half).await;
    assert_eq!(
        (half.says(), half.wrong_fields()),
        ((400, "validation_failed"), vec!["iv"])
    );
    let world = World::new().await;
    let off = world
        .send(Ask::post(
            "/auth/wechat/login",
            &encrypted("alice-1", "13800138000"),
        ))
        .await;
    assert_eq!(
        (off.says(), off.wrong_fields()),
        ((400, "validation_failed"), vec!["encrypted_data", "iv"])
    );
    assert_eq!(world.wechat.calls(), 0);
}

#[tokio::test]
async fn a_custom_dialect_takes_the_phone_with_its_login() {
    let world = World::with(|config: &mut Config| {
        config.dialect = parse(
            r#"
[[dialect]]
kind = "custom"
prefix = "/x"
phone = "full"
claims = { phone = "{user.phone}" }
[[dialect.route]]
method = "POST"
path = "/in"
action = "wechat_login"
inputs = { code = "body.code", phone_code = "body.phoneCode" }
body = '{ "token": "{access_token}", "phone": "{user.phone}", "why": "{phone_error}" }'
[[dialect.error]]
body = '"{code}"'
"#,
        );
    })
    .await;
    let send = |code: &str, phone: Value| {
        let body = json!({ "code": code, "phoneCode": phone });
        world.send(Ask::post("/x/in", &body))
    };
    let alice = send("alice-1", json!(CODE)).await;
    assert_eq!(
        (alice.text("phone"), &alice.body["why"]),
        ("13800138000", &json!(null))
    );
    let claims = super::dialects::claims(alice.text("token"));
    assert_eq!(
        claims["phone"], "13800138000",
        "the token is made after the phone is bound"
    );
    let bob = send("bob-1", json!("bob-99")).await;
    assert_eq!(
        (&bob.body["phone"], bob.text("why")),
        (&json!(null), "phone_code_invalid")
    );
    for none in [json!(""), json!(null)] {
        let carol = send("carol-1", none).await;
        assert_eq!(
            (carol.status.as_u16(), &carol.body["why"]),
            (200, &json!(null)),
            "no tap, no phone"
        );
    }
}
