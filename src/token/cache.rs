//! A cache of verified tokens, so that a repeated token costs no signature check.
//!
//! A CLOCK cache: tokens stand in a queue in the order of insertion, and a token that was used
//! since its last turn goes to the back of the queue instead of out of the cache. A reader only
//! sets a flag, and never waits.
//!
//! Must stay true: only verified tokens are inserted; the whole token is compared, never a digest;
//! the caller still checks expiry and revocation of a cached value.

use std::{
    hash::BuildHasher,
    sync::atomic::{AtomicBool, Ordering},
};

use crossbeam_queue::SegQueue;
use foldhash::fast::RandomState;

/// A bounded map from tokens to values.
pub struct TokenCache<V> {
    /// By the hash of the token, so that the token itself is held once. Of two tokens with one hash
    /// the newer is cached.
    entries: papaya::HashMap<u64, Entry<V>, RandomState>,
    /// Every key of `entries` once, the next candidate for eviction first.
    queue: SegQueue<u64>,
    /// It has a random seed, and only verified tokens are inserted, so no client can make tokens
    /// meet.
    hasher: RandomState,
    /// Most tokens; 0: nothing is cached.
    capacity: usize,
}

struct Entry<V> {
    token: Box<str>,
    value: V,
    /// Set by readers, cleared when the token gets its second chance.
    used: AtomicBool,
}

/// Most used tokens that get a second chance per insertion: it bounds the work of one.
const MAX_SECOND_CHANCES: usize = 16;

impl<V: Clone> TokenCache<V> {
    /// Caches `capacity` tokens at most, give or take one for each thread; 0 caches none.
    pub fn new(capacity: usize) -> Self {
        Self {
            entries: papaya::HashMap::default(),
            queue: SegQueue::new(),
            hasher: RandomState::default(),
            capacity,
        }
    }

    /// The value of this very token.
    pub fn get(&self, token: &str) -> Option<V> {
        self.get_at(self.hasher.hash_one(token), token)
    }

    fn get_at(&self, key: u64, token: &str) -> Option<V> {
        let entries = self.entries.pin();
        let entry = entries.get(&key).filter(|entry| &*entry.token == token)?;
        // A write would take the cache line from other cores, a read does not.
        if !entry.used.load(Ordering::Relaxed) {
            entry.used.store(true, Ordering::Relaxed);
        }
        Some(entry.value.clone())
    }

    /// Inserts a verified token.
    pub fn insert(&self, token: &str, value: V) {
        if self.capacity > 0 {
            self.insert_at(self.hasher.hash_one(token), token, value);
        }
    }

    fn insert_at(&self, key: u64, token: &str, value: V) {
        let entry = Entry {
            token: token.into(),
            value,
            used: AtomicBool::new(false),
        };
        if self.entries.pin().insert(key, entry).is_none() {
            self.queue.push(key);
            if self.queue.len() > self.capacity {
                self.evict();
            }
        }
    }

    /// Evicts one token: the first in the queue that was not used since its last turn.
    fn evict(&self) {
        let entries = self.entries.pin();
        for chances_left in (0..=MAX_SECOND_CHANCES).rev() {
            let Some(key) = self.queue.pop() else {
                return;
            };
            let was_used = entries
                .get(&key)
                .is_some_and(|entry| entry.used.swap(false, Ordering::Relaxed));
            if was_used && chances_left > 0 {
                self.queue.push(key);
            } else {
                entries.remove(&key);
                return;
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_very_same_token_is_known() {
        let cache = TokenCache::new(10);
        cache.insert("aaaa", 1);
        assert_eq!(cache.get("aaaa"), Some(1));
        for other in ["", "aaa", "aaaab", "aaab", "AAAA"] {
            assert_eq!(cache.get(other), None, "{other:?}");
        }
        cache.insert("aaaa", 2);
        assert_eq!((cache.get("aaaa"), cache.len()), (Some(2), 1));
    }

    #[test]
    fn a_token_with_the_hash_of_another_is_not_that_one() {
        let cache = TokenCache::new(10);
        cache.insert_at(7, "aaaa", 1);
        assert_eq!(cache.get_at(7, "bbbb"), None);
        cache.insert_at(7, "bbbb", 2);
        assert_eq!(
            (cache.get_at(7, "aaaa"), cache.get_at(7, "bbbb")),
            (None, Some(2))
        );
        assert_eq!(cache.len(), 1);
    }

    #[test]
    fn it_never_holds_more_than_it_may() {
        for entries in [1, 2, 7, 100] {
            let cache = TokenCache::new(entries);
            for n in 0..10 * entries {
                cache.insert(&n.to_string(), n);
                assert!(cache.len() <= entries + 1, "{} of {entries}", cache.len());
            }
        }
    }

    #[test]
    fn a_token_in_use_stays_and_one_out_of_use_goes() {
        let cache = TokenCache::new(20);
        cache.insert("used", 0);
        cache.insert("unused", 0);
        for n in 1..1000 {
            cache.insert(&n.to_string(), n);
            assert_eq!(cache.get("used"), Some(0), "after {n}");
        }
        assert_eq!(cache.get("unused"), None);
    }

    #[test]
    fn as_many_as_may_be_remembered_are_remembered_in_whatever_order_they_come_again() {
        let cache = TokenCache::new(1000);
        for n in 0..1000 {
            cache.insert(&n.to_string(), n);
        }
        for n in (0..1000).chain((0..1000).rev()).chain(0..1000) {
            assert_eq!(cache.get(&n.to_string()), Some(n));
        }
        assert_eq!(cache.len(), 1000);
    }

    #[test]
    fn where_all_tokens_are_in_use_one_that_comes_is_remembered_all_the_same() {
        let cache = TokenCache::new(100);
        for n in 0..1000 {
            cache.insert(&n.to_string(), n);
            let in_use = (0..=n)
                .filter(|n| cache.get(&n.to_string()).is_some())
                .count();
            assert_eq!((in_use, cache.get(&n.to_string())), (cache.len(), Some(n)));
        }
        assert_eq!(cache.len(), 100);
    }

    #[test]
    fn nothing_is_remembered_where_nothing_may_be() {
        let cache = TokenCache::new(0);
        cache.insert("token", 1);
        assert_eq!((cache.get("token"), cache.len()), (None, 0));
    }

    #[test]
    fn threads_share_the_bound() {
        let cache = TokenCache::new(100);
        std::thread::scope(|threads| {
            for thread in 0..4 {
                let cache = &cache;
                threads.spawn(move || {
                    for n in 0..5000 {
                        let token = format!("{thread} {n}");
                        cache.insert(&token, n);
                        assert!(cache.get(&token).is_none_or(|value| value == n));
                    }
                });
            }
        });
        assert!(cache.len() <= 104, "{}", cache.len());
    }
}
