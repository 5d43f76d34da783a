//! The store of a config, and the key of its exports.

use std::path::Path;

use anyhow::Context;

use super::secrets;
use crate::{
    config::{Config, StoreConfig},
    crypto::Key,
    entropy::Entropy,
    metrics::Metrics,
    store::{self, OpenError, OpenOptions, OpenedStore, WrappingKeys, backup},
};

/// Opens the store that the config names. Waits while another process holds it.
pub async fn open_store(
    config: &Config,
    metrics: &Metrics,
    entropy: &Entropy,
) -> anyhow::Result<OpenedStore> {
    let key = secrets::encryption_key(&config.store, entropy)?;
    let keys = WrappingKeys::derive(&key, config.store.previous_key()?.as_ref());
    let cache_bytes = u64::try_from(config.store.cache.get()).unwrap_or(u64::MAX);
    let options = OpenOptions {
        cache_bytes,
        lock_wait: config.store.lock_wait.get(),
        metrics: metrics.clone(),
        ..shared_options(&config.store)
    };
    Ok(store::open(&config.store.url, &options, &keys, entropy.clone()).await?)
}

/// Makes or migrates the tables of the store; `false`: it has none.
pub async fn migrate_store(config: &StoreConfig) -> anyhow::Result<bool> {
    Ok(store::migrate(&config.url, &shared_options(config)).await?)
}

/// Whether the store's engine can be reached and is as menshen needs it; changes nothing there.
pub async fn check_store(config: &StoreConfig) -> Result<(), OpenError> {
    store::check_engine(&config.url, &shared_options(config)).await
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
