//! Whether a request passes, and as which user: decided by the rule and the token only.
//!
//! Must stay true: nothing else of the request counts; a token on a public path is ignored; an
//! invalid token is never trusted in part; an internal error is not taken for an invalid token, and
//! never lets a request pass.

use super::rules::RuleMatch;
use crate::{config::Access, error::ErrorCode, token::VerifiedClaims};

/// The state of the credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenState<'a> {
    Missing,
    /// The credential is not a bearer token.
    Malformed,
    /// The token is valid and has these claims.
    Valid(&'a VerifiedClaims),
    /// The token is invalid, or could not be checked.
    Invalid(ErrorCode),
}

/// The decision on a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleDecision {
    /// It passes without an identity.
    Anonymous,
    /// It passes as the user of the token.
    Authenticated,
    Reject(ErrorCode),
}

/// The decision on a request with this token.
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
        TokenState::Valid(caller) if matched.allows(caller) => RuleDecision::Authenticated,
        TokenState::Valid(_) => RuleDecision::Reject(ErrorCode::Forbidden),
    }
}

/// Whether the token itself is invalid, as opposed to an internal error while it was checked.
const fn is_token_error(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::TokenInvalid | ErrorCode::TokenExpired | ErrorCode::TokenRevoked
    )
}

#[cfg(test)]
mod tests;
