//! The store's own keys, as they lie in the store: wrapped with the encryption key of the config,
//! in one record that every operation reads.
//!
//! With them lies the global epoch. So a process that does not know the newest key or the newest
//! epoch cannot commit anything, and neither is a record that ordinary operations write. The mark of
//! an import that is not finished lies there for the same reason: no process overlooks it.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    engine::FENCE, error::EngineError, import_mark::ImportMark, open_options::FORMAT,
    unknown_fields::UnknownFields,
};
use crate::{
    crypto::{self, Key},
    entropy::{Entropy, NoEntropy},
};

/// What wraps the keys of one store, derived from the encryption key of the config.
#[derive(Debug, Clone)]
pub struct WrappingKeys {
    wrap: Key,
    previous: Option<Key>,
}

impl WrappingKeys {
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
    global_epoch: u64,
    import: Option<ImportMark>,
    unknown: UnknownFields,
}

/// One generation of keys.
#[derive(Debug, Clone)]
pub(super) struct DataKey {
    id: u32,
    seal: Key,
    lookup: Key,
}

/// A keyring as it is wrapped and written.
#[derive(Serialize, Deserialize)]
struct KeyringRecord {
    root: [u8; 32],
    keys: Vec<(u32, [u8; 32], [u8; 32])>,
    global_epoch: u64,
    /// The format of the records beside it.
    #[serde(default = "oldest_format")]
    format: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    import: Option<ImportMark>,
    #[serde(flatten)]
    unknown: UnknownFields,
}

/// That of stores whose keyring does not say.
const fn oldest_format() -> u32 {
    2
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
            global_epoch: 0,
            import: None,
            unknown: UnknownFields::default(),
        })
    }

    /// With a new key in front.
    pub(super) fn with_new_key(&self, entropy: &Entropy) -> Result<Self, NoEntropy> {
        let newest = self.keys.iter().map(|key| key.id).max();
        let id = newest.unwrap_or_default().wrapping_add(1);
        let mut keys = self.keys.clone();
        keys.insert(0, DataKey::generate(id, entropy)?);
        Ok(Self {
            keys,
            ..self.clone()
        })
    }

    /// With the key in front alone.
    pub(super) fn newest_only(&self) -> Self {
        Self {
            keys: self.keys.iter().take(1).cloned().collect(),
            ..self.clone()
        }
    }

    /// With another secret from which others are derived.
    pub(super) fn with_root(&self, root: Key) -> Self {
        Self {
            root,
            ..self.clone()
        }
    }

    /// With another global epoch.
    pub(super) fn with_global_epoch(&self, global_epoch: u64) -> Self {
        Self {
            global_epoch,
            ..self.clone()
        }
    }

    /// With the mark of an import, or without one.
    pub(super) fn with_import(&self, import: Option<ImportMark>) -> Self {
        Self {
            import,
            ..self.clone()
        }
    }

    /// With these fields of another version in place of its own.
    pub(super) fn with_unknown(&self, unknown: UnknownFields) -> Self {
        Self {
            unknown,
            ..self.clone()
        }
    }

    /// The import that fills the store and is not finished.
    pub(super) const fn import(&self) -> Option<ImportMark> {
        self.import
    }

    /// The fields that another version added.
    pub(super) const fn unknown(&self) -> &UnknownFields {
        &self.unknown
    }

    /// Whether older keys are still needed.
    pub(super) fn is_rotating(&self) -> bool {
        self.keys.len() > 1
    }

    /// What other secrets of the deployment are derived from. Outlives every other key.
    pub(super) const fn root(&self) -> &Key {
        &self.root
    }

    /// The epoch below which every token is revoked; 0 until the first revocation of everything.
    pub(super) const fn global_epoch(&self) -> u64 {
        self.global_epoch
    }

    /// All generations, the newest first.
    pub(super) fn keys(&self) -> &[DataKey] {
        &self.keys
    }

    /// The bytes to be stored at [`FENCE`].
    pub(super) fn wrap(
        &self,
        keys: &WrappingKeys,
        entropy: &Entropy,
    ) -> Result<Vec<u8>, EngineError> {
        let each = |key: &DataKey| (key.id, *key.seal.expose(), *key.lookup.expose());
        let record = KeyringRecord {
            root: *self.root.expose(),
            keys: self.keys.iter().map(each).collect(),
            global_epoch: self.global_epoch,
            format: FORMAT,
            import: self.import,
            unknown: self.unknown.clone(),
        };
        let plain = Zeroizing::new(
            rmp_serde::to_vec_named(&record)
                .map_err(|_| EngineError::damaged(FENCE, "cannot be written"))?,
        );
        Ok(crypto::seal(&keys.wrap, entropy, FENCE, &plain)?)
    }

    /// The format of the records beside these bytes; `None` when neither encryption key opens them.
    pub(super) fn format(keys: &WrappingKeys, bytes: &[u8]) -> Option<u32> {
        Some(Self::open(keys, bytes)?.0.format)
    }

    fn open(keys: &WrappingKeys, bytes: &[u8]) -> Option<(KeyringRecord, WrappedWith)> {
        let open = |key, with| Some((crypto::open(key, FENCE, bytes)?, with));
        let (plain, with) = open(&keys.wrap, WrappedWith::Present)
            .or_else(|| open(keys.previous.as_ref()?, WrappedWith::Previous))?;
        let record = rmp_serde::from_slice(&Zeroizing::new(plain)).ok()?;
        Some((record, with))
    }

    /// The keyring in these bytes; `None` when neither encryption key opens it.
    pub(super) fn unwrap(keys: &WrappingKeys, bytes: &[u8]) -> Option<(Self, WrappedWith)> {
        let (record, with) = Self::open(keys, bytes)?;
        let each = |(id, seal, lookup)| DataKey {
            id,
            seal: Key::new(seal),
            lookup: Key::new(lookup),
        };
        let keyring = Self {
            root: Key::new(record.root),
            keys: record.keys.into_iter().map(each).collect(),
            global_epoch: record.global_epoch,
            import: record.import,
            unknown: record.unknown,
        };
        (!keyring.keys.is_empty()).then_some((keyring, with))
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

    /// Names the generation, in each record that it seals.
    pub(super) const fn id(&self) -> u32 {
        self.id
    }

    /// What something is found by under this key.
    pub(super) fn lookup_hash(&self, parts: &[&[u8]]) -> [u8; 32] {
        crypto::mac(&self.lookup, parts)
    }

    /// Each record has a key of its own, because random nonces of one AES-GCM key are good for 2^32
    /// messages (NIST SP 800-38D section 8.3), which a busy store writes within months.
    pub(super) fn for_record(&self, at: &[u8]) -> Key {
        Key::new(crypto::mac(&self.seal, &[at]))
    }
}

/// The same wrapped keyring with other fields, as another version would have written it.
#[cfg(test)]
pub(super) fn rewrap(
    keys: &WrappingKeys,
    bytes: &[u8],
    change: impl FnOnce(&mut Vec<(rmpv::Value, rmpv::Value)>),
) -> Vec<u8> {
    let plain = crypto::open(&keys.wrap, FENCE, bytes).expect("a keyring");
    let Ok(rmpv::Value::Map(mut fields)) = rmpv::decode::read_value(&mut plain.as_slice()) else {
        panic!("no map")
    };
    change(&mut fields);
    let mut plain = Vec::new();
    rmpv::encode::write_value(&mut plain, &rmpv::Value::Map(fields)).expect("written");
    crypto::seal(&keys.wrap, &Entropy::default(), FENCE, &plain).expect("sealed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_newer_version_added_is_wrapped_again() {
        let keys = WrappingKeys::derive(&Key::new([1; 32]), None);
        let keyring = Keyring::generate(&Entropy::default()).unwrap();
        let wrapped = keyring.wrap(&keys, &Entropy::default()).unwrap();
        let newer = rewrap(&keys, &wrapped, |fields| {
            fields.push(("newer".into(), vec![1_u8, 2].into()));
        });
        let (read, _) = Keyring::unwrap(&keys, &newer).unwrap();
        let changed = read.with_global_epoch(9).newest_only();
        let wrapped = changed.wrap(&keys, &Entropy::default()).unwrap();
        rewrap(&keys, &wrapped, |fields| {
            assert!(fields.contains(&("newer".into(), vec![1_u8, 2].into())));
        });
    }

    #[test]
    fn a_keyring_opens_with_its_encryption_key_or_the_one_before() {
        let key = |byte: u8| Key::new([byte; 32]);
        let (old, new) = (
            WrappingKeys::derive(&key(1), None),
            WrappingKeys::derive(&key(2), Some(&key(1))),
        );
        let keyring = Keyring::generate(&Entropy::default())
            .unwrap()
            .with_global_epoch(7);
        let wrapped = keyring.wrap(&old, &Entropy::default()).unwrap();
        let read = |keys: &WrappingKeys, bytes: &[u8]| {
            Keyring::unwrap(keys, bytes)
                .map(|(keyring, with)| (*keyring.root().expose(), keyring.global_epoch(), with))
        };
        let root = *keyring.root().expose();
        assert_eq!(read(&old, &wrapped), Some((root, 7, WrappedWith::Present)));
        assert_eq!(read(&new, &wrapped), Some((root, 7, WrappedWith::Previous)));
        assert_eq!(read(&WrappingKeys::derive(&key(3), None), &wrapped), None);
        assert_eq!(read(&old, b"short"), None);
    }
}
