//! What is shown to the backend besides headers that it has to believe: signed, and made anew only
//! when it is time.
//!
//! A signature costs 15 microseconds or more, so what was signed for a token is kept with the
//! identity that the token stands for, and shown again until half of its life is over or its key
//! has changed.
//!
//! Must stay true: nobody waits for anybody here; who is anonymous has no proof; where one is
//! promised and cannot be made, the request does not pass.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use http::{HeaderName, HeaderValue};
use prometheus::IntCounter;

use super::identity::{CachedAssertion, Identity};
use crate::{
    dialect::MintClaims,
    entropy::Entropy,
    metrics::Metrics,
    token::{Assertions, Minter, NotSigned, VerifiedClaims},
    types::Timestamp,
};

/// Makes the proofs that one config promises the backend.
#[derive(Debug)]
pub struct UpstreamAssertions {
    assertions: Option<Assertions>,
    backend_tokens: Option<BackendTokenMinter>,
    /// Tells what was made here from what another config made.
    generation: Arc<()>,
    assertion_errors: IntCounter,
    backend_token_errors: IntCounter,
}

/// Makes the tokens that the backend issued itself before.
#[derive(Debug)]
pub struct BackendTokenMinter {
    pub minter: Minter,
    pub claims: MintClaims,
    /// Where one is sent, and what stands before it.
    pub header: HeaderName,
    pub prefix: String,
    pub entropy: Entropy,
}

impl UpstreamAssertions {
    /// `None` for what is not promised.
    pub fn new(
        assertions: Option<Assertions>,
        backend_tokens: Option<BackendTokenMinter>,
        metrics: &Metrics,
    ) -> Self {
        let errors = |kind: &str| metrics.proof_errors.with_label_values(&[kind]);
        let (assertion_errors, backend_token_errors) = (errors("assertion"), errors("mint"));
        Self {
            assertions,
            backend_tokens,
            generation: Arc::default(),
            assertion_errors,
            backend_token_errors,
        }
    }

    /// The signed statement about the caller; `None`: none is promised.
    pub fn assertion(
        &self,
        identity: &Identity,
        now: Timestamp,
    ) -> Result<Option<HeaderValue>, NotSigned> {
        let Some(assertions) = &self.assertions else {
            return Ok(None);
        };
        let cached = &identity.assertions.assertion;
        let value = self.cached_or_signed(
            cached,
            assertions.keys_version(),
            now,
            assertions.ttl(),
            || {
                let (text, keys) = assertions.sign(&identity.claims, now)?;
                Ok((HeaderValue::try_from(text).map_err(|_| NotSigned)?, keys))
            },
        );
        value.map(Some).inspect_err(|_| self.assertion_errors.inc())
    }

    /// The token in the backend's own form, and the header that it is sent in; `None`: none is
    /// promised.
    pub fn backend_token(
        &self,
        identity: &Identity,
        now: Timestamp,
    ) -> Result<Option<(&HeaderName, HeaderValue)>, NotSigned> {
        let Some(backend_tokens) = &self.backend_tokens else {
            return Ok(None);
        };
        let cached = &identity.assertions.backend_token;
        // Its key is the config's: another key comes with another maker.
        let sign = || Ok((backend_tokens.sign(&identity.claims, now)?, 0));
        let value = self.cached_or_signed(cached, 0, now, backend_tokens.minter.ttl(), sign);
        value
            .map(|value| Some((&backend_tokens.header, value)))
            .inspect_err(|_| self.backend_token_errors.inc())
    }

    fn cached_or_signed(
        &self,
        cached: &ArcSwapOption<CachedAssertion>,
        keys: u64,
        now: Timestamp,
        ttl: Duration,
        sign: impl FnOnce() -> Result<(HeaderValue, u64), NotSigned>,
    ) -> Result<HeaderValue, NotSigned> {
        if let Some(cached) = cached.load().as_ref()
            && cached.keys == keys
            // A clock that was set back would keep it past its end.
            && (cached.made_at..cached.renew_at).contains(&now)
            && Arc::ptr_eq(&cached.generation, &self.generation)
        {
            return Ok(cached.value.clone());
        }
        let (mut value, keys) = sign()?;
        value.set_sensitive(true);
        let signed = CachedAssertion {
            generation: self.generation.clone(),
            keys,
            made_at: now,
            renew_at: now.plus(ttl / 2),
            value: value.clone(),
        };
        cached.store(Some(Arc::new(signed)));
        Ok(value)
    }
}

impl BackendTokenMinter {
    fn sign(&self, claims: &VerifiedClaims, now: Timestamp) -> Result<HeaderValue, NotSigned> {
        let mut jti = String::new();
        if self.claims.has_jti() {
            jti = hex::encode(self.entropy.bytes::<16>().map_err(|_| NotSigned)?);
        }
        let token = self.minter.sign(self.claims.fill(claims, &jti, now), now)?;
        HeaderValue::try_from(format!("{}{token}", self.prefix)).map_err(|_| NotSigned)
    }
}

#[cfg(test)]
mod tests;
