//! One step of refresh token rotation: a compare-and-set on the session's counter.
//!
//! The order of the checks matters. A session that was revoked or has expired has no grace, so those come first, in the
//! same step as the counter.

use super::{draft::Draft, login, records, revoke};
use crate::{
    store::{Renewed, Rotation, RotationOutcome, failure::Failure},
    types::Timestamp,
};

/// What a presented counter means.
#[derive(Debug, PartialEq, Eq)]
enum Presented {
    /// It moves the session on, to this counter.
    Moves(u64),
    /// Its successor was given out and has not been used: give the same one again.
    Again,
    /// It cannot be with its owner alone.
    Stolen,
}

/// Moves the session on, answers a repeat, or ends the session.
pub(super) fn rotate(draft: &mut Draft<'_>, rotation: &Rotation) -> Result<RotationOutcome, Failure> {
    let Some(mut record) = records::session(draft, rotation.session)? else { return Ok(RotationOutcome::Unknown) };
    let global_epoch = records::global_epoch(draft)?;
    let user = records::user(draft, &record.session.user)?.map(|record| record.user);
    // A ban ends the sessions too; what it says is more of use than that they ended.
    if let Some(user) = user.as_ref().filter(|user| user.disabled) {
        return Ok(RotationOutcome::Disabled(user.id.clone()));
    }
    if record.is_revoked(global_epoch) {
        return Ok(RotationOutcome::Revoked);
    }
    if record.is_expired(rotation.now) {
        return Ok(RotationOutcome::Expired);
    }
    let Some(user) = user else { return Ok(RotationOutcome::Unknown) };
    match presented(rotation, record.session.counter, record.session.rotated_at) {
        Presented::Moves(counter) => {
            let session = &mut record.session;
            session.counter = counter;
            session.rotated_at = rotation.now;
            session.last_used_at = rotation.now;
            session.idle_end = login::idle_end(rotation.now, rotation.idle_ttl, session.absolute_end);
            record.displaced.clear();
            records::put_session(draft, &record)?;
            Ok(RotationOutcome::Rotated(Box::new(Renewed { user, session: record.session, global_epoch })))
        }
        Presented::Again => Ok(RotationOutcome::Replayed(Box::new(Renewed { user, session: record.session, global_epoch }))),
        Presented::Stolen => {
            revoke::end(draft, record, rotation.now)?;
            Ok(RotationOutcome::Reused(user.id))
        }
    }
}

/// Compares with the session's counter. One ahead with a right HMAC is a rotation that was lost in a failover, so the
/// session catches up; further ahead nobody can have been given, and the session ends.
fn presented(rotation: &Rotation, current: u64, rotated_at: Timestamp) -> Presented {
    let is_one_ahead = current.checked_add(1) == Some(rotation.counter);
    if rotation.counter == current || is_one_ahead {
        return rotation.counter.checked_add(1).map_or(Presented::Stolen, Presented::Moves);
    }
    let is_one_behind = rotation.counter.checked_add(1) == Some(current);
    let in_window = rotation.replay_window.is_none_or(|window| rotation.now.since(rotated_at) <= window);
    if is_one_behind && in_window { Presented::Again } else { Presented::Stolen }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::types::SessionId;

    #[test]
    fn every_counter_has_one_meaning() {
        use Presented::{Again, Moves, Stolen};
        let rotated_at = Timestamp::from_secs(100);
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
            let rotation = Rotation {
                session: SessionId::from_bits(1),
                counter,
                replay_window: window.map(Duration::from_secs),
                idle_ttl: Duration::from_secs(1),
                now: rotated_at.plus(Duration::from_secs(later)),
            };
            assert_eq!(presented(&rotation, current, rotated_at), meaning, "{counter} at {current}, {later} s later");
        }
    }

    #[test]
    fn a_clock_that_went_back_does_not_close_the_replay_window() {
        let rotation = Rotation {
            session: SessionId::from_bits(1),
            counter: 0,
            replay_window: Some(Duration::from_secs(1)),
            idle_ttl: Duration::from_secs(1),
            now: Timestamp::from_secs(50),
        };
        assert_eq!(presented(&rotation, 1, Timestamp::from_secs(100)), Presented::Again);
    }
}
