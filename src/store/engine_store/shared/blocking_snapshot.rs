//! A snapshot of a shared engine, read as the operations read.

use tokio::runtime::Handle;

use crate::store::{
    engine::{Pair, SharedSnapshot, Source},
    error::EngineError,
};

/// A snapshot that is read on a thread of its own.
pub(super) struct BlockingSnapshot {
    pub(super) snapshot: Box<dyn SharedSnapshot>,
    pub(super) runtime: Handle,
}

impl Source for BlockingSnapshot {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        self.runtime.block_on(self.snapshot.get(key))
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, EngineError> {
        self.runtime
            .block_on(self.snapshot.scan(prefix, after, limit))
    }
}
