//! An empty store of each engine.

use std::sync::Arc;

use tempfile::TempDir;

use super::Subject;
use crate::{
    crypto::Key,
    entropy::Entropy,
    store::{
        OpenOptions, WrappingKeys,
        engine_store::EngineStore,
        engines::{mysql, postgres, versioned::VersionedMemory},
        open,
    },
};

pub(super) async fn memory() -> Subject {
    opened("memory:").await
}

/// The store is in the directory, which has to outlive it.
pub(super) async fn sled() -> (Subject, TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    let store = opened(&format!("sled:{}", directory.path().display())).await;
    (store, directory)
}

/// On records in memory that are compared at each commit, as many processes would share them.
pub(super) async fn shared() -> Subject {
    let engine = Arc::new(VersionedMemory::new());
    let (options, keys) = (OpenOptions::default(), keys());
    let store = EngineStore::shared(engine, &options, &keys, Entropy::default()).await;
    Subject::new(Arc::new(store.expect("a store")))
}

/// On a real server.
pub(super) async fn postgres() -> Subject {
    opened(&postgres::tests::Server::shared().empty().await).await
}

/// On a real server, of MariaDB.
pub(super) async fn mysql() -> Subject {
    opened(&mysql::tests::Server::shared().empty().await).await
}

fn keys() -> WrappingKeys {
    WrappingKeys::derive(&Key::new([7; 32]), None)
}

async fn opened(url: &str) -> Subject {
    let options = OpenOptions {
        cache_bytes: 1 << 20,
        ..OpenOptions::default()
    };
    let store = open(url, &options, &keys(), Entropy::default()).await;
    Subject::new(store.expect("a store").store)
}
