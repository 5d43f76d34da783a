//! The store of a config, and the key of its exports.

use std::path::Path;

use anyhow::Context;

use super::secrets;
use crate::{
    config::{Config, StoreConfig},
    crypto::Key,
    entropy::Entropy,
    metrics::Metrics,
    store::{
        self, Access, ImportTarget, OpenError, OpenOptions, OpenedStore, WrappingKeys, backup,
    },
};

/// Opens the store that the config names. Waits while another process holds it. To be read only, it
/// has to be there, and so has its encryption key: nothing is made.
pub async fn open_store(
    config: &Config,
    access: Access,
    metrics: &Metrics,
    entropy: &Entropy,
) -> anyhow::Result<OpenedStore> {
    let keys = match access {
        Access::ReadWrite => wrapping_keys(&config.store, entropy)?,
        Access::ReadOnly => {
            let key = secrets::existing_encryption_key(&config.store)?.context(
                "no menshen has run with this store yet, or its encryption key is not there",
            )?;
            WrappingKeys::derive(&key, config.store.previous_key()?.as_ref())
        }
    };
    let cache_bytes = u64::try_from(config.store.cache.get()).unwrap_or(u64::MAX);
    let options = OpenOptions {
        cache_bytes,
        lock_wait: config.store.lock_wait.get(),
        access,
        metrics: metrics.clone(),
        ..shared_options(&config.store)
    };
    Ok(store::open(&config.store.url, &options, &keys, entropy.clone()).await?)
}

/// The keys that the store's own keys are wrapped with. An encryption key that is missing is made where
/// that is safe.
fn wrapping_keys(config: &StoreConfig, entropy: &Entropy) -> anyhow::Result<WrappingKeys> {
    let key = secrets::encryption_key(config, entropy)?;
    Ok(WrappingKeys::derive(&key, config.previous_key()?.as_ref()))
}

/// Begins to fill the database that the config names. It has to be empty.
pub async fn begin_import(config: &StoreConfig) -> anyhow::Result<ImportTarget> {
    let entropy = Entropy::default();
    let keys = wrapping_keys(config, &entropy)?;
    Ok(store::begin_import(&config.url, &shared_options(config), &keys, entropy).await?)
}

/// Empties the database that the config names, if an import into it is not finished. Returns how many
/// records were removed; `progress` gets how many so far.
pub async fn discard_import(
    config: &StoreConfig,
    progress: impl FnMut(u64),
) -> anyhow::Result<u64> {
    let entropy = Entropy::default();
    let keys = wrapping_keys(config, &entropy)?;
    let options = shared_options(config);
    Ok(store::discard_import(&config.url, &options, &keys, entropy, progress).await?)
}

/// Makes or migrates the tables of the store; `false`: it has none.
pub async fn migrate_store(config: &StoreConfig) -> anyhow::Result<bool> {
    Ok(store::migrate(&config.url, &shared_options(config)).await?)
}

/// Whether the store's engine can be reached and is as menshen needs it; changes nothing there.
pub async fn check_store(config: &StoreConfig) -> Result<(), OpenError> {
    store::check_engine(&config.url, &shared_options(config)).await
}

/// Whether revocations of other processes arrive at once; `None` where that cannot be said.
pub async fn try_hints(config: &StoreConfig) -> Option<bool> {
    let tried = store::try_hints(&config.url, &shared_options(config)).await;
    tried.ok().flatten()
}

/// How to reach a shared engine.
pub(super) fn shared_options(config: &StoreConfig) -> OpenOptions {
    OpenOptions {
        connections: config.connections,
        password_file: config.password_file.clone(),
        ..OpenOptions::default()
    }
}

/// The key that encrypts exports of this config's store; `None` where the store's key is neither in
/// the config nor in a file.
pub fn export_key(config: &Config) -> anyhow::Result<Option<Key>> {
    Ok(secrets::existing_encryption_key(&config.store)?.map(|key| backup::export_key(&key)))
}

/// The same for a key in this file.
pub fn export_key_from_file(config: &Config, file: &Path) -> anyhow::Result<Option<Key>> {
    let text =
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(secrets::parse_key(&config.store, text)?.map(|key| backup::export_key(&key)))
}

/// The store's config with its encryption key, or with the key file that belongs to its directory,
/// so that the store can be moved elsewhere. A missing file is created on start.
pub fn with_key_file(config: &StoreConfig) -> anyhow::Result<StoreConfig> {
    let file = secrets::key_file(config)?;
    Ok(StoreConfig {
        encryption_key_file: file.or(config.encryption_key_file.clone()),
        ..config.clone()
    })
}
