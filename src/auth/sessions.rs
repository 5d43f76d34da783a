//! The caller's own sessions.

use super::{Auth, AuthError, AuthenticatedCaller};
use crate::{
    audit::Event,
    error::ErrorCode,
    store::{RevocationScope, Session},
    types::SessionId,
};

impl Auth {
    /// The caller's active sessions, newest login first.
    pub async fn sessions(
        &self,
        caller: AuthenticatedCaller<'_>,
    ) -> Result<Vec<Session>, AuthError> {
        Ok(self.store.sessions(caller.user, self.now()).await?)
    }

    /// Ends one of the caller's own sessions; another user's session is `NoSession`, as one that
    /// does not exist.
    pub async fn end_session(
        &self,
        caller: AuthenticatedCaller<'_>,
        session: SessionId,
    ) -> Result<(), AuthError> {
        let user = caller.user;
        self.limits.account_per_user.check(user)?;
        let what = RevocationScope::Session {
            user: user.clone(),
            session,
        };
        let ended = self.revoke(&what, "session_ended").await?;
        if ended == 0 {
            return Err(ErrorCode::NotFound.into());
        }
        self.audit.record(&Event::LoggedOut {
            user,
            session,
            scope: "session",
            proof: "access_token",
            ended,
        });
        Ok(())
    }
}
