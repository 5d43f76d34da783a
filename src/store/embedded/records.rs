//! The records of an embedded store, as they are sealed and written.
//!
//! A field that is added later needs a default, so that older records still read.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{
    draft::{Draft, View},
    layout,
};
use crate::{
    store::{RefreshSalt, Session, StoredKey, User, failure::Failure},
    types::{AppId, OpenId, Secret, SessionId, Timestamp, UnionId, UserId},
};

/// A user, and all that leads to them, so that an account can be erased without reading the whole store.
#[derive(Serialize, Deserialize)]
pub(super) struct UserRecord {
    pub(super) user: User,
    /// Keyed hashes of the openids.
    pub(super) openids: BTreeSet<[u8; 32]>,
    /// Keyed hashes of the unionids.
    pub(super) unionids: BTreeSet<[u8; 32]>,
}

/// A person within one app.
#[derive(Serialize, Deserialize)]
pub(super) struct OpenIdRecord {
    pub(super) user: UserId,
    pub(super) app_id: AppId,
    pub(super) openid: OpenId,
    pub(super) session_key: Option<String>,
    /// The key before it and when it was replaced: what a client encrypted just before a new login still opens.
    pub(super) previous_session_key: Option<(String, Timestamp)>,
}

impl OpenIdRecord {
    /// Takes in the key of a login; says whether it is a new one.
    pub(super) fn renew_key(&mut self, given: Option<&Secret<String>>, now: Timestamp) -> bool {
        let Some(given) = given.map(Secret::expose) else { return false };
        if self.session_key.as_ref() == Some(given) {
            return false;
        }
        if let Some(replaced) = self.session_key.replace(given.clone()) {
            self.previous_session_key = Some((replaced, now));
        }
        true
    }
}

/// A person across apps.
#[derive(Serialize, Deserialize)]
pub(super) struct UnionIdRecord {
    pub(super) user: UserId,
    pub(super) unionid: UnionId,
}

/// A session, and what decides whether it lives.
#[derive(Serialize, Deserialize)]
pub(super) struct SessionRecord {
    pub(super) session: Session,
    /// The global epoch when it was opened: a higher one ends it.
    pub(super) global_epoch: u64,
    pub(super) ended_at: Option<Timestamp>,
    /// For the answer to a repeated login.
    pub(super) is_new_user: bool,
    /// The sessions that its login ended, for the answer to a repeated login; forgotten at its first use.
    pub(super) displaced: Vec<SessionId>,
}

impl SessionRecord {
    /// Revoked, alone or with everybody.
    pub(super) fn is_revoked(&self, global_epoch: u64) -> bool {
        self.ended_at.is_some() || self.global_epoch < global_epoch
    }

    /// Past an end. An end is the first instant at which the session is no more.
    pub(super) fn is_expired(&self, now: Timestamp) -> bool {
        now >= self.session.idle_end || now >= self.session.absolute_end
    }

    /// Neither.
    pub(super) fn lives(&self, global_epoch: u64, now: Timestamp) -> bool {
        !self.is_revoked(global_epoch) && !self.is_expired(now)
    }

    pub(super) fn salt(&self) -> RefreshSalt {
        self.session.salt
    }
}

/// A login code that has been used.
#[derive(Serialize, Deserialize)]
pub(super) struct SpentCode {
    pub(super) until: Timestamp,
}

/// A signing key.
#[derive(Serialize, Deserialize)]
pub(super) struct KeyRecord {
    kid: String,
    algorithm: String,
    private: Vec<u8>,
    created_at: Timestamp,
}

impl KeyRecord {
    pub(super) fn of(key: &StoredKey) -> Self {
        Self {
            kid: key.kid.clone(),
            algorithm: key.algorithm.clone(),
            private: key.private.expose().clone(),
            created_at: key.created_at,
        }
    }

    pub(super) fn read(self) -> StoredKey {
        StoredKey {
            kid: self.kid,
            algorithm: self.algorithm,
            private: Secret::new(self.private),
            created_at: self.created_at,
        }
    }
}

/// The epoch below which every token is revoked; 0 until the first revocation of everything.
pub(super) fn global_epoch(view: &dyn View) -> Result<u64, Failure> {
    Ok(view.record(layout::GLOBAL_EPOCH)?.unwrap_or_default())
}

/// The user of this id.
pub(super) fn user(view: &dyn View, id: &UserId) -> Result<Option<UserRecord>, Failure> {
    view.record(&layout::user(id))
}

/// The session of this id, in whatever state.
pub(super) fn session(view: &dyn View, id: SessionId) -> Result<Option<SessionRecord>, Failure> {
    view.record(&layout::session(id))
}

/// The user's sessions that have not been ended, expired ones too.
pub(super) fn sessions_of(view: &dyn View, id: &UserId) -> Result<Vec<SessionRecord>, Failure> {
    let mut sessions = Vec::new();
    for (key, _) in view.scan(&layout::sessions_of(id), None, usize::MAX)? {
        let Some(session_id) = layout::session_at(&key) else { continue };
        // A reader without the writer's order may find an entry whose session was removed just now.
        sessions.extend(session(view, session_id)?);
    }
    Ok(sessions)
}

/// Writes a user back.
pub(super) fn put_user(draft: &mut Draft<'_>, record: &UserRecord) -> Result<(), Failure> {
    draft.put(layout::user(&record.user.id), record)
}

/// Writes a session back.
pub(super) fn put_session(draft: &mut Draft<'_>, record: &SessionRecord) -> Result<(), Failure> {
    draft.put(layout::session(record.session.id), record)
}
