//! A user as one record: profile, rights, identities and sessions.
//!
//! So most operations read and write one record, an account is erased without reading the whole
//! store, and of two operations on one user the second always sees what the first has done.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{
    bits::Bits,
    ended_session::{ENDED_SESSION_RETENTION, EndedSession},
    layout,
    records::global_epoch,
    transaction::{ReadView, Transaction},
};
use crate::{
    store::{
        RefreshSalt, Session, UnknownFields, User, error::EngineError, record_cipher::RecordCipher,
    },
    types::{AppId, ClientType, OpenId, Secret, SessionId, Timestamp, UnionId, UserId},
};

/// Most ended sessions of a user that are remembered, so that a refresh is rejected as "revoked",
/// not "unknown".
const MAX_ENDED_SESSIONS: usize = 16;
/// What lies at a user's id: the whole user, or that there was one.
#[derive(Serialize, Deserialize)]
enum UserSlot {
    #[serde(rename = "user")]
    User(Box<UserForm>),
    #[serde(rename = "gone")]
    Deleted(Tombstone),
}

/// A user with all that leads to them and all of their sessions: so most operations read and write
/// one record, and an account can be erased without reading the whole store.
pub(in crate::store) struct UserRecord {
    pub(in crate::store) user: User,
    /// In the order in which they came; none ever goes alone.
    pub(in crate::store) openids: Vec<WechatLink>,
    pub(in crate::store) unionids: BTreeSet<UnionId>,
    /// Those that were not ended, expired ones too.
    pub(in crate::store) sessions: Vec<SessionRecord>,
    /// The oldest first.
    pub(in crate::store) ended: Vec<EndedSession>,
    pub(in crate::store) unknown: UnknownFields,
}

/// A user as it is written.
#[derive(Serialize, Deserialize)]
struct UserForm {
    user: User,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    openids: Vec<WechatLink>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    unionids: BTreeSet<UnionId>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    sessions: Vec<SessionForm>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ended: Vec<EndedSession>,
    #[serde(flatten)]
    unknown: UnknownFields,
}

/// A user who is gone: nothing personal, and the id stays taken.
#[derive(Serialize, Deserialize)]
pub(in crate::store) struct Tombstone {
    pub(in crate::store) at: Timestamp,
    pub(in crate::store) merged_into: Option<UserId>,
    #[serde(flatten)]
    pub(in crate::store) unknown: UnknownFields,
}

impl Tombstone {
    pub(in crate::store) fn new(at: Timestamp, merged_into: Option<UserId>) -> Self {
        Self {
            at,
            merged_into,
            unknown: UnknownFields::default(),
        }
    }
}

/// The user as a person within one app.
#[derive(Clone, Serialize, Deserialize)]
pub(in crate::store) struct WechatLink {
    pub(in crate::store) app_id: AppId,
    pub(in crate::store) openid: OpenId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::store) session_key: Option<String>,
    /// The key before it and when it was replaced: what a client encrypted just before a new login
    /// still opens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::store) previous_session_key: Option<(String, Timestamp)>,
    #[serde(flatten)]
    pub(in crate::store) unknown: UnknownFields,
}

impl WechatLink {
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

    fn is(&self, app_id: &AppId, openid: &OpenId) -> bool {
        self.app_id == *app_id && self.openid == *openid
    }
}

/// A session, and what decides whether it lives.
#[derive(Clone)]
pub(in crate::store) struct SessionRecord {
    pub(in crate::store) session: Session,
    /// The openid by which it began, under the app id of the session.
    pub(in crate::store) openid: Option<OpenId>,
    /// The global epoch when it was opened: a higher one ends it.
    pub(in crate::store) global_epoch: u64,
    /// For the answer to a repeated login.
    pub(in crate::store) is_new_user: bool,
    /// The sessions that its login ended, for the answer to a repeated login; forgotten at its
    /// first use.
    pub(in crate::store) evicted: Vec<SessionId>,
    /// The user of the session that this one took the place of, for the answer to a repeated merge.
    pub(in crate::store) merged: Option<UserId>,
    pub(in crate::store) unknown: UnknownFields,
}

/// A session as it is written within its user: many of them are read and written with each of
/// them, so it is small.
#[derive(Serialize, Deserialize)]
struct SessionForm {
    #[serde(rename = "i")]
    id: Bits,
    #[serde(rename = "c")]
    client_type: ClientType,
    /// Which of the user's openids it began with.
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    link: Option<usize>,
    #[serde(rename = "a")]
    created_at: Timestamp,
    #[serde(rename = "u")]
    last_used_at: Timestamp,
    #[serde(rename = "n", default, skip_serializing_if = "is_zero")]
    counter: u64,
    /// Absent: as it was last used.
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    rotated_at: Option<Timestamp>,
    #[serde(rename = "e")]
    idle_end: Timestamp,
    #[serde(rename = "x")]
    absolute_end: Timestamp,
    #[serde(rename = "s")]
    salt: Bits,
    #[serde(rename = "g", default, skip_serializing_if = "is_zero")]
    global_epoch: u64,
    #[serde(rename = "f", default, skip_serializing_if = "std::ops::Not::not")]
    is_new_user: bool,
    #[serde(rename = "v", default, skip_serializing_if = "Vec::is_empty")]
    evicted: Vec<SessionId>,
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    merged: Option<UserId>,
    #[serde(flatten)]
    unknown: UnknownFields,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl UserForm {
    fn from_record(record: &UserRecord) -> Self {
        let session = |known: &SessionRecord| {
            let SessionRecord {
                session,
                openid,
                global_epoch,
                is_new_user,
                evicted,
                merged,
                unknown,
            } = known;
            let link = session.app_id.as_ref().zip(openid.as_ref());
            SessionForm {
                id: Bits(session.id.bits()),
                client_type: session.client_type,
                link: link.and_then(|(app_id, openid)| {
                    record
                        .openids
                        .iter()
                        .position(|link| link.is(app_id, openid))
                }),
                created_at: session.created_at,
                last_used_at: session.last_used_at,
                counter: session.counter,
                rotated_at: Some(session.rotated_at).filter(|at| *at != session.last_used_at),
                idle_end: session.idle_end,
                absolute_end: session.absolute_end,
                salt: Bits(u128::from_be_bytes(session.salt.0)),
                global_epoch: *global_epoch,
                is_new_user: *is_new_user,
                evicted: evicted.clone(),
                merged: merged.clone(),
                unknown: unknown.clone(),
            }
        };
        Self {
            user: record.user.clone(),
            openids: record.openids.clone(),
            unionids: record.unionids.clone(),
            sessions: record.sessions.iter().map(session).collect(),
            ended: record.ended.clone(),
            unknown: record.unknown.clone(),
        }
    }

    fn into_record(self) -> UserRecord {
        let Self {
            user,
            openids,
            unionids,
            sessions,
            ended,
            unknown,
        } = self;
        let session = |form: SessionForm| {
            let link = form.link.and_then(|at| openids.get(at));
            SessionRecord {
                session: Session {
                    id: SessionId::from_bits(form.id.0),
                    user: user.id.clone(),
                    client_type: form.client_type,
                    app_id: link.map(|link| link.app_id.clone()),
                    created_at: form.created_at,
                    last_used_at: form.last_used_at,
                    counter: form.counter,
                    rotated_at: form.rotated_at.unwrap_or(form.last_used_at),
                    idle_end: form.idle_end,
                    absolute_end: form.absolute_end,
                    salt: RefreshSalt(form.salt.0.to_be_bytes()),
                },
                openid: link.map(|link| link.openid.clone()),
                global_epoch: form.global_epoch,
                is_new_user: form.is_new_user,
                evicted: form.evicted,
                merged: form.merged,
                unknown: form.unknown,
            }
        };
        let sessions = sessions.into_iter().map(session).collect();
        UserRecord {
            user,
            openids,
            unionids,
            sessions,
            ended,
            unknown,
        }
    }
}

impl UserRecord {
    /// A user without identities and sessions.
    pub(in crate::store) fn new(user: User) -> Self {
        Self {
            user,
            openids: Vec::new(),
            unionids: BTreeSet::new(),
            sessions: Vec::new(),
            ended: Vec::new(),
            unknown: UnknownFields::default(),
        }
    }

    /// The person within an app, if it is this user.
    pub(in crate::store) fn link(&self, app_id: &AppId, openid: &OpenId) -> Option<&WechatLink> {
        self.openids.iter().find(|link| link.is(app_id, openid))
    }

    /// The same, to be changed.
    pub(in crate::store) fn link_mut(
        &mut self,
        app_id: &AppId,
        openid: &OpenId,
    ) -> Option<&mut WechatLink> {
        self.openids.iter_mut().find(|link| link.is(app_id, openid))
    }

    /// Adds an openid, unless it is there.
    pub(in crate::store) fn add_openid(&mut self, app_id: &AppId, openid: &OpenId) {
        if self.link(app_id, openid).is_none() {
            self.openids.push(WechatLink {
                app_id: app_id.clone(),
                openid: openid.clone(),
                session_key: None,
                previous_session_key: None,
                unknown: UnknownFields::default(),
            });
        }
    }

    /// A session that has not been ended, expired or not.
    pub(in crate::store) fn session(&self, id: SessionId) -> Option<&SessionRecord> {
        self.sessions.iter().find(|known| known.session.id == id)
    }

    /// A session that has been ended and is remembered.
    pub(in crate::store) fn ended_session(
        &self,
        id: SessionId,
        now: Timestamp,
    ) -> Option<&EndedSession> {
        let mut ended = self.ended.iter();
        ended.find(|ended| ended.id() == id && ended.is_remembered(now))
    }

    /// Ends a session and remembers it for a while.
    pub(in crate::store) fn end_session(&mut self, id: SessionId, now: Timestamp) {
        let Some(at) = self.sessions.iter().position(|one| one.session.id == id) else {
            return;
        };
        let session = self.sessions.remove(at).session;
        self.remember_ended(session.id, session.salt, now);
    }

    /// Remembers an ended session for a while.
    pub(in crate::store) fn remember_ended(
        &mut self,
        id: SessionId,
        salt: RefreshSalt,
        now: Timestamp,
    ) {
        let until = now.plus(ENDED_SESSION_RETENTION);
        self.ended.push(EndedSession::new(id, salt, until));
        let too_many = self.ended.len().saturating_sub(MAX_ENDED_SESSIONS);
        self.ended.drain(..too_many);
    }

    /// Forgets sessions that ended long ago.
    pub(in crate::store) fn forget_ended(&mut self, now: Timestamp) {
        self.ended.retain(|ended| ended.is_remembered(now));
        self.sessions.retain(|known| !known.is_forgotten(now));
    }
}

impl SessionRecord {
    /// Revoked with all sessions.
    pub(in crate::store) const fn is_revoked(&self, global_epoch: u64) -> bool {
        self.global_epoch < global_epoch
    }

    /// Past an end. An end is the first instant at which the session is no more.
    pub(in crate::store) fn is_expired(&self, now: Timestamp) -> bool {
        now >= self.session.idle_end || now >= self.session.absolute_end
    }

    /// Neither.
    pub(in crate::store) fn is_active(&self, global_epoch: u64, now: Timestamp) -> bool {
        !self.is_revoked(global_epoch) && !self.is_expired(now)
    }

    /// Expired for so long that it is as if it had never been.
    pub(in crate::store) fn is_forgotten(&self, now: Timestamp) -> bool {
        now >= self.session.absolute_end.plus(ENDED_SESSION_RETENTION)
    }
}

fn slot(view: &dyn ReadView, id: &UserId) -> Result<Option<UserSlot>, EngineError> {
    view.record(&layout::user(id))
}

/// The user of this id.
pub(in crate::store) fn user(
    view: &dyn ReadView,
    id: &UserId,
) -> Result<Option<UserRecord>, EngineError> {
    Ok(match slot(view, id)? {
        Some(UserSlot::User(form)) => Some(form.into_record()),
        Some(UserSlot::Deleted(_)) | None => None,
    })
}

/// What is left of a user who is gone.
pub(in crate::store) fn tombstone(
    view: &dyn ReadView,
    id: &UserId,
) -> Result<Option<Tombstone>, EngineError> {
    Ok(match slot(view, id)? {
        Some(UserSlot::Deleted(tombstone)) => Some(tombstone),
        Some(UserSlot::User(_)) | None => None,
    })
}

/// The user or the tombstone in the bytes that a scan found.
pub(in crate::store) fn read_user(
    cipher: &RecordCipher,
    key: &[u8],
    bytes: &[u8],
) -> Result<Result<UserRecord, Tombstone>, EngineError> {
    Ok(match cipher.read(key, bytes)? {
        UserSlot::User(form) => Ok(form.into_record()),
        UserSlot::Deleted(tombstone) => Err(tombstone),
    })
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
    view.contains(&layout::user(id))
}

/// The user of a living session.
pub(in crate::store) fn caller(
    view: &dyn ReadView,
    id: &UserId,
    session_id: SessionId,
    now: Timestamp,
) -> Result<Option<UserRecord>, EngineError> {
    let global_epoch = global_epoch(view);
    let is_active = |record: &UserRecord| {
        let session = record.session(session_id);
        session.is_some_and(|session| session.is_active(global_epoch, now))
    };
    Ok(user(view, id)?.filter(is_active))
}

/// Writes a user back.
pub(in crate::store) fn put_user(
    tx: &mut Transaction<'_>,
    record: &UserRecord,
) -> Result<(), EngineError> {
    let slot = UserSlot::User(Box::new(UserForm::from_record(record)));
    tx.put(layout::user(&record.user.id), &slot)
}

/// Leaves of a user that the id is taken.
pub(in crate::store) fn put_tombstone(
    tx: &mut Transaction<'_>,
    id: &UserId,
    tombstone: Tombstone,
) -> Result<(), EngineError> {
    tx.put(layout::user(id), &UserSlot::Deleted(tombstone))
}

#[cfg(test)]
mod tests;
