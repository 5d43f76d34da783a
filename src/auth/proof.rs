//! What is shown to the backend besides headers that it has to believe: signed, and made anew only
//! when it is time.
//!
//! A signature costs 15 microseconds or more, so what was signed for a token is kept with the
//! identity that the token stands for, and shown again until half of its life is over or its key
//! has changed.
//!
//! Must stay true: nobody waits for anybody here; who is anonymous has no proof; where one is
//! promised and cannot be made, the request does not pass.

use std::{fmt, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use http::{HeaderName, HeaderValue};
use prometheus::IntCounter;

use super::Identity;
use crate::{
    dialect::MintClaims,
    entropy::Entropy,
    metrics::Metrics,
    token::{Assertions, Minter, NotSigned, Verified},
    types::Timestamp,
};

/// Makes the proofs that one config promises the backend.
#[derive(Debug)]
pub struct Proofs {
    assertions: Option<Assertions>,
    minting: Option<Minting>,
    /// Tells what was made here from what another config made.
    maker: Arc<()>,
    assertion_errors: IntCounter,
    minting_errors: IntCounter,
}

/// Makes the tokens that the backend issued itself before.
#[derive(Debug)]
pub struct Minting {
    pub minter: Minter,
    pub claims: MintClaims,
    /// Where one is sent, and what stands before it.
    pub header: HeaderName,
    pub prefix: String,
    pub entropy: Entropy,
}

/// The proofs of one identity that have been made. A copy has none: they are made again.
#[derive(Default)]
pub struct KeptProofs {
    assertion: ArcSwapOption<Kept>,
    minted: ArcSwapOption<Kept>,
}

/// One that has been made.
struct Kept {
    maker: Arc<()>,
    /// The version of the keys that signed it.
    keys: u64,
    made_at: Timestamp,
    renew_at: Timestamp,
    value: HeaderValue,
}

impl Proofs {
    /// `None` for what is not promised.
    pub fn new(
        assertions: Option<Assertions>,
        minting: Option<Minting>,
        metrics: &Metrics,
    ) -> Self {
        let errors = |kind: &str| metrics.proof_errors.with_label_values(&[kind]);
        let (assertion_errors, minting_errors) = (errors("assertion"), errors("mint"));
        Self {
            assertions,
            minting,
            maker: Arc::default(),
            assertion_errors,
            minting_errors,
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
        let kept = &identity.proofs.assertion;
        let value = self.kept_or_made(
            kept,
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
    pub fn minted(
        &self,
        identity: &Identity,
        now: Timestamp,
    ) -> Result<Option<(&HeaderName, HeaderValue)>, NotSigned> {
        let Some(minting) = &self.minting else {
            return Ok(None);
        };
        let kept = &identity.proofs.minted;
        // Its key is the config's: another key comes with another maker.
        let sign = || Ok((minting.sign(&identity.claims, now)?, 0));
        let value = self.kept_or_made(kept, 0, now, minting.minter.ttl(), sign);
        value
            .map(|value| Some((&minting.header, value)))
            .inspect_err(|_| self.minting_errors.inc())
    }

    fn kept_or_made(
        &self,
        kept: &ArcSwapOption<Kept>,
        keys: u64,
        now: Timestamp,
        ttl: Duration,
        sign: impl FnOnce() -> Result<(HeaderValue, u64), NotSigned>,
    ) -> Result<HeaderValue, NotSigned> {
        if let Some(kept) = kept.load().as_ref()
            && kept.keys == keys
            // A clock that was set back would keep it past its end.
            && (kept.made_at..kept.renew_at).contains(&now)
            && Arc::ptr_eq(&kept.maker, &self.maker)
        {
            return Ok(kept.value.clone());
        }
        let (mut value, keys) = sign()?;
        value.set_sensitive(true);
        let made = Kept {
            maker: self.maker.clone(),
            keys,
            made_at: now,
            renew_at: now.plus(ttl / 2),
            value: value.clone(),
        };
        kept.store(Some(Arc::new(made)));
        Ok(value)
    }
}

impl Minting {
    fn sign(&self, claims: &Verified, now: Timestamp) -> Result<HeaderValue, NotSigned> {
        let mut jti = String::new();
        if self.claims.has_jti() {
            jti = hex::encode(self.entropy.bytes::<16>().map_err(|_| NotSigned)?);
        }
        let token = self.minter.sign(self.claims.fill(claims, &jti, now), now)?;
        HeaderValue::try_from(format!("{}{token}", self.prefix)).map_err(|_| NotSigned)
    }
}

impl Clone for KeptProofs {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// They say nothing of who somebody is.
impl PartialEq for KeptProofs {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for KeptProofs {}

/// They are credentials.
impl fmt::Debug for KeptProofs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeptProofs")
    }
}

#[cfg(test)]
mod tests;
