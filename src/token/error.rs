//! Why a token is rejected.

use crate::error::ErrorCode;

/// Why a text is not an access token that counts. No variant holds a part of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("longer than 8 KiB")]
    TooLong,
    #[error("not three parts of canonical base64url with two JSON objects")]
    Malformed,
    #[error("a header that is not understood")]
    Header,
    #[error("signed with a key that is not known")]
    UnknownKey,
    #[error("another algorithm than the key's")]
    Algorithm,
    #[error("another kind of token")]
    Kind,
    #[error("a claim is missing or not valid")]
    Claims,
    #[error("of another issuer or for another audience")]
    IssuerOrAudience,
    #[error("not valid yet")]
    TooEarly,
    #[error("expired")]
    Expired,
    #[error("its issuer is no longer accepted")]
    Ended,
    #[error("its issuer has no keys here")]
    NoKeys,
    #[error("the signature is wrong")]
    Signature,
}

impl TokenError {
    /// The code for clients.
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::Expired | Self::Ended => ErrorCode::TokenExpired,
            Self::NoKeys => ErrorCode::IssuerUnavailable,
            Self::TooLong
            | Self::Malformed
            | Self::Header
            | Self::UnknownKey
            | Self::Algorithm
            | Self::Kind
            | Self::Claims
            | Self::IssuerOrAudience
            | Self::TooEarly
            | Self::Signature => ErrorCode::TokenInvalid,
        }
    }
}
