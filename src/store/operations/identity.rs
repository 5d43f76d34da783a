//! New users and their ids.

use std::collections::BTreeSet;

use super::{
    layout,
    records::{self, UserRecord},
    transaction::Transaction,
};
use crate::{
    store::{NewUserId, Profile, User, error::EngineError},
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
    if records::is_taken(tx, &id)? {
        Err(EngineError::Refused("the id given for a new user is taken"))
    } else {
        Ok(id)
    }
}

/// Counts up, over ids that were imported.
fn next_integer(tx: &mut Transaction<'_>, first: u64) -> Result<UserId, EngineError> {
    let mut next = tx
        .record::<u64>(layout::NEXT_USER)?
        .unwrap_or_default()
        .max(first);
    loop {
        let id = UserId::parse(&next.to_string())
            .map_err(|_| EngineError::Refused("there is no user id left"))?;
        next = next
            .checked_add(1)
            .ok_or(EngineError::Refused("there is no user id left"))?;
        if !records::is_taken(tx, &id)? {
            tx.put(layout::NEXT_USER.to_vec(), &next)?;
            return Ok(id);
        }
    }
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
    };
    UserRecord {
        user,
        openids: BTreeSet::new(),
        unionids: BTreeSet::new(),
        sessions: 0,
    }
}
