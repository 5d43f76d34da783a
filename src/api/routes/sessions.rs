//! `GET /auth/sessions` and `DELETE /auth/sessions/{sid}`.

use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
    http::StatusCode,
};

use crate::{
    api::{caller::BearerCaller, problem::Problem, responses::Sessions, state::ApiState},
    error::ErrorCode,
    types::SessionId,
};

/// My devices.
#[utoipa::path(
    get, path = "/sessions", operation_id = "sessions", tag = "session", security(("bearer" = [])),
    responses((status = 200, description = "My living sessions, newest login first.", body = Sessions))
)]
pub(in crate::api) async fn list(
    State(api): State<ApiState>,
    caller: BearerCaller,
) -> Result<Json<Sessions>, Problem> {
    let caller = caller.get();
    let sessions = api.auth.sessions(caller).await?;
    Ok(Json(Sessions::new(&sessions, caller.session)))
}

/// Sign one of my devices out.
#[utoipa::path(
    delete, path = "/sessions/{sid}", operation_id = "end_session", tag = "session", security(("bearer" = [])),
    params(("sid" = String, Path, description = "The `id` of one of my sessions.", pattern = "^[0-9a-f]{32}$")),
    responses((status = 204, description = "Signed out."))
)]
pub(in crate::api) async fn end(
    State(api): State<ApiState>,
    caller: BearerCaller,
    sid: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, Problem> {
    // An id that cannot be one is a session that is not there.
    let sid = sid
        .ok()
        .and_then(|Path(text)| SessionId::parse(&text).ok())
        .ok_or(ErrorCode::NotFound)?;
    api.auth.end_session(caller.get(), sid).await?;
    Ok(StatusCode::NO_CONTENT)
}
