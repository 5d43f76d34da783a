//! Vendors that reject, hang or send too much, as the client that requested a code sees them.

use std::time::{Duration, Instant};

use serde_json::json;

use super::world::{Answered, Ask, World};
use crate::{
    config::{Config, SmsProvider},
    dev::sms::Scenario,
    telemetry::LogCapture,
};

const PHONE: &str = "+8613800138000";
const NUMBER: &str = "13800138000";

fn two_vendors(config: &mut Config) {
    config.sms.providers = vec![SmsProvider::Aliyun, SmsProvider::Tencent];
}

fn refuse(code: &str) -> Scenario {
    Scenario::Refuse(code.to_owned())
}

fn unavailable(answer: &Answered, wait: u64) {
    assert_eq!(
        (answer.says(), answer.wait()),
        ((503, "sms_unavailable"), wait)
    );
}

#[tokio::test]
async fn the_next_vendor_sends_where_the_first_is_not_set_up() {
    for code in [
        "isv.SMS_SIGNATURE_ILLEGAL",
        "isv.AMOUNT_NOT_ENOUGH",
        "isp.RAM_PERMISSION_DENY",
        "isv.SMS_CONTENT_ILLEGAL",
    ] {
        let world = World::with(two_vendors).await;
        world.sms.set_scenario(SmsProvider::Aliyun, refuse(code));
        world.sign_in_by_sms(PHONE).await;
        let sent = world.sms.sent();
        assert_eq!(
            (sent.len(), sent[0].provider),
            (1, SmsProvider::Tencent),
            "{code}"
        );
        assert_eq!(world.sms.calls(SmsProvider::Aliyun), 1);
        assert_eq!(
            world
                .metrics
                .sms_sent
                .with_label_values(&["tencent", "sent"])
                .get(),
            1
        );
    }
}

#[tokio::test]
async fn what_nobody_sends_takes_no_slot() {
    let world = World::with(|config| {
        two_vendors(config);
        config.sms.daily_budget = 1;
    })
    .await;
    world
        .sms
        .set_scenario(SmsProvider::Aliyun, refuse("isv.OUT_OF_SERVICE"));
    world.sms.set_scenario(
        SmsProvider::Tencent,
        refuse("FailedOperation.InsufficientBalanceInSmsPackage"),
    );
    for _ in 0..8 {
        unavailable(&world.ask_code(PHONE).await, 30);
    }
    assert_eq!(
        (
            world.sms.calls(SmsProvider::Aliyun),
            world.sms.calls(SmsProvider::Tencent)
        ),
        (8, 8)
    );
    world.sms.set_scenario(SmsProvider::Tencent, Scenario::Send);
    world.sign_in_by_sms(PHONE).await;
    assert_eq!(world.sms.sent().len(), 1);
    assert_eq!(world.audited("sms.requested"), 9);
}

#[tokio::test]
async fn a_code_that_was_sent_stays_good_when_the_next_is_not() {
    for scenario in [
        refuse("isv.AMOUNT_NOT_ENOUGH"),
        refuse("isv.MOBILE_NUMBER_ILLEGAL"),
        refuse("isv.BUSINESS_LIMIT_CONTROL"),
    ] {
        let world = World::new().await;
        let code = world.sms_code(PHONE).await;
        world.advance(60);
        world
            .sms
            .set_scenario(SmsProvider::Aliyun, scenario.clone());
        assert_ne!(world.ask_code(PHONE).await.status, 200);
        assert_eq!(
            world.sms_login(PHONE, &code).await.says(),
            (200, ""),
            "{scenario:?}"
        );
    }
}

#[tokio::test]
async fn a_vendor_that_hangs_is_given_up_and_its_message_may_have_come() {
    let world = World::with(two_vendors).await;
    world.sms.set_scenario(SmsProvider::Aliyun, Scenario::Hang);
    let begun = Instant::now();
    unavailable(&world.ask_code(PHONE).await, 60);
    let took = begun.elapsed();
    assert!(
        (Duration::from_millis(300)..Duration::from_secs(3)).contains(&took),
        "{took:?}"
    );
    assert_eq!(
        world.sms.calls(SmsProvider::Tencent),
        0,
        "a second message is never sent after a timeout"
    );
    let again = world.ask_code(PHONE).await;
    assert_eq!(
        (again.says(), again.wait()),
        ((429, "sms_cooldown"), 60),
        "the slot stays taken"
    );
    let arrived = world.sms.code_on(PHONE).unwrap();
    assert_eq!(world.sms_login(PHONE, &arrived).await.says(), (200, ""));
    assert_eq!(
        world
            .metrics
            .sms_sent
            .with_label_values(&["aliyun", "timeout"])
            .get(),
        1
    );
}

#[tokio::test]
async fn an_answer_that_is_none_is_not_asked_for_twice() {
    for scenario in [
        Scenario::Empty,
        Scenario::Garbage(200),
        Scenario::Garbage(502),
        Scenario::Huge,
        Scenario::Cut,
        Scenario::Moved,
    ] {
        let world = World::with(two_vendors).await;
        world
            .sms
            .set_scenario(SmsProvider::Aliyun, scenario.clone());
        unavailable(&world.ask_code(PHONE).await, 60);
        assert_eq!(
            world.ask_code(PHONE).await.says(),
            (429, "sms_cooldown"),
            "{scenario:?}"
        );
        assert_eq!(
            (
                world.sms.calls(SmsProvider::Tencent),
                world.sms.redirects_followed()
            ),
            (0, 0),
            "{scenario:?}"
        );
    }
}

#[tokio::test]
async fn a_limit_of_the_vendor_is_passed_on() {
    let world = World::with(|config| {
        config.sms.providers = vec![SmsProvider::Tencent, SmsProvider::Aliyun];
    })
    .await;
    world.sms.set_scenario(
        SmsProvider::Tencent,
        refuse("LimitExceeded.PhoneNumberOneHourLimit"),
    );
    let limited = world.ask_code(PHONE).await;
    assert_eq!((limited.says(), limited.wait()), ((429, "sms_quota"), 3600));
    assert_eq!(
        world.sms.calls(SmsProvider::Aliyun),
        0,
        "the phone has had enough, whoever sends"
    );
    assert_eq!(
        world.ask_code(PHONE).await.says(),
        (429, "sms_cooldown"),
        "asking has counted"
    );
}

#[tokio::test]
async fn a_number_that_gets_no_messages_is_a_wrong_field() {
    let mut said = Vec::new();
    for code in [
        "InvalidParameterValue.IncorrectPhoneNumber",
        "FailedOperation.PhoneNumberInBlacklist",
    ] {
        let world = World::with(|config| config.sms.providers = vec![SmsProvider::Tencent]).await;
        world.sms.set_scenario(SmsProvider::Tencent, refuse(code));
        let refused = world.ask_code(PHONE).await;
        assert_eq!(
            (refused.says(), refused.wrong_fields()),
            ((400, "validation_failed"), vec!["phone"])
        );
        said.push(refused.bytes);
        world.sms.set_scenario(SmsProvider::Tencent, Scenario::Send);
        assert_eq!(
            world.ask_code(PHONE).await.says(),
            (429, "sms_cooldown"),
            "no vendor is asked about it without end"
        );
        assert_eq!(world.sms.calls(SmsProvider::Tencent), 1);
        world.advance(60);
        assert_eq!(world.ask_code(PHONE).await.says(), (200, ""));
    }
    assert_eq!(said[0], said[1], "who wants no messages is not told apart");
}

#[tokio::test]
async fn a_vendor_that_repeats_phone_and_code_is_not_repeated() {
    for provider in [
        SmsProvider::Aliyun,
        SmsProvider::Tencent,
        SmsProvider::Dypns,
        SmsProvider::Webhook,
    ] {
        let log_capture = LogCapture::start();
        let world = World::with(|config| config.sms.providers = vec![provider]).await;
        let code = world.sms_code(PHONE).await;
        world.advance(60);
        world.sms.set_scenario(provider, Scenario::Echo);
        let refused = world.ask_code(PHONE).await;
        unavailable(&refused, 30);
        let said = format!(
            "{}{}",
            log_capture.finish(),
            String::from_utf8_lossy(&refused.bytes)
        );
        assert!(
            said.contains("sms.requested") && said.contains("refuses to send SMS codes"),
            "{provider:?}: {said}"
        );
        for hidden in [NUMBER, &code, "simulated secret", "simulated-key-id"] {
            assert!(
                !said.contains(hidden),
                "{provider:?}: {hidden} is in {said}"
            );
        }
    }
}

#[tokio::test]
async fn a_client_that_hangs_up_leaves_a_message_that_counts() {
    let world = World::new().await;
    world.sms.set_scenario(SmsProvider::Aliyun, Scenario::Hang);
    let impatient = tokio::time::timeout(Duration::from_millis(50), world.ask_code(PHONE)).await;
    assert!(impatient.is_err());
    while world.audited("sms.requested") == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.ask_code(PHONE).await.says(), (429, "sms_cooldown"));
    let code = world.sms.code_on(PHONE).unwrap();
    assert_eq!(world.sms_login(PHONE, &code).await.says(), (200, ""));
}

#[tokio::test]
async fn fifty_at_once_send_one_message() {
    let world = World::with(|config| config.limits.enabled = false).await;
    let answers = futures::future::join_all((0..50).map(|_| world.ask_code(PHONE))).await;
    assert_eq!(
        answers.iter().filter(|answer| answer.status == 200).count(),
        1
    );
    assert_eq!(
        answers
            .iter()
            .filter(|answer| answer.says() == (429, "sms_cooldown"))
            .count(),
        49
    );
    assert_eq!(world.sms.sent().len(), 1);
}

#[tokio::test]
async fn a_store_that_is_down_sends_nothing_and_says_503() {
    let world = World::new().await;
    let (alice, code) = (world.login("alice-1").await, world.sms_code(PHONE).await);
    world.store.close().await.unwrap();
    for answer in [
        world.ask_code("13900139000").await,
        world.sms_login(PHONE, &code).await,
        world.bind(&alice, PHONE, &code).await,
        world.bind_by_button(&alice, "phone.13800138000-1").await,
        world
            .send(Ask::new(axum::http::Method::DELETE, "/auth/phone").by(&alice))
            .await,
        world.send(Ask::get("/auth/me/export").by(&alice)).await,
        world
            .send(
                Ask::new(axum::http::Method::DELETE, "/auth/me")
                    .json(&json!({}))
                    .by(&alice),
            )
            .await,
    ] {
        assert_eq!(answer.says(), (503, "store_unavailable"));
        assert!((1..=5).contains(&answer.wait()));
    }
    assert_eq!(
        (
            world.sms.sent().len(),
            world.wechat.calls_for("phone.13800138000-1")
        ),
        (1, 0)
    );
    assert_eq!(
        (
            world.audited("account.erased"),
            world.audited("phone.bound")
        ),
        (0, 0)
    );
    assert_eq!(
        world
            .metrics
            .sms_codes_verified
            .with_label_values(&["failed"])
            .get(),
        1,
        "the binding came to no code"
    );
}
