//! The caller's own profile.

use super::{Auth, AuthError, AuthenticatedCaller};
use crate::{
    audit::Event,
    store::{ProfileChange, User},
};

impl Auth {
    /// The caller, as stored now.
    pub async fn me(&self, caller: AuthenticatedCaller<'_>) -> Result<User, AuthError> {
        let user = self.parts.store.user(caller.user).await?;
        present(user)
    }

    /// Changes the caller's profile and returns the result. An empty change writes nothing.
    pub async fn change_profile(
        &self,
        caller: AuthenticatedCaller<'_>,
        change: &ProfileChange,
    ) -> Result<User, AuthError> {
        let user = caller.user;
        self.parts.limits.account(user)?;
        let ProfileChange {
            nickname,
            avatar_url,
            bio,
            birthday,
        } = change;
        if [nickname, avatar_url, bio, birthday]
            .into_iter()
            .all(Option::is_none)
        {
            return self.me(caller).await;
        }
        let changed = present(
            self.parts
                .store
                .update_profile(user, change, self.now())
                .await?,
        )?;
        self.parts.audit.record(&Event::ProfileChanged { user });
        Ok(changed)
    }
}

/// The user, if present and not disabled.
fn present(user: Option<User>) -> Result<User, AuthError> {
    match user {
        None => Err(AuthError::UserGone),
        Some(user) if user.disabled => Err(AuthError::UserDisabled),
        Some(user) => Ok(user),
    }
}
