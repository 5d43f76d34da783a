//! What is in a store, in words of the domain: the form in which it goes from one engine to
//! another, and into backups.
//!
//! Codes and messages are not in it: they live minutes.

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::{OutboxEvent, RefreshSalt, RevocationEntry, Session, StoreError, User};
use crate::types::{AppId, OpenId, SessionId, Timestamp, UnionId, UserId};

/// One thing of a store. Holds secrets and what is personal: only for sealed places.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ExportRecord {
    /// What counts up, once.
    Counters {
        global_epoch: u64,
        /// The next integer for a user's id; absent where none was given.
        next_user: Option<u64>,
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
    },
    User(Box<ExportedUser>),
    /// The id of a deleted user.
    #[serde(rename = "gone")]
    Tombstone {
        id: UserId,
        at: Timestamp,
        merged_into: Option<UserId>,
    },
    Session(Box<ExportedSession>),
    /// A session that was ended, so that its refresh token is told so.
    EndedSession {
        user: UserId,
        id: SessionId,
        salt: RefreshSalt,
        until: Timestamp,
    },
    /// A line of the revocation log, the oldest first.
    Revocation(RevocationEntry),
    /// An event that is not delivered yet.
    Event {
        event: OutboxEvent,
        at: Timestamp,
    },
}

/// A user with all that leads to them.
#[derive(Clone, Serialize, Deserialize)]
pub struct ExportedUser {
    pub user: User,
    pub openids: Vec<ExportedOpenId>,
    pub unionids: Vec<UnionId>,
    /// An argon2id hash in PHC string form.
    pub password: Option<String>,
}

/// A person within one app.
#[derive(Clone, Serialize, Deserialize)]
pub struct ExportedOpenId {
    pub app_id: AppId,
    pub openid: OpenId,
    pub session_key: Option<String>,
}

/// A session, and what decides whether it lives.
#[derive(Clone, Serialize, Deserialize)]
pub struct ExportedSession {
    pub session: Session,
    pub openid: Option<OpenId>,
    pub global_epoch: u64,
    pub ended_at: Option<Timestamp>,
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
masked!(ExportRecord, ExportedUser, ExportedOpenId, ExportedSession);

/// A snapshot of everything in a store, in batches. A reader that is slow delays nothing.
#[derive(Debug)]
pub struct Export(pub(super) mpsc::Receiver<Result<Vec<ExportRecord>, StoreError>>);

impl Export {
    /// The next ones; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<Vec<ExportRecord>, StoreError>> {
        self.0.recv().await
    }
}
