//! `encryptedData` and `iv` of the legacy phone number button, off unless `wechat.legacy_decrypt`
//! is set.
//!
//! Source: developers.weixin.qq.com, "signature" (decryption): AES-128-CBC with PKCS#7 padding
//! under the `session_key`. There is no MAC, so the plaintext is only as good as the checks on it:
//! a changed IV rewrites the first block, and parts of two texts under one key can be joined. Hence
//! the exact set of members, two spellings that agree, and the watermark. No identity is ever taken
//! from here.
//!
//! Must stay true: there is one error, and the same work for every failure, because a response that
//! distinguishes bad padding from bad JSON is a decryption oracle. Two keys are always tried, a
//! missing one with a dummy; both decryptions, both paddings and both texts are processed whatever
//! the others gave; and where the padding is wrong the text is parsed with it, so the parser stops
//! at the same byte as with right padding: in the block that had to be changed to reach the
//! padding, or before it. Input that cannot be decoded is replaced by a block of zeros and
//! processed in the same way. What is left is how far the parser gets, which depends on text and
//! key alone. Callers have to limit the tries of one session.

use std::{fmt, time::Duration};

use aes::{
    Aes128, Block,
    cipher::{BlockModeDecrypt, KeyIvInit},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq, ConstantTimeGreater};
use zeroize::Zeroizing;

use super::{
    object::FromObject,
    phone_info::{CountryCode, parse_phone},
};
use crate::{
    clock::Clock,
    types::{AppId, Phone, Secret, Timestamp},
};

const BLOCK_LEN: usize = 16;
/// Longest ciphertext, in bytes; a phone number takes 160.
const MAX_CIPHERTEXT_LEN: usize = 4096;
/// How far WeChat's clock may be ahead of ours.
const MAX_CLOCK_SKEW: Duration = Duration::from_mins(5);

/// Decrypts phone numbers.
#[derive(Debug, Clone)]
pub struct PhoneDecryption {
    max_age: Duration,
    clock: Clock,
}

/// The data of the phone number button: both base64 in the standard alphabet with padding. A `+`
/// that became a space on its way is not repaired: JSON keeps it, and one text has one spelling.
#[derive(Clone, Copy)]
pub struct EncryptedPhone<'a> {
    pub encrypted_data: &'a str,
    pub iv: &'a str,
}

/// A phone number that WeChat encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecryptedPhone {
    pub phone: Phone,
    pub watermark: Watermark,
}

/// The mini program that WeChat encrypted the data for, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watermark {
    pub app_id: AppId,
    pub made_at: Timestamp,
}

/// Not a phone number that WeChat encrypted under one of the keys, for this mini program, a short
/// time ago. No more detail on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the encrypted phone number is not valid")]
pub struct DecryptFailed;

/// The decoded input.
struct DecodedInput {
    ciphertext: Vec<u8>,
    iv: [u8; BLOCK_LEN],
    is_well_formed: bool,
}

/// Exactly these members, each once.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PhonePlaintext {
    phone_number: String,
    pure_phone_number: String,
    country_code: CountryCode,
    watermark: FromObject<PlaintextWatermark>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlaintextWatermark {
    /// Seconds since 1970.
    timestamp: u64,
    appid: String,
}

impl PhoneDecryption {
    pub(super) const fn new(max_age: Duration, clock: Clock) -> Self {
        Self { max_age, clock }
    }

    /// The phone number under one of these `session_key`s of the user: the present one and, for ten
    /// minutes, the previous one, because a login between the button and this call replaces the
    /// key. More than two are not tried.
    pub fn phone(
        &self,
        app: &AppId,
        session_keys: &[Secret<String>],
        input: &EncryptedPhone<'_>,
    ) -> Result<DecryptedPhone, DecryptFailed> {
        let now = self.clock.now();
        let input = DecodedInput::read(input);
        let with = |slot: usize| self.open(&input, session_keys.get(slot), app, now);
        // Both, always: no `or_else`.
        let (present, previous) = (with(0), with(1));
        present
            .or(previous)
            .filter(|_| input.is_well_formed)
            .ok_or(DecryptFailed)
    }

    fn open(
        &self,
        input: &DecodedInput,
        key: Option<&Secret<String>>,
        app: &AppId,
        now: Timestamp,
    ) -> Option<DecryptedPhone> {
        let usable = key.and_then(|key| block(key.expose()));
        let (key, is_usable) =
            usable.map_or_else(|| (Zeroizing::default(), false), |key| (key, true));
        let plain = decrypt(&key, &input.iv, &input.ciphertext);
        let (text, padding_is_right) = unpad(&plain);
        let phone = self.read(text, app, now);
        phone.filter(|_| is_usable & bool::from(padding_is_right))
    }

    /// Text that is not UTF-8 is not JSON: all of it is in strings that are read.
    fn read(&self, text: &[u8], app: &AppId, now: Timestamp) -> Option<DecryptedPhone> {
        let FromObject(plain) = serde_json::from_slice::<FromObject<PhonePlaintext>>(text).ok()?;
        let FromObject(watermark) = &plain.watermark;
        let phone = parse_phone(
            &plain.phone_number,
            &plain.pure_phone_number,
            &plain.country_code,
        );
        let made_at = Timestamp::from_secs(watermark.timestamp);
        let is_ours = watermark.appid == app.as_str();
        let is_fresh = now.since(made_at) <= self.max_age && made_at.since(now) <= MAX_CLOCK_SKEW;
        let watermark = Watermark {
            app_id: app.clone(),
            made_at,
        };
        phone
            .filter(|_| is_ours & is_fresh)
            .map(|phone| DecryptedPhone { phone, watermark })
    }
}

impl DecodedInput {
    fn read(input: &EncryptedPhone<'_>) -> Self {
        let read = || {
            // Four characters for three bytes; a longer text is not even decoded.
            let ciphertext = Some(input.encrypted_data)
                .filter(|text| text.len() <= MAX_CIPHERTEXT_LEN.div_ceil(3) * 4)?;
            let ciphertext = STANDARD.decode(ciphertext).ok()?;
            let is_blocks = ciphertext.len().is_multiple_of(BLOCK_LEN)
                && (BLOCK_LEN..=MAX_CIPHERTEXT_LEN).contains(&ciphertext.len());
            let iv = *block(input.iv)?;
            is_blocks.then_some(Self {
                ciphertext,
                iv,
                is_well_formed: true,
            })
        };
        read().unwrap_or_else(|| Self {
            ciphertext: vec![0; BLOCK_LEN],
            iv: [0; BLOCK_LEN],
            is_well_formed: false,
        })
    }
}

/// Sixteen bytes in base64.
fn block(text: &str) -> Option<Zeroizing<[u8; BLOCK_LEN]>> {
    let text = Some(text).filter(|text| text.len() == BLOCK_LEN.div_ceil(3) * 4)?;
    let bytes = Zeroizing::new(STANDARD.decode(text).ok()?);
    bytes.as_slice().try_into().map(Zeroizing::new).ok()
}

/// AES-128-CBC (NIST SP 800-38A 6.2) without its padding. The ciphertext is whole blocks.
fn decrypt(key: &[u8; BLOCK_LEN], iv: &[u8; BLOCK_LEN], ciphertext: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut plain = Zeroizing::new(ciphertext.to_vec());
    let (blocks, _) = Block::slice_as_chunks_mut(&mut plain);
    cbc::Decryptor::<Aes128>::new(key.into(), iv.into()).decrypt_blocks(blocks);
    plain
}

/// Removes PKCS#7 padding (RFC 5652 6.3) without a branch on it; wrong padding stays.
fn unpad(plain: &[u8]) -> (&[u8], Choice) {
    let Some(last) = plain.last_chunk::<BLOCK_LEN>() else {
        return (plain, Choice::from(0));
    };
    let pad = last[BLOCK_LEN - 1];
    let mut is_right = pad.ct_gt(&0) & !pad.ct_gt(&16);
    for (from_end, byte) in (0_u8..).zip(last.iter().rev()) {
        is_right &= !pad.ct_gt(&from_end) | byte.ct_eq(&pad);
    }
    let pad_len = u8::conditional_select(&0, &pad, is_right);
    (&plain[..plain.len() - usize::from(pad_len)], is_right)
}

/// Prints no phone number.
impl fmt::Debug for EncryptedPhone<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests;
