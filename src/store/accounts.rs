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
    /// The name is taken.
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

/// An identity by which an administrator looks a user up.
#[derive(Debug, Clone)]
pub enum UserIdentity {
    Phone(Phone),
    Username(Username),
    OpenId(AppId, OpenId),
}

impl UserIdentity {
    /// The kind of identity, as the audit log names it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Phone(_) => "phone",
            Self::Username(_) => "username",
            Self::OpenId(..) => "openid",
        }
    }
}

/// A user with all identities. Personal.
#[derive(Debug, Clone)]
pub struct Identities {
    pub user: User,
    pub openids: Vec<(AppId, OpenId)>,
    pub unionids: Vec<UnionId>,
}

/// What an id belongs to.
#[derive(Debug, Clone)]
pub enum UserLookup {
    /// It is a user's.
    Active(Box<Identities>),
    /// It was a user's, who was merged into another one or erased.
    Deleted {
        at: Timestamp,
        merged_into: Option<UserId>,
    },
    Unknown,
}

/// A change of a user's rights.
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
    /// For the caller's own memory, as in [`super::RevocationOutcome::entries`].
    pub entries: Vec<RevocationEntry>,
}

/// The WeChat identity of a session, and the keys of what its client encrypted.
#[derive(Debug, Clone)]
pub struct WechatSession {
    pub session: Session,
    pub app_id: AppId,
    pub openid: OpenId,
    /// The present `session_key` (base64 text), then the one before it while that still counts.
    pub session_keys: Vec<Secret<String>>,
}

/// How far the re-encryption of the store's records is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReencryptionProgress {
    /// Records looked at in this step.
    pub records: usize,
    /// Every record is under the newest key, and the old one is gone.
    pub finished: bool,
}
