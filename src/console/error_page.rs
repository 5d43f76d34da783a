//! The page of a request that failed.

use axum::{
    Extension,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use maud::html;

use super::{
    page::{Section, page},
    visit::Visit,
};
use crate::auth::AdministrationError;

/// A page that says why.
pub(super) fn error_page(visit: &Visit, status: StatusCode, message: &str) -> Response {
    let texts = visit.texts();
    let content = html! {
        h1 { (texts.did_not_work) }
        p.notice.bad role="alert" { (message) }
        p { a href="/console" { (texts.back_to_now) } }
    };
    (
        status,
        page(visit, Section::None, texts.did_not_work, content),
    )
        .into_response()
}

/// The page for an operation that failed.
pub(super) fn operation_failed(visit: &Visit, error: &AdministrationError) -> Response {
    let texts = visit.texts();
    let (status, message) = match error {
        AdministrationError::NoSuchUser => (StatusCode::NOT_FOUND, texts.no_such_person),
        AdministrationError::NoSession => (StatusCode::NOT_FOUND, texts.no_such_session),
        AdministrationError::Gone { .. } => (StatusCode::GONE, texts.person_is_gone),
        _ => {
            tracing::error!(error = %error, "the console failed: {error}");
            (StatusCode::SERVICE_UNAVAILABLE, texts.store_failed)
        }
    };
    error_page(visit, status, message)
}

/// The page of a path that leads nowhere.
pub(super) async fn not_found(Extension(visit): Extension<Visit>) -> Response {
    error_page(&visit, StatusCode::NOT_FOUND, visit.texts().no_such_page)
}
