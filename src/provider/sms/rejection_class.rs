//! The meaning of SMS vendors' error codes.
//!
//! By `Code` alone: messages change their wording and echo the request, and the status is 404 for a
//! wrong key and 200 for most rejections. Sources: Aliyun's error codes
//! (<https://help.aliyun.com/document_detail/101346.html>), Tencent Cloud's `SendSms`
//! (<https://cloud.tencent.com/document/api/382/59177>).

use std::time::Duration;

/// Why a vendor rejects a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RejectionClass {
    /// Over the vendor's own limit; the approximate wait.
    RateLimited(Duration),
    /// Not a phone number, or in a country that the vendor does not serve.
    BadNumber,
    /// The number is on a blocklist.
    BlockedNumber,
    /// Credentials, signature, template or parameters: an operator has to act.
    Config,
    /// No balance, or over the account's own limit.
    Balance,
    /// The text has forbidden words.
    Content,
    /// The account has no permission to send.
    Permission,
    /// An error inside the vendor: the message may have been sent.
    Transient,
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

impl RejectionClass {
    /// Its metric label.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::RateLimited(_) => "rate_limited",
            Self::BadNumber => "bad_number",
            Self::BlockedNumber => "blocked_number",
            Self::Config => "config",
            Self::Balance => "balance",
            Self::Content => "content",
            Self::Permission => "perm",
            Self::Transient => "transient",
        }
    }

    /// Classifies a `Code` of Aliyun's `SendSms` other than `OK`. `message` says which limit was
    /// reached, and is used for nothing else.
    pub(super) fn from_aliyun(code: &str, message: &str) -> Self {
        match code {
            "isv.BUSINESS_LIMIT_CONTROL" => Self::RateLimited(window(message)),
            "Throttling.User" => Self::RateLimited(SECOND),
            "isv.MOBILE_NUMBER_ILLEGAL" | "isv.DOMESTIC_NUMBER_NOT_SUPPORTED" => Self::BadNumber,
            "isv.DAY_LIMIT_CONTROL"
            | "isv.MONTH_LIMIT_CONTROL"
            | "isv.AMOUNT_NOT_ENOUGH"
            | "isv.OUT_OF_SERVICE"
            | "isv.ACCOUNT_ABNORMAL" => Self::Balance,
            "isv.BLACK_KEY_CONTROL_LIMIT" | "isv.SMS_CONTENT_ILLEGAL" => Self::Content,
            "isp.RAM_PERMISSION_DENY" => Self::Permission,
            "SignatureDoesNotMatch"
            | "InvalidAccessKeyId.NotFound"
            | "InvalidTimeStamp.Expired" => Self::Config,
            other if other.starts_with("isv.") => Self::Config,
            // `isp.*`, a nonce used twice, and unknown codes.
            _ => Self::Transient,
        }
    }

    /// Classifies a `Code` of Aliyun's `SendSmsVerifyCode` other than `OK`: those of `SendSms`,
    /// some without their prefix, and two of its own.
    pub(super) fn from_dypns(code: &str, message: &str) -> Self {
        match code {
            "biz.FREQUENCY" => Self::RateLimited(MINUTE),
            "FUNCTION_NOT_OPENED" => Self::Config,
            "BUSINESS_LIMIT_CONTROL" | "MOBILE_NUMBER_ILLEGAL" | "INVALID_PARAMETERS" => {
                Self::from_aliyun(&format!("isv.{code}"), message)
            }
            other => Self::from_aliyun(other, message),
        }
    }

    /// Classifies a `Code` of Tencent Cloud's `SendSms` other than `Ok`, of the whole call or of
    /// the number.
    pub(super) fn from_tencent(code: &str) -> Self {
        match code {
            "LimitExceeded.PhoneNumberThirtySecondLimit" => Self::RateLimited(Duration::from_secs(30)),
            "LimitExceeded.PhoneNumberOneHourLimit" => Self::RateLimited(HOUR),
            "LimitExceeded.PhoneNumberDailyLimit" | "LimitExceeded.PhoneNumberSameContentDailyLimit" => {
                Self::RateLimited(DAY)
            }
            "RequestLimitExceeded" => Self::RateLimited(SECOND),
            "LimitExceeded.AppDailyLimit"
            | "LimitExceeded.DailyLimit"
            | "FailedOperation.InsufficientBalanceInSmsPackage"
            // Their spelling.
            | "UnauthorizedOperation.SerivceSuspendDueToArrears" => Self::Balance,
            "InvalidParameterValue.IncorrectPhoneNumber"
            | "MissingParameter.EmptyPhoneNumberSet"
            // Their spelling.
            | "UnsupportedOperation.UnsuportedRegion" => Self::BadNumber,
            "FailedOperation.PhoneNumberInBlacklist" => Self::BlockedNumber,
            "FailedOperation.ContainSensitiveWord" => Self::Content,
            "UnauthorizedOperation.RequestPermissionDeny" | "AuthFailure.UnauthorizedOperation" => Self::Permission,
            "LimitExceeded.PhoneNumberCountLimit"
            | "FailedOperation.SignatureIncorrectOrUnapproved"
            | "FailedOperation.TemplateIncorrectOrUnapproved"
            | "FailedOperation.FailResolvePacket"
            | "FailedOperation.JsonParseFail"
            | "InvalidParameterValue.TemplateParameterFormatError"
            | "InvalidParameterValue.TemplateParameterLengthLimit"
            | "InvalidParameterValue.ProhibitedUseUrlInTemplateParameter"
            | "InvalidParameterValue.SdkAppIdNotExist"
            | "InvalidParameterValue.ContentLengthLimit"
            // The clock is wrong.
            | "InternalError.RequestTimeException" => Self::Config,
            other => match other.split_once('.') {
                Some(("LimitExceeded", _)) => Self::RateLimited(MINUTE),
                Some(("AuthFailure" | "UnauthorizedOperation", _)) => Self::Config,
                // `InternalError`, `FailedOperation.OtherError` and unknown codes.
                Some(_) | None => Self::Transient,
            },
        }
    }
}

/// The window of Aliyun's limit: 1 a minute, 5 an hour, 10 a day for one number and signature.
fn window(message: &str) -> Duration {
    let windows = [("天级", DAY), ("小时级", HOUR), ("分钟级", MINUTE)];
    windows
        .into_iter()
        .find(|(name, _)| message.contains(name))
        .map_or(MINUTE, |(_, window)| window)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// The rows of a vendor that are not a success, each with its code, its class as the table
    /// names it, and the row itself.
    fn rows(vendor: &str) -> Vec<(String, String, Value)> {
        let table: Value =
            serde_json::from_str(include_str!("../../../tests/data/sms-error-map.json")).unwrap();
        let text = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
        let rows = table[vendor]
            .as_array()
            .unwrap()
            .iter()
            .filter(|row| row["class"] != "sent");
        rows.map(|row| (text(row, "code"), text(row, "class"), row.clone()))
            .collect()
    }

    #[test]
    fn every_known_code_of_aliyun_has_the_meaning_of_its_row() {
        let mut seen = 0;
        for (code, class, row) in rows("aliyun") {
            assert_eq!(
                RejectionClass::from_aliyun(&code, "").name(),
                class,
                "{code}"
            );
            assert_eq!(
                RejectionClass::from_dypns(&code, "").name(),
                class,
                "{code}"
            );
            if let Some(seconds) = row["retry_after_s"].as_u64() {
                assert_eq!(
                    RejectionClass::from_aliyun(&code, ""),
                    RejectionClass::RateLimited(Duration::from_secs(seconds)),
                    "{code}"
                );
            }
            for (part, seconds) in row["message_contains"].as_object().into_iter().flatten() {
                let expected =
                    RejectionClass::RateLimited(Duration::from_secs(seconds.as_u64().unwrap()));
                assert_eq!(
                    RejectionClass::from_aliyun(&code, &format!("触发{part}流控Permits:1")),
                    expected,
                    "{part}"
                );
                seen += 1;
            }
            seen += 1;
        }
        assert_eq!(seen, 33 + 3);
    }

    #[test]
    fn every_known_code_of_tencent_has_the_meaning_of_its_row() {
        let mut seen = 0;
        for (code, class, row) in rows("tencent") {
            assert_eq!(RejectionClass::from_tencent(&code).name(), class, "{code}");
            if let Some(seconds) = row["retry_after_s"].as_u64() {
                assert_eq!(
                    RejectionClass::from_tencent(&code),
                    RejectionClass::RateLimited(Duration::from_secs(seconds)),
                    "{code}"
                );
            }
            seen += 1;
        }
        assert_eq!(seen, 39);
    }

    #[test]
    fn a_code_nobody_knows_goes_by_its_prefix_or_may_have_sent() {
        assert_eq!(
            RejectionClass::from_aliyun("isv.NEW", ""),
            RejectionClass::Config
        );
        assert_eq!(
            RejectionClass::from_aliyun("isp.NEW", ""),
            RejectionClass::Transient
        );
        assert_eq!(
            RejectionClass::from_tencent("LimitExceeded.New"),
            RejectionClass::RateLimited(MINUTE)
        );
        assert_eq!(
            RejectionClass::from_tencent("AuthFailure.New"),
            RejectionClass::Config
        );
        assert_eq!(
            RejectionClass::from_tencent("UnauthorizedOperation.New"),
            RejectionClass::Config
        );
        for code in ["", "ok", "New", "New.Code", "LimitExceededNew", "ISV.NEW"] {
            assert_eq!(
                RejectionClass::from_aliyun(code, ""),
                RejectionClass::Transient,
                "{code}"
            );
            assert_eq!(
                RejectionClass::from_tencent(code),
                RejectionClass::Transient,
                "{code}"
            );
        }
        assert_eq!(
            RejectionClass::from_dypns("biz.FREQUENCY", ""),
            RejectionClass::RateLimited(MINUTE)
        );
        assert_eq!(
            RejectionClass::from_dypns("BUSINESS_LIMIT_CONTROL", "触发天级流控Permits:10"),
            RejectionClass::RateLimited(DAY)
        );
        assert_eq!(
            RejectionClass::from_dypns("MOBILE_NUMBER_ILLEGAL", ""),
            RejectionClass::BadNumber
        );
        assert_eq!(
            RejectionClass::from_dypns("FUNCTION_NOT_OPENED", ""),
            RejectionClass::Config
        );
    }
}
