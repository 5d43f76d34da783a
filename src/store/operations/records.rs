//! The records, as they are sealed and written.
//!
//! A field that is added later needs a default, so that older records still read.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{
    layout,
    transaction::{ReadView, Transaction},
};
use crate::{
    store::{RefreshSalt, Session, StoredKey, User, error::EngineError},
    types::{
        AppId, OpenId, Phone, Secret, SessionId, SmsPurpose, Timestamp, UnionId, UserId, Username,
    },
};

/// A user, and all that leads to them, so that an account can be erased without reading the whole
/// store.
#[derive(Serialize, Deserialize)]
pub(in crate::store) struct UserRecord {
    pub(in crate::store) user: User,
    pub(in crate::store) openids: BTreeSet<(AppId, OpenId)>,
    pub(in crate::store) unionids: BTreeSet<UnionId>,
    /// At most so many sessions have not been ended; counted again when it comes to the limit, so
    /// that a login need not count.
    pub(in crate::store) sessions: usize,
}

/// A user who is gone: nothing personal, and the id stays taken.
#[derive(Serialize, Deserialize)]
pub(in crate::store) struct Tombstone {
    pub(in crate::store) at: Timestamp,
    pub(in crate::store) merged_into: Option<UserId>,
}

/// A person within one app.
#[derive(Serialize, Deserialize)]
pub(in crate::store) struct OpenIdRecord {
    pub(in crate::store) user: UserId,
    pub(in crate::store) app_id: AppId,
    pub(in crate::store) openid: OpenId,
    pub(in crate::store) session_key: Option<String>,
    /// The key before it and when it was replaced: what a client encrypted just before a new login
    /// still opens.
    pub(in crate::store) previous_session_key: Option<(String, Timestamp)>,
}

impl OpenIdRecord {
    /// Takes in the key of a login; says whether it is a new one.
    pub(in crate::store) fn renew_key(
        &mut self,
        given: Option<&Secret<String>>,
        now: Timestamp,
    ) -> bool {
        let Some(given) = given.map(Secret::expose) else {
            return false;
        };
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
pub(in crate::store) struct UnionIdRecord {
    pub(in crate::store) user: UserId,
    pub(in crate::store) unionid: UnionId,
}

/// Whose phone it is.
#[derive(Serialize, Deserialize)]
pub(in crate::store) struct PhoneRecord {
    pub(in crate::store) user: UserId,
    pub(in crate::store) phone: Phone,
}

/// Whose name it is, and the password for it.
#[derive(Serialize, Deserialize)]
pub(in crate::store) struct UsernameRecord {
    pub(in crate::store) user: UserId,
    pub(in crate::store) username: Username,
    pub(in crate::store) password: String,
}

/// The codes and messages of a phone.
#[derive(Serialize, Deserialize)]
pub(in crate::store) struct SmsRecord {
    pub(in crate::store) phone: Phone,
    /// Messages of the last day, the oldest first.
    pub(in crate::store) sent: Vec<(u128, Timestamp)>,
    /// The code that counts.
    pub(in crate::store) code: Option<SmsCodeRecord>,
    /// The code before it, which counts again when the message turns out not to have been sent.
    pub(in crate::store) replaced: Option<SmsCodeRecord>,
    /// The code that was used last, for the answer to a repeated binding.
    pub(in crate::store) used: Option<SmsCodeRecord>,
    /// Guesses since `attempts_until` was set first.
    pub(in crate::store) attempts: u32,
    pub(in crate::store) attempts_until: Timestamp,
}

/// A code.
#[derive(Clone, Serialize, Deserialize)]
pub(in crate::store) struct SmsCodeRecord {
    /// Of the message that carries it.
    pub(in crate::store) id: u128,
    pub(in crate::store) hash: [u8; 32],
    pub(in crate::store) purpose: SmsPurpose,
    pub(in crate::store) until: Timestamp,
}

/// Messages of one day.
#[derive(Default, Serialize, Deserialize)]
pub(in crate::store) struct SmsBudget {
    /// Days since 1970-01-01 in UTC+8.
    pub(in crate::store) day: u64,
    pub(in crate::store) sent: u64,
}

/// A session, and what decides whether it lives.
#[derive(Serialize, Deserialize)]
pub(in crate::store) struct SessionRecord {
    pub(in crate::store) session: Session,
    /// The openid by which it began, under the app id of the session.
    pub(in crate::store) openid: Option<OpenId>,
    /// The global epoch when it was opened: a higher one ends it.
    pub(in crate::store) global_epoch: u64,
    pub(in crate::store) ended_at: Option<Timestamp>,
    /// For the answer to a repeated login.
    pub(in crate::store) is_new_user: bool,
    /// The sessions that its login ended, for the answer to a repeated login; forgotten at its
    /// first use.
    #[serde(rename = "displaced")]
    pub(in crate::store) evicted: Vec<SessionId>,
    /// The user of the session that this one took the place of, for the answer to a repeated merge.
    pub(in crate::store) merged: Option<UserId>,
}

impl SessionRecord {
    /// Revoked, alone or with everybody.
    pub(in crate::store) fn is_revoked(&self, global_epoch: u64) -> bool {
        self.ended_at.is_some() || self.global_epoch < global_epoch
    }

    /// Past an end. An end is the first instant at which the session is no more.
    pub(in crate::store) fn is_expired(&self, now: Timestamp) -> bool {
        now >= self.session.idle_end || now >= self.session.absolute_end
    }

    /// Neither.
    pub(in crate::store) fn is_active(&self, global_epoch: u64, now: Timestamp) -> bool {
        !self.is_revoked(global_epoch) && !self.is_expired(now)
    }

    pub(in crate::store) fn salt(&self) -> RefreshSalt {
        self.session.salt
    }
}

/// A login code that has been used.
#[derive(Serialize, Deserialize)]
pub(in crate::store) struct SpentCode {
    pub(in crate::store) until: Timestamp,
}

/// A signing key.
#[derive(Serialize, Deserialize)]
pub(in crate::store) struct KeyRecord {
    kid: String,
    algorithm: String,
    private: Vec<u8>,
    created_at: Timestamp,
    /// Absent: since it was made.
    #[serde(default)]
    signs_from: Option<Timestamp>,
}

impl KeyRecord {
    /// Key id.
    pub(in crate::store) fn kid(&self) -> &str {
        &self.kid
    }

    pub(in crate::store) fn from_key(key: &StoredKey) -> Self {
        Self {
            kid: key.kid.clone(),
            algorithm: key.algorithm.clone(),
            private: key.private.expose().clone(),
            created_at: key.created_at,
            signs_from: Some(key.signs_from),
        }
    }

    pub(in crate::store) fn into_key(self) -> StoredKey {
        StoredKey {
            kid: self.kid,
            algorithm: self.algorithm,
            private: Secret::new(self.private),
            created_at: self.created_at,
            signs_from: self.signs_from.unwrap_or(self.created_at),
        }
    }
}

/// The epoch below which every token is revoked. It lies with the keyring, so reading it costs
/// nothing, and no operation commits under an older one.
pub(in crate::store) fn global_epoch(view: &dyn ReadView) -> u64 {
    view.cipher().keyring().global_epoch()
}

/// The user of this id.
pub(in crate::store) fn user(
    view: &dyn ReadView,
    id: &UserId,
) -> Result<Option<UserRecord>, EngineError> {
    view.record(&layout::user(id))
}

/// The user, who has to be there because something leads to them.
pub(in crate::store) fn owner(view: &dyn ReadView, id: &UserId) -> Result<UserRecord, EngineError> {
    user(view, id)?.ok_or_else(|| {
        EngineError::damaged(
            &layout::user(id),
            "is missing, though an identity leads to it",
        )
    })
}

/// Whether the id is, or was, a user's.
pub(in crate::store) fn is_taken(view: &dyn ReadView, id: &UserId) -> Result<bool, EngineError> {
    let (user, tombstone) = (layout::user(id), layout::tombstone(id));
    view.want(&[user.clone(), tombstone.clone()]);
    Ok(view.contains(&user)? || view.contains(&tombstone)?)
}

/// The user of a living session, if it is this one's.
pub(in crate::store) fn caller(
    view: &dyn ReadView,
    id: &UserId,
    session_id: SessionId,
    now: Timestamp,
) -> Result<Option<UserRecord>, EngineError> {
    let Some(record) = session(view, session_id)? else {
        return Ok(None);
    };
    let is_theirs = record.session.user == *id && record.is_active(global_epoch(view), now);
    if is_theirs { user(view, id) } else { Ok(None) }
}

/// The session of this id, in whatever state.
pub(in crate::store) fn session(
    view: &dyn ReadView,
    id: SessionId,
) -> Result<Option<SessionRecord>, EngineError> {
    view.record(&layout::session(id))
}

/// The user's sessions that have not been ended, expired ones too.
pub(in crate::store) fn sessions_of(
    view: &dyn ReadView,
    id: &UserId,
) -> Result<Vec<SessionRecord>, EngineError> {
    let entries = view.scan(&layout::sessions_of(id), None, usize::MAX)?;
    let ids: Vec<_> = entries
        .iter()
        .filter_map(|(key, _)| layout::session_at(key))
        .collect();
    view.want(&ids.iter().copied().map(layout::session).collect::<Vec<_>>());
    let mut sessions = Vec::with_capacity(ids.len());
    for id in ids {
        // A reader without the writer's order may find an entry whose session was removed just now.
        sessions.extend(session(view, id)?);
    }
    Ok(sessions)
}

/// Writes a user back.
pub(in crate::store) fn put_user(
    tx: &mut Transaction<'_>,
    record: &UserRecord,
) -> Result<(), EngineError> {
    tx.put(layout::user(&record.user.id), record)
}

/// Writes a session back.
pub(in crate::store) fn put_session(
    tx: &mut Transaction<'_>,
    record: &SessionRecord,
) -> Result<(), EngineError> {
    tx.put(layout::session(record.session.id), record)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{store::record_cipher::RecordCipher, types::ExtraClaims};

    /// A user as they were written before there were further claims.
    #[derive(Serialize)]
    struct OldUser {
        id: UserId,
        user_type: crate::types::UserType,
        roles: Vec<String>,
        epoch: u64,
        disabled: bool,
        profile: crate::store::Profile,
        phone: Option<Phone>,
        username: Option<Username>,
        created_at: Timestamp,
        last_login_at: Timestamp,
    }

    #[derive(Serialize)]
    struct OldRecord {
        user: OldUser,
        openids: BTreeSet<(AppId, OpenId)>,
        unionids: BTreeSet<UnionId>,
        sessions: usize,
    }

    #[test]
    fn a_user_of_before_there_were_claims_still_reads() {
        let now = Timestamp::from_secs(1_800_000_000);
        let user = OldUser {
            id: UserId::parse("42").unwrap(),
            user_type: crate::types::UserType::user(),
            roles: vec!["editor".to_owned()],
            epoch: 3,
            disabled: false,
            profile: crate::store::Profile::default(),
            phone: None,
            username: None,
            created_at: now,
            last_login_at: now,
        };
        let old = OldRecord {
            user,
            openids: BTreeSet::new(),
            unionids: BTreeSet::new(),
            sessions: 1,
        };
        let plain = RecordCipher::encode(b"u/42", &old).unwrap();
        let read: UserRecord = RecordCipher::decode(b"u/42", &plain).unwrap();
        assert_eq!(
            (read.user.id.as_str(), read.user.epoch, read.user.claims),
            ("42", 3, ExtraClaims::default())
        );
    }
}
