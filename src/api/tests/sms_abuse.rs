//! Abuse of SMS codes: guesses, floods, spellings, and enumeration of accounts.

use serde_json::json;

use super::{
    sms::wrong,
    world::{Answered, Ask, World},
};
use crate::config::{SecretText, SmsProvider, TestPhone};

const PHONE: &str = "+8613800138000";
const OTHER: &str = "+8613900139000";
const INVALID: (u16, &str) = (400, "code_invalid");

#[tokio::test]
async fn an_address_asks_for_twenty_messages_an_hour() {
    let world = World::new().await;
    let ask = |from: u8, n: u8| {
        world.send(
            Ask::post(
                "/auth/sms/send",
                &json!({ "phone": format!("138001380{n:02}") }),
            )
            .from(from),
        )
    };
    for n in 0..20 {
        assert_eq!(ask(1, n).await.says(), (200, ""), "{n}");
    }
    let over = ask(1, 20).await;
    assert_eq!((over.says(), over.wait()), ((429, "rate_limited"), 180));
    assert_eq!(
        ask(2, 20).await.says(),
        (200, ""),
        "the phone is as free as it was"
    );
    world.advance(180);
    assert_eq!(ask(1, 21).await.says(), (200, ""));
    assert_eq!(world.sms.sent().len(), 22);
    assert_eq!(
        world
            .metrics
            .rate_limited
            .with_label_values(&["sms_per_ip"])
            .get(),
        1
    );
}

#[tokio::test]
async fn five_wrong_codes_burn_a_code_whoever_guesses_and_for_whatever() {
    let world = World::new().await;
    let eve = world.login("eve-1").await;
    let code = world.sms_code(PHONE).await;
    let body = json!({ "phone": PHONE, "code": wrong(&code) });
    let mut refused = Vec::new();
    for from in 10..14 {
        refused.push(
            world
                .send(Ask::post("/auth/sms/login", &body).from(from))
                .await,
        );
    }
    refused.push(world.bind(&eve, PHONE, wrong(&code)).await);
    refused.push(world.sms_login(PHONE, &code).await);
    for answer in &refused {
        assert_eq!(answer.says(), INVALID);
        assert_eq!(
            answer.bytes, refused[0].bytes,
            "the right one looks as wrong as the others"
        );
    }
    assert_eq!(refused.len(), 6);
    world.advance(60);
    let asked = world.ask_code(PHONE).await;
    assert_eq!(
        (asked.says(), asked.wait()),
        ((429, "sms_cooldown"), 240),
        "a code nobody may guess is not sent"
    );
    world.advance(240);
    world.sign_in_by_sms(PHONE).await;
    assert_eq!(
        world
            .metrics
            .sms_codes_verified
            .with_label_values(&["wrong"])
            .get(),
        6
    );
    assert_eq!(
        world
            .metrics
            .logins
            .with_label_values(&["sms", "code_invalid"])
            .get(),
        5
    );
    assert_eq!(
        (
            world.audited("login.failed"),
            world.audited("phone.refused")
        ),
        (5, 1)
    );
}

#[tokio::test]
async fn guesses_from_one_address_are_limited() {
    let world = World::new().await;
    let mut wrong = 0;
    let refused = loop {
        let answer = world.sms_login(&format!("138{wrong:08}"), "123456").await;
        if answer.says() != INVALID {
            break answer;
        }
        wrong += 1;
    };
    assert_eq!(
        (wrong, refused.says(), refused.wait()),
        (60, (429, "rate_limited"), 1)
    );
    assert_eq!(
        world
            .metrics
            .sms_codes_verified
            .with_label_values(&["limited"])
            .get(),
        1
    );
}

/// The `Retry-After` of each limit when the clock is set back by hours: the usual wait, not until
/// the clock has caught up.
#[tokio::test]
async fn a_clock_that_was_set_back_keeps_nobody_waiting_for_it() {
    let world = World::new().await;
    world.sign_in_by_sms(PHONE).await;
    world.clock.set_back(std::time::Duration::from_hours(5));
    let refused = world.ask_code(PHONE).await;
    assert_eq!(
        (refused.says(), refused.wait()),
        ((429, "sms_cooldown"), 60)
    );
    world.advance(59);
    assert_eq!(world.ask_code(PHONE).await.wait(), 1);
    world.advance(1);
    assert_eq!(world.ask_code(PHONE).await.says(), (200, ""));
    let code = world.sms.code_on(PHONE).unwrap();
    assert_eq!(world.sms_login(PHONE, &code).await.says(), (200, ""));
}

#[tokio::test]
async fn nobody_learns_whether_a_phone_has_an_account() {
    let world = World::new().await;
    world.sign_in_by_sms(PHONE).await;
    world.advance(60);
    let alike = |known: &Answered, unknown: &Answered| {
        assert_eq!(
            (known.status, &known.bytes, &known.headers),
            (unknown.status, &unknown.bytes, &unknown.headers)
        );
    };
    let guess = |phone: &'static str| world.sms_login(phone, "123456");
    alike(&guess(PHONE).await, &guess(OTHER).await);
    let (known, unknown) = (world.ask_code(PHONE).await, world.ask_code(OTHER).await);
    assert_eq!(known.says(), (200, ""));
    alike(&known, &unknown);
    alike(&world.ask_code(PHONE).await, &world.ask_code(OTHER).await);
    let codes = [PHONE, OTHER].map(|phone| world.sms.code_on(phone).unwrap());
    alike(
        &world.sms_login(PHONE, wrong(&codes[0])).await,
        &world.sms_login(OTHER, wrong(&codes[1])).await,
    );
}

/// Many spellings of [`PHONE`].
fn spellings() -> Vec<String> {
    let prefixes = ["", "+86", "0086", "86", "+86 ", "00 86-", "＋86", "  "];
    let separators = ["", " ", "-", ".", "\u{a0}"];
    let full_width =
        |digit: char| char::from_u32(u32::from(digit) - u32::from('0') + u32::from('０')).unwrap();
    let mut all = Vec::new();
    for (n, prefix) in prefixes.iter().cycle().enumerate().take(1000) {
        let mut text = (*prefix).to_owned();
        // Each number below 1000 has its own separators in the first five gaps, written in base 5.
        let mut rest = n / prefixes.len();
        for (at, digit) in "13800138000".chars().enumerate() {
            text.push(if at % 3 == n % 7 {
                full_width(digit)
            } else {
                digit
            });
            text.push_str(separators[rest % 5]);
            rest /= 5;
        }
        all.push(text);
    }
    all
}

#[tokio::test]
async fn a_thousand_spellings_of_one_number_are_one_number() {
    let world = World::with(|config| config.limits.enabled = false).await;
    let spellings = spellings();
    let distinct: std::collections::HashSet<_> = spellings.iter().collect();
    assert_eq!(distinct.len(), 1000);
    let mut said = Vec::new();
    for phone in &spellings {
        said.push(world.ask_code(phone).await.says().1.to_owned());
    }
    assert_eq!(said[0], "");
    assert!(
        said[1..].iter().all(|code| code == "sms_cooldown"),
        "{said:?}"
    );
    assert_eq!(world.sms.sent().len(), 1);
    let code = world.sms.code_on(PHONE).unwrap();
    assert_eq!(
        world.sms_login(&spellings[999], &code).await.says(),
        (200, "")
    );
}

#[tokio::test]
async fn a_test_phone_has_its_code_and_gets_no_message_until_its_last_day() {
    let test = TestPhone {
        phone: PHONE.to_owned(),
        code: SecretText::new("135790".to_owned()),
        until: "2027-01-15".to_owned(),
    };
    let world = World::with(|config| config.sms.test_phone = vec![test]).await;
    assert_eq!(
        world.sms_login(PHONE, "135790").await.says(),
        INVALID,
        "it has to be asked for, as any"
    );
    for _ in 0..12 {
        assert_eq!(
            world.ask_code(PHONE).await.says(),
            (200, ""),
            "it costs nothing, so it is not limited"
        );
    }
    let user = world.sms_login(PHONE, "135790").await;
    assert_eq!(
        (user.says(), world.sms.calls(SmsProvider::Aliyun)),
        ((200, ""), 0)
    );
    world.advance(16 * 3600 - 1);
    assert_eq!(
        (world.ask_code(PHONE).await.says(), world.sms.sent().len()),
        ((200, ""), 0)
    );
    assert_eq!(world.sms_login(PHONE, "135790").await.user(), user.user());
    world.advance(1);
    assert_eq!(world.sms_login(PHONE, "135790").await.says(), INVALID);
    let code = world.sms_code(PHONE).await;
    if code != "135790" {
        assert_eq!(world.sms_login(PHONE, "135790").await.says(), INVALID);
    }
    assert_eq!(
        (
            world.sms.sent().len(),
            world.sms_login(PHONE, &code).await.user()
        ),
        (1, user.user())
    );
}
