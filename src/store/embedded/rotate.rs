//! One step of refresh token rotation: a compare-and-set on the session's counter; or none, where
//! the token stays.
//!
//! The order of the checks matters. A session that was revoked or has expired has no grace, so
//! those come first, in the same step as the counter.

use std::time::Duration;

use super::{
    draft::Draft,
    login,
    records::{self, SessionRecord},
    revoke,
};
use crate::{
    store::{Renewal, RenewalProof, Renewed, Rotation, RotationOutcome, User, failure::Failure},
    types::{SessionId, Timestamp},
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

/// A session that can go on, with its user, under the epoch of everybody.
struct Living {
    record: SessionRecord,
    user: User,
    global_epoch: u64,
}

/// Moves the session on, answers a repeat, or ends the session.
pub(super) fn rotate(
    draft: &mut Draft<'_>,
    rotation: &Rotation,
) -> Result<RotationOutcome, Failure> {
    let mut living = match living(draft, rotation.session, rotation.now)? {
        Ok(living) => living,
        Err(over) => return Ok(over),
    };
    let session = &mut living.record.session;
    match presented(
        rotation.counter,
        rotation.replay_window,
        session.counter,
        rotation.now.since(session.rotated_at),
    ) {
        Presented::Moves(counter) => {
            session.counter = counter;
            session.rotated_at = rotation.now;
            go_on(draft, living, rotation.idle_ttl, rotation.now)
        }
        Presented::Again => Ok(RotationOutcome::Replayed(living.renewed())),
        Presented::Stolen => stolen(draft, living, rotation.now),
    }
}

/// Goes on with the session and leaves its refresh token as it is.
pub(super) fn renew(draft: &mut Draft<'_>, renewal: &Renewal) -> Result<RotationOutcome, Failure> {
    let living = match living(draft, renewal.session, renewal.now)? {
        Ok(living) => living,
        Err(over) => return Ok(over),
    };
    let session = &living.record.session;
    match &renewal.proof {
        RenewalProof::AccessToken { user } if *user == session.user => {}
        RenewalProof::AccessToken { .. } => return Ok(RotationOutcome::Unknown),
        // One ahead is a rotation that was lost in a failover, as in a rotation.
        RenewalProof::RefreshToken { counter }
            if (session.counter..=session.counter.saturating_add(1)).contains(counter) => {}
        RenewalProof::RefreshToken { .. } => return stolen(draft, living, renewal.now),
    }
    go_on(draft, living, renewal.idle_ttl, renewal.now)
}

/// The session, or why it cannot go on.
fn living(
    draft: &Draft<'_>,
    id: SessionId,
    now: Timestamp,
) -> Result<Result<Living, RotationOutcome>, Failure> {
    let Some(record) = records::session(draft, id)? else {
        return Ok(Err(RotationOutcome::Unknown));
    };
    let global_epoch = records::global_epoch(draft)?;
    let user = records::user(draft, &record.session.user)?.map(|record| record.user);
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
        .map(|user| Living {
            record,
            user,
            global_epoch,
        })
        .ok_or(RotationOutcome::Unknown))
}

fn go_on(
    draft: &mut Draft<'_>,
    mut living: Living,
    idle_ttl: Duration,
    now: Timestamp,
) -> Result<RotationOutcome, Failure> {
    let session = &mut living.record.session;
    session.last_used_at = now;
    session.idle_end = login::idle_end(now, idle_ttl, session.absolute_end);
    living.record.displaced.clear();
    records::put_session(draft, &living.record)?;
    Ok(RotationOutcome::Rotated(living.renewed()))
}

fn stolen(
    draft: &mut Draft<'_>,
    living: Living,
    now: Timestamp,
) -> Result<RotationOutcome, Failure> {
    revoke::end(draft, living.record, now)?;
    Ok(RotationOutcome::Reused(living.user.id))
}

impl Living {
    fn renewed(self) -> Box<Renewed> {
        Box::new(Renewed {
            user: self.user,
            session: self.record.session,
            global_epoch: self.global_epoch,
        })
    }
}

/// Compares with the session's counter. One ahead with a right HMAC is a rotation that was lost in
/// a failover, so the session catches up; further ahead nobody can have been given, and the session
/// ends.
fn presented(
    counter: u64,
    replay_window: Option<Duration>,
    current: u64,
    since_rotation: Duration,
) -> Presented {
    let is_one_ahead = current.checked_add(1) == Some(counter);
    if counter == current || is_one_ahead {
        return counter
            .checked_add(1)
            .map_or(Presented::Stolen, Presented::Moves);
    }
    let is_one_behind = counter.checked_add(1) == Some(current);
    let in_window = replay_window.is_none_or(|window| since_rotation <= window);
    if is_one_behind && in_window {
        Presented::Again
    } else {
        Presented::Stolen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_has_one_meaning() {
        use Presented::{Again, Moves, Stolen};
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
            let got = presented(
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
            presented(0, Some(Duration::from_secs(1)), 1, since),
            Presented::Again
        );
    }
}
