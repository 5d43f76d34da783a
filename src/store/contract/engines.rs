//! An empty store of each engine.

use std::sync::Arc;

use tempfile::TempDir;

use super::Subject;
use crate::{
    crypto::Key,
    entropy::Entropy,
    store::{
        OpenOptions, WrappingKeys,
        engine::SharedEngine,
        engine_store::EngineStore,
        engines::{mysql, postgres, versioned::VersionedMemory},
        open::{open, shared_engine},
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
    on(Arc::new(VersionedMemory::new())).await
}

/// Of one process among others.
pub(super) async fn on(engine: Arc<dyn SharedEngine>) -> Subject {
    let (options, keys, entropy) = (OpenOptions::default(), keys(), Entropy::default());
    let store = EngineStore::shared(Arc::clone(&engine), &options, &keys, entropy).await;
    let store = Arc::new(store.expect("a store"));
    Subject {
        engine: Some(engine),
        ..Subject::new(store)
    }
}

async fn on_server(url: &str) -> Subject {
    let engine = shared_engine(url, &OpenOptions::default()).await;
    on(engine.expect("the tables are made")).await
}

/// On a real server.
pub(super) async fn postgres() -> Subject {
    on_server(&postgres::tests::Server::shared().empty().await).await
}

/// On a real server, of MariaDB.
pub(super) async fn mysql() -> Subject {
    on_server(&mysql::tests::Server::shared().empty().await).await
}

pub(super) fn keys() -> WrappingKeys {
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
