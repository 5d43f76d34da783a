//! When another vendor is called, and when not.

use super::*;
use crate::store::SmsRefund;

/// The behaviour of the first of two vendors, whether the second is called, and the result.
struct Case {
    first: SmsProvider,
    scenario: Scenario,
    is_next_asked: bool,
    expected: Result<(), SmsError>,
}

fn refuses(first: SmsProvider, code: &str, expected: Result<(), SmsError>) -> Case {
    Case {
        first,
        scenario: Scenario::Refuse(code.to_owned()),
        is_next_asked: expected.is_ok(),
        expected,
    }
}

async fn check(case: Case) {
    let town = Town::new().await;
    let next = if case.first == SmsProvider::Webhook {
        SmsProvider::Aliyun
    } else {
        SmsProvider::Webhook
    };
    let sms = town.sms_with(&[case.first, next], |config| {
        config.timeout = patience(&case.scenario);
    });
    town.vendors.set_scenario(case.first, case.scenario.clone());
    let (first, scenario) = (case.first, &case.scenario);
    assert_eq!(
        town.send(&sms).await,
        case.expected,
        "{first:?} {scenario:?}"
    );
    assert_eq!(town.vendors.calls(first), 1, "{first:?} {scenario:?}");
    assert_eq!(
        town.vendors.calls(next),
        usize::from(case.is_next_asked),
        "{first:?} {scenario:?}"
    );
    assert_eq!(town.vendors.redirects_followed(), 0);
    assert!(town.vendors.sent().len() <= 1, "{first:?} {scenario:?}");
}

#[tokio::test]
async fn a_refusal_for_an_operators_reason_goes_to_the_next_one() {
    let limited = |seconds| {
        Err(SmsError::RateLimited {
            retry_after: Duration::from_secs(seconds),
        })
    };
    for case in [
        refuses(SmsProvider::Aliyun, "isv.SMS_SIGNATURE_ILLEGAL", Ok(())),
        refuses(SmsProvider::Aliyun, "isv.AMOUNT_NOT_ENOUGH", Ok(())),
        refuses(SmsProvider::Aliyun, "isv.SMS_CONTENT_ILLEGAL", Ok(())),
        refuses(SmsProvider::Aliyun, "isp.RAM_PERMISSION_DENY", Ok(())),
        refuses(
            SmsProvider::Aliyun,
            "isv.MOBILE_NUMBER_ILLEGAL",
            Err(SmsError::BadNumber),
        ),
        refuses(
            SmsProvider::Aliyun,
            "isp.SYSTEM_ERROR",
            Err(SmsError::Unknown),
        ),
        refuses(
            SmsProvider::Aliyun,
            "SignatureNonceUsed",
            Err(SmsError::Unknown),
        ),
        refuses(SmsProvider::Aliyun, "Throttling.User", limited(1)),
        refuses(SmsProvider::Dypns, "FUNCTION_NOT_OPENED", Ok(())),
        refuses(SmsProvider::Dypns, "biz.FREQUENCY", limited(60)),
        refuses(
            SmsProvider::Tencent,
            "FailedOperation.InsufficientBalanceInSmsPackage",
            Ok(()),
        ),
        refuses(
            SmsProvider::Tencent,
            "FailedOperation.PhoneNumberInBlacklist",
            Err(SmsError::BlockedNumber),
        ),
        refuses(
            SmsProvider::Tencent,
            "LimitExceeded.PhoneNumberOneHourLimit",
            limited(3600),
        ),
        refuses(
            SmsProvider::Tencent,
            "InternalError",
            Err(SmsError::Unknown),
        ),
        refuses(SmsProvider::Tencent, "NobodyKnows", Err(SmsError::Unknown)),
        refuses(SmsProvider::Webhook, "400", Ok(())),
        refuses(SmsProvider::Webhook, "404", Ok(())),
        refuses(SmsProvider::Webhook, "408", Err(SmsError::Unknown)),
        refuses(SmsProvider::Webhook, "409", Err(SmsError::Unknown)),
        refuses(SmsProvider::Webhook, "425", Err(SmsError::Unknown)),
        refuses(SmsProvider::Webhook, "429", limited(17)),
        refuses(SmsProvider::Webhook, "500", Err(SmsError::Unknown)),
        refuses(SmsProvider::Webhook, "503", Err(SmsError::Unknown)),
    ] {
        check(case).await;
    }
}

#[tokio::test]
async fn what_may_have_been_sent_is_not_sent_again() {
    for first in ALL {
        for scenario in [
            Scenario::Hang,
            Scenario::Huge,
            Scenario::Cut,
            Scenario::Garbage(500),
            Scenario::Moved,
        ] {
            check(Case {
                first,
                scenario,
                is_next_asked: false,
                expected: Err(SmsError::Unknown),
            })
            .await;
        }
    }
    for first in [
        SmsProvider::Aliyun,
        SmsProvider::Dypns,
        SmsProvider::Tencent,
    ] {
        for scenario in [
            Scenario::Empty,
            Scenario::Garbage(200),
            Scenario::Garbage(404),
        ] {
            check(Case {
                first,
                scenario,
                is_next_asked: false,
                expected: Err(SmsError::Unknown),
            })
            .await;
        }
        let none = Scenario::Answer(
            200,
            r#"{"Response":{"SendStatusSet":[],"RequestId":"r"}}"#.to_owned(),
        );
        check(Case {
            first,
            scenario: none,
            is_next_asked: false,
            expected: Err(SmsError::Unknown),
        })
        .await;
        check(Case {
            first,
            scenario: Scenario::Echo,
            is_next_asked: true,
            expected: Ok(()),
        })
        .await;
    }
}

#[tokio::test]
async fn a_vendor_that_is_not_reachable_has_sent_nothing() {
    let town = Town::new().await;
    let (_held, endpoint) = nowhere();
    let sms = town.sms_with(&[SmsProvider::Aliyun, SmsProvider::Tencent], |config| {
        config.aliyun.endpoint = endpoint.clone();
    });
    assert_eq!(town.send(&sms).await, Ok(()));
    assert_eq!(town.vendors.sent()[0].provider, SmsProvider::Tencent);
    assert_eq!(town.counted(SmsProvider::Aliyun, "unreachable"), 1);
    let sms = town.sms_with(&[SmsProvider::Aliyun, SmsProvider::Tencent], |config| {
        config.aliyun.endpoint = endpoint.clone();
        config.tencent.endpoint = endpoint;
    });
    assert_eq!(town.send(&sms).await, Err(SmsError::Unavailable));
}

#[tokio::test]
async fn the_timeout_is_for_the_whole_of_one_call() {
    let town = Town::new().await;
    let sms = town.sms_with(&[SmsProvider::Tencent], |config| {
        config.timeout = HumanDuration::millis(200);
    });
    town.vendors
        .set_scenario(SmsProvider::Tencent, Scenario::Hang);
    let begun = Instant::now();
    assert_eq!(town.send(&sms).await, Err(SmsError::Unknown));
    assert!(
        (200..3000).contains(&begun.elapsed().as_millis()),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(town.counted(SmsProvider::Tencent, "timeout"), 1);
}

#[test]
fn a_slot_is_given_back_only_when_asking_did_not_count() {
    assert_eq!(SmsError::Unavailable.refund(), Some(SmsRefund::All));
    for error in [SmsError::BadNumber, SmsError::BlockedNumber] {
        assert_eq!(error.refund(), Some(SmsRefund::Budget), "{error}");
    }
    let counted = SmsError::RateLimited {
        retry_after: Duration::from_secs(1),
    };
    assert_eq!(
        (SmsError::Unknown.refund(), counted.refund()),
        (None, Some(SmsRefund::Nothing))
    );
}
