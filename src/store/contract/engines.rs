//! An empty store of each engine.

use std::sync::Arc;

use tempfile::TempDir;

use super::Subject;
use crate::{
    crypto::Key,
    entropy::Entropy,
    store::{
        OpenOptions, StoreKeys, engine_store::EngineStore, engines::versioned::VersionedMemory,
        open,
    },
};

pub(super) fn memory() -> Subject {
    opened("memory:")
}

/// The store is in the directory, which has to outlive it.
pub(super) fn sled() -> (Subject, TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    let store = opened(&format!("sled:{}", directory.path().display()));
    (store, directory)
}

/// On records in memory that are compared at each commit, as many processes would share them.
pub(super) async fn shared() -> Subject {
    let engine = Arc::new(VersionedMemory::new());
    let (options, keys) = (OpenOptions::default(), keys());
    let store = EngineStore::shared(engine, &options, &keys, Entropy::default()).await;
    Arc::new(store.expect("a store"))
}

fn keys() -> StoreKeys {
    StoreKeys::derive(&Key::new([7; 32]), None)
}

fn opened(url: &str) -> Subject {
    let options = OpenOptions {
        cache_bytes: 1 << 20,
        ..OpenOptions::default()
    };
    open(url, &options, &keys(), Entropy::default())
        .expect("a store")
        .store
}
