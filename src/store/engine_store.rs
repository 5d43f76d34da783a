//! The store over an engine: it opens one, runs the operations on it, and times them.
//!
//! On an engine of this process, memory or sled, one thread runs the operations in turn
//! (`local`). On an engine that many processes share, each operation runs by itself and is
//! committed only if nothing that it read has changed (`shared`). The operations are the same.

mod export;
#[cfg(test)]
pub(crate) mod faulty;
mod fetched;
pub(in crate::store) mod import;
mod local;
mod numbers;
mod operation;
mod running;
mod shared;
mod snapshot;
mod store_trait;
mod writer;

use std::{path::Path, sync::Arc, time::Duration};

use tokio::time::Instant;

pub(in crate::store) use self::running::read_replicas;
use self::{
    local::LocalRunner,
    operation::{Change, Outcome, Query},
    shared::SharedRunner,
};
use super::{
    Access, Export, LogCursor, LookBack, OpenError, OpenOptions, RevocationPage, StoreError,
    StoreStats, Unreadable, WrappingKeys,
    engine::{Changes, FENCE, LocalEngine, SharedEngine},
    engines::{memory::MemoryEngine, sled::SledEngine},
    error::EngineError,
    keyring::{Keyring, WrappedWith},
    operations::{
        revocation_log::{self, LogPage},
        transaction::{ReadView, Transaction},
    },
    record_cipher::CipherCache,
};
use crate::{crypto::Key, entropy::Entropy, metrics::Metrics, types::Timestamp};

/// A store over one engine.
pub(crate) struct EngineStore {
    runner: Runner,
    root: Key,
    engine_name: &'static str,
    metrics: Metrics,
    access: Access,
    /// The import that this process fills a marked store with.
    import: Option<u64>,
}

/// Most records that upkeep and imports change in one commit of a shared engine, beside the keyring
/// or a cursor.
const MAX_SHARED_BATCH: usize = 50;

/// How operations are run.
enum Runner {
    Local(LocalRunner),
    Shared(SharedRunner),
}

impl EngineStore {
    /// An empty store that ends with the process. Fails only when the system gives no thread or no
    /// random bytes.
    pub(crate) fn memory(
        options: &OpenOptions,
        keys: &WrappingKeys,
        entropy: Entropy,
    ) -> Result<Self, OpenError> {
        let engine = Arc::new(MemoryEngine::new());
        let path = Path::new("memory");
        Self::local(engine, options, (keys, entropy), path, false)
    }

    /// The store in a directory, which is made when it is not there.
    pub(crate) fn sled(
        path: &Path,
        options: &OpenOptions,
        keys: &WrappingKeys,
        entropy: Entropy,
    ) -> Result<Self, OpenError> {
        let engine = Arc::new(SledEngine::open(path, options)?);
        let store = Self::local(
            Arc::<SledEngine>::clone(&engine),
            options,
            (keys, entropy),
            path,
            engine.is_initialized(),
        )?;
        engine.mark_initialized()?;
        Ok(store)
    }

    /// `initialized`: it has been opened before, so if it is empty now, something was lost.
    fn local(
        engine: Arc<dyn LocalEngine>,
        options: &OpenOptions,
        (keys, entropy): (&WrappingKeys, Entropy),
        path: &Path,
        initialized: bool,
    ) -> Result<Self, OpenError> {
        let keyring = open_keyring(
            engine.as_ref(),
            options,
            (keys, &entropy),
            path,
            initialized,
        )?;
        let engine_name = engine.name();
        let ciphers = Arc::new(CipherCache::new(keys.clone(), entropy));
        let runner = LocalRunner::start(engine, ciphers).map_err(|error| OpenError::Io {
            path: path.to_owned(),
            why: format!("no thread: {error}"),
        })?;
        Ok(Self::new(
            Runner::Local(runner),
            &keyring,
            engine_name,
            options,
        ))
    }

    /// The store on an engine that other processes use too.
    pub(in crate::store) async fn shared(
        engine: Arc<dyn SharedEngine>,
        options: &OpenOptions,
        keys: &WrappingKeys,
        entropy: Entropy,
    ) -> Result<Self, OpenError> {
        let ciphers = Arc::new(CipherCache::new(keys.clone(), entropy));
        let keyring =
            shared::open_keyring::open_keyring(engine.as_ref(), options.access, keys, &ciphers)
                .await?;
        ciphers.require_root(keyring.root());
        let engine_name = engine.name();
        let runner = Runner::Shared(SharedRunner::new(engine, ciphers, options.metrics.clone()));
        Ok(Self::new(runner, &keyring, engine_name, options))
    }

    fn new(
        runner: Runner,
        keyring: &Keyring,
        engine_name: &'static str,
        options: &OpenOptions,
    ) -> Self {
        let metrics = &options.metrics;
        metrics.store_errors.initialize(&[engine_name]);
        Self {
            runner,
            root: keyring.root().clone(),
            engine_name,
            metrics: metrics.clone(),
            access: options.access,
            import: None,
        }
    }

    /// The same process with another way to its engine.
    #[cfg(test)]
    fn over(&self, engine: Arc<dyn SharedEngine>) -> Self {
        let Runner::Shared(runner) = &self.runner else {
            panic!("the engine is shared")
        };
        Self {
            runner: Runner::Shared(runner.over(engine)),
            root: self.root.clone(),
            engine_name: self.engine_name,
            metrics: self.metrics.clone(),
            access: self.access,
            import: self.import,
        }
    }

    /// What other secrets are derived from, see [`super::OpenedStore::root`].
    pub(crate) const fn root(&self) -> &Key {
        &self.root
    }

    /// Times an operation and counts its failure. Every operation goes through here.
    async fn timed<T>(
        &self,
        operation: &'static str,
        run: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let started = Instant::now();
        let outcome = run.await;
        let elapsed = started.elapsed();
        self.metrics
            .store_op(self.engine_name, operation, elapsed, outcome.is_err());
        outcome
    }

    /// An operation that only reads.
    async fn read<T, F>(&self, operation: &'static str, query: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Fn(&dyn ReadView) -> Result<T, EngineError> + Send + Sync + 'static,
    {
        let run = self.run_query(operation, operation::query(query));
        operation::typed(self.timed(operation, run).await?)
    }

    /// An operation that may change records.
    async fn write<T, F>(&self, operation: &'static str, change: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Fn(&mut Transaction<'_>) -> Result<T, EngineError> + Send + Sync + 'static,
    {
        let run = self.run_change(operation, operation::change(change));
        operation::typed(self.timed(operation, run).await?)
    }

    /// A step of an operation that is timed as a whole.
    async fn run_read<T, F>(&self, operation: &'static str, query: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Fn(&dyn ReadView) -> Result<T, EngineError> + Send + Sync + 'static,
    {
        let run = self.run_query(operation, operation::query(query));
        operation::typed(run.await?)
    }

    /// A step of an operation that is timed as a whole.
    async fn run_write<T, F>(&self, operation: &'static str, change: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Fn(&mut Transaction<'_>) -> Result<T, EngineError> + Send + Sync + 'static,
    {
        let run = self.run_change(operation, operation::change(change));
        operation::typed(run.await?)
    }

    async fn run_query(
        &self,
        operation: &'static str,
        query: Box<Query>,
    ) -> Result<Outcome, StoreError> {
        match &self.runner {
            Runner::Local(runner) => runner.read(query).await,
            Runner::Shared(runner) => runner.read(operation, query).await,
        }
    }

    async fn run_change(
        &self,
        operation: &'static str,
        change: Box<Change>,
    ) -> Result<Outcome, StoreError> {
        if self.access == Access::ReadOnly {
            return Err(StoreError::Unavailable(
                "it was opened only to be read".to_owned(),
            ));
        }
        match &self.runner {
            Runner::Local(runner) => runner.write(change).await,
            Runner::Shared(runner) => runner.write(operation, change).await,
        }
    }

    /// How many of so many records one commit changes: on a shared engine few, because it locks each.
    fn batch(&self, records: usize) -> usize {
        match &self.runner {
            Runner::Local(_) => records,
            Runner::Shared(_) => records.min(MAX_SHARED_BATCH),
        }
    }

    /// Whether other processes change the records too.
    const fn is_shared(&self) -> bool {
        matches!(self.runner, Runner::Shared(_))
    }

    /// The log after a cursor; all of it where the window was not read for as long as it is.
    async fn read_revocations(
        &self,
        cursor: Option<&LogCursor>,
        look_back: LookBack,
        max_age: Duration,
        limit: usize,
        now: Timestamp,
    ) -> Result<RevocationPage, StoreError> {
        let read_after = async |place: Option<Vec<u8>>| {
            self.read("revocations", move |view| {
                revocation_log::page(view, place.as_deref(), look_back, max_age, limit, now)
            })
            .await
        };
        let mut asked_at = match (cursor, look_back) {
            (Some(cursor), LookBack::Recent) => cursor.asked_at,
            (_, _) => Instant::now(),
        };
        let mut page = read_after(cursor.map(|cursor| cursor.place.clone())).await?;
        let is_old = |cursor: &LogCursor| cursor.asked_at.elapsed() > revocation_log::WINDOW;
        if self.is_shared() && cursor.is_some_and(is_old) {
            asked_at = Instant::now();
            page = read_after(None).await?;
        }
        let LogPage {
            entries,
            unreadable,
            ages,
            place,
            more,
        } = page;
        let next = LogCursor { place, asked_at };
        Ok(RevocationPage {
            entries,
            unreadable,
            ages,
            next,
            more,
        })
    }

    async fn run_export(&self, unreadable: Unreadable) -> Result<Export, StoreError> {
        match &self.runner {
            Runner::Local(runner) => runner.export(unreadable).await,
            Runner::Shared(runner) => runner.export(unreadable).await,
        }
    }

    async fn run_check(&self) -> Result<(), StoreError> {
        match &self.runner {
            Runner::Local(runner) => runner.check().await,
            Runner::Shared(runner) => runner.check().await,
        }
    }

    async fn run_stats(&self) -> Result<StoreStats, StoreError> {
        let size_bytes = match &self.runner {
            Runner::Local(runner) => runner.size_bytes().await?,
            Runner::Shared(runner) => runner.size_bytes().await?,
        };
        Ok(StoreStats { size_bytes })
    }

    async fn run_close(&self) -> Result<(), StoreError> {
        match &self.runner {
            Runner::Local(runner) => runner.close().await,
            Runner::Shared(runner) => runner.close().await,
        }
    }
}

/// The store's own keys, which prove that it is ours, whole, and that our encryption key is right.
/// A new store gets new ones; one that is still under the previous encryption key comes under the
/// present one.
fn open_keyring(
    engine: &dyn LocalEngine,
    options: &OpenOptions,
    (keys, entropy): (&WrappingKeys, &Entropy),
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
        let wrapped = keyring.wrap(keys, entropy)?;
        engine.commit(&Changes::from([(FENCE.to_vec(), Some(wrapped))]))
    };
    if let Some(wrapped) = engine.get(FENCE).map_err(failed)? {
        let Some((keyring, with)) = Keyring::unwrap(keys, &wrapped) else {
            return Err(OpenError::WrongKey { path: path() });
        };
        if with == WrappedWith::Previous && options.access == Access::ReadWrite {
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
    if !engine.scan(b"", None, 1).map_err(failed)?.is_empty() {
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
mod simulation;
#[cfg(test)]
mod tests;
