//! Phones from WeChat: the code of the phone number button, and the encrypted data of the legacy
//! button.

use serde_json::{Value, json};

use super::world::{APP, Answered, Ask, START, World};
use crate::{
    config::{Config, HumanDuration},
    dev::wechat::SimulatedWechat,
};

const NUMBER: &str = "13800138000";
const CODE: &str = "phone.13800138000-1";

fn legacy(config: &mut Config) {
    config.wechat.legacy_decrypt = true;
}

/// The encrypted data of the legacy button after a login with this code, so many seconds after the
/// start.
fn encrypted(login_code: &str, seconds: u64) -> Value {
    let (data, iv) =
        SimulatedWechat::encrypted_phone(APP, login_code, NUMBER, START.as_secs() + seconds);
    json!({ "encrypted_data": data, "iv": iv })
}

async fn decrypt(world: &World, by: &Answered, body: &Value) -> Answered {
    world
        .send(Ask::post("/auth/phone/wechat", body).by(by))
        .await
}

#[tokio::test]
async fn the_button_binds_the_phone_that_it_stands_for() {
    let world = World::new().await;
    let alice = world.login("alice-1").await;
    let bound = world.bind_by_button(&alice, CODE).await;
    assert_eq!(bound.says(), (200, ""));
    assert_eq!(
        bound.body,
        json!({ "phone": "+8613800138000", "masked": "138****8000", "country_code": "86" })
    );
    assert_eq!(world.sign_in_by_sms(NUMBER_E164).await.user(), alice.user());
    assert_eq!(
        world.bind_by_button(&alice, CODE).await.says(),
        (400, "phone_code_invalid"),
        "one use"
    );
    assert_eq!(
        world
            .metrics
            .phone_bindings
            .with_label_values(&["wechat", "bound"])
            .get(),
        1
    );
    assert_eq!(
        world
            .metrics
            .phone_bindings
            .with_label_values(&["wechat", "phone_code_invalid"])
            .get(),
        1
    );
    assert!(
        (world.metrics.wechat_phone_cost.get() - 0.03).abs() < 1e-9,
        "a refusal costs nothing"
    );
    assert_eq!(
        (world.audited("phone.bound"), world.audited("phone.refused")),
        (1, 1)
    );
}

const NUMBER_E164: &str = "+8613800138000";

#[tokio::test]
async fn an_access_token_that_wechat_has_dropped_is_replaced_once() {
    for errcode in [40001, 42001, 40014] {
        let world = World::new().await;
        let alice = world.login("alice-1").await;
        assert_eq!(
            world
                .bind_by_button(&alice, "phone.13800138000-1")
                .await
                .says(),
            (200, "")
        );
        world.wechat.revoke_tokens(errcode);
        assert_eq!(
            world
                .bind_by_button(&alice, "phone.13800138000-2")
                .await
                .says(),
            (200, ""),
            "{errcode}"
        );
        let seen = world.wechat.tokens_seen();
        assert_eq!(
            (seen.len(), world.wechat.token_calls()),
            (3, 2),
            "{errcode}"
        );
        assert_eq!(seen[0], seen[1]);
        assert_ne!(seen[1], seen[2]);
    }
}

#[tokio::test]
async fn a_code_in_the_wrong_place_is_named_as_such() {
    let world = World::new().await;
    let alice = world.login("alice-1").await;
    let refused = world.bind_by_button(&alice, "alice-2").await;
    assert_eq!(refused.says(), (400, "phone_code_invalid"));
    assert!(
        refused
            .text("detail")
            .contains("a code of wx.login does not do here"),
        "{}",
        refused.body
    );
    assert_eq!(
        world.login("alice-2").await.says(),
        (200, ""),
        "it is still good where it belongs"
    );

    let refused = world.login(CODE).await;
    assert_eq!(refused.says(), (401, "wechat_code_invalid"));
    assert!(
        refused
            .text("detail")
            .contains("phone number button is not a login code"),
        "{}",
        refused.body
    );
    assert_eq!(
        world.bind_by_button(&alice, CODE).await.says(),
        (200, ""),
        "the same"
    );
}

#[tokio::test]
async fn a_code_that_was_given_to_somebody_else_binds_nothing() {
    let world = World::new().await;
    let (alice, eve) = (world.login("alice-1").await, world.login("eve-1").await);
    assert_eq!(
        world
            .bind_by_button(&eve, "phone.13800138000.alice-1")
            .await
            .says(),
        (400, "phone_code_invalid")
    );
    assert!(world.me(&eve).await.body["phone_masked"].is_null());
    assert_eq!(
        world
            .bind_by_button(&alice, "phone.13800138000.alice-1")
            .await
            .says(),
        (200, "")
    );
}

#[tokio::test]
async fn a_wechat_that_fails_is_a_503_and_nothing_is_bound() {
    let world = World::with(|config| config.wechat.timeout = HumanDuration::millis(200)).await;
    let alice = world.login("alice-1").await;
    for code in [
        "busy-1",
        "empty-1",
        "garbage-1",
        "huge-1",
        "cut-1",
        "down-1",
        "slow.9000-1",
    ] {
        let answer = world.bind_by_button(&alice, code).await;
        assert_eq!(answer.says(), (503, "wechat_busy"), "{code}");
        assert!(answer.wait() >= 1, "{code}");
    }
    assert!(world.me(&alice).await.body["phone_masked"].is_null());
    assert_eq!(
        world
            .metrics
            .phone_bindings
            .with_label_values(&["wechat", "wechat_busy"])
            .get(),
        7
    );
}

#[tokio::test]
async fn a_session_without_wechat_cannot_ask_wechat() {
    let world = World::with(legacy).await;
    let by_phone = world.sign_in_by_sms("+8613900139000").await;
    let button = world.bind_by_button(&by_phone, CODE).await;
    assert_eq!(button.says(), (403, "forbidden"));
    assert_eq!(
        button.text("detail"),
        "This needs a session that began with a WeChat login."
    );
    assert_eq!(
        decrypt(&world, &by_phone, &encrypted("alice-1", 0))
            .await
            .says(),
        (403, "forbidden")
    );
    assert_eq!(world.wechat.calls(), 0);
}

#[tokio::test]
async fn the_old_way_is_off_unless_it_is_switched_on() {
    let world = World::new().await;
    let alice = world.login("alice-1").await;
    let refused = decrypt(&world, &alice, &encrypted("alice-1", 0)).await;
    assert_eq!(
        (refused.says(), refused.wrong_fields()),
        ((400, "validation_failed"), vec!["encrypted_data", "iv"])
    );
    assert!(
        refused.body["errors"][0]["message"]
            .as_str()
            .unwrap()
            .contains("send the code of the button")
    );
    let nothing = decrypt(&world, &alice, &json!({})).await;
    assert_eq!(nothing.wrong_fields(), ["code"]);
}

#[tokio::test]
async fn what_the_old_button_encrypted_is_bound() {
    let world = World::with(legacy).await;
    let alice = world.login("alice-1").await;
    let bound = decrypt(&world, &alice, &encrypted("alice-1", 0)).await;
    assert_eq!(
        (bound.says(), bound.text("phone")),
        ((200, ""), NUMBER_E164)
    );
    let half = decrypt(&world, &alice, &json!({ "iv": "AAAAAAAAAAAAAAAAAAAAAA==" })).await;
    assert_eq!(
        (half.says(), half.wrong_fields()),
        ((400, "validation_failed"), vec!["encrypted_data"])
    );
    assert_eq!(
        world
            .metrics
            .phone_bindings
            .with_label_values(&["wechat_legacy", "bound"])
            .get(),
        1
    );
    assert!(
        world.metrics.wechat_phone_cost.get().abs() < 1e-9,
        "it costs nothing"
    );
}

#[tokio::test]
async fn the_key_before_a_new_login_opens_for_ten_minutes() {
    let world = World::with(legacy).await;
    let first = world.login("alice-1").await;
    let second = world.login("alice-2").await;
    for (by, code) in [
        (&first, "alice-1"),
        (&first, "alice-2"),
        (&second, "alice-1"),
        (&second, "alice-2"),
    ] {
        assert_eq!(
            decrypt(&world, by, &encrypted(code, 0)).await.says(),
            (200, ""),
            "{code}"
        );
    }
    world.advance(599);
    assert_eq!(
        decrypt(&world, &second, &encrypted("alice-1", 599))
            .await
            .says(),
        (200, "")
    );
    world.advance(1);
    assert_eq!(
        decrypt(&world, &second, &encrypted("alice-1", 600))
            .await
            .says(),
        (400, "phone_decrypt_failed")
    );
    assert_eq!(
        decrypt(&world, &second, &encrypted("alice-2", 600))
            .await
            .says(),
        (200, "")
    );
    world.login("alice-3").await;
    world.login("alice-4").await;
    assert_eq!(
        decrypt(&world, &second, &encrypted("alice-2", 600))
            .await
            .says(),
        (400, "phone_decrypt_failed"),
        "two back"
    );
}

#[tokio::test]
async fn nothing_tells_why_it_could_not_be_decrypted() {
    let world = World::with(|config| {
        legacy(config);
        config.limits.enabled = false;
    })
    .await;
    let alice = world.login("alice-1").await;
    let good = encrypted("alice-1", 0);
    let (data, iv) = (
        good["encrypted_data"].as_str().unwrap(),
        good["iv"].as_str().unwrap(),
    );
    let pair = |data: &str, iv: &str| json!({ "encrypted_data": data, "iv": iv });
    let tampered = format!(
        "{}{}",
        if data.starts_with('A') { 'B' } else { 'A' },
        &data[1..]
    );
    let hostile = [
        encrypted("alice-2", 0),
        encrypted("bob-1", 0),
        pair(data, "AAAAAAAAAAAAAAAAAAAAAA=="),
        pair(data, "AAAA"),
        pair(data, ""),
        pair("", iv),
        pair("%%%", iv),
        pair(&tampered, iv),
        pair(&data[..64], iv),
        pair(&format!("{}{data}", &data[..64]), iv),
        {
            let (data, iv) =
                SimulatedWechat::encrypted_phone(APP, "alice-1", NUMBER, START.as_secs() - 301);
            pair(&data, &iv)
        },
        {
            let (data, iv) =
                SimulatedWechat::encrypted_phone(APP, "alice-1", "12345", START.as_secs());
            pair(&data, &iv)
        },
    ];
    let mut said = Vec::new();
    for sent in &hostile {
        let refused = decrypt(&world, &alice, sent).await;
        assert_eq!(refused.says(), (400, "phone_decrypt_failed"), "{sent}");
        said.push(refused.bytes);
        // At most five in any minute.
        world.advance(13);
    }
    assert_eq!(said.len(), 12);
    assert!(said.iter().all(|bytes| *bytes == said[0]));
    assert!(world.me(&alice).await.body["phone_masked"].is_null());
}

#[tokio::test]
async fn five_decryptions_may_fail_in_a_minute_and_any_number_succeed() {
    let world = World::with(legacy).await;
    let alice = world.login("alice-1").await;
    let (good, bad) = (encrypted("alice-1", 0), encrypted("mallory-1", 0));
    for _ in 0..12 {
        assert_eq!(decrypt(&world, &alice, &good).await.says(), (200, ""));
    }
    for n in 0..5 {
        assert_eq!(
            decrypt(&world, &alice, &bad).await.says(),
            (400, "phone_decrypt_failed"),
            "{n}"
        );
    }
    for sent in [&bad, &good] {
        let limited = decrypt(&world, &alice, sent).await;
        assert_eq!(
            (limited.says(), limited.wait()),
            ((429, "rate_limited"), 60)
        );
    }
    let other_session = world.login("alice-2").await;
    assert_eq!(
        decrypt(&world, &other_session, &good).await.says(),
        (200, "")
    );
    world.advance(59);
    assert_eq!(
        decrypt(&world, &alice, &bad).await.says(),
        (429, "rate_limited"),
        "no sixth in any minute"
    );
    world.advance(1);
    assert_eq!(decrypt(&world, &alice, &good).await.says(), (200, ""));
    assert_eq!(
        world
            .metrics
            .rate_limited
            .with_label_values(&["phone_decrypt_per_session"])
            .get(),
        3
    );
}

#[tokio::test]
async fn raw_data_must_be_signed_under_the_key_of_this_login() {
    let world = World::new().await;
    let table: Value = serde_json::from_str(include_str!(
        "../../../tests/data/wechat-rawdata-signature.json"
    ))
    .unwrap();
    let official = &table["vectors"][0];
    let login = |code: &str, raw: Option<&str>, signature: Option<&str>| {
        let key = official["session_key"].as_str().unwrap();
        world.wechat.set_response(
            code,
            &json!({ "openid": "o-alice", "session_key": key }).to_string(),
        );
        world.send(Ask::post(
            "/auth/wechat/login",
            &json!({ "code": code, "raw_data": raw, "signature": signature }),
        ))
    };
    let (raw, signature) = (
        official["raw_data"].as_str().unwrap(),
        official["signature"].as_str().unwrap(),
    );
    assert_eq!(
        login("c-1", Some(raw), Some(signature)).await.says(),
        (200, "")
    );

    let forged = login("c-2", Some(&raw.replace("Band", "Bend")), Some(signature)).await;
    assert_eq!(
        (forged.says(), forged.wrong_fields()),
        ((400, "validation_failed"), vec!["signature"])
    );
    assert_eq!(
        login("c-2", None, None).await.status,
        400,
        "the answer of a code is the answer of its repeat"
    );
    for (code, raw, signature, missing) in [
        ("c-3", Some(raw), None, "signature"),
        ("c-3", None, Some(signature), "raw_data"),
    ] {
        let half = login(code, raw, signature).await;
        assert_eq!(
            (half.says(), half.wrong_fields()),
            ((400, "validation_failed"), vec![missing])
        );
    }
    let upper = login("c-3", Some(raw), Some(&signature.to_uppercase())).await;
    assert_eq!(upper.wrong_fields(), ["signature"]);
    assert_eq!(
        (
            world.wechat.calls_for("c-3"),
            world.metrics.sessions_opened.get()
        ),
        (0, 1)
    );
}
