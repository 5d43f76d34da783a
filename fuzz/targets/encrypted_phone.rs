//! What WeChat encrypted names a phone only when all of it is as WeChat writes it, and nothing in
//! it makes the reader panic.
//!
//! Input: `r`, then data and IV in base64, parted by a line feed. Or `p`, then a text that is
//! padded and encrypted as it is.

use std::{sync::LazyLock, time::Duration};

use aes::{
    Aes128, Block,
    cipher::{BlockModeEncrypt, KeyIvInit},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use menshen::{
    clock::Clock,
    config::{Mode, WechatConfig},
    entropy::Entropy,
    metrics::Metrics,
    provider::wechat::{EncryptedPhone, Wechat},
    types::{AppId, Secret, Timestamp},
};
use serde_json::Value;

use super::world::NOW;

const KEY: [u8; 16] = *b"sixteen bytes ok";
const IV: [u8; 16] = *b"and sixteen more";

static WECHAT: LazyLock<Wechat> = LazyLock::new(|| {
    let config = WechatConfig {
        legacy_decrypt: true,
        ..WechatConfig::default()
    };
    Wechat::new(
        &config,
        Mode::Development,
        Metrics::new(),
        &Clock::manual(NOW),
        &Entropy::default(),
    )
    .expect("WeChat")
});

/// A panic is a broken promise.
pub fn run(data: &[u8]) {
    let app = AppId::parse("wx0000000000000000").expect("an app id");
    let keys = [Secret::new(STANDARD.encode(KEY))];
    let decryption = WECHAT.phone_decryption().expect("switched on");
    match data.split_first() {
        Some((b'r', rest)) => {
            let Ok(text) = std::str::from_utf8(rest) else {
                return;
            };
            let (encrypted_data, iv) = text.split_once('\n').unwrap_or((text, ""));
            let sent = EncryptedPhone { encrypted_data, iv };
            if let Ok(found) = decryption.phone(&app, &keys, &sent) {
                // Only whole blocks in canonical base64 come so far.
                assert_eq!(
                    STANDARD.encode(STANDARD.decode(encrypted_data).expect("base64")),
                    encrypted_data
                );
                assert!(found.phone.as_str().starts_with('+'));
            }
        }
        Some((b'p', plain)) => {
            let sealed = STANDARD.encode(encrypt(plain));
            let iv = STANDARD.encode(IV);
            let sent = EncryptedPhone {
                encrypted_data: &sealed,
                iv: &iv,
            };
            let Ok(found) = decryption.phone(&app, &keys, &sent) else {
                return;
            };
            let said: Value = serde_json::from_slice(plain).expect("JSON");
            let members: Vec<&String> = said.as_object().expect("an object").keys().collect();
            assert_eq!(
                members,
                ["countryCode", "phoneNumber", "purePhoneNumber", "watermark"]
            );
            assert_eq!(said["watermark"]["appid"], "wx0000000000000000");
            let made =
                Timestamp::from_secs(said["watermark"]["timestamp"].as_u64().expect("a time"));
            assert!(
                NOW.since(made) <= Duration::from_hours(24)
                    && made.since(NOW) <= Duration::from_mins(5)
            );
            let national = said["purePhoneNumber"].as_str().expect("a text");
            assert!(
                found.phone.as_str().ends_with(national),
                "{:?}",
                found.phone.as_str()
            );
        }
        _ => {}
    }
}

/// AES-128-CBC with PKCS#7 padding.
fn encrypt(plain: &[u8]) -> Vec<u8> {
    let pad = 16 - plain.len() % 16;
    let mut bytes = [plain, &vec![u8::try_from(pad).unwrap_or_default(); pad]].concat();
    let (blocks, _) = Block::slice_as_chunks_mut(&mut bytes);
    cbc::Encryptor::<Aes128>::new(&KEY.into(), &IV.into()).encrypt_blocks(blocks);
    bytes
}
