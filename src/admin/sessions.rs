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
    audit::Actor,
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

/// What to revoke: a session of a user, all of a user, or everything.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Revocation {
    user: Option<String>,
    session: Option<String>,
    /// Has to be true, so that a missing value does not revoke everything.
    everything: Option<bool>,
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
    let Revocation {
        user,
        session,
        everything,
    } = what;
    let sessions = match (user, session, everything) {
        (Some(user), Some(session), None) => {
            let (user, session) = (UserId::parse(&user)?, SessionId::parse(&session)?);
            administration
                .revoke_session(&user, session, Actor::Operator)
                .await?
        }
        (Some(user), None, None) => {
            administration
                .revoke_user(&UserId::parse(&user)?, Actor::Operator)
                .await?
        }
        (None, None, Some(true)) => administration.revoke_everything(Actor::Operator).await?,
        (None, None, Some(false)) => {
            return Err(AdminRejection::from(Malformed(
                "everything must be true, or left out",
            )));
        }
        (None | Some(_), None | Some(_), None | Some(_)) => {
            return Err(AdminRejection::from(Malformed(
                "give a user, a user and one of their sessions, or everything",
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
