//! The compact serialization of a JWS (RFC 7515 section 7.1).
//!
//! Must stay true: nothing longer than [`MAX_TOKEN_LEN`] is looked at, and base64url has one
//! spelling.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::error::TokenError;

/// Longest token, in bytes.
pub(super) const MAX_TOKEN_LEN: usize = 8 * 1024;

/// The parts of a token, each still in base64url.
#[derive(Clone, Copy)]
pub(super) struct CompactJws<'t> {
    /// What the signature is over: header and payload.
    pub(super) signing_input: &'t str,
    pub(super) header: &'t str,
    /// With a dot in it where the text has more than three parts; base64url has none.
    pub(super) payload: &'t str,
    pub(super) signature: &'t str,
}

impl<'t> CompactJws<'t> {
    /// Splits a token whose signature may be empty.
    pub(super) fn split(token: &'t str) -> Result<Self, TokenError> {
        if token.len() > MAX_TOKEN_LEN {
            return Err(TokenError::TooLong);
        }
        let (signing_input, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, payload) = signing_input.split_once('.').ok_or(TokenError::Malformed)?;
        Ok(Self {
            signing_input,
            header,
            payload,
            signature,
        })
    }

    /// Splits a token that has a signature.
    pub(super) fn split_signed(token: &'t str) -> Result<Self, TokenError> {
        Self::split(token).and_then(|jws| match jws.signature {
            "" => Err(TokenError::Malformed),
            _ => Ok(jws),
        })
    }
}

/// The bytes of a part, which has to be canonical base64url.
pub(super) fn decode(part: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| TokenError::Malformed)
}
