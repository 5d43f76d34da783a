//! What is in a store, in words of the domain: the form in which it goes from one engine to
//! another, and into backups.
//!
//! Codes and messages are not in it: they live minutes. What a newer version added to a record is in
//! it as it is.

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::{
    OutboxEvent, RefreshSalt, RevocationEntry, Session, StoreError, UnknownFields, User,
    error::EngineError,
};
use crate::types::{AppId, OpenId, Phone, SessionId, Timestamp, UnionId, UserId, Username};

/// One thing of a store. Holds secrets and what is personal: only for sealed places.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ExportRecord {
    /// What counts up, once.
    Counters {
        global_epoch: u64,
        /// The next integer for a user's id; absent where none was given.
        next_user: Option<u64>,
        /// Of the keyring.
        #[serde(default, skip_serializing_if = "UnknownFields::is_empty")]
        unknown: UnknownFields,
    },
    /// What refresh tokens and hashes of codes hang from, once.
    Root([u8; 32]),
    /// A signing key, the oldest first.
    SigningKey {
        kid: String,
        algorithm: String,
        private: Vec<u8>,
        created_at: Timestamp,
        /// Absent: since it was made.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signs_from: Option<Timestamp>,
        #[serde(default, skip_serializing_if = "UnknownFields::is_empty")]
        unknown: UnknownFields,
    },
    User(Box<ExportedUser>),
    /// The id of a deleted user.
    #[serde(rename = "gone")]
    Tombstone {
        id: UserId,
        at: Timestamp,
        merged_into: Option<UserId>,
        #[serde(default, skip_serializing_if = "UnknownFields::is_empty")]
        unknown: UnknownFields,
    },
    Session(Box<ExportedSession>),
    /// A session that was ended, so that its refresh token is told so.
    EndedSession {
        user: UserId,
        id: SessionId,
        salt: RefreshSalt,
        until: Timestamp,
        #[serde(default, skip_serializing_if = "UnknownFields::is_empty")]
        unknown: UnknownFields,
    },
    /// What a newer version wrote into the record that an identity is found by. After its user.
    IdentityFields {
        identity: ExportedIdentity,
        unknown: UnknownFields,
    },
    /// A line of the revocation log, the oldest first.
    Revocation(RevocationEntry),
    /// A line of the log that cannot be read. It may reject any token that was issued before it, and
    /// goes on to wherever it is imported.
    UnreadableRevocation {
        at: Timestamp,
    },
    /// An event that is not delivered yet.
    Event {
        event: OutboxEvent,
        at: Timestamp,
        #[serde(default, skip_serializing_if = "UnknownFields::is_empty")]
        unknown: UnknownFields,
    },
    /// An event of a kind that only a newer version knows, as it is stored.
    NewerEvent {
        due: Timestamp,
        record: rmpv::Value,
    },
}

/// An identity, as it is looked up.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExportedIdentity {
    OpenId(AppId, OpenId),
    UnionId(UnionId),
    Phone(Phone),
    Username(Username),
}

/// A user with all that leads to them.
#[derive(Clone, Serialize, Deserialize)]
pub struct ExportedUser {
    pub user: User,
    pub openids: Vec<ExportedOpenId>,
    pub unionids: Vec<UnionId>,
    /// An argon2id hash in PHC string form.
    pub password: Option<String>,
    /// Of the record around the user.
    #[serde(default, skip_serializing_if = "UnknownFields::is_empty")]
    pub unknown: UnknownFields,
}

/// A person within one app.
#[derive(Clone, Serialize, Deserialize)]
pub struct ExportedOpenId {
    pub app_id: AppId,
    pub openid: OpenId,
    pub session_key: Option<String>,
    /// The key before it, and when it was replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_session_key: Option<(String, Timestamp)>,
    #[serde(default, skip_serializing_if = "UnknownFields::is_empty")]
    pub unknown: UnknownFields,
}

/// A session, and what decides whether it lives.
#[derive(Clone, Serialize, Deserialize)]
pub struct ExportedSession {
    pub session: Session,
    pub openid: Option<OpenId>,
    pub global_epoch: u64,
    pub ended_at: Option<Timestamp>,
    /// For the answers to a repeated login and a repeated merge.
    #[serde(default)]
    pub is_new_user: bool,
    #[serde(default)]
    pub evicted: Vec<SessionId>,
    #[serde(default)]
    pub merged: Option<UserId>,
    #[serde(default, skip_serializing_if = "UnknownFields::is_empty")]
    pub unknown: UnknownFields,
}

macro_rules! masked {
    ($($name:ident),*) => { $(
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!(stringify!($name), "(***)"))
            }
        }
    )* };
}
masked!(
    ExportRecord,
    ExportedIdentity,
    ExportedUser,
    ExportedOpenId,
    ExportedSession
);

/// A snapshot of everything in a store, in batches. A reader that is slow delays nothing.
#[derive(Debug)]
pub struct Export(pub(super) mpsc::Receiver<Result<Vec<ExportRecord>, StoreError>>);

impl Export {
    /// The next ones; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<Vec<ExportRecord>, StoreError>> {
        self.0.recv().await
    }
}

/// What becomes of a record that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    /// The export fails: without it, it would look whole.
    Fails,
    /// It is logged and left out.
    IsLeftOut,
}

impl Unreadable {
    /// What was read; nothing for a record that is left out.
    pub(in crate::store) fn read<T: Default>(
        self,
        read: Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        match read {
            Err(EngineError::Damaged(why)) if self == Self::IsLeftOut => {
                tracing::error!(error = %why, "a record cannot be read and is not exported: {why}");
                Ok(T::default())
            }
            read => read,
        }
    }
}
