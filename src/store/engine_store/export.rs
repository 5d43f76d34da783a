//! An export on its way to whoever takes it, read on a thread of its own.

use std::sync::Arc;

use tokio::runtime::Handle;

use crate::store::{
    Export, StoreError, Unreadable,
    engine::{FENCE, Pair, SharedSnapshot, Source},
    error::EngineError,
    operations::{transaction::RecordView, transfer},
    record_cipher::CipherCache,
};

/// Batches that wait to be taken.
const QUEUE_CAPACITY: usize = 2;

/// Hands on all that is in a snapshot, as fast as it is taken.
pub(super) fn stream(
    snapshot: impl Source + Send + 'static,
    ciphers: Arc<CipherCache>,
    unreadable: Unreadable,
    failed: impl Fn(EngineError) -> StoreError + Send + 'static,
) -> Export {
    let (hand, taken) = tokio::sync::mpsc::channel(QUEUE_CAPACITY);
    tokio::task::spawn_blocking(move || {
        let gone = EngineError::Refused("the export is not taken any more");
        let export = || {
            let cipher = ciphers.cipher(snapshot.get(FENCE)?.as_deref())?;
            let view = RecordView {
                source: &snapshot,
                cipher: &cipher,
            };
            transfer::export(&view, unreadable, |records| {
                hand.blocking_send(Ok(records)).map_err(|_| gone.clone())
            })
        };
        if let Err(error) = export() {
            drop(hand.blocking_send(Err(failed(with_way_out(error)))));
        }
    });
    Export(taken)
}

/// What an operator does about a record that stops an export.
fn with_way_out(error: EngineError) -> EngineError {
    match error {
        EngineError::Damaged(why) => EngineError::Damaged(format!(
            "{why}; nothing is exported without it: docs/operations.md, \"A record that cannot be read\", says how to go on"
        )),
        error => error,
    }
}

/// A snapshot of a shared engine, for a thread of its own.
pub(super) struct BlockingSnapshot {
    snapshot: Box<dyn SharedSnapshot>,
    runtime: Handle,
}

impl BlockingSnapshot {
    /// The current tokio runtime carries out the reads.
    pub(super) fn new(snapshot: Box<dyn SharedSnapshot>) -> Self {
        Self {
            snapshot,
            runtime: Handle::current(),
        }
    }
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
