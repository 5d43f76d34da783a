//! Two rate limiters, each with a bounded table of one entry for each client.
//!
//! The generic cell rate algorithm (ITU-T I.371, annex A) keeps one instant for each client, its
//! theoretical arrival time: a burst of COUNT, then an even flow. The sliding window remembers the
//! time of every request.

use std::{hash::Hash, time::Duration};

use quick_cache::sync::{Cache, EntryAction, EntryResult};

use crate::{config::Rate, types::Timestamp};

/// Over a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimited {
    pub retry_after: Duration,
}

/// A GCRA rate limiter.
pub(super) struct GcraLimiter<K> {
    /// Emission interval: nanoseconds per request.
    cost: u64,
    /// Nanoseconds of a whole burst.
    burst: u64,
    /// Theoretical arrival time of each client, in nanoseconds since the epoch.
    pub(super) table: Cache<K, u64>,
}

impl<K: Eq + Hash + Clone> GcraLimiter<K> {
    pub(super) fn new(rate: Rate, entries: usize) -> Self {
        let cost = nanos(rate.per.get()) / u64::from(rate.count.get());
        let burst = cost.saturating_mul(rate.count.get().into());
        Self {
            cost,
            burst,
            table: Cache::new(entries.max(1)),
        }
    }

    pub(super) fn check(&self, key: &K, now: Timestamp) -> Result<(), RateLimited> {
        let now = now.as_millis().saturating_mul(1_000_000);
        let first = || now.saturating_add(self.cost);
        update_or_insert(&self.table, key, first, |theoretical_arrival| {
            // Never further away than a whole burst, unless the clock was set back.
            let owed = theoretical_arrival.saturating_sub(now).min(self.burst);
            *theoretical_arrival = now.saturating_add(owed);
            let after = owed.saturating_add(self.cost);
            if after > self.burst {
                return Err(RateLimited {
                    retry_after: Duration::from_nanos(after - self.burst),
                });
            }
            *theoretical_arrival = now.saturating_add(after);
            Ok(())
        })
    }

    /// Takes back one request.
    pub(super) fn refund(&self, key: &K) {
        update(&self.table, key, |theoretical_arrival| {
            *theoretical_arrival = theoretical_arrival.saturating_sub(self.cost);
        });
    }
}

/// A sliding window: never more than `max` requests within `length`, wherever the window begins. It
/// stores the time of each request, so it is for small limits.
pub(super) struct SlidingWindowLimiter<K> {
    max: usize,
    length: Duration,
    /// The times of each client's requests, oldest first.
    table: Cache<K, Vec<Timestamp>>,
}

impl<K: Eq + Hash + Clone> SlidingWindowLimiter<K> {
    pub(super) fn new(rate: Rate, entries: usize) -> Self {
        let max = usize::try_from(rate.count.get()).unwrap_or(usize::MAX);
        Self {
            max,
            length: rate.per.get(),
            table: Cache::new(entries.max(1)),
        }
    }

    pub(super) fn check(&self, key: &K, now: Timestamp) -> Result<(), RateLimited> {
        update_or_insert(
            &self.table,
            key,
            || vec![now],
            |hits| {
                // Where the clock was set back, later times count as now.
                hits.retain(|at| now.since(*at) < self.length);
                if let Some(oldest) = hits
                    .len()
                    .checked_sub(self.max)
                    .and_then(|oldest| hits.get(oldest))
                {
                    let retry_after = self.length.saturating_sub(now.since(*oldest));
                    return Err(RateLimited { retry_after });
                }
                hits.push(now);
                Ok(())
            },
        )
    }

    /// Takes back the last request.
    pub(super) fn refund(&self, key: &K) {
        update(&self.table, key, |hits| {
            hits.pop();
        });
    }
}

/// Updates the entry of a key, or inserts its first one, which is within every limit.
fn update_or_insert<K: Eq + Hash + Clone, V: Clone>(
    table: &Cache<K, V>,
    key: &K,
    first: impl FnOnce() -> V,
    update: impl FnOnce(&mut V) -> Result<(), RateLimited>,
) -> Result<(), RateLimited> {
    match table.entry(key, None, |_, value| EntryAction::Retain(update(value))) {
        EntryResult::Retained(outcome) => outcome,
        EntryResult::Vacant(guard) | EntryResult::Replaced(guard, _) => {
            // Fails only when the key was removed meanwhile: then it starts afresh next time.
            let _ = guard.insert(first());
            Ok(())
        }
        // Neither is requested above.
        EntryResult::Removed(..) | EntryResult::Timeout => Ok(()),
    }
}

/// Updates the entry of a key. An evicted key has nothing to update.
fn update<K: Eq + Hash + Clone, V: Clone>(
    table: &Cache<K, V>,
    key: &K,
    update: impl FnOnce(&mut V),
) {
    drop(table.entry(key, None, |_, value| {
        update(value);
        EntryAction::<()>::Retain(())
    }));
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_secs(1_800_000_000);

    #[test]
    fn a_window_holds_wherever_it_begins() {
        let window = SlidingWindowLimiter::new(Rate::per_minute(5), 100);
        let check = |secs: u64| {
            window
                .check(&1, START.plus(Duration::from_secs(secs)))
                .map_err(|limited| limited.retry_after)
        };
        let times = [0, 10, 20, 30, 40];
        assert!(times.iter().all(|secs| check(*secs).is_ok()));
        assert_eq!(check(50), Err(Duration::from_secs(10)));
        assert_eq!(check(59), Err(Duration::from_secs(1)));
        assert_eq!(
            (check(60), check(61)),
            (Ok(()), Err(Duration::from_secs(9))),
            "one went out, one came in"
        );
        window.refund(&1);
        assert_eq!(
            (check(62), check(62)),
            (Ok(()), Err(Duration::from_secs(8)))
        );
        assert!(window.check(&2, START).is_ok());
    }
}
