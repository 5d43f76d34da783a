//! `GET /auth/jwks.json`.

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};

use bytes::Bytes;

use crate::api::{ApiState, RequestContext, problem::Problem};

/// The public keys that verify our tokens (RFC 7517 section 5).
#[utoipa::path(
    get, path = "/jwks.json", operation_id = "jwks", tag = "discovery",
    responses((status = 200, description = "A JWK set. May be cached for five minutes.", body = Object, content_type = "application/json"))
)]
pub(in crate::api) async fn get(State(api): State<ApiState>, context: RequestContext) -> Result<Response, Problem> {
    api.auth.limits().api(context.client_ip)?;
    let jwks = Bytes::from_owner(api.keyrings.current().jwks());
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "public, max-age=300")];
    Ok((headers, jwks).into_response())
}
