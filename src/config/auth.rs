//! `[auth]` and `[users]`: the routes that menshen answers itself, and the users that they make.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The routes that menshen answers itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AuthConfig {
    /// Where they start. Nothing under it reaches the backend.
    pub prefix: String,
    /// `open`: a first login makes a user. `closed`: only users who exist may sign in (`registration_closed`).
    pub registration: Registration,
    /// One session for each client type: a new login ends the older one of its kind.
    pub single_session_per_client_type: bool,
    /// Put the `openid` into the user of an answer. Off: it is personal, and clients have no use for it.
    pub openid_in_answers: bool,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            prefix: "/auth".to_owned(),
            registration: Registration::Open,
            single_session_per_client_type: false,
            openid_in_answers: false,
        }
    }
}

/// Whether a stranger's first login makes a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Registration {
    Open,
    Closed,
}

/// The users that logins make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UsersConfig {
    /// What a new user's id is: a `uuid` (version 7), or an `integer` that counts up.
    pub ids: UserIds,
    /// The first integer given, when `ids = "integer"`: above the backend's own last one.
    pub first_integer: u64,
}

impl Default for UsersConfig {
    fn default() -> Self {
        Self { ids: UserIds::Uuid, first_integer: 1 }
    }
}

/// The kind of a new user's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum UserIds {
    Uuid,
    Integer,
}
