//! `GET`, `PATCH` and `DELETE /auth/me`, and `GET /auth/me/export`.

use axum::{
    Json,
    extract::{Request, State},
    http::StatusCode,
};
use utoipa::ToSchema;

use crate::{
    api::{
        ApiState,
        answer::{Export, Me},
        body::Fields,
        caller::Caller,
        problem::Problem,
        routes::{FreshProofBody, fresh_proof},
    },
    auth::profile,
    store::ProfileChange,
};

/// A change of my profile, as a JSON merge patch (RFC 7396): what is absent stays, null clears.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "the schema of the body; `Fields` reads it, so that every wrong field is named at once"
)]
pub(in crate::api) struct MePatch {
    /// Trimmed; without control characters, and not all of it invisible. WeChat's anonymous
    /// nickname is ignored.
    #[schema(
        min_length = 1,
        max_length = 64,
        pattern = r"^[^\x00-\x1F\x7F-\x9F]*[0-9A-Za-z\u4E00-\u9FFF][^\x00-\x1F\x7F-\x9F]*$"
    )]
    nickname: Option<String>,
    /// An http or https URL, and not of a file that only the mini program can see (`http://tmp/`).
    #[schema(
        max_length = 512,
        pattern = r"^https?://([0-9A-Za-z]+(-[0-9A-Za-z]+)*\.)+[A-Za-z][0-9A-Za-z]*(-[0-9A-Za-z]+)*(:[1-9][0-9]{0,3})?([/?#][!-~]*)?$"
    )]
    avatar_url: Option<String>,
    /// Line breaks and tabs are the only control characters.
    #[schema(
        max_length = 500,
        pattern = r"^[^\x00-\x08\x0B\x0C\x0E-\x1F\x7F-\x9F]*$"
    )]
    bio: Option<String>,
    /// From 1900-01-01 on.
    #[schema(format = Date, pattern = r"^(((19|[2-9][0-9])[0-9]{2})-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))|((19|[2-9][0-9])(0[48]|[2468][048]|[13579][26])|(2[048]|3[26]|[468][048]|[579][26])00)-02-29)$")]
    birthday: Option<String>,
}

/// My profile.
#[utoipa::path(
    get, path = "/me", operation_id = "me", tag = "account", security(("bearer" = [])),
    responses((status = 200, description = "My profile.", body = Me))
)]
pub(in crate::api) async fn get(
    State(api): State<ApiState>,
    caller: Caller,
) -> Result<Json<Me>, Problem> {
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
    let change = read(Fields::read(request).await?)?;
    Ok(Json(
        api.auth.change_profile(caller.get(), &change).await?.into(),
    ))
}

pub(in crate::api) fn read(mut fields: Fields) -> Result<ProfileChange, Problem> {
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

/// All that is stored about me.
#[utoipa::path(
    get, path = "/me/export", operation_id = "export_me", tag = "account", security(("bearer" = [])),
    responses((status = 200, description = "A copy of everything.", body = Export))
)]
pub(in crate::api) async fn export(
    State(api): State<ApiState>,
    caller: Caller,
) -> Result<Json<Export>, Problem> {
    let caller = caller.get();
    Ok(Json(Export::new(
        api.auth.export_account(caller).await?,
        caller.session,
    )))
}

/// Delete my account.
///
/// Identities, sessions and everything personal are erased, at once and for good; the id is never
/// given to anybody else. A login that is not fresh (`auth.recent_login`) needs a code as well.
#[utoipa::path(
    delete, path = "/me", operation_id = "erase_me", tag = "account", security(("bearer" = [])),
    request_body = Option<FreshProofBody>,
    responses((status = 204, description = "Gone."))
)]
pub(in crate::api) async fn delete(
    State(api): State<ApiState>,
    caller: Caller,
    request: Request,
) -> Result<StatusCode, Problem> {
    let mut fields = Fields::read_if_any(request).await?;
    let proof = fresh_proof(&mut fields);
    let proof = fields.finish(Some(proof))?;
    api.auth.erase_account(caller.get(), proof).await?;
    Ok(StatusCode::NO_CONTENT)
}
