//! How a call of a vendor fails, and whether the next vendor is called.
//!
//! Must stay true: another vendor is called only when this one certainly sent nothing. A second
//! message costs money.

use std::fmt;

use reqwest::StatusCode;

use super::{error::SmsError, rejection_class::RejectionClass};
use crate::{entropy::NoEntropy, outbound::OutboundError};

/// Why a vendor did not send, or perhaps not.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum VendorError {
    /// The vendor rejected the message.
    Rejected(VendorRejection),
    /// There was no complete response.
    NoResponse(OutboundError),
    /// The response is not the vendor's.
    UnreadableResponse(StatusCode),
    /// The request could not be built: no random bytes, or a credential that fits into no header.
    RequestNotBuilt,
}

/// A rejection by a vendor.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct VendorRejection {
    pub(super) class: RejectionClass,
    /// The vendor's own code.
    pub(super) code: LogTag,
    /// The vendor's id of the call.
    pub(super) request_id: LogTag,
}

/// A vendor's name for something, made fit for a log line: letters, digits, `.`, `_` and `-`, at
/// most 64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LogTag(String);

impl LogTag {
    pub(super) fn new(text: &str) -> Self {
        let plain = text
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
        Self(plain.take(64).collect())
    }
}

impl fmt::Display for LogTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl VendorError {
    /// A rejection by the vendor, with its code and request id made fit for a log line.
    pub(super) fn rejected(class: RejectionClass, code: &str, request_id: &str) -> Self {
        Self::Rejected(VendorRejection {
            class,
            code: LogTag::new(code),
            request_id: LogTag::new(request_id),
        })
    }

    /// The error for the caller; `None` when nothing was sent and another vendor may succeed.
    pub(super) const fn final_error(&self) -> Option<SmsError> {
        match self {
            Self::RequestNotBuilt | Self::NoResponse(OutboundError::Connect) => None,
            Self::NoResponse(
                OutboundError::Timeout | OutboundError::Broken | OutboundError::TooLarge,
            )
            | Self::UnreadableResponse(_) => Some(SmsError::Unknown),
            Self::Rejected(rejection) => match rejection.class {
                RejectionClass::Config
                | RejectionClass::Balance
                | RejectionClass::Content
                | RejectionClass::Permission => None,
                RejectionClass::RateLimited(retry_after) => {
                    Some(SmsError::RateLimited { retry_after })
                }
                RejectionClass::BadNumber => Some(SmsError::BadNumber),
                RejectionClass::BlockedNumber => Some(SmsError::BlockedNumber),
                RejectionClass::Transient => Some(SmsError::Unknown),
            },
        }
    }

    /// Its metric label.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Rejected(rejection) => rejection.class.name(),
            Self::NoResponse(OutboundError::Connect) => "unreachable",
            Self::NoResponse(OutboundError::Timeout) => "timeout",
            Self::NoResponse(OutboundError::Broken | OutboundError::TooLarge)
            | Self::UnreadableResponse(_) => "unusable",
            Self::RequestNotBuilt => "unmade",
        }
    }

    /// Whether the vendor may have sent the message, and charges for it.
    pub(super) const fn may_have_been_sent(&self) -> bool {
        matches!(self.final_error(), Some(SmsError::Unknown))
    }

    /// Logs one line, at level error where an operator has to act.
    pub(super) fn log(&self, provider: &'static str) {
        match self {
            Self::Rejected(VendorRejection {
                class,
                code,
                request_id,
            }) => {
                let reason = class.name();
                match class {
                    RejectionClass::Config
                    | RejectionClass::Balance
                    | RejectionClass::Content
                    | RejectionClass::Permission => {
                        tracing::error!(
                            sms.provider = provider, sms.code = %code, sms.request_id = %request_id, sms.reason = reason,
                            "{provider} refuses to send SMS codes ({reason}): {code}"
                        );
                    }
                    RejectionClass::Transient => tracing::warn!(
                        sms.provider = provider, sms.code = %code, sms.request_id = %request_id, sms.reason = reason,
                        "{provider} failed by itself and may have sent an SMS code: {code}"
                    ),
                    RejectionClass::RateLimited(_)
                    | RejectionClass::BadNumber
                    | RejectionClass::BlockedNumber => {
                        tracing::info!(
                            sms.provider = provider, sms.code = %code, sms.request_id = %request_id, sms.reason = reason,
                            "{provider} does not send an SMS code to this number ({reason}): {code}"
                        );
                    }
                }
            }
            Self::NoResponse(fault) => {
                tracing::warn!(sms.provider = provider, fault = %fault, "{provider} gave no response: {fault}");
            }
            Self::UnreadableResponse(status) => tracing::warn!(
                sms.provider = provider,
                http.status = status.as_u16(),
                "{provider} gave a response that is not its own; the SMS code may have been sent"
            ),
            Self::RequestNotBuilt => tracing::error!(
                sms.provider = provider,
                "a request to {provider} could not be built: no random bytes, or a credential that fits into no header"
            ),
        }
    }
}

impl From<OutboundError> for VendorError {
    fn from(fault: OutboundError) -> Self {
        Self::NoResponse(fault)
    }
}

impl From<NoEntropy> for VendorError {
    fn from(_: NoEntropy) -> Self {
        Self::RequestNotBuilt
    }
}

impl From<http::Error> for VendorError {
    fn from(_: http::Error) -> Self {
        Self::RequestNotBuilt
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_short_and_plain() {
        assert_eq!(
            LogTag::new("isv.AMOUNT_NOT_ENOUGH").to_string(),
            "isv.AMOUNT_NOT_ENOUGH"
        );
        assert_eq!(LogTag::new("a\nb \u{1b}[31m签名\"{}=").to_string(), "ab31m");
        assert_eq!(LogTag::new(&"x".repeat(1000)).to_string().len(), 64);
    }
}
