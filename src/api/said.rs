//! A refusal as it is written: a problem document, or what a dialect makes of it.

use axum::{body::Body, response::Response};
use http::{HeaderName, HeaderValue, StatusCode};

use super::problem::Problem;
use crate::{
    dialect::{Dialect, DialectRejection},
    policy::CorsFields,
};

/// What differs between shapes. All other header fields of a refusal follow from its [`Problem`].
#[derive(Debug, Clone)]
pub struct Said {
    pub status: StatusCode,
    pub content_type: &'static str,
    /// Further header fields.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: Vec<u8>,
}

const PROBLEM_JSON: &str = "application/problem+json";
/// With its encoding, because clients of such APIs are used to it.
pub(super) const JSON: &str = "application/json; charset=utf-8";

impl Said {
    /// With further header fields.
    #[must_use]
    pub fn with(mut self, fields: Option<&CorsFields>) -> Self {
        self.headers
            .extend(fields.into_iter().flat_map(|fields| fields.iter().cloned()));
        self
    }

    /// A problem document (RFC 9457).
    pub(super) fn plainly(problem: &Problem, request_id: &str) -> Self {
        Self {
            status: problem.status(),
            content_type: PROBLEM_JSON,
            headers: Vec::new(),
            body: problem.body(request_id),
        }
    }

    /// In the shape of a dialect, or of one of its routes.
    pub(super) fn in_dialect(
        dialect: &Dialect,
        route: Option<usize>,
        refusal: &DialectRejection<'_>,
    ) -> Self {
        let rendered = dialect.render_error(route, refusal);
        Self {
            status: rendered.status,
            content_type: JSON,
            headers: rendered.headers,
            body: rendered.body,
        }
    }

    /// A response with nothing but this.
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
