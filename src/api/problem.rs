//! The one place that maps each error code to what a client sees: status, headers and an RFC 9457
//! problem document.
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
    /// What would be right.
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
            detail: default_detail(code),
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
        status(self.code)
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
            _ if status(self.code).as_u16() == 401 => Some("Bearer"),
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
        _ if status(code) == StatusCode::SERVICE_UNAVAILABLE => {
            let sum: u64 = request_id.bytes().map(u64::from).sum();
            Some(1 + sum % 5)
        }
        _ => None,
    }
}

/// The status of each code.
pub const fn status(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::TokenMissing
        | ErrorCode::TokenInvalid
        | ErrorCode::TokenExpired
        | ErrorCode::TokenRevoked
        | ErrorCode::RefreshInvalid
        | ErrorCode::RefreshReused
        | ErrorCode::SessionRevoked
        | ErrorCode::WechatCodeInvalid
        | ErrorCode::CredentialsInvalid
        | ErrorCode::ReauthenticationRequired => StatusCode::UNAUTHORIZED,
        ErrorCode::Forbidden
        | ErrorCode::UserDisabled
        | ErrorCode::WechatBlocked
        | ErrorCode::RegistrationClosed => StatusCode::FORBIDDEN,
        ErrorCode::PathAmbiguous
        | ErrorCode::RequestMalformed
        | ErrorCode::ValidationFailed
        | ErrorCode::CodeInvalid
        | ErrorCode::PhoneCodeInvalid
        | ErrorCode::PhoneDecryptFailed => StatusCode::BAD_REQUEST,
        ErrorCode::PhoneConflict => StatusCode::CONFLICT,
        ErrorCode::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::RateLimited | ErrorCode::SmsCooldown | ErrorCode::SmsQuota => {
            StatusCode::TOO_MANY_REQUESTS
        }
        ErrorCode::RegistrationUnavailable
        | ErrorCode::WechatBusy
        | ErrorCode::WechatMisconfigured
        | ErrorCode::SmsUnavailable
        | ErrorCode::StoreUnavailable
        | ErrorCode::IssuerUnavailable
        | ErrorCode::ProofUnavailable
        | ErrorCode::UpstreamBusy
        | ErrorCode::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::UpstreamUnavailable => StatusCode::BAD_GATEWAY,
        ErrorCode::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
        ErrorCode::NotFound => StatusCode::NOT_FOUND,
        ErrorCode::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        ErrorCode::WebsocketVersionUnsupported => StatusCode::UPGRADE_REQUIRED,
        ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The text for people, unless a rejection has its own.
const fn default_detail(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::TokenMissing => "Sign in first: this path needs an access token.",
        ErrorCode::TokenInvalid => "The access token is not valid.",
        ErrorCode::TokenExpired => "The access token has expired. Refresh it.",
        ErrorCode::TokenRevoked => "The session of this access token has ended. Sign in again.",
        ErrorCode::Forbidden => "This user may not do that.",
        ErrorCode::PathAmbiguous => {
            "The path could be read in two ways. Send it in its plain form."
        }
        ErrorCode::RequestMalformed => "The request is not well formed.",
        ErrorCode::BodyTooLarge => "The request body is too large.",
        ErrorCode::ValidationFailed => "Some fields are not valid.",
        ErrorCode::RateLimited => "Too many requests. Wait and try again.",
        ErrorCode::SmsCooldown => {
            "A message was sent a moment ago. Wait before asking for another."
        }
        ErrorCode::SmsQuota => "No more messages for now. Try again later.",
        ErrorCode::SmsUnavailable => {
            "The message could not be sent, or nobody knows whether it was. Try again later."
        }
        ErrorCode::CodeInvalid => {
            "The code is wrong or has expired. After some wrong codes in a row a new one is needed."
        }
        ErrorCode::RefreshInvalid => "The refresh token is not valid. Sign in again.",
        ErrorCode::RefreshReused => "The refresh token was used before. Sign in again.",
        ErrorCode::SessionRevoked => "The session has ended. Sign in again.",
        ErrorCode::UserDisabled => "This account is disabled.",
        ErrorCode::WechatCodeInvalid => {
            "The login code is not valid any more. Call wx.login again. A code of the phone number button is not a login code."
        }
        ErrorCode::WechatBlocked => "WeChat has blocked this login.",
        ErrorCode::WechatBusy => "WeChat is busy. Try again.",
        ErrorCode::WechatMisconfigured => {
            "WeChat login is not set up correctly. The operator has to look."
        }
        ErrorCode::PhoneCodeInvalid => {
            "The code of the phone number button is not valid. Ask for the number again; a code of wx.login does not do here."
        }
        ErrorCode::PhoneDecryptFailed => {
            "The phone number could not be decrypted. Call wx.login, then ask for the number again."
        }
        ErrorCode::PhoneConflict => "This phone number belongs to another account.",
        ErrorCode::CredentialsInvalid => "The name or the password is wrong.",
        ErrorCode::ReauthenticationRequired => {
            "Signed in too long ago for this. Send a fresh code as well, or sign in again."
        }
        ErrorCode::RegistrationClosed => "New accounts are not open.",
        ErrorCode::RegistrationUnavailable => {
            "A new account cannot be made right now. Sign in again in a moment."
        }
        ErrorCode::StoreUnavailable => "Please try again in a moment.",
        ErrorCode::IssuerUnavailable => {
            "The token cannot be checked, because its issuer has no keys here yet. Try again."
        }
        ErrorCode::ProofUnavailable => {
            "What the service behind is shown could not be signed. Try again later."
        }
        ErrorCode::UpstreamUnavailable => "The service behind is not reachable.",
        ErrorCode::UpstreamTimeout => "The service behind did not answer in time.",
        ErrorCode::UpstreamBusy => {
            "The service behind did not take the request. Please send it again in a moment."
        }
        ErrorCode::Overloaded => "There is too much to do for now. Please try again in a moment.",
        ErrorCode::NotFound => "There is nothing here.",
        ErrorCode::MethodNotAllowed => "This path does not take this method.",
        ErrorCode::WebsocketVersionUnsupported => {
            "WebSocket is spoken here in version 13 (RFC 6455)."
        }
        ErrorCode::Internal => "Something went wrong on our side.",
    }
}
