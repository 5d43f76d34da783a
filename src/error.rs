//! The closed list of error codes that a client can see.
//!
//! Each is the `code` of a problem document and the value of `X-Menshen-Error`. Others build on the
//! names: none changes its spelling or meaning. HTTP statuses and texts for people are given in
//! `api::problem`, nowhere else.

/// Why a request was refused or failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    TokenMissing,
    TokenInvalid,
    TokenExpired,
    TokenRevoked,
    Forbidden,
    PathAmbiguous,
    RequestMalformed,
    BodyTooLarge,
    ValidationFailed,
    RateLimited,
    SmsCooldown,
    SmsQuota,
    SmsUnavailable,
    CodeInvalid,
    RefreshInvalid,
    RefreshReused,
    SessionRevoked,
    UserDisabled,
    WechatCodeInvalid,
    WechatBlocked,
    WechatBusy,
    WechatMisconfigured,
    PhoneCodeInvalid,
    PhoneDecryptFailed,
    PhoneConflict,
    CredentialsInvalid,
    ReauthenticationRequired,
    RegistrationClosed,
    RegistrationUnavailable,
    StoreUnavailable,
    IssuerUnavailable,
    ProofUnavailable,
    UpstreamUnavailable,
    UpstreamTimeout,
    UpstreamBusy,
    Overloaded,
    NotFound,
    MethodNotAllowed,
    WebsocketVersionUnsupported,
    Internal,
}

impl ErrorCode {
    /// Every code, for documents and tests.
    pub const ALL: [Self; 40] = [
        Self::TokenMissing,
        Self::TokenInvalid,
        Self::TokenExpired,
        Self::TokenRevoked,
        Self::Forbidden,
        Self::PathAmbiguous,
        Self::RequestMalformed,
        Self::BodyTooLarge,
        Self::ValidationFailed,
        Self::RateLimited,
        Self::SmsCooldown,
        Self::SmsQuota,
        Self::SmsUnavailable,
        Self::CodeInvalid,
        Self::RefreshInvalid,
        Self::RefreshReused,
        Self::SessionRevoked,
        Self::UserDisabled,
        Self::WechatCodeInvalid,
        Self::WechatBlocked,
        Self::WechatBusy,
        Self::WechatMisconfigured,
        Self::PhoneCodeInvalid,
        Self::PhoneDecryptFailed,
        Self::PhoneConflict,
        Self::CredentialsInvalid,
        Self::ReauthenticationRequired,
        Self::RegistrationClosed,
        Self::RegistrationUnavailable,
        Self::StoreUnavailable,
        Self::IssuerUnavailable,
        Self::ProofUnavailable,
        Self::UpstreamUnavailable,
        Self::UpstreamTimeout,
        Self::UpstreamBusy,
        Self::Overloaded,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::WebsocketVersionUnsupported,
        Self::Internal,
    ];

    /// As it stands on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TokenMissing => "token_missing",
            Self::TokenInvalid => "token_invalid",
            Self::TokenExpired => "token_expired",
            Self::TokenRevoked => "token_revoked",
            Self::Forbidden => "forbidden",
            Self::PathAmbiguous => "path_ambiguous",
            Self::RequestMalformed => "request_malformed",
            Self::BodyTooLarge => "body_too_large",
            Self::ValidationFailed => "validation_failed",
            Self::RateLimited => "rate_limited",
            Self::SmsCooldown => "sms_cooldown",
            Self::SmsQuota => "sms_quota",
            Self::SmsUnavailable => "sms_unavailable",
            Self::CodeInvalid => "code_invalid",
            Self::RefreshInvalid => "refresh_invalid",
            Self::RefreshReused => "refresh_reused",
            Self::SessionRevoked => "session_revoked",
            Self::UserDisabled => "user_disabled",
            Self::WechatCodeInvalid => "wechat_code_invalid",
            Self::WechatBlocked => "wechat_blocked",
            Self::WechatBusy => "wechat_busy",
            Self::WechatMisconfigured => "wechat_misconfigured",
            Self::PhoneCodeInvalid => "phone_code_invalid",
            Self::PhoneDecryptFailed => "phone_decrypt_failed",
            Self::PhoneConflict => "phone_conflict",
            Self::CredentialsInvalid => "credentials_invalid",
            Self::ReauthenticationRequired => "reauthentication_required",
            Self::RegistrationClosed => "registration_closed",
            Self::RegistrationUnavailable => "registration_unavailable",
            Self::StoreUnavailable => "store_unavailable",
            Self::IssuerUnavailable => "issuer_unavailable",
            Self::ProofUnavailable => "proof_unavailable",
            Self::UpstreamUnavailable => "upstream_unavailable",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::UpstreamBusy => "upstream_busy",
            Self::Overloaded => "overloaded",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::WebsocketVersionUnsupported => "websocket_version_unsupported",
            Self::Internal => "internal",
        }
    }
}

/// Counters by code are found by its place in [`ErrorCode::ALL`].
const _: () = {
    let mut n = 0;
    while n < ErrorCode::ALL.len() {
        assert!(
            ErrorCode::ALL[n] as usize == n,
            "ErrorCode::ALL is in another order"
        );
        n += 1;
    }
};
