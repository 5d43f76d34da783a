//! A user, and what users say of themselves.

use serde::{Deserialize, Serialize};

use super::UnknownFields;
use crate::types::{ExtraClaims, Phone, Timestamp, UserId, UserType, Username};

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    pub id: UserId,
    pub user_type: UserType,
    pub roles: Vec<String>,
    /// Access tokens with a lower `ep` are revoked.
    pub epoch: u64,
    /// A disabled user neither signs in nor refreshes.
    pub disabled: bool,
    pub profile: Profile,
    /// Proven by a code or by WeChat.
    pub phone: Option<Phone>,
    /// Of an administrator who signs in with a password.
    pub username: Option<Username>,
    /// What the backend wants the tokens to say besides.
    #[serde(default, skip_serializing_if = "ExtraClaims::is_empty")]
    pub claims: ExtraClaims,
    pub created_at: Timestamp,
    pub last_login_at: Timestamp,
    #[serde(flatten)]
    pub unknown: UnknownFields,
}

/// What a user says of themselves. Personal: sealed at rest, never logged.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Profile {
    pub nickname: Option<String>,
    pub avatar_url: Option<String>,
    pub bio: Option<String>,
    /// `YYYY-MM-DD`.
    pub birthday: Option<String>,
    #[serde(flatten)]
    pub unknown: UnknownFields,
}

impl std::fmt::Debug for Profile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Profile(***)")
    }
}

/// A change of a profile: the outer `None` leaves a field as it is, the inner one clears it.
#[derive(Clone, Default)]
pub struct ProfileChange {
    pub nickname: Option<Option<String>>,
    pub avatar_url: Option<Option<String>>,
    pub bio: Option<Option<String>>,
    pub birthday: Option<Option<String>>,
}

impl std::fmt::Debug for ProfileChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ProfileChange(***)")
    }
}

/// Where a new user's id comes from.
#[derive(Debug, Clone)]
pub enum NewUserId {
    /// This one, made by the caller.
    Generated(UserId),
    /// The store's next integer, starting at this one.
    NextInteger { first: u64 },
    /// This one, which the backend chose. Where it is taken, no user is created:
    /// [`IdTaken`](super::LoginOutcome::IdTaken).
    FromBackend(UserId),
    /// None yet: the identity is proven, and no user is made
    /// ([`UnknownUser`](super::LoginOutcome::UnknownUser)).
    Pending,
}
