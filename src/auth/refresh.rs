//! A new access token for a session, and the next refresh token.

use super::{Auth, AuthError, SignedIn};
use crate::{
    audit::Event,
    store::{RefreshSalt, Renewed, Rotation, RotationOutcome},
    token::{Grant, RefreshToken, RefreshTokens},
    types::{ClientIp, Timestamp},
};

/// Checked against where there is no session, so that a stranger cannot tell by time.
const NOBODY: RefreshSalt = RefreshSalt([0; 16]);

impl Auth {
    /// Takes a refresh token; gives its successor and an access token with the user's rights as of now.
    pub async fn refresh(&self, text: &str, from: ClientIp) -> Result<SignedIn, AuthError> {
        self.parts.limits.refresh(from)?;
        let now = self.now();
        let Some(token) = self.genuine(text).await? else {
            self.count_refresh("invalid");
            return Err(AuthError::RefreshInvalid);
        };
        let rotation = Rotation {
            session: token.session,
            counter: token.counter,
            replay_window: self.parts.rules.replay_window,
            idle_ttl: self.parts.rules.idle_ttl,
            now,
        };
        match self.parts.store.rotate(&rotation).await? {
            RotationOutcome::Rotated(renewed) => self.renewed(&renewed, "rotated", now),
            RotationOutcome::Replayed(renewed) => self.renewed(&renewed, "replayed", now),
            RotationOutcome::Reused(user) => {
                self.bite_sessions(&[token.session], "reuse", now);
                self.parts.audit.record(&Event::RefreshReused { user: &user, session: token.session, from });
                self.refused("reused", AuthError::RefreshReused)
            }
            RotationOutcome::Expired => self.refused("expired", AuthError::RefreshInvalid),
            RotationOutcome::Revoked => self.refused("revoked", AuthError::SessionRevoked),
            RotationOutcome::Disabled(_) => self.refused("disabled", AuthError::UserDisabled),
            RotationOutcome::Unknown => self.refused("invalid", AuthError::RefreshInvalid),
        }
    }

    /// The token, if we made it.
    async fn genuine(&self, text: &str) -> Result<Option<RefreshToken>, AuthError> {
        let Some(token) = RefreshTokens::parse(text) else {
            return Ok(None);
        };
        let salt = self.parts.store.refresh_salt(token.session).await?;
        let right = self.parts.refresh_tokens.check(&token, &salt.unwrap_or(NOBODY));
        Ok((right && salt.is_some()).then_some(token))
    }

    fn renewed(&self, renewed: &Renewed, result: &'static str, now: Timestamp) -> Result<SignedIn, AuthError> {
        self.count_refresh(result);
        let Renewed { user, session, global_epoch } = renewed;
        self.sign(&Grant { user, session, global_epoch: *global_epoch }, now)
    }

    fn refused(&self, result: &'static str, error: AuthError) -> Result<SignedIn, AuthError> {
        self.count_refresh(result);
        Err(error)
    }

    fn count_refresh(&self, result: &'static str) {
        self.parts.metrics.refresh.with_label_values(&[result]).inc();
    }
}
