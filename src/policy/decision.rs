//! May this request pass, and as whom: the rule and the token, and nothing else.
//!
//! Must stay true: nothing but the credential has a say; on a public path a token is not looked at; a token that is bad is
//! never half-trusted; a fault that has nothing to do with the token is never taken for one, and never lets anybody pass.

use super::Ruling;
use crate::{config::Access, error::ErrorCode, token::Verified};

/// What came out of looking at the credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenState<'a> {
    Missing,
    /// There is a credential that is no bearer token.
    Malformed,
    /// Everything about the token is right; this is whom it names.
    Valid(&'a Verified),
    /// It is not, or it could not be checked.
    Invalid(ErrorCode),
}

/// What happens to the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Passes without an identity.
    Anonymous,
    /// Passes as the user of the token.
    Authenticated,
    Refuse(ErrorCode),
}

/// Whether the token has any influence, so that it need not be checked where it has none.
pub const fn needs_token(ruling: Ruling<'_>) -> bool {
    match ruling.rule.access {
        Access::Public | Access::Deny => false,
        Access::Optional | Access::Required => true,
    }
}

/// Decides.
pub fn decide(ruling: Ruling<'_>, token: TokenState<'_>) -> Decision {
    match ruling.rule.access {
        Access::Public => Decision::Anonymous,
        Access::Deny => Decision::Refuse(ErrorCode::Forbidden),
        Access::Optional => optional(ruling, token),
        Access::Required => required(ruling, token),
    }
}

fn optional(ruling: Ruling<'_>, token: TokenState<'_>) -> Decision {
    match token {
        TokenState::Missing => Decision::Anonymous,
        TokenState::Malformed if ruling.rule.bad_token_is_anonymous => Decision::Anonymous,
        TokenState::Invalid(code) if ruling.rule.bad_token_is_anonymous && is_about_the_token(code) => Decision::Anonymous,
        TokenState::Malformed | TokenState::Invalid(_) | TokenState::Valid(_) => required(ruling, token),
    }
}

fn required(ruling: Ruling<'_>, token: TokenState<'_>) -> Decision {
    match token {
        TokenState::Missing => Decision::Refuse(ErrorCode::TokenMissing),
        TokenState::Malformed => Decision::Refuse(ErrorCode::TokenInvalid),
        TokenState::Invalid(code) => Decision::Refuse(code),
        TokenState::Valid(caller) if ruling.admits(caller) => Decision::Authenticated,
        TokenState::Valid(_) => Decision::Refuse(ErrorCode::Forbidden),
    }
}

/// The client sent a bad token, as opposed to a fault of ours while looking at it.
const fn is_about_the_token(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::TokenInvalid | ErrorCode::TokenExpired | ErrorCode::TokenRevoked)
}

#[cfg(test)]
mod tests;
