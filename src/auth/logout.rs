//! Signing out: here, everywhere else, or everywhere.
//!
//! An access token, also an expired one, and a refresh token, also one that has been replaced, end
//! their own session. Only an access token that is good ends others.

use super::{Auth, AuthError, Caller};
use crate::{audit::Event, error::ErrorCode, store::Revoke, token::RefreshTokens};

/// Which of the user's sessions end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// This one.
    #[default]
    Local,
    /// All but this one.
    Others,
    /// All; also every access token made until now.
    Global,
}

impl Scope {
    /// As it stands in requests and in the audit log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Others => "others",
            Self::Global => "global",
        }
    }

    /// Reads what [`Scope::as_str`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Local, Self::Others, Self::Global]
            .into_iter()
            .find(|scope| scope.as_str() == text)
    }

    const fn reason(self) -> &'static str {
        match self {
            Self::Local => "logout",
            Self::Others => "logout_others",
            Self::Global => "logout_global",
        }
    }
}

/// By what a session is signed out of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignOutProof {
    AccessToken,
    /// Genuine, and its session has not been ended here.
    ExpiredAccessToken,
    RefreshToken,
}

impl SignOutProof {
    /// As it stands in the audit log.
    const fn as_str(self) -> &'static str {
        match self {
            Self::AccessToken => "access_token",
            Self::ExpiredAccessToken => "expired_access_token",
            Self::RefreshToken => "refresh_token",
        }
    }
}

impl Auth {
    /// Ends the sessions. Signing out of a session that has ended is no error.
    ///
    /// Signing out everywhere is not counted: it ends the token that asks for it, and whoever holds
    /// a stolen one must not be able to use up the owner's remedy.
    pub async fn logout(
        &self,
        caller: Caller<'_>,
        scope: Scope,
        proof: SignOutProof,
    ) -> Result<(), AuthError> {
        let (user, session) = (caller.user, caller.session);
        if scope != Scope::Local && proof == SignOutProof::ExpiredAccessToken {
            return Err(AuthError::TokenRefused(ErrorCode::TokenExpired));
        }
        // An old token that was found in a log must not use up what its owner may do.
        if scope != Scope::Global && proof != SignOutProof::ExpiredAccessToken {
            self.parts.limits.account(user)?;
        }
        let what = match scope {
            Scope::Local => Revoke::Session {
                user: user.clone(),
                session,
            },
            Scope::Others => Revoke::Others {
                user: user.clone(),
                keep: session,
            },
            Scope::Global => Revoke::User(user.clone()),
        };
        let revoked = self.parts.store.revoke(&what, self.now()).await?;
        let ended = self.bite(&revoked, scope.reason());
        if ended > 0 || proof != SignOutProof::ExpiredAccessToken {
            let (scope, proof) = (scope.as_str(), proof.as_str());
            self.parts.audit.record(&Event::LoggedOut {
                user,
                session,
                scope,
                proof,
                ended,
            });
        }
        Ok(())
    }

    /// Ends the session of a refresh token, whichever of its tokens it is. One that is not known
    /// ends nothing, which is no error (RFC 7009 section 2.2).
    pub async fn logout_by_refresh_token(&self, text: &str) -> Result<(), AuthError> {
        let Some(token) = RefreshTokens::parse_wrapped(text) else {
            return Ok(());
        };
        let id = match self.genuine(token).await {
            Ok(token) => token.session,
            Err(AuthError::RefreshInvalid) => return Ok(()),
            Err(fault) => return Err(fault),
        };
        let Some(session) = self.parts.store.session(id, self.now()).await? else {
            return Ok(());
        };
        let what = Revoke::Session {
            user: session.user.clone(),
            session: id,
        };
        let ended = self.bite(
            &self.parts.store.revoke(&what, self.now()).await?,
            Scope::Local.reason(),
        );
        let (scope, proof) = (Scope::Local.as_str(), SignOutProof::RefreshToken.as_str());
        self.parts.audit.record(&Event::LoggedOut {
            user: &session.user,
            session: id,
            scope,
            proof,
            ended,
        });
        Ok(())
    }
}
