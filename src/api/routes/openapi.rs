//! `GET /auth/openapi.json`.

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};

use crate::api::{ApiState, RequestContext, openapi_json, problem::Problem};

/// This document.
#[utoipa::path(
    get, path = "/openapi.json", operation_id = "openapi", tag = "discovery",
    responses((status = 200, description = "An OpenAPI 3.1 document.", body = Object, content_type = "application/json"))
)]
pub(in crate::api) async fn get(State(api): State<ApiState>, context: RequestContext) -> Result<Response, Problem> {
    api.auth.limits().api(context.client_ip)?;
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "public, max-age=300")];
    Ok((headers, openapi_json(&api.prefix)).into_response())
}
