//! Renewal: a new access token for a session, and the next refresh token.

use std::sync::{Arc, OnceLock};

use super::{
    Auth, AuthError, SignedIn, count, limits::RateLimited, renewal_attempt::RenewalAttempt,
};
use crate::{
    audit::Event,
    dialect::TokenProfile,
    error::ErrorCode,
    store::{
        Renewal, RenewalProof, RenewedSession, Rotation, RotationOutcome, StoreError, TokenCheck,
    },
    token::{AccessClaims, Grant, RefreshToken, RefreshTokens},
    types::{ClientIp, SessionId, Timestamp, UserId},
};

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
        let now = self.now();
        let proven = match parsed {
            Ok(token) => {
                let session = token.session;
                let presented = self.present(token, refresh.rotates, now);
                let outcome = attempt.prove(presented).await;
                outcome.map(|outcome| (session, outcome))
            }
            Err(error) => Err(attempt.reject(error)),
        };
        let (session, outcome) = proven.inspect_err(|error| {
            if matches!(error, AuthError::Rejected(ErrorCode::RefreshInvalid)) {
                self.count_refresh("invalid");
            }
        })?;
        // Over the limit of its session a renewal stays counted against its address.
        let outcome = outcome?;
        let label = if refresh.rotates { "rotated" } else { "kept" };
        let profile = refresh.token_profile;
        self.finish_renewal(&attempt, session, label, profile, now, Ok(outcome))
            .await
    }

    /// Presents a token to the store, which finds out whether it is genuine in the same step. The limit
    /// of its session is taken once it is, before anything is changed; `Ok(Err(_))`: it was over.
    async fn present(
        &self,
        token: RefreshToken,
        rotates: bool,
        now: Timestamp,
    ) -> Result<Result<RotationOutcome, RateLimited>, AuthError> {
        let (user, session, counter) = (token.user.clone(), token.session, token.counter);
        let within_limit = Arc::new(OnceLock::new());
        let (tokens, limits) = (self.refresh_tokens.clone(), self.limits.clone());
        let limit = within_limit.clone();
        let check = TokenCheck::new(move |salt| {
            let limit_of_session = || limits.refresh_per_session.check(&session);
            tokens.check(&token, salt) && limit.get_or_init(limit_of_session).is_ok()
        });
        let (replay_window, idle_ttl) = (self.rules.replay_window, self.rules.idle_ttl);
        let outcome = if rotates {
            let rotation = Rotation {
                user,
                session,
                counter,
                check,
                replay_window,
                idle_ttl,
                now,
            };
            self.store.rotate(&rotation).await?
        } else {
            let proof = RenewalProof::RefreshToken { counter, check };
            self.renew_session(user, session, proof, now).await?
        };
        match (within_limit.get(), outcome) {
            (None, _) => Err(ErrorCode::RefreshInvalid.into()),
            (Some(Err(limited)), _) => Ok(Err(*limited)),
            (Some(Ok(())), outcome) => Ok(Ok(outcome)),
        }
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
        attempt.count_in_session(session)?;
        let outcome = self
            .renew_session(claims.sub, session, RenewalProof::AccessToken, now)
            .await;
        self.finish_renewal(&attempt, session, "kept", token_profile, now, outcome)
            .await
    }

    /// Renews a session whose refresh token stays the same.
    async fn renew_session(
        &self,
        user: UserId,
        session: SessionId,
        proof: RenewalProof,
        now: Timestamp,
    ) -> Result<RotationOutcome, StoreError> {
        let idle_ttl = self.rules.idle_ttl;
        self.store
            .renew(&Renewal {
                user,
                session,
                proof,
                idle_ttl,
                now,
            })
            .await
    }

    /// Signs the new tokens of a session, or says why it was not renewed.
    async fn finish_renewal(
        &self,
        attempt: &RenewalAttempt<'_>,
        session: SessionId,
        renewed: &'static str,
        token_profile: &TokenProfile,
        now: Timestamp,
        outcome: Result<RotationOutcome, StoreError>,
    ) -> Result<SignedIn, AuthError> {
        let result = async {
            let (label, renewed) = match outcome? {
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
            let openid = self.openid_for(&user.id, session.id, token_profile).await?;
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

    fn count_refresh(&self, result: &'static str) {
        count(&self.metrics.refresh, &[result]);
    }
}
