//! May this request pass, and as whom: the rule and the token, and nothing else.
//!
//! Must stay true: no header but `Authorization` has a say; on a public path a token is not looked at; a token that is bad is
//! never half-trusted; a fault that has nothing to do with the token is never taken for one, and never lets anybody pass.

use super::{Head, Refusal, Ruling};
use crate::{config::Access, error::ErrorCode, token::Verified};

/// What a request brings to prove who it is from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Credential<'a> {
    None,
    /// A token in the form of RFC 6750 section 2.1; nothing of it is checked yet.
    Bearer(&'a str),
    /// Something else: another scheme, no token, more than one.
    Malformed,
}

/// A token does not print.
impl std::fmt::Debug for Credential<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Bearer(_) => "Bearer(***)",
            Self::Malformed => "Malformed",
        })
    }
}

/// Reads the credential; where `bare` says so, a token may stand alone. Several are refused: proxies and backends differ on which
/// one counts.
pub fn credential<'a>(head: &Head<'a>, bare: bool) -> Result<Credential<'a>, Refusal> {
    let mut values = head.values("authorization");
    let Some(value) = values.next() else { return Ok(Credential::None) };
    if values.next().is_some() {
        return Err(Refusal::broken("A request has one Authorization header at most."));
    }
    let token = bearer(value).or_else(|| b64token(value).filter(|_| bare));
    Ok(token.map_or(Credential::Malformed, Credential::Bearer))
}

/// `Bearer` in any case, spaces, and one b64token (RFC 6750 section 2.1).
fn bearer(value: &[u8]) -> Option<&str> {
    let (scheme, rest) = value.split_at_checked(6)?;
    let token = rest.strip_prefix(b" ")?;
    let token = &token[token.iter().take_while(|&&byte| byte == b' ').count()..];
    if scheme.eq_ignore_ascii_case(b"bearer") { b64token(token) } else { None }
}

/// All of it one b64token.
fn b64token(token: &[u8]) -> Option<&str> {
    let padding = token.iter().rev().take_while(|&&byte| byte == b'=').count();
    let body = &token[..token.len() - padding];
    let plain = body.iter().all(|&byte| B64TOKEN[byte as usize]);
    if body.is_empty() || !plain {
        return None;
    }
    str::from_utf8(token).ok()
}

/// The bytes of a b64token but for its padding. A table, because a token is the longest thing that each request brings.
const B64TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        table[byte as usize] = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/');
        byte += 1;
    }
    table
};

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
