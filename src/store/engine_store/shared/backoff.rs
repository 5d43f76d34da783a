//! How long a call waits before its next attempt.

use std::time::Duration;

/// The longest wait after the first conflict; it doubles with each further one.
pub(super) const FIRST_BACKOFF: Duration = Duration::from_millis(10);
/// The longest wait between two attempts.
pub(super) const MAX_BACKOFF: Duration = Duration::from_millis(160);

/// How long to wait before the next attempt: a random time, up to a bound that doubles.
pub(super) struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(FIRST_BACKOFF)
    }
}

impl Backoff {
    /// The next wait, by a random number.
    pub(super) fn next(&mut self, random: u32) -> Duration {
        let longest = self.0;
        self.0 = (longest * 2).min(MAX_BACKOFF);
        longest.mul_f64(f64::from(random) / f64::from(u32::MAX))
    }
}
