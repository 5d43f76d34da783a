//! `GET /auth/jwks.json`.

use axum::extract::State;
use bytes::Bytes;

use crate::api::{
    problem::Problem,
    responses::PublicDocument,
    state::{ApiContext, ApiState},
};

/// The public keys that verify our tokens (RFC 7517 section 5).
#[utoipa::path(
    get, path = "/jwks.json", operation_id = "jwks", tag = "discovery",
    responses((status = 200, description = "A JWK set. May be cached for five minutes.", body = Object, content_type = "application/json"))
)]
pub(in crate::api) async fn get(
    State(api): State<ApiState>,
    context: ApiContext,
) -> Result<PublicDocument, Problem> {
    api.check_rate(context.client_ip)?;
    Ok(PublicDocument(Bytes::from_owner(
        api.keyrings.current().jwks(),
    )))
}
