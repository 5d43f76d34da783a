//! Verified tokens remembered, so that a token seen before costs no signature check.
//!
//! Two generations: what is verified goes into the younger; when that holds half of what is allowed, it becomes the older
//! and the one before is dropped whole. A token in use moves along, a token out of use is gone after two turns, and no
//! reader ever waits for either.
//!
//! Must stay true: only what has been verified gets in; the whole token is compared, never a digest; whoever takes a value
//! out still checks what time and revocation can change.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;

/// A bounded map from token to what is known of it.
pub struct TokenCache<V> {
    generations: ArcSwap<Generations<V>>,
    /// Most tokens in one generation; 0: nothing is remembered.
    half: usize,
}

struct Generations<V> {
    young: Arc<Generation<V>>,
    old: Arc<Generation<V>>,
}

/// The hash has a random seed, and strangers cannot put anything in, so nobody can make it slow.
struct Generation<V> {
    tokens: papaya::HashMap<Box<str>, V, RandomState>,
    held: AtomicUsize,
}

impl<V: Clone + Send + Sync + 'static> TokenCache<V> {
    /// Remembers `entries` tokens at most, give or take one for each thread; 0 remembers none.
    pub fn new(entries: usize) -> Self {
        let generations = Generations { young: Generation::with_room(0), old: Generation::with_room(0) };
        Self { generations: ArcSwap::from_pointee(generations), half: entries.div_ceil(2) }
    }

    /// What is known of this very token.
    pub fn get(&self, token: &str) -> Option<V> {
        let generations = self.generations.load();
        if let Some(value) = generations.young.tokens.pin().get(token) {
            return Some(value.clone());
        }
        let value = generations.old.tokens.pin().get(token).cloned()?;
        // In use: it moves to the younger generation, once for each turn.
        self.insert(token, value.clone());
        Some(value)
    }

    /// Remembers a token that has been verified.
    pub fn insert(&self, token: &str, value: V) {
        if self.half == 0 {
            return;
        }
        let generations = self.generations.load();
        let young = &generations.young;
        let another = young.tokens.pin().insert(token.into(), value).is_none();
        if another && young.held.fetch_add(1, Ordering::Relaxed) + 1 >= self.half {
            let turned = Generations { young: Generation::with_room(self.half), old: Arc::clone(young) };
            let forgotten = Arc::clone(&generations.old);
            // Of several that find it full one turns it.
            let found = self.generations.compare_and_swap(&generations, Arc::new(turned));
            drop(generations);
            if Arc::ptr_eq(&found.old, &forgotten) {
                forget(forgotten);
            }
        }
    }

    /// How many tokens are remembered; one in both generations counts twice.
    pub fn len(&self) -> usize {
        let generations = self.generations.load();
        generations.young.tokens.len() + generations.old.tokens.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<V> Generation<V> {
    /// An empty one; room beforehand spares a busy gate from moving what it has just put in.
    fn with_room(tokens: usize) -> Arc<Self> {
        let tokens = papaya::HashMap::with_capacity_and_hasher(tokens, RandomState::default());
        Arc::new(Self { tokens, held: AtomicUsize::new(0) })
    }
}

/// Frees a generation in a thread of its own: thousands of tokens at once would hold up every request of this worker.
fn forget<V: Send + Sync + 'static>(generation: Arc<Generation<V>>) {
    // Where there is no thread to be had, it is freed here after all.
    drop(std::thread::Builder::new().name("forget-tokens".to_owned()).spawn(move || drop(generation)));
}

impl<V> fmt::Debug for TokenCache<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenCache").field("half", &self.half).finish_non_exhaustive()
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
    fn nothing_is_remembered_where_nothing_may_be() {
        let cache = TokenCache::new(0);
        cache.insert("token", 1);
        assert!(cache.get("token").is_none() && cache.is_empty());
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
