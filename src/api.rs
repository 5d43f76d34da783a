//! The auth API: what menshen answers itself, as an axum router over the use cases.
//!
//! It needs no socket: the proxy hands it requests that passed the framing checks, with a
//! [`ApiContext`] as an extension. Handlers return a value or a [`problem::Problem`]; only
//! `error` writes rejections.

mod body;
mod caller;
mod dialects;
mod error;
mod error_renderer;
mod json_object;
mod openapi;
pub mod problem;
mod rendered_error;
#[expect(dead_code, reason = "the schemas of bodies that `BodyFields` reads")]
mod request_bodies;
mod responses;
mod routes;
mod state;

use axum::{
    Router, middleware,
    routing::{delete, get, post},
};

pub use body::{BODY_TIMEOUT, MAX_BODY_LEN};
pub use error::respond;
pub use error_renderer::ErrorRenderer;
pub use openapi::{errors_markdown, openapi_json};
pub use rendered_error::RenderedError;
pub use state::{ApiContext, ApiState};

use crate::error::ErrorCode;
use problem::Problem;

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
                .post(routes::me::post)
                .patch(routes::me::patch)
                .delete(routes::me::delete),
        )
        .route(&at("/me/export"), get(routes::me::export))
        .route(&at("/sessions"), get(routes::sessions::list))
        .route(&at("/sessions/{sid}"), delete(routes::sessions::end))
        .route(&at("/jwks.json"), get(routes::jwks::get))
        .route(&at("/openapi.json"), get(openapi::get))
        .fallback(async || Problem::new(ErrorCode::NotFound))
        .method_not_allowed_fallback(async || Problem::new(ErrorCode::MethodNotAllowed))
        .with_state(state)
        .layer(middleware::from_fn(error::finish_response))
}

#[cfg(test)]
mod tests;
