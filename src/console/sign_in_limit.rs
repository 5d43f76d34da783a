//! How often a token may be tried.
//!
//! Ten wrong ones a minute from one address (of IPv6, from one /64); then even the right one has to wait, so that a guess
//! is not told from another.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::{
    clock::Clock,
    types::{ClientIp, Timestamp},
};

const MAX_ATTEMPTS: u32 = 10;
const WINDOW: Duration = Duration::from_mins(1);
/// Addresses that are counted at a time; where all have failed within the minute, no other is let in.
const MAX_ADDRESSES: usize = 256;

/// The counts of wrong tokens.
pub(super) struct SignInLimit {
    failed: Mutex<HashMap<IpAddr, FailedAttempts>>,
    clock: Clock,
}

struct FailedAttempts {
    since: Timestamp,
    count: u32,
}

impl SignInLimit {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            failed: Mutex::default(),
            clock,
        }
    }

    /// Counts an attempt; `false`: it is one too many and must not be compared.
    pub(super) fn begin(&self, from: ClientIp) -> bool {
        let from = from.network();
        let now = self.clock.monotonic();
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.retain(|_, attempts| now.since(attempts.since) < WINDOW);
        if failed.len() >= MAX_ADDRESSES && !failed.contains_key(&from) {
            return false;
        }
        let attempts = failed.entry(from).or_insert(FailedAttempts {
            since: now,
            count: 0,
        });
        attempts.count = attempts.count.saturating_add(1);
        attempts.count <= MAX_ATTEMPTS
    }

    /// The attempt was right: it does not count.
    pub(super) fn succeed(&self, from: ClientIp) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.remove(&from.network());
    }
}
