//! What the store keeps secret: sealing of whole records, and keyed hashes for what records are
//! found by.
//!
//! Every record is encrypted, not only the personal parts, so no field can be forgotten. A record
//! opens only under the key it was stored at: bytes moved to another key are damage, not another
//! user's data. Inside is `MessagePack` with the fields' names, so that fields can be added; JSON
//! would write bytes as decimal numbers.
//!
//! The keys that do this are the store's own (a [`Keyring`]), random and kept in the store. A
//! cipher has the keys of one moment: an operation gets it with the records that it reads, so that
//! lookup keys, ciphertexts and records of one operation belong together ([`CipherCache`]).

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;
use serde::{Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use super::{
    engine::FENCE,
    error::EngineError,
    keyring::{DataKey, Keyring, WrappingKeys},
};
use crate::{
    crypto::{self, Key},
    entropy::Entropy,
};

/// First byte of every record: how the rest is to be read.
const FORMAT: u8 = 3;

/// A larger record is refused. The engines are tuned for small values, and nothing that a client
/// sends may fill the store.
const MAX_RECORD_LEN: usize = 64 * 1024;

/// Seals, opens and hashes with the keys of one store at one moment.
#[derive(Debug, Clone)]
pub(super) struct RecordCipher {
    keyring: Keyring,
    keys: WrappingKeys,
    entropy: Entropy,
}

impl RecordCipher {
    pub(super) const fn new(keyring: Keyring, keys: WrappingKeys, entropy: Entropy) -> Self {
        Self {
            keyring,
            keys,
            entropy,
        }
    }

    pub(super) const fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// The same with another keyring, and the bytes of this one to be stored at [`FENCE`].
    pub(super) fn with_keyring(&self, keyring: Keyring) -> Result<(Self, Vec<u8>), EngineError> {
        let wrapped = keyring.wrap(&self.keys, &self.entropy)?;
        let changed = Self {
            keyring,
            ..self.clone()
        };
        Ok((changed, wrapped))
    }

    /// Random bytes for new keys.
    pub(super) const fn entropy(&self) -> &Entropy {
        &self.entropy
    }

    /// What something is found by: its keyed hash under each key, the newest first.
    pub(super) fn lookup_hashes(&self, parts: &[&[u8]]) -> Vec<[u8; 32]> {
        let keys = self.keyring.keys().iter();
        keys.map(|key| key.lookup_hash(parts)).collect()
    }

    /// A record as it is sealed later, by [`Self::seal`].
    pub(super) fn encode<R: Serialize>(
        at: &[u8],
        record: &R,
    ) -> Result<Zeroizing<Vec<u8>>, EngineError> {
        rmp_serde::to_vec_named(record)
            .map(Zeroizing::new)
            .map_err(|_| EngineError::damaged(at, "cannot be written"))
    }

    /// The record that [`Self::encode`] made, or [`Self::open`] found.
    pub(super) fn decode<R: DeserializeOwned>(at: &[u8], plain: &[u8]) -> Result<R, EngineError> {
        rmp_serde::from_slice(plain)
            .map_err(|_| EngineError::damaged(at, "has fields of another version"))
    }

    /// The bytes to be stored at `at`.
    pub(super) fn seal(&self, at: &[u8], plain: &[u8]) -> Result<Vec<u8>, EngineError> {
        if plain.len() > MAX_RECORD_LEN {
            return Err(EngineError::Refused("a record is too large"));
        }
        let newest = self.keyring.keys().first();
        let key = newest.ok_or(EngineError::Refused("the store has no key"))?;
        let sealed = crypto::seal(&key.for_record(at), &self.entropy, at, plain)?;
        let mut bytes = Vec::with_capacity(5 + sealed.len());
        bytes.push(FORMAT);
        bytes.extend_from_slice(&key.id().to_be_bytes());
        bytes.extend_from_slice(&sealed);
        Ok(bytes)
    }

    /// What is in these bytes, found at `at`.
    pub(super) fn open(&self, at: &[u8], bytes: &[u8]) -> Result<Zeroizing<Vec<u8>>, EngineError> {
        if bytes.is_empty() {
            return Err(EngineError::damaged(at, "is empty"));
        }
        let (id, sealed) = key_id(bytes)
            .ok_or_else(|| EngineError::damaged(at, "has a format of another version"))?;
        let key = self.keyring.keys().iter().find(|key| key.id() == id);
        key.and_then(|key| crypto::open(&key.for_record(at), at, sealed))
            .map(Zeroizing::new)
            .ok_or_else(|| {
                EngineError::damaged(at, "does not open: changed, or sealed with another key")
            })
    }

    /// The record in these bytes, found at `at`.
    pub(super) fn read<R: DeserializeOwned>(
        &self,
        at: &[u8],
        bytes: &[u8],
    ) -> Result<R, EngineError> {
        Self::decode(at, &self.open(at, bytes)?)
    }

    /// Whether a record is sealed with the newest key.
    pub(super) fn is_newest(&self, bytes: &[u8]) -> bool {
        let newest = self.keyring.keys().first().map(DataKey::id);
        key_id(bytes).is_some_and(|(id, _)| Some(id) == newest)
    }
}

/// The id of the key that a record is sealed with, and the rest.
fn key_id(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (id, sealed) = bytes.strip_prefix(&[FORMAT])?.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*id), sealed))
}

/// Unwraps the keyring once for as long as it stays the same, and refuses one that is not for this
/// process.
#[derive(Debug)]
pub(super) struct CipherCache {
    keys: WrappingKeys,
    entropy: Entropy,
    last: ArcSwapOption<(Vec<u8>, Arc<RecordCipher>)>,
    /// Whether this process fills or empties a store that is marked.
    is_import: bool,
    /// The root secret that this process derived its keys from, once it has.
    root: OnceLock<Key>,
}

impl CipherCache {
    pub(super) fn new(keys: WrappingKeys, entropy: Entropy) -> Self {
        Self {
            keys,
            entropy,
            last: ArcSwapOption::empty(),
            is_import: false,
            root: OnceLock::new(),
        }
    }

    /// For a process that fills or empties a store that is marked. Which import the mark is of, its
    /// operations check.
    pub(super) fn for_import(keys: WrappingKeys, entropy: Entropy) -> Self {
        Self {
            is_import: true,
            ..Self::new(keys, entropy)
        }
    }

    /// Refuses keyrings with another root from now on: what this process derived from it would be
    /// wrong.
    pub(super) fn require_root(&self, root: &Key) {
        self.root.get_or_init(|| root.clone());
    }

    /// Refuses a keyring that this process must not use.
    pub(super) fn check(&self, keyring: &Keyring) -> Result<(), EngineError> {
        if self.is_import {
            return Ok(());
        }
        if let Some(mark) = keyring.import() {
            return Err(EngineError::ImportUnfinished(mark.since));
        }
        let is_same = |root: &Key| root.expose() == keyring.root().expose();
        if self.root.get().is_none_or(is_same) {
            return Ok(());
        }
        Err(EngineError::Refused(
            "an import filled or emptied the store since this menshen started: restart it",
        ))
    }

    /// The cipher of the keyring in these bytes, found at [`FENCE`].
    pub(super) fn cipher(&self, wrapped: Option<&[u8]>) -> Result<Arc<RecordCipher>, EngineError> {
        let wrapped = wrapped.ok_or_else(|| EngineError::damaged(FENCE, "is missing"))?;
        if let Some(last) = self.last.load().as_ref()
            && last.0 == wrapped
        {
            return Ok(Arc::clone(&last.1));
        }
        let (keyring, _) = Keyring::unwrap(&self.keys, wrapped)
            .ok_or_else(|| EngineError::damaged(FENCE, "does not open with the encryption key"))?;
        self.check(&keyring)?;
        let (keys, entropy) = (self.keys.clone(), self.entropy.clone());
        let cipher = Arc::new(RecordCipher::new(keyring, keys, entropy));
        let last = (wrapped.to_vec(), Arc::clone(&cipher));
        self.last.store(Some(Arc::new(last)));
        Ok(cipher)
    }

    /// The cipher that was used last: what is asked for with it may have to be asked for again.
    pub(super) fn last(&self) -> Option<Arc<RecordCipher>> {
        self.last.load().as_ref().map(|last| Arc::clone(&last.1))
    }

    /// Wraps keyrings and makes numbers.
    pub(super) const fn entropy(&self) -> &Entropy {
        &self.entropy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> WrappingKeys {
        WrappingKeys::derive(&Key::new([1; 32]), None)
    }

    fn cipher() -> RecordCipher {
        RecordCipher::new(
            Keyring::generate(&Entropy::default()).unwrap(),
            keys(),
            Entropy::default(),
        )
    }

    fn sealed<R: Serialize>(cipher: &RecordCipher, at: &[u8], record: &R) -> Vec<u8> {
        let plain = RecordCipher::encode(at, record).unwrap();
        cipher.seal(at, &plain).unwrap()
    }

    #[test]
    fn a_record_opens_only_where_it_was_stored_and_with_its_key() {
        let cipher = cipher();
        let sealed = sealed(&cipher, b"u/1", &"hello");
        assert_eq!(cipher.read::<String>(b"u/1", &sealed).unwrap(), "hello");
        assert!(cipher.read::<String>(b"u/2", &sealed).is_err());
        assert!(
            super::tests::cipher()
                .read::<String>(b"u/1", &sealed)
                .is_err()
        );
        assert!(cipher.read::<u64>(b"u/1", &sealed).is_err());
        assert!(cipher.read::<String>(b"u/1", &[]).is_err());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(
                cipher.read::<String>(b"u/1", &changed).is_err(),
                "byte {at}"
            );
        }
    }

    #[test]
    fn what_was_sealed_cannot_be_read_in_the_bytes() {
        let sealed = sealed(&cipher(), b"u/1", &"a nickname");
        assert!(!sealed.windows(8).any(|part| part == b"nickname"));
    }

    #[test]
    fn a_record_without_bounds_is_refused() {
        assert!(matches!(
            cipher().seal(b"u/1", &vec![0; MAX_RECORD_LEN + 1]),
            Err(EngineError::Refused(_))
        ));
        cipher().seal(b"u/1", &vec![0; MAX_RECORD_LEN]).unwrap();
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
        let old = cipher();
        let before = sealed(&old, b"u/1", &1);
        let keyring = old.keyring().with_new_key(&Entropy::default()).unwrap();
        let (both, _) = old.with_keyring(keyring).unwrap();
        assert!(both.keyring().is_rotating() && !both.is_newest(&before));
        assert_eq!(both.lookup_hashes(&[b"x"]).len(), 2);
        assert_eq!(both.read::<u8>(b"u/1", &before).unwrap(), 1);
        let after = sealed(&both, b"u/2", &1);
        assert!(both.is_newest(&after));
        let (new, _) = both.with_keyring(both.keyring().newest_only()).unwrap();
        assert_eq!(new.read::<u8>(b"u/2", &after).unwrap(), 1);
        assert_eq!(new.lookup_hashes(&[b"x"]).len(), 1);
        assert!(new.read::<u8>(b"u/1", &before).is_err());
    }

    #[test]
    fn the_cipher_changes_with_the_bytes_of_the_keyring() {
        let cache = CipherCache::new(keys(), Entropy::default());
        assert!(cache.last().is_none() && cache.cipher(None).is_err());
        let keyring = Keyring::generate(&Entropy::default()).unwrap();
        let wrapped = keyring.wrap(&keys(), &Entropy::default()).unwrap();
        let cipher = cache.cipher(Some(&wrapped)).unwrap();
        assert!(Arc::ptr_eq(&cipher, &cache.cipher(Some(&wrapped)).unwrap()));
        let (_, changed) = cipher
            .with_keyring(cipher.keyring().with_global_epoch(3))
            .unwrap();
        let newer = cache.cipher(Some(&changed)).unwrap();
        assert_eq!(newer.keyring().global_epoch(), 3);
        assert!(cache.cipher(Some(b"damage")).is_err());
        assert!(Arc::ptr_eq(&newer, &cache.last().unwrap()));
    }
}
