//! The keys of one external issuer, and the task that follows them.
//!
//! Keys in the config never change. A JWK set is fetched in the background, or read again when its
//! file changes; each issuer has a task of its own, so one that is slow or broken hurts no other. A
//! request never waits for keys: it uses the current ones.
//!
//! Must stay true: a set that cannot be fetched or read changes nothing, however long that lasts;
//! one that can be read replaces the current one, also where it has no key: an issuer that
//! publishes an empty set has withdrawn its keys; made-up key ids cause one fetch in ten seconds at
//! most.

mod follower;
mod key_set;

use std::{
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::{ArcSwap, Guard};
use reqwest::Url;
use tokio::{
    sync::{Notify, watch},
    task::AbortHandle,
    time::Instant,
};

use super::trusted_key::{TrustedKey, TrustedKeySet, read_file};
use crate::{config::Algorithm, crypto, metrics::Metrics};
use follower::KeyFollower;
use key_set::{KeySet, KeyState};

/// The source of the keys.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum KeySource {
    /// The config itself, by a digest of it.
    Static([u8; 32]),
    File(PathBuf),
    Url {
        url: Url,
        refresh: Duration,
    },
}

/// The keys of one issuer. Dropping it ends the task that follows them.
#[derive(Debug)]
pub(super) struct TrustedKeys {
    name: Arc<str>,
    source: KeySource,
    algorithms: Vec<Algorithm>,
    state: Arc<KeyState>,
    task: OnceLock<AbortHandle>,
}

/// The health of an issuer's keys, for `/readyz`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyHealth {
    Ok,
    /// There are keys, and newer ones cannot be fetched.
    Stale,
    Missing,
    /// The issuer has withdrawn them.
    Withdrawn,
}

impl KeyHealth {
    /// In words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Stale => "keys cannot be fetched, the last ones are used",
            Self::Missing => "no keys",
            Self::Withdrawn => "no keys: it publishes an empty set",
        }
    }
}

impl TrustedKeys {
    /// Keys in the config.
    pub(super) fn from_config(name: Arc<str>, keys: Vec<TrustedKey>, digest: [u8; 32]) -> Self {
        let set = KeySet {
            keys,
            digest,
            ..KeySet::default()
        };
        Self::with(name, KeySource::Static(digest), Vec::new(), set)
    }

    /// Keys of a JWK set in a file, which has to be readable.
    pub(super) fn from_file(
        name: Arc<str>,
        path: PathBuf,
        algorithms: Vec<Algorithm>,
    ) -> Result<Self, String> {
        let bytes = read_file(&path)?;
        let TrustedKeySet { keys, ignored: _ } =
            TrustedKeySet::with_keys(&bytes, &algorithms).map_err(str::to_owned)?;
        let (digest, fetched) = (crypto::sha256(&bytes), Some(Instant::now()));
        let set = KeySet {
            keys,
            digest,
            fetched,
            ..KeySet::default()
        };
        Ok(Self::with(name, KeySource::File(path), algorithms, set))
    }

    /// Keys of a JWK set at a URL: none yet.
    pub(super) fn from_url(
        name: Arc<str>,
        url: Url,
        refresh: Duration,
        algorithms: Vec<Algorithm>,
    ) -> Self {
        let source = KeySource::Url { url, refresh };
        Self::with(name, source, algorithms, KeySet::default())
    }

    fn with(name: Arc<str>, source: KeySource, algorithms: Vec<Algorithm>, set: KeySet) -> Self {
        let state = KeyState {
            current: ArcSwap::from_pointee(set),
            refresh_requested: Notify::new(),
            failing: AtomicBool::new(false),
            first_attempt: watch::Sender::new(!matches!(source, KeySource::Url { .. })),
        };
        Self {
            name,
            source,
            algorithms,
            state: Arc::new(state),
            task: OnceLock::new(),
        }
    }

    /// Whether both have the same source, so that the keys of one can serve the other.
    pub(super) fn has_same_source(&self, other: &Self) -> bool {
        (&self.name, &self.source, &self.algorithms)
            == (&other.name, &other.source, &other.algorithms)
    }

    /// The keys of the moment.
    pub(super) fn current(&self) -> Guard<Arc<KeySet>> {
        self.state.current.load()
    }

    /// Requests a fetch: a token named an unknown key.
    pub(super) fn request_refresh(&self) {
        self.state.refresh_requested.notify_one();
    }

    pub(super) fn health(&self) -> KeyHealth {
        let current = self.current();
        if current.is_withdrawn {
            KeyHealth::Withdrawn
        } else if current.keys.is_empty() {
            KeyHealth::Missing
        } else if self.state.failing.load(Ordering::Relaxed) {
            KeyHealth::Stale
        } else {
            KeyHealth::Ok
        }
    }

    /// Waits until the first attempt to get the keys has ended.
    pub(super) async fn first_attempt(&self) {
        // The sender lives as long as the keys do.
        drop(
            self.state
                .first_attempt
                .subscribe()
                .wait_for(|first_attempt| *first_attempt)
                .await,
        );
    }

    /// Starts the task that follows the keys, once.
    pub(super) fn follow(&self, metrics: &Metrics) {
        self.task.get_or_init(|| {
            let follower = KeyFollower {
                name: self.name.clone(),
                algorithms: self.algorithms.clone(),
                state: self.state.clone(),
            };
            let age = metrics.jwks_age.with_label_values(&[&*self.name]);
            match self.source.clone() {
                KeySource::Static(_) => tokio::spawn(async {}).abort_handle(),
                KeySource::File(path) => tokio::spawn(follower.file(path, age)).abort_handle(),
                KeySource::Url { url, refresh } => {
                    tokio::spawn(follower.url(url, refresh, age)).abort_handle()
                }
            }
        });
    }
}

impl Drop for TrustedKeys {
    fn drop(&mut self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}
