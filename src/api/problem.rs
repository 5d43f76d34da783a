//! The one place that maps each error code to what a client sees: headers and an RFC 9457 problem
//! document, with the status and the text of the code.
//!
//! Wrong, unknown and used codes look the same to a client; internal text never gets here.

use std::time::Duration;

use http::StatusCode;
use serde::Serialize;

use crate::{error::ErrorCode, policy::framing::WEBSOCKET_VERSION};

/// `Retry-After` of an error that lasts until an operator changes something.
pub(super) const MISCONFIGURED_RETRY_AFTER: Duration = Duration::from_mins(1);

/// A rejection, before it is rendered in the format of its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub code: ErrorCode,
    /// For people: what to do, in one sentence. Never anything from the request.
    pub detail: &'static str,
    /// `Retry-After` (RFC 9110 section 10.2.3), rounded up to whole seconds.
    pub retry_after: Option<Duration>,
    /// Invalid fields.
    pub errors: Vec<FieldError>,
    /// `Allow` of a 405.
    pub allow: Option<String>,
}

/// One field that was not valid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct FieldError {
    /// Its name in the request body.
    pub field: &'static str,
    /// What a valid value is.
    pub message: &'static str,
}

/// A problem document (RFC 9457).
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ProblemDocument<'a> {
    /// Always `about:blank`: `code` says which problem it is.
    #[schema(value_type = String, example = "about:blank")]
    r#type: &'static str,
    /// The name of the status.
    #[schema(value_type = String)]
    title: &'static str,
    status: u16,
    /// Which problem it is, for programs. Stable.
    #[schema(schema_with = every_code)]
    code: &'static str,
    /// What to do, for people.
    #[schema(value_type = String)]
    detail: &'static str,
    /// The request in the logs.
    request_id: &'a str,
    /// Fields that were not valid (`validation_failed`).
    #[serde(skip_serializing_if = "<[FieldError]>::is_empty")]
    #[schema(value_type = Option<Vec<FieldError>>)]
    errors: &'a [FieldError],
}

fn every_code() -> utoipa::openapi::schema::Object {
    utoipa::openapi::schema::ObjectBuilder::new()
        .schema_type(utoipa::openapi::schema::Type::String)
        .enum_values(Some(ErrorCode::ALL.map(ErrorCode::as_str)))
        .build()
}

impl Problem {
    /// A problem with the default text of its code.
    pub const fn new(code: ErrorCode) -> Self {
        Self {
            code,
            detail: code.detail(),
            retry_after: None,
            errors: Vec::new(),
            allow: None,
        }
    }

    #[must_use]
    pub const fn detail(mut self, detail: &'static str) -> Self {
        self.detail = detail;
        self
    }

    #[must_use]
    pub const fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// With one more invalid field.
    #[must_use]
    pub(super) fn field(mut self, field: &'static str, message: &'static str) -> Self {
        self.errors.push(FieldError { field, message });
        self
    }

    /// The status that goes with the code.
    pub const fn status(&self) -> StatusCode {
        self.code.status()
    }

    /// `Retry-After` in whole seconds, at least 1: its own, or the default of its code. Every
    /// renderer calls this, so that header and body have the same number in every format.
    pub fn retry_after_secs(&self, request_id: &str) -> Option<u64> {
        let own = self
            .retry_after
            .map(|wait| u64::try_from(wait.as_millis().div_ceil(1000).max(1)).unwrap_or(u64::MAX));
        own.or_else(|| default_retry_after(self.code, request_id))
    }

    /// `WWW-Authenticate` (RFC 6750 section 3) of a 401 or 403 that is about the access token.
    pub const fn www_authenticate(&self) -> Option<&'static str> {
        match self.code {
            ErrorCode::TokenMissing => Some("Bearer"),
            ErrorCode::TokenInvalid | ErrorCode::TokenRevoked => {
                Some("Bearer error=\"invalid_token\"")
            }
            ErrorCode::TokenExpired => {
                Some("Bearer error=\"invalid_token\", error_description=\"expired\"")
            }
            ErrorCode::Forbidden => Some("Bearer error=\"insufficient_scope\""),
            // RFC 9470 section 3.
            ErrorCode::ReauthenticationRequired => {
                Some("Bearer error=\"insufficient_user_authentication\"")
            }
            _ if self.code.status().as_u16() == 401 => Some("Bearer"),
            _ => None,
        }
    }

    /// `Sec-WebSocket-Version` of a 426 (RFC 6455 section 4.4), which has `Upgrade: websocket` too
    /// (RFC 9110 section 15.5.22).
    pub fn websocket_version(&self) -> Option<&'static str> {
        (self.code == ErrorCode::WebsocketVersionUnsupported).then_some(WEBSOCKET_VERSION)
    }

    /// The body, `application/problem+json`.
    pub fn body(&self, request_id: &str) -> Vec<u8> {
        let status = self.status();
        serde_json::to_vec(&ProblemDocument {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            code: self.code.as_str(),
            detail: self.detail,
            request_id,
            errors: &self.errors,
        })
        .unwrap_or_default()
    }
}

/// The default `Retry-After` of a code.
fn default_retry_after(code: ErrorCode, request_id: &str) -> Option<u64> {
    match code {
        // An operator has to change something first.
        ErrorCode::WechatMisconfigured => Some(MISCONFIGURED_RETRY_AFTER.as_secs()),
        ErrorCode::Overloaded | ErrorCode::UpstreamBusy => Some(1),
        // 1 to 5 seconds, depending on the request, so that clients do not all retry at once.
        _ if code.status() == StatusCode::SERVICE_UNAVAILABLE => {
            let sum: u64 = request_id.bytes().map(u64::from).sum();
            Some(1 + sum % 5)
        }
        _ => None,
    }
}
