//! From the config's URL to a store.

use std::{path::Path, sync::Arc};

use super::{
    OpenError, OpenOptions, Store, engine_store::EngineStore, engines::sled, keyring::StoreKeys,
};
use crate::{crypto::Key, entropy::Entropy};

/// A store that is open, and the secret that it keeps for everything that must outlive a change of
/// its keys.
pub struct OpenedStore {
    pub store: Arc<dyn Store>,
    /// Only [`crate::crypto::derive`] uses it: refresh tokens, hashes of codes.
    pub root: Key,
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
        Some(("memory", "")) => EngineStore::memory(options, keys, entropy)?,
        Some(("sled", path)) if !path.is_empty() => {
            EngineStore::sled(path.as_ref(), options, keys, entropy)?
        }
        Some(_) | None => return Err(OpenError::UnknownUrl),
    };
    let root = store.root().clone();
    Ok(OpenedStore {
        store: Arc::new(store),
        root,
    })
}

/// Whether an embedded store in this directory has been written to, so that its key must exist too.
pub fn has_data(directory: &Path) -> bool {
    sled::has_data(directory)
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
