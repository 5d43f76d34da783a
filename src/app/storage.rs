//! The store of a config, and the key of its exports.

use std::path::Path;

use anyhow::Context;

use super::secrets;
use crate::{
    config::{Config, StoreConfig},
    crypto::Key,
    entropy::Entropy,
    metrics::Metrics,
    store::{self, OpenOptions, OpenedStore, StoreKeys, backup},
};

/// Opens the store that the config names. Blocks while another process holds it.
pub fn open_store(
    config: &Config,
    metrics: &Metrics,
    entropy: &Entropy,
) -> anyhow::Result<OpenedStore> {
    let key = secrets::encryption_key(&config.store, entropy)?;
    let keys = StoreKeys::derive(&key, config.store.previous_key()?.as_ref());
    let cache_bytes = u64::try_from(config.store.cache.get()).unwrap_or(u64::MAX);
    let options = OpenOptions {
        cache_bytes,
        lock_wait: config.store.lock_wait.get(),
        metrics: metrics.clone(),
    };
    Ok(store::open(
        &config.store.url,
        &options,
        &keys,
        entropy.clone(),
    )?)
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
