//! What is said about messages holds neither phone nor code, whatever a vendor answers.

use super::*;
use crate::telemetry::heard::Heard;

#[tokio::test]
async fn no_line_holds_a_phone_a_code_or_a_secret() {
    let heard = Heard::begin();
    let town = Town::new().await;
    let mut errors = Vec::new();
    for provider in ALL {
        for script in [
            Script::Send,
            Script::Echo,
            Script::Garbage(500),
            Script::Cut,
            Script::Hang,
            Script::Refuse("isv.AMOUNT_NOT_ENOUGH".to_owned()),
            Script::Answer(
                200,
                format!("{{\"Code\":\"x\",\"Message\":\"{PHONE} {CODE}\"}}"),
            ),
        ] {
            let sms = town.sms_with(&[provider], |config| config.timeout = patience(&script));
            town.vendors.script(provider, script);
            if let Err(error) = town.send(&sms).await {
                errors.push(format!("{error} {error:?} {sms:?}"));
            }
        }
    }
    let said = format!("{}{}", heard.end(), errors.join("\n"));
    for expected in [
        "InvalidAccessKeyId.NotFound",
        "AuthFailure.SignatureFailure",
        "C0A0BE93",
        "no answer in time",
        "balance",
    ] {
        assert!(said.contains(expected), "{expected} is not in:\n{said}");
    }
    let national = &PHONE[3..];
    for hidden in [
        PHONE,
        national,
        CODE,
        "simulated secret",
        "simulated+secret",
        "hook/send",
    ] {
        assert!(!said.contains(hidden), "{hidden} is in:\n{said}");
    }
    let failed = said.lines().filter(|line| line.contains(" ERROR ")).count();
    assert!(failed >= 6, "operators are told {failed} times");
}

#[tokio::test]
async fn development_shows_the_code_and_half_the_number() {
    let heard = Heard::begin();
    let town = Town::new().await;
    let sms = Sms::new(
        &SmsConfig::default(),
        Mode::Development,
        Metrics::new(),
        &Entropy::default(),
    )
    .unwrap()
    .unwrap();
    assert_eq!(town.send(&sms).await, Ok(()));
    let said = heard.end();
    assert!(
        said.contains("development, nothing was sent: the code for 138****8000 is 473920 (login)"),
        "{said}"
    );
}
