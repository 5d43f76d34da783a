//! New users and their ids.

use std::ops::Range;

use super::{
    layout,
    transaction::Transaction,
    user_record::{self, UserRecord},
};
use crate::{
    store::{NewUserId, Profile, UnknownFields, User, engine::NumberPool, error::EngineError},
    types::{ExtraClaims, Timestamp, UserId, UserType},
};

/// An id that is no user's and never was.
pub(in crate::store) fn new_id(
    tx: &mut Transaction<'_>,
    wanted: &NewUserId,
) -> Result<UserId, EngineError> {
    let id = match wanted {
        NewUserId::Generated(id) | NewUserId::FromBackend(id) => id.clone(),
        NewUserId::Pending => return Err(EngineError::Refused("a new user has no id yet")),
        NewUserId::NextInteger { first } => return next_integer(tx, *first),
    };
    if user_record::is_taken(tx, &id)? {
        Err(EngineError::Refused("the id given for a new user is taken"))
    } else {
        Ok(id)
    }
}

/// Counts up, over ids that were imported.
fn next_integer(tx: &mut Transaction<'_>, first: u64) -> Result<UserId, EngineError> {
    const NONE_LEFT: EngineError = EngineError::Refused("there is no user id left");
    let pool = NumberPool {
        key: layout::NEXT_USER,
        tag: tx.record(layout::ID_GENERATION)?.unwrap_or_default(),
        at_least: first,
    };
    // What is left of a block that this operation takes itself.
    let mut block = 0..0;
    loop {
        let held = block.next().or_else(|| tx.source().take_number(pool));
        let number = if let Some(number) = held {
            number
        } else {
            block = take_block(tx, pool)?;
            block.next().ok_or(NONE_LEFT)?
        };
        let id = UserId::parse(&number.to_string()).map_err(|_| NONE_LEFT)?;
        if !user_record::is_taken(tx, &id)? {
            tx.source().leave_numbers(pool, block);
            return Ok(id);
        }
    }
}

/// The next numbers of the record, as many as are taken at once; empty where none is left.
fn take_block(tx: &mut Transaction<'_>, pool: NumberPool) -> Result<Range<u64>, EngineError> {
    let known: u64 = tx.record(pool.key)?.unwrap_or_default();
    let next = known.max(pool.at_least);
    let end = next.saturating_add(tx.source().block_size());
    tx.put(pool.key.to_vec(), &end)?;
    Ok(next..end)
}

/// Integers given from now on are above this id, if it is one.
pub(in crate::store) fn count_above(
    tx: &mut Transaction<'_>,
    id: &UserId,
) -> Result<(), EngineError> {
    let number = id
        .as_str()
        .parse::<u64>()
        .ok()
        .filter(|number| number.to_string() == id.as_str());
    // Nothing is above the highest integer; then the ones below go on being given.
    let Some(above) = number.and_then(|number| number.checked_add(1)) else {
        return Ok(());
    };
    if tx.record::<u64>(layout::NEXT_USER)?.unwrap_or_default() < above {
        tx.put(layout::NEXT_USER.to_vec(), &above)?;
        // Those that processes have taken already are void.
        let generation: u64 = tx.record(layout::ID_GENERATION)?.unwrap_or_default();
        tx.put(layout::ID_GENERATION.to_vec(), &generation.wrapping_add(1))?;
    }
    Ok(())
}

/// A user without identities.
pub(in crate::store) fn new_user(id: UserId, user_type: UserType, now: Timestamp) -> UserRecord {
    let user = User {
        id,
        user_type,
        roles: Vec::new(),
        epoch: 0,
        disabled: false,
        profile: Profile::default(),
        phone: None,
        username: None,
        claims: ExtraClaims::default(),
        created_at: now,
        last_login_at: now,
        unknown: UnknownFields::default(),
    };
    UserRecord::new(user)
}
