//! Ending sessions, and the log from which every replica learns of it.
//!
//! The line of the log and the change of the session go into one batch, so neither is there without
//! the other.

use super::{
    layout,
    records::{self, SessionRecord},
    transaction::{ReadView, Transaction},
};
use crate::{
    store::{
        LogCursor, RevocationEntry, RevocationOutcome, RevocationPage, RevocationScope,
        RevocationTarget, error::EngineError,
    },
    types::{REVOCATION_RETENTION, SessionId, Timestamp, UserId},
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
        RevocationScope::User(user) => revoke_user(tx, user, now),
        RevocationScope::Everything => revoke_everything(tx, now),
    }
}

fn revoke_session(
    tx: &mut Transaction<'_>,
    user: &UserId,
    id: SessionId,
    now: Timestamp,
) -> Result<RevocationOutcome, EngineError> {
    let global_epoch = records::global_epoch(tx);
    match records::session(tx, id)? {
        Some(record) if record.session.user == *user => {
            end_sessions(tx, vec![record], global_epoch, now)
        }
        Some(_) | None => Ok(RevocationOutcome::default()),
    }
}

fn revoke_others(
    tx: &mut Transaction<'_>,
    user: &UserId,
    keep: SessionId,
    now: Timestamp,
) -> Result<RevocationOutcome, EngineError> {
    let global_epoch = records::global_epoch(tx);
    // Every login writes the user, so none can come in between.
    if records::user(tx, user)?.is_none() {
        return Ok(RevocationOutcome::default());
    }
    let mut sessions = records::sessions_of(tx, user)?;
    sessions.retain(|record| record.session.id != keep);
    end_sessions(tx, sessions, global_epoch, now)
}

/// Ends each with a line of its own. One that has expired is ended too, because an access token may
/// outlive it a little.
fn end_sessions(
    tx: &mut Transaction<'_>,
    sessions: Vec<SessionRecord>,
    global_epoch: u64,
    now: Timestamp,
) -> Result<RevocationOutcome, EngineError> {
    let mut revoked = RevocationOutcome::default();
    for record in sessions {
        if record.is_revoked(global_epoch) {
            continue;
        }
        if record.is_active(global_epoch, now) {
            revoked.sessions.push(record.session.id);
        }
        revoked.entries.push(end_session(tx, record, now)?);
    }
    Ok(revoked)
}

/// The user's epoch speaks for all tokens, so one line is enough however many sessions there are.
pub(in crate::store) fn revoke_user(
    tx: &mut Transaction<'_>,
    id: &UserId,
    now: Timestamp,
) -> Result<RevocationOutcome, EngineError> {
    let mut revoked = revoke_access_tokens(tx, id, now)?;
    let global_epoch = records::global_epoch(tx);
    for record in records::sessions_of(tx, id)? {
        if record.is_active(global_epoch, now) {
            revoked.sessions.push(record.session.id);
        }
        write_ended(tx, record, now)?;
    }
    Ok(revoked)
}

/// Refuses the access tokens that a user has; the sessions live on and give others.
pub(in crate::store) fn revoke_access_tokens(
    tx: &mut Transaction<'_>,
    id: &UserId,
    now: Timestamp,
) -> Result<RevocationOutcome, EngineError> {
    let Some(mut user) = records::user(tx, id)? else {
        return Ok(RevocationOutcome::default());
    };
    user.user.epoch = increment(user.user.epoch)?;
    let target = RevocationTarget::User {
        id: id.clone(),
        epoch: user.user.epoch,
    };
    let entry = append_to_log(tx, RevocationEntry { at: now, target })?;
    records::put_user(tx, &user)?;
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
    let entry = append_to_log(
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

/// Ends one session, with its line in the log.
pub(in crate::store) fn end_session(
    tx: &mut Transaction<'_>,
    record: SessionRecord,
    now: Timestamp,
) -> Result<RevocationEntry, EngineError> {
    let target = RevocationTarget::Session(record.session.id);
    let entry = append_to_log(tx, RevocationEntry { at: now, target })?;
    write_ended(tx, record, now)?;
    Ok(entry)
}

/// The record stays for a while, so that the rejection of a refresh can say why.
fn write_ended(
    tx: &mut Transaction<'_>,
    mut record: SessionRecord,
    now: Timestamp,
) -> Result<(), EngineError> {
    record.ended_at = Some(now);
    record.evicted.clear();
    // Whose it was outside is not needed any more, and must not outlive an account that is erased.
    record.openid = None;
    tx.remove(layout::session_of(&record.session.user, record.session.id));
    records::put_session(tx, &record)
}

pub(in crate::store) fn append_to_log(
    tx: &mut Transaction<'_>,
    entry: RevocationEntry,
) -> Result<RevocationEntry, EngineError> {
    let number = increment(tx.record::<u64>(layout::LOG_HEAD)?.unwrap_or_default())?;
    let key = layout::log_line(number);
    tx.put(layout::LOG_HEAD.to_vec(), &number)?;
    tx.put(key.clone(), &entry)?;
    tx.touch(layout::expiry(entry.at.plus(REVOCATION_RETENTION), &key));
    Ok(entry)
}

fn increment(number: u64) -> Result<u64, EngineError> {
    number
        .checked_add(1)
        .ok_or(EngineError::Refused("a counter is at its end"))
}

/// The log after a cursor. Each line reads and writes `LOG_HEAD`, so lines are committed in the
/// order of their numbers, and one never appears before one that was read already. A cursor of
/// another engine starts over, which repeats lines but skips none.
pub(in crate::store) fn page(
    view: &dyn ReadView,
    cursor: Option<&LogCursor>,
    limit: usize,
) -> Result<RevocationPage, EngineError> {
    let from = cursor
        .and_then(|cursor| <[u8; 8]>::try_from(cursor.0.as_slice()).ok())
        .map_or(0, u64::from_be_bytes);
    let mut lines = view.scan(
        layout::LOG,
        Some(&layout::log_line(from)),
        limit.saturating_add(1),
    )?;
    let more = lines.len() > limit;
    lines.truncate(limit);
    let last = lines
        .last()
        .and_then(|(key, _)| layout::number_at(key))
        .unwrap_or(from);
    let entries = lines
        .iter()
        .map(|(key, bytes)| view.cipher().read(key, bytes))
        .collect::<Result<_, _>>()?;
    Ok(RevocationPage {
        entries,
        next: LogCursor(last.to_be_bytes().to_vec()),
        more,
    })
}
