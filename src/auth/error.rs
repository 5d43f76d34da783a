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
    /// Over one of menshen's own rate limits.
    #[error("over a limit")]
    Limited(Duration),
    /// The app id of the login is not in the config.
    #[error("unknown app id")]
    UnknownApp,
    /// WeChat did not identify the user.
    #[error(transparent)]
    Wechat(#[from] WechatError),
    /// WeChat did not identify the user, and gave this errcode.
    #[error("{0}")]
    WechatRefused(WechatError, Errcode),
    /// The login code has been used, here or elsewhere.
    #[error("login code spent")]
    CodeSpent,
    #[error("registration closed")]
    RegistrationClosed,
    /// The backend was asked about a new user and gave no usable response.
    #[error("the backend was not asked about a new user")]
    RegistrationUnavailable,
    #[error("user disabled")]
    UserDisabled,
    /// Not a refresh token of a session that can be refreshed.
    #[error("refresh token not valid")]
    RefreshInvalid,
    /// A genuine refresh token of a session that has expired. Only some dialects distinguish it.
    #[error("refresh token expired")]
    RefreshExpired,
    /// A refresh token that had been rotated long ago; its session has been ended.
    #[error("refresh token reused")]
    RefreshReused,
    #[error("session revoked")]
    SessionRevoked,
    /// An access token in place of a refresh token was rejected, with this code.
    #[error("access token refused")]
    TokenRefused(ErrorCode),
    /// The token is valid, its user has been deleted.
    #[error("user gone")]
    UserGone,
    /// No such session of this user.
    #[error("no such session")]
    NoSession,
    /// No SMS vendor is configured.
    #[error("text messages are not set up")]
    SmsOff,
    /// Within the cooldown of the phone.
    #[error("too soon for another message")]
    SmsCooldown(Duration),
    /// Over a quota of the phone, of the service or of the vendor.
    #[error("over a limit of messages")]
    SmsQuota(Duration),
    /// The vendor did not send, or it is unknown whether it did.
    #[error("the message was not sent, or nobody knows")]
    SmsUnavailable(Duration),
    /// No message can be sent to this number.
    #[error("the phone number is refused")]
    PhoneRefused,
    /// The code is wrong, used, expired, or over its attempts.
    #[error("the SMS code is not valid")]
    SmsCodeInvalid,
    /// The phone has no active code: none was sent, or it is used, expired, or over its attempts.
    /// Only some dialects distinguish it from a wrong one.
    #[error("no SMS code to compare with")]
    SmsCodeMissing,
    /// The code of the phone number button is not valid.
    #[error("the code of the phone number button is not valid")]
    PhoneCodeInvalid,
    /// The encrypted data is not valid, for a reason that clients never get.
    #[error("the phone number could not be decrypted")]
    PhoneDecryptFailed,
    /// The phone is another user's.
    #[error("the phone is another user's")]
    PhoneConflict,
    /// The phone is the user's only identity.
    #[error("the phone is the only way in")]
    OnlyIdentity,
    /// The session did not begin with WeChat.
    #[error("the session did not begin with WeChat")]
    NotFromWechat,
    /// `rawData` was not signed by WeChat for this login.
    #[error("rawData is not signed by WeChat")]
    RawDataForged,
    #[error("name or password wrong")]
    CredentialsInvalid,
    /// The login is not recent enough.
    #[error("a fresh login is needed")]
    ReauthenticationRequired,
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
            Self::Limited(_) => ErrorCode::RateLimited,
            Self::Wechat(error) | Self::WechatRefused(error, _) => wechat_code(*error),
            Self::UnknownApp | Self::PhoneRefused | Self::RawDataForged => {
                ErrorCode::ValidationFailed
            }
            Self::SmsCooldown(_) => ErrorCode::SmsCooldown,
            Self::SmsQuota(_) => ErrorCode::SmsQuota,
            Self::SmsUnavailable(_) => ErrorCode::SmsUnavailable,
            Self::SmsCodeInvalid | Self::SmsCodeMissing => ErrorCode::CodeInvalid,
            Self::PhoneCodeInvalid => ErrorCode::PhoneCodeInvalid,
            Self::PhoneDecryptFailed => ErrorCode::PhoneDecryptFailed,
            Self::PhoneConflict | Self::OnlyIdentity => ErrorCode::PhoneConflict,
            Self::NotFromWechat => ErrorCode::Forbidden,
            Self::CredentialsInvalid => ErrorCode::CredentialsInvalid,
            Self::ReauthenticationRequired => ErrorCode::ReauthenticationRequired,
            Self::CodeSpent => ErrorCode::WechatCodeInvalid,
            Self::RegistrationClosed => ErrorCode::RegistrationClosed,
            Self::RegistrationUnavailable => ErrorCode::RegistrationUnavailable,
            Self::UserDisabled => ErrorCode::UserDisabled,
            // In the last second of a session no token can be issued.
            Self::RefreshInvalid | Self::RefreshExpired | Self::Issue(IssueError::SessionOver) => {
                ErrorCode::RefreshInvalid
            }
            Self::RefreshReused => ErrorCode::RefreshReused,
            Self::SessionRevoked => ErrorCode::SessionRevoked,
            Self::TokenRefused(code) => *code,
            Self::UserGone => ErrorCode::TokenRevoked,
            Self::NoSession | Self::SmsOff => ErrorCode::NotFound,
            Self::Store(_) => ErrorCode::StoreUnavailable,
            Self::Issue(_) | Self::Entropy(_) | Self::Interrupted => ErrorCode::Internal,
        }
    }

    /// Whether the login code can only ever have this result.
    pub(super) const fn is_final_for_code(&self) -> bool {
        match self {
            Self::Wechat(error) | Self::WechatRefused(error, _) => match error {
                WechatError::CodeInvalid | WechatError::Blocked => true,
                WechatError::Busy { .. }
                | WechatError::RateLimited { .. }
                | WechatError::Misconfigured
                | WechatError::Unreachable
                | WechatError::Timeout
                | WechatError::Broken
                | WechatError::Unusable => false,
            },
            Self::CodeSpent
            | Self::RawDataForged
            | Self::RegistrationClosed
            | Self::UserDisabled => true,
            Self::Limited(_)
            | Self::UnknownApp
            | Self::RefreshInvalid
            | Self::RefreshExpired
            | Self::RefreshReused
            | Self::SessionRevoked
            | Self::TokenRefused(_)
            | Self::UserGone
            | Self::NoSession
            | Self::SmsOff
            | Self::RegistrationUnavailable
            | Self::SmsCooldown(_)
            | Self::SmsQuota(_)
            | Self::SmsUnavailable(_)
            | Self::PhoneRefused
            | Self::SmsCodeInvalid
            | Self::SmsCodeMissing
            | Self::PhoneCodeInvalid
            | Self::PhoneDecryptFailed
            | Self::PhoneConflict
            | Self::OnlyIdentity
            | Self::NotFromWechat
            | Self::CredentialsInvalid
            | Self::ReauthenticationRequired
            | Self::Store(_)
            | Self::Issue(_)
            | Self::Entropy(_)
            | Self::Interrupted => false,
        }
    }
}

impl AuthError {
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

impl From<WechatRejection> for AuthError {
    fn from(WechatRejection { why, errcode }: WechatRejection) -> Self {
        errcode.map_or(Self::Wechat(why), |errcode| {
            Self::WechatRefused(why, errcode)
        })
    }
}

impl From<RateLimited> for AuthError {
    fn from(limited: RateLimited) -> Self {
        Self::Limited(limited.retry_after)
    }
}
