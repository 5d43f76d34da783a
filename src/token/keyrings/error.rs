//! Why there are no keys, or no newer ones.

use std::path::PathBuf;

use crate::{store::StoreError, token::key::KeyError};

/// Why there are no keys, or no newer ones.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("key {name}: {reason}")]
    Key { name: String, reason: KeyError },
    #[error("{path}: {error}")]
    Unreadable {
        path: PathBuf,
        error: std::io::Error,
    },
    #[error("{0}: no file *.pem")]
    NoKeyFile(PathBuf),
    #[error("{path}: the key that signs is not for {wanted}, which tokens.algorithm asks for")]
    WrongAlgorithm { path: PathBuf, wanted: &'static str },
    #[error("there is no key")]
    NoKey,
    #[error("the keys are given by the configuration: add the new one there")]
    NotOurs,
}
