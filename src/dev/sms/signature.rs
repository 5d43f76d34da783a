//! Verifies signatures of received requests. Written from the vendors' pages, independently of the
//! client.
//!
//! Each error is the vendor's own code; for the webhook an HTTP status.

use std::collections::BTreeMap;

use axum::http::request::Parts;
use percent_encoding::percent_decode_str;

use super::account::{KEY_ID, SECRET};
use crate::{
    crypto::{hmac_sha256, sha256},
    types::Timestamp,
};

/// Most seconds between a timestamp and our time, of Aliyun and Tencent Cloud.
const ALIYUN_WINDOW: u64 = 15 * 60;
const TENCENT_WINDOW: u64 = 5 * 60;

/// The parts of an `Authorization` header: `SCHEME Credential=..,SignedHeaders=..,Signature=..`.
struct Authorization<'a> {
    credential: &'a str,
    signed_headers: Vec<&'a str>,
    signature: &'a str,
}

/// Verifies `ACS3-HMAC-SHA256`; returns the nonce.
pub(super) fn acs3(head: &Parts, body: &[u8], now: Timestamp) -> Result<String, &'static str> {
    const INVALID: &str = "SignatureDoesNotMatch";
    let sent = Authorization::parse(head, "ACS3-HMAC-SHA256").ok_or(INVALID)?;
    if sent.credential != KEY_ID {
        return Err("InvalidAccessKeyId.NotFound");
    }
    let date = header(head, "x-acs-date").ok_or(INVALID)?;
    let format = &time::format_description::well_known::Rfc3339;
    let at = time::OffsetDateTime::parse(date, format)
        .map_err(|_| INVALID)?
        .unix_timestamp();
    if !date.ends_with('Z')
        || at.abs_diff(i64::try_from(now.as_secs()).unwrap_or(0)) > ALIYUN_WINDOW
    {
        return Err("InvalidTimeStamp.Expired");
    }
    let must_be_signed = head
        .headers
        .keys()
        .filter(|name| name.as_str().starts_with("x-acs-") || *name == "host");
    if !must_be_signed
        .map(http::HeaderName::as_str)
        .all(|name| sent.signed_headers.contains(&name))
    {
        return Err(INVALID);
    }
    if header(head, "x-acs-content-sha256") != Some(hex::encode(sha256(body)).as_str()) {
        return Err(INVALID);
    }
    let canonical = [
        head.method.as_str(),
        head.uri.path(),
        &query(head)
            .iter()
            .map(|(name, value)| format!("{}={}", percent_encoded(name), percent_encoded(value)))
            .collect::<Vec<_>>()
            .join("&"),
        &sent.header_lines(head, str::to_owned).ok_or(INVALID)?,
        &sent.signed_headers.join(";"),
        &hex::encode(sha256(body)),
    ]
    .join("\n");
    let expected = hmac_sha256(
        SECRET.as_bytes(),
        format!(
            "ACS3-HMAC-SHA256\n{}",
            hex::encode(sha256(canonical.as_bytes()))
        )
        .as_bytes(),
    );
    if sent.signature != hex::encode(expected) {
        return Err(INVALID);
    }
    header(head, "x-acs-signature-nonce")
        .map(str::to_owned)
        .filter(|nonce| !nonce.is_empty())
        .ok_or(INVALID)
}

/// `TC3-HMAC-SHA256`.
pub(super) fn tc3(head: &Parts, body: &[u8], now: Timestamp) -> Result<(), &'static str> {
    const INVALID: &str = "AuthFailure.SignatureFailure";
    let sent = Authorization::parse(head, "TC3-HMAC-SHA256").ok_or(INVALID)?;
    let scope: Vec<_> = sent.credential.split('/').collect();
    let [id, date, service, end] = scope.as_slice() else {
        return Err(INVALID);
    };
    if *id != KEY_ID {
        return Err("AuthFailure.SecretIdNotFound");
    }
    let at: u64 = header(head, "x-tc-timestamp")
        .and_then(|text| text.parse().ok())
        .ok_or(INVALID)?;
    if at.abs_diff(now.as_secs()) > TENCENT_WINDOW {
        return Err("AuthFailure.SignatureExpire");
    }
    let is_complete = ["content-type", "host"]
        .iter()
        .all(|name| sent.signed_headers.contains(name));
    let is_same_day = Timestamp::from_secs(at)
        .rfc3339()
        .starts_with(&format!("{date}T"));
    if !is_complete || !is_same_day || *service != "sms" || *end != "tc3_request" {
        return Err(INVALID);
    }
    let canonical = format!(
        "{}\n{}\n{}\n{}\n{}\n{}",
        head.method,
        head.uri.path(),
        head.uri.query().unwrap_or_default(),
        sent.header_lines(head, str::to_lowercase).ok_or(INVALID)?,
        sent.signed_headers.join(";"),
        hex::encode(sha256(body)),
    );
    let to_sign = format!(
        "TC3-HMAC-SHA256\n{at}\n{date}/{service}/{end}\n{}",
        hex::encode(sha256(canonical.as_bytes()))
    );
    let day_key = hmac_sha256(format!("TC3{SECRET}").as_bytes(), date.as_bytes());
    let signing_key = hmac_sha256(&hmac_sha256(&day_key, service.as_bytes()), end.as_bytes());
    if sent.signature == hex::encode(hmac_sha256(&signing_key, to_sign.as_bytes())) {
        Ok(())
    } else {
        Err(INVALID)
    }
}

/// `X-Menshen-Signature`.
pub(super) fn webhook(head: &Parts, body: &[u8], now: Timestamp) -> Result<(), &'static str> {
    const INVALID: &str = "401";
    let timestamp = header(head, "x-menshen-timestamp").ok_or(INVALID)?;
    let at: u64 = timestamp.parse().map_err(|_| INVALID)?;
    let signed = [timestamp.as_bytes(), b".", body].concat();
    let expected = format!(
        "sha256={}",
        hex::encode(hmac_sha256(SECRET.as_bytes(), &signed))
    );
    let is_right = header(head, "x-menshen-signature") == Some(expected.as_str());
    if is_right && at.abs_diff(now.as_secs()) <= TENCENT_WINDOW {
        Ok(())
    } else {
        Err(INVALID)
    }
}

/// The decoded parameters, sorted by name.
pub(super) fn query(head: &Parts) -> BTreeMap<String, String> {
    let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let pairs = head
        .uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}

/// The value of a header that occurs once.
pub(super) fn header<'a>(head: &'a Parts, name: &str) -> Option<&'a str> {
    let mut values = head.headers.get_all(name).iter();
    // Not `HeaderValue::to_str`, which takes ASCII alone.
    let value = std::str::from_utf8(values.next()?.as_bytes()).ok()?;
    values.next().is_none().then_some(value)
}

impl<'a> Authorization<'a> {
    fn parse(head: &'a Parts, scheme: &str) -> Option<Self> {
        let pieces = header(head, "authorization")?.strip_prefix(scheme)?;
        let of = |name: &str| {
            pieces
                .split(',')
                .find_map(|piece| piece.trim().strip_prefix(name)?.strip_prefix('='))
        };
        let signed_headers: Vec<_> = of("SignedHeaders")?.split(';').collect();
        signed_headers.is_sorted().then_some(())?;
        Some(Self {
            credential: of("Credential")?,
            signed_headers,
            signature: of("Signature")?,
        })
    }

    /// `name:value` and a line end for each signed header, with the scheme's change of the value.
    fn header_lines(&self, head: &Parts, change: impl Fn(&str) -> String) -> Option<String> {
        self.signed_headers
            .iter()
            .map(|name| Some(format!("{name}:{}\n", change(header(head, name)?.trim()))))
            .collect()
    }
}

/// Percent-encodes all but unreserved characters (RFC 3986).
fn percent_encoded(text: &str) -> String {
    let spell = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(spell).collect()
}
