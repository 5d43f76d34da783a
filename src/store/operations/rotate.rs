//! One step of refresh token rotation: a compare-and-set on the session's counter; or none, where
//! the token stays.
//!
//! The order of the checks matters. A session that was revoked or has expired has no grace, so
//! those come first, in the same step as the counter.

use std::time::Duration;

use super::{
    ended_session::EndedSession,
    open_session, records, revoke,
    transaction::Transaction,
    user_record::{self, SessionRecord, UserRecord},
};
use crate::{
    store::{
        RefreshSalt, Renewal, RenewalProof, RenewedSession, Rotation, RotationOutcome, TokenCheck,
        error::EngineError,
    },
    types::{SessionId, Timestamp, UserId},
};

/// What a presented counter means.
#[derive(Debug, PartialEq, Eq)]
enum CounterCheck {
    /// It moves the session on, to this counter.
    Moves(u64),
    /// Its successor was given out and has not been used: give the same one again.
    Again,
    /// It cannot be with its owner alone.
    Stolen,
}

/// A session that can go on, with its user, under the epoch of everybody.
struct ActiveSession {
    user: UserRecord,
    /// Where it is in the user's record.
    at: usize,
    global_epoch: u64,
}

/// Moves the session on, answers a repeat, or ends the session.
pub(in crate::store) fn rotate(
    tx: &mut Transaction<'_>,
    rotation: &Rotation,
) -> Result<RotationOutcome, EngineError> {
    let mut active_session = match active_session(
        tx,
        &rotation.user,
        rotation.session,
        Some(&rotation.check),
        rotation.now,
    )? {
        Ok(active_session) => active_session,
        Err(over) => return Ok(over),
    };
    let session = &mut active_session.record_mut().session;
    match check_counter(
        rotation.counter,
        rotation.replay_window,
        session.counter,
        rotation.now.since(session.rotated_at),
    ) {
        CounterCheck::Moves(counter) => {
            session.counter = counter;
            session.rotated_at = rotation.now;
            extend(tx, active_session, rotation.idle_ttl, rotation.now)
        }
        CounterCheck::Again => Ok(RotationOutcome::Replayed(active_session.renewed())),
        CounterCheck::Stolen => end_reused(tx, active_session, rotation.now),
    }
}

/// Goes on with the session and leaves its refresh token as it is.
pub(in crate::store) fn renew(
    tx: &mut Transaction<'_>,
    renewal: &Renewal,
) -> Result<RotationOutcome, EngineError> {
    let check = match &renewal.proof {
        RenewalProof::RefreshToken { check, .. } => Some(check),
        RenewalProof::AccessToken => None,
    };
    let found = active_session(tx, &renewal.user, renewal.session, check, renewal.now)?;
    let active_session = match found {
        Ok(active_session) => active_session,
        Err(over) => return Ok(over),
    };
    let session = &active_session.record().session;
    match &renewal.proof {
        RenewalProof::AccessToken => {}
        // One ahead is a rotation that was lost in a failover, as in a rotation.
        RenewalProof::RefreshToken { counter, .. }
            if (session.counter..=session.counter.saturating_add(1)).contains(counter) => {}
        RenewalProof::RefreshToken { .. } => return end_reused(tx, active_session, renewal.now),
    }
    extend(tx, active_session, renewal.idle_ttl, renewal.now)
}

/// The session, or why it cannot go on. Nothing but that there is no such session is said to a token
/// that is not genuine.
fn active_session(
    tx: &Transaction<'_>,
    user: &UserId,
    id: SessionId,
    check: Option<&TokenCheck>,
    now: Timestamp,
) -> Result<Result<ActiveSession, RotationOutcome>, EngineError> {
    let global_epoch = records::global_epoch(tx);
    let user = user_record::user(tx, user)?;
    let known = |record: &SessionRecord| record.session.id == id && !record.is_forgotten(now);
    let sessions = user.as_ref().map(|user| user.sessions.as_slice());
    let found = sessions.unwrap_or_default().iter().position(known);
    let salt = user.as_ref().and_then(|user| match found {
        Some(at) => Some(user.sessions[at].session.salt),
        None => user.ended_session(id, now).map(EndedSession::salt),
    });
    let accepts = |salt| check.is_none_or(|check| check.accepts(salt));
    let is_genuine = accepts(&salt.unwrap_or(RefreshSalt::DECOY));
    let Some(user) = user.filter(|_| salt.is_some() && is_genuine) else {
        return Ok(Err(RotationOutcome::Unknown));
    };
    // A ban ends the sessions too; what it says is more of use than that they ended.
    if user.user.disabled {
        return Ok(Err(RotationOutcome::Disabled(user.user.id)));
    }
    let Some(at) = found.filter(|at| !user.sessions[*at].is_revoked(global_epoch)) else {
        return Ok(Err(RotationOutcome::Revoked));
    };
    if user.sessions[at].is_expired(now) {
        return Ok(Err(RotationOutcome::Expired));
    }
    Ok(Ok(ActiveSession {
        user,
        at,
        global_epoch,
    }))
}

fn extend(
    tx: &mut Transaction<'_>,
    mut active_session: ActiveSession,
    idle_ttl: Duration,
    now: Timestamp,
) -> Result<RotationOutcome, EngineError> {
    let record = active_session.record_mut();
    record.session.last_used_at = now;
    record.session.idle_end = open_session::idle_end(now, idle_ttl, record.session.absolute_end);
    record.evicted.clear();
    user_record::put_user(tx, &active_session.user)?;
    Ok(RotationOutcome::Rotated(active_session.renewed()))
}

fn end_reused(
    tx: &mut Transaction<'_>,
    active_session: ActiveSession,
    now: Timestamp,
) -> Result<RotationOutcome, EngineError> {
    let id = active_session.record().session.id;
    let mut user = active_session.user;
    revoke::end_session(tx, &mut user, id, now)?;
    user_record::put_user(tx, &user)?;
    Ok(RotationOutcome::Reused(user.user.id))
}

impl ActiveSession {
    fn record(&self) -> &SessionRecord {
        &self.user.sessions[self.at]
    }

    fn record_mut(&mut self) -> &mut SessionRecord {
        &mut self.user.sessions[self.at]
    }

    fn renewed(self) -> Box<RenewedSession> {
        let session = self.record().session.clone();
        Box::new(RenewedSession {
            user: self.user.user,
            session,
            global_epoch: self.global_epoch,
        })
    }
}

/// Compares with the session's counter. One ahead with a right HMAC is a rotation that was lost in
/// a failover, so the session catches up; a counter further ahead was never issued, and the session
/// ends.
fn check_counter(
    counter: u64,
    replay_window: Option<Duration>,
    current: u64,
    since_rotation: Duration,
) -> CounterCheck {
    let is_one_ahead = current.checked_add(1) == Some(counter);
    if counter == current || is_one_ahead {
        return counter
            .checked_add(1)
            .map_or(CounterCheck::Stolen, CounterCheck::Moves);
    }
    let is_one_behind = counter.checked_add(1) == Some(current);
    let in_window = replay_window.is_none_or(|window| since_rotation <= window);
    if is_one_behind && in_window {
        CounterCheck::Again
    } else {
        CounterCheck::Stolen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_has_one_meaning() {
        use CounterCheck::{Again, Moves, Stolen};
        let rows = [
            // presented, current, window, seconds since the rotation, meaning
            (0, 0, None, 0, Moves(1)),
            (5, 5, None, 0, Moves(6)),
            (4, 5, None, 9_999_999, Again),
            (4, 5, Some(30), 30, Again),
            (4, 5, Some(30), 31, Stolen),
            (4, 5, Some(0), 0, Again),
            (3, 5, None, 0, Stolen),
            (0, 5, None, 0, Stolen),
            (6, 5, None, 0, Moves(7)),
            (6, 5, Some(0), 9, Moves(7)),
            (7, 5, None, 0, Stolen),
            (u64::MAX, 5, None, 0, Stolen),
            (u64::MAX, u64::MAX, None, 0, Stolen),
            (u64::MAX, u64::MAX - 1, None, 0, Stolen),
            (u64::MAX, 0, None, 0, Stolen),
        ];
        for (counter, current, window, later, meaning) in rows {
            let got = check_counter(
                counter,
                window.map(Duration::from_secs),
                current,
                Duration::from_secs(later),
            );
            assert_eq!(got, meaning, "{counter} at {current}, {later} s later");
        }
    }

    #[test]
    fn a_clock_that_went_back_does_not_close_the_replay_window() {
        let since = Timestamp::from_secs(50).since(Timestamp::from_secs(100));
        assert_eq!(
            check_counter(0, Some(Duration::from_secs(1)), 1, since),
            CounterCheck::Again
        );
    }
}
