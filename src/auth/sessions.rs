//! The caller's own sessions.

use super::{Auth, AuthError, AuthenticatedCaller};
use crate::{
    audit::Event,
    store::{RevocationScope, Session},
    types::SessionId,
};

impl Auth {
    /// The caller's active sessions, newest login first.
    pub async fn sessions(
        &self,
        caller: AuthenticatedCaller<'_>,
    ) -> Result<Vec<Session>, AuthError> {
        Ok(self.parts.store.sessions(caller.user, self.now()).await?)
    }

    /// Ends one of the caller's own sessions; another user's session is `NoSession`, as one that
    /// does not exist.
    pub async fn end_session(
        &self,
        caller: AuthenticatedCaller<'_>,
        session: SessionId,
    ) -> Result<(), AuthError> {
        let user = caller.user;
        self.parts.limits.account(user)?;
        let what = RevocationScope::Session {
            user: user.clone(),
            session,
        };
        let revoked = self.parts.store.revoke(&what, self.now()).await?;
        let ended = self.apply_locally(&revoked, "session_ended");
        if ended == 0 {
            return Err(AuthError::NoSession);
        }
        self.parts.audit.record(&Event::LoggedOut {
            user,
            session,
            scope: "session",
            proof: "access_token",
            ended,
        });
        Ok(())
    }
}
