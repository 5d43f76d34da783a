//! An empty store of each engine.

use tempfile::TempDir;

use super::Subject;
use crate::{
    crypto::Key,
    entropy::Entropy,
    store::{OpenOptions, StoreKeys, open},
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

fn opened(url: &str) -> Subject {
    let options = OpenOptions {
        cache_bytes: 1 << 20,
        ..OpenOptions::default()
    };
    let keys = StoreKeys::derive(&Key::new([7; 32]), None);
    open(url, &options, &keys, Entropy::default())
        .expect("a store")
        .store
}
