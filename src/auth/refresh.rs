//! Renewal: a new access token for a session, and the next refresh token.

use super::{Auth, AuthError, SignedIn, count, renewal_attempt::RenewalAttempt};
use crate::{
    audit::Event,
    dialect::TokenProfile,
    error::ErrorCode,
    store::{
        RefreshSalt, Renewal, RenewalProof, RenewedSession, Rotation, RotationOutcome, StoreError,
    },
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
    /// Whether it is replaced by its successor. Not for a client that always keeps its first one.
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
        let parsed = RefreshTokens::parse_wrapped(refresh.token)
            .ok_or(AuthError::Rejected(ErrorCode::RefreshInvalid));
        let proven = match parsed {
            Ok(token) => attempt.prove(self.verify_refresh_token(token)).await,
            Err(error) => Err(attempt.reject(error)),
        };
        let token = proven.inspect_err(|error| {
            if matches!(error, AuthError::Rejected(ErrorCode::RefreshInvalid)) {
                self.count_refresh("invalid");
            }
        })?;
        let RefreshToken {
            session, counter, ..
        } = token;
        let (now, rules) = (self.now(), &self.rules);
        let (replay_window, idle_ttl) = (rules.replay_window, rules.idle_ttl);
        let proof = RenewalProof::RefreshToken { counter };
        let outcome = async {
            if !refresh.rotates {
                return self.renew_session(session, proof, now).await;
            }
            let rotation = Rotation {
                session,
                counter,
                replay_window,
                idle_ttl,
                now,
            };
            self.store.rotate(&rotation).await
        };
        let label = if refresh.rotates { "rotated" } else { "kept" };
        let profile = refresh.token_profile;
        self.finish_renewal(&attempt, session, label, profile, now, outcome)
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
            .prove(async { check().map_err(AuthError::Rejected) })
            .await?;
        let (session, now) = (claims.sid, self.now());
        let outcome =
            self.renew_session(session, RenewalProof::AccessToken { user: claims.sub }, now);
        self.finish_renewal(&attempt, session, "kept", token_profile, now, outcome)
            .await
    }

    /// Renews a session whose refresh token stays the same.
    async fn renew_session(
        &self,
        session: SessionId,
        proof: RenewalProof,
        now: Timestamp,
    ) -> Result<RotationOutcome, StoreError> {
        let idle_ttl = self.rules.idle_ttl;
        self.store
            .renew(&Renewal {
                session,
                proof,
                idle_ttl,
                now,
            })
            .await
    }

    /// Renews the session that the token has proven, within its limit, and signs the new tokens.
    async fn finish_renewal(
        &self,
        attempt: &RenewalAttempt<'_>,
        session: SessionId,
        renewed: &'static str,
        token_profile: &TokenProfile,
        now: Timestamp,
        outcome: impl Future<Output = Result<RotationOutcome, StoreError>>,
    ) -> Result<SignedIn, AuthError> {
        attempt.count_in_session(session)?;
        let result = async {
            let (label, renewed) = match outcome.await? {
                RotationOutcome::Rotated(session) => (renewed, Ok(session)),
                RotationOutcome::Replayed(session) => ("replayed", Ok(session)),
                RotationOutcome::Reused(user) => {
                    self.apply_ended_sessions(&[session], "reuse", now);
                    self.audit.record(&Event::RefreshReused {
                        user: &user,
                        session,
                        from: attempt.from,
                    });
                    ("reused", Err(ErrorCode::RefreshReused.into()))
                }
                RotationOutcome::Expired => ("expired", Err(AuthError::RefreshExpired)),
                RotationOutcome::Revoked => ("revoked", Err(ErrorCode::SessionRevoked.into())),
                RotationOutcome::Disabled(_) => ("disabled", Err(ErrorCode::UserDisabled.into())),
                RotationOutcome::Unknown => ("invalid", Err(ErrorCode::RefreshInvalid.into())),
            };
            self.count_refresh(label);
            let RenewedSession {
                user,
                session,
                global_epoch,
            } = *renewed?;
            let openid = self.openid_for(session.id, token_profile).await?;
            let grant = Grant {
                user: &user,
                session: &session,
                global_epoch,
            };
            self.sign(&grant, openid, token_profile, now).await
        };
        let result = result.await;
        attempt.finish(result.as_ref().err());
        result
    }

    fn renewal_attempt(&self, from: ClientIp) -> RenewalAttempt<'_> {
        RenewalAttempt::begin(&self.limits, &self.memory.renewals_over_limit, from)
    }

    /// The token, if its MAC is right.
    pub(super) async fn verify_refresh_token(
        &self,
        token: RefreshToken,
    ) -> Result<RefreshToken, AuthError> {
        let salt = self.store.refresh_salt(token.session).await?;
        let right = self
            .refresh_tokens
            .check(&token, &salt.unwrap_or(DECOY_SALT));
        if right && salt.is_some() {
            Ok(token)
        } else {
            Err(ErrorCode::RefreshInvalid.into())
        }
    }

    fn count_refresh(&self, result: &'static str) {
        count(&self.metrics.refresh, &[result]);
    }
}
