//! SMS codes and logins with them: every documented number.

use serde_json::{Value, json};

use super::world::{Ask, World};
use crate::config::{HumanDuration, Mode, Registration, SmsProvider, UserIds};

const PHONE: &str = "+8613800138000";
const OTHER: &str = "+8613900139000";
const INVALID: (u16, &str) = (400, "code_invalid");

/// Another code than this one.
pub(super) fn wrong(code: &str) -> &'static str {
    if code == "000000" { "111111" } else { "000000" }
}

#[tokio::test]
async fn a_code_signs_in_whoever_has_the_phone() {
    let world = World::with(|config| config.sms.aliyun.price = 45).await;
    let asked = world.ask_code("138 0013 8000").await;
    assert_eq!(asked.body, json!({ "expires_in": 300, "resend_after": 60 }));
    let code = world.sms.code_on(PHONE).unwrap();
    let first = world.sms_login("0086-138-0013-8000", &code).await;
    assert_eq!(first.says(), (200, ""));
    assert_eq!(
        (first.header("cache-control"), first.header("pragma")),
        ("no-store", "no-cache")
    );
    assert_eq!(
        (
            &first.body["is_new_user"],
            &first.body["user"]["phone_masked"]
        ),
        (&json!(true), &json!("138****8000"))
    );
    assert!(
        first.body["user"].get("openid").is_none() && first.body["user"].get("phone").is_none()
    );

    world.advance(60);
    let again = world.sign_in_by_sms(PHONE).await;
    assert_eq!(
        (again.user(), &again.body["is_new_user"]),
        (first.user(), &json!(false))
    );
    assert_ne!(again.text("refresh_token"), first.text("refresh_token"));
    assert_eq!(
        world.refresh(first.text("refresh_token")).await.says(),
        (200, ""),
        "both sessions live"
    );
    assert_eq!(world.me(&again).await.text("phone_masked"), "138****8000");

    assert_eq!(world.sms.sent().len(), 2);
    assert_eq!(
        world
            .metrics
            .logins
            .with_label_values(&["sms", "success"])
            .get(),
        2
    );
    assert_eq!(
        world
            .metrics
            .sms_sent
            .with_label_values(&["aliyun", "sent"])
            .get(),
        2
    );
    assert_eq!(
        world
            .metrics
            .sms_codes_verified
            .with_label_values(&["right"])
            .get(),
        2
    );
    assert!((world.metrics.sms_cost.with_label_values(&["aliyun"]).get() - 0.09).abs() < 1e-9);
    assert_eq!(
        (
            world.audited("sms.requested"),
            world.audited("login.succeeded")
        ),
        (2, 2)
    );
}

#[tokio::test]
async fn a_phone_waits_sixty_seconds_for_its_next_message() {
    let world = World::new().await;
    assert_eq!(world.ask_code(PHONE).await.says(), (200, ""));
    for (elapsed, left) in [(0, 60), (1, 59), (58, 1)] {
        world.advance(elapsed);
        let refused = world.ask_code(PHONE).await;
        assert_eq!(
            (refused.says(), refused.wait()),
            ((429, "sms_cooldown"), left)
        );
    }
    assert_eq!(world.sms.sent().len(), 1);
    assert_eq!(
        world.ask_code(OTHER).await.says(),
        (200, ""),
        "another phone does not wait"
    );
    world.advance(1);
    assert_eq!(world.ask_code(PHONE).await.says(), (200, ""));
    assert_eq!(world.sms.sent().len(), 3);
    assert_eq!(
        world
            .metrics
            .rate_limited
            .with_label_values(&["sms_resend"])
            .get(),
        3
    );
}

#[tokio::test]
async fn a_phone_gets_five_messages_an_hour_and_ten_a_day() {
    let world = World::new().await;
    let mut now = 0;
    let mut until = |then: u64| {
        world.advance(then - now);
        now = then;
    };
    for n in 0..5 {
        until(n * 60);
        assert_eq!(world.ask_code(PHONE).await.says(), (200, ""), "{n}");
    }
    until(300);
    let over = world.ask_code(PHONE).await;
    assert_eq!((over.says(), over.wait()), ((429, "sms_quota"), 3300));
    for n in 0..5 {
        until(3600 + n * 60);
        assert_eq!(world.ask_code(PHONE).await.says(), (200, ""), "{n}");
    }
    until(7200);
    let over = world.ask_code(PHONE).await;
    assert_eq!(
        (over.says(), over.wait()),
        ((429, "sms_quota"), 86_400 - 7200)
    );
    until(86_399);
    assert_eq!(world.ask_code(PHONE).await.wait(), 1);
    until(86_400);
    assert_eq!(world.ask_code(PHONE).await.says(), (200, ""));
    assert_eq!(world.sms.sent().len(), 11);
    assert_eq!(
        world
            .metrics
            .rate_limited
            .with_label_values(&["sms_per_phone"])
            .get(),
        3
    );
}

#[tokio::test]
async fn the_service_has_a_budget_for_each_day_of_china() {
    let world = World::with(|config| config.sms.daily_budget = 3).await;
    let phone = |n: u8| format!("+86138001380{n:02}");
    for n in 0..3 {
        assert_eq!(world.ask_code(&phone(n)).await.says(), (200, ""));
    }
    let over = world.ask_code(&phone(3)).await;
    assert_eq!(
        (over.says(), over.wait()),
        ((429, "sms_quota"), 8 * 3600),
        "until midnight in China"
    );
    world.advance(8 * 3600 - 1);
    assert_eq!(world.ask_code(&phone(3)).await.wait(), 1);
    world.advance(1);
    assert_eq!(world.ask_code(&phone(3)).await.says(), (200, ""));
    assert_eq!(world.sms.sent().len(), 4);
    assert_eq!(
        world
            .metrics
            .rate_limited
            .with_label_values(&["sms_daily_budget"])
            .get(),
        2
    );
}

#[tokio::test]
async fn a_code_is_good_for_five_minutes() {
    let world = World::new().await;
    let (early, late) = (world.sms_code(PHONE).await, world.sms_code(OTHER).await);
    world.advance(299);
    assert_eq!(world.sms_login(PHONE, &early).await.says(), (200, ""));
    world.advance(1);
    assert_eq!(world.sms_login(OTHER, &late).await.says(), INVALID);
}

#[tokio::test]
async fn a_code_is_used_once_and_replaced_by_the_next() {
    let world = World::new().await;
    let first = world.sms_code(PHONE).await;
    world.advance(60);
    let second = world.sms_code(PHONE).await;
    if first != second {
        assert_eq!(
            world.sms_login(PHONE, &first).await.says(),
            INVALID,
            "replaced"
        );
    }
    assert_eq!(world.sms_login(PHONE, &second).await.says(), (200, ""));
    let again = world.sms_login(PHONE, &second).await;
    let unknown = world.sms_login(OTHER, &second).await;
    assert_eq!((again.says(), unknown.says()), (INVALID, INVALID));
    assert_eq!(again.bytes, unknown.bytes, "used looks like never sent");
    assert_eq!(world.metrics.sessions_opened.get(), 1);
}

#[tokio::test]
async fn a_code_is_good_for_what_it_was_sent_for() {
    let world = World::new().await;
    let alice = world.login("alice-1").await;
    let to_bind = world.bind_code(PHONE).await;
    assert_eq!(world.sms_login(PHONE, &to_bind).await.says(), INVALID);
    assert_eq!(
        world.bind(&alice, PHONE, &to_bind).await.says(),
        (200, ""),
        "it is not used up by that"
    );
    let to_sign_in = world.sms_code(OTHER).await;
    assert_eq!(world.bind(&alice, OTHER, &to_sign_in).await.says(), INVALID);
    assert_eq!(world.sms_login(OTHER, &to_sign_in).await.says(), (200, ""));
}

#[tokio::test]
async fn every_wrong_field_is_named_and_nobody_is_asked() {
    let world = World::new().await;
    let post = |path: &'static str, body: Value| {
        let ask = Ask::post(path, &body);
        async { world.send(ask).await.wrong_fields().join(" ") }
    };
    for phone in [
        "",
        "1380013800",
        "138001380000",
        "12800138000",
        "+85291234567",
        "+1 202 555 0100",
        "phone",
        "١٣٨٠٠١٣٨٠٠٠",
    ] {
        assert_eq!(
            post("/auth/sms/send", json!({ "phone": phone })).await,
            "phone",
            "{phone}"
        );
    }
    assert_eq!(
        post(
            "/auth/sms/send",
            json!({ "phone": 13_800_138_000_u64, "purpose": "all" })
        )
        .await,
        "phone purpose"
    );
    assert_eq!(post("/auth/sms/send", json!({})).await, "phone");
    assert_eq!(
        post(
            "/auth/sms/login",
            json!({ "phone": "1", "code": "12345", "client_type": "tv" })
        )
        .await,
        "phone code client_type"
    );
    assert_eq!(world.sms.calls(SmsProvider::Aliyun), 0);
}

#[tokio::test]
async fn without_a_vendor_there_is_no_sms_login() {
    let world = World::with(|config| config.sms.providers.clear()).await;
    let alice = world.login("alice-1").await;
    for answer in [
        world.ask_code(PHONE).await,
        world.sms_login(PHONE, "123456").await,
        world.bind(&alice, PHONE, "123456").await,
    ] {
        assert_eq!(
            (answer.says(), answer.text("detail")),
            ((404, "not_found"), "Text messages are not set up here.")
        );
    }
}

#[tokio::test]
async fn closed_registration_is_told_to_the_owner_of_the_phone_alone() {
    let world = World::with(|config| config.auth.registration = Registration::Closed).await;
    let code = world.sms_code(PHONE).await;
    assert_eq!(world.sms_login(PHONE, wrong(&code)).await.says(), INVALID);
    assert_eq!(
        world.sms_login(PHONE, &code).await.says(),
        (403, "registration_closed")
    );
    assert_eq!(
        world.sms_login(PHONE, &code).await.says(),
        INVALID,
        "used up all the same"
    );
    assert_eq!(world.metrics.sessions_opened.get(), 0);
    assert_eq!(
        world
            .metrics
            .sms_codes_verified
            .with_label_values(&["right"])
            .get(),
        1
    );
}

#[tokio::test]
async fn users_of_phones_and_of_wechat_share_the_integers() {
    let world = World::with(|config| {
        config.users.ids = UserIds::Integer;
        config.users.first_integer = Some(1001);
    })
    .await;
    assert_eq!(world.sign_in_by_sms(PHONE).await.user(), "1001");
    assert_eq!(world.login("alice-1").await.user(), "1002");
    assert_eq!(world.sign_in_by_sms(OTHER).await.user(), "1003");
}

#[tokio::test]
async fn codes_follow_the_config() {
    let world = World::with(|config| {
        config.sms.code_ttl = HumanDuration::minutes(2);
        config.sms.resend_after = HumanDuration::secs(30);
        config.sms.max_attempts = 1;
        config.sms.countries = vec!["852".to_owned()];
    })
    .await;
    let asked = world.ask_code("+852 9123 4567").await;
    assert_eq!(asked.body, json!({ "expires_in": 120, "resend_after": 30 }));
    assert_eq!(world.ask_code(PHONE).await.wrong_fields(), ["phone"]);
    let code = world.sms.code_on("+85291234567").unwrap();
    assert_eq!(
        world.sms_login("+85291234567", wrong(&code)).await.says(),
        INVALID
    );
    assert_eq!(world.sms_login("+85291234567", &code).await.says(), INVALID);
    assert_eq!(world.sms.sent().len(), 1);
}

#[tokio::test]
async fn development_without_a_vendor_sends_nothing_and_counts_all_the_same() {
    let world = World::with(|config| {
        config.mode = Mode::Development;
        config.wechat.secret = None;
        config.sms.providers.clear();
    })
    .await;
    assert_eq!(world.ask_code(PHONE).await.says(), (200, ""));
    assert_eq!(world.ask_code(PHONE).await.says(), (429, "sms_cooldown"));
    assert_eq!(
        world
            .metrics
            .sms_sent
            .with_label_values(&["log", "sent"])
            .get(),
        1
    );
}
