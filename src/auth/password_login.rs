//! Signing in with a name and a password.
//!
//! Must stay true: an unknown name, a wrong password and a disabled user with a wrong password are
//! one answer, for which the same work is done. Nobody is made by this: administrators are made by
//! operators.

use std::sync::Arc;

use super::{
    Auth, AuthError, SignedIn,
    login::Method,
    passwords::{self, Asker, Password, PasswordFault},
};
use crate::{
    dialect::TokenProfile,
    store::{LoginProof, StoreError},
    types::{ClientIp, ClientType, Username},
};

/// What a back office sends.
#[derive(Debug, Clone)]
pub struct PasswordLogin {
    pub username: Username,
    pub password: Password,
    pub client_type: ClientType,
    pub terms: Arc<TokenProfile>,
}

impl Auth {
    /// Signs in somebody who has a name.
    pub async fn password_login(
        &self,
        login: PasswordLogin,
        from: ClientIp,
    ) -> Result<SignedIn, AuthError> {
        let result = self.login_with_password(login, from).await;
        self.record_login(Method::Password, result.as_ref(), from);
        result
    }

    async fn login_with_password(
        &self,
        login: PasswordLogin,
        from: ClientIp,
    ) -> Result<SignedIn, AuthError> {
        let PasswordLogin {
            username,
            password,
            client_type,
            terms,
        } = login;
        let limits = &self.parts.limits;
        limits.admin_login(from)?;
        let is_known =
            self.parts
                .memory
                .known_networks
                .knows(&username, from, self.parts.clock.steady());
        let (is_counted, asker) = if is_known {
            (false, Asker::Known)
        } else {
            (true, Asker::Stranger)
        };
        // A guess is counted before it is compared, so parallel ones share one budget.
        if is_counted {
            limits.admin_account(&username)?;
        }
        let give_back = || {
            limits.give_back_admin_login(from);
            if is_counted {
                limits.give_back_admin_account(&username);
            }
        };

        // What was not compared was not wrong.
        let found = self
            .parts
            .store
            .credentials(&username)
            .await
            .inspect_err(|_| give_back())?;
        let hash = found.as_ref().map(|found| &found.password);
        let compared = self.parts.passwords.is_right(&password, hash, asker).await;
        let is_right = compared.inspect_err(|_| give_back())?;
        let (true, Some(credentials)) = (is_right, found) else {
            return Err(AuthError::CredentialsInvalid);
        };
        give_back();

        let now = self.now();
        let proof = LoginProof::Password(username.clone(), credentials);
        let new = self.new_login(proof, client_type, now)?;
        let signed_in = self
            .sign_in(&new, from, &terms, AuthError::CredentialsInvalid)
            .await?;
        self.parts
            .memory
            .known_networks
            .remember(&username, from, self.parts.clock.steady());
        Ok(signed_in)
    }
}

impl From<PasswordFault> for AuthError {
    fn from(fault: PasswordFault) -> Self {
        match fault {
            PasswordFault::Busy => Self::Limited(passwords::COME_BACK),
            PasswordFault::Unreadable => Self::Store(StoreError::Damaged(fault.to_string())),
            PasswordFault::Entropy(fault) => Self::Entropy(fault),
            PasswordFault::Failed => Self::Interrupted,
        }
    }
}
