//! The health of a backend, by passive outlier detection (failed requests) and by active health
//! checks.
//!
//! Must stay true: reading it takes no lock and allocates nothing; an unhealthy backend is only
//! used last: when all are unhealthy, all are used.

use std::{
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use prometheus::{IntCounter, IntGaugeVec};

use crate::metrics::Metrics;

/// Consecutive failures, without a response between them, after which a backend is ejected.
const MAX_CONSECUTIVE_FAILURES: u32 = 5;
/// How long the first ejection lasts. Each further one without a response between them lasts twice
/// as long.
const BASE_EJECTION_TIME: Duration = Duration::from_secs(5);
const MAX_EJECTION_TIME: Duration = Duration::from_mins(5);
/// Most further addresses of one backend that one request tries, if connections succeed but are
/// unusable.
const MAX_OTHER_ADDRESSES: usize = 3;

/// The health of one backend.
#[derive(Debug)]
pub(in crate::proxy) struct Health {
    since: Instant,
    /// End of its ejection, in milliseconds since `since`. 0: it is not ejected.
    ejected_until: AtomicU64,
    /// Failures since the last response.
    failures: AtomicU32,
    /// Ejections since the last response.
    consecutive_ejections: AtomicU32,
    /// Its health checks fail.
    down: AtomicBool,
    /// Its name is not resolved.
    unresolved: AtomicBool,
    name: String,
    gauges: IntGaugeVec,
    ejections: IntCounter,
}

/// Consecutive results of one backend's health checks.
#[derive(Debug, Default)]
pub(in crate::proxy) struct CheckCounts {
    passed: u32,
    failed: u32,
}

impl Health {
    /// `name`: the backend's label.
    pub(in crate::proxy) fn new(name: &str, metrics: &Metrics) -> Self {
        Self {
            since: Instant::now(),
            ejected_until: AtomicU64::new(0),
            failures: AtomicU32::new(0),
            consecutive_ejections: AtomicU32::new(0),
            down: AtomicBool::new(false),
            unresolved: AtomicBool::new(false),
            name: name.to_owned(),
            gauges: metrics.upstream_healthy.clone(),
            ejections: metrics.upstream_ejections.with_label_values(&[name]),
        }
    }

    /// Whether it is healthy, so preferred to one that is not.
    pub(in crate::proxy) fn is_healthy(&self) -> bool {
        if self.down.load(Ordering::Relaxed) || self.unresolved.load(Ordering::Relaxed) {
            return false;
        }
        let until = self.ejected_until.load(Ordering::Relaxed);
        until == 0 || self.millis() >= until
    }

    /// Records a failed request: no connection, no response, or an invalid one.
    pub(in crate::proxy) fn report_failure(&self) {
        // Requests to an unresolved backend always fail.
        if self.unresolved.load(Ordering::Relaxed) {
            return;
        }
        if self.failures.fetch_add(1, Ordering::Relaxed) + 1 < MAX_CONSECUTIVE_FAILURES
            || !self.is_healthy()
        {
            return;
        }
        let before = self
            .consecutive_ejections
            .fetch_add(1, Ordering::Relaxed)
            .min(16);
        let ejection_time = BASE_EJECTION_TIME
            .saturating_mul(1 << before)
            .min(MAX_EJECTION_TIME);
        let until = self
            .millis()
            .saturating_add(u64::try_from(ejection_time.as_millis()).unwrap_or(u64::MAX));
        self.ejected_until.store(until, Ordering::Relaxed);
        self.ejections.inc();
        self.update_gauge();
    }

    /// Records whether its name is resolved; if not, it is unhealthy.
    pub(in crate::proxy) fn set_resolved(&self, resolved: bool) {
        self.unresolved.store(!resolved, Ordering::Relaxed);
    }

    /// Records a response, whatever its status.
    pub(in crate::proxy) fn report_response(&self) {
        // Read first: there is rarely anything to change, so cores do not contend for the cache
        // line.
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
            self.consecutive_ejections.store(0, Ordering::Relaxed);
            self.ejected_until.store(0, Ordering::Relaxed);
        }
    }

    /// Records the result of a health check. `down_after` and `up_after`: consecutive results that
    /// change the state. Returns the new state if it has changed.
    pub(in crate::proxy) fn report_check(
        &self,
        passed: bool,
        counts: &mut CheckCounts,
        down_after: u32,
        up_after: u32,
    ) -> Option<bool> {
        (counts.passed, counts.failed) = if passed {
            (counts.passed + 1, 0)
        } else {
            (0, counts.failed + 1)
        };
        let down = self.down.load(Ordering::Relaxed);
        let changed = if down {
            counts.passed >= up_after
        } else {
            counts.failed >= down_after
        };
        if changed {
            self.down.store(!down, Ordering::Relaxed);
        }
        self.update_gauge();
        changed.then_some(down)
    }

    /// Updates the gauge. Called regularly, because an ejection ends without an event.
    pub(in crate::proxy) fn update_gauge(&self) {
        self.gauges
            .with_label_values(&[&self.name])
            .set(i64::from(self.is_healthy()));
    }

    /// Failures since the last response.
    #[cfg(test)]
    pub(in crate::proxy) fn failures(&self) -> u32 {
        self.failures.load(Ordering::Relaxed)
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// The backends that one request has attempted.
#[derive(Debug, Default, Clone, Copy)]
pub(in crate::proxy) struct AttemptedBackends {
    backends: u64,
    /// The backend to retry next, at another address.
    retry: Option<u8>,
    /// Retries of the current backend.
    retries: u8,
}

impl AttemptedBackends {
    /// Most backends that can be tracked.
    pub(in crate::proxy) const MAX: usize = 64;

    /// The next backend that was not attempted, a healthy one if possible. `turn` spreads requests.
    /// `None`: all were attempted.
    pub(in crate::proxy) fn next(
        &mut self,
        all: usize,
        turn: usize,
        is_healthy: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        if let Some(retry) = self.retry.take() {
            return Some(retry.into());
        }
        let all = all.min(Self::MAX);
        let is_untried = |at: usize| self.backends & (1 << at) == 0;
        let nth = |of: &dyn Fn(usize) -> bool| {
            let count = (0..all).filter(|at| of(*at)).count();
            if count == 0 {
                None
            } else {
                (0..all).filter(|at| of(*at)).nth(turn % count)
            }
        };
        let chosen = nth(&|at| is_untried(at) && is_healthy(at)).or_else(|| nth(&is_untried))?;
        self.backends |= 1 << chosen;
        self.retries = 0;
        Some(chosen)
    }

    /// Makes this backend the next one once more, if it has an address left to try. `others`:
    /// number of its other addresses.
    pub(in crate::proxy) fn retry_at_other_address(&mut self, at: usize, others: usize) -> bool {
        let may = usize::from(self.retries) < others.min(MAX_OTHER_ADDRESSES);
        if may {
            self.retries += 1;
            self.retry = u8::try_from(at).ok();
        }
        may
    }

    /// Starts over with the backends that are not in `excluded`, one bit each.
    pub(in crate::proxy) const fn restart(excluded: u64) -> Self {
        Self {
            backends: excluded,
            retry: None,
            retries: 0,
        }
    }

    /// Whether a backend is left to try.
    pub(in crate::proxy) fn has_untried(self, all: usize) -> bool {
        self.retry.is_some() || (self.backends.count_ones() as usize) < all.min(Self::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn health() -> Health {
        Health::new("a", &Metrics::new())
    }

    fn gauge(health: &Health) -> i64 {
        health.gauges.with_label_values(&["a"]).get()
    }

    #[test]
    fn failures_in_a_row_eject_and_an_answer_brings_back() {
        let health = health();
        for _ in 0..3 {
            (1..MAX_CONSECUTIVE_FAILURES).for_each(|_| health.report_failure());
            assert!(health.is_healthy());
            health.report_response();
        }
        (0..MAX_CONSECUTIVE_FAILURES).for_each(|_| health.report_failure());
        assert!(!health.is_healthy());
        assert_eq!((gauge(&health), health.ejections.get()), (0, 1));
        // Failures of requests that were in flight cause no further ejection.
        (0..MAX_CONSECUTIVE_FAILURES).for_each(|_| health.report_failure());
        assert_eq!(health.ejections.get(), 1);
        health.report_response();
        assert!(health.is_healthy());
        health.update_gauge();
        assert_eq!(gauge(&health), 1);
    }

    #[test]
    fn a_pause_grows_each_time_and_has_an_end() {
        let health = health();
        let mut seconds = Vec::new();
        for _ in 0..12 {
            health.ejected_until.store(0, Ordering::Relaxed);
            (0..MAX_CONSECUTIVE_FAILURES).for_each(|_| health.report_failure());
            seconds.push(health.ejected_until.load(Ordering::Relaxed) / 1000);
        }
        assert_eq!((seconds[0], seconds[1], seconds[2]), (5, 10, 20));
        assert!(seconds.windows(2).all(|pair| pair[0] <= pair[1]));
        assert_eq!(seconds[11], MAX_EJECTION_TIME.as_secs());
    }

    #[test]
    fn checks_have_to_agree_before_anything_changes() {
        let (health, mut counts) = (health(), CheckCounts::default());
        let mut check = |good| health.report_check(good, &mut counts, 3, 2);
        assert_eq!(
            [false, false, true, false, false].map(&mut check),
            [None; 5]
        );
        assert!(health.is_healthy());
        assert_eq!(check(false), Some(false));
        assert!(!health.is_healthy());
        assert_eq!([true, false, true].map(&mut check), [None; 3]);
        assert_eq!(check(true), Some(true));
        assert!(health.is_healthy());
    }

    proptest! {
        #[test]
        fn every_backend_is_tried_once_the_good_ones_first(all in 1_usize..=64, turn in any::<usize>(), good in any::<u64>()) {
            let is_healthy = |at: usize| good & (1 << at) != 0;
            let mut attempted = AttemptedBackends::default();
            let mut order = Vec::new();
            while let Some(at) = attempted.next(all, turn, is_healthy) {
                order.push(at);
                prop_assert_eq!(attempted.has_untried(all), order.len() < all);
            }
            prop_assert!(order.is_sorted_by_key(|at| !is_healthy(*at)));
            order.sort_unstable();
            prop_assert!(order.into_iter().eq(0..all));
        }
    }

    #[test]
    fn turns_spread_over_the_good_ones_evenly() {
        let mut taken = [0; 4];
        for turn in 0..300 {
            taken[AttemptedBackends::default()
                .next(4, turn, |at| at != 2)
                .unwrap()] += 1;
        }
        assert_eq!(taken, [100, 100, 0, 100]);
    }
}
