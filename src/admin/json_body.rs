//! The JSON body of a request to the admin API.

use std::time::Duration;

use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
    http::StatusCode,
};
use serde::de::DeserializeOwned;

use super::rejection::AdminRejection;

/// Longest body of a route that has no limit of its own, in bytes.
pub(super) const MAX_BODY_LEN: usize = 16 * 1024;
/// Time for the whole body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// A JSON body. A rejection does not quote it, because it can hold a password.
#[derive(Debug)]
pub(super) struct JsonBody<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = AdminRejection;

    async fn from_request(request: Request, state: &S) -> Result<Self, AdminRejection> {
        let bytes = tokio::time::timeout(BODY_TIMEOUT, Bytes::from_request(request, state))
            .await
            .map_err(|_| {
                AdminRejection::new(
                    StatusCode::REQUEST_TIMEOUT,
                    "the body did not arrive in time",
                )
            })?
            .map_err(|rejection| {
                AdminRejection::new(
                    rejection.status(),
                    "the body is too long, or cannot be read",
                )
            })?;
        serde_json::from_slice(&bytes).map(Self).map_err(|_| {
            AdminRejection::new(
                StatusCode::BAD_REQUEST,
                "the body must be a JSON object with the fields of this route",
            )
        })
    }
}
