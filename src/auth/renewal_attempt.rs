//! The limits of renewals: by address only the rejected ones, by session all of them.
//!
//! Many people can share an address (an office, a carrier's NAT, a cloud function), and their
//! tokens expire together. So a renewal that succeeds costs its address nothing, and a genuine
//! token renews although its address has used up its rejections: a client that loops signs out none
//! of its neighbours. Genuine tokens are bounded by `limits.refresh_per_session`, also those of
//! ended sessions.
//!
//! What a flood of other tokens costs is bounded, from however many addresses: an address gets
//! `limits.refresh_per_ip` checks as they come, and what comes over that is checked by
//! [`MAX_CHECKS_OVER_LIMIT`] at a time in the whole process (one operation of the store, or one
//! signature), in the order of arrival, and is answered 429 where it proves nothing. At most
//! [`MAX_WAITING_OVER_LIMIT`] wait, more are 429 at once. A renewal over the limit of its session
//! counts against its address too, so that one token cannot be checked without end. Malformed
//! refresh tokens wait for nothing and read nothing.
//!
//! Must stay true: a rejection is counted before the token is checked, so that parallel ones share
//! one budget, and refunded when the token was right.

use std::future::Future;

use tokio::sync::Semaphore;

use super::{
    AuthError,
    limits::{Limits, RateLimited},
};
use crate::types::{ClientIp, SessionId};

/// Tokens of addresses over their limit that are checked at a time.
pub(super) const MAX_CHECKS_OVER_LIMIT: usize = 4;

/// Renewals of addresses over their limit that wait to be checked, those that are checked among
/// them.
const MAX_WAITING_OVER_LIMIT: usize = 256;

/// The queue of renewals of addresses over their limit.
#[derive(Debug)]
pub(super) struct OverLimitQueue {
    waiting: Semaphore,
    checks: Semaphore,
}

impl OverLimitQueue {
    pub(super) const fn new() -> Self {
        Self {
            waiting: Semaphore::const_new(MAX_WAITING_OVER_LIMIT),
            checks: Semaphore::const_new(MAX_CHECKS_OVER_LIMIT),
        }
    }
}

/// One renewal, which counts as rejected until it is known not to be.
pub(super) struct RenewalAttempt<'a> {
    limits: &'a Limits,
    queue: &'a OverLimitQueue,
    pub(super) from: ClientIp,
    /// The address is over its limit of rejected renewals.
    limited: Option<RateLimited>,
}

impl<'a> RenewalAttempt<'a> {
    pub(super) fn begin(limits: &'a Limits, queue: &'a OverLimitQueue, from: ClientIp) -> Self {
        let limited = limits.refresh_per_ip.check_uncounted(&from.network()).err();
        Self {
            limits,
            queue,
            from,
            limited,
        }
    }

    /// Checks the token. Over the limit a token that proves nothing is rejected by the limit.
    pub(super) async fn prove<P>(
        &self,
        check: impl Future<Output = Result<P, AuthError>>,
    ) -> Result<P, AuthError> {
        let checked = if let Some(limited) = self.limited {
            let Ok(_waiting) = self.queue.waiting.try_acquire() else {
                self.limits.refresh_per_ip.count_rejection();
                return Err(limited.into());
            };
            // The semaphore is never closed.
            let _turn = self.queue.checks.acquire().await;
            check.await
        } else {
            check.await
        };
        checked.map_err(|error| self.reject(error))
    }

    /// Rejects a token that proves nothing.
    pub(super) fn reject(&self, error: AuthError) -> AuthError {
        match self.limited {
            Some(limited) if error.rejects_renewal() => {
                self.limits.refresh_per_ip.count_rejection();
                limited.into()
            }
            _ => {
                self.finish(Some(&error));
                error
            }
        }
    }

    /// Counts a renewal of the session that the token has proven. Where the session is over its
    /// limit, the renewal stays counted against the address.
    pub(super) fn count_in_session(&self, session: SessionId) -> Result<(), AuthError> {
        self.limits
            .refresh_per_session
            .check(&session)
            .map_err(AuthError::from)
    }

    /// Refunds a renewal that was not rejected.
    pub(super) fn finish(&self, error: Option<&AuthError>) {
        if self.limited.is_none() && !error.is_some_and(AuthError::rejects_renewal) {
            self.limits.refresh_per_ip.refund(&self.from.network());
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
        error::ErrorCode,
        metrics::Metrics,
        types::Timestamp,
    };

    #[tokio::test]
    async fn an_address_over_its_refusals_is_checked_a_few_at_a_time() {
        let config = LimitsConfig {
            refresh_per_ip: Rate::per_minute(2),
            ..LimitsConfig::default()
        };
        let limits = Limits::new(
            &config,
            Clock::manual(Timestamp::from_secs(1_800_000_000)),
            Metrics::new(),
        );
        let queue = OverLimitQueue::new();
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let check = async || {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            now.fetch_sub(1, Ordering::SeqCst);
            Err::<(), _>(AuthError::Rejected(ErrorCode::RefreshInvalid))
        };
        let flood = |last: u8| {
            let (limits, queue, check) = (&limits, &queue, &check);
            async move {
                let from = ClientIp::new([192, 0, 2, last].into());
                RenewalAttempt::begin(limits, queue, from)
                    .prove(check())
                    .await
                    .unwrap_err()
                    .code()
                    .as_str()
            }
        };
        let used_up = join_all([1, 1, 2, 2].map(flood)).await;
        assert_eq!(used_up, ["refresh_invalid"; 4]);
        most.store(0, Ordering::SeqCst);
        let limited = join_all((0..100).map(|n| flood(1 + n % 2))).await;
        assert!(limited.iter().all(|code| *code == "rate_limited"));
        assert_eq!(
            most.load(Ordering::SeqCst),
            MAX_CHECKS_OVER_LIMIT,
            "of both addresses together"
        );
        // Those for which there is no room are not checked, and those whose turn came leave it to
        // the next ones.
        let checked = AtomicUsize::new(0);
        let counted = async || {
            checked.fetch_add(1, Ordering::SeqCst);
            check().await
        };
        let (limits, queue, counted) = (&limits, &queue, &counted);
        let from = ClientIp::new([192, 0, 2, 1].into());
        for _ in 0..2 {
            let crowd = (0..2 * MAX_WAITING_OVER_LIMIT).map(async |_| {
                RenewalAttempt::begin(limits, queue, from)
                    .prove(counted())
                    .await
                    .unwrap_err()
                    .code()
                    .as_str()
            });
            assert!(
                join_all(crowd)
                    .await
                    .iter()
                    .all(|code| *code == "rate_limited")
            );
        }
        assert_eq!(checked.load(Ordering::SeqCst), 2 * MAX_WAITING_OVER_LIMIT);
    }
}
