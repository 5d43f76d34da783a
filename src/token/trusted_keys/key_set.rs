//! The keys of one external issuer at one moment, and what the follower and the requests share.

use std::sync::atomic::AtomicBool;

use arc_swap::ArcSwap;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use crate::token::{error::TokenError, trusted_key::TrustedKey};

/// Most keys tried for one token.
const MAX_KEYS_TRIED: usize = 8;

/// The state that the task and the requests share.
#[derive(Debug)]
pub(super) struct KeyState {
    pub(super) current: ArcSwap<KeySet>,
    pub(super) refresh_requested: Notify,
    /// The last attempt to get the keys has failed.
    pub(super) failing: AtomicBool,
    /// Whether the first attempt has ended.
    pub(super) first_attempt: watch::Sender<bool>,
}

/// The keys of one moment.
#[derive(Debug, Default)]
pub(in crate::token) struct KeySet {
    /// Increases with each new set.
    pub(super) version: u64,
    pub(super) keys: Vec<TrustedKey>,
    pub(super) digest: [u8; 32],
    pub(super) fetched: Option<Instant>,
    /// The issuer publishes an empty set.
    pub(super) is_withdrawn: bool,
}

impl KeySet {
    pub(in crate::token) const fn version(&self) -> u64 {
        self.version
    }

    /// Checks that one of the keys made this signature.
    pub(in crate::token) fn check(
        &self,
        alg: &str,
        kid: Option<&str>,
        message: &[u8],
        signature: &str,
    ) -> Result<(), TokenError> {
        if self.keys.is_empty() {
            // Withdrawn keys reject a token; missing keys cannot decide about it.
            return Err(if self.is_withdrawn {
                TokenError::UnknownKey
            } else {
                TokenError::NoKeys
            });
        }
        let is_named =
            kid.is_some_and(|kid| self.keys.iter().any(|key| key.kid.as_deref() == Some(kid)));
        let mut candidates = self.keys.iter().filter(|key| match kid {
            Some(kid) if is_named => key.kid.as_deref() == Some(kid),
            Some(_) => key.kid.is_none(),
            None => true,
        });
        let mut fitting = candidates
            .clone()
            .filter(|key| key.algorithm.is_named(alg))
            .take(MAX_KEYS_TRIED)
            .peekable();
        if candidates.next().is_none() {
            Err(TokenError::UnknownKey)
        } else if fitting.peek().is_none() {
            Err(TokenError::Algorithm)
        } else if fitting.any(|key| key.check.accepts(message, signature)) {
            Ok(())
        } else {
            Err(TokenError::Signature)
        }
    }
}
