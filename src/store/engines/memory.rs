//! The engine without a disk: for development and tests. Gone when the process ends.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{PoisonError, RwLock, RwLockReadGuard},
};

use crate::store::{
    engine::{Changes, LocalEngine, Pair, Source},
    error::EngineError,
};

/// A map behind a lock; `None` once closed.
#[derive(Debug)]
pub(in crate::store) struct MemoryEngine {
    pairs: RwLock<Option<BTreeMap<Vec<u8>, Vec<u8>>>>,
}

impl MemoryEngine {
    pub(in crate::store) fn new() -> Self {
        Self {
            pairs: RwLock::new(Some(BTreeMap::new())),
        }
    }

    /// A panic of another thread cannot leave the map half changed, so its mark on the lock means
    /// nothing here.
    fn pairs(&self) -> RwLockReadGuard<'_, Option<BTreeMap<Vec<u8>, Vec<u8>>>> {
        self.pairs.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source for MemoryEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        Ok(self
            .pairs()
            .as_ref()
            .ok_or(EngineError::Closed)?
            .get(key)
            .cloned())
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, EngineError> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            Some(_) | None => Bound::Included(prefix),
        };
        let pairs = self.pairs();
        let found = pairs
            .as_ref()
            .ok_or(EngineError::Closed)?
            .range::<[u8], _>((start, Bound::Unbounded));
        Ok(found
            .take_while(|(key, _)| key.starts_with(prefix))
            .take(limit)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect())
    }
}

impl LocalEngine for MemoryEngine {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn reads_inline(&self) -> bool {
        true
    }

    fn commit(&self, changes: &Changes) -> Result<(), EngineError> {
        let mut pairs = self.pairs.write().unwrap_or_else(PoisonError::into_inner);
        let pairs = pairs.as_mut().ok_or(EngineError::Closed)?;
        for (key, change) in changes {
            match change {
                Some(value) => drop(pairs.insert(key.clone(), value.clone())),
                None => drop(pairs.remove(key)),
            }
        }
        Ok(())
    }

    fn ready(&self) -> Result<(), EngineError> {
        Ok(())
    }

    fn size_bytes(&self) -> Result<u64, EngineError> {
        Ok(0)
    }

    fn close(&self) -> Result<(), EngineError> {
        self.pairs
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        Ok(())
    }
}
