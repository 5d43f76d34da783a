//! Changing what a user says of themselves.

use super::{transaction::Transaction, user_record};
use crate::{
    store::{Profile, ProfileChange, User, error::EngineError},
    types::UserId,
};

/// Applies the change; says what the user is then.
pub(in crate::store) fn change(
    tx: &mut Transaction<'_>,
    id: &UserId,
    change: &ProfileChange,
) -> Result<Option<User>, EngineError> {
    let Some(mut record) = user_record::user(tx, id)? else {
        return Ok(None);
    };
    let Profile {
        nickname,
        avatar_url,
        bio,
        birthday,
        unknown: _,
    } = &mut record.user.profile;
    let changes = [
        (nickname, &change.nickname),
        (avatar_url, &change.avatar_url),
        (bio, &change.bio),
        (birthday, &change.birthday),
    ];
    for (field, change) in changes {
        if let Some(value) = change {
            field.clone_from(value);
        }
    }
    user_record::put_user(tx, &record)?;
    Ok(Some(record.user))
}
