//! Errors of sending a code, and of the setup.

use std::time::Duration;

use crate::{outbound::ClientError, types::Malformed};

/// Why a code was not sent, or perhaps not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SmsError {
    /// Over the vendor's own limit for this number. Nothing was sent, but the call counts.
    #[error("over a limit of the SMS provider")]
    RateLimited { retry_after: Duration },
    /// No vendor sends to this number.
    #[error("the phone number is not one that messages can be sent to")]
    BadNumber,
    /// The number takes no messages.
    #[error("the phone number takes no messages")]
    BlockedNumber,
    /// Certainly nothing was sent: every vendor rejected it for an operator's reason or was
    /// unreachable.
    #[error("no SMS provider takes messages")]
    Unavailable,
    /// Unknown whether it was sent: no response in time, an unreadable response, or an error inside
    /// the vendor.
    #[error("the SMS provider did not say whether it sent the message")]
    Unknown,
}

/// Whether a failed message was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryStatus {
    /// Certainly not, and the call does not count with the vendor either, so that the phone may try
    /// again at once.
    NotSent,
    /// Certainly not, and never to this number.
    Undeliverable,
    /// Certainly not, but the call counts.
    NotSentButCounted,
    /// Unknown.
    Unknown,
}

impl SmsError {
    /// Whether the message was sent.
    pub const fn delivery_status(&self) -> DeliveryStatus {
        match self {
            Self::Unavailable => DeliveryStatus::NotSent,
            Self::BadNumber | Self::BlockedNumber => DeliveryStatus::Undeliverable,
            Self::RateLimited { .. } => DeliveryStatus::NotSentButCounted,
            Self::Unknown => DeliveryStatus::Unknown,
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
    #[error("the provider `log` is for development alone")]
    LogInProduction,
    #[error(transparent)]
    NoClient(#[from] ClientError),
}
