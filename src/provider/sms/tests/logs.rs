//! Log lines about messages contain neither phone nor code, whatever a vendor responds.

use super::*;
use crate::telemetry::LogCapture;

#[tokio::test]
async fn no_line_holds_a_phone_a_code_or_a_secret() {
    let log_capture = LogCapture::start();
    let town = Town::new().await;
    let mut errors = Vec::new();
    for provider in ALL {
        for scenario in [
            Scenario::Send,
            Scenario::Echo,
            Scenario::Garbage(500),
            Scenario::Cut,
            Scenario::Hang,
            Scenario::Refuse("isv.AMOUNT_NOT_ENOUGH".to_owned()),
            Scenario::Answer(
                200,
                format!("{{\"Code\":\"x\",\"Message\":\"{PHONE} {CODE}\"}}"),
            ),
        ] {
            let sms = town.sms_with(&[provider], |config| config.timeout = patience(&scenario));
            town.vendors.set_scenario(provider, scenario);
            if let Err(error) = town.send(&sms).await {
                errors.push(format!("{error} {error:?}"));
            }
        }
    }
    let said = format!("{}{}", log_capture.finish(), errors.join("\n"));
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
    let log_capture = LogCapture::start();
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
    let said = log_capture.finish();
    assert!(
        said.contains("development, nothing was sent: the code for 138****8000 is 473920 (login)"),
        "{said}"
    );
}
