//! Why a use case was rejected or failed.

use std::time::Duration;

use super::limits::RateLimited;
use crate::{
    entropy::NoEntropy,
    error::ErrorCode,
    provider::wechat::{Errcode, WechatError, WechatRejection},
    store::StoreError,
    token::IssueError,
};

/// A rejection or an error. `api::error` renders it for the client.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// A rejection of which the code says everything.
    #[error("{}", .0.as_str())]
    Rejected(ErrorCode),
    /// Over one of menshen's own rate limits.
    #[error("over a rate limit")]
    Limited(Duration),
    /// The app id of the login is not in the config.
    #[error("unknown app id")]
    UnknownApp,
    /// WeChat did not identify the user.
    #[error(transparent)]
    Wechat(#[from] WechatRejection),
    /// The login code has been used, here or elsewhere.
    #[error("login code spent")]
    CodeUsed,
    /// The backend was asked about a new user and gave no usable response.
    #[error("the backend gave no usable response about a new user")]
    RegistrationUnavailable,
    /// A genuine refresh token of a session that has expired. Only some dialects distinguish it.
    #[error("refresh token expired")]
    RefreshExpired,
    /// No SMS vendor is configured.
    #[error("text messages are not set up")]
    SmsOff,
    /// Within the cooldown of the phone.
    #[error("within the cooldown of the phone")]
    SmsCooldown(Duration),
    /// Over a quota of the phone, of the service or of the vendor.
    #[error("over a quota of messages")]
    SmsQuota(Duration),
    /// The vendor did not send, or it is unknown whether it did.
    #[error("the message was not sent, or it is unknown whether it was")]
    SmsUnavailable(Duration),
    /// No message can be sent to this number.
    #[error("the phone number takes no messages")]
    PhoneRefused,
    /// The phone has no active code: none was sent, or it is used, expired, or over its attempts.
    /// Only some dialects distinguish it from a wrong one.
    #[error("no SMS code to compare with")]
    SmsCodeMissing,
    /// The phone is the user's only identity.
    #[error("the phone is the only way to sign in")]
    OnlyIdentity,
    /// The session did not begin with WeChat.
    #[error("the session did not begin with WeChat")]
    NotFromWechat,
    /// `rawData` was not signed by WeChat for this login.
    #[error("rawData is not signed by WeChat")]
    RawDataForged,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Issue(#[from] IssueError),
    #[error(transparent)]
    Entropy(#[from] NoEntropy),
    /// The task of the work ended without a result, which only a bug causes.
    #[error("a login ended without a result")]
    Interrupted,
}

impl AuthError {
    /// The code for clients; also a metric label.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Rejected(code) => *code,
            Self::Limited(_) => ErrorCode::RateLimited,
            Self::Wechat(rejection) => wechat_code(rejection.why),
            Self::UnknownApp | Self::PhoneRefused | Self::RawDataForged => {
                ErrorCode::ValidationFailed
            }
            Self::SmsCooldown(_) => ErrorCode::SmsCooldown,
            Self::SmsQuota(_) => ErrorCode::SmsQuota,
            Self::SmsUnavailable(_) => ErrorCode::SmsUnavailable,
            Self::SmsCodeMissing => ErrorCode::CodeInvalid,
            Self::OnlyIdentity => ErrorCode::PhoneConflict,
            Self::NotFromWechat => ErrorCode::Forbidden,
            Self::CodeUsed => ErrorCode::WechatCodeInvalid,
            Self::RegistrationUnavailable => ErrorCode::RegistrationUnavailable,
            // In the last second of a session no token can be issued.
            Self::RefreshExpired | Self::Issue(IssueError::SessionOver) => {
                ErrorCode::RefreshInvalid
            }
            Self::SmsOff => ErrorCode::NotFound,
            Self::Store(_) => ErrorCode::StoreUnavailable,
            Self::Issue(_) | Self::Entropy(_) | Self::Interrupted => ErrorCode::Internal,
        }
    }

    /// Whether WeChat says that the login code has been used.
    pub(super) fn is_used_at_wechat(&self) -> bool {
        let Self::Wechat(rejection) = self else {
            return false;
        };
        rejection.errcode == Some(Errcode::CODE_BEEN_USED)
    }

    /// Whether the login code can only ever have this result.
    pub(super) const fn is_final_for_code(&self) -> bool {
        match self {
            Self::Wechat(rejection) => match rejection.why {
                WechatError::CodeInvalid | WechatError::Blocked => true,
                WechatError::Busy { .. }
                | WechatError::RateLimited { .. }
                | WechatError::Misconfigured
                | WechatError::Unreachable
                | WechatError::Timeout
                | WechatError::Broken
                | WechatError::Unusable => false,
            },
            Self::Rejected(code) => {
                matches!(
                    code,
                    ErrorCode::RegistrationClosed | ErrorCode::UserDisabled
                )
            }
            Self::CodeUsed | Self::RawDataForged => true,
            Self::Limited(_)
            | Self::UnknownApp
            | Self::RegistrationUnavailable
            | Self::RefreshExpired
            | Self::SmsOff
            | Self::SmsCooldown(_)
            | Self::SmsQuota(_)
            | Self::SmsUnavailable(_)
            | Self::PhoneRefused
            | Self::SmsCodeMissing
            | Self::OnlyIdentity
            | Self::NotFromWechat
            | Self::Store(_)
            | Self::Issue(_)
            | Self::Entropy(_)
            | Self::Interrupted => false,
        }
    }

    /// Whether a renewal was rejected because of its token, and not by a limit or an error.
    pub(super) const fn rejects_renewal(&self) -> bool {
        matches!(
            self.code(),
            ErrorCode::RefreshInvalid
                | ErrorCode::RefreshReused
                | ErrorCode::SessionRevoked
                | ErrorCode::UserDisabled
                | ErrorCode::TokenMissing
                | ErrorCode::TokenInvalid
                | ErrorCode::TokenExpired
                | ErrorCode::TokenRevoked
        )
    }
}

const fn wechat_code(error: WechatError) -> ErrorCode {
    match error {
        WechatError::CodeInvalid => ErrorCode::WechatCodeInvalid,
        WechatError::Blocked => ErrorCode::WechatBlocked,
        WechatError::RateLimited { .. } => ErrorCode::RateLimited,
        WechatError::Misconfigured => ErrorCode::WechatMisconfigured,
        WechatError::Busy { .. }
        | WechatError::Unreachable
        | WechatError::Timeout
        | WechatError::Broken
        | WechatError::Unusable => ErrorCode::WechatBusy,
    }
}

impl From<ErrorCode> for AuthError {
    fn from(code: ErrorCode) -> Self {
        Self::Rejected(code)
    }
}

impl From<RateLimited> for AuthError {
    fn from(limited: RateLimited) -> Self {
        Self::Limited(limited.retry_after)
    }
}
