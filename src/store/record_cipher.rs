//! What the store keeps secret: sealing of whole records, and keyed hashes for what records are
//! found by.
//!
//! Every record is encrypted, not only the personal parts, so no field can be forgotten. A record
//! opens only under the key it was stored at: bytes moved to another key are damage, not another
//! user's data. Inside is `MessagePack` with the fields' names, so that fields can be added; JSON
//! would write bytes as decimal numbers.
//!
//! The keys that do this are the store's own (a [`Keyring`]), random and kept in the store, wrapped
//! with the encryption key of the config. So the key of the config can be changed by wrapping one
//! record anew, and the store's keys can be replaced while the store is in use: see `reencrypt`.

use std::sync::Arc;

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use super::error::EngineError;
use crate::{
    crypto::{self, Key},
    entropy::{Entropy, NoEntropy},
};

/// First byte of every record: how the rest is to be read.
const FORMAT: u8 = 2;

/// A larger record is refused. The engines are tuned for small values, and nothing that a client
/// sends may fill the store.
const MAX_RECORD_LEN: usize = 64 * 1024;

/// What wraps the keys of one store, derived from the encryption key of the config.
#[derive(Debug, Clone)]
pub struct StoreKeys {
    wrap: Key,
    previous: Option<Key>,
}

impl StoreKeys {
    /// From the encryption key of the config, which is used for nothing else; and from the one
    /// before it, under which the store may still be.
    pub fn derive(key: &Key, previous: Option<&Key>) -> Self {
        let wrap = |key: &Key| crypto::derive(key, "store wrap");
        Self {
            wrap: wrap(key),
            previous: previous.map(wrap),
        }
    }
}

/// The store's own keys. The first of `keys` seals; the others still open, while their records are
/// being re-encrypted.
#[derive(Debug, Clone)]
pub(super) struct Keyring {
    root: Key,
    keys: Vec<DataKey>,
    /// Not in the store any more: for bytes that were read just before their record was
    /// re-encrypted.
    retired: Vec<DataKey>,
}

/// One generation of keys.
#[derive(Debug, Clone)]
struct DataKey {
    id: u32,
    seal: Key,
    lookup: Key,
}

/// A keyring as it is wrapped and written.
#[derive(Serialize, Deserialize)]
struct KeyringRecord {
    root: [u8; 32],
    keys: Vec<(u32, [u8; 32], [u8; 32])>,
}

/// How a wrapped keyring was opened.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum WrappedWith {
    /// With the present encryption key.
    Present,
    /// With the previous one: it is to be wrapped anew.
    Previous,
}

impl Keyring {
    /// A new one.
    pub(super) fn generate(entropy: &Entropy) -> Result<Self, NoEntropy> {
        Ok(Self {
            root: Key::new(entropy.bytes()?),
            keys: vec![DataKey::generate(1, entropy)?],
            retired: Vec::new(),
        })
    }

    /// With a new key in front.
    pub(super) fn with_new_key(&self, entropy: &Entropy) -> Result<Self, NoEntropy> {
        let id = self
            .keys
            .iter()
            .chain(&self.retired)
            .map(|key| key.id)
            .max()
            .unwrap_or_default()
            .wrapping_add(1);
        let mut keys = self.keys.clone();
        keys.insert(0, DataKey::generate(id, entropy)?);
        Ok(Self {
            keys,
            ..self.clone()
        })
    }

    /// With the key in front alone.
    pub(super) fn newest_only(&self) -> Self {
        let mut keys = self.keys.clone();
        let retired = keys.split_off(keys.len().min(1));
        Self {
            root: self.root.clone(),
            keys,
            retired,
        }
    }

    /// With another secret from which others are derived.
    pub(super) fn with_root(&self, root: Key) -> Self {
        Self {
            root,
            ..self.clone()
        }
    }

    /// Whether older keys are still needed.
    pub(super) fn is_rotating(&self) -> bool {
        self.keys.len() > 1
    }

    /// What other secrets of the deployment are derived from. Outlives every other key.
    pub(super) const fn root(&self) -> &Key {
        &self.root
    }

    /// The bytes to be stored at `at`.
    pub(super) fn wrap(
        &self,
        keys: &StoreKeys,
        entropy: &Entropy,
        at: &[u8],
    ) -> Result<Vec<u8>, EngineError> {
        let each = |key: &DataKey| (key.id, *key.seal.expose(), *key.lookup.expose());
        let record = KeyringRecord {
            root: *self.root.expose(),
            keys: self.keys.iter().map(each).collect(),
        };
        let plain = Zeroizing::new(
            rmp_serde::to_vec(&record)
                .map_err(|_| EngineError::damaged(at, "cannot be written"))?,
        );
        crypto::seal(&keys.wrap, entropy, at, &plain).map_err(|NoEntropy| NO_RANDOM)
    }

    /// The keyring in these bytes, found at `at`; `None` when neither encryption key opens it.
    pub(super) fn unwrap(keys: &StoreKeys, at: &[u8], bytes: &[u8]) -> Option<(Self, WrappedWith)> {
        let present =
            crypto::open(&keys.wrap, at, bytes).map(|plain| (plain, WrappedWith::Present));
        let previous = || {
            Some((
                crypto::open(keys.previous.as_ref()?, at, bytes)?,
                WrappedWith::Previous,
            ))
        };
        let (plain, with) = present.or_else(previous)?;
        let record: KeyringRecord = rmp_serde::from_slice(&Zeroizing::new(plain)).ok()?;
        let each = |(id, seal, lookup)| DataKey {
            id,
            seal: Key::new(seal),
            lookup: Key::new(lookup),
        };
        let keys: Vec<_> = record.keys.into_iter().map(each).collect();
        (!keys.is_empty()).then(|| {
            (
                Self {
                    root: Key::new(record.root),
                    keys,
                    retired: Vec::new(),
                },
                with,
            )
        })
    }
}

impl DataKey {
    fn generate(id: u32, entropy: &Entropy) -> Result<Self, NoEntropy> {
        Ok(Self {
            id,
            seal: Key::new(entropy.bytes()?),
            lookup: Key::new(entropy.bytes()?),
        })
    }
}

/// Seals, opens and hashes with the keys of one store.
#[derive(Debug)]
pub(super) struct RecordCipher {
    keyring: ArcSwap<Keyring>,
    entropy: Entropy,
}

const NO_RANDOM: EngineError = EngineError::Refused("the operating system's random source failed");

impl RecordCipher {
    pub(super) fn new(keyring: Keyring, entropy: Entropy) -> Self {
        Self {
            keyring: ArcSwap::from_pointee(keyring),
            entropy,
        }
    }

    /// The keys as they are now.
    pub(super) fn keyring(&self) -> Arc<Keyring> {
        self.keyring.load_full()
    }

    /// A cipher whose keys stay as they are now: lookup keys and ciphertexts of one operation must
    /// come from the same ones.
    pub(super) fn snapshot(&self) -> Self {
        Self {
            keyring: ArcSwap::new(self.keyring.load_full()),
            entropy: self.entropy.clone(),
        }
    }

    /// Uses these keys from now on. They must be durable already: what is sealed with a key that is
    /// lost is lost.
    pub(super) fn install(&self, keyring: Keyring) {
        self.keyring.store(Arc::new(keyring));
    }

    /// Random bytes for new keys.
    pub(super) const fn entropy(&self) -> &Entropy {
        &self.entropy
    }

    /// What something is found by: its keyed hash under each key, the newest first.
    pub(super) fn lookup_hashes(&self, parts: &[&[u8]]) -> Vec<[u8; 32]> {
        self.keyring
            .load()
            .keys
            .iter()
            .map(|key| crypto::mac(&key.lookup, parts))
            .collect()
    }

    /// The bytes of a record that will be stored at `at`.
    pub(super) fn seal<R: Serialize>(&self, at: &[u8], record: &R) -> Result<Vec<u8>, EngineError> {
        let plain = Zeroizing::new(
            rmp_serde::to_vec_named(record)
                .map_err(|_| EngineError::damaged(at, "cannot be written"))?,
        );
        self.seal_plain(at, &plain)
    }

    /// The same record for another place, or under a newer key, whatever kind it is.
    pub(super) fn reencrypt(
        &self,
        from: &[u8],
        bytes: &[u8],
        to: &[u8],
    ) -> Result<Vec<u8>, EngineError> {
        self.seal_plain(to, &self.open_plain(from, bytes)?)
    }

    /// Whether a record is sealed with the newest key.
    pub(super) fn is_newest(&self, bytes: &[u8]) -> bool {
        let newest = self.keyring.load().keys.first().map(|key| key.id);
        key_id(bytes).is_some_and(|(id, _)| Some(id) == newest)
    }

    /// The record in these bytes, found at `at`.
    pub(super) fn open<R: DeserializeOwned>(
        &self,
        at: &[u8],
        bytes: &[u8],
    ) -> Result<R, EngineError> {
        let plain = self.open_plain(at, bytes)?;
        rmp_serde::from_slice(&plain)
            .map_err(|_| EngineError::damaged(at, "has fields of another version"))
    }

    fn seal_plain(&self, at: &[u8], plain: &[u8]) -> Result<Vec<u8>, EngineError> {
        if plain.len() > MAX_RECORD_LEN {
            return Err(EngineError::Refused("a record is too large"));
        }
        let keyring = self.keyring.load();
        let key = keyring
            .keys
            .first()
            .ok_or(EngineError::Refused("the store has no key"))?;
        let sealed = crypto::seal(&key.for_record(at), &self.entropy, at, plain)
            .map_err(|NoEntropy| NO_RANDOM)?;
        let mut bytes = Vec::with_capacity(5 + sealed.len());
        bytes.push(FORMAT);
        bytes.extend_from_slice(&key.id.to_be_bytes());
        bytes.extend_from_slice(&sealed);
        Ok(bytes)
    }

    fn open_plain(&self, at: &[u8], bytes: &[u8]) -> Result<Zeroizing<Vec<u8>>, EngineError> {
        if bytes.is_empty() {
            return Err(EngineError::damaged(at, "is empty"));
        }
        let (id, sealed) = key_id(bytes)
            .ok_or_else(|| EngineError::damaged(at, "has a format of another version"))?;
        let keyring = self.keyring.load();
        let key = keyring
            .keys
            .iter()
            .chain(&keyring.retired)
            .find(|key| key.id == id);
        key.and_then(|key| crypto::open(&key.for_record(at), at, sealed))
            .map(Zeroizing::new)
            .ok_or_else(|| {
                EngineError::damaged(at, "does not open: changed, or sealed with another key")
            })
    }
}

impl DataKey {
    /// Each record has a key of its own, because random nonces of one AES-GCM key are good for 2^32
    /// messages (NIST SP 800-38D section 8.3), which a busy store writes within months.
    fn for_record(&self, at: &[u8]) -> Key {
        Key::new(crypto::mac(&self.seal, &[at]))
    }
}

/// The id of the key that a record is sealed with, and the rest.
fn key_id(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (id, sealed) = bytes.strip_prefix(&[FORMAT])?.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*id), sealed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cipher() -> RecordCipher {
        RecordCipher::new(
            Keyring::generate(&Entropy::default()).unwrap(),
            Entropy::default(),
        )
    }

    #[test]
    fn a_record_opens_only_where_it_was_stored_and_with_its_key() {
        let cipher = cipher();
        let sealed = cipher.seal(b"u/1", &"hello").unwrap();
        assert_eq!(cipher.open::<String>(b"u/1", &sealed).unwrap(), "hello");
        assert!(cipher.open::<String>(b"u/2", &sealed).is_err());
        assert!(
            super::tests::cipher()
                .open::<String>(b"u/1", &sealed)
                .is_err()
        );
        assert!(cipher.open::<u64>(b"u/1", &sealed).is_err());
        assert!(cipher.open::<String>(b"u/1", &[]).is_err());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(
                cipher.open::<String>(b"u/1", &changed).is_err(),
                "byte {at}"
            );
        }
    }

    #[test]
    fn what_was_sealed_cannot_be_read_in_the_bytes() {
        let sealed = cipher().seal(b"u/1", &"a nickname").unwrap();
        assert!(!sealed.windows(8).any(|part| part == b"nickname"));
    }

    #[test]
    fn a_record_without_bounds_is_refused() {
        assert!(matches!(
            cipher().seal(b"u/1", &"x".repeat(MAX_RECORD_LEN)),
            Err(EngineError::Refused(_))
        ));
    }

    #[test]
    fn a_hash_is_of_its_parts_and_its_store() {
        let (one, other) = (cipher(), cipher());
        let hash = |cipher: &RecordCipher, parts: &[&[u8]]| cipher.lookup_hashes(parts);
        assert_eq!(
            hash(&one, &[b"openid", b"wx1", b"o"]),
            hash(&one, &[b"openid", b"wx1", b"o"])
        );
        assert_ne!(
            hash(&one, &[b"openid", b"wx1", b"o"]),
            hash(&one, &[b"openid", b"wx", b"1o"])
        );
        assert_ne!(
            hash(&one, &[b"openid", b"wx1", b"o"]),
            hash(&other, &[b"openid", b"wx1", b"o"])
        );
    }

    #[test]
    fn a_new_key_seals_and_the_old_one_opens_until_it_goes() {
        let cipher = cipher();
        let before = cipher.seal(b"u/1", &1).unwrap();
        cipher.install(cipher.keyring().with_new_key(&Entropy::default()).unwrap());
        assert!(cipher.keyring().is_rotating() && !cipher.is_newest(&before));
        assert_eq!(cipher.lookup_hashes(&[b"x"]).len(), 2);
        assert_eq!(cipher.open::<u8>(b"u/1", &before).unwrap(), 1);
        let after = cipher.reencrypt(b"u/1", &before, b"u/2").unwrap();
        assert!(cipher.is_newest(&after));
        cipher.install(cipher.keyring().newest_only());
        assert_eq!(cipher.open::<u8>(b"u/2", &after).unwrap(), 1);
        assert_eq!(cipher.lookup_hashes(&[b"x"]).len(), 1);
        assert_eq!(
            cipher.open::<u8>(b"u/1", &before).unwrap(),
            1,
            "whoever has read it just before can still open it"
        );
        let keys = StoreKeys::derive(&Key::new([1; 32]), None);
        let wrapped = cipher
            .keyring()
            .wrap(&keys, &Entropy::default(), b"m/keyring")
            .unwrap();
        let (restarted, _) = Keyring::unwrap(&keys, b"m/keyring", &wrapped).unwrap();
        assert!(
            RecordCipher::new(restarted, Entropy::default())
                .open::<u8>(b"u/1", &before)
                .is_err()
        );
    }

    #[test]
    fn a_keyring_opens_with_its_encryption_key_or_the_one_before() {
        let key = |byte: u8| Key::new([byte; 32]);
        let (old, new) = (
            StoreKeys::derive(&key(1), None),
            StoreKeys::derive(&key(2), Some(&key(1))),
        );
        let keyring = Keyring::generate(&Entropy::default()).unwrap();
        let wrapped = keyring.wrap(&old, &Entropy::default(), b"m/keys").unwrap();
        let root = |keys: &StoreKeys, bytes: &[u8]| {
            Keyring::unwrap(keys, b"m/keys", bytes)
                .map(|(keyring, with)| (*keyring.root().expose(), with))
        };
        assert_eq!(
            root(&old, &wrapped),
            Some((*keyring.root().expose(), WrappedWith::Present))
        );
        assert_eq!(
            root(&new, &wrapped),
            Some((*keyring.root().expose(), WrappedWith::Previous))
        );
        assert_eq!(root(&StoreKeys::derive(&key(3), None), &wrapped), None);
        assert_eq!(root(&old, b"short"), None);
    }
}
