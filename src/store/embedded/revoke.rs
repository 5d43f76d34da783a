//! Ending sessions, and the log from which every replica learns of it.
//!
//! The line of the log and the change of the session go into one batch, so neither is there without
//! the other.

use super::{
    draft::{Draft, View},
    layout,
    records::{self, SessionRecord},
};
use crate::{
    store::{
        LogCursor, RevocationEntry, RevocationPage, RevocationTarget, Revoke, Revoked,
        failure::Failure,
    },
    types::{REVOCATION_RETENTION, SessionId, Timestamp, UserId},
};

/// Ends what is asked for.
pub(super) fn revoke(
    draft: &mut Draft<'_>,
    what: &Revoke,
    now: Timestamp,
) -> Result<Revoked, Failure> {
    match what {
        Revoke::Session { user, session } => one(draft, user, *session, now),
        Revoke::Others { user, keep } => others(draft, user, *keep, now),
        Revoke::User(user) => whole_user(draft, user, now),
        Revoke::Everything => everything(draft, now),
    }
}

fn one(
    draft: &mut Draft<'_>,
    user: &UserId,
    id: SessionId,
    now: Timestamp,
) -> Result<Revoked, Failure> {
    let global_epoch = records::global_epoch(draft)?;
    match records::session(draft, id)? {
        Some(record) if record.session.user == *user => {
            end_all(draft, vec![record], global_epoch, now)
        }
        Some(_) | None => Ok(Revoked::default()),
    }
}

fn others(
    draft: &mut Draft<'_>,
    user: &UserId,
    keep: SessionId,
    now: Timestamp,
) -> Result<Revoked, Failure> {
    let global_epoch = records::global_epoch(draft)?;
    let mut sessions = records::sessions_of(draft, user)?;
    sessions.retain(|record| record.session.id != keep);
    end_all(draft, sessions, global_epoch, now)
}

/// Ends each with a line of its own. One that has expired is ended too, because an access token may
/// outlive it a little.
fn end_all(
    draft: &mut Draft<'_>,
    sessions: Vec<SessionRecord>,
    global_epoch: u64,
    now: Timestamp,
) -> Result<Revoked, Failure> {
    let mut revoked = Revoked::default();
    for record in sessions {
        if record.is_revoked(global_epoch) {
            continue;
        }
        if record.lives(global_epoch, now) {
            revoked.sessions.push(record.session.id);
        }
        revoked.entries.push(end(draft, record, now)?);
    }
    Ok(revoked)
}

/// The user's epoch speaks for all tokens, so one line is enough however many sessions there are.
pub(super) fn whole_user(
    draft: &mut Draft<'_>,
    id: &UserId,
    now: Timestamp,
) -> Result<Revoked, Failure> {
    let mut revoked = access_tokens(draft, id, now)?;
    let global_epoch = records::global_epoch(draft)?;
    for record in records::sessions_of(draft, id)? {
        if record.lives(global_epoch, now) {
            revoked.sessions.push(record.session.id);
        }
        mark_ended(draft, record, now)?;
    }
    Ok(revoked)
}

/// Refuses the access tokens that a user has; the sessions live on and give others.
pub(super) fn access_tokens(
    draft: &mut Draft<'_>,
    id: &UserId,
    now: Timestamp,
) -> Result<Revoked, Failure> {
    let Some(mut user) = records::user(draft, id)? else {
        return Ok(Revoked::default());
    };
    user.user.epoch = next(user.user.epoch)?;
    let target = RevocationTarget::User {
        id: id.clone(),
        epoch: user.user.epoch,
    };
    let entry = log(draft, RevocationEntry { at: now, target })?;
    records::put_user(draft, &user)?;
    Ok(Revoked {
        sessions: Vec::new(),
        entries: vec![entry],
    })
}

/// Touches no session: each remembers the epoch it was opened under.
fn everything(draft: &mut Draft<'_>, now: Timestamp) -> Result<Revoked, Failure> {
    let epoch = next(records::global_epoch(draft)?)?;
    draft.put(layout::GLOBAL_EPOCH.to_vec(), &epoch)?;
    let entry = log(
        draft,
        RevocationEntry {
            at: now,
            target: RevocationTarget::Everything { epoch },
        },
    )?;
    Ok(Revoked {
        sessions: Vec::new(),
        entries: vec![entry],
    })
}

/// Ends one session, with its line in the log.
pub(super) fn end(
    draft: &mut Draft<'_>,
    record: SessionRecord,
    now: Timestamp,
) -> Result<RevocationEntry, Failure> {
    let target = RevocationTarget::Session(record.session.id);
    let entry = log(draft, RevocationEntry { at: now, target })?;
    mark_ended(draft, record, now)?;
    Ok(entry)
}

/// The record stays for a while, so that a refresh can be told why it is refused.
fn mark_ended(
    draft: &mut Draft<'_>,
    mut record: SessionRecord,
    now: Timestamp,
) -> Result<(), Failure> {
    record.ended_at = Some(now);
    record.displaced.clear();
    // Whose it was outside is not needed any more, and must not outlive an account that is erased.
    record.openid = None;
    draft.remove(layout::session_of(&record.session.user, record.session.id));
    records::put_session(draft, &record)
}

pub(super) fn log(
    draft: &mut Draft<'_>,
    entry: RevocationEntry,
) -> Result<RevocationEntry, Failure> {
    let number = next(draft.record::<u64>(layout::LOG_HEAD)?.unwrap_or_default())?;
    let key = layout::log_line(number);
    draft.put(layout::LOG_HEAD.to_vec(), &number)?;
    draft.put(key.clone(), &entry)?;
    draft.mark(layout::expiry(entry.at.plus(REVOCATION_RETENTION), &key));
    Ok(entry)
}

fn next(number: u64) -> Result<u64, Failure> {
    number
        .checked_add(1)
        .ok_or(Failure::Refused("a counter is at its end"))
}

/// The log after a cursor. There is one writer, and a batch appears whole, so a line never appears
/// before one that was read already. A cursor of another engine starts over, which repeats lines
/// but skips none.
pub(super) fn page(
    view: &dyn View,
    cursor: Option<&LogCursor>,
    limit: usize,
) -> Result<RevocationPage, Failure> {
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
        .map(|(key, bytes)| view.vault().open(key, bytes))
        .collect::<Result<_, _>>()?;
    Ok(RevocationPage {
        entries,
        next: LogCursor(last.to_be_bytes().to_vec()),
        more,
    })
}
