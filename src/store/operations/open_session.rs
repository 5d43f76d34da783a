//! Opening a session, and making room for it.

use super::{
    records, revoke,
    transaction::Transaction,
    user_record::{SessionRecord, UserRecord},
};
use crate::{
    store::{NewSession, Session, UnknownFields, error::EngineError},
    types::{AppId, ClientType, OpenId, REVOCATION_RETENTION, SessionId, Timestamp, UserId},
};

/// The limits that a new session has to fit.
pub(in crate::store) struct Capacity {
    pub(in crate::store) client_type: ClientType,
    pub(in crate::store) single_per_client_type: bool,
    pub(in crate::store) max_sessions: usize,
}

/// Most sessions of one user, whatever is configured: all of them are one record.
const MAX_SESSIONS: usize = 100;

/// Ends sessions to make room for a new one: those of the same client type where only one is
/// allowed, and the oldest above the maximum. The caller writes the user.
pub(in crate::store) fn evict_sessions(
    tx: &mut Transaction<'_>,
    capacity: &Capacity,
    user: &mut UserRecord,
    now: Timestamp,
) -> Result<Vec<SessionId>, EngineError> {
    user.forget_ended(now);
    let global_epoch = records::global_epoch(tx);
    let mut others: Vec<_> = user
        .sessions
        .iter()
        .map(|other| {
            let is_active = other.is_active(global_epoch, now);
            let is_same = capacity.single_per_client_type
                && other.session.client_type == capacity.client_type;
            let Session {
                id, last_used_at, ..
            } = other.session;
            (is_active, last_used_at, id, is_same)
        })
        .collect();
    others.sort_unstable();
    let most = capacity.max_sessions.min(MAX_SESSIONS);
    let mut too_many = (others.len() + 1).saturating_sub(most);
    let mut ended = Vec::new();
    for (is_active, last_used_at, id, is_same) in others {
        if too_many > 0 || (is_same && is_active) {
            too_many = too_many.saturating_sub(1);
            if is_active {
                ended.push(id);
            }
            // No access token of a session lives longer after its last use than a revocation is
            // kept, so the log need not hear of one that was not used since.
            if now < last_used_at.plus(REVOCATION_RETENTION) {
                revoke::end_session(tx, user, id, now)?;
            } else {
                user.end_session(id, now);
            }
        }
    }
    Ok(ended)
}

/// What a new session takes over from its login, or from the session in whose place it is opened.
pub(in crate::store) struct SessionStart<'a> {
    pub(in crate::store) is_new_user: bool,
    pub(in crate::store) evicted: &'a [SessionId],
    pub(in crate::store) merged: Option<UserId>,
    /// The identity of WeChat by which the login was made.
    pub(in crate::store) wechat: Option<(AppId, OpenId)>,
    pub(in crate::store) created_at: Timestamp,
    /// The latest absolute end.
    pub(in crate::store) latest_end: Timestamp,
}

/// Adds a session to its user. The caller writes the user.
pub(in crate::store) fn open(
    tx: &Transaction<'_>,
    new: &NewSession,
    user: &mut UserRecord,
    start: SessionStart<'_>,
    now: Timestamp,
) -> Session {
    let absolute_end = now.plus(new.absolute_ttl).min(start.latest_end);
    let (app_id, openid) = start.wechat.unzip();
    let session = Session {
        id: new.id,
        user: user.user.id.clone(),
        client_type: new.client_type,
        app_id,
        created_at: start.created_at,
        last_used_at: now,
        counter: 0,
        rotated_at: now,
        idle_end: idle_end(now, new.idle_ttl, absolute_end),
        absolute_end,
        salt: new.salt,
    };
    user.sessions.push(SessionRecord {
        session: session.clone(),
        openid,
        global_epoch: records::global_epoch(tx),
        is_new_user: start.is_new_user,
        evicted: start.evicted.to_vec(),
        merged: start.merged,
        unknown: UnknownFields::default(),
    });
    session
}

/// Opens a session in the place of one whose user was merged into another. The caller writes the
/// user.
pub(in crate::store) fn resume(
    tx: &Transaction<'_>,
    old: SessionRecord,
    new: &NewSession,
    user: &mut UserRecord,
    now: Timestamp,
) -> Session {
    let start = SessionStart {
        is_new_user: false,
        evicted: &[],
        merged: Some(old.session.user),
        wechat: old.session.app_id.zip(old.openid),
        // It is the same login: neither a fresh one, nor one that may last longer.
        created_at: old.session.created_at,
        latest_end: old.session.absolute_end,
    };
    open(tx, new, user, start, now)
}

/// Unused so long, a session ends; the absolute end stays.
pub(in crate::store) fn idle_end(
    now: Timestamp,
    idle_ttl: std::time::Duration,
    absolute_end: Timestamp,
) -> Timestamp {
    now.plus(idle_ttl).min(absolute_end)
}
