//! `GET` and `PATCH /auth/me`.

use axum::{
    Json,
    extract::{Request, State},
};
use utoipa::ToSchema;

use crate::{
    api::{ApiState, answer::Me, body::Fields, caller::Caller, problem::Problem},
    auth::profile,
    store::ProfileChange,
};

/// A change of my profile, as a JSON merge patch (RFC 7396): what is absent stays, null clears.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the schema of the body; `Fields` reads it, so that every wrong field is named at once")]
pub(in crate::api) struct MePatch {
    /// Trimmed; without control characters. WeChat's anonymous nickname is ignored.
    #[schema(min_length = 1, max_length = 64)]
    nickname: Option<String>,
    /// An http or https URL.
    #[schema(max_length = 512, format = "uri")]
    avatar_url: Option<String>,
    #[schema(max_length = 500)]
    bio: Option<String>,
    /// From 1900-01-01 on.
    #[schema(format = Date)]
    birthday: Option<String>,
}

/// My profile.
#[utoipa::path(
    get, path = "/me", operation_id = "me", tag = "account", security(("bearer" = [])),
    responses((status = 200, description = "My profile.", body = Me))
)]
pub(in crate::api) async fn get(State(api): State<ApiState>, caller: Caller) -> Result<Json<Me>, Problem> {
    Ok(Json(api.auth.me(caller.get()).await?.into()))
}

/// Change my profile.
#[utoipa::path(
    patch, path = "/me", operation_id = "change_me", tag = "account", security(("bearer" = [])),
    request_body = MePatch,
    responses((status = 200, description = "My profile after the change.", body = Me))
)]
pub(in crate::api) async fn patch(
    State(api): State<ApiState>,
    caller: Caller,
    request: Request,
) -> Result<Json<Me>, Problem> {
    let mut fields = Fields::read(request).await?;
    let change = ProfileChange {
        nickname: match fields.patch("nickname", profile::nickname) {
            // WeChat's anonymous nickname is no wish to clear one's own.
            None | Some(Some(None)) => None,
            Some(None) => Some(None),
            Some(Some(Some(nickname))) => Some(Some(nickname)),
        },
        avatar_url: fields.patch("avatar_url", profile::avatar_url),
        bio: fields.patch("bio", profile::bio),
        birthday: fields.patch("birthday", profile::birthday),
    };
    let change = fields.finish(Some(change))?;
    Ok(Json(api.auth.change_profile(caller.get(), &change).await?.into()))
}
