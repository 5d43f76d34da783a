//! My devices.

use super::{Auth, AuthError, AuthenticatedCaller};
use crate::{
    audit::Event,
    store::{RevocationScope, Session},
    types::SessionId,
};

impl Auth {
    /// The caller's living sessions, newest login first.
    pub async fn sessions(
        &self,
        caller: AuthenticatedCaller<'_>,
    ) -> Result<Vec<Session>, AuthError> {
        Ok(self.parts.store.sessions(caller.user, self.now()).await?)
    }

    /// Signs one of the caller's own sessions out; of anybody else's the answer is the same as of
    /// none.
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
