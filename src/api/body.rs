//! Reading a JSON body: bounded in size, time and depth, every wrong field named at once.
//!
//! Must stay true: whatever is sent, the answer is a 4xx; a field given twice is refused, because two readers could take
//! different ones; `application/json` is required, because a form on a foreign page cannot send it.

use std::time::Duration;

use axum::{
    body::{Body, Bytes},
    extract::Request,
    http::{HeaderMap, Method, header},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor},
};
use serde_json::{Map, Value};

use super::problem::{FieldError, Problem};
use crate::{error::ErrorCode, types::Malformed};

/// Longest body of any route, in bytes.
pub const LONGEST_BODY: usize = 16 * 1024;
/// Time for the whole of a body.
pub const BODY_TIME: Duration = Duration::from_secs(10);

const NOT_JSON: &str = "Send a JSON object with Content-Type: application/json.";
const NOT_AN_OBJECT: &str = "The body must be one JSON object in UTF-8, each field once.";

/// The fields of a body, and what was wrong with those looked at. Fields that nobody asks for are ignored.
#[derive(Debug, Default)]
pub(super) struct Fields {
    object: Map<String, Value>,
    errors: Vec<FieldError>,
}

impl Fields {
    /// The body, which must be there.
    pub(super) async fn read(request: Request) -> Result<Self, Problem> {
        let (head, body) = request.into_parts();
        check_type(&head.headers, &head.method)?;
        Self::parse(&read(&head.headers, body).await?)
    }

    /// Fields that stood elsewhere.
    pub(super) const fn of(object: Map<String, Value>) -> Self {
        Self { object, errors: Vec::new() }
    }

    /// The fields as they came.
    pub(super) fn into_object(self) -> Map<String, Value> {
        self.object
    }

    /// The body; none is the same as an empty object.
    pub(super) async fn read_if_any(request: Request) -> Result<Self, Problem> {
        let (head, body) = request.into_parts();
        let bytes = read(&head.headers, body).await?;
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        check_type(&head.headers, &head.method)?;
        Self::parse(&bytes)
    }

    /// Whether a field was sent, and not as null.
    pub(super) fn has(&self, field: &str) -> bool {
        !matches!(self.object.get(field), None | Some(Value::Null))
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

    /// A text of a merge patch (RFC 7396): absent is `None`, null is `Some(None)`.
    #[expect(clippy::option_option, reason = "the store takes a change of a profile in the same form")]
    pub(super) fn patch<T>(
        &mut self,
        field: &'static str,
        parse: impl FnOnce(&str) -> Result<T, Malformed>,
    ) -> Option<Option<T>> {
        let read = match self.object.get(field)? {
            Value::Null => return Some(None),
            Value::String(text) => parse(text),
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => Err(Malformed("must be a string")),
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
        match built {
            Some(built) if self.errors.is_empty() => Ok(built),
            Some(_) | None => Err(Problem { errors: self.errors, ..Problem::new(ErrorCode::ValidationFailed) }),
        }
    }

    fn wrong<T>(&mut self, field: &'static str, message: &'static str) -> Option<T> {
        self.errors.push(FieldError { field, message });
        None
    }

    fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        let object: Object = serde_json::from_slice(bytes).map_err(|_| malformed(NOT_AN_OBJECT))?;
        Ok(Self { object: object.0, errors: Vec::new() })
    }
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
    let of = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = of.split(';').next().unwrap_or_default().trim();
    let is = |expected: &str| essence.eq_ignore_ascii_case(expected);
    let is_json = is("application/json") || (*method == Method::PATCH && is("application/merge-patch+json"));
    let once = headers.get_all(header::CONTENT_TYPE).iter().count() == 1;
    if is_json && once { Ok(()) } else { Err(malformed(NOT_JSON)) }
}

async fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    if headers.contains_key(header::CONTENT_ENCODING) {
        return Err(malformed("Send the body without Content-Encoding."));
    }
    let collected = tokio::time::timeout(BODY_TIME, Limited::new(body, LONGEST_BODY).collect()).await;
    match collected {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Problem::new(ErrorCode::BodyTooLarge)),
        Ok(Err(_)) => Err(malformed("The body could not be read.")),
        Err(_) => Err(malformed("The body did not arrive in time.")),
    }
}

/// An object in which no name is given twice.
struct Object(Map<String, Value>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct EachOnce;
        impl<'de> Visitor<'de> for EachOnce {
            type Value = Object;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Object, A::Error> {
                let mut object = Map::new();
                while let Some((name, value)) = from.next_entry::<String, Value>()? {
                    if object.insert(name, value).is_some() {
                        return Err(A::Error::custom("a name is given twice"));
                    }
                }
                Ok(Object(object))
            }
        }
        from.deserialize_map(EachOnce)
    }
}
