//! The signing keys, and how they change while requests go on.
//!
//! Generated keys are in the store, so all replicas share them. A rotation by an operator adds a
//! key that signs at once. A rotation on schedule adds the next key some time before it signs, so
//! that copies of the published keys have it by then; each key has the time from which it signs, so
//! all replicas change over at one time and nothing has to be written for it. The previous key
//! verifies until no token that it signed can be valid. A replica that meets an unknown key reads
//! the store again.
//!
//! Must stay true: a reader never waits, it uses the current snapshot; a failed load changes
//! nothing; of all processes that find the next key due, one adds it (`add_key` compares the newest
//! one).

mod error;
mod source;

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::{ArcSwap, Guard};
use tokio::sync::{Mutex, Notify};

pub use error::KeyringError;

use super::{
    claims::Lifetimes,
    key::{KeyPair, VerifyingKey},
    keyring::{Keyring, SigningDates},
    trusted_key::TrustedKeySet,
};
use crate::{
    audit::{Audit, Event},
    clock::Clock,
    config::{Algorithm, TokenConfig},
    crypto::Key,
    entropy::Entropy,
    metrics::Metrics,
    store::{Store, StoredKey, UpkeepLease},
    types::Timestamp,
};
use source::{SigningKeySource, count_verifying, generate_key, key_pair};

/// How often the keys are read again without a request.
const RELOAD_INTERVAL: Duration = Duration::from_mins(1);
/// Reloads are at least so far apart, also on request: key ids can be made up.
const MIN_RELOAD_INTERVAL: Duration = Duration::from_secs(10);
/// How much longer a replaced key verifies than its last token is valid: another replica may sign
/// with it until it reloads.
const ROTATION_OVERLAP: Duration = Duration::from_mins(5);

/// The current keys and their source.
#[derive(Debug)]
pub struct Keyrings {
    source: SigningKeySource,
    /// How long a key verifies after it has been replaced.
    verifies_for: Duration,
    current: ArcSwap<Keyring>,
    version: AtomicU64,
    reload_requested: Notify,
    /// The root of derived keys for assertions ([`Keyring`]); without it there are none.
    derived_key_root: OnceLock<Key>,
    /// Held while keys are read and swapped, so that an older read never replaces a newer one.
    changing: Mutex<()>,
}

/// The dependencies of [`Keyrings::follow`].
#[derive(Clone, Copy)]
pub struct KeyMaintenance<'a> {
    pub store: &'a dyn Store,
    /// Only its holder adds and removes keys.
    pub lease: &'a UpkeepLease,
    pub clock: &'a Clock,
    pub entropy: &'a Entropy,
    pub audit: &'a Audit,
    pub metrics: &'a Metrics,
}

/// The result of a rotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RotationResult {
    /// A new key signs.
    Added { kid: String },
    /// Another process rotated at the same moment; its key signs.
    Overtaken { kid: String },
}

/// How long a key verifies after it has been replaced.
fn verifies_for(config: &TokenConfig, lifetimes: Lifetimes) -> Duration {
    lifetimes.max_access_ttl + lifetimes.renewable_for + config.leeway.get() + ROTATION_OVERLAP
}

impl Keyrings {
    /// Reads the keys that the config names; the first start generates one and stores it. Each key
    /// signs and verifies once before it is used.
    ///
    /// `tokens.secret_file` must have been read into `tokens.secret` before.
    pub async fn open(
        config: &TokenConfig,
        lifetimes: Lifetimes,
        store: &dyn Store,
        entropy: &Entropy,
        now: Timestamp,
    ) -> Result<Self, KeyringError> {
        let source = SigningKeySource::from_config(config);
        if let SigningKeySource::Store { algorithm, .. } = source {
            let newest = store.keys().await?.into_iter().next();
            if newest
                .as_ref()
                .is_none_or(|key| key.algorithm != algorithm.as_str())
            {
                // Where another replica is faster, its key is used.
                store
                    .add_key(
                        &generate_key(algorithm, entropy, now)?,
                        newest.as_ref().map(|key| key.kid.as_str()),
                    )
                    .await?;
            }
        }
        Self::read_from(source, verifies_for(config, lifetimes), store, now).await
    }

    async fn read_from(
        source: SigningKeySource,
        verifies_for: Duration,
        store: &dyn Store,
        now: Timestamp,
    ) -> Result<Self, KeyringError> {
        let (pairs, dates) = source
            .read(store, verifies_for, now)
            .await?
            .ok_or(KeyringError::NoKey)?;
        Self::from_pairs(source, verifies_for, pairs, dates)
    }

    /// Reads the keys that the config names, and generates none: where the store's are of another
    /// algorithm, a start would.
    pub async fn existing(
        config: &TokenConfig,
        lifetimes: Lifetimes,
        store: &dyn Store,
        now: Timestamp,
    ) -> Result<Self, KeyringError> {
        let source = SigningKeySource::from_config(config);
        if let SigningKeySource::Store { algorithm, .. } = source {
            let keys = store.keys().await?;
            let newest = keys.first().ok_or(KeyringError::NoKey)?;
            if newest.algorithm != algorithm.as_str() {
                return Self::fixed(&keys);
            }
        }
        Self::read_from(source, verifies_for(config, lifetimes), store, now).await
    }

    /// Derives keys for assertions from now on, whatever the algorithm. `root` must be used for
    /// nothing else; all replicas share it. Cannot be undone.
    pub async fn enable_assertions(
        &self,
        root: Key,
        store: &dyn Store,
        now: Timestamp,
    ) -> Result<(), KeyringError> {
        drop(self.derived_key_root.set(root));
        self.reload(store, now).await.map(drop)
    }

    /// Keys that never change, without a store. The first key signs.
    pub fn fixed(keys: &[StoredKey]) -> Result<Self, KeyringError> {
        let pairs = keys.iter().map(key_pair).collect::<Result<_, _>>()?;
        Self::from_pairs(
            SigningKeySource::Fixed,
            Duration::MAX,
            pairs,
            SigningDates::default(),
        )
    }

    /// The keys that another process publishes (a JWK set), to verify its tokens. Tokens signed
    /// with this are valid nowhere.
    pub fn published(jwks: &[u8], entropy: &Entropy, now: Timestamp) -> Result<Self, KeyringError> {
        let algorithms = [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Rs256];
        let set = TrustedKeySet::parse(jwks, &algorithms).map_err(|_| KeyringError::NoKey)?;
        let named = set.keys.into_iter().filter_map(|key| {
            Some(VerifyingKey {
                kid: key.kid?,
                algorithm: key.algorithm,
                check: key.check,
                jwk: None,
            })
        });
        let spare = key_pair(&generate_key(Algorithm::EdDsa, entropy, now)?)?;
        let ring = Keyring::published(spare, named.collect()).ok_or(KeyringError::NoKey)?;
        Ok(Self::from_keyring(
            SigningKeySource::Fixed,
            Duration::MAX,
            ring,
        ))
    }

    /// The current keys. Load once for one decision; do not keep it.
    pub fn current(&self) -> Guard<Arc<Keyring>> {
        self.current.load()
    }

    /// The version of [`Keyrings::current`], cheaper to load.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Reads the keys again. Returns whether they have changed.
    pub async fn reload(&self, store: &dyn Store, now: Timestamp) -> Result<bool, KeyringError> {
        let _alone = self.changing.lock().await;
        self.read_and_swap(store, now).await
    }

    /// Adds a new key of the configured algorithm, which signs from now on.
    pub async fn rotate(
        &self,
        store: &dyn Store,
        entropy: &Entropy,
        now: Timestamp,
    ) -> Result<RotationResult, KeyringError> {
        let SigningKeySource::Store { algorithm, .. } = self.source else {
            return Err(KeyringError::NotOurs);
        };
        let _alone = self.changing.lock().await;
        let newest = store.keys().await?.into_iter().next();
        let key = generate_key(algorithm, entropy, now)?;
        let added = store
            .add_key(&key, newest.as_ref().map(|key| key.kid.as_str()))
            .await?;
        self.read_and_swap(store, now).await?;
        let kid = self.current().signing_kid().to_owned();
        Ok(if added {
            RotationResult::Added { kid }
        } else {
            RotationResult::Overtaken { kid }
        })
    }

    /// Adds the next key when it is due. `None`: it is not due, or another process has added it.
    async fn prepare_next(
        &self,
        store: &dyn Store,
        entropy: &Entropy,
        now: Timestamp,
    ) -> Result<Option<StoredKey>, KeyringError> {
        let SigningKeySource::Store {
            algorithm,
            schedule: Some(schedule),
            ..
        } = self.source
        else {
            return Ok(None);
        };
        let _alone = self.changing.lock().await;
        let Some(newest) = store.keys().await?.into_iter().next() else {
            return Ok(None);
        };
        let over = newest.signs_from.plus(schedule.signs_for);
        // A key that would start signing later than twice the rotation interval from now was made
        // by a clock that was far ahead: it must not hold up the others.
        let is_too_far_ahead = newest.signs_from > now.plus(schedule.signs_for * 2);
        if !is_too_far_ahead && now < over.minus(schedule.published_before) {
            return Ok(None);
        }
        // Where no process ran when it was due, it is published as long before signing as any
        // other.
        let soonest = now.plus(schedule.published_before);
        let signs_from = if is_too_far_ahead {
            soonest
        } else {
            over.max(soonest)
        };
        let key = StoredKey {
            signs_from,
            ..generate_key(algorithm, entropy, now)?
        };
        let added = store.add_key(&key, Some(&newest.kid)).await?;
        self.read_and_swap(store, now).await?;
        Ok(added.then_some(key))
    }

    /// Removes replaced keys from the store that no valid token can have been signed with. Returns
    /// their ids.
    pub async fn retire(
        &self,
        store: &dyn Store,
        now: Timestamp,
    ) -> Result<Vec<String>, KeyringError> {
        let SigningKeySource::Store { .. } = self.source else {
            return Ok(Vec::new());
        };
        let _alone = self.changing.lock().await;
        let mut keys = store.keys().await?;
        let retired: Vec<String> = keys
            .split_off(count_verifying(&keys, self.verifies_for, now))
            .into_iter()
            .map(|key| key.kid)
            .collect();
        for kid in &retired {
            store.remove_key(kid).await?;
        }
        if !retired.is_empty() {
            self.read_and_swap(store, now).await?;
        }
        Ok(retired)
    }

    /// Requests a reload: a token named an unknown key. Never waits; many calls are one.
    pub fn request_reload(&self) {
        self.reload_requested.notify_one();
    }

    /// Whether a reload was requested; clears the request.
    #[cfg(test)]
    pub(crate) fn reload_was_requested(&self) -> bool {
        use futures::FutureExt as _;
        self.reload_requested.notified().now_or_never().is_some()
    }

    /// Follows the keys until `shutdown`: reads them now, every minute, and when a token named an
    /// unknown one, but not more often than every ten seconds; adds the next one when due, and
    /// removes retired ones. While the store fails the current keys stay.
    pub async fn follow(&self, with: KeyMaintenance<'_>, shutdown: impl Future<Output = ()>) {
        let mut shutdown = pin!(shutdown);
        let mut failing = false;
        loop {
            let now = with.clock.now();
            match self.refresh(with, now).await {
                Ok(()) => failing = false,
                Err(error) if !failing => {
                    failing = true;
                    tracing::warn!(%error, "the signing keys could not be read again, the present ones stay");
                }
                Err(_) => {}
            }
            let age = self
                .current()
                .signs_since()
                .map_or(Duration::ZERO, |since| now.since(since));
            with.metrics.signing_key_age.set(age.as_secs_f64());
            tokio::select! {
                () = &mut shutdown => return,
                () = tokio::time::sleep(MIN_RELOAD_INTERVAL) => {}
            }
            tokio::select! {
                () = &mut shutdown => return,
                () = self.reload_requested.notified() => {}
                () = tokio::time::sleep(RELOAD_INTERVAL) => {}
            }
        }
    }

    async fn refresh(&self, with: KeyMaintenance<'_>, now: Timestamp) -> Result<(), KeyringError> {
        let KeyMaintenance { store, audit, .. } = with;
        if self.reload(store, now).await? {
            tracing::info!(
                kid = self.current().signing_kid(),
                "the signing keys have changed"
            );
        }
        if !with.lease.is_held() {
            return Ok(());
        }
        if let Some(key) = self.prepare_next(store, with.entropy, now).await? {
            audit.record(&Event::KeyAdded {
                kid: &key.kid,
                algorithm: &key.algorithm,
                signs_from: key.signs_from,
                by: "schedule",
            });
        }
        for kid in self.retire(store, now).await? {
            audit.record(&Event::KeyRemoved { kid: &kid });
        }
        Ok(())
    }

    fn from_pairs(
        source: SigningKeySource,
        verifies_for: Duration,
        pairs: Vec<KeyPair>,
        dates: SigningDates,
    ) -> Result<Self, KeyringError> {
        let first = Keyring::new(0, pairs, dates, None).ok_or(KeyringError::NoKey)?;
        Ok(Self::from_keyring(source, verifies_for, first))
    }

    fn from_keyring(source: SigningKeySource, verifies_for: Duration, first: Keyring) -> Self {
        Self {
            source,
            verifies_for,
            current: ArcSwap::from_pointee(first),
            version: AtomicU64::new(0),
            reload_requested: Notify::new(),
            derived_key_root: OnceLock::new(),
            changing: Mutex::new(()),
        }
    }

    async fn read_and_swap(&self, store: &dyn Store, now: Timestamp) -> Result<bool, KeyringError> {
        let Some((pairs, dates)) = self.source.read(store, self.verifies_for, now).await? else {
            return Ok(false);
        };
        let before = self.current.load_full();
        let next = Keyring::new(
            before.version() + 1,
            pairs,
            dates,
            self.derived_key_root.get(),
        )
        .ok_or(KeyringError::NoKey)?;
        if next.kids().eq(before.kids())
            && next.dates() == before.dates()
            && next.signs_assertions() == before.signs_assertions()
        {
            return Ok(false);
        }
        let version = next.version();
        self.current.store(Arc::new(next));
        self.version.store(version, Ordering::Release);
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
