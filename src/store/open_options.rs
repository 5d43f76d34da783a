//! How a store is opened, and the error texts for operators when that fails.

use std::{path::PathBuf, time::Duration};

use super::StoreError;
use crate::metrics::Metrics;

/// The format of the records that this version reads and writes. A store has its number beside its
/// data.
pub const FORMAT: u32 = 3;

/// What a store is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Access {
    /// It is made if it is not there.
    #[default]
    ReadWrite,
    /// It has to be there. No table, key or record is made or changed, and operations that would
    /// change one fail.
    ReadOnly,
}

/// How to open a store.
#[derive(Clone)]
pub struct OpenOptions {
    /// Bytes of memory for pages of an embedded store.
    pub cache_bytes: u64,
    /// How long to wait for another process that holds the store, such as a predecessor that is
    /// just ending.
    pub lock_wait: Duration,
    /// Most connections to a shared engine.
    pub connections: usize,
    /// The file with the password for a shared engine, read for each new connection.
    pub password_file: Option<PathBuf>,
    /// What the store is opened for.
    pub access: Access,
    /// Where operations are timed and their failures counted.
    pub metrics: Metrics,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            cache_bytes: 16 << 20,
            lock_wait: Duration::from_secs(30),
            connections: 16,
            password_file: None,
            access: Access::default(),
            metrics: Metrics::default(),
        }
    }
}

/// Why a store did not open. The texts are for operators: what is wrong, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// `store.url` names no engine that we have.
    #[error(
        "store.url is not understood: use \"sled:PATH\", \"postgres://...\", \"mysql://...\" or \"memory:\""
    )]
    UnknownUrl,
    /// `store.url` is no URL of the engine that it names.
    #[error("store.url {0}")]
    Url(String),
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
    /// It was made by a version with another format.
    #[error("the store {place} has format {found}, and this menshen reads format {FORMAT}. Nothing was changed. {}", way_over(*found))]
    OtherFormat {
        /// With the word before it: `in /path`, `on postgres`.
        place: String,
        found: u32,
    },
    /// A shared engine does not answer, or not as it should.
    #[error("the store on {engine} cannot be opened: {why}")]
    Unavailable { engine: &'static str, why: String },
    /// A shared engine is not one that menshen can use, or its URL is not.
    #[error("the store on {engine} cannot be used: {why}")]
    Unsuitable { engine: &'static str, why: String },
    /// The system failed.
    #[error("the store in {path} cannot be opened: {why}")]
    Io { path: PathBuf, why: String },
}

impl OpenError {
    /// A shared engine, or an operation on it, failed.
    pub(super) fn unavailable(engine: &'static str, error: StoreError) -> Self {
        let why = match error {
            StoreError::Unavailable(why) => why,
            error => error.to_string(),
        };
        Self::Unavailable { engine, why }
    }
}

/// What to do with a store of another format.
const fn way_over(found: u32) -> &'static str {
    if found > FORMAT {
        "It was made by a newer menshen: use that one"
    } else {
        "Run `menshen export` with the menshen that made it, and `menshen import` with this one into an empty store: name another \
         place in store.url"
    }
}
