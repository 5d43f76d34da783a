//! What the store keeps secret: sealing of whole records, and keyed hashes for what records are found by.
//!
//! Every record is sealed, not only the personal parts, so nobody has to remember which field is which. A record opens
//! only under the key it was stored at: bytes moved to another place are damage, not somebody else's data. Inside is
//! `MessagePack` with the fields' names, so that fields can be added; JSON would write bytes as decimal numbers.

use serde::{Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use super::failure::Failure;
use crate::{
    crypto::{self, Key},
    entropy::Entropy,
    types::{AppId, OpenId, UnionId},
};

/// First byte of every record: how the rest is to be read.
const FORMAT: u8 = 1;

/// A larger record is refused. The engines are tuned for small values, and nothing that a client sends may fill the store.
const LONGEST: usize = 64 * 1024;

/// The keys of one store, both derived from its encryption key.
#[derive(Debug, Clone)]
pub struct StoreKeys {
    lookup: Key,
    seal: Key,
}

impl StoreKeys {
    /// From the encryption key of the config, which is used for nothing else.
    pub fn derive(key: &Key) -> Self {
        Self { lookup: crypto::derive(key, "store lookup"), seal: crypto::derive(key, "store seal") }
    }
}

/// Seals, opens and hashes with the keys of one store.
#[derive(Debug)]
pub(super) struct Vault {
    keys: StoreKeys,
    entropy: Entropy,
}

impl Vault {
    pub(super) fn new(keys: StoreKeys, entropy: Entropy) -> Self {
        Self { keys, entropy }
    }

    /// What an openid is found by. The app id is part of it: an openid means something only within its app.
    pub(super) fn openid_hash(&self, app_id: &AppId, openid: &OpenId) -> [u8; 32] {
        crypto::mac(&self.keys.lookup, &[b"openid", app_id.as_str().as_bytes(), openid.as_str().as_bytes()])
    }

    /// What a unionid is found by.
    pub(super) fn unionid_hash(&self, unionid: &UnionId) -> [u8; 32] {
        crypto::mac(&self.keys.lookup, &[b"unionid", unionid.as_str().as_bytes()])
    }

    /// The bytes of a record that will be stored at `at`.
    pub(super) fn seal<R: Serialize>(&self, at: &[u8], record: &R) -> Result<Vec<u8>, Failure> {
        let plain = Zeroizing::new(rmp_serde::to_vec_named(record).map_err(|_| Failure::damaged(at, "cannot be written"))?);
        if plain.len() > LONGEST {
            return Err(Failure::Refused("a record is too large"));
        }
        let sealed = crypto::seal(&self.record_key(at), &self.entropy, at, &plain)
            .map_err(|_| Failure::Refused("the operating system's random source failed"))?;
        let mut bytes = Vec::with_capacity(1 + sealed.len());
        bytes.push(FORMAT);
        bytes.extend_from_slice(&sealed);
        Ok(bytes)
    }

    /// The record in these bytes, found at `at`.
    pub(super) fn open<R: DeserializeOwned>(&self, at: &[u8], bytes: &[u8]) -> Result<R, Failure> {
        let (format, sealed) = bytes.split_first().ok_or_else(|| Failure::damaged(at, "is empty"))?;
        if *format != FORMAT {
            return Err(Failure::damaged(at, "has a format of another version"));
        }
        let plain = crypto::open(&self.record_key(at), at, sealed)
            .map(Zeroizing::new)
            .ok_or_else(|| Failure::damaged(at, "does not open: changed, or sealed with another key"))?;
        rmp_serde::from_slice(&plain).map_err(|_| Failure::damaged(at, "has fields of another version"))
    }

    /// Each record has a key of its own, because random nonces of one AES-GCM key are good for 2^32 messages
    /// (NIST SP 800-38D section 8.3), which a busy store writes within months.
    fn record_key(&self, at: &[u8]) -> Key {
        Key::new(crypto::mac(&self.keys.seal, &[at]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault(byte: u8) -> Vault {
        Vault::new(StoreKeys::derive(&Key::new([byte; 32])), Entropy::default())
    }

    #[test]
    fn a_record_opens_only_where_it_was_stored_and_with_its_key() {
        let sealed = vault(1).seal(b"u/1", &"hello").unwrap();
        assert_eq!(vault(1).open::<String>(b"u/1", &sealed).unwrap(), "hello");
        assert!(vault(1).open::<String>(b"u/2", &sealed).is_err());
        assert!(vault(2).open::<String>(b"u/1", &sealed).is_err());
        assert!(vault(1).open::<u64>(b"u/1", &sealed).is_err());
        assert!(vault(1).open::<String>(b"u/1", &[]).is_err());
        let mut later = sealed;
        later[0] = FORMAT + 1;
        assert!(vault(1).open::<String>(b"u/1", &later).is_err());
    }

    #[test]
    fn what_was_sealed_cannot_be_read_in_the_bytes() {
        let sealed = vault(1).seal(b"u/1", &"a nickname").unwrap();
        assert!(!sealed.windows(8).any(|part| part == b"nickname"));
    }

    #[test]
    fn a_record_without_bounds_is_refused() {
        assert!(matches!(vault(1).seal(b"u/1", &"x".repeat(LONGEST)), Err(Failure::Refused(_))));
    }

    #[test]
    fn an_openid_is_found_only_under_its_app_and_key() {
        let app = |text| AppId::parse(text).unwrap();
        let openid = OpenId::parse("oABC").unwrap();
        assert_eq!(vault(1).openid_hash(&app("wx1"), &openid), vault(1).openid_hash(&app("wx1"), &openid));
        assert_ne!(vault(1).openid_hash(&app("wx1"), &openid), vault(1).openid_hash(&app("wx2"), &openid));
        assert_ne!(vault(1).openid_hash(&app("wx1"), &openid), vault(2).openid_hash(&app("wx1"), &openid));
    }
}
