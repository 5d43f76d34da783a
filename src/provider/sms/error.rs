//! Why a code is not sent, and why there is no client.

use std::time::Duration;

use crate::{outbound::ClientError, types::Malformed};

/// Why a code is not, or may not be, on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SmsError {
    /// Over the vendor's own limit for this number. Nothing was sent, but asking has counted.
    #[error("over a limit of the SMS provider")]
    RateLimited { retry_after: Duration },
    /// Not a number to which any vendor here sends.
    #[error("the phone number is not one that messages can be sent to")]
    BadNumber,
    /// The number wants no messages.
    #[error("the phone number takes no messages")]
    BlockedNumber,
    /// Surely nothing was sent: every vendor refused for an operator's reason or was not reachable.
    #[error("no SMS provider takes messages")]
    Unavailable,
    /// Nobody knows whether it was sent: no answer in time, an answer that is none, an error inside
    /// the vendor.
    #[error("the SMS provider did not say whether it sent the message")]
    Unknown,
}

/// Whether a message that failed was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryStatus {
    /// Surely not, and asking has not counted with the vendor either, so that the phone may try
    /// again at once.
    NotSent,
    /// Surely not, and never to this number.
    Undeliverable,
    /// Surely not, but asking has counted.
    NotSentButCounted,
    /// Nobody knows.
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
