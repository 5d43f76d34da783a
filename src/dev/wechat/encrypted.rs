//! `encryptedData` and `iv`, as WeChat gives them to a mini program.

use aes::{
    Aes128, Block,
    cipher::{BlockModeEncrypt, KeyIvInit},
};
use base64::{Engine, engine::general_purpose::STANDARD};

use super::identity::{first_16_bytes, session_key};
use crate::crypto::sha256;

/// `encryptedData` and `iv` of this phone number, by the key of this login.
pub(super) fn encrypted_phone(
    app_id: &str,
    login_code: &str,
    phone: &str,
    timestamp: u64,
) -> (String, String) {
    let plain = format!(
        r#"{{"phoneNumber":"{phone}","purePhoneNumber":"{phone}","countryCode":"86","watermark":{{"timestamp":{timestamp},"appid":"{app_id}"}}}}"#
    );
    let iv = first_16_bytes(&sha256(
        format!("iv {app_id} {login_code} {timestamp}").as_bytes(),
    ));
    let encrypted = encrypt(&session_key(app_id, login_code), &iv, plain.as_bytes());
    (STANDARD.encode(encrypted), STANDARD.encode(iv))
}

/// AES-128-CBC with PKCS#7 padding.
fn encrypt(key: &[u8; 16], iv: &[u8; 16], plain: &[u8]) -> Vec<u8> {
    let missing = 16 - plain.len() % 16;
    let padding = std::iter::repeat_n(u8::try_from(missing).unwrap_or_default(), missing);
    let mut bytes: Vec<u8> = plain.iter().copied().chain(padding).collect();
    let (blocks, _) = Block::slice_as_chunks_mut(&mut bytes);
    cbc::Encryptor::<Aes128>::new(key.into(), iv.into()).encrypt_blocks(blocks);
    bytes
}
