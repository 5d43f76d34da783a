//! One lock for each key. Not a [`crate::single_flight`]: each holder does work of its own.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

type Locks<K> = Arc<Mutex<HashMap<K, Arc<tokio::sync::Mutex<()>>>>>;

/// A table of locks, with an entry for each key that is held or waited for.
#[derive(Default)]
pub(super) struct KeyedLock<K> {
    locks: Locks<K>,
}

/// Holds the lock of its key until dropped.
pub(super) struct KeyedLockGuard<K: Copy + Eq + Hash> {
    key: K,
    locks: Locks<K>,
    /// `None` where the wait has timed out. Released before the entry is removed.
    guard: Option<tokio::sync::OwnedMutexGuard<()>>,
}

impl<K: Copy + Eq + Hash> KeyedLock<K> {
    /// Waits for the lock of this key, for `timeout` at most; also says whether it had to wait.
    /// `None`: timed out.
    pub(super) async fn lock(
        &self,
        key: K,
        timeout: Duration,
    ) -> Option<(KeyedLockGuard<K>, bool)> {
        let lock = Arc::clone(
            self.locks
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(key)
                .or_default(),
        );
        // A waiter that timed out or was cancelled removes the entry as one that held the lock
        // does.
        let mut guard = KeyedLockGuard {
            key,
            locks: Arc::clone(&self.locks),
            guard: Arc::clone(&lock).try_lock_owned().ok(),
        };
        let has_waited = guard.guard.is_none();
        if has_waited {
            guard.guard = tokio::time::timeout(timeout, lock.lock_owned()).await.ok();
        }
        guard.guard.is_some().then_some((guard, has_waited))
    }
}

impl<K: Copy + Eq + Hash> Drop for KeyedLockGuard<K> {
    fn drop(&mut self) {
        drop(self.guard.take());
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        // Only the table has it: no other caller waits, and none can come while the table is held.
        if locks
            .get(&self.key)
            .is_some_and(|lock| Arc::strong_count(lock) == 1)
        {
            locks.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_mins(1);

    #[tokio::test]
    async fn one_person_has_one_turn_and_the_table_is_empty_afterwards() {
        let locks = Arc::new(KeyedLock::default());
        let (first, has_waited) = locks.lock([1; 32], LONG).await.unwrap();
        assert!(!has_waited);
        let (other, has_waited) = locks.lock([2; 32], LONG).await.unwrap();
        assert!(!has_waited, "somebody else is not held up");
        let (waiting, theirs) = (Arc::clone(&locks), Arc::clone(&locks));
        let second = tokio::spawn(async move {
            waiting
                .lock([1; 32], LONG)
                .await
                .map(|(_, has_waited)| has_waited)
        });
        assert!(
            theirs.lock([1; 32], Duration::ZERO).await.is_none(),
            "the time is over"
        );
        drop((first, other));
        assert_eq!(second.await.unwrap(), Some(true));
        assert!(locks.locks.lock().unwrap().is_empty());
    }
    /// The lock is handed to a waiter that never looks at it.
    #[tokio::test]
    async fn a_waiter_that_is_cancelled_as_its_turn_comes_leaves_nothing() {
        let locks = Arc::new(KeyedLock::default());
        let (first, _) = locks.lock([1; 32], LONG).await.unwrap();
        let mut waiting = Box::pin(locks.lock([1; 32], LONG));
        assert!(futures::poll!(&mut waiting).is_pending());
        drop(first);
        drop(waiting);
        assert!(locks.locks.lock().unwrap().is_empty());
    }
}
