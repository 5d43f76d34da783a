//! `/admin/users/{id}/sessions` and `/admin/sessions/revoke`: logins of a running process, for
//! `menshen sessions`.

use axum::{
    Json,
    extract::{Path, State},
};
use serde::{Deserialize, Serialize};

use super::{
    json_body::JsonBody,
    rejection::{AdminRejection, JsonResult},
    state::SharedState,
    users::EndedSessions,
};
use crate::{
    store::Session,
    types::{AppId, ClientType, Malformed, SessionId, UserId},
};

/// The active sessions of a user, newest login first.
#[derive(Debug, Serialize, Deserialize)]
pub struct Sessions {
    pub sessions: Vec<SessionRow>,
}

/// One login on one device.
#[derive(Debug, Serialize, Deserialize)]
pub struct SessionRow {
    pub id: SessionId,
    pub client_type: ClientType,
    pub app_id: Option<AppId>,
    /// RFC 3339, UTC.
    pub created_at: String,
    /// When it was last refreshed. RFC 3339, UTC.
    pub last_used_at: String,
    /// When it ends if it is not refreshed. RFC 3339, UTC.
    pub expires_at: String,
}

/// The scope of a revocation: exactly one of these.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(super) enum Revocation {
    Session(String),
    User(String),
    /// Has to be true, so that a missing value does not revoke everything.
    Everything(bool),
}

pub(super) async fn list(
    State(state): SharedState,
    Path(id): Path<String>,
) -> JsonResult<Sessions> {
    let sessions = state.administration.sessions(&UserId::parse(&id)?).await?;
    Ok(Json(Sessions {
        sessions: sessions.iter().map(SessionRow::from).collect(),
    }))
}

pub(super) async fn revoke(
    State(state): SharedState,
    JsonBody(what): JsonBody<Revocation>,
) -> JsonResult<EndedSessions> {
    let administration = &state.administration;
    let sessions = match what {
        Revocation::Session(id) => {
            administration
                .revoke_session(SessionId::parse(&id)?)
                .await?
        }
        Revocation::User(id) => administration.revoke_user(&UserId::parse(&id)?).await?,
        Revocation::Everything(true) => administration.revoke_everything().await?,
        Revocation::Everything(false) => {
            return Err(AdminRejection::from(Malformed(
                "everything must be true, or left out",
            )));
        }
    };
    Ok(Json(EndedSessions { sessions }))
}

impl From<&Session> for SessionRow {
    fn from(session: &Session) -> Self {
        Self {
            id: session.id,
            client_type: session.client_type,
            app_id: session.app_id.clone(),
            created_at: session.created_at.rfc3339(),
            last_used_at: session.last_used_at.rfc3339(),
            expires_at: session.idle_end.rfc3339(),
        }
    }
}
