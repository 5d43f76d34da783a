//! One step of refresh token rotation: a compare-and-set on the session's counter; or none, where
//! the token stays.
//!
//! The order of the checks matters. A session that was revoked or has expired has no grace, so
//! those come first, in the same step as the counter.

use std::time::Duration;

use super::{
    open_session,
    records::{self, SessionRecord},
    revoke,
    transaction::Transaction,
};
use crate::{
    store::{
        Renewal, RenewalProof, RenewedSession, Rotation, RotationOutcome, User, error::EngineError,
    },
    types::{SessionId, Timestamp},
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
    record: SessionRecord,
    user: User,
    global_epoch: u64,
}

/// Moves the session on, answers a repeat, or ends the session.
pub(in crate::store) fn rotate(
    tx: &mut Transaction<'_>,
    rotation: &Rotation,
) -> Result<RotationOutcome, EngineError> {
    let mut active_session = match active_session(tx, rotation.session, rotation.now)? {
        Ok(active_session) => active_session,
        Err(over) => return Ok(over),
    };
    let session = &mut active_session.record.session;
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
    let active_session = match active_session(tx, renewal.session, renewal.now)? {
        Ok(active_session) => active_session,
        Err(over) => return Ok(over),
    };
    let session = &active_session.record.session;
    match &renewal.proof {
        RenewalProof::AccessToken { user } if *user == session.user => {}
        RenewalProof::AccessToken { .. } => return Ok(RotationOutcome::Unknown),
        // One ahead is a rotation that was lost in a failover, as in a rotation.
        RenewalProof::RefreshToken { counter }
            if (session.counter..=session.counter.saturating_add(1)).contains(counter) => {}
        RenewalProof::RefreshToken { .. } => return end_reused(tx, active_session, renewal.now),
    }
    extend(tx, active_session, renewal.idle_ttl, renewal.now)
}

/// The session, or why it cannot go on.
fn active_session(
    tx: &Transaction<'_>,
    id: SessionId,
    now: Timestamp,
) -> Result<Result<ActiveSession, RotationOutcome>, EngineError> {
    let Some(record) = records::session(tx, id)? else {
        return Ok(Err(RotationOutcome::Unknown));
    };
    let global_epoch = records::global_epoch(tx);
    let user = records::user(tx, &record.session.user)?.map(|record| record.user);
    // A ban ends the sessions too; what it says is more of use than that they ended.
    if let Some(user) = user.as_ref().filter(|user| user.disabled) {
        return Ok(Err(RotationOutcome::Disabled(user.id.clone())));
    }
    if record.is_revoked(global_epoch) {
        return Ok(Err(RotationOutcome::Revoked));
    }
    if record.is_expired(now) {
        return Ok(Err(RotationOutcome::Expired));
    }
    Ok(user
        .map(|user| ActiveSession {
            record,
            user,
            global_epoch,
        })
        .ok_or(RotationOutcome::Unknown))
}

fn extend(
    tx: &mut Transaction<'_>,
    mut active_session: ActiveSession,
    idle_ttl: Duration,
    now: Timestamp,
) -> Result<RotationOutcome, EngineError> {
    let session = &mut active_session.record.session;
    session.last_used_at = now;
    session.idle_end = open_session::idle_end(now, idle_ttl, session.absolute_end);
    active_session.record.evicted.clear();
    records::put_session(tx, &active_session.record)?;
    Ok(RotationOutcome::Rotated(active_session.renewed()))
}

fn end_reused(
    tx: &mut Transaction<'_>,
    active_session: ActiveSession,
    now: Timestamp,
) -> Result<RotationOutcome, EngineError> {
    revoke::end_session(tx, active_session.record, now)?;
    Ok(RotationOutcome::Reused(active_session.user.id))
}

impl ActiveSession {
    fn renewed(self) -> Box<RenewedSession> {
        Box::new(RenewedSession {
            user: self.user,
            session: self.record.session,
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
