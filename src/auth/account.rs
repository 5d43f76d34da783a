//! Export and deletion of the caller's account.

use super::{Auth, AuthError, AuthenticatedCaller, ReauthenticationProof};
use crate::{
    audit::Event,
    error::ErrorCode,
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
        self.limits.account_per_user.check(user)?;
        let UserLookup::Active(identities) = self.store.lookup_user(user).await? else {
            return Err(ErrorCode::TokenRevoked.into());
        };
        if identities.user.disabled {
            return Err(ErrorCode::UserDisabled.into());
        }
        let sessions = self.store.sessions(user, self.now()).await?;
        self.audit.record(&Event::AccountExported {
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
        let erasure = async {
            self.limits.account_per_user.check(user)?;
            self.reauthenticate(caller, &proof).await?;
            // Only while the session is active: a logout, a ban, a deletion or a merge may have
            // come in between.
            let (outbox, now) = (self.rules.outbox, self.now());
            let revoked = self
                .store
                .erase_user(user, Some(session), outbox, now)
                .await?;
            self.apply_locally(&revoked.ok_or(ErrorCode::TokenRevoked)?, "erased");
            self.outbox_dispatcher.wake();
            Ok(())
        };
        let erased: Result<(), AuthError> = erasure.await;
        self.audit.record(&match &erased {
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
}
