//! The auth API: what menshen answers itself, as an axum router over the use cases.
//!
//! It needs no socket: the gate's bridge hands it requests that passed the framing checks, with a
//! [`RequestContext`] as an extension. Handlers give a value or a [`problem::Problem`]; `error`
//! alone writes refusals.

mod answer;
mod body;
mod caller;
mod dialects;
mod error;
mod json_object;
mod openapi;
pub mod problem;
mod routes;
mod said;
mod voice;

use std::sync::Arc;

use axum::{
    Router,
    extract::FromRequestParts,
    http::request::Parts,
    middleware,
    routing::{delete, get, post},
};

pub use body::{BODY_TIME, LONGEST_BODY};
pub use error::respond;
pub use openapi::{errors_markdown, openapi_json};
pub use said::Said;
pub use voice::Voices;

use crate::{
    auth::{Auth, Authorizer},
    dialect::{Dialects, TokenProfile},
    error::ErrorCode,
    metrics::Metrics,
    provider::wechat::PushReceiver,
    token::Keyrings,
    types::ClientIp,
};
use problem::Problem;

/// What the routes work with.
#[derive(Clone)]
pub struct ApiState {
    pub auth: Arc<Auth>,
    pub authorizer: Arc<Authorizer>,
    /// Whose public half is served.
    pub keyrings: Arc<Keyrings>,
    /// Where the routes start: `/auth`, without a slash at its end.
    pub prefix: String,
    /// Put the `openid` into the answer of a login.
    pub openid_in_answers: bool,
    /// On which the routes of this API give tokens.
    pub terms: Arc<TokenProfile>,
    pub dialects: Arc<Dialects>,
    /// `None`: WeChat's pushes are not taken.
    pub pushes: Option<Arc<PushReceiver>>,
    pub metrics: Metrics,
}

/// What the gate knows of a request. The bridge puts it into the request's extensions.
#[derive(Debug, Clone)]
pub struct RequestContext {
    pub request_id: String,
    pub client_ip: ClientIp,
}

/// Every route. Anything else under any path is 404 `not_found`.
pub fn router(state: ApiState) -> Router {
    let at = |path: &str| format!("{}{path}", state.prefix);
    let router = dialects::mount(Router::new(), &state);
    router
        .route(&at("/wechat/login"), post(routes::wechat_login::post))
        .route(
            &at("/wechat/push"),
            get(routes::wechat_push::get).post(routes::wechat_push::post),
        )
        .route(&at("/password/login"), post(routes::password_login::post))
        .route(&at("/sms/send"), post(routes::sms_send::post))
        .route(&at("/sms/login"), post(routes::sms_login::post))
        .route(&at("/phone"), delete(routes::phone::delete))
        .route(&at("/phone/sms"), post(routes::phone::sms))
        .route(&at("/phone/wechat"), post(routes::phone::wechat))
        .route(&at("/refresh"), post(routes::refresh::post))
        .route(&at("/logout"), post(routes::logout::post))
        .route(
            &at("/me"),
            get(routes::me::get)
                .patch(routes::me::patch)
                .delete(routes::me::delete),
        )
        .route(&at("/me/export"), get(routes::me::export))
        .route(&at("/sessions"), get(routes::sessions::list))
        .route(&at("/sessions/{sid}"), delete(routes::sessions::end))
        .route(&at("/jwks.json"), get(routes::jwks::get))
        .route(&at("/openapi.json"), get(routes::openapi::get))
        .fallback(async || Problem::new(ErrorCode::NotFound))
        .method_not_allowed_fallback(async || Problem::new(ErrorCode::MethodNotAllowed))
        .with_state(state)
        .layer(middleware::from_fn(error::finish))
}

impl<S: Send + Sync> FromRequestParts<S> for RequestContext {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| {
            tracing::error!("a request reached the auth API without its context");
            Problem::new(ErrorCode::Internal)
        })
    }
}

#[cfg(test)]
mod tests;
