//! The result of a login or a renewal.

use std::time::Duration;

use crate::{
    error::ErrorCode,
    store::{Session, User},
    types::OpenId,
};

/// A session and the tokens for it.
pub struct SignedIn {
    pub user: User,
    pub session: Session,
    pub is_new_user: bool,
    /// The login brought a phone that was not bound; why.
    pub phone_error: Option<ErrorCode>,
    /// After a WeChat login, and where the token profile uses it.
    pub openid: Option<OpenId>,
    pub access_token: String,
    pub access_expires_in: Duration,
    pub refresh_token: String,
    /// The refresh token inside a JWT, where the token profile has one.
    pub refresh_jwt: Option<String>,
    pub refresh_expires_in: Duration,
}

/// Prints no token.
impl std::fmt::Debug for SignedIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignedIn")
            .field("session", &self.session.id)
            .finish_non_exhaustive()
    }
}
