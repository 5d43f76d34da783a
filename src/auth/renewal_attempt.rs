//! The limits of renewals: by address only those that are refused, by session all of them.
//!
//! Many people can share an address (an office, a carrier's NAT, a cloud function), and their tokens expire together. So a renewal
//! that succeeds costs its address nothing, and a genuine token renews although its address has used up its refusals: a client that
//! loops signs out none of its neighbours. Genuine tokens are bounded by `limits.refresh_per_session`, also those of ended sessions.
//!
//! What a flood of other tokens costs is bounded, from however many addresses: an address gets `limits.refresh_per_ip` checks as they
//! come, and what comes over that is checked by [`MAX_CHECKS_OVER_LIMIT`] at a time in the whole process (one read of the store, or one
//! signature), in the order of arrival, and is answered 429 where it proves nothing. Tokens of the wrong form wait for nothing and
//! read nothing. Those that wait are connections, which `server.max_connections` bounds.
//!
//! Must stay true: a refusal is counted before the token is checked, so that parallel ones share one budget, and given back when it
//! was none.

use std::future::Future;

use tokio::sync::Semaphore;

use super::{
    AuthError,
    limits::{Limits, Over},
};
use crate::types::{ClientIp, SessionId};

/// Tokens of addresses over their limit that are checked at a time.
pub(super) const MAX_CHECKS_OVER_LIMIT: usize = 4;

/// One renewal, which counts as refused until it is known not to be.
pub(super) struct RenewalAttempt<'a> {
    limits: &'a Limits,
    checks_over_limit: &'a Semaphore,
    from: ClientIp,
    /// The address has used up its refusals.
    over: Option<Over>,
}

impl<'a> RenewalAttempt<'a> {
    pub(super) fn begin(limits: &'a Limits, checks_over_limit: &'a Semaphore, from: ClientIp) -> Self {
        let over = limits.refused_refresh(from).err();
        Self { limits, checks_over_limit, from, over }
    }

    /// Checks the token. One that proves nothing is refused by the limit where that is used up.
    pub(super) async fn prove<P>(&self, check: impl Future<Output = Result<P, AuthError>>) -> Result<P, AuthError> {
        let checked = if self.over.is_some() {
            // The semaphore is never closed.
            let _turn = self.checks_over_limit.acquire().await;
            check.await
        } else {
            check.await
        };
        checked.map_err(|error| self.refuse(error))
    }

    /// Refuses a token that proves nothing.
    pub(super) fn refuse(&self, error: AuthError) -> AuthError {
        match self.over {
            Some(over) if error.refuses_a_renewal() => {
                self.limits.count_refused_refresh();
                over.into()
            }
            _ => {
                self.settle(Some(&error));
                error
            }
        }
    }

    /// Counts a renewal of a session that the token has proven.
    pub(super) fn of_session(&self, session: SessionId) -> Result<(), AuthError> {
        self.limits.refresh_in_session(session).map_err(|over| {
            let error = over.into();
            self.settle(Some(&error));
            error
        })
    }

    /// The outcome of the renewal is known: it stays counted only where it was refused.
    pub(super) fn settle(&self, error: Option<&AuthError>) {
        if self.over.is_none() && !error.is_some_and(AuthError::refuses_a_renewal) {
            self.limits.give_back_refused_refresh(self.from);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::join_all;

    use super::*;
    use crate::{
        clock::Clock,
        config::{LimitsConfig, Rate},
        metrics::Metrics,
        types::Timestamp,
    };

    #[tokio::test]
    async fn an_address_over_its_refusals_is_checked_a_few_at_a_time() {
        let config = LimitsConfig { refresh_per_ip: Rate::per_minute(2), ..LimitsConfig::default() };
        let limits = Limits::new(&config, Clock::manual(Timestamp::from_secs(1_800_000_000)), Metrics::new());
        let turns = Semaphore::new(MAX_CHECKS_OVER_LIMIT);
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let check = async || {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            now.fetch_sub(1, Ordering::SeqCst);
            Err::<(), _>(AuthError::RefreshInvalid)
        };
        let flood = |last: u8| {
            let (limits, turns, check) = (&limits, &turns, &check);
            async move {
                let from = ClientIp::new([192, 0, 2, last].into());
                RenewalAttempt::begin(limits, turns, from).prove(check()).await.unwrap_err().code().as_str()
            }
        };
        let used_up = join_all([1, 1, 2, 2].map(flood)).await;
        assert_eq!(used_up, ["refresh_invalid"; 4]);
        most.store(0, Ordering::SeqCst);
        let over = join_all((0..100).map(|n| flood(1 + n % 2))).await;
        assert!(over.iter().all(|code| *code == "rate_limited"));
        assert_eq!(most.load(Ordering::SeqCst), MAX_CHECKS_OVER_LIMIT, "of both addresses together");
    }
}
