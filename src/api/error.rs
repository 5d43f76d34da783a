//! The one place that turns a refusal or a fault into a response.
//!
//! Handlers answer with a [`Problem`]; it travels as an extension until [`finish`], which knows the
//! request id, writes it.

use std::time::Duration;

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderValue, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{
    RequestContext,
    problem::{FieldError, MISCONFIGURED_RETRY_AFTER, Problem},
    said::Said,
};
use crate::{
    auth::{AuthError, limits::RateLimited},
    error::ErrorCode,
    policy::headers::{X_MENSHEN_ERROR, X_REQUEST_ID},
    provider::wechat::WechatError,
    token::IssueError,
};

/// A refusal as a problem document of its own, for places outside the router.
pub fn respond(problem: &Problem, request_id: &str) -> Response {
    response(problem, Said::plainly(problem, request_id), request_id)
}

/// A refusal in whatever shape as a response of its own.
pub(super) fn response(problem: &Problem, said: Said, request_id: &str) -> Response {
    let mut response = said.into_response();
    complete(&mut response, problem, request_id);
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    name_request(&mut response, request_id);
    response
}

/// Around every route: writes refusals, names the request, and keeps what is personal out of
/// caches. The body of an answer to `HEAD` is left to the router, which takes it away when it has
/// counted it for `Content-Length`.
pub(super) async fn finish(request: Request, next: Next) -> Response {
    let request_id = request
        .extensions()
        .get()
        .map_or_else(String::new, |known: &RequestContext| {
            known.request_id.clone()
        });
    let mut response = next.run(request).await;
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        response = write(response, &problem, &request_id);
    }
    response
        .headers_mut()
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    name_request(&mut response, &request_id);
    response
}

/// Writes a refusal over an answer; headers that are there already (`Allow`) stay.
fn write(mut response: Response, problem: &Problem, request_id: &str) -> Response {
    let said = Said::plainly(problem, request_id).into_response();
    *response.status_mut() = said.status();
    let (head, body) = said.into_parts();
    *response.body_mut() = body;
    response.headers_mut().remove(header::CONTENT_LENGTH);
    response.headers_mut().extend(head.headers);
    complete(&mut response, problem, request_id);
    response
}

/// The header fields that follow from the refusal, whatever its shape.
fn complete(response: &mut Response, problem: &Problem, request_id: &str) {
    let status = response.status();
    let headers = response.headers_mut();
    headers.insert(
        X_MENSHEN_ERROR,
        HeaderValue::from_static(problem.code.as_str()),
    );
    if let Some(challenge) = problem
        .www_authenticate()
        .filter(|_| matches!(status.as_u16(), 401 | 403))
    {
        headers.insert(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static(challenge),
        );
    }
    if let Some(secs) = problem.retry_after_secs(request_id) {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(secs));
    }
    if let Some(allow) = problem
        .allow
        .as_deref()
        .and_then(|allow| HeaderValue::from_str(allow).ok())
    {
        headers.insert(header::ALLOW, allow);
    }
}

fn name_request(response: &mut Response, request_id: &str) {
    if let Ok(id) = HeaderValue::from_str(request_id)
        && !id.is_empty()
    {
        response.headers_mut().insert(X_REQUEST_ID, id);
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<ErrorCode> for Problem {
    fn from(code: ErrorCode) -> Self {
        Self::new(code)
    }
}

impl From<RateLimited> for Problem {
    fn from(over: RateLimited) -> Self {
        Self::new(ErrorCode::RateLimited).retry_after(over.retry_after)
    }
}

/// What a client sees of what happened inside; faults are logged here, once.
impl From<&AuthError> for Problem {
    fn from(error: &AuthError) -> Self {
        let problem = Self::new(error.code());
        match error {
            AuthError::Limited(wait)
            | AuthError::SmsCooldown(wait)
            | AuthError::SmsQuota(wait)
            | AuthError::SmsUnavailable(wait) => problem.retry_after(*wait),
            AuthError::RegistrationUnavailable => problem.retry_after(Duration::from_secs(2)),
            AuthError::SmsOff => problem
                .detail("Text messages are not set up here.")
                .retry_after(MISCONFIGURED_RETRY_AFTER),
            AuthError::PhoneRefused => Self {
                errors: vec![FieldError {
                    field: "phone",
                    message: "cannot be reached by text message",
                }],
                ..problem
            },
            AuthError::RawDataForged => Self {
                errors: vec![FieldError {
                    field: "signature",
                    message: "does not fit raw_data",
                }],
                ..problem
            },
            AuthError::OnlyIdentity => {
                problem.detail("This phone number is the only way to sign in to this account.")
            }
            AuthError::NotFromWechat => {
                problem.detail("This needs a session that began with a WeChat login.")
            }
            AuthError::UnknownApp => Self {
                errors: vec![FieldError {
                    field: "app_id",
                    message: "must be a mini program of this server",
                }],
                ..problem
            },
            AuthError::Wechat(refusal) | AuthError::WechatRefused(refusal, _) => match refusal {
                WechatError::Busy { retry_after } | WechatError::RateLimited { retry_after } => {
                    problem.retry_after(*retry_after)
                }
                WechatError::Unreachable
                | WechatError::Timeout
                | WechatError::Broken
                | WechatError::Unusable => problem.retry_after(Duration::from_secs(2)),
                WechatError::CodeInvalid | WechatError::Blocked | WechatError::Misconfigured => {
                    problem
                }
            },
            AuthError::Store(fault) => {
                tracing::error!(error = %fault, "the store failed: {fault}");
                problem
            }
            AuthError::Issue(IssueError::NotSigned | IssueError::NoEntropy(_))
            | AuthError::Entropy(_)
            | AuthError::Interrupted => {
                tracing::error!(error = %error, "the auth API failed: {error}");
                problem
            }
            AuthError::Issue(IssueError::SessionOver)
            | AuthError::CodeSpent
            | AuthError::RegistrationClosed
            | AuthError::UserDisabled
            | AuthError::RefreshInvalid
            | AuthError::RefreshExpired
            | AuthError::RefreshReused
            | AuthError::SessionRevoked
            | AuthError::TokenRefused(_)
            | AuthError::UserGone
            | AuthError::NoSession
            | AuthError::SmsCodeInvalid
            | AuthError::SmsCodeMissing
            | AuthError::PhoneCodeInvalid
            | AuthError::PhoneDecryptFailed
            | AuthError::PhoneConflict
            | AuthError::CredentialsInvalid
            | AuthError::ReauthenticationRequired => problem,
        }
    }
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        Self::from(&error)
    }
}
