//! Whether a backend is to be used: by what its requests came to, and by checks of its own.
//!
//! Must stay true: asking takes no lock and allocates nothing; a backend is only ever passed over,
//! never given up: when none would be used, all are.

use std::{
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use prometheus::{IntCounter, IntGaugeVec};

use crate::metrics::Metrics;

/// Failures one after the other, with no answer between them, for which a backend is passed over.
const STRIKES: u32 = 5;
/// For how long at first; twice as long each time it happens again without an answer between.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_mins(5);
/// Further addresses of one backend that one request tries where connections come about and are no
/// good.
const MAX_AGAIN: usize = 3;

/// What is known of one backend.
#[derive(Debug)]
pub(in crate::proxy) struct Health {
    since: Instant,
    /// Milliseconds from `since`, until which it is passed over; 0: it is not.
    paused_until: AtomicU64,
    /// Failures since the last answer.
    strikes: AtomicU32,
    /// Pauses since the last answer.
    pauses: AtomicU32,
    /// Its checks say that it is down.
    down: AtomicBool,
    /// It is not known where it is.
    unresolved: AtomicBool,
    name: String,
    gauges: IntGaugeVec,
    ejections: IntCounter,
}

/// How the checks of one backend have gone lately.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Tally {
    good: u32,
    bad: u32,
}

impl Health {
    /// `name` is the backend's label: from the config, so one of few.
    pub(in crate::proxy) fn new(name: &str, metrics: &Metrics) -> Self {
        Self {
            since: Instant::now(),
            paused_until: AtomicU64::new(0),
            strikes: AtomicU32::new(0),
            pauses: AtomicU32::new(0),
            down: AtomicBool::new(false),
            unresolved: AtomicBool::new(false),
            name: name.to_owned(),
            gauges: metrics.upstream_healthy.clone(),
            ejections: metrics.upstream_ejections.with_label_values(&[name]),
        }
    }

    /// Whether it is to be used, if there is a choice.
    pub(in crate::proxy) fn is_good(&self) -> bool {
        if self.down.load(Ordering::Relaxed) || self.unresolved.load(Ordering::Relaxed) {
            return false;
        }
        let until = self.paused_until.load(Ordering::Relaxed);
        until == 0 || self.millis() >= until
    }

    /// A request failed by its doing: no connection, no answer, an answer that is none.
    pub(in crate::proxy) fn failed(&self) {
        // That no request reaches it then says nothing about it.
        if self.unresolved.load(Ordering::Relaxed) {
            return;
        }
        if self.strikes.fetch_add(1, Ordering::Relaxed) + 1 < STRIKES || !self.is_good() {
            return;
        }
        let before = self.pauses.fetch_add(1, Ordering::Relaxed).min(16);
        let pause = FIRST_PAUSE.saturating_mul(1 << before).min(LONGEST_PAUSE);
        let until = self
            .millis()
            .saturating_add(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
        self.paused_until.store(until, Ordering::Relaxed);
        self.ejections.inc();
        self.show();
    }

    /// Whether it is known where it is: a backend whose name cannot be resolved is unhealthy.
    pub(in crate::proxy) fn set_resolved(&self, resolved: bool) {
        self.unresolved.store(!resolved, Ordering::Relaxed);
    }

    /// It has answered, whatever it said.
    pub(in crate::proxy) fn answered(&self) {
        // Looked at first: nearly always there is nothing to change, and cores need not fight over
        // it.
        if self.strikes.load(Ordering::Relaxed) != 0 {
            self.strikes.store(0, Ordering::Relaxed);
            self.pauses.store(0, Ordering::Relaxed);
            self.paused_until.store(0, Ordering::Relaxed);
        }
    }

    /// One more check has gone so. `down_after` and `up_after`: how many in a row make a
    /// difference.
    pub(in crate::proxy) fn checked(
        &self,
        good: bool,
        tally: &mut Tally,
        down_after: u32,
        up_after: u32,
    ) -> Option<bool> {
        (tally.good, tally.bad) = if good {
            (tally.good + 1, 0)
        } else {
            (0, tally.bad + 1)
        };
        let down = self.down.load(Ordering::Relaxed);
        let changed = if down {
            tally.good >= up_after
        } else {
            tally.bad >= down_after
        };
        if changed {
            self.down.store(!down, Ordering::Relaxed);
        }
        self.show();
        changed.then_some(down)
    }

    /// Brings the gauge up to date: a pause ends without anybody noticing.
    pub(in crate::proxy) fn show(&self) {
        self.gauges
            .with_label_values(&[&self.name])
            .set(i64::from(self.is_good()));
    }

    /// Failures since the last answer.
    #[cfg(test)]
    pub(in crate::proxy) fn failures(&self) -> u32 {
        self.strikes.load(Ordering::Relaxed)
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// The backends that one request has tried.
#[derive(Debug, Default, Clone, Copy)]
pub(in crate::proxy) struct Tried {
    backends: u64,
    /// The one to try next, at another address.
    again: Option<u8>,
    /// How often that has been so for this backend.
    times_again: u8,
}

impl Tried {
    /// Most backends that can be told apart.
    pub(in crate::proxy) const MOST: usize = 64;

    /// The next one to try, of those not yet tried: a good one where there is one. `turn` spreads
    /// requests. `None`: all were tried.
    pub(in crate::proxy) fn next(
        &mut self,
        all: usize,
        turn: usize,
        is_good: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        if let Some(again) = self.again.take() {
            return Some(again.into());
        }
        let all = all.min(Self::MOST);
        let left = |at: usize| self.backends & (1 << at) == 0;
        let nth = |of: &dyn Fn(usize) -> bool| {
            let count = (0..all).filter(|at| of(*at)).count();
            if count == 0 {
                None
            } else {
                (0..all).filter(|at| of(*at)).nth(turn % count)
            }
        };
        let chosen = nth(&|at| left(at) && is_good(at)).or_else(|| nth(&left))?;
        self.backends |= 1 << chosen;
        self.times_again = 0;
        Some(chosen)
    }

    /// The next one to try is this one once more, at another of its addresses, of which there are
    /// so many. `false`: those have had their turn.
    pub(in crate::proxy) fn try_again(&mut self, at: usize, others: usize) -> bool {
        let may = usize::from(self.times_again) < others.min(MAX_AGAIN);
        if may {
            self.times_again += 1;
            self.again = u8::try_from(at).ok();
        }
        may
    }

    /// Begins again with those that are not in `spent`, a bit for each backend.
    pub(in crate::proxy) const fn begin_again(spent: u64) -> Self {
        Self {
            backends: spent,
            again: None,
            times_again: 0,
        }
    }

    /// Whether there is another one.
    pub(in crate::proxy) fn has_left(self, all: usize) -> bool {
        self.again.is_some() || (self.backends.count_ones() as usize) < all.min(Self::MOST)
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
            (1..STRIKES).for_each(|_| health.failed());
            assert!(health.is_good());
            health.answered();
        }
        (0..STRIKES).for_each(|_| health.failed());
        assert!(!health.is_good());
        assert_eq!((gauge(&health), health.ejections.get()), (0, 1));
        // More failures of requests that were on their way are no more ejections.
        (0..STRIKES).for_each(|_| health.failed());
        assert_eq!(health.ejections.get(), 1);
        health.answered();
        assert!(health.is_good());
        health.show();
        assert_eq!(gauge(&health), 1);
    }

    #[test]
    fn a_pause_grows_each_time_and_has_an_end() {
        let health = health();
        let mut pauses = Vec::new();
        for _ in 0..12 {
            health.paused_until.store(0, Ordering::Relaxed);
            (0..STRIKES).for_each(|_| health.failed());
            pauses.push(health.paused_until.load(Ordering::Relaxed) / 1000);
        }
        assert_eq!((pauses[0], pauses[1], pauses[2]), (5, 10, 20));
        assert!(pauses.windows(2).all(|pair| pair[0] <= pair[1]));
        assert_eq!(pauses[11], LONGEST_PAUSE.as_secs());
    }

    #[test]
    fn checks_have_to_agree_before_anything_changes() {
        let (health, mut tally) = (health(), Tally::default());
        let mut check = |good| health.checked(good, &mut tally, 3, 2);
        assert_eq!(
            [false, false, true, false, false].map(&mut check),
            [None; 5]
        );
        assert!(health.is_good());
        assert_eq!(check(false), Some(false));
        assert!(!health.is_good());
        assert_eq!([true, false, true].map(&mut check), [None; 3]);
        assert_eq!(check(true), Some(true));
        assert!(health.is_good());
    }

    proptest! {
        #[test]
        fn every_backend_is_tried_once_the_good_ones_first(all in 1_usize..=64, turn in any::<usize>(), good in any::<u64>()) {
            let is_good = |at: usize| good & (1 << at) != 0;
            let mut tried = Tried::default();
            let mut order = Vec::new();
            while let Some(at) = tried.next(all, turn, is_good) {
                order.push(at);
                prop_assert_eq!(tried.has_left(all), order.len() < all);
            }
            prop_assert!(order.is_sorted_by_key(|at| !is_good(*at)));
            order.sort_unstable();
            prop_assert!(order.into_iter().eq(0..all));
        }
    }

    #[test]
    fn turns_spread_over_the_good_ones_evenly() {
        let mut taken = [0; 4];
        for turn in 0..300 {
            taken[Tried::default().next(4, turn, |at| at != 2).unwrap()] += 1;
        }
        assert_eq!(taken, [100, 100, 0, 100]);
    }
}
