//! What the operations on sessions take and give: opening, rotation, renewal.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{RevocationOutcome, User};
use crate::types::{AppId, ClientType, SessionId, Timestamp, UserId};

/// One login on one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    pub id: SessionId,
    pub user: UserId,
    pub client_type: ClientType,
    /// The app id by which the user came in, for what WeChat is asked later.
    pub app_id: Option<AppId>,
    pub created_at: Timestamp,
    pub last_used_at: Timestamp,
    /// The counter of the refresh token that is valid now.
    pub counter: u64,
    /// When the counter last moved, for a replay window in seconds.
    pub rotated_at: Timestamp,
    /// Idle end: moves with each rotation, never past `absolute_end`.
    pub idle_end: Timestamp,
    pub absolute_end: Timestamp,
    pub salt: RefreshSalt,
}

/// Random bytes of one session, from which the key of its refresh tokens is derived. Never changes.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshSalt(pub [u8; 16]);

impl std::fmt::Debug for RefreshSalt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl RefreshSalt {
    /// Of no session: what is checked against it where there is none, so that the time does not tell.
    pub const DECOY: Self = Self([0; 16]);
}

/// Checks the MAC of a presented token under the salt of its session. It may be asked several times
/// for one token, and says the same each time.
#[derive(Clone)]
pub struct TokenCheck(Arc<dyn Fn(&RefreshSalt) -> bool + Send + Sync>);

impl TokenCheck {
    pub fn new(check: impl Fn(&RefreshSalt) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(check))
    }

    /// Whether the token is genuine.
    pub(super) fn accepts(&self, salt: &RefreshSalt) -> bool {
        self.0(salt)
    }
}

impl std::fmt::Debug for TokenCheck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenCheck")
    }
}

/// A session to open.
#[derive(Debug, Clone)]
pub struct NewSession {
    pub id: SessionId,
    pub client_type: ClientType,
    pub salt: RefreshSalt,
    pub idle_ttl: Duration,
    pub absolute_ttl: Duration,
}

/// A session and its user, as they are after the operation.
#[derive(Debug, Clone)]
pub struct OpenedSession {
    pub user: User,
    pub session: Session,
    pub is_new_user: bool,
    /// The epoch below which every token is revoked.
    pub global_epoch: u64,
    /// Sessions ended by `single_per_client_type` or `max_sessions`.
    pub ended: Vec<SessionId>,
    /// The user that was joined to this one by the login, and what that ended.
    pub merged: Option<(UserId, RevocationOutcome)>,
}

/// One presented refresh token.
#[derive(Debug, Clone)]
pub struct Rotation {
    pub user: UserId,
    pub session: SessionId,
    /// The counter in the token.
    pub counter: u64,
    pub check: TokenCheck,
    /// How long after the last rotation the one before the present counter is replayed; `None`:
    /// until its successor is used.
    pub replay_window: Option<Duration>,
    pub idle_ttl: Duration,
    pub now: Timestamp,
}

/// One session to go on with.
#[derive(Debug, Clone)]
pub struct Renewal {
    pub user: UserId,
    pub session: SessionId,
    pub proof: RenewalProof,
    pub idle_ttl: Duration,
    pub now: Timestamp,
}

/// The proof with which a session is renewed.
#[derive(Debug, Clone)]
pub enum RenewalProof {
    /// The refresh token with this counter. Where the session has rotated since, two hold its
    /// tokens: it ends.
    RefreshToken { counter: u64, check: TokenCheck },
    /// An access token of the user and this session, which the caller has verified.
    AccessToken,
}

/// What became of a presented refresh token.
#[derive(Debug, Clone)]
pub enum RotationOutcome {
    /// It was the present one; its successor is `session.counter`.
    Rotated(Box<RenewedSession>),
    /// It was the one just before, and its successor (again `session.counter`) has not been used.
    Replayed(Box<RenewedSession>),
    /// Older than that: stolen, or the lost half of a theft. The session has been ended in this
    /// same step.
    Reused(UserId),
    /// Past its idle or absolute end.
    Expired,
    /// Revoked before.
    Revoked,
    /// The user is disabled.
    Disabled(UserId),
    /// No such session, or the token is not genuine.
    Unknown,
}

/// A session after a rotation, with its user as of now.
#[derive(Debug, Clone)]
pub struct RenewedSession {
    pub user: User,
    pub session: Session,
    pub global_epoch: u64,
}
