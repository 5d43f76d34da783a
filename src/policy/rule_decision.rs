//! May this request pass, and as whom: the rule and the token, and nothing else.
//!
//! Must stay true: nothing but the credential has a say; on a public path a token is not looked at;
//! a token that is bad is never half-trusted; a fault that has nothing to do with the token is
//! never taken for one, and never lets anybody pass.

use super::rules::RuleMatch;
use crate::{config::Access, error::ErrorCode, token::VerifiedClaims};

/// What came out of looking at the credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenState<'a> {
    Missing,
    /// There is a credential that is no bearer token.
    Malformed,
    /// Everything about the token is right; this is whom it names.
    Valid(&'a VerifiedClaims),
    /// It is not, or it could not be checked.
    Invalid(ErrorCode),
}

/// What happens to the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleDecision {
    /// Passes without an identity.
    Anonymous,
    /// Passes as the user of the token.
    Authenticated,
    Reject(ErrorCode),
}

/// Whether the token has any influence, so that it need not be checked where it has none.
pub const fn needs_token(matched: RuleMatch<'_>) -> bool {
    match matched.rule.access {
        Access::Public | Access::Deny => false,
        Access::Optional | Access::Required => true,
    }
}

/// Decides.
pub fn decide(matched: RuleMatch<'_>, token: TokenState<'_>) -> RuleDecision {
    match matched.rule.access {
        Access::Public => RuleDecision::Anonymous,
        Access::Deny => RuleDecision::Reject(ErrorCode::Forbidden),
        Access::Optional => optional(matched, token),
        Access::Required => required(matched, token),
    }
}

fn optional(matched: RuleMatch<'_>, token: TokenState<'_>) -> RuleDecision {
    match token {
        TokenState::Missing => RuleDecision::Anonymous,
        TokenState::Malformed if matched.rule.bad_token_is_anonymous => RuleDecision::Anonymous,
        TokenState::Invalid(code)
            if matched.rule.bad_token_is_anonymous && is_token_error(code) =>
        {
            RuleDecision::Anonymous
        }
        TokenState::Malformed | TokenState::Invalid(_) | TokenState::Valid(_) => {
            required(matched, token)
        }
    }
}

fn required(matched: RuleMatch<'_>, token: TokenState<'_>) -> RuleDecision {
    match token {
        TokenState::Missing => RuleDecision::Reject(ErrorCode::TokenMissing),
        TokenState::Malformed => RuleDecision::Reject(ErrorCode::TokenInvalid),
        TokenState::Invalid(code) => RuleDecision::Reject(code),
        TokenState::Valid(caller) if matched.admits(caller) => RuleDecision::Authenticated,
        TokenState::Valid(_) => RuleDecision::Reject(ErrorCode::Forbidden),
    }
}

/// The client sent a bad token, as opposed to a fault of ours while looking at it.
const fn is_token_error(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::TokenInvalid | ErrorCode::TokenExpired | ErrorCode::TokenRevoked
    )
}

#[cfg(test)]
mod tests;
