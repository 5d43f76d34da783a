//! `GET`, `POST`, `PATCH` and `DELETE /auth/me`, and `GET /auth/me/export`.

use axum::{
    Json,
    extract::{Request, State},
    http::StatusCode,
};

use crate::{
    api::{
        body::BodyFields,
        caller::BearerCaller,
        problem::Problem,
        request_bodies::{FreshProofBody, MePatch},
        responses::{ExportResponse, Me},
        routes::read_fresh_proof,
        state::ApiState,
    },
    auth::profile,
    store::ProfileChange,
};

/// My profile.
#[utoipa::path(
    get, path = "/me", operation_id = "me", tag = "account", security(("bearer" = [])),
    responses((status = 200, description = "My profile.", body = Me))
)]
pub(in crate::api) async fn get(
    State(api): State<ApiState>,
    caller: BearerCaller,
) -> Result<Json<Me>, Problem> {
    Ok(Json(api.auth.me(caller.get()).await?.into()))
}

/// Change my profile, for clients without `PATCH`: `wx.request` has none.
#[utoipa::path(
    post, path = "/me", operation_id = "change_me_by_post", tag = "account", security(("bearer" = [])),
    request_body = MePatch,
    responses((status = 200, description = "My profile after the change.", body = Me))
)]
pub(in crate::api) async fn post(
    api: State<ApiState>,
    caller: BearerCaller,
    request: Request,
) -> Result<Json<Me>, Problem> {
    patch(api, caller, request).await
}

/// Change my profile.
#[utoipa::path(
    patch, path = "/me", operation_id = "change_me", tag = "account", security(("bearer" = [])),
    request_body = MePatch,
    responses((status = 200, description = "My profile after the change.", body = Me))
)]
pub(in crate::api) async fn patch(
    State(api): State<ApiState>,
    caller: BearerCaller,
    request: Request,
) -> Result<Json<Me>, Problem> {
    let change = read(BodyFields::read(request).await?)?;
    Ok(Json(
        api.auth.change_profile(caller.get(), &change).await?.into(),
    ))
}

pub(in crate::api) fn read(mut fields: BodyFields) -> Result<ProfileChange, Problem> {
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
    fields.finish(Some(change))
}

/// All data stored about me.
#[utoipa::path(
    get, path = "/me/export", operation_id = "export_me", tag = "account", security(("bearer" = [])),
    responses((status = 200, description = "A copy of all data.", body = ExportResponse))
)]
pub(in crate::api) async fn export(
    State(api): State<ApiState>,
    caller: BearerCaller,
) -> Result<Json<ExportResponse>, Problem> {
    let caller = caller.get();
    Ok(Json(ExportResponse::new(
        api.auth.export_account(caller).await?,
        caller.session,
    )))
}

/// Delete my account.
///
/// Identities, sessions and all personal data are erased at once and for good; the id is never
/// assigned to another user. A login that is not recent (`auth.recent_login`) needs a code as well.
#[utoipa::path(
    delete, path = "/me", operation_id = "erase_me", tag = "account", security(("bearer" = [])),
    request_body = Option<FreshProofBody>,
    responses((status = 204, description = "Deleted."))
)]
pub(in crate::api) async fn delete(
    State(api): State<ApiState>,
    caller: BearerCaller,
    request: Request,
) -> Result<StatusCode, Problem> {
    let proof = read_fresh_proof(request).await?;
    api.auth.erase_account(caller.get(), proof).await?;
    Ok(StatusCode::NO_CONTENT)
}
