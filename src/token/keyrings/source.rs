//! The source of the signing keys, and which of them sign and verify now.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::error::KeyringError;
use crate::{
    config::{Algorithm, SecretText, TokenConfig},
    entropy::Entropy,
    store::{Store, StoredKey},
    token::{
        key::{self, KeyPair},
        keyring::SigningDates,
    },
    types::Timestamp,
};

/// The source of the keys.
#[derive(Debug)]
pub(super) enum SigningKeySource {
    /// Generated; `previous` are former HS256 secrets that verify too.
    Store {
        algorithm: Algorithm,
        previous: Vec<SecretText>,
        schedule: Option<RotationSchedule>,
    },
    /// Files `*.pem`; the last name in order signs.
    Directory { path: PathBuf, algorithm: Algorithm },
    /// HS256; the first signs.
    Secrets(Vec<SecretText>),
    /// Fixed at construction.
    Fixed,
}

/// The schedule of rotations.
#[derive(Debug, Clone, Copy)]
pub(super) struct RotationSchedule {
    /// How long a key signs.
    pub(super) signs_for: Duration,
    /// How long before that its successor is published.
    pub(super) published_before: Duration,
}

impl SigningKeySource {
    pub(super) fn from_config(config: &TokenConfig) -> Self {
        let (algorithm, previous) = (config.algorithm, config.previous_secrets.clone());
        let schedule = config.rotate_every.map(|signs_for| RotationSchedule {
            signs_for: signs_for.get(),
            published_before: config.publish_before.get(),
        });
        match (algorithm, &config.secret, &config.key_dir) {
            (Algorithm::Hs256, Some(secret), _) => {
                Self::Secrets([vec![secret.clone()], previous].concat())
            }
            (Algorithm::Hs256, None, _) => Self::Store {
                algorithm,
                previous,
                schedule,
            },
            (Algorithm::EdDsa | Algorithm::Es256 | Algorithm::Rs256, _, Some(path)) => {
                Self::Directory {
                    path: path.clone(),
                    algorithm,
                }
            }
            (Algorithm::EdDsa | Algorithm::Es256 | Algorithm::Rs256, _, None) => Self::Store {
                algorithm,
                previous: Vec::new(),
                schedule,
            },
        }
    }

    /// All keys that verify, the signing one first, and the times of the change-over; `None`: they
    /// never change.
    pub(super) async fn read(
        &self,
        store: &dyn Store,
        verifies_for: Duration,
        now: Timestamp,
    ) -> Result<Option<(Vec<KeyPair>, SigningDates)>, KeyringError> {
        match self {
            Self::Store { previous, .. } => {
                let mut keys = store.keys().await?;
                keys.truncate(count_verifying(&keys, verifies_for, now));
                let dates = signing_first(&mut keys, now);
                let mut pairs = keys.iter().map(key_pair).collect::<Result<Vec<_>, _>>()?;
                pairs.extend(secrets("tokens.previous_secrets", previous)?);
                Ok(Some((pairs, dates)))
            }
            Self::Directory { path, algorithm } => Ok(Some((
                directory(path, *algorithm).await?,
                SigningDates::default(),
            ))),
            Self::Secrets(given) => Ok(Some((
                secrets("tokens.secret", given)?,
                SigningDates::default(),
            ))),
            Self::Fixed => Ok(None),
        }
    }
}

/// Moves the signing key to the front, of keys in order newest first: the newest whose time has
/// come, or the oldest where the clock is behind them all. Newer ones wait for their time.
fn signing_first(keys: &mut [StoredKey], now: Timestamp) -> SigningDates {
    let signs = keys
        .iter()
        .position(|key| key.signs_from <= now)
        .unwrap_or(keys.len().saturating_sub(1));
    let Some((signing, waiting)) = keys.get(..=signs).and_then(<[_]>::split_last) else {
        return SigningDates::default();
    };
    let next = waiting.last().map(|key| (key.kid.clone(), key.signs_from));
    let dates = SigningDates {
        since: Some(signing.signs_from),
        next,
    };
    keys[..=signs].rotate_right(1);
    dates
}

/// How many of the keys, newest first, still verify: the newest, and each other until
/// `verifies_for` after the one before it in the list replaced it.
pub(super) fn count_verifying(keys: &[StoredKey], verifies_for: Duration, now: Timestamp) -> usize {
    let over = |replaced_by: &StoredKey| now >= replaced_by.signs_from.plus(verifies_for);
    keys.iter()
        .position(over)
        .map_or(keys.len(), |newest_over| newest_over + 1)
}

pub(super) fn generate_key(
    algorithm: Algorithm,
    entropy: &Entropy,
    now: Timestamp,
) -> Result<StoredKey, KeyringError> {
    key::generate(algorithm, entropy, now).map_err(|reason| KeyringError::Key {
        name: algorithm.as_str().to_owned(),
        reason,
    })
}

pub(super) fn key_pair(key: &StoredKey) -> Result<KeyPair, KeyringError> {
    KeyPair::from_stored(key).map_err(|reason| KeyringError::Key {
        name: key.kid.clone(),
        reason,
    })
}

fn secrets(name: &str, given: &[SecretText]) -> Result<Vec<KeyPair>, KeyringError> {
    given
        .iter()
        .map(|secret| KeyPair::from_secret(secret.expose().as_bytes()))
        .collect::<Result<_, _>>()
        .map_err(|reason| KeyringError::Key {
            name: name.to_owned(),
            reason,
        })
}

/// The key files, last name first.
async fn directory(path: &Path, algorithm: Algorithm) -> Result<Vec<KeyPair>, KeyringError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |error| KeyringError::Unreadable { path, error }
    };
    let mut files = Vec::new();
    let mut listing = tokio::fs::read_dir(path).await.map_err(unreadable(path))?;
    while let Some(entry) = listing.next_entry().await.map_err(unreadable(path))? {
        let file = entry.path();
        if file.extension().is_some_and(|extension| extension == "pem") {
            files.push(file);
        }
    }
    files.sort_unstable_by(|left, right| right.cmp(left));
    let mut pairs = Vec::with_capacity(files.len());
    for file in &files {
        let text =
            crate::types::Secret::new(tokio::fs::read(file).await.map_err(unreadable(file))?);
        let pair = KeyPair::from_pem(text.expose()).map_err(|reason| KeyringError::Key {
            name: file.display().to_string(),
            reason,
        })?;
        pairs.push(pair);
    }
    match (files.into_iter().next(), pairs.first()) {
        (Some(_), Some(signs)) if signs.verifying.algorithm == algorithm => Ok(pairs),
        (Some(path), _) => Err(KeyringError::WrongAlgorithm {
            path,
            wanted: algorithm.as_str(),
        }),
        (None, _) => Err(KeyringError::NoKeyFile(path.to_owned())),
    }
}
