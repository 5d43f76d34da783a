//! Renders rejections in the format of their path: that of its dialect, or a problem document.

use std::sync::Arc;

use axum::response::Response;

use super::{
    error,
    problem::{FieldError, Problem},
    rendered_error::RenderedError,
    routes,
};
use crate::{
    clock::Clock,
    dialect::{DialectRejection, Dialects, InvalidField},
    policy::METHODS,
    types::Timestamp,
};

/// Renders the rejections of the whole process.
#[derive(Clone)]
pub struct ErrorRenderer {
    dialects: Arc<Dialects>,
    clock: Clock,
}

impl ErrorRenderer {
    pub const fn new(dialects: Arc<Dialects>, clock: Clock) -> Self {
        Self { dialects, clock }
    }

    /// A rejection in the format of its path.
    pub fn render(&self, path: &str, problem: &Problem, request_id: &str) -> RenderedError {
        match self.dialects.for_path(path) {
            None => RenderedError::problem_json(problem, request_id),
            Some(dialect) => {
                let rejection = dialect_rejection(problem, request_id, self.clock.now());
                RenderedError::dialect_error(dialect, None, &rejection)
            }
        }
    }

    /// The same as a whole response.
    pub fn respond(&self, path: &str, problem: &Problem, request_id: &str) -> Response {
        error::response(problem, self.render(path, problem, request_id), request_id)
    }

    /// `Allow` of a 405 of the gate (RFC 9110 section 15.5.6): the methods of a route of the auth
    /// API; for other paths, the methods that are forwarded.
    pub fn allow(&self, path: &str) -> String {
        let of_route = self
            .dialects
            .strip_auth_prefix(path)
            .and_then(routes::methods);
        of_route.unwrap_or(&METHODS).join(", ")
    }
}

/// The values that the error templates of a dialect are filled with.
pub(super) fn dialect_rejection<'a>(
    problem: &'a Problem,
    request_id: &'a str,
    now: Timestamp,
) -> DialectRejection<'a> {
    let field = |FieldError { field, message }: &FieldError| InvalidField {
        name: (*field).into(),
        message: (*message).into(),
        value: None,
    };
    DialectRejection {
        code: problem.code,
        subcode: None,
        status: problem.status(),
        detail: problem.detail,
        retry_after: problem.retry_after_secs(request_id),
        errcode: None,
        fields: problem.errors.iter().map(field).collect(),
        request_id,
        now,
    }
}
