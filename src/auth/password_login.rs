//! Login with a name and a password.
//!
//! Must stay true: an unknown name, a wrong password and a disabled user with a wrong password get
//! the same response after the same work. No user is made here: operators make administrators.

use std::sync::Arc;

use super::{
    Auth, AuthError, SignedIn,
    login::LoginMethod,
    passwords::{self, ClientNetwork, Password, PasswordError},
};
use crate::{
    dialect::TokenProfile,
    store::{LoginProof, StoreError},
    types::{ClientIp, ClientType, Username},
};

/// The request of a back office.
#[derive(Debug, Clone)]
pub struct PasswordLogin {
    pub username: Username,
    pub password: Password,
    pub client_type: ClientType,
    pub token_profile: Arc<TokenProfile>,
}

impl Auth {
    /// Logs in a user who has a name.
    pub async fn password_login(
        &self,
        login: PasswordLogin,
        from: ClientIp,
    ) -> Result<SignedIn, AuthError> {
        let result = self.login_with_password(login, from).await;
        self.record_login(LoginMethod::Password, result.as_ref(), from);
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
            token_profile,
        } = login;
        let limits = &self.parts.limits;
        limits.admin_login(from)?;
        let is_known = self.parts.memory.known_networks.is_known(
            &username,
            from,
            self.parts.clock.monotonic(),
        );
        let (is_counted, network) = if is_known {
            (false, ClientNetwork::Known)
        } else {
            (true, ClientNetwork::Unknown)
        };
        // A guess is counted before it is compared, so parallel ones share one budget.
        if is_counted {
            limits.admin_account(&username)?;
        }
        let refund = || {
            limits.refund_admin_login(from);
            if is_counted {
                limits.refund_admin_account(&username);
            }
        };

        // A password that was not compared was not wrong.
        let found = self
            .parts
            .store
            .credentials(&username)
            .await
            .inspect_err(|_| refund())?;
        let hash = found.as_ref().map(|found| &found.password);
        let compared = self.parts.passwords.verify(&password, hash, network).await;
        let is_right = compared.inspect_err(|_| refund())?;
        let (true, Some(credentials)) = (is_right, found) else {
            return Err(AuthError::CredentialsInvalid);
        };
        refund();

        let now = self.now();
        let proof = LoginProof::Password(username.clone(), credentials);
        let new = self.new_login(proof, client_type, now)?;
        let signed_in = self
            .sign_in(&new, from, &token_profile, AuthError::CredentialsInvalid)
            .await?;
        self.parts
            .memory
            .known_networks
            .remember(&username, from, self.parts.clock.monotonic());
        Ok(signed_in)
    }
}

impl From<PasswordError> for AuthError {
    fn from(fault: PasswordError) -> Self {
        match fault {
            PasswordError::Busy => Self::Limited(passwords::RETRY_AFTER),
            PasswordError::Unreadable => Self::Store(StoreError::Damaged(fault.to_string())),
            PasswordError::Entropy(fault) => Self::Entropy(fault),
            PasswordError::Failed => Self::Interrupted,
        }
    }
}
