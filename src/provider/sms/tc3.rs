//! `TC3-HMAC-SHA256`, the signature of Tencent Cloud's APIs
//! (cloud.tencent.com/document/api/213/30654).
//!
//! Pure. Every signed request is `POST /` without a query.

use super::canonical_request::CanonicalRequest;
use crate::{crypto::hmac_sha256, types::Timestamp};

const ALGORITHM: &str = "TC3-HMAC-SHA256";

/// The `Authorization` header. `headers` have lower-case names and are in their order; their values
/// are signed in lower case.
pub(super) fn authorization(
    secret_id: &str,
    secret_key: &str,
    service: &str,
    headers: &[(&str, &str)],
    body: &[u8],
    now: Timestamp,
) -> String {
    let values = headers
        .iter()
        .map(|(name, value)| (*name, value.trim().to_ascii_lowercase()));
    let request = CanonicalRequest::new("", values, body);
    // The date in UTC, not in China's time.
    let date: String = now.rfc3339().chars().take("YYYY-MM-DD".len()).collect();
    let scope = format!("{date}/{service}/tc3_request");
    let to_sign = format!(
        "{ALGORITHM}\n{}\n{scope}\n{}",
        now.as_secs(),
        request.digest
    );
    let mut key = hmac_sha256(format!("TC3{secret_key}").as_bytes(), date.as_bytes());
    for step in [service, "tc3_request"] {
        key = hmac_sha256(&key, step.as_bytes());
    }
    let signature = hex::encode(hmac_sha256(&key, to_sign.as_bytes()));
    format!(
        "{ALGORITHM} Credential={secret_id}/{scope}, SignedHeaders={}, Signature={signature}",
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
            serde_json::from_str(include_str!("../../../tests/data/tencent-tc3.json")).unwrap();
        let mut seen = 0;
        for vector in table["vectors"].as_array().unwrap() {
            let text = |name: &str| vector[name].as_str().unwrap();
            let headers = vector["headers"].as_object().unwrap();
            let headers: Vec<_> = headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
                .collect();
            let made = authorization(
                text("secret_id"),
                text("secret_key"),
                text("service"),
                &headers,
                text("payload_utf8").as_bytes(),
                Timestamp::from_secs(vector["timestamp"].as_u64().unwrap()),
            );
            assert_eq!(made, text("authorization"), "{}", text("id"));
            seen += 1;
        }
        assert_eq!(seen, 4);
    }
}
