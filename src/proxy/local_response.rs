//! A response that menshen makes itself, before either protocol writes it.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};

use crate::policy::headers::X_REQUEST_ID;

/// A header field that menshen sets.
pub(super) type HeaderField = (HeaderName, HeaderValue);

/// A response that menshen makes itself.
#[derive(Debug, Clone)]
pub(super) struct LocalResponse {
    pub(super) status: StatusCode,
    /// All header fields except framing and connection fields.
    pub(super) fields: Vec<HeaderField>,
    /// `Content-Length`, if it is not the length of `body`.
    pub(super) content_length: Option<u64>,
    pub(super) body: Bytes,
}

impl LocalResponse {
    /// A response without a body.
    pub(super) const fn bodiless(status: StatusCode, fields: Vec<HeaderField>) -> Self {
        Self {
            status,
            fields,
            content_length: None,
            body: Bytes::new(),
        }
    }
}

/// A field with a fixed value.
pub(super) fn fixed_field(name: HeaderName, value: &'static str) -> HeaderField {
    (name, HeaderValue::from_static(value))
}

/// Forbids caches to keep the response.
pub(super) fn no_store() -> HeaderField {
    fixed_field(header::CACHE_CONTROL, "no-store")
}

/// The `X-Request-Id` field. `None`: the id is not a valid field value.
pub(super) fn request_id_field(id: &str) -> Option<HeaderField> {
    HeaderValue::from_str(id).ok().map(|id| (X_REQUEST_ID, id))
}
