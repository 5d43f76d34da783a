//! Renewal: a new access token for a session, and the next refresh token.

use super::{Auth, AuthError, SignedIn, count, renewal_attempt::RenewalAttempt};
use crate::{
    audit::Event,
    dialect::TokenProfile,
    error::ErrorCode,
    store::{RefreshSalt, Renewal, RenewalProof, RenewedSession, Rotation, RotationOutcome},
    token::{AccessClaims, Grant, RefreshToken, RefreshTokens},
    types::{ClientIp, SessionId, Timestamp},
};

/// Salt for a session that does not exist, so that the time does not tell.
pub(super) const DECOY_SALT: RefreshSalt = RefreshSalt([0; 16]);

/// A request with a refresh token.
#[derive(Debug, Clone, Copy)]
pub struct Refresh<'a> {
    /// The token, or a JWT with it inside.
    pub token: &'a str,
    /// Whether it is replaced by its successor. Not for a client that keeps its first one for good.
    pub rotates: bool,
    pub token_profile: &'a TokenProfile,
}

impl Auth {
    /// Issues an access token with the user's present rights for a refresh token, and the successor
    /// of the refresh token if it rotates.
    pub async fn refresh(
        &self,
        refresh: Refresh<'_>,
        from: ClientIp,
    ) -> Result<SignedIn, AuthError> {
        let attempt = self.renewal_attempt(from);
        // A malformed token costs nothing to reject, so it waits for nothing.
        let parsed = RefreshTokens::parse_wrapped(refresh.token).ok_or(AuthError::RefreshInvalid);
        let proven = match parsed {
            Ok(token) => attempt.prove(self.verify_refresh_token(token)).await,
            Err(error) => Err(attempt.reject(error)),
        };
        let token = proven.inspect_err(|error| {
            if matches!(error, AuthError::RefreshInvalid) {
                self.count_refresh("invalid");
            }
        })?;
        attempt.count_in_session(token.session)?;
        let result = self.refresh_session(&token, refresh, from).await;
        attempt.finish(result.as_ref().err());
        result
    }

    async fn refresh_session(
        &self,
        token: &RefreshToken,
        refresh: Refresh<'_>,
        from: ClientIp,
    ) -> Result<SignedIn, AuthError> {
        let now = self.now();
        let RefreshToken {
            session, counter, ..
        } = *token;
        let (replay_window, idle_ttl) = (self.parts.rules.replay_window, self.parts.rules.idle_ttl);
        let outcome = if refresh.rotates {
            self.parts
                .store
                .rotate(&Rotation {
                    session,
                    counter,
                    replay_window,
                    idle_ttl,
                    now,
                })
                .await?
        } else {
            let proof = RenewalProof::RefreshToken { counter };
            self.parts
                .store
                .renew(&Renewal {
                    session,
                    proof,
                    idle_ttl,
                    now,
                })
                .await?
        };
        let rotated = if refresh.rotates { "rotated" } else { "kept" };
        self.finish_refresh(outcome, session, rotated, refresh.token_profile, from, now)
            .await
    }

    /// Issues an access token for one that may have expired, while its session is active. `check`
    /// gives the claims of the old one, or its rejection.
    pub async fn renew(
        &self,
        check: impl FnOnce() -> Result<AccessClaims, ErrorCode> + Send,
        token_profile: &TokenProfile,
        from: ClientIp,
    ) -> Result<SignedIn, AuthError> {
        let attempt = self.renewal_attempt(from);
        let claims = attempt
            .prove(async { check().map_err(AuthError::TokenRefused) })
            .await?;
        attempt.count_in_session(claims.sid)?;
        let result = self.renew_session(&claims, token_profile, from).await;
        attempt.finish(result.as_ref().err());
        result
    }

    async fn renew_session(
        &self,
        claims: &AccessClaims,
        token_profile: &TokenProfile,
        from: ClientIp,
    ) -> Result<SignedIn, AuthError> {
        let now = self.now();
        let proof = RenewalProof::AccessToken {
            user: claims.sub.clone(),
        };
        let renewal = Renewal {
            session: claims.sid,
            proof,
            idle_ttl: self.parts.rules.idle_ttl,
            now,
        };
        let outcome = self.parts.store.renew(&renewal).await?;
        self.finish_refresh(outcome, claims.sid, "kept", token_profile, from, now)
            .await
    }

    async fn finish_refresh(
        &self,
        outcome: RotationOutcome,
        session: SessionId,
        rotated: &'static str,
        token_profile: &TokenProfile,
        from: ClientIp,
        now: Timestamp,
    ) -> Result<SignedIn, AuthError> {
        match outcome {
            RotationOutcome::Rotated(renewed) => {
                self.sign_renewed(&renewed, rotated, token_profile, now)
                    .await
            }
            RotationOutcome::Replayed(renewed) => {
                self.sign_renewed(&renewed, "replayed", token_profile, now)
                    .await
            }
            RotationOutcome::Reused(user) => {
                self.apply_ended_sessions(&[session], "reuse", now);
                self.parts.audit.record(&Event::RefreshReused {
                    user: &user,
                    session,
                    from,
                });
                self.reject_refresh("reused", AuthError::RefreshReused)
            }
            RotationOutcome::Expired => self.reject_refresh("expired", AuthError::RefreshExpired),
            RotationOutcome::Revoked => self.reject_refresh("revoked", AuthError::SessionRevoked),
            RotationOutcome::Disabled(_) => {
                self.reject_refresh("disabled", AuthError::UserDisabled)
            }
            RotationOutcome::Unknown => self.reject_refresh("invalid", AuthError::RefreshInvalid),
        }
    }

    fn renewal_attempt(&self, from: ClientIp) -> RenewalAttempt<'_> {
        RenewalAttempt::begin(
            &self.parts.limits,
            &self.parts.memory.renewals_over_limit,
            from,
        )
    }

    /// The token, if its MAC is right.
    pub(super) async fn verify_refresh_token(
        &self,
        token: RefreshToken,
    ) -> Result<RefreshToken, AuthError> {
        let salt = self.parts.store.refresh_salt(token.session).await?;
        let right = self
            .parts
            .refresh_tokens
            .check(&token, &salt.unwrap_or(DECOY_SALT));
        if right && salt.is_some() {
            Ok(token)
        } else {
            Err(AuthError::RefreshInvalid)
        }
    }

    async fn sign_renewed(
        &self,
        renewed: &RenewedSession,
        result: &'static str,
        token_profile: &TokenProfile,
        now: Timestamp,
    ) -> Result<SignedIn, AuthError> {
        self.count_refresh(result);
        let RenewedSession {
            user,
            session,
            global_epoch,
        } = renewed;
        let openid = self.openid_for(session.id, token_profile).await?;
        self.sign(
            &Grant {
                user,
                session,
                global_epoch: *global_epoch,
            },
            openid,
            token_profile,
            now,
        )
        .await
    }

    fn reject_refresh(
        &self,
        result: &'static str,
        error: AuthError,
    ) -> Result<SignedIn, AuthError> {
        self.count_refresh(result);
        Err(error)
    }

    fn count_refresh(&self, result: &'static str) {
        count(&self.parts.metrics.refresh, &[result]);
    }
}
