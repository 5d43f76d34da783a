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
/// Addresses that are counted at a time; for another one the oldest is forgotten, so that a flood from many
/// locks nobody out. The token is too long to be guessed in what is left.
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
            let oldest = failed.iter().min_by_key(|(_, attempts)| attempts.since);
            if let Some(oldest) = oldest.map(|(address, _)| *address) {
                failed.remove(&oldest);
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_from_many_addresses_locks_nobody_out() {
        let clock = Clock::manual(Timestamp::from_secs(1_800_000_000));
        let limit = SignInLimit::new(clock.clone());
        for n in 0..2 * MAX_ADDRESSES {
            let [high, low] = u16::try_from(n).expect("few").to_be_bytes();
            let from = ClientIp::new(IpAddr::from([10, 0, high, low]));
            assert!(limit.begin(from), "{n}");
            clock.advance(Duration::from_millis(1));
        }
        let counted = limit.failed.lock().expect("no panic").len();
        assert_eq!(counted, MAX_ADDRESSES);
        assert!(limit.begin(ClientIp::LOOPBACK));
    }
}
