//! The few primitives that tokens, stored secrets and signatures share, each a thin name over a
//! library.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    digest, hmac,
};
use subtle::ConstantTimeEq;

use crate::{
    entropy::{Entropy, NoEntropy},
    types::Secret,
};

/// A 256-bit key.
pub type Key = Secret<[u8; 32]>;

/// HMAC-SHA256 (RFC 2104) over the parts, each with its length before it, so that no two lists of
/// parts meet.
pub fn mac(key: &Key, parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key.expose()));
    for part in parts {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    let mut tag = [0; 32];
    tag.copy_from_slice(mac.sign().as_ref());
    tag
}

/// HMAC-SHA256 (RFC 2104) of the message as it is, for signatures whose form others have set.
pub fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut tag = [0; 32];
    tag.copy_from_slice(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message).as_ref());
    tag
}

/// A key for one purpose, derived from a key that is used for nothing else.
pub fn derive(key: &Key, purpose: &str) -> Key {
    Secret::new(mac(key, &[b"menshen key", purpose.as_bytes()]))
}

/// SHA-256 (FIPS 180-4).
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}

/// Equality in constant time. Unequal lengths are unequal.
pub fn constant_time_eq(left: &[u8], right: &[u8]) -> bool {
    left.ct_eq(right).into()
}

/// AES-256-GCM (NIST SP 800-38D) with a random 96-bit nonce in front; `context` is authenticated,
/// not stored, so a value moved to another record does not open.
pub fn seal(
    key: &Key,
    entropy: &Entropy,
    context: &[u8],
    plain: &[u8],
) -> Result<Vec<u8>, NoEntropy> {
    let nonce: [u8; NONCE_LEN] = entropy.bytes()?;
    let mut sealed = Vec::with_capacity(NONCE_LEN + plain.len() + AES_256_GCM.tag_len());
    sealed.extend_from_slice(&nonce);
    sealed.extend_from_slice(plain);
    let nonce = Nonce::assume_unique_for_key(nonce);
    let tag = cipher(key)
        .and_then(|cipher| {
            let text = &mut sealed[NONCE_LEN..];
            let tag = cipher.seal_in_place_separate_tag(nonce, Aad::from(context), text);
            tag.ok()
        })
        .ok_or(NoEntropy)?;
    sealed.extend_from_slice(tag.as_ref());
    Ok(sealed)
}

/// Opens what [`seal`] closed; `None` for a wrong key, a wrong context or a changed byte.
pub fn open(key: &Key, context: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (nonce, sealed) = sealed.split_first_chunk()?;
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let mut text = sealed.to_vec();
    let plain = cipher(key)?.open_in_place(nonce, Aad::from(context), &mut text);
    let len = plain.ok()?.len();
    text.truncate(len);
    Some(text)
}

fn cipher(key: &Key) -> Option<LessSafeKey> {
    let key = UnboundKey::new(&AES_256_GCM, key.expose()).ok()?;
    Some(LessSafeKey::new(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [7; 32];

    #[test]
    fn what_is_sealed_opens_only_with_the_same_key_and_context() {
        let (key, entropy) = (Key::new(KEY), Entropy::default());
        let sealed = seal(&key, &entropy, b"user 1", b"hello").expect("random bytes");
        assert_eq!(
            open(&key, b"user 1", &sealed).as_deref(),
            Some(&b"hello"[..])
        );
        assert_eq!(open(&key, b"user 2", &sealed), None);
        assert_eq!(open(&Key::new([8; 32]), b"user 1", &sealed), None);
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(open(&key, b"user 1", &changed), None, "byte {at}");
        }
        assert_eq!(open(&key, b"", &[]), None);
    }

    #[test]
    fn a_sealed_value_is_the_published_one() {
        // The GCM specification (McGrew and Viega), test case 14.
        let sealed = "000000000000000000000000cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919";
        let sealed = hex::decode(sealed).expect("hex");
        assert_eq!(open(&Key::new([0; 32]), b"", &sealed), Some(vec![0; 16]));
    }

    #[test]
    fn an_hmac_is_the_published_one() {
        // RFC 4231 section 4.3.
        let tag = hmac_sha256(b"Jefe", b"what do ya want for nothing?");
        assert_eq!(
            hex::encode(tag),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn no_two_lists_of_parts_have_one_mac() {
        let key = Key::new(KEY);
        assert_ne!(mac(&key, &[b"ab", b"c"]), mac(&key, &[b"a", b"bc"]));
        assert_ne!(mac(&key, &[b"ab"]), mac(&key, &[b"ab", b""]));
        assert_ne!(derive(&key, "a").expose(), derive(&key, "b").expose());
    }
}
