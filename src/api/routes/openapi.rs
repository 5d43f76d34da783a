//! `GET /auth/openapi.json`.

use axum::extract::State;

use crate::api::{ApiState, RequestContext, answer::Document, openapi_json, problem::Problem};

/// This document.
#[utoipa::path(
    get, path = "/openapi.json", operation_id = "openapi", tag = "discovery",
    responses((status = 200, description = "An OpenAPI 3.1 document.", body = Object, content_type = "application/json"))
)]
pub(in crate::api) async fn get(
    State(api): State<ApiState>,
    context: RequestContext,
) -> Result<Document, Problem> {
    api.auth.limits().api(context.client_ip)?;
    Ok(Document(
        openapi_json(&api.prefix, api.auth.countries()).into(),
    ))
}
