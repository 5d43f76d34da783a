//! Opening a session, and making room for it.

use super::{
    layout,
    records::{self, SessionRecord, UserRecord},
    revoke, sweep,
    transaction::Transaction,
};
use crate::{
    store::{NewSession, Session, error::EngineError},
    types::{AppId, ClientType, OpenId, SessionId, Timestamp, UserId},
};

/// The limits that a new session has to fit.
pub(in crate::store) struct Capacity {
    pub(in crate::store) client_type: ClientType,
    pub(in crate::store) single_per_client_type: bool,
    pub(in crate::store) max_sessions: usize,
}

/// Ends sessions to make room for a new one: those of the same client type where only one is
/// allowed, and the oldest above the maximum. The new one is counted in the user's record, which
/// the caller writes.
pub(in crate::store) fn evict_sessions(
    tx: &mut Transaction<'_>,
    capacity: &Capacity,
    user: &mut UserRecord,
    now: Timestamp,
) -> Result<Vec<SessionId>, EngineError> {
    let Capacity {
        client_type,
        single_per_client_type,
        max_sessions,
    } = capacity;
    user.sessions += 1;
    if user.sessions <= *max_sessions && !single_per_client_type {
        return Ok(Vec::new());
    }
    let global_epoch = records::global_epoch(tx);
    let mut others = records::sessions_of(tx, &user.user.id)?;
    user.sessions = others.len() + 1;
    others.sort_by_key(|other| {
        (
            other.is_active(global_epoch, now),
            other.session.last_used_at,
            other.session.id,
        )
    });
    let mut too_many = (others.len() + 1).saturating_sub(*max_sessions);
    let mut ended = Vec::new();
    for other in others {
        let is_same = *single_per_client_type && other.session.client_type == *client_type;
        let is_active = other.is_active(global_epoch, now);
        if too_many > 0 || (is_same && is_active) {
            too_many = too_many.saturating_sub(1);
            user.sessions -= 1;
            if is_active {
                ended.push(other.session.id);
            }
            revoke::end_session(tx, other, now)?;
        }
    }
    Ok(ended)
}

/// Most ended sessions that a session keeps for the answer to a repeated login: a record has a
/// longest length, and the log has them all.
const MAX_RECORDED_EVICTIONS: usize = 500;

/// How a session began.
pub(in crate::store) struct SessionOrigin<'a> {
    pub(in crate::store) is_new_user: bool,
    pub(in crate::store) evicted: &'a [SessionId],
    pub(in crate::store) merged: Option<UserId>,
    pub(in crate::store) origin: Option<(AppId, OpenId)>,
    pub(in crate::store) since: Timestamp,
    pub(in crate::store) ends_by: Timestamp,
}

pub(in crate::store) fn open(
    tx: &mut Transaction<'_>,
    new: &NewSession,
    user: &UserId,
    origin: SessionOrigin<'_>,
    now: Timestamp,
) -> Result<(Session, u64), EngineError> {
    let absolute_end = now.plus(new.absolute_ttl).min(origin.ends_by);
    let (app_id, openid) = origin.origin.unzip();
    let session = Session {
        id: new.id,
        user: user.clone(),
        client_type: new.client_type,
        app_id,
        created_at: origin.since,
        last_used_at: now,
        counter: 0,
        rotated_at: now,
        idle_end: idle_end(now, new.idle_ttl, absolute_end),
        absolute_end,
        salt: new.salt,
    };
    let global_epoch = records::global_epoch(tx);
    let record = SessionRecord {
        session: session.clone(),
        openid,
        global_epoch,
        ended_at: None,
        is_new_user: origin.is_new_user,
        evicted: origin
            .evicted
            .iter()
            .take(MAX_RECORDED_EVICTIONS)
            .copied()
            .collect(),
        merged: origin.merged,
    };
    records::put_session(tx, &record)?;
    tx.touch(layout::session_of(user, session.id));
    tx.touch(layout::expiry(
        sweep::removable_at(&record),
        &layout::session(session.id),
    ));
    Ok((session, global_epoch))
}

/// Opens a session in the place of one whose user was merged into another.
pub(in crate::store) fn resume(
    tx: &mut Transaction<'_>,
    old: SessionRecord,
    new: &NewSession,
    user: &UserId,
    now: Timestamp,
) -> Result<Session, EngineError> {
    let origin = SessionOrigin {
        is_new_user: false,
        evicted: &[],
        merged: Some(old.session.user),
        origin: old.session.app_id.zip(old.openid),
        // It is the same login: neither a fresh one, nor one that may last longer.
        since: old.session.created_at,
        ends_by: old.session.absolute_end,
    };
    Ok(open(tx, new, user, origin, now)?.0)
}

/// Unused so long, a session ends; the absolute end stays.
pub(in crate::store) fn idle_end(
    now: Timestamp,
    idle_ttl: std::time::Duration,
    absolute_end: Timestamp,
) -> Timestamp {
    now.plus(idle_ttl).min(absolute_end)
}
