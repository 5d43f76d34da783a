//! A rendered rejection: a problem document, or the error body of a dialect.

use axum::{body::Body, response::Response};
use http::{HeaderName, HeaderValue, StatusCode};

use super::problem::Problem;
use crate::{
    dialect::{Dialect, DialectRejection},
    policy::CorsFields,
};

/// What differs between formats. All other header fields of a rejection follow from its
/// [`Problem`].
#[derive(Debug, Clone)]
pub struct RenderedError {
    pub status: StatusCode,
    pub content_type: &'static str,
    /// Further header fields.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: Vec<u8>,
}

const PROBLEM_JSON: &str = "application/problem+json";
/// With `charset`, which clients of such APIs expect.
pub(super) const JSON: &str = "application/json; charset=utf-8";

impl RenderedError {
    /// With further header fields.
    #[must_use]
    pub fn with_headers(mut self, fields: Option<&CorsFields>) -> Self {
        self.headers
            .extend(fields.into_iter().flat_map(|fields| fields.iter().cloned()));
        self
    }

    /// A problem document (RFC 9457).
    pub(super) fn problem_json(problem: &Problem, request_id: &str) -> Self {
        Self {
            status: problem.status(),
            content_type: PROBLEM_JSON,
            headers: Vec::new(),
            body: problem.body(request_id),
        }
    }

    /// By the error templates of a dialect, those of one of its routes first.
    pub(super) fn dialect_error(
        dialect: &Dialect,
        route: Option<usize>,
        rejection: &DialectRejection<'_>,
    ) -> Self {
        let rendered = dialect.render_error(route, rejection);
        Self {
            status: rendered.status,
            content_type: JSON,
            headers: rendered.headers,
            body: rendered.body,
        }
    }

    /// A response with no other header fields.
    pub(super) fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        response.headers_mut().extend(self.headers);
        response.headers_mut().insert(
            http::header::CONTENT_TYPE,
            HeaderValue::from_static(self.content_type),
        );
        response
    }
}
