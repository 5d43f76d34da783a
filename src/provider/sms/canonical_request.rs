//! The canonical request that the signatures of Aliyun (ACS3) and Tencent Cloud (TC3) cover: of a
//! `POST /`.

use crate::crypto::sha256;

/// A request in the form that is signed.
pub(super) struct CanonicalRequest {
    /// The names of the headers that are signed.
    pub(super) signed_headers: String,
    /// Lower-case hex of SHA-256.
    pub(super) digest: String,
}

impl CanonicalRequest {
    /// `headers` have lower-case names, and values as they are signed.
    pub(super) fn new<'h>(
        query: &str,
        headers: impl Iterator<Item = (&'h str, String)>,
        body: &[u8],
    ) -> Self {
        let (lines, names): (Vec<_>, Vec<_>) = headers
            .map(|(name, value)| (format!("{name}:{value}\n"), name))
            .unzip();
        let (lines, signed_headers) = (lines.concat(), names.join(";"));
        let body = hex::encode(sha256(body));
        let request = format!("POST\n/\n{query}\n{lines}\n{signed_headers}\n{body}");
        Self {
            signed_headers,
            digest: hex::encode(sha256(request.as_bytes())),
        }
    }
}
