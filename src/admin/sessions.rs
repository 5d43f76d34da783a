//! `/admin/users/{id}/sessions` and `/admin/sessions/revoke`: logins of a running process, for
//! `menshen sessions`.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use serde::{Deserialize, Serialize};

use super::{
    Operations,
    exchange::{Refused, Sent},
    users::Ended,
};
use crate::{
    store::Session,
    types::{AppId, ClientType, Malformed, SessionId, UserId},
};

/// Somebody's living sessions, newest login first.
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

/// What to end: one of them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(super) enum Revocation {
    Session(String),
    User(String),
    /// Has to be true, so that nobody gets it by leaving a value out.
    Everything(bool),
}

pub(super) async fn list(
    State(state): State<Arc<Operations>>,
    Path(id): Path<String>,
) -> Result<Json<Sessions>, Refused> {
    let sessions = state.administration.sessions(&UserId::parse(&id)?).await?;
    Ok(Json(Sessions {
        sessions: sessions.iter().map(SessionRow::from).collect(),
    }))
}

pub(super) async fn revoke(
    State(state): State<Arc<Operations>>,
    Sent(what): Sent<Revocation>,
) -> Result<Json<Ended>, Refused> {
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
            return Err(Refused::from(Malformed(
                "everything must be true, or left out",
            )));
        }
    };
    Ok(Json(Ended { sessions }))
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
