//! An import into a store on a shared engine: marked from its first commit to its last.

use std::sync::Arc;

use super::{EngineStore, MAX_SHARED_BATCH, Runner, shared};
use crate::{
    entropy::Entropy,
    store::{
        Access, OpenError, OpenOptions, Store, StoreError, WrappingKeys,
        engine::SharedEngine,
        operations::import_mark::{self, Discarding, ImportStart},
        record_cipher::CipherCache,
    },
};

/// A store that an import fills. It stays marked until [`Self::finish`], so no menshen uses it.
pub struct ImportTarget {
    store: EngineStore,
    id: u64,
}

impl ImportTarget {
    /// Marks an empty store. An error leaves it as it was.
    pub(in crate::store) async fn begin(
        engine: Arc<dyn SharedEngine>,
        options: &OpenOptions,
        keys: &WrappingKeys,
        entropy: Entropy,
    ) -> Result<Self, OpenError> {
        let id = random_id(&engine, &entropy)?;
        let mut store =
            EngineStore::marked(engine, options, Access::ReadWrite, (keys, entropy)).await?;
        store.import = Some(id);
        for step in [import_mark::begin, import_mark::confirm] {
            let started = store.run_write("import", move |tx| step(tx, id)).await;
            if let ImportStart::NotEmpty(found) = store.opening(started)? {
                let found = found.join(", ");
                return Err(store.unsuitable(format!(
                    "it is not empty: it has {found}. Nothing was imported. Name an empty database in store.url"
                )));
            }
        }
        Ok(Self { store, id })
    }

    /// Where the records go, with [`Store::restore`].
    pub fn store(&self) -> &dyn Store {
        &self.store
    }

    /// Removes the mark: the store is there for all.
    pub async fn finish(&self) -> Result<(), StoreError> {
        let id = self.id;
        let finish = self
            .store
            .run_write("import", move |tx| import_mark::finish(tx, id));
        finish.await
    }
}

/// Removes the records of an import that is not finished, and its mark. `progress` gets how many
/// records were removed so far. Returns how many there were.
pub(in crate::store) async fn discard(
    engine: Arc<dyn SharedEngine>,
    options: &OpenOptions,
    (keys, entropy): (&WrappingKeys, Entropy),
    mut progress: impl FnMut(u64),
) -> Result<u64, OpenError> {
    let id = random_id(&engine, &entropy)?;
    // It has to be there.
    let store = EngineStore::marked(engine, options, Access::ReadOnly, (keys, entropy)).await?;
    let is_marked = store.run_write("discard_import", move |tx| import_mark::take_over(tx, id));
    if !store.opening(is_marked.await)? {
        return Err(store.unsuitable(
            "it has no import that is not finished, so there is nothing to throw away".to_owned(),
        ));
    }
    let mut removed = 0;
    loop {
        let step = store.run_write("discard_import", move |tx| {
            import_mark::discard(tx, id, MAX_SHARED_BATCH)
        });
        match store.opening(step.await)? {
            Discarding::Removed(records) => {
                removed += u64::try_from(records).unwrap_or(u64::MAX);
                progress(removed);
            }
            Discarding::Finished => break,
        }
    }
    Ok(removed)
}

fn random_id(engine: &Arc<dyn SharedEngine>, entropy: &Entropy) -> Result<u64, OpenError> {
    let bytes = entropy.bytes().map_err(|error| OpenError::Unavailable {
        engine: engine.name(),
        why: error.to_string(),
    })?;
    Ok(u64::from_be_bytes(bytes))
}

impl EngineStore {
    /// A store on a shared engine that is marked, or about to be. `access` is that to its keyring.
    async fn marked(
        engine: Arc<dyn SharedEngine>,
        options: &OpenOptions,
        access: Access,
        (keys, entropy): (&WrappingKeys, Entropy),
    ) -> Result<Self, OpenError> {
        let ciphers = Arc::new(CipherCache::for_import(keys.clone(), entropy));
        let keyring =
            shared::open_keyring::open_keyring(engine.as_ref(), access, keys, &ciphers).await?;
        let engine_name = engine.name();
        let runner = Runner::Shared(shared::SharedRunner::new(
            engine,
            ciphers,
            options.metrics.clone(),
        ));
        Ok(Self::new(runner, &keyring, engine_name, options))
    }

    fn unsuitable(&self, why: String) -> OpenError {
        OpenError::Unsuitable {
            engine: self.engine_name,
            why,
        }
    }

    /// An error of an operation that is part of opening the store.
    fn opening<T>(&self, outcome: Result<T, StoreError>) -> Result<T, OpenError> {
        outcome.map_err(|error| OpenError::unavailable(self.engine_name, error))
    }
}
