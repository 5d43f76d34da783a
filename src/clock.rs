//! The only reader of wall time. Everything else is told what time it is.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::types::Timestamp;

/// Where the time comes from: the system, or a hand that a test turns.
#[derive(Debug, Clone, Default)]
pub enum Clock {
    /// The system's wall clock; a clock before 1970 reads as 1970.
    #[default]
    System,
    /// Stands still until it is moved.
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// A clock that stands at `now` until [`Clock::advance`] moves it.
    pub fn manual(now: Timestamp) -> Self {
        Self::Manual(Arc::new(AtomicU64::new(now.as_millis())))
    }

    /// What time it is.
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
            }
            Self::Manual(millis) => Timestamp::from_millis(millis.load(Ordering::Acquire)),
        }
    }

    /// Moves a manual clock; the system's clock is not ours to move, so there it does nothing.
    pub fn advance(&self, span: Duration) {
        if let Self::Manual(millis) = self {
            millis.fetch_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX), Ordering::AcqRel);
        }
    }
}
