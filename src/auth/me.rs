//! The caller's own profile.

use super::{Auth, AuthError, AuthenticatedCaller};
use crate::{
    audit::Event,
    error::ErrorCode,
    store::{ProfileChange, User},
};

impl Auth {
    /// The caller, as stored now.
    pub async fn me(&self, caller: AuthenticatedCaller<'_>) -> Result<User, AuthError> {
        let user = self.store.user(caller.user).await?;
        present(user)
    }

    /// Changes the caller's profile and returns the result. An empty change writes nothing.
    pub async fn change_profile(
        &self,
        caller: AuthenticatedCaller<'_>,
        change: &ProfileChange,
    ) -> Result<User, AuthError> {
        let user = caller.user;
        self.limits.account_per_user.check(user)?;
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
        let changed = present(self.store.update_profile(user, change, self.now()).await?)?;
        self.audit.record(&Event::ProfileChanged { user });
        Ok(changed)
    }
}

/// The user, if not disabled; the token of a deleted one is as good as revoked.
fn present(user: Option<User>) -> Result<User, AuthError> {
    match user {
        None => Err(ErrorCode::TokenRevoked.into()),
        Some(user) if user.disabled => Err(ErrorCode::UserDisabled.into()),
        Some(user) => Ok(user),
    }
}
