//! Export and deletion of the caller's account.

use super::{Auth, AuthError, AuthenticatedCaller, ReauthenticationProof};
use crate::{
    audit::Event,
    store::{Identities, Session, UserLookup},
};

/// All data stored about a user, without credentials (session keys, password, token secrets).
#[derive(Debug)]
pub struct AccountExport {
    pub identities: Identities,
    pub sessions: Vec<Session>,
}

impl Auth {
    /// Exports all data stored about the caller.
    pub async fn export_account(
        &self,
        caller: AuthenticatedCaller<'_>,
    ) -> Result<AccountExport, AuthError> {
        let user = caller.user;
        self.parts.limits.account(user)?;
        let UserLookup::Active(identities) = self.parts.store.lookup_user(user).await? else {
            return Err(AuthError::UserGone);
        };
        if identities.user.disabled {
            return Err(AuthError::UserDisabled);
        }
        let sessions = self.parts.store.sessions(user, self.now()).await?;
        self.parts.audit.record(&Event::AccountExported {
            user,
            from: caller.from,
        });
        Ok(AccountExport {
            identities: *identities,
            sessions,
        })
    }

    /// Deletes the caller's account, after reauthentication.
    pub async fn erase_account(
        &self,
        caller: AuthenticatedCaller<'_>,
        proof: ReauthenticationProof,
    ) -> Result<(), AuthError> {
        let (user, session, from) = (caller.user, caller.session, caller.from);
        let erased = self.prove_and_erase(caller, proof).await;
        self.parts.audit.record(&match &erased {
            Ok(()) => Event::AccountErased { user, by: "user" },
            Err(error) => Event::AccountNotErased {
                user,
                session,
                reason: error.code().as_str(),
                from,
            },
        });
        erased
    }

    async fn prove_and_erase(
        &self,
        caller: AuthenticatedCaller<'_>,
        proof: ReauthenticationProof,
    ) -> Result<(), AuthError> {
        let user = caller.user;
        self.parts.limits.account(user)?;
        self.reauthenticate(caller, &proof).await?;
        // Only while the session is active: a logout, a ban, a deletion or a merge may have come in
        // between.
        let revoked = self
            .parts
            .store
            .erase_user(
                user,
                Some(caller.session),
                self.parts.rules.outbox,
                self.now(),
            )
            .await?;
        self.apply_locally(&revoked.ok_or(AuthError::UserGone)?, "erased");
        self.parts.outbox_dispatcher.wake();
        Ok(())
    }
}
