//! `POST /auth/logout`.

use axum::{
    extract::{Request, State},
    http::StatusCode,
};
use utoipa::ToSchema;

use crate::{
    api::{ApiState, body::Fields, caller::Caller, problem::Problem},
    auth::Scope,
    types::Malformed,
};

/// Which sessions end.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the schema of the body; `Fields` reads it, so that every wrong field is named at once")]
pub(in crate::api) struct LogoutBody {
    /// Absent: `local`, this session only.
    scope: Option<Scope>,
}

/// Sign out.
#[utoipa::path(
    post, path = "/logout", operation_id = "logout", tag = "session", security(("bearer" = [])),
    request_body = Option<LogoutBody>,
    responses((status = 204, description = "Signed out."))
)]
pub(in crate::api) async fn post(
    State(api): State<ApiState>,
    caller: Caller,
    request: Request,
) -> Result<StatusCode, Problem> {
    let scope = read(Fields::read_if_any(request).await?)?;
    api.auth.logout(caller.get(), scope).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(in crate::api) fn read(mut fields: Fields) -> Result<Scope, Problem> {
    let scope = fields.optional("scope", scope).unwrap_or_default();
    fields.finish(Some(scope))
}

fn scope(text: &str) -> Result<Scope, Malformed> {
    Scope::parse(text).ok_or(Malformed("must be local, others or global"))
}
