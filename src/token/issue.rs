//! Signs access tokens.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{
    claims::{Grant, LONGEST_LIFE, TOKEN_USE, Written},
    keyrings::Keyrings,
};
use crate::{
    config::TokenConfig,
    entropy::{Entropy, NoEntropy},
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
    /// How long it is good for, from the `now` it was issued at; whole seconds, rounded down.
    pub expires_in: Duration,
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken").field("text", &"***").field("expires_in", &self.expires_in).finish()
    }
}

/// Why no token was issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The session's absolute end has come: there is no time left that a token could be good for.
    #[error("the session is over")]
    SessionOver,
    #[error(transparent)]
    NoEntropy(#[from] NoEntropy),
    /// The key did not sign.
    #[error("the token could not be signed")]
    NotSigned,
}

impl Issuer {
    pub fn new(keyrings: Arc<Keyrings>, config: &TokenConfig, entropy: Entropy) -> Self {
        Self {
            keyrings,
            iss: config.issuer.clone(),
            aud: config.audience.clone(),
            access_ttl: config.access_ttl.get().min(LONGEST_LIFE),
            entropy,
        }
    }

    /// A token for this session, good for `tokens.access_ttl` and never past the session's absolute end.
    pub fn access(&self, grant: &Grant<'_>, now: Timestamp) -> Result<AccessToken, IssueError> {
        let Grant { user, session, global_epoch } = grant;
        let exp = now.plus(self.access_ttl).min(session.absolute_end).as_secs();
        // From second to second, as the claims count: a client is told what the token says.
        let life = exp.saturating_sub(now.as_secs());
        if life == 0 {
            return Err(IssueError::SessionOver);
        }
        let claims = Written {
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
            gep: *global_epoch,
            token_use: TOKEN_USE,
        };
        let text = self.keyrings.current().sign(&claims).map_err(|_| IssueError::NotSigned)?;
        Ok(AccessToken { text, expires_in: Duration::from_secs(life) })
    }
}
