//! What the operations on whole accounts take and give: administrators, bans, look-ups, erasure.

use super::{RevocationEntry, Session, User};
use crate::types::{AppId, OpenId, Phone, Secret, Timestamp, UnionId, UserId, UserType, Username};

/// A user who signs in with a password, to be made.
#[derive(Debug, Clone)]
pub struct NewAccount {
    pub new_user: super::NewUserId,
    pub username: Username,
    pub password: PasswordHash,
    pub user_type: UserType,
    pub now: Timestamp,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccountOutcome {
    Created(Box<User>),
    /// Somebody has this name.
    UsernameTaken,
}

/// An argon2id hash in PHC string form (`$argon2id$v=19$...`).
#[derive(Debug, Clone)]
pub struct PasswordHash(pub Secret<String>);

/// What a password is checked against.
#[derive(Debug, Clone)]
pub struct Credentials {
    pub user: UserId,
    pub password: PasswordHash,
}

/// By what an administrator looks for a user.
#[derive(Debug, Clone)]
pub enum UserIdentity {
    Phone(Phone),
    Username(Username),
    OpenId(AppId, OpenId),
}

/// A user with all that leads to them. Personal.
#[derive(Debug, Clone)]
pub struct Identities {
    pub user: User,
    pub openids: Vec<(AppId, OpenId)>,
    pub unionids: Vec<UnionId>,
}

/// What has become of an id.
#[derive(Debug, Clone)]
pub enum UserLookup {
    /// It is a user's.
    Active(Box<Identities>),
    /// It was a user's, who was joined to another one or erased.
    Deleted {
        at: Timestamp,
        merged_into: Option<UserId>,
    },
    Unknown,
}

/// A change to somebody's rights.
#[derive(Debug, Clone)]
pub enum RightsChange {
    /// A disabled user neither signs in nor refreshes; all sessions end.
    Ban,
    Unban,
    /// Another kind. Access tokens of before are refused, so that it holds at once; sessions live
    /// on and refresh.
    UserType(UserType),
    /// Another password. All sessions end.
    Password(PasswordHash),
}

/// What became of it.
#[derive(Debug, Clone)]
pub struct RightsOutcome {
    pub user: User,
    /// How many sessions ended.
    pub ended: usize,
    /// For the caller's own memory, as in [`super::Revoked::entries`].
    pub entries: Vec<RevocationEntry>,
}

/// What WeChat knows a session by, and the keys for what its client encrypted.
#[derive(Debug, Clone)]
pub struct WechatSession {
    pub session: Session,
    pub app_id: AppId,
    pub openid: OpenId,
    /// The present `session_key` (base64 text), then the one before it while that still counts.
    pub session_keys: Vec<Secret<String>>,
}

/// How far the store's records have been sealed anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReencryptionProgress {
    /// Records looked at in this step.
    pub records: usize,
    /// Every record is under the newest key, and the old one is gone.
    pub finished: bool,
}
