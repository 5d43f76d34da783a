//! In whose shape a refusal is written: the dialect of the path, or a problem document.

use std::sync::Arc;

use axum::response::Response;

use super::{
    error,
    problem::{FieldError, Problem},
    routes,
    said::Said,
};
use crate::{
    clock::Clock,
    dialect::{DialectRejection, Dialects, InvalidField},
    policy::METHODS,
};

/// Says no on behalf of the whole process.
#[derive(Clone)]
pub struct Voices {
    dialects: Arc<Dialects>,
    clock: Clock,
}

impl Voices {
    /// In the dialects of a config.
    pub const fn new(dialects: Arc<Dialects>, clock: Clock) -> Self {
        Self { dialects, clock }
    }

    /// A refusal in the shape of its path.
    pub fn say(&self, path: &str, problem: &Problem, request_id: &str) -> Said {
        match self.dialects.for_path(path) {
            None => Said::plainly(problem, request_id),
            Some(dialect) => Said::in_dialect(dialect, None, &self.refusal(problem, request_id)),
        }
    }

    /// `Allow` of a 405 of the gate (RFC 9110 section 15.5.6): the methods of a route of the auth
    /// API, elsewhere those that are passed on.
    pub fn allow(&self, path: &str) -> String {
        let of_route = self
            .dialects
            .strip_auth_prefix(path)
            .and_then(routes::methods);
        of_route.unwrap_or(&METHODS).join(", ")
    }

    /// The same as a response.
    pub fn respond(&self, path: &str, problem: &Problem, request_id: &str) -> Response {
        error::response(problem, self.say(path, problem, request_id), request_id)
    }

    fn refusal<'a>(&self, problem: &'a Problem, request_id: &'a str) -> DialectRejection<'a> {
        refusal(problem, request_id, self.clock.now())
    }
}

/// What a dialect has to know of a refusal.
pub(super) fn refusal<'a>(
    problem: &'a Problem,
    request_id: &'a str,
    now: crate::types::Timestamp,
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
