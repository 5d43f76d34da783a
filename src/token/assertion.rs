//! Signs assertions: statements about a caller, for a backend that verifies them.
//!
//! Must stay true: an assertion is no access token, and no access token an assertion: they differ
//! in `typ`, `token_use`, `aud` and the claims that they must have.

use std::{sync::Arc, time::Duration};

use super::{
    claims::AssertionPayload, keyring::Keyring, keyrings::Keyrings, verified::VerifiedClaims,
};
use crate::{
    config::{IdentityConfig, TokenConfig},
    types::Timestamp,
};

/// Signs assertions.
#[derive(Debug)]
pub struct Assertions {
    keyrings: Arc<Keyrings>,
    iss: String,
    aud: String,
    ttl: Duration,
}

/// There is no key for it, or signing failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what the backend is shown could not be signed")]
pub struct NotSigned;

impl Assertions {
    /// `None`: not enabled.
    pub fn new(
        keyrings: Arc<Keyrings>,
        tokens: &TokenConfig,
        identity: &IdentityConfig,
    ) -> Option<Self> {
        identity.assertion.then(|| Self {
            keyrings,
            iss: tokens.issuer.clone(),
            aud: identity.assertion_audience.clone(),
            ttl: identity.assertion_ttl.get(),
        })
    }

    /// How long one is valid from the `now` it was signed at.
    pub const fn ttl(&self) -> Duration {
        self.ttl
    }

    /// The version of the current keys.
    pub fn keys_version(&self) -> u64 {
        self.keyrings.version()
    }

    /// The assertion of these claims, and the version of the keys that signed it.
    pub fn sign(
        &self,
        claims: &VerifiedClaims,
        now: Timestamp,
    ) -> Result<(String, u64), NotSigned> {
        let keys = self.keyrings.current();
        let text = self.sign_with(&keys, claims, now)?;
        Ok((text, keys.version()))
    }

    fn sign_with(
        &self,
        keys: &Keyring,
        claims: &VerifiedClaims,
        now: Timestamp,
    ) -> Result<String, NotSigned> {
        let written = AssertionPayload {
            iss: &self.iss,
            aud: &self.aud,
            sub: claims.sub().as_str(),
            sid: claims.sid(),
            iat: now.as_secs(),
            exp: now.plus(self.ttl).as_secs(),
            user_type: claims.user_type().as_str(),
            roles: claims.roles(),
            client_type: claims.client_type(),
            token_use: "assertion",
        };
        keys.sign_assertion(&written).ok_or(NotSigned)
    }
}

#[cfg(test)]
mod tests;
