//! `POST /auth/refresh`.

use axum::extract::{Request, State};

use crate::{
    api::{
        body::BodyFields,
        problem::Problem,
        request_bodies::RefreshBody,
        responses::TokenResponse,
        state::{ApiContext, ApiState},
    },
    auth::Refresh,
};

/// Exchange a refresh token for a new access token and the next refresh token.
///
/// The token before the newest one gives the same successor again, until that one has been used, so
/// a lost response or parallel refreshes end no session. Any older token ends the session.
#[utoipa::path(
    post, path = "/refresh", operation_id = "refresh", tag = "session",
    request_body = RefreshBody,
    responses((status = 200, description = "New tokens.", body = TokenResponse))
)]
pub(in crate::api) async fn post(
    State(api): State<ApiState>,
    context: ApiContext,
    request: Request,
) -> Result<TokenResponse, Problem> {
    let token = read(BodyFields::read(request).await?)?;
    let refresh = Refresh {
        token: &token,
        rotates: true,
        token_profile: &api.token_profile,
    };
    let signed_in = api.auth.refresh(refresh, context.client_ip).await?;
    Ok(TokenResponse::new(&signed_in, api.openid_in_answers))
}

pub(in crate::api) fn read(mut fields: BodyFields) -> Result<String, Problem> {
    let token = fields.required("refresh_token", |text| Ok(text.to_owned()));
    fields.finish(token)
}
