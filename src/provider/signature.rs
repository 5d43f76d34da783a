//! The signature of requests to the operator's own servers: the backend's hooks and the SMS
//! webhook.
//!
//! `X-Menshen-Signature` is `sha256=` and the lower-case hex of HMAC-SHA256 (RFC 2104) over
//! `X-Menshen-Timestamp`, a `.` and the body, under a shared secret. `Idempotency-Key` is the same
//! for every retry of one message.

use bytes::Bytes;
use http::header;

use crate::{
    crypto::hmac_sha256,
    types::{Secret, Timestamp},
};

/// A signed `POST` of JSON to this URL, which may contain a secret. Fails only when the id or the
/// URL fits into no request.
pub(super) fn signed_post(
    to: &Secret<String>,
    secret: &Secret<String>,
    id: &str,
    now: Timestamp,
    body: Vec<u8>,
) -> Result<http::Request<Bytes>, http::Error> {
    let timestamp = now.as_secs();
    let signed = [timestamp.to_string().as_bytes(), b".", &body].concat();
    let signature = hex::encode(hmac_sha256(secret.expose().as_bytes(), &signed));
    http::Request::post(to.expose())
        .header(header::CONTENT_TYPE, "application/json")
        .header("idempotency-key", id)
        .header("x-menshen-timestamp", timestamp)
        .header("x-menshen-signature", format!("sha256={signature}"))
        .body(body.into())
}
