//! Why a use case said no, or could not be done.

use std::time::Duration;

use super::limits::RateLimited;
use crate::{
    entropy::NoEntropy,
    error::ErrorCode,
    provider::wechat::{Errcode, WechatError, WechatRejection},
    store::StoreError,
    token::IssueError,
};

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
    /// WeChat did not say who it is, and gave this number for it.
    #[error("{0}")]
    WechatRefused(WechatError, Errcode),
    /// The login code has been used, here or by somebody else.
    #[error("login code spent")]
    CodeSpent,
    #[error("registration closed")]
    RegistrationClosed,
    /// The backend was asked about a new user and gave no answer that can be used.
    #[error("the backend was not asked about a new user")]
    RegistrationUnavailable,
    #[error("user disabled")]
    UserDisabled,
    /// Not a refresh token of a session that can be refreshed.
    #[error("refresh token not valid")]
    RefreshInvalid,
    /// A genuine refresh token of a session that has come to its end. Only a dialect that says so
    /// tells it from the rest.
    #[error("refresh token expired")]
    RefreshExpired,
    /// A refresh token that had been replaced long ago; its session has been ended.
    #[error("refresh token reused")]
    RefreshReused,
    #[error("session revoked")]
    SessionRevoked,
    /// An access token that does not count where it was shown in place of a refresh token; the code
    /// says why.
    #[error("access token refused")]
    TokenRefused(ErrorCode),
    /// The token is good, its user is gone.
    #[error("user gone")]
    UserGone,
    /// No such session of this user.
    #[error("no such session")]
    NoSession,
    /// No SMS vendor is configured.
    #[error("text messages are not set up")]
    SmsOff,
    /// Too soon for another message.
    #[error("too soon for another message")]
    SmsCooldown(Duration),
    /// Over a limit of the phone, of the service or of the vendor.
    #[error("over a limit of messages")]
    SmsQuota(Duration),
    /// The vendor did not send, or nobody knows whether it did.
    #[error("the message was not sent, or nobody knows")]
    SmsUnavailable(Duration),
    /// No message can be sent to this number.
    #[error("the phone number is refused")]
    PhoneRefused,
    /// The code is wrong, used, too old, or was guessed at too often.
    #[error("the SMS code is not valid")]
    SmsCodeInvalid,
    /// There is no code for this phone that could be guessed at: none was sent, or it was used, is
    /// too old, or burnt. Only a dialect that says so tells it from a wrong one.
    #[error("no SMS code to compare with")]
    SmsCodeMissing,
    /// The code of the phone number button is not valid.
    #[error("the code of the phone number button is not valid")]
    PhoneCodeInvalid,
    /// What the client encrypted is not what WeChat gave it, for a reason that is never told.
    #[error("the phone number could not be decrypted")]
    PhoneDecryptFailed,
    /// The phone is another user's.
    #[error("the phone is another user's")]
    PhoneConflict,
    /// The phone is the only way in.
    #[error("the phone is the only way in")]
    OnlyIdentity,
    /// The session did not begin with WeChat, so WeChat cannot be asked about it.
    #[error("the session did not begin with WeChat")]
    NotFromWechat,
    /// `rawData` was not signed by WeChat for this login.
    #[error("rawData is not signed by WeChat")]
    RawDataForged,
    #[error("name or password wrong")]
    CredentialsInvalid,
    /// The login is not fresh enough for what was asked.
    #[error("a fresh login is needed")]
    ReauthenticationRequired,
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
            // In the last second of a session there is no token left to give.
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

    /// Whether this is the last word on a login code: asking again can only give the same.
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
    /// Whether a renewal was refused because of its token, and not by a limit or a fault.
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
