//! `[auth]` and `[users]`: the routes that menshen answers itself, and the users that they make.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{HumanDuration, Problems};

/// The routes that menshen answers itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AuthConfig {
    /// The prefix of their paths. Nothing below it reaches the backend.
    pub prefix: String,
    /// `open`: a first login creates a user. `closed`: only existing users can sign in
    /// (`registration_closed`).
    pub registration: Registration,
    /// One session for each client type: a new login ends the older one of its kind.
    pub single_session_per_client_type: bool,
    /// Most sessions of one user. One more login ends the least recently used session.
    #[schemars(range(min = 1, max = 100))]
    pub max_sessions: usize,
    /// Put the `openid` into the user of a response. Off: it is personal, and clients do not need
    /// it.
    pub openid_in_answers: bool,
    /// How old a login may be to bind or remove a phone, or to delete the account, with its token
    /// alone. An older session needs a code as well (`reauthentication_required`), so that a stolen
    /// token cannot do these things for long. The phone number button needs no further code: its
    /// own proves the person.
    #[schemars(extend("minimum" = "0s", "maximum" = "90d"))]
    pub recent_login: HumanDuration,
}

impl AuthConfig {
    pub(super) fn check(&self, problems: &mut Problems) {
        let plain = |segment: &str| {
            !segment.is_empty()
                && segment
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        };
        // Letters, digits and few signs: every server reads such a path in one way.
        if !self
            .prefix
            .strip_prefix('/')
            .is_some_and(|rest| rest.split('/').all(plain))
        {
            problems.add(
                "auth.prefix",
                format!(
                    "{:?} is not a plain path: write it like /auth or /api/auth, of letters, digits, - and _",
                    self.prefix
                ),
            );
        }
    }
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            prefix: "/auth".to_owned(),
            registration: Registration::Open,
            single_session_per_client_type: false,
            max_sessions: 20,
            openid_in_answers: false,
            recent_login: HumanDuration::minutes(10),
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

/// New users, and users who turn out to be one person.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UsersConfig {
    /// What a new user's id is: a `uuid` (version 7), or an `integer` that counts up.
    pub ids: UserIds,
    /// The first integer that menshen gives, when `ids = "integer"`: above all ids that the backend
    /// has or ever will have, because a new user with the id of one of its rows would be that user.
    /// Unset: 1. Required where the backend is asked for ids (`hooks.created = "ask"`): its ids
    /// must be below.
    #[schemars(example = &1_000_000)]
    pub first_integer: Option<u64>,
    /// What happens when two users turn out to be one person: `never` merges no users (another
    /// user's phone is `phone_conflict`); `proven` merges them when one request proves both sides.
    /// The older user stays, with the identities of both, and of two phones with the one just
    /// proven; the other user's sessions end, and its id is never used again. The backend has to
    /// move its data of that id.
    pub merge: Merge,
}

/// Whether two users may become one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Merge {
    #[default]
    Never,
    Proven,
}

impl UsersConfig {
    pub(super) fn check(&self, problems: &mut Problems) {
        if self.first_integer == Some(0) {
            problems.add("users.first_integer", "is 0: ids start at 1 or above");
        }
    }

    /// The first integer that is given; `None`: ids are UUIDs.
    pub fn first_generated_id(&self) -> Option<u64> {
        match self.ids {
            UserIds::Uuid => None,
            UserIds::Integer => Some(self.first_integer.unwrap_or(1)),
        }
    }
}

/// The kind of a new user's id.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum UserIds {
    #[default]
    Uuid,
    Integer,
}
