//! Operations on an engine of this process: writes in turn on one thread, reads beside it.

use std::sync::Arc;

use super::{
    export,
    operation::{self, Change, Outcome, Query},
    snapshot::{Snapshot, Snapshots},
    writer::{Health, Writer},
};
use crate::store::{
    Export, StoreError, Unreadable,
    engine::{FENCE, LocalEngine, Source},
    error::EngineError,
    operations::transaction::RecordView,
    record_cipher::CipherCache,
};

/// An engine of this process, and the thread that writes to it.
pub(super) struct LocalRunner {
    engine: Arc<dyn LocalEngine>,
    ciphers: Arc<CipherCache>,
    health: Arc<Health>,
    snapshots: Arc<Snapshots>,
    writer: Writer,
}

impl LocalRunner {
    /// Starts the thread.
    pub(super) fn start(
        engine: Arc<dyn LocalEngine>,
        ciphers: Arc<CipherCache>,
    ) -> std::io::Result<Self> {
        let health = Arc::new(Health::default());
        let snapshots = Arc::new(Snapshots::default());
        let writer = Writer::start(
            Arc::clone(&engine),
            Arc::clone(&ciphers),
            Arc::clone(&health),
            Arc::clone(&snapshots),
        )?;
        Ok(Self {
            engine,
            ciphers,
            health,
            snapshots,
            writer,
        })
    }

    /// Runs an operation in its turn among the writes.
    pub(super) async fn write(&self, change: Box<Change>) -> Result<Outcome, StoreError> {
        self.writer.run(change).await
    }

    /// Runs a read on a thread of its own where the engine may wait for a disk: a waiting thread
    /// serves no requests.
    pub(super) async fn read(&self, query: Box<Query>) -> Result<Outcome, StoreError> {
        self.health.check()?;
        let (engine, ciphers, health) = (
            Arc::clone(&self.engine),
            Arc::clone(&self.ciphers),
            Arc::clone(&self.health),
        );
        let inline = engine.reads_inline();
        let run = move || {
            read_under_one_keyring(engine.as_ref(), &ciphers, &*query)
                .map_err(|error| StoreError::from(health.record(error)))
        };
        if inline {
            return run();
        }
        match tokio::task::spawn_blocking(run).await {
            Ok(outcome) => outcome,
            // The engine is as little to be trusted after this as after a write that panicked.
            Err(end) if end.is_panic() => Err(self
                .health
                .record(EngineError::Fault(
                    "a read of the store panicked".to_owned(),
                ))
                .into()),
            Err(_) => Err(EngineError::Closed.into()),
        }
    }

    /// A snapshot, begun in its turn among the writes, so that it is of one moment.
    pub(super) async fn export(&self, unreadable: Unreadable) -> Result<Export, StoreError> {
        let (snapshots, engine) = (Arc::clone(&self.snapshots), Arc::clone(&self.engine));
        let begin = operation::change(move |_| Ok(snapshots.begin(Arc::clone(&engine))));
        let snapshot: Snapshot = operation::typed(self.writer.run(begin).await?)?;
        let (ciphers, health) = (Arc::clone(&self.ciphers), Arc::clone(&self.health));
        Ok(export::stream(
            snapshot,
            ciphers,
            unreadable,
            move |error| StoreError::from(health.record(error)),
        ))
    }

    /// Whether the writing thread answers and a commit would be tried.
    pub(super) async fn check(&self) -> Result<(), StoreError> {
        let engine = Arc::clone(&self.engine);
        let ready = operation::change(move |_| engine.ready());
        self.writer.run(ready).await.map(drop)
    }

    /// Bytes on disk.
    pub(super) async fn size_bytes(&self) -> Result<u64, StoreError> {
        self.health.check()?;
        let engine = Arc::clone(&self.engine);
        let size = tokio::task::spawn_blocking(move || engine.size_bytes())
            .await
            .map_err(|_| StoreError::Unavailable("a read of the store panicked".to_owned()))??;
        Ok(size)
    }

    /// Ends after what is queued now.
    pub(super) async fn close(&self) -> Result<(), StoreError> {
        self.writer.close().await
    }

    #[cfg(test)]
    pub(super) const fn engine(&self) -> &Arc<dyn LocalEngine> {
        &self.engine
    }
}

/// Reads with the keys that are in the store before and after: where they changed meanwhile, a
/// record may have been looked for in its place of before, or under a key of after.
fn read_under_one_keyring(
    engine: &dyn LocalEngine,
    ciphers: &CipherCache,
    query: &Query,
) -> Result<Outcome, EngineError> {
    let source: &dyn Source = engine;
    let mut wrapped = source.get(FENCE)?;
    loop {
        let cipher = ciphers.cipher(wrapped.as_deref())?;
        let outcome = query(&RecordView {
            source,
            cipher: &cipher,
        });
        let after = source.get(FENCE)?;
        if after == wrapped {
            return outcome;
        }
        wrapped = after;
    }
}
