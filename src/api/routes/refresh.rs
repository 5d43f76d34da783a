//! `POST /auth/refresh`.

use axum::extract::{Request, State};
use utoipa::ToSchema;

use crate::{
    api::{ApiState, RequestContext, answer::TokenAnswer, body::Fields, problem::Problem},
    auth::Refresh,
};

/// A refresh token to trade in.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "the schema of the body; `Fields` reads it, so that every wrong field is named at once"
)]
pub(in crate::api) struct RefreshBody {
    /// The newest one of the session.
    #[schema(min_length = 1, max_length = 1024)]
    refresh_token: String,
}

/// Trade a refresh token for a new access token and the next refresh token.
///
/// A token that was traded in just now gives the same successor again, until that one has been
/// used: a lost answer or parallel refreshes sign nobody out. Anything older ends the session.
#[utoipa::path(
    post, path = "/refresh", operation_id = "refresh", tag = "session",
    request_body = RefreshBody,
    responses((status = 200, description = "New tokens.", body = TokenAnswer))
)]
pub(in crate::api) async fn post(
    State(api): State<ApiState>,
    context: RequestContext,
    request: Request,
) -> Result<TokenAnswer, Problem> {
    let token = read(Fields::read(request).await?)?;
    let refresh = Refresh {
        token: &token,
        rotates: true,
        terms: &api.terms,
    };
    let signed_in = api.auth.refresh(refresh, context.client_ip).await?;
    Ok(TokenAnswer::new(&signed_in, api.openid_in_answers))
}

pub(in crate::api) fn read(mut fields: Fields) -> Result<String, Problem> {
    let token = fields.required("refresh_token", |text| Ok(text.to_owned()));
    fields.finish(token)
}
