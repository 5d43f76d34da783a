//! Errors of hooks.

use http::StatusCode;

use crate::outbound::{ClientError, OutboundError};

/// Why there is no usable response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HookError {
    /// Too many requests wait for the backend: nothing was sent.
    #[error("too many requests wait for the backend")]
    Busy,
    #[error("the backend cannot be reached")]
    Unreachable,
    #[error("the backend gave no response in time")]
    Timeout,
    /// 403: the backend rejects this user.
    #[error("the backend refuses")]
    Refused,
    /// Any other status but 2xx, also a redirect.
    #[error("the backend answered {0}")]
    Status(StatusCode),
    /// Not HTTP, too long, or not what docs/hooks.md says.
    #[error("the backend's response cannot be used")]
    Unusable,
    /// An id that menshen could generate for another user.
    #[error("the backend's id is not below users.first_integer")]
    IdsOverlap,
    /// The message could not be serialized, which only a bug causes.
    #[error("the message could not be built")]
    RequestNotBuilt,
}

/// Why there is no client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HooksSetupError {
    #[error("hooks.url is not a URL")]
    NoUrl,
    #[error("hooks.secret is missing")]
    NoSecret,
    #[error(transparent)]
    NoClient(#[from] ClientError),
}

impl HookError {
    /// Its metric label.
    pub fn class(&self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Refused => "refused",
            Self::Status(status) if status.is_redirection() => "redirect",
            Self::Status(status) if status.is_server_error() => "server_error",
            Self::Status(_) => "client_error",
            Self::Unusable | Self::IdsOverlap | Self::RequestNotBuilt => "unusable",
        }
    }

    /// Whether a retry may succeed.
    pub(super) fn is_retryable(self) -> bool {
        match self {
            Self::Unreachable => true,
            Self::Status(status) => {
                status.is_server_error()
                    || matches!(
                        status,
                        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
                    )
            }
            Self::Busy
            | Self::Timeout
            | Self::Refused
            | Self::Unusable
            | Self::IdsOverlap
            | Self::RequestNotBuilt => false,
        }
    }
}

impl From<OutboundError> for HookError {
    fn from(fault: OutboundError) -> Self {
        match fault {
            OutboundError::Connect | OutboundError::Broken => Self::Unreachable,
            OutboundError::Timeout => Self::Timeout,
            OutboundError::TooLarge => Self::Unusable,
        }
    }
}
