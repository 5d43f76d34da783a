//! The only reader of time. Everything else takes the time as an argument.
//!
//! There are two: the wall clock, which may be set back, and the monotonic clock, which measures
//! durations. What lasts (tokens, sessions, what is in the store) goes by the wall clock. What is
//! only in this process's memory (rate limits, answers that are kept for a moment) goes by the
//! monotonic one, so that setting the clock neither locks a user out nor keeps anything longer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustix::time::{ClockId, clock_gettime};

use crate::types::Timestamp;

/// The source of time: the system, or a test.
#[derive(Debug, Clone, Default)]
pub enum Clock {
    /// The system's clocks; a wall clock before 1970 reads as 1970.
    #[default]
    System,
    /// Stands still until it is moved.
    Manual(Arc<ManualTime>),
}

/// The times of a manual clock, in milliseconds.
#[derive(Debug)]
pub struct ManualTime {
    wall: AtomicU64,
    monotonic: AtomicU64,
}

impl Clock {
    /// A clock that stands at `now` until [`Clock::advance`] moves it.
    pub fn manual(now: Timestamp) -> Self {
        let hand = || AtomicU64::new(now.as_millis());
        Self::Manual(Arc::new(ManualTime {
            wall: hand(),
            monotonic: hand(),
        }))
    }

    /// What time it is.
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => {
                let since = SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .unwrap_or_default();
                Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
            }
            Self::Manual(time) => Timestamp::from_millis(time.wall.load(Ordering::Acquire)),
        }
    }

    /// A time that is never set back, counted from when the system started: only the difference of
    /// two means something.
    pub fn monotonic(&self) -> Timestamp {
        match self {
            Self::System => {
                let since_boot = clock_gettime(ClockId::Boottime);
                let secs = u64::try_from(since_boot.tv_sec).unwrap_or_default();
                let millis = u64::try_from(since_boot.tv_nsec).unwrap_or_default() / 1_000_000;
                Timestamp::from_millis(secs.saturating_mul(1000).saturating_add(millis))
            }
            Self::Manual(time) => Timestamp::from_millis(time.monotonic.load(Ordering::Acquire)),
        }
    }

    /// Lets time go by on a manual clock; the system's clock is not ours to move, so there it does
    /// nothing.
    pub fn advance(&self, span: Duration) {
        if let Self::Manual(time) = self {
            for hand in [&time.wall, &time.monotonic] {
                hand.fetch_add(
                    u64::try_from(span.as_millis()).unwrap_or(u64::MAX),
                    Ordering::AcqRel,
                );
            }
        }
    }

    /// Sets the wall clock back on a manual clock, as an operator or NTP does.
    pub fn set_back(&self, span: Duration) {
        if let Self::Manual(time) = self {
            time.wall.fetch_sub(
                u64::try_from(span.as_millis()).unwrap_or_default(),
                Ordering::AcqRel,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn setting_the_clock_back_leaves_the_monotonic_one_alone() {
        let clock = Clock::manual(Timestamp::from_secs(1_800_000_000));
        let before = clock.monotonic();
        clock.set_back(Duration::from_hours(1));
        clock.advance(Duration::from_secs(5));
        assert_eq!(clock.monotonic().since(before), Duration::from_secs(5));
        assert_eq!(clock.now(), Timestamp::from_secs(1_800_000_000 - 3600 + 5));
        let system = Clock::System.monotonic();
        assert!(Clock::System.monotonic() >= system && system > Timestamp::default());
    }
}
