//! Reads a JSON body, bounded in size, time and depth; names all invalid fields at once.
//!
//! Must stay true: an invalid body gets a 4xx, whatever is in it; a field that is read and
//! present twice is rejected, because two readers could take different values; fields that no route
//! reads are skipped ([`json_object`](super::json_object)); `application/json` is required, because
//! a form on a page of another origin cannot send it.

use std::time::Duration;

use axum::{
    body::{Body, Bytes},
    extract::Request,
    http::{HeaderMap, Method, header},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::{Map, Value};

use super::{
    json_object::{JsonObject, MemberValue},
    problem::{FieldError, Problem},
};
use crate::{error::ErrorCode, types::Malformed};

/// Longest body of any route, in bytes.
pub const MAX_BODY_LEN: usize = 16 * 1024;
/// Time for a whole body.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(10);

const NOT_JSON: &str = "Send a JSON object with Content-Type: application/json.";
const NOT_AN_OBJECT: &str = "The body must be one JSON object in UTF-8, each field once.";

/// The fields of a body, and the errors of those read so far. Fields that no route reads are
/// skipped.
#[derive(Debug)]
pub(super) struct BodyFields {
    source: FieldSource,
    errors: Vec<FieldError>,
    /// A field that was read is there twice, or unreadable.
    is_malformed: bool,
}

#[derive(Debug)]
enum FieldSource {
    /// `None`: there is no body, so no field.
    Body(Option<JsonObject>),
    Inputs(Map<String, Value>),
}

impl BodyFields {
    /// Reads a body that is required.
    pub(super) async fn read(request: Request) -> Result<Self, Problem> {
        let (head, body) = request.into_parts();
        check_type(&head.headers, &head.method)?;
        let object = parse(&read(&head.headers, body).await?)?;
        Ok(Self::new(FieldSource::Body(Some(object))))
    }

    /// Reads a body; none is the same as an empty object.
    pub(super) async fn read_if_any(request: Request) -> Result<Self, Problem> {
        Ok(Self::new(FieldSource::Body(object_if_any(request).await?)))
    }

    /// Fields that a dialect has found in other locations.
    pub(super) const fn from_inputs(inputs: Map<String, Value>) -> Self {
        Self::new(FieldSource::Inputs(inputs))
    }

    const fn new(source: FieldSource) -> Self {
        Self {
            source,
            errors: Vec::new(),
            is_malformed: false,
        }
    }

    /// Whether a field was sent, and not as null.
    pub(super) fn has(&mut self, field: &str) -> bool {
        let found = self.find(field);
        self.is_malformed |= matches!(found, MemberValue::Unreadable | MemberValue::Repeated);
        !matches!(found, MemberValue::Absent | MemberValue::Value(Value::Null))
    }

    /// A required text, which has to be valid.
    pub(super) fn required<T>(
        &mut self,
        field: &'static str,
        parse: impl FnOnce(&str) -> Result<T, Malformed>,
    ) -> Option<T> {
        if !self.has(field) {
            return self.invalid(field, "is required");
        }
        self.optional(field, parse)
    }

    /// An optional text; null is the same as absent.
    pub(super) fn optional<T>(
        &mut self,
        field: &'static str,
        parse: impl FnOnce(&str) -> Result<T, Malformed>,
    ) -> Option<T> {
        self.patch(field, parse).flatten()
    }

    /// An optional text; an invalid one is the same as absent.
    pub(super) fn if_valid<T>(
        &mut self,
        field: &str,
        parse: impl FnOnce(&str) -> Result<T, Malformed>,
    ) -> Option<T> {
        match self.find(field) {
            MemberValue::Value(Value::String(text)) => parse(&text).ok(),
            MemberValue::Repeated => {
                self.is_malformed = true;
                None
            }
            MemberValue::Absent | MemberValue::Unreadable | MemberValue::Value(_) => None,
        }
    }

    /// A text of a merge patch (RFC 7396): absent is `None`, null is `Some(None)`.
    #[expect(
        clippy::option_option,
        reason = "the store takes a change of a profile in the same form"
    )]
    pub(super) fn patch<T>(
        &mut self,
        field: &'static str,
        parse: impl FnOnce(&str) -> Result<T, Malformed>,
    ) -> Option<Option<T>> {
        let read = match self.find(field) {
            MemberValue::Absent => return None,
            MemberValue::Unreadable | MemberValue::Repeated => {
                self.is_malformed = true;
                return None;
            }
            MemberValue::Value(Value::Null) => return Some(None),
            MemberValue::Value(Value::String(text)) => parse(&text),
            MemberValue::Value(
                Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_),
            ) => Err(Malformed("must be a string")),
        };
        match read {
            Ok(value) => Some(Some(value)),
            Err(Malformed(says)) => self.invalid(field, says),
        }
    }

    /// Adds an error of a field for a reason other than its value.
    pub(super) fn reject(&mut self, field: &'static str, message: &'static str) {
        self.errors.push(FieldError { field, message });
    }

    /// The value built from the fields, or all of their errors.
    pub(super) fn finish<T>(self, built: Option<T>) -> Result<T, Problem> {
        if self.is_malformed {
            return Err(unreadable_body());
        }
        match built {
            Some(built) if self.errors.is_empty() => Ok(built),
            Some(_) | None => Err(Problem {
                errors: self.errors,
                ..Problem::new(ErrorCode::ValidationFailed)
            }),
        }
    }

    fn invalid<T>(&mut self, field: &'static str, message: &'static str) -> Option<T> {
        self.errors.push(FieldError { field, message });
        None
    }

    fn find(&self, field: &str) -> MemberValue {
        match &self.source {
            FieldSource::Body(None) => MemberValue::Absent,
            FieldSource::Body(Some(object)) => object.get(field),
            FieldSource::Inputs(inputs) => inputs
                .get(field)
                .cloned()
                .map_or(MemberValue::Absent, MemberValue::Value),
        }
    }
}

/// The object that the body is; `None`: there is no body.
pub(super) async fn object_if_any(request: Request) -> Result<Option<JsonObject>, Problem> {
    let (head, body) = request.into_parts();
    let bytes = read(&head.headers, body).await?;
    if bytes.is_empty() {
        return Ok(None);
    }
    check_type(&head.headers, &head.method)?;
    parse(&bytes).map(Some)
}

fn parse(bytes: &Bytes) -> Result<JsonObject, Problem> {
    JsonObject::parse(bytes).ok_or_else(unreadable_body)
}

/// The body, or a field that is read, is not JSON with exactly one reading.
pub(super) fn unreadable_body() -> Problem {
    malformed(NOT_AN_OBJECT)
}

/// A body of any kind, within the same limits.
pub(super) async fn bytes(request: Request) -> Result<Bytes, Problem> {
    let (head, body) = request.into_parts();
    read(&head.headers, body).await
}

fn malformed(detail: &'static str) -> Problem {
    Problem::new(ErrorCode::RequestMalformed).detail(detail)
}

/// `application/json`, or `application/merge-patch+json` for a merge patch.
fn check_type(headers: &HeaderMap, method: &Method) -> Result<(), Problem> {
    let of = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let essence = of.split(';').next().unwrap_or_default().trim();
    let is = |expected: &str| essence.eq_ignore_ascii_case(expected);
    let is_json =
        is("application/json") || (*method == Method::PATCH && is("application/merge-patch+json"));
    let once = headers.get_all(header::CONTENT_TYPE).iter().count() == 1;
    (is_json && once)
        .then_some(())
        .ok_or_else(|| malformed(NOT_JSON))
}

async fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    if headers.contains_key(header::CONTENT_ENCODING) {
        return Err(malformed("Send the body without Content-Encoding."));
    }
    let collected =
        tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY_LEN).collect()).await;
    match collected {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(Problem::new(ErrorCode::BodyTooLarge))
        }
        Ok(Err(_)) => Err(malformed("The body could not be read.")),
        Err(_) => Err(malformed("The body did not arrive in time.")),
    }
}
