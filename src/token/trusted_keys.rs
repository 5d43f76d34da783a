//! The keys of one other issuer as they are now, and how newer ones come.
//!
//! Keys given in the config never change. A JWK set is fetched in the background, or read again
//! when its file changes; each issuer has a task of its own, so one that is slow or broken hurts no
//! other. A request never waits for keys: it takes those there are.
//!
//! Must stay true: what cannot be fetched or read changes nothing, however long that lasts; what
//! can be read takes the place of what was there, also where it has no key: an issuer that
//! publishes an empty set has taken its keys back; a stranger who makes up key ids causes one fetch
//! in ten seconds at most.

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

pub(super) use key_set::SignatureCheck;

use super::trusted_key::{TrustedKey, TrustedKeySet, read_file};
use crate::{config::Algorithm, crypto, metrics::Metrics};
use follower::KeyFollower;
use key_set::{KeySet, KeyState};

/// Where keys come from.
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

/// How an issuer's keys are doing, for `/readyz`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyHealth {
    Ok,
    /// There are keys, and newer ones could not be had.
    Stale,
    Missing,
    /// The issuer has taken them back.
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
    /// Keys that the config gives.
    pub(super) fn from_config(name: Arc<str>, keys: Vec<TrustedKey>, digest: [u8; 32]) -> Self {
        let set = KeySet {
            keys,
            digest,
            ..KeySet::default()
        };
        Self::with(name, KeySource::Static(digest), Vec::new(), set)
    }

    /// Keys of a set in a file, which has to be right now.
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

    /// Keys that have to be fetched: none yet.
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

    /// Whether both follow the same keys, so that those had already can go on.
    pub(super) fn has_same_source(&self, other: &Self) -> bool {
        (&self.name, &self.source, &self.algorithms)
            == (&other.name, &other.source, &other.algorithms)
    }

    /// The keys of the moment.
    pub(super) fn current(&self) -> Guard<Arc<KeySet>> {
        self.state.current.load()
    }

    /// Somebody has shown a key id that is not known.
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

    /// Waits until keys have been had, or could not be had, for the first time.
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

    /// Starts to follow the keys, unless that has been done.
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
