//! `GET /auth/sessions` and `DELETE /auth/sessions/{sid}`.

use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
    http::StatusCode,
};

use crate::{
    api::{caller::BearerCaller, problem::Problem, responses::SessionsResponse, state::ApiState},
    error::ErrorCode,
    types::SessionId,
};

/// List my sessions.
#[utoipa::path(
    get, path = "/sessions", operation_id = "sessions", tag = "session", security(("bearer" = [])),
    responses((status = 200, description = "My active sessions, newest login first.", body = SessionsResponse))
)]
pub(in crate::api) async fn list(
    State(api): State<ApiState>,
    caller: BearerCaller,
) -> Result<Json<SessionsResponse>, Problem> {
    let caller = caller.get();
    let sessions = api.auth.sessions(caller).await?;
    Ok(Json(SessionsResponse::new(&sessions, caller.session)))
}

/// End one of my sessions.
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
    // A malformed id is an unknown session.
    let sid = sid
        .ok()
        .and_then(|Path(text)| SessionId::parse(&text).ok())
        .ok_or(ErrorCode::NotFound)?;
    api.auth.end_session(caller.get(), sid).await?;
    Ok(StatusCode::NO_CONTENT)
}
