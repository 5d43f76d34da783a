//! The page of a request that failed.

use axum::{
    Extension,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use maud::html;

use super::{
    page::{Section, page},
    page_context::PageContext,
};
use crate::auth::AdministrationError;

/// A page that says why.
pub(super) fn error_page(context: &PageContext, status: StatusCode, message: &str) -> Response {
    let texts = context.texts();
    let body = html! {
        h1 { (texts.did_not_work) }
        p.notice.bad role="alert" { (message) }
        p { a href="/console" { (texts.back_to_now) } }
    };
    (
        status,
        page(context, Section::None, texts.did_not_work, &body),
    )
        .into_response()
}

/// The page for an operation that failed.
pub(super) fn operation_failed(context: &PageContext, error: &AdministrationError) -> Response {
    let texts = context.texts();
    let (status, message) = match error {
        AdministrationError::NoSuchUser => (StatusCode::NOT_FOUND, texts.no_such_person),
        AdministrationError::NoSession => (StatusCode::NOT_FOUND, texts.no_such_session),
        AdministrationError::Gone { .. } => (StatusCode::GONE, texts.person_is_gone),
        _ => {
            tracing::error!(error = %error, "the console failed: {error}");
            (StatusCode::SERVICE_UNAVAILABLE, texts.store_failed)
        }
    };
    error_page(context, status, message)
}

/// The page of a path that leads nowhere.
pub(super) async fn not_found(Extension(context): Extension<PageContext>) -> Response {
    error_page(
        &context,
        StatusCode::NOT_FOUND,
        context.texts().no_such_page,
    )
}
