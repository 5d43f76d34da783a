//! The rejections of the admin API: a status and `{"error": text}`.

use axum::{
    Json,
    extract::rejection::QueryRejection,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::json;

use crate::{
    auth::{AdministrationError, PasswordError},
    types::Malformed,
};

/// The result of a route: a JSON document, or a rejection.
pub(super) type JsonResult<T> = Result<Json<T>, AdminRejection>;

/// Why an operation failed: a status, and a sentence for people.
#[derive(Debug)]
pub(super) struct AdminRejection(StatusCode, String);

impl AdminRejection {
    pub(super) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self(status, error.into())
    }

    /// An internal error, which is logged here, once; the response has nothing of it.
    pub(super) fn internal(fault: &impl std::error::Error) -> Self {
        tracing::error!(error = %fault, "the admin API failed: {fault}");
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the store failed: it is unknown whether anything was changed",
        )
    }
}

impl IntoResponse for AdminRejection {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}

impl From<Malformed> for AdminRejection {
    fn from(Malformed(says): Malformed) -> Self {
        Self::new(StatusCode::BAD_REQUEST, says)
    }
}

impl From<QueryRejection> for AdminRejection {
    fn from(_: QueryRejection) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "the query is not one of this route",
        )
    }
}

impl From<AdministrationError> for AdminRejection {
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
            | AdministrationError::Entropy(_) => return Self::internal(&error),
        };
        Self::new(status, error.to_string())
    }
}
