//! Why a use case said no, or could not be done.

use std::time::Duration;

use super::limits::Over;
use crate::{entropy::NoEntropy, error::ErrorCode, provider::wechat::WechatError, store::StoreError, token::IssueError};

/// A refusal or a fault. `api::error` says what the client sees of it.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// Over one of our limits.
    #[error("over a limit")]
    Limited(Duration),
    /// The login names a mini program that is not ours.
    #[error("unknown app id")]
    UnknownApp,
    /// WeChat did not say who it is.
    #[error(transparent)]
    Wechat(#[from] WechatError),
    /// The login code has been used, here or by somebody else.
    #[error("login code spent")]
    CodeSpent,
    #[error("registration closed")]
    RegistrationClosed,
    #[error("user disabled")]
    UserDisabled,
    /// Not a refresh token of a session that can be refreshed.
    #[error("refresh token not valid")]
    RefreshInvalid,
    /// A refresh token that had been replaced long ago; its session has been ended.
    #[error("refresh token reused")]
    RefreshReused,
    #[error("session revoked")]
    SessionRevoked,
    /// The token is good, its user is gone.
    #[error("user gone")]
    UserGone,
    /// No such session of this user.
    #[error("no such session")]
    NoSession,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Issue(#[from] IssueError),
    #[error(transparent)]
    Entropy(#[from] NoEntropy),
    /// The task that did the work ended without a result, which only a bug does.
    #[error("a login ended without a result")]
    Interrupted,
}

impl AuthError {
    /// What it is called outside; also a metric label.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Limited(_) | Self::Wechat(WechatError::RateLimited { .. }) => ErrorCode::RateLimited,
            Self::UnknownApp => ErrorCode::ValidationFailed,
            Self::CodeSpent | Self::Wechat(WechatError::CodeInvalid) => ErrorCode::WechatCodeInvalid,
            Self::Wechat(WechatError::Blocked) => ErrorCode::WechatBlocked,
            Self::Wechat(WechatError::Misconfigured) => ErrorCode::WechatMisconfigured,
            Self::Wechat(
                WechatError::Busy { .. } | WechatError::Unreachable | WechatError::Timeout | WechatError::Unusable,
            ) => ErrorCode::WechatBusy,
            Self::RegistrationClosed => ErrorCode::RegistrationClosed,
            Self::UserDisabled => ErrorCode::UserDisabled,
            // In the last second of a session there is no token left to give.
            Self::RefreshInvalid | Self::Issue(IssueError::SessionOver) => ErrorCode::RefreshInvalid,
            Self::RefreshReused => ErrorCode::RefreshReused,
            Self::SessionRevoked => ErrorCode::SessionRevoked,
            Self::UserGone => ErrorCode::TokenRevoked,
            Self::NoSession => ErrorCode::NotFound,
            Self::Store(_) => ErrorCode::StoreUnavailable,
            Self::Issue(_) | Self::Entropy(_) | Self::Interrupted => ErrorCode::Internal,
        }
    }

    /// Whether this is the last word on a login code: asking again can only give the same.
    pub(super) const fn settles_the_code(&self) -> bool {
        match self {
            Self::Wechat(WechatError::CodeInvalid | WechatError::Blocked)
            | Self::CodeSpent
            | Self::RegistrationClosed
            | Self::UserDisabled => true,
            Self::Wechat(
                WechatError::Busy { .. }
                | WechatError::RateLimited { .. }
                | WechatError::Misconfigured
                | WechatError::Unreachable
                | WechatError::Timeout
                | WechatError::Unusable,
            )
            | Self::Limited(_)
            | Self::UnknownApp
            | Self::RefreshInvalid
            | Self::RefreshReused
            | Self::SessionRevoked
            | Self::UserGone
            | Self::NoSession
            | Self::Store(_)
            | Self::Issue(_)
            | Self::Entropy(_)
            | Self::Interrupted => false,
        }
    }
}

impl From<Over> for AuthError {
    fn from(over: Over) -> Self {
        Self::Limited(over.retry_after)
    }
}
