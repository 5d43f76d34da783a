//! Numbers that this process has taken in a block from a record that all processes share: the next
//! ids of users, and messages of a day. So most operations that need one do not touch that record.
//!
//! Must stay true: a number is used by one operation that is committed, or by none. One whose
//! operation came to nothing is given back; one whose commit got lost is not used again.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::store::engine::NumberPool;

/// What a process holds of one pool.
#[derive(Debug, Default)]
struct Held {
    tag: u64,
    free: BTreeSet<u64>,
}

/// All that a process holds.
#[derive(Debug, Default)]
pub(super) struct Numbers(Mutex<BTreeMap<&'static [u8], Held>>);

impl Numbers {
    fn held(&self) -> MutexGuard<'_, BTreeMap<&'static [u8], Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lowest number of a pool; none where what is held has another tag, which voids it.
    pub(super) fn take(&self, pool: NumberPool) -> Option<u64> {
        let mut held = self.held();
        let held = held.get_mut(pool.key)?;
        if held.tag != pool.tag {
            held.free.clear();
            return None;
        }
        held.free = held.free.split_off(&pool.at_least);
        held.free.pop_first()
    }

    /// Adds numbers.
    pub(super) fn add(&self, pool: NumberPool, numbers: Range<u64>) {
        let mut held = self.held();
        let held = held.entry(pool.key).or_default();
        if held.tag != pool.tag {
            *held = Held {
                tag: pool.tag,
                free: BTreeSet::new(),
            };
        }
        held.free.extend(numbers);
    }

    /// Gives a number back that was not used, unless its pool has been voided since.
    pub(super) fn give_back(&self, pool: NumberPool, number: u64) {
        if let Some(held) = self.held().get_mut(pool.key)
            && held.tag == pool.tag
        {
            held.free.insert(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn pool(tag: u64, at_least: u64) -> NumberPool {
        NumberPool {
            key: b"m/next",
            tag,
            at_least,
        }
    }

    #[test]
    fn numbers_come_in_order_and_once() {
        let numbers = Numbers::default();
        assert_eq!(numbers.take(pool(1, 0)), None);
        numbers.add(pool(1, 0), 5..9);
        assert_eq!(numbers.take(pool(1, 0)), Some(5));
        assert_eq!(numbers.take(pool(1, 7)), Some(7), "6 is below the first");
        numbers.give_back(pool(1, 0), 7);
        assert_eq!(numbers.take(pool(1, 0)), Some(7));
        assert_eq!(numbers.take(pool(1, 0)), Some(8));
        assert_eq!(numbers.take(pool(1, 0)), None);
    }

    #[test]
    fn another_tag_voids_what_is_held() {
        let numbers = Numbers::default();
        numbers.add(pool(1, 0), 5..9);
        assert_eq!(numbers.take(pool(2, 0)), None);
        assert_eq!(numbers.take(pool(1, 0)), None);
        numbers.add(pool(2, 0), 20..21);
        numbers.give_back(pool(1, 0), 6);
        assert_eq!(numbers.take(pool(2, 0)), Some(20));
        assert_eq!(numbers.take(pool(2, 0)), None);
    }
}
