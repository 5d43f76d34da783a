//! The message push, as WeChat sends it.

use std::fmt::Write as _;

use aes::{
    Aes256,
    cipher::{BlockModeEncrypt, KeyIvInit},
};
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::types::Timestamp;

/// Pushes to one mini program.
#[derive(Debug, Clone)]
pub struct SimulatedPush {
    pub app_id: String,
    pub token: String,
    /// 42 characters and one of `AEIMQUYcgkosw048`.
    pub aes_key: String,
}

/// A push request: its query and body.
#[derive(Debug, Clone)]
pub struct PushRequest {
    pub query: String,
    pub body: String,
}

impl SimulatedPush {
    /// An event in safe mode.
    pub fn event(&self, name: &str, openid: &str, more: &Value, now: Timestamp) -> PushRequest {
        let mut event = json!({
            "ToUserName": "gh_1", "FromUserName": "o_wechat", "CreateTime": now.as_secs(), "MsgType": "event",
            "Event": name, "OpenID": openid, "AppID": self.app_id
        });
        for (name, value) in more.as_object().into_iter().flatten() {
            event[name] = value.clone();
        }
        let sealed = self.seal(event.to_string().as_bytes()).unwrap_or_default();
        let nonce = "372623149";
        let signed = self.sign(now, nonce, Some(&sealed));
        let mut query = self.query(now, nonce);
        let _ = write!(query, "&encrypt_type=aes&msg_signature={signed}");
        PushRequest {
            query,
            body: json!({ "ToUserName": "gh_1", "Encrypt": sealed }).to_string(),
        }
    }

    /// A query whose signature covers time and nonce alone.
    pub fn query(&self, now: Timestamp, nonce: &str) -> String {
        format!(
            "signature={}&timestamp={}&nonce={nonce}",
            self.sign(now, nonce, None),
            now.as_secs()
        )
    }

    fn sign(&self, now: Timestamp, nonce: &str, sealed: Option<&str>) -> String {
        let timestamp = now.as_secs().to_string();
        let mut parts: Vec<&str> = [self.token.as_str(), &timestamp, nonce]
            .into_iter()
            .chain(sealed)
            .collect();
        parts.sort_unstable();
        hex::encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, parts.concat().as_bytes()))
    }

    fn seal(&self, message: &[u8]) -> Option<String> {
        let key: [u8; 32] = STANDARD
            .decode(format!("{}=", self.aes_key))
            .ok()?
            .try_into()
            .ok()?;
        let length = u32::try_from(message.len()).ok()?.to_be_bytes();
        let mut plain = [
            b"0123456789abcdef",
            length.as_slice(),
            message,
            self.app_id.as_bytes(),
        ]
        .concat();
        let padding = 32 - plain.len() % 32;
        plain.extend(std::iter::repeat_n(u8::try_from(padding).ok()?, padding));
        let (blocks, _) = aes::Block::slice_as_chunks_mut(&mut plain);
        let iv: &[u8; 16] = key.first_chunk()?;
        cbc::Encryptor::<Aes256>::new((&key).into(), iv.into()).encrypt_blocks(blocks);
        Some(STANDARD.encode(plain))
    }
}
