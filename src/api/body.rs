//! Reading a JSON body: bounded in size, time and depth, every wrong field named at once.
//!
//! Must stay true: whatever is sent, the answer is a 4xx; a field that is read and given twice is
//! refused, because two readers could take different ones; what no route reads is passed over
//! ([`json_object`](super::json_object)); `application/json` is required, because a form on a
//! foreign page cannot send it.

use std::time::Duration;

use axum::{
    body::{Body, Bytes},
    extract::Request,
    http::{HeaderMap, Method, header},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::{Map, Value};

use super::{
    json_object::{Found, JsonObject},
    problem::{FieldError, Problem},
};
use crate::{error::ErrorCode, types::Malformed};

/// Longest body of any route, in bytes.
pub const LONGEST_BODY: usize = 16 * 1024;
/// Time for the whole of a body.
pub const BODY_TIME: Duration = Duration::from_secs(10);

const NOT_JSON: &str = "Send a JSON object with Content-Type: application/json.";
const NOT_AN_OBJECT: &str = "The body must be one JSON object in UTF-8, each field once.";

/// The fields of a body, and what was wrong with those looked at. Fields that no route asks for are
/// passed over.
#[derive(Debug)]
pub(super) struct Fields {
    source: Source,
    errors: Vec<FieldError>,
    /// A field that was looked at is there twice, or is not to be read.
    is_malformed: bool,
}

#[derive(Debug)]
enum Source {
    /// Without a body there are none.
    Body(Option<JsonObject>),
    Inputs(Map<String, Value>),
}

impl Fields {
    /// The body, which must be there.
    pub(super) async fn read(request: Request) -> Result<Self, Problem> {
        let (head, body) = request.into_parts();
        check_type(&head.headers, &head.method)?;
        let object = parse(&read(&head.headers, body).await?)?;
        Ok(Self::from_source(Source::Body(Some(object))))
    }

    /// The body; none is the same as an empty object.
    pub(super) async fn read_if_any(request: Request) -> Result<Self, Problem> {
        Ok(Self::from_source(Source::Body(
            object_if_any(request).await?,
        )))
    }

    /// Fields that stood elsewhere.
    pub(super) const fn from_inputs(inputs: Map<String, Value>) -> Self {
        Self::from_source(Source::Inputs(inputs))
    }

    const fn from_source(source: Source) -> Self {
        Self {
            source,
            errors: Vec::new(),
            is_malformed: false,
        }
    }

    /// Whether a field was sent, and not as null.
    pub(super) fn has(&mut self, field: &str) -> bool {
        let found = self.find(field);
        self.is_malformed |= matches!(found, Found::Unreadable | Found::Repeated);
        !matches!(found, Found::Absent | Found::Value(Value::Null))
    }

    /// A text that must be there and have the right form.
    pub(super) fn required<T>(
        &mut self,
        field: &'static str,
        parse: impl FnOnce(&str) -> Result<T, Malformed>,
    ) -> Option<T> {
        if !self.has(field) {
            return self.wrong(field, "is required");
        }
        self.optional(field, parse)
    }

    /// A text that may be absent or null, which is the same.
    pub(super) fn optional<T>(
        &mut self,
        field: &'static str,
        parse: impl FnOnce(&str) -> Result<T, Malformed>,
    ) -> Option<T> {
        self.patch(field, parse).flatten()
    }

    /// A text that is as good as absent where it has not the right form.
    pub(super) fn if_valid<T>(
        &mut self,
        field: &str,
        parse: impl FnOnce(&str) -> Result<T, Malformed>,
    ) -> Option<T> {
        match self.find(field) {
            Found::Value(Value::String(text)) => parse(&text).ok(),
            Found::Repeated => {
                self.is_malformed = true;
                None
            }
            Found::Absent | Found::Unreadable | Found::Value(_) => None,
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
            Found::Absent => return None,
            Found::Unreadable | Found::Repeated => {
                self.is_malformed = true;
                return None;
            }
            Found::Value(Value::Null) => return Some(None),
            Found::Value(Value::String(text)) => parse(&text),
            Found::Value(
                Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_),
            ) => Err(Malformed("must be a string")),
        };
        match read {
            Ok(value) => Some(Some(value)),
            Err(Malformed(says)) => self.wrong(field, says),
        }
    }

    /// Notes a field that cannot be used, for a reason that is not in itself.
    pub(super) fn refuse(&mut self, field: &'static str, message: &'static str) {
        self.errors.push(FieldError { field, message });
    }

    /// What was built from the fields, or everything that was wrong with them.
    pub(super) fn finish<T>(self, built: Option<T>) -> Result<T, Problem> {
        if self.is_malformed {
            return Err(not_readable());
        }
        match built {
            Some(built) if self.errors.is_empty() => Ok(built),
            Some(_) | None => Err(Problem {
                errors: self.errors,
                ..Problem::new(ErrorCode::ValidationFailed)
            }),
        }
    }

    fn wrong<T>(&mut self, field: &'static str, message: &'static str) -> Option<T> {
        self.errors.push(FieldError { field, message });
        None
    }

    fn find(&self, field: &str) -> Found {
        match &self.source {
            Source::Body(None) => Found::Absent,
            Source::Body(Some(object)) => object.get(field),
            Source::Inputs(inputs) => inputs
                .get(field)
                .cloned()
                .map_or(Found::Absent, Found::Value),
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
    JsonObject::parse(bytes).ok_or_else(not_readable)
}

/// The body, or a field of it that is read, is no JSON that can be read in one way.
pub(super) fn not_readable() -> Problem {
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

/// `application/json`, or `application/merge-patch+json` for what is one.
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
    if is_json && once {
        Ok(())
    } else {
        Err(malformed(NOT_JSON))
    }
}

async fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    if headers.contains_key(header::CONTENT_ENCODING) {
        return Err(malformed("Send the body without Content-Encoding."));
    }
    let collected =
        tokio::time::timeout(BODY_TIME, Limited::new(body, LONGEST_BODY).collect()).await;
    match collected {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(Problem::new(ErrorCode::BodyTooLarge))
        }
        Ok(Err(_)) => Err(malformed("The body could not be read.")),
        Err(_) => Err(malformed("The body did not arrive in time.")),
    }
}
