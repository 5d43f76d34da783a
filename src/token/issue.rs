//! Signs access tokens.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use serde_json::{Map, Value};

use super::{
    claims::{
        AccessTokenOptions, AccessTokenPayload, Grant, MAX_LIFETIME, RefreshJwtPayload, TOKEN_USE,
    },
    keyrings::Keyrings,
};
use crate::{
    config::TokenConfig,
    entropy::{Entropy, NoEntropy},
    store::Session,
    types::Timestamp,
};

/// Signs access tokens with the newest key.
#[derive(Debug)]
pub struct Issuer {
    keyrings: Arc<Keyrings>,
    iss: String,
    aud: String,
    access_ttl: Duration,
    entropy: Entropy,
}

/// A signed access token.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessToken {
    /// The JWT. A credential: never logged.
    pub text: String,
    /// How long it is valid, from the `now` it was issued at; whole seconds, rounded down.
    pub expires_in: Duration,
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken")
            .field("text", &"***")
            .field("expires_in", &self.expires_in)
            .finish()
    }
}

/// Why no token was issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The session's absolute end has come.
    #[error("the session is over")]
    SessionOver,
    #[error(transparent)]
    NoEntropy(#[from] NoEntropy),
    /// Signing failed.
    #[error("the token could not be signed")]
    NotSigned,
}

impl Issuer {
    pub fn new(keyrings: Arc<Keyrings>, config: &TokenConfig, entropy: Entropy) -> Self {
        Self {
            keyrings,
            iss: config.issuer.clone(),
            aud: config.audience.clone(),
            access_ttl: config.access_ttl.get().min(MAX_LIFETIME),
            entropy,
        }
    }

    /// A token for this session, valid for the time of its options and never past the session's
    /// absolute end.
    pub fn access(
        &self,
        grant: &Grant<'_>,
        form: &AccessTokenOptions,
        now: Timestamp,
    ) -> Result<AccessToken, IssueError> {
        let Grant { user, session, .. } = grant;
        let ttl = form
            .ttl
            .map_or(self.access_ttl, |ttl| ttl.min(MAX_LIFETIME));
        let exp = now.plus(ttl).min(session.absolute_end).as_secs();
        // In whole seconds, as the claims count, so that `expires_in` agrees with the token.
        let life = exp.saturating_sub(now.as_secs());
        if life == 0 {
            return Err(IssueError::SessionOver);
        }
        let claims = AccessTokenPayload {
            iss: &self.iss,
            aud: &self.aud,
            sub: user.id.as_str(),
            sid: session.id,
            iat: now.as_secs(),
            exp,
            jti: Cow::Owned(URL_SAFE_NO_PAD.encode(self.entropy.bytes::<16>()?)),
            user_type: user.user_type.as_str(),
            roles: &user.roles,
            client_type: session.client_type,
            ep: user.epoch,
            gep: grant.global_epoch,
            token_use: TOKEN_USE,
            renewable: form.renewable,
            identity_claims: &form.identity_claims,
            extra: &form.claims,
        };
        let text = self
            .keyrings
            .current()
            .sign(&claims)
            .map_err(|_| IssueError::NotSigned)?;
        Ok(AccessToken {
            text,
            expires_in: Duration::from_secs(life),
        })
    }

    /// A refresh token inside a JWT that expires with its session, for clients that decode it.
    pub fn wrap_refresh_token(
        &self,
        token: &str,
        session: &Session,
        claims: &Map<String, Value>,
        now: Timestamp,
    ) -> Result<String, IssueError> {
        let claims = RefreshJwtPayload {
            iss: &self.iss,
            sub: session.user.as_str(),
            iat: now.as_secs(),
            exp: session.absolute_end.as_secs(),
            jti: token,
            token_use: "refresh",
            extra: claims,
        };
        self.keyrings
            .current()
            .sign_refresh(&claims)
            .map_err(|_| IssueError::NotSigned)
    }
}
