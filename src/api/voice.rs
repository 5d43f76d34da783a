//! In whose shape a refusal is written: the dialect of the path, or a problem document.

use std::{fmt, sync::Arc};

use axum::{body::Body, response::Response};
use http::{HeaderName, HeaderValue, StatusCode};

use super::{
    error,
    problem::{FieldError, Problem},
    routes,
};
use crate::{
    clock::Clock,
    dialect::{Dialect, Dialects, Refusal, WrongField},
    policy::{CorsFields, METHODS},
};

/// Says no on behalf of the whole process.
#[derive(Clone)]
pub struct Voices {
    dialects: Arc<Dialects>,
    clock: Clock,
}

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

impl Voices {
    /// In the dialects of a config.
    pub const fn new(dialects: Arc<Dialects>, clock: Clock) -> Self {
        Self { dialects, clock }
    }

    /// A refusal in the shape of its path.
    pub fn say(&self, path: &str, problem: &Problem, request_id: &str) -> Said {
        match self.dialects.speaking(path) {
            None => Said::plainly(problem, request_id),
            Some(dialect) => Said::in_dialect(dialect, None, &self.refusal(problem, request_id)),
        }
    }

    /// `Allow` of a 405 of the gate (RFC 9110 section 15.5.6): the methods of a route of the auth API, elsewhere those that are passed
    /// on.
    pub fn allow(&self, path: &str) -> String {
        let of_route = self.dialects.within_auth_api(path).and_then(routes::methods);
        of_route.unwrap_or(&METHODS).join(", ")
    }

    /// The same as a response.
    pub fn respond(&self, path: &str, problem: &Problem, request_id: &str) -> Response {
        error::response(problem, self.say(path, problem, request_id), request_id)
    }

    fn refusal<'a>(&self, problem: &'a Problem, request_id: &'a str) -> Refusal<'a> {
        refusal(problem, request_id, self.clock.now())
    }
}

/// What a dialect has to know of a refusal.
pub(super) fn refusal<'a>(problem: &'a Problem, request_id: &'a str, now: crate::types::Timestamp) -> Refusal<'a> {
    let field = |FieldError { field, message }: &FieldError| WrongField {
        name: (*field).into(),
        message: (*message).into(),
        value: None,
    };
    Refusal {
        code: problem.code,
        finer: None,
        status: problem.status(),
        detail: problem.detail,
        retry_after: problem.retry_after_secs(request_id),
        errcode: None,
        fields: problem.errors.iter().map(field).collect(),
        request_id,
        now,
    }
}

impl Said {
    /// With further header fields.
    #[must_use]
    pub fn with(mut self, fields: Option<&CorsFields>) -> Self {
        self.headers.extend(fields.into_iter().flat_map(|fields| fields.iter().cloned()));
        self
    }

    /// A problem document (RFC 9457).
    pub(super) fn plainly(problem: &Problem, request_id: &str) -> Self {
        Self { status: problem.status(), content_type: PROBLEM_JSON, headers: Vec::new(), body: problem.body(request_id) }
    }

    /// In the shape of a dialect, or of one of its routes.
    pub(super) fn in_dialect(dialect: &Dialect, route: Option<usize>, refusal: &Refusal<'_>) -> Self {
        let shaped = dialect.refuse(route, refusal);
        Self { status: shaped.status, content_type: JSON, headers: shaped.headers, body: shaped.body }
    }

    /// A response with nothing but this.
    pub(super) fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        response.headers_mut().extend(self.headers);
        response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        response
    }
}

impl fmt::Debug for Voices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Voices")
    }
}
