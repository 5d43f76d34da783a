//! `rawData` and `signature`: a profile that the mini program got from WeChat.
//!
//! Source: developers.weixin.qq.com, "signature": lower-case hex of `sha1(rawData + session_key)`,
//! where the key is its base64 text. SHA-1 is WeChat's choice. It proves that a client with this
//! `session_key` got the text, and no identity: there is no openid in it.

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};

use crate::{crypto, types::Secret};

/// Whether `signature` is that of `raw_data` under this `session_key`. `raw_data` is the text as
/// received, byte by byte; parsed and serialized again it is another one. The signature has to be
/// in lower case, as WeChat writes it.
pub fn raw_data_is_signed(raw_data: &[u8], signature: &str, session_key: &Secret<String>) -> bool {
    let mut digest = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    digest.update(raw_data);
    digest.update(session_key.expose().as_bytes());
    let expected = hex::encode(digest.finish());
    crypto::constant_time_eq(expected.as_bytes(), signature.as_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_published_signatures() {
        let table: Value = serde_json::from_str(include_str!(
            "../../../tests/data/wechat-rawdata-signature.json"
        ))
        .unwrap();
        let mut seen = 0;
        for vector in table["vectors"].as_array().unwrap() {
            let of = |name: &str| vector[name].as_str().unwrap();
            let key = Secret::new(of("session_key").to_owned());
            let is_signed = raw_data_is_signed(of("raw_data").as_bytes(), of("signature"), &key);
            assert_eq!(is_signed, of("expect") == "ok", "{}", of("id"));
            seen += 1;
        }
        assert_eq!(seen, 5);
    }

    proptest! {
        #[test]
        fn no_other_signature_is_taken(raw_data: Vec<u8>, signature in "[0-9a-fA-F]{0,41}|.{0,40}") {
            let key = Secret::new("HyVFkGl5F5OQWJZZaNzBBg==".to_owned());
            prop_assert!(!raw_data_is_signed(&raw_data, &signature, &key));
        }
    }
}
