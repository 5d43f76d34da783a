//! A response of menshen's own, before a protocol has written it.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};

use crate::policy::headers::X_REQUEST_ID;

/// A response of menshen's own.
#[derive(Debug, Clone)]
pub(super) struct LocalResponse {
    pub(super) status: StatusCode,
    /// All but those that frame the body or are about the connection.
    pub(super) fields: Vec<(HeaderName, HeaderValue)>,
    /// `Content-Length` where it is not that of `body`.
    pub(super) content_length: Option<u64>,
    pub(super) body: Bytes,
}

impl LocalResponse {
    /// A response without a body.
    pub(super) const fn bodiless(
        status: StatusCode,
        fields: Vec<(HeaderName, HeaderValue)>,
    ) -> Self {
        Self {
            status,
            fields,
            content_length: None,
            body: Bytes::new(),
        }
    }
}

/// The field of a response that says its request's id. `None`: it would be no field.
pub(super) fn request_id_field(id: &str) -> Option<(HeaderName, HeaderValue)> {
    HeaderValue::from_str(id).ok().map(|id| (X_REQUEST_ID, id))
}
