//! The closed list of what a client can be told went wrong.
//!
//! Each is the `code` of a problem document and the value of `X-Menshen-Error`. Others build on the names: none changes its
//! spelling or meaning. HTTP statuses and texts for people are given in `api::problem`, nowhere else.

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
    RefreshInvalid,
    RefreshReused,
    SessionRevoked,
    UserDisabled,
    WechatCodeInvalid,
    WechatBlocked,
    WechatBusy,
    WechatMisconfigured,
    RegistrationClosed,
    StoreUnavailable,
    UpstreamUnavailable,
    UpstreamTimeout,
    NotFound,
    MethodNotAllowed,
    Internal,
}

impl ErrorCode {
    /// Every code, for documents and tests.
    pub const ALL: [Self; 25] = [
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
        Self::RefreshInvalid,
        Self::RefreshReused,
        Self::SessionRevoked,
        Self::UserDisabled,
        Self::WechatCodeInvalid,
        Self::WechatBlocked,
        Self::WechatBusy,
        Self::WechatMisconfigured,
        Self::RegistrationClosed,
        Self::StoreUnavailable,
        Self::UpstreamUnavailable,
        Self::UpstreamTimeout,
        Self::NotFound,
        Self::MethodNotAllowed,
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
            Self::RefreshInvalid => "refresh_invalid",
            Self::RefreshReused => "refresh_reused",
            Self::SessionRevoked => "session_revoked",
            Self::UserDisabled => "user_disabled",
            Self::WechatCodeInvalid => "wechat_code_invalid",
            Self::WechatBlocked => "wechat_blocked",
            Self::WechatBusy => "wechat_busy",
            Self::WechatMisconfigured => "wechat_misconfigured",
            Self::RegistrationClosed => "registration_closed",
            Self::StoreUnavailable => "store_unavailable",
            Self::UpstreamUnavailable => "upstream_unavailable",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::Internal => "internal",
        }
    }
}
