//! How one call of one vendor fails, and what follows from that.
//!
//! Must stay true: another vendor is asked only when this one surely sent nothing. A second message
//! costs money and makes the first one's code wrong.

use std::fmt;

use reqwest::StatusCode;

use super::{SmsError, class::Class};
use crate::{entropy::NoEntropy, outbound::OutboundError};

/// Why a vendor did not send, or may not have.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The vendor says why.
    Refused(Refusal),
    /// There was no whole answer.
    NoAnswer(OutboundError),
    /// The answer is not the vendor's.
    Unusable(StatusCode),
    /// The request could not be made: no random bytes, or a credential that fits into no header.
    Unmade,
}

/// A vendor's no.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) class: Class,
    /// The vendor's own code.
    pub(super) code: Tag,
    /// What the vendor finds the call by.
    pub(super) request_id: Tag,
}

/// A short name that a vendor gave, fit for a log line: letters, digits, `.`, `_` and `-`, at most
/// 64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tag(String);

impl Tag {
    pub(super) fn new(text: &str) -> Self {
        let plain = text
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
        Self(plain.take(64).collect())
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Failure {
    /// What it is for the caller; `None` when nothing was sent and another vendor may do better.
    pub(super) const fn ends_with(&self) -> Option<SmsError> {
        match self {
            Self::Unmade | Self::NoAnswer(OutboundError::Connect) => None,
            Self::NoAnswer(
                OutboundError::Timeout | OutboundError::Broken | OutboundError::TooLarge,
            )
            | Self::Unusable(_) => Some(SmsError::Unknown),
            Self::Refused(refusal) => match refusal.class {
                Class::Config | Class::Balance | Class::Content | Class::Permission => None,
                Class::RateLimited(retry_after) => Some(SmsError::RateLimited { retry_after }),
                Class::BadNumber => Some(SmsError::BadNumber),
                Class::BlockedNumber => Some(SmsError::BlockedNumber),
                Class::Transient => Some(SmsError::Unknown),
            },
        }
    }

    /// Its metric label.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.class.name(),
            Self::NoAnswer(OutboundError::Connect) => "unreachable",
            Self::NoAnswer(OutboundError::Timeout) => "timeout",
            Self::NoAnswer(OutboundError::Broken | OutboundError::TooLarge) | Self::Unusable(_) => {
                "unusable"
            }
            Self::Unmade => "unmade",
        }
    }

    /// Whether the vendor may have sent the message all the same, and will ask for its price.
    pub(super) const fn may_have_sent(&self) -> bool {
        matches!(self.ends_with(), Some(SmsError::Unknown))
    }

    /// One line: an error where an operator has to look.
    pub(super) fn log(&self, provider: &'static str) {
        match self {
            Self::Refused(Refusal {
                class,
                code,
                request_id,
            }) => {
                let reason = class.name();
                match class {
                    Class::Config | Class::Balance | Class::Content | Class::Permission => {
                        tracing::error!(
                            sms.provider = provider, sms.code = %code, sms.request_id = %request_id, sms.reason = reason,
                            "{provider} refuses to send SMS codes ({reason}): {code}"
                        )
                    }
                    Class::Transient => tracing::warn!(
                        sms.provider = provider, sms.code = %code, sms.request_id = %request_id, sms.reason = reason,
                        "{provider} failed by itself and may have sent an SMS code: {code}"
                    ),
                    Class::RateLimited(_) | Class::BadNumber | Class::BlockedNumber => {
                        tracing::info!(
                            sms.provider = provider, sms.code = %code, sms.request_id = %request_id, sms.reason = reason,
                            "{provider} does not send an SMS code to this number ({reason}): {code}"
                        )
                    }
                }
            }
            Self::NoAnswer(fault) => {
                tracing::warn!(sms.provider = provider, fault = %fault, "{provider} gave no answer: {fault}");
            }
            Self::Unusable(status) => tracing::warn!(
                sms.provider = provider,
                http.status = status.as_u16(),
                "{provider} gave an answer that is not its own; the SMS code may have been sent"
            ),
            Self::Unmade => tracing::error!(
                sms.provider = provider,
                "a request to {provider} could not be made: no random bytes, or a credential that is not one"
            ),
        }
    }
}

impl From<OutboundError> for Failure {
    fn from(fault: OutboundError) -> Self {
        Self::NoAnswer(fault)
    }
}

impl From<NoEntropy> for Failure {
    fn from(_: NoEntropy) -> Self {
        Self::Unmade
    }
}

impl From<http::Error> for Failure {
    fn from(_: http::Error) -> Self {
        Self::Unmade
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_short_and_plain() {
        assert_eq!(
            Tag::new("isv.AMOUNT_NOT_ENOUGH").to_string(),
            "isv.AMOUNT_NOT_ENOUGH"
        );
        assert_eq!(Tag::new("a\nb \u{1b}[31m签名\"{}=").to_string(), "ab31m");
        assert_eq!(Tag::new(&"x".repeat(1000)).to_string().len(), 64);
    }
}
