//! From the config's URL to a store, and what a person is told when that fails.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::{
    Store,
    embedded::{self, EmbeddedStore},
    record_cipher::StoreKeys,
};
use crate::{crypto::Key, entropy::Entropy};

/// A store that is open, and the secret that it keeps for everything that must outlive a change of
/// its keys.
pub struct OpenedStore {
    pub store: Arc<dyn Store>,
    /// Only [`crate::crypto::derive`] uses it: refresh tokens, hashes of codes.
    pub root: Key,
}

/// How to open a store.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// Bytes of memory for pages of an embedded store.
    pub cache_bytes: u64,
    /// How long to wait for another process that holds the store, such as a predecessor that is
    /// just ending.
    pub lock_wait: Duration,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            cache_bytes: 16 << 20,
            lock_wait: Duration::from_secs(30),
        }
    }
}

/// Why a store did not open. The texts are for whoever is woken by them: what is wrong, and what to
/// do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// `store.url` names no engine that we have.
    #[error("store.url is not understood: use \"sled:PATH\" or \"memory:\"")]
    UnknownUrl,
    /// Another process has it open.
    #[error(
        "the store in {path} is in use by another process (waited {waited:?}). One directory serves one menshen: stop the \
         other one, or give this one a directory of its own"
    )]
    Locked { path: PathBuf, waited: Duration },
    /// It cannot be written.
    #[error(
        "the store in {path} cannot be written: {why}. menshen's user needs to read and write this directory"
    )]
    NotWritable { path: PathBuf, why: String },
    /// What is there is not a store that can be read.
    #[error(
        "the store in {path} cannot be read: {why}. menshen deletes nothing: move the directory aside, then start with a \
         backup, or with none to begin empty (everybody signs in again, as a new user)"
    )]
    Corrupt { path: PathBuf, why: String },
    /// It was sealed with another key.
    #[error(
        "the store in {path} was sealed with another encryption key. Give the key it was made with as \
         store.encryption_key or store.encryption_key_file (or, to change it, as store.previous_encryption_key beside the new \
         one); without it nothing in there can be read"
    )]
    WrongKey { path: PathBuf },
    /// The system failed.
    #[error("the store in {path} cannot be opened: {why}")]
    Io { path: PathBuf, why: String },
}

/// Opens the store that a URL names: `sled:PATH` or `memory:`. Blocks while another process holds
/// it, at most [`OpenOptions::lock_wait`], so it is not for a thread that serves requests.
pub fn open(
    url: &str,
    options: &OpenOptions,
    keys: &StoreKeys,
    entropy: Entropy,
) -> Result<OpenedStore, OpenError> {
    let store = match url.split_once(':') {
        Some(("memory", "")) => EmbeddedStore::memory(keys, entropy)?,
        Some(("sled", path)) if !path.is_empty() => {
            EmbeddedStore::sled(path.as_ref(), options, keys, entropy)?
        }
        Some(_) | None => return Err(OpenError::UnknownUrl),
    };
    let root = store.root();
    Ok(OpenedStore {
        store: Arc::new(store),
        root,
    })
}

/// Whether an embedded store in this directory has been written to, so that its key must exist too.
pub fn has_data(directory: &Path) -> bool {
    embedded::has_data(directory)
}

/// The engine that a URL names, as metrics have it.
pub fn engine(url: &str) -> &'static str {
    match url.split_once(':') {
        Some(("memory", _)) => "memory",
        Some(("sled", _)) => "sled",
        Some(_) | None => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_an_engine_or_nothing_is_opened() {
        let open = |url| {
            open(
                url,
                &OpenOptions::default(),
                &StoreKeys::derive(&Key::new([1; 32]), None),
                Entropy::default(),
            )
        };
        assert!(open("memory:").is_ok());
        for url in [
            "",
            "memory",
            "memory:x",
            "sled:",
            "sled",
            "redis://localhost",
            "postgres://x",
            "./data",
        ] {
            assert!(matches!(open(url), Err(OpenError::UnknownUrl)), "{url}");
        }
    }
}
