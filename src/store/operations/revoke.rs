//! Ending sessions.
//!
//! The line of the log and the change of the user go into one commit, so neither is there without
//! the other.

use super::{
    records, revocation_log,
    transaction::{ReadView, Transaction},
    user_record::{self, SessionRecord, UserRecord},
};
use crate::{
    store::{
        RevocationEntry, RevocationOutcome, RevocationScope, RevocationTarget, error::EngineError,
    },
    types::{SessionId, Timestamp, UserId},
};

/// Ends what is asked for.
pub(in crate::store) fn revoke(
    tx: &mut Transaction<'_>,
    scope: &RevocationScope,
    now: Timestamp,
) -> Result<RevocationOutcome, EngineError> {
    match scope {
        RevocationScope::Session { user, session } => revoke_session(tx, user, *session, now),
        RevocationScope::Others { user, keep } => revoke_others(tx, user, *keep, now),
        RevocationScope::User(user) => revoke_user_by_id(tx, user, now),
        RevocationScope::Everything => revoke_everything(tx, now),
    }
}

fn revoke_session(
    tx: &mut Transaction<'_>,
    id: &UserId,
    session: SessionId,
    now: Timestamp,
) -> Result<RevocationOutcome, EngineError> {
    let Some(mut user) = user_record::user(tx, id)? else {
        return Ok(RevocationOutcome::default());
    };
    let mut revoked = end_sessions(tx, &mut user, |id| id == session, now)?;
    let ended = user.ended_session(session, now);
    if revoked.entries.is_empty() && ended.is_some_and(|ended| ended.is_recent(now)) {
        let target = RevocationTarget::Session(session);
        let entry = RevocationEntry { at: now, target };
        revoked.entries.push(revocation_log::append(tx, entry)?);
        return Ok(revoked);
    }
    put_if_ended(tx, &user, revoked)
}

fn revoke_others(
    tx: &mut Transaction<'_>,
    id: &UserId,
    keep: SessionId,
    now: Timestamp,
) -> Result<RevocationOutcome, EngineError> {
    let Some(mut user) = user_record::user(tx, id)? else {
        return Ok(RevocationOutcome::default());
    };
    let revoked = end_sessions(tx, &mut user, |id| id != keep, now)?;
    put_if_ended(tx, &user, revoked)
}

fn put_if_ended(
    tx: &mut Transaction<'_>,
    user: &UserRecord,
    revoked: RevocationOutcome,
) -> Result<RevocationOutcome, EngineError> {
    if !revoked.entries.is_empty() {
        user_record::put_user(tx, user)?;
    }
    Ok(revoked)
}

/// Ends each with a line of its own. One that has expired is ended too, because an access token may
/// outlive it a little. The caller writes the user.
fn end_sessions(
    tx: &mut Transaction<'_>,
    user: &mut UserRecord,
    is_meant: impl Fn(SessionId) -> bool,
    now: Timestamp,
) -> Result<RevocationOutcome, EngineError> {
    let global_epoch = records::global_epoch(tx);
    let meant = |record: &&SessionRecord| {
        is_meant(record.session.id) && !record.is_revoked(global_epoch) && !record.is_forgotten(now)
    };
    let sessions: Vec<_> = user
        .sessions
        .iter()
        .filter(meant)
        .map(|record| (record.session.id, record.is_active(global_epoch, now)))
        .collect();
    let mut revoked = RevocationOutcome::default();
    for (id, is_active) in sessions {
        if is_active {
            revoked.sessions.push(id);
        }
        revoked.entries.push(end_session(tx, user, id, now)?);
    }
    Ok(revoked)
}

fn revoke_user_by_id(
    tx: &mut Transaction<'_>,
    id: &UserId,
    now: Timestamp,
) -> Result<RevocationOutcome, EngineError> {
    let Some(mut user) = user_record::user(tx, id)? else {
        return Ok(RevocationOutcome::default());
    };
    let revoked = revoke_user(tx, &mut user, now)?;
    user_record::put_user(tx, &user)?;
    Ok(revoked)
}

/// The user's epoch speaks for all tokens, so one line is enough however many sessions there are.
/// The caller writes the user.
pub(in crate::store) fn revoke_user(
    tx: &mut Transaction<'_>,
    user: &mut UserRecord,
    now: Timestamp,
) -> Result<RevocationOutcome, EngineError> {
    let mut revoked = revoke_access_tokens(tx, user, now)?;
    let global_epoch = records::global_epoch(tx);
    let sessions: Vec<_> = user
        .sessions
        .iter()
        .map(|record| (record.session.id, record.is_active(global_epoch, now)))
        .collect();
    for (id, is_active) in sessions {
        if is_active {
            revoked.sessions.push(id);
        }
        user.end_session(id, now);
    }
    Ok(revoked)
}

/// Refuses the access tokens that a user has; the sessions live on and give others. The caller
/// writes the user.
pub(in crate::store) fn revoke_access_tokens(
    tx: &mut Transaction<'_>,
    user: &mut UserRecord,
    now: Timestamp,
) -> Result<RevocationOutcome, EngineError> {
    user.user.epoch = increment(user.user.epoch)?;
    let target = RevocationTarget::User {
        id: user.user.id.clone(),
        epoch: user.user.epoch,
    };
    let entry = revocation_log::append(tx, RevocationEntry { at: now, target })?;
    Ok(RevocationOutcome {
        sessions: Vec::new(),
        entries: vec![entry],
    })
}

/// Touches no session: each remembers the epoch it was opened under.
fn revoke_everything(
    tx: &mut Transaction<'_>,
    now: Timestamp,
) -> Result<RevocationOutcome, EngineError> {
    let epoch = increment(records::global_epoch(tx))?;
    tx.put_keyring(tx.cipher().keyring().with_global_epoch(epoch))?;
    let entry = revocation_log::append(
        tx,
        RevocationEntry {
            at: now,
            target: RevocationTarget::Everything { epoch },
        },
    )?;
    Ok(RevocationOutcome {
        sessions: Vec::new(),
        entries: vec![entry],
    })
}

/// Ends one session, with its line in the log. The caller writes the user.
pub(in crate::store) fn end_session(
    tx: &mut Transaction<'_>,
    user: &mut UserRecord,
    id: SessionId,
    now: Timestamp,
) -> Result<RevocationEntry, EngineError> {
    let target = RevocationTarget::Session(id);
    let entry = revocation_log::append(tx, RevocationEntry { at: now, target })?;
    user.end_session(id, now);
    Ok(entry)
}

fn increment(number: u64) -> Result<u64, EngineError> {
    number
        .checked_add(1)
        .ok_or(EngineError::Refused("a counter is at its end"))
}
