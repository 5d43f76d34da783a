//! Signed headers for the backend (assertions and tokens in its own form), cached and signed again
//! only when due.
//!
//! A signature costs 15 microseconds or more, so a signed value is cached with the identity of its
//! token, and sent until half of its lifetime is over or its key has changed.
//!
//! Must stay true: no lock is waited for; an anonymous request has no signed header; where one is
//! configured and cannot be signed, the request does not pass.

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

/// Signs the headers that one config promises the backend.
#[derive(Debug)]
pub struct UpstreamAssertions {
    assertions: Option<Assertions>,
    backend_tokens: Option<BackendTokenMinter>,
    /// Tells values signed under this config from those of another one.
    generation: Arc<()>,
    assertion_errors: IntCounter,
    backend_token_errors: IntCounter,
}

/// Mints tokens in the form that the backend issued itself before menshen.
#[derive(Debug)]
pub struct BackendTokenMinter {
    pub minter: Minter,
    pub claims: MintClaims,
    /// The header of the token, and the prefix of its value.
    pub header: HeaderName,
    pub prefix: String,
    pub entropy: Entropy,
}

impl UpstreamAssertions {
    /// `None`: not configured.
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

    /// The signed assertion about the caller; `None`: not configured.
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

    /// The token in the backend's own form, and its header; `None`: not configured.
    pub fn backend_token(
        &self,
        identity: &Identity,
        now: Timestamp,
    ) -> Result<Option<(&HeaderName, HeaderValue)>, NotSigned> {
        let Some(backend_tokens) = &self.backend_tokens else {
            return Ok(None);
        };
        let cached = &identity.assertions.backend_token;
        // Its key is in the config: another key comes with another generation.
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
            // Without the lower bound a clock that was set back would keep it past its end.
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
        let token = self
            .minter
            .sign(self.claims.render(claims, &jti, now), now)?;
        HeaderValue::try_from(format!("{}{token}", self.prefix)).map_err(|_| NotSigned)
    }
}

#[cfg(test)]
mod tests;
