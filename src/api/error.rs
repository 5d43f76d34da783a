//! The one place that turns a rejection or an error into a response.
//!
//! Handlers return a [`Problem`]; it travels as an extension of the response until
//! [`finish_response`], which knows the request id, writes it.

use std::time::Duration;

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderValue, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{
    problem::{MISCONFIGURED_RETRY_AFTER, Problem},
    rendered_error::RenderedError,
    state::ApiContext,
};
use crate::{
    auth::{AuthError, limits::RateLimited},
    error::ErrorCode,
    policy::headers::{X_MENSHEN_ERROR, X_REQUEST_ID},
    provider::wechat::WechatError,
    token::IssueError,
};

/// The response that is a problem document, for places outside the router.
pub fn respond(problem: &Problem, request_id: &str) -> Response {
    response(
        problem,
        RenderedError::problem_json(problem, request_id),
        request_id,
    )
}

/// The response to a rejection, in whatever format it is rendered.
pub(super) fn response(
    problem: &Problem,
    rendered_error: RenderedError,
    request_id: &str,
) -> Response {
    let mut response = rendered_error.into_response();
    add_error_headers(&mut response, problem, request_id);
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    add_request_id(&mut response, request_id);
    response
}

/// Middleware of every route: writes problems, adds the request id, and keeps personal data out of
/// caches. The router removes the body of a response to `HEAD`, after it has counted it for
/// `Content-Length`.
pub(super) async fn finish_response(request: Request, next: Next) -> Response {
    let request_id = request
        .extensions()
        .get()
        .map_or_else(String::new, |known: &ApiContext| known.request_id.clone());
    let mut response = next.run(request).await;
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        // The router adds `Allow` to a 405.
        let allow = response.headers_mut().remove(header::ALLOW);
        response = respond(&problem, &request_id);
        let headers = response.headers_mut();
        headers.extend(allow.map(|allow| (header::ALLOW, allow)));
        return response;
    }
    response
        .headers_mut()
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    add_request_id(&mut response, &request_id);
    response
}

/// Adds the header fields that follow from the problem, in whatever format it is rendered.
fn add_error_headers(response: &mut Response, problem: &Problem, request_id: &str) {
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

fn add_request_id(response: &mut Response, request_id: &str) {
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

/// What a client sees of an internal error, which is logged here, once.
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
            AuthError::PhoneRefused => problem.field("phone", "cannot be reached by text message"),
            AuthError::RawDataForged => problem.field("signature", "does not fit raw_data"),
            AuthError::OnlyIdentity => {
                problem.detail("This phone number is the only way to sign in to this account.")
            }
            AuthError::NotFromWechat => {
                problem.detail("This needs a session that began with a WeChat login.")
            }
            AuthError::UnknownApp => {
                problem.field("app_id", "must be a mini program of this server")
            }
            AuthError::Wechat(rejection) => match &rejection.why {
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
            AuthError::Rejected(_)
            | AuthError::Issue(IssueError::SessionOver)
            | AuthError::CodeUsed
            | AuthError::RefreshExpired
            | AuthError::SmsCodeMissing => problem,
        }
    }
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        Self::from(&error)
    }
}
