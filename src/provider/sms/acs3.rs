//! `ACS3-HMAC-SHA256`, the signature of Aliyun's APIs (help.aliyun.com, "V3 request structure and
//! signature").
//!
//! Pure. Every signed request is `POST /`.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::canonical_request::CanonicalRequest;
use crate::crypto::hmac_sha256;

const ALGORITHM: &str = "ACS3-HMAC-SHA256";

/// All but the unreserved characters of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The query of the signature and of the URL: parameters sorted by name, percent-encoded.
pub(super) fn canonical_query<const N: usize>(mut parameters: [(&str, &str); N]) -> String {
    parameters.sort_unstable();
    let encode = |text| utf8_percent_encode(text, RESERVED);
    parameters
        .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
        .join("&")
}

/// The `Authorization` header. `headers` have lower-case names and are in their order.
pub(super) fn authorization(
    access_key_id: &str,
    access_key_secret: &str,
    query: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> String {
    let values = headers
        .iter()
        .map(|(name, value)| (*name, value.trim().to_owned()));
    let request = CanonicalRequest::new(query, values, body);
    let to_sign = format!("{ALGORITHM}\n{}", request.digest);
    let signature = hex::encode(hmac_sha256(
        access_key_secret.as_bytes(),
        to_sign.as_bytes(),
    ));
    format!(
        "{ALGORITHM} Credential={access_key_id},SignedHeaders={},Signature={signature}",
        request.signed_headers
    )
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn published_requests_have_the_published_signatures() {
        let table: Value =
            serde_json::from_str(include_str!("../../../tests/data/aliyun-acs3.json")).unwrap();
        let mut seen = 0;
        for vector in table["vectors"].as_array().unwrap() {
            let text = |name: &str| vector[name].as_str().unwrap();
            let headers = vector["headers"].as_object().unwrap();
            let headers: Vec<_> = headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
                .collect();
            let made = authorization(
                text("access_key_id"),
                text("access_key_secret"),
                text("canonical_query"),
                &headers,
                text("body_utf8").as_bytes(),
            );
            assert_eq!(made, text("authorization"), "{}", text("id"));
            seen += 1;
        }
        assert_eq!(seen, 3);
    }

    #[test]
    fn parameters_are_sorted_and_spelled_as_rfc_3986_has_it() {
        let query = canonical_query([
            ("TemplateParam", r#"{"code":"123456","note":"a b*c~d+e/f"}"#),
            ("PhoneNumbers", "13800138000"),
            ("TemplateCode", "SMS_154950909"),
            ("SignName", "阿里云短信测试"),
            ("OutId", "req-1"),
        ]);
        let table: Value =
            serde_json::from_str(include_str!("../../../tests/data/aliyun-acs3.json")).unwrap();
        assert_eq!(query, table["vectors"][2]["canonical_query"]);
    }
}
