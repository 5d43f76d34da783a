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
    error::ErrorCode,
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
        let result = self.login_with_password(&login, from).await;
        self.record_login(LoginMethod::Password, result.as_ref(), from);
        result
    }

    async fn login_with_password(
        &self,
        login: &PasswordLogin,
        from: ClientIp,
    ) -> Result<SignedIn, AuthError> {
        let PasswordLogin {
            username, password, ..
        } = login;
        let limits = &self.limits;
        limits.admin_login_per_ip.check(&from.network())?;
        let (known_networks, now) = (&self.memory.known_networks, self.clock.monotonic());
        let network = if known_networks.is_known(username, from, now) {
            ClientNetwork::Known
        } else {
            ClientNetwork::Unknown
        };
        let is_counted = network == ClientNetwork::Unknown;
        // A guess is counted before it is compared, so parallel ones share one budget.
        if is_counted {
            limits.admin_login_per_account.check(username)?;
        }
        let refund = || {
            limits.admin_login_per_ip.refund(&from.network());
            if is_counted {
                limits.admin_login_per_account.refund(username);
            }
        };

        // A password that was not compared was not wrong.
        let found = self
            .store
            .credentials(username)
            .await
            .inspect_err(|_| refund())?;
        let hash = found.as_ref().map(|found| &found.password);
        let compared = self.passwords.verify(password, hash, network).await;
        let is_right = compared.inspect_err(|_| refund())?;
        let (true, Some(credentials)) = (is_right, found) else {
            return Err(ErrorCode::CredentialsInvalid.into());
        };
        refund();

        let now = self.now();
        let proof = LoginProof::Password(username.clone(), credentials);
        let new = self.new_login(proof, login.client_type, now)?;
        let signed_in = self.sign_in(&new, None, from, &login.token_profile).await?;
        self.memory
            .known_networks
            .remember(username, from, self.clock.monotonic());
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
