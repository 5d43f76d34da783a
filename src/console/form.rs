//! A form that a page has sent.
//!
//! Must stay true: it has the token of the session's forms, so that no page of another origin can
//! have made it.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Form, RequestExt,
    extract::{FromRequest, Request},
    http::StatusCode,
    response::Response,
};
use serde::{Deserialize, de::DeserializeOwned};

use super::{error_page::error_page, page_context::PageContext, state::Console};
use crate::crypto;

/// Time for the whole body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The fields of a form of the session.
pub(super) struct SessionForm<T>(pub(super) T);

#[derive(Deserialize)]
struct Posted<T> {
    #[serde(default)]
    form_token: String,
    #[serde(flatten)]
    fields: T,
}

impl<T: DeserializeOwned + Send + 'static> FromRequest<Arc<Console>> for SessionForm<T> {
    type Rejection = Response;

    async fn from_request(mut request: Request, _: &Arc<Console>) -> Result<Self, Response> {
        let Ok(Extension(context)) = request.extract_parts::<Extension<PageContext>>().await else {
            return Err(axum::response::IntoResponse::into_response(
                StatusCode::INTERNAL_SERVER_ERROR,
            ));
        };
        let posted: Posted<T> = read_form(request, &context).await?;
        let expected = context.form_token();
        let is_ours = !expected.is_empty()
            && crypto::constant_time_eq(expected.as_bytes(), posted.form_token.as_bytes());
        if !is_ours {
            return Err(error_page(
                &context,
                StatusCode::FORBIDDEN,
                context.texts().form_is_old,
            ));
        }
        Ok(Self(posted.fields))
    }
}

/// Reads the fields of any form.
pub(super) async fn read_form<T: DeserializeOwned + 'static>(
    request: Request,
    context: &PageContext,
) -> Result<T, Response> {
    let texts = context.texts();
    match tokio::time::timeout(BODY_TIMEOUT, request.extract::<Form<T>, _>()).await {
        Ok(Ok(Form(fields))) => Ok(fields),
        Ok(Err(rejection)) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            Err(error_page(
                context,
                StatusCode::PAYLOAD_TOO_LARGE,
                texts.form_is_too_long,
            ))
        }
        Ok(Err(_)) => Err(error_page(
            context,
            StatusCode::BAD_REQUEST,
            texts.form_is_unreadable,
        )),
        Err(_) => Err(error_page(
            context,
            StatusCode::REQUEST_TIMEOUT,
            texts.form_is_unreadable,
        )),
    }
}
