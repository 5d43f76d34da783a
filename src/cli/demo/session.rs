//! What menshen answers to a login or a refresh.

use serde::Deserialize;

/// The response to a login or a refresh.
#[derive(Clone, Deserialize)]
pub(super) struct DemoSession {
    pub(super) access_token: String,
    /// Seconds.
    pub(super) expires_in: u64,
    pub(super) refresh_token: String,
    pub(super) is_new_user: bool,
    pub(super) user: DemoUser,
}

#[derive(Clone, Deserialize)]
pub(super) struct DemoUser {
    pub(super) id: String,
}

impl DemoSession {
    /// Whether no field is empty.
    pub(super) fn is_complete(&self) -> bool {
        [&self.access_token, &self.refresh_token, &self.user.id]
            .iter()
            .all(|part| !part.is_empty())
    }
}
