//! Looking at the sessions of a user.

use super::{
    records,
    transaction::ReadView,
    user_record::{self, SessionRecord},
};
use crate::{
    store::{Session, error::EngineError},
    types::{SessionId, Timestamp, UserId},
};

/// A session while it is active.
pub(in crate::store) fn active(
    view: &dyn ReadView,
    user: &UserId,
    id: SessionId,
    now: Timestamp,
) -> Result<Option<Session>, EngineError> {
    let record = user_record::caller(view, user, id, now)?;
    let session = record.as_ref().and_then(|record| record.session(id));
    Ok(session.map(|known| known.session.clone()))
}

/// All that are active, the newest login first.
pub(in crate::store) fn all(
    view: &dyn ReadView,
    user: &UserId,
    now: Timestamp,
) -> Result<Vec<Session>, EngineError> {
    let global_epoch = records::global_epoch(view);
    let Some(record) = user_record::user(view, user)? else {
        return Ok(Vec::new());
    };
    let is_active = |known: &SessionRecord| known.is_active(global_epoch, now);
    let sessions = record.sessions.into_iter().filter(is_active);
    let mut sessions: Vec<_> = sessions.map(|known| known.session).collect();
    sessions.sort_by_key(|session| (std::cmp::Reverse(session.created_at), session.id));
    Ok(sessions)
}
