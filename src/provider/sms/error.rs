//! Errors of sending a code, and of the setup.

use std::time::Duration;

use crate::{outbound::ClientError, store::SmsRefund, types::Malformed};

/// Why a code was not sent, or perhaps not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SmsError {
    /// Over the vendor's own limit for this number. Nothing was sent, but the call counts.
    #[error("over a limit of the SMS provider")]
    RateLimited { retry_after: Duration },
    /// No vendor sends to this number.
    #[error("no message can be sent to this phone number")]
    BadNumber,
    /// The number takes no messages.
    #[error("the phone number takes no messages")]
    BlockedNumber,
    /// Certainly nothing was sent: every vendor rejected it for an operator's reason or was
    /// unreachable.
    #[error("no SMS provider accepts messages")]
    Unavailable,
    /// Unknown whether it was sent: no response in time, an unreadable response, or an error inside
    /// the vendor.
    #[error("the SMS provider did not say whether it sent the message")]
    Unknown,
}

impl SmsError {
    /// The slots that the message gives back. `None`: none, because it is unknown whether the message
    /// was sent.
    pub const fn refund(&self) -> Option<SmsRefund> {
        match self {
            // Certainly not sent, and the call does not count with the vendor either, so the phone
            // may try again at once.
            Self::Unavailable => Some(SmsRefund::All),
            // Certainly not sent, and never to this number.
            Self::BadNumber | Self::BlockedNumber => Some(SmsRefund::Budget),
            // Certainly not sent, but the call counts. The newest code that was sent stays valid.
            Self::RateLimited { .. } => Some(SmsRefund::Nothing),
            Self::Unknown => None,
        }
    }
}

/// Why there is no client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SmsSetupError {
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("{0} is not a URL")]
    NoUrl(&'static str),
    #[error("{0} {1}")]
    Template(&'static str, Malformed),
    #[error("sms.webhook.url is in a private network, and sms.webhook.allow_private is false")]
    PrivateAddress,
    #[error("the provider `log` is for development only")]
    LogInProduction,
    #[error(transparent)]
    NoClient(#[from] ClientError),
}
