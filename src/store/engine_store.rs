//! The store over an engine: it opens one, runs the operations on it, and times them.
//!
//! On the engines that live in this process, memory and sled, writes go to one thread (`writer`),
//! reads to the engine directly. Both share every rule; they differ only in where the bytes are.

#[cfg(test)]
pub(crate) mod faulty;
mod operations;
mod snapshot;
mod writer;

use std::{path::Path, sync::Arc, time::Instant};

use self::{
    snapshot::Snapshots,
    writer::{Health, Writer},
};
use super::{
    OpenError, OpenOptions, StoreError, StoreKeys,
    engine::{Changes, Kv},
    engines::{memory::MemoryKv, sled::SledKv},
    error::EngineError,
    operations::{
        layout,
        transaction::{CommittedView, ReadView, Transaction},
    },
    record_cipher::{Keyring, RecordCipher, WrappedWith},
};
use crate::{crypto::Key, entropy::Entropy, metrics::Metrics};

/// A store in this process.
pub(crate) struct EngineStore {
    kv: Arc<dyn Kv>,
    cipher: Arc<RecordCipher>,
    keys: StoreKeys,
    /// Held from a change of the keyring on the disk until the cipher has it: two changes must not
    /// overtake each other, or the cipher would use a key that is not in the store.
    changing_keys: tokio::sync::Mutex<()>,
    health: Arc<Health>,
    snapshots: Arc<Snapshots>,
    writer: Writer,
    metrics: Metrics,
}

impl EngineStore {
    /// An empty store that ends with the process. Fails only when the system gives no thread or no
    /// random bytes.
    pub(crate) fn memory(
        options: &OpenOptions,
        keys: &StoreKeys,
        entropy: Entropy,
    ) -> Result<Self, OpenError> {
        let kv = Arc::new(MemoryKv::new());
        Self::with_kv(
            kv,
            &options.metrics,
            keys,
            entropy,
            Path::new("memory"),
            false,
        )
    }

    /// The store in a directory, which is made when it is not there.
    pub(crate) fn sled(
        path: &Path,
        options: &OpenOptions,
        keys: &StoreKeys,
        entropy: Entropy,
    ) -> Result<Self, OpenError> {
        let kv = Arc::new(SledKv::open(path, options)?);
        let store = Self::with_kv(
            Arc::<SledKv>::clone(&kv),
            &options.metrics,
            keys,
            entropy,
            path,
            kv.is_initialized(),
        )?;
        kv.mark_initialized()?;
        Ok(store)
    }

    /// `initialized`: it has been opened before, so if it is empty now, something was lost.
    fn with_kv(
        kv: Arc<dyn Kv>,
        metrics: &Metrics,
        keys: &StoreKeys,
        entropy: Entropy,
        path: &Path,
        initialized: bool,
    ) -> Result<Self, OpenError> {
        let keyring = keyring(kv.as_ref(), keys, &entropy, path, initialized)?;
        let (cipher, health) = (
            Arc::new(RecordCipher::new(keyring, entropy)),
            Arc::new(Health::default()),
        );
        let snapshots = Arc::new(Snapshots::default());
        let writer = Writer::start(
            Arc::clone(&kv),
            Arc::clone(&cipher),
            Arc::clone(&health),
            Arc::clone(&snapshots),
        )
        .map_err(|error| OpenError::Io {
            path: path.to_owned(),
            why: format!("no thread: {error}"),
        })?;
        metrics.store_errors.initialize(&[kv.name()]);
        let changing_keys = tokio::sync::Mutex::default();
        Ok(Self {
            kv,
            cipher,
            keys: keys.clone(),
            changing_keys,
            health,
            snapshots,
            writer,
            metrics: metrics.clone(),
        })
    }

    /// What other secrets are derived from, see [`super::OpenedStore::root`].
    pub(crate) fn root(&self) -> Key {
        self.cipher.keyring().root().clone()
    }

    /// Times an operation and counts its failure. Every operation goes through here.
    async fn timed<T>(
        &self,
        operation: &'static str,
        run: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let started = Instant::now();
        let outcome = run.await;
        let engine = self.kv.name();
        self.metrics
            .store_op(engine, operation, started.elapsed(), outcome.is_err());
        outcome
    }

    /// An operation that only reads.
    async fn read<T, F>(&self, operation: &'static str, query: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&dyn ReadView) -> Result<T, EngineError> + Send + 'static,
    {
        self.timed(operation, self.run_read(query)).await
    }

    /// An operation in its turn among the writes.
    async fn write<T, F>(&self, operation: &'static str, change: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Transaction<'_>) -> Result<T, EngineError> + Send + 'static,
    {
        self.timed(operation, self.writer.run(change)).await
    }

    /// Uses a keyring that is in the store now, if it has changed.
    fn install(&self, keyring: Option<Keyring>) {
        if let Some(keyring) = keyring {
            self.cipher.install(keyring);
        }
    }

    /// Runs a read on a thread of its own where the engine may wait for a disk: a waiting thread
    /// serves no requests.
    async fn run_read<T, F>(&self, query: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&dyn ReadView) -> Result<T, EngineError> + Send + 'static,
    {
        self.health.check()?;
        let (kv, cipher, health) = (
            Arc::clone(&self.kv),
            Arc::clone(&self.cipher),
            Arc::clone(&self.health),
        );
        let inline = kv.reads_inline();
        let run = move || {
            query(&CommittedView {
                kv: kv.as_ref(),
                cipher: &cipher,
            })
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
}

/// The store's own keys, which prove that it is ours, whole, and that our encryption key is right.
/// A new store gets new ones; one that is still under the previous encryption key comes under the
/// present one.
fn keyring(
    kv: &dyn Kv,
    keys: &StoreKeys,
    entropy: &Entropy,
    path: &Path,
    initialized: bool,
) -> Result<Keyring, OpenError> {
    let path = || path.to_owned();
    let corrupt = |why: &str| OpenError::Corrupt {
        path: path(),
        why: why.to_owned(),
    };
    let failed = |error: EngineError| OpenError::Io {
        path: path(),
        why: StoreError::from(error).to_string(),
    };
    let keep = |keyring: &Keyring| {
        let wrapped = keyring.wrap(keys, entropy, layout::KEYRING)?;
        kv.commit(&Changes::from([(layout::KEYRING.to_vec(), Some(wrapped))]))
    };
    if let Some(wrapped) = kv.get(layout::KEYRING).map_err(failed)? {
        let Some((keyring, with)) = Keyring::unwrap(keys, layout::KEYRING, &wrapped) else {
            return Err(OpenError::WrongKey { path: path() });
        };
        if with == WrappedWith::Previous {
            keep(&keyring).map_err(failed)?;
            tracing::info!(
                "the store is under the new encryption key now: the previous one is not needed any more"
            );
        }
        return Ok(keyring);
    }
    if initialized {
        return Err(corrupt(
            "what was in it is gone, or it was made by another version of menshen",
        ));
    }
    if !kv.scan(b"", None, 1).map_err(failed)?.is_empty() {
        return Err(corrupt("it holds data that is not menshen's"));
    }
    let keyring = Keyring::generate(entropy).map_err(|error| OpenError::Io {
        path: path(),
        why: error.to_string(),
    })?;
    keep(&keyring).map_err(failed)?;
    Ok(keyring)
}

#[cfg(test)]
mod tests;
