//! The encryption of safe mode: AES-256-CBC under the `EncodingAESKey`, its first 16 bytes as IV,
//! PKCS#7 padding to 32 bytes. Inside are 16 random bytes, the length of the message (4 bytes,
//! big-endian), the message and the app id.

use aes::{
    Aes256, Block,
    cipher::{BlockModeDecrypt, KeyIvInit},
};
use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD},
};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::xml;
use crate::types::Secret;

const BLOCK_LEN: usize = 16;
/// Padding is to this length, twice the block of AES.
const PADDING_LEN: usize = 32;
/// Bytes before the message: random ones and its length.
const HEAD_LEN: usize = 20;

/// 43 characters are 258 bits, and WeChat draws all of them at random: the last two are not used.
const KEY_TEXT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

/// The key of an `EncodingAESKey`.
#[derive(Debug)]
pub(super) struct PushKey(Secret<[u8; 32]>);

impl PushKey {
    /// Parses the 43 characters.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let bytes = Zeroizing::new(KEY_TEXT.decode(text).ok()?);
        let key = bytes.as_slice().try_into().ok()?;
        Some(Self(Secret::new(key)))
    }

    /// The message and the app id inside; `None` for every error.
    pub(super) fn open(&self, sealed: &str) -> Option<(Zeroizing<Vec<u8>>, Vec<u8>)> {
        let mut plain = Zeroizing::new(STANDARD.decode(sealed).ok()?);
        if plain.is_empty() || !plain.len().is_multiple_of(BLOCK_LEN) {
            return None;
        }
        let key = self.0.expose();
        let iv: &[u8; BLOCK_LEN] = key.first_chunk()?;
        let (blocks, _) = Block::slice_as_chunks_mut(&mut plain);
        cbc::Decryptor::<Aes256>::new(key.into(), iv.into()).decrypt_blocks(blocks);
        let padding = usize::from(*plain.last()?);
        let (text, padding) = plain.split_at_checked(plain.len().checked_sub(padding)?)?;
        let is_right = (1..=PADDING_LEN).contains(&padding.len())
            && padding
                .iter()
                .all(|byte| usize::from(*byte) == padding.len());
        if !is_right {
            return None;
        }
        let length = u32::from_be_bytes(*text.get(..HEAD_LEN)?.last_chunk()?);
        let (message, app_id) = text
            .get(HEAD_LEN..)?
            .split_at_checked(usize::try_from(length).ok()?)?;
        Some((Zeroizing::new(message.to_vec()), app_id.to_vec()))
    }
}

#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "Encrypt")]
    encrypt: Option<String>,
}

/// The encrypted text in a body, in XML or JSON; `None` where there is none. In compatible mode the
/// plain text is beside it, unsigned, so it is not read.
pub(super) fn encrypted(body: &[u8]) -> Option<String> {
    match body.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{') => serde_json::from_slice::<Envelope>(body).ok()?.encrypt,
        Some(_) => xml::fields(body)?.remove("Encrypt"),
        None => None,
    }
}
