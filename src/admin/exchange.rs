//! What every route of the admin API has in common: how a body is read, and what a refusal looks
//! like.

use std::time::Duration;

use axum::{
    Json,
    body::Bytes,
    extract::{FromRequest, Request, rejection::QueryRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::{
    auth::{AdministrationError, PasswordError},
    types::Malformed,
};

/// Longest body of any route, in bytes.
pub(super) const LONGEST_BODY: usize = 16 * 1024;
/// Time for the whole of a body.
const BODY_TIME: Duration = Duration::from_secs(10);

/// Why something was not done: a status, and a sentence for a person.
#[derive(Debug)]
pub(super) struct Refused(StatusCode, String);

impl Refused {
    pub(super) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self(status, error.into())
    }

    /// A fault, which is logged here, once. What the caller is told says nothing of the inside.
    pub(super) fn fault(fault: &impl std::error::Error) -> Self {
        tracing::error!(error = %fault, "the admin API failed: {fault}");
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the store failed: nothing was changed, or nobody knows",
        )
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}

impl From<Malformed> for Refused {
    fn from(Malformed(says): Malformed) -> Self {
        Self::new(StatusCode::BAD_REQUEST, says)
    }
}

impl From<QueryRejection> for Refused {
    fn from(_: QueryRejection) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "the query is not one of this route",
        )
    }
}

impl From<AdministrationError> for Refused {
    fn from(error: AdministrationError) -> Self {
        let status = match &error {
            AdministrationError::NoSuchUser | AdministrationError::NoSession => {
                StatusCode::NOT_FOUND
            }
            AdministrationError::Gone { .. } => StatusCode::GONE,
            AdministrationError::UsernameTaken | AdministrationError::NoUsername => {
                StatusCode::CONFLICT
            }
            AdministrationError::Password(PasswordError::Busy) => StatusCode::TOO_MANY_REQUESTS,
            AdministrationError::Password(
                PasswordError::Unreadable | PasswordError::Entropy(_) | PasswordError::Failed,
            )
            | AdministrationError::Store(_)
            | AdministrationError::Entropy(_) => return Self::fault(&error),
        };
        Self::new(status, error.to_string())
    }
}

/// A JSON body. What is wrong with one is not repeated, because it can hold a password.
#[derive(Debug)]
pub(super) struct Sent<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Sent<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refused> {
        let bytes = tokio::time::timeout(BODY_TIME, Bytes::from_request(request, state))
            .await
            .map_err(|_| {
                Refused::new(
                    StatusCode::REQUEST_TIMEOUT,
                    "the body did not arrive in time",
                )
            })?
            .map_err(|rejection| {
                Refused::new(
                    rejection.status(),
                    "the body is too long, or cannot be read",
                )
            })?;
        serde_json::from_slice(&bytes).map(Self).map_err(|_| {
            Refused::new(
                StatusCode::BAD_REQUEST,
                "the body must be a JSON object with the fields of this route",
            )
        })
    }
}
