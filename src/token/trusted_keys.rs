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

use std::{
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::{ArcSwap, Guard};
use reqwest::{StatusCode, Url, header};
use tokio::{
    sync::{Notify, watch},
    task::AbortHandle,
    time::Instant,
};

use super::trusted_key::{TrustedKey, TrustedKeySet};
use crate::{config::Algorithm, crypto, metrics::Metrics, outbound::Outbound};

/// Longest JWK set, in bytes.
pub const MAX_JWKS_LEN: usize = 256 * 1024;
/// Time for a fetch, all of it.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// Fetches are at least so far apart, whoever asks.
const MIN_FETCH_INTERVAL: Duration = Duration::from_secs(10);
/// The soonest that `max-age` can ask for.
const MIN_REFRESH_INTERVAL: Duration = Duration::from_mins(1);
/// How often a file is looked at.
const FILE_POLL_INTERVAL: Duration = Duration::from_secs(2);
/// How often the age of the keys is told.
const AGE_METRIC_INTERVAL: Duration = Duration::from_secs(1);
/// Most keys tried for one token.
const MAX_KEYS_TRIED: usize = 8;
/// Keys that are not used are told so far; a set may have hundreds.
const MAX_LOGGED_KEYS: usize = 8;

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

/// What the task and the requests share.
#[derive(Debug)]
struct KeyState {
    current: ArcSwap<KeySet>,
    refresh_requested: Notify,
    /// The last attempt to get keys has failed.
    failing: AtomicBool,
    /// Whether there has been an attempt.
    first_attempt: watch::Sender<bool>,
}

/// The keys of one moment.
#[derive(Debug)]
pub(super) struct KeySet {
    /// Tells this set from those before it.
    version: u64,
    keys: Vec<TrustedKey>,
    digest: [u8; 32],
    fetched: Option<Instant>,
    /// The issuer says that no key is good.
    is_withdrawn: bool,
}

/// What a key set says of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SignatureCheck {
    Valid,
    Invalid,
    /// No key has the id.
    UnknownKey,
    /// The keys are for other algorithms.
    AlgorithmMismatch,
    /// There are no keys at all, not even old ones.
    NoKeys,
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

impl KeySet {
    pub(super) const fn version(&self) -> u64 {
        self.version
    }

    /// Whether one of the keys made this signature.
    pub(super) fn check(
        &self,
        alg: &str,
        kid: Option<&str>,
        message: &[u8],
        signature: &str,
    ) -> SignatureCheck {
        if self.keys.is_empty() {
            // What is known to be good for nothing is refused as any other; what nobody knows is
            // not.
            return if self.is_withdrawn {
                SignatureCheck::UnknownKey
            } else {
                SignatureCheck::NoKeys
            };
        }
        let is_named =
            kid.is_some_and(|kid| self.keys.iter().any(|key| key.kid.as_deref() == Some(kid)));
        let mut candidates = self.keys.iter().filter(|key| match kid {
            Some(kid) if is_named => key.kid.as_deref() == Some(kid),
            Some(_) => key.kid.is_none(),
            None => true,
        });
        let mut fitting = candidates
            .clone()
            .filter(|key| key.algorithm.is_named(alg))
            .take(MAX_KEYS_TRIED)
            .peekable();
        if candidates.next().is_none() {
            SignatureCheck::UnknownKey
        } else if fitting.peek().is_none() {
            SignatureCheck::AlgorithmMismatch
        } else if fitting.any(|key| key.check.accepts(message, signature)) {
            SignatureCheck::Valid
        } else {
            SignatureCheck::Invalid
        }
    }
}

impl TrustedKeys {
    /// Keys that the config gives.
    pub(super) fn from_config(name: Arc<str>, keys: Vec<TrustedKey>, digest: [u8; 32]) -> Self {
        let set = KeySet {
            version: 0,
            keys,
            digest,
            fetched: None,
            is_withdrawn: false,
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
            version: 0,
            keys,
            digest,
            fetched,
            is_withdrawn: false,
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
        let set = KeySet {
            version: 0,
            keys: Vec::new(),
            digest: [0; 32],
            fetched: None,
            is_withdrawn: false,
        };
        Self::with(name, KeySource::Url { url, refresh }, algorithms, set)
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

/// What one task works with.
struct KeyFollower {
    name: Arc<str>,
    algorithms: Vec<Algorithm>,
    state: Arc<KeyState>,
}

impl KeyFollower {
    async fn file(self, path: PathBuf, age: prometheus::Gauge) {
        let mut reported = String::new();
        loop {
            self.update_age(&age);
            tokio::time::sleep(FILE_POLL_INTERVAL).await;
            let path = path.clone();
            let read = tokio::task::spawn_blocking(move || read_file(&path)).await;
            let taken = read
                .unwrap_or_else(|_| Err("cannot be read".to_owned()))
                .and_then(|bytes| self.take(&bytes));
            self.report(taken, &mut reported);
        }
    }

    async fn url(self, url: Url, refresh: Duration, age: prometheus::Gauge) {
        let mut reported = String::new();
        let client = match Outbound::new(&url) {
            Ok(client) => client,
            Err(fault) => {
                self.report(Err(fault.to_string()), &mut reported);
                return;
            }
        };
        let mut failures = 0_u32;
        loop {
            let (fetched, max_age) = self.fetch(&client, &url).await;
            failures = if fetched.is_ok() {
                0
            } else {
                failures.saturating_add(1)
            };
            self.report(fetched, &mut reported);
            let next = match failures {
                0 => max_age.map_or(refresh, |age| age.max(MIN_REFRESH_INTERVAL).min(refresh)),
                // 10 s, 20 s, 40 s, then a minute; without any keys there is nothing to fall back
                // on, so no longer than ten seconds.
                _ if self.state.current.load().keys.is_empty() => MIN_FETCH_INTERVAL,
                failures => (MIN_FETCH_INTERVAL * (1 << (failures - 1).min(3)))
                    .min(MIN_REFRESH_INTERVAL)
                    .min(refresh),
            };
            self.rest(next, &age).await;
        }
    }

    /// Waits for the next fetch: until it is due, or somebody asks for it.
    async fn rest(&self, next: Duration, age: &prometheus::Gauge) {
        let (due, soonest) = (Instant::now() + next, Instant::now() + MIN_FETCH_INTERVAL);
        let mut is_wanted = false;
        let mut ticks = tokio::time::interval(AGE_METRIC_INTERVAL);
        loop {
            let end = if is_wanted { soonest } else { due };
            tokio::select! {
                () = tokio::time::sleep_until(end) => return,
                () = self.state.refresh_requested.notified(), if !is_wanted => is_wanted = true,
                _ = ticks.tick() => self.update_age(age),
            }
        }
    }

    fn update_age(&self, age: &prometheus::Gauge) {
        if let Some(fetched) = self.state.current.load().fetched {
            age.set(fetched.elapsed().as_secs_f64());
        }
    }

    /// What became of a fetch, and how long the answer says that it is good for.
    async fn fetch(&self, client: &Outbound, url: &Url) -> (Result<(), String>, Option<Duration>) {
        match client.fetch(url.clone(), MAX_JWKS_LEN, FETCH_TIMEOUT).await {
            Err(fault) => (Err(fault.to_string()), None),
            Ok(answer) if answer.status() != StatusCode::OK => {
                (Err(format!("answered {}", answer.status().as_u16())), None)
            }
            Ok(answer) => {
                let control = answer
                    .headers()
                    .get(header::CACHE_CONTROL)
                    .and_then(|value| value.to_str().ok());
                (self.take(answer.body()), control.and_then(max_age))
            }
        }
    }

    /// Takes a set, whatever is in it. One without keys is told as a failure all the same: a person
    /// should look, and it is asked for again soon.
    fn take(&self, bytes: &[u8]) -> Result<(), String> {
        let (digest, current) = (crypto::sha256(bytes), self.state.current.load());
        let set = TrustedKeySet::parse(bytes, &self.algorithms)?;
        let (problem, is_withdrawn) =
            (set.problem(), set.keys.is_empty() && set.ignored.is_empty());
        let is_known = digest == current.digest;
        if !is_known {
            for (which, why) in set.ignored.iter().take(MAX_LOGGED_KEYS) {
                tracing::warn!(
                    issuer = &*self.name,
                    "key {which} of issuer {} {why}: it is not used",
                    self.name
                );
            }
            if let Some(more) = set
                .ignored
                .len()
                .checked_sub(MAX_LOGGED_KEYS)
                .filter(|&more| more > 0)
            {
                tracing::warn!(
                    issuer = &*self.name,
                    "{more} more keys of issuer {} are not used",
                    self.name
                );
            }
            tracing::info!(
                issuer = &*self.name,
                keys = set.keys.len(),
                "issuer {} has {} keys",
                self.name,
                set.keys.len()
            );
        }
        // Where nothing is new, what was verified stays so; only the age begins anew.
        let version = current.version + u64::from(!is_known);
        let set = KeySet {
            version,
            keys: set.keys,
            digest,
            fetched: Some(Instant::now()),
            is_withdrawn,
        };
        self.state.current.store(Arc::new(set));
        problem.map_or(Ok(()), |problem| Err(problem.to_owned()))
    }

    /// Tells a failure once, and its end.
    fn report(&self, outcome: Result<(), String>, reported: &mut String) {
        self.state
            .failing
            .store(outcome.is_err(), Ordering::Relaxed);
        self.state.first_attempt.send_replace(true);
        let why = outcome.err().unwrap_or_default();
        if why == *reported {
            return;
        }
        let name = &*self.name;
        match (why.as_str(), self.state.current.load().keys.is_empty()) {
            ("", _) => tracing::info!(issuer = name, "the keys of issuer {name} can be had again"),
            (why, true) => tracing::warn!(issuer = name, "issuer {name} has no keys: {why}"),
            (why, false) => tracing::warn!(
                issuer = name,
                "the keys of issuer {name} stay as they were: {why}"
            ),
        }
        *reported = why;
    }
}

/// `max-age` of a `Cache-Control` (RFC 9111 section 5.2.2.1); `no-cache` and `no-store` are zero.
fn max_age(control: &str) -> Option<Duration> {
    let mut directives = control
        .split(',')
        .map(|directive| directive.trim().to_ascii_lowercase());
    directives.find_map(|directive| match directive.as_str() {
        "no-store" | "no-cache" => Some(Duration::ZERO),
        other => other
            .strip_prefix("max-age=")?
            .trim_matches('"')
            .parse()
            .ok()
            .map(Duration::from_secs),
    })
}

/// A key file, not longer than a set may be.
pub(super) fn read_file(path: &std::path::Path) -> Result<Vec<u8>, String> {
    use std::io::Read;
    let failed =
        |error: std::io::Error| format!("{} cannot be read ({})", path.display(), error.kind());
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(MAX_JWKS_LEN as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() > MAX_JWKS_LEN {
        Err(format!("{} is longer than 256 KiB", path.display()))
    } else {
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn max_age_is_read_wherever_it_stands() {
        for (control, secs) in [
            ("max-age=300", Some(300)),
            ("public, Max-Age=5, must-revalidate", Some(5)),
            ("max-age=\"7\"", Some(7)),
            ("no-store", Some(0)),
            ("private", None),
            ("max-age=x", None),
            ("", None),
        ] {
            assert_eq!(
                max_age(control),
                secs.map(Duration::from_secs),
                "{control:?}"
            );
        }
    }
}
