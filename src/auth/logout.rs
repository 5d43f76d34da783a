//! Signing out: here, everywhere else, or everywhere.
//!
//! An access token, also an expired one, and a refresh token, also one that has been replaced, end
//! their own session. Only an access token that is good ends others.

use super::{Auth, AuthError, AuthenticatedCaller};
use crate::{audit::Event, error::ErrorCode, store::RevocationScope, token::RefreshTokens};

/// Which of the user's sessions end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = Scope)]
pub enum LogoutScope {
    /// This one.
    #[default]
    Local,
    /// All but this one.
    Others,
    /// All; also every access token made until now.
    Global,
}

impl LogoutScope {
    /// As it stands in requests and in the audit log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Others => "others",
            Self::Global => "global",
        }
    }

    /// Reads what [`LogoutScope::as_str`] writes.
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
pub enum LogoutProof {
    AccessToken,
    /// Genuine, and its session has not been ended here.
    ExpiredAccessToken,
    RefreshToken,
}

impl LogoutProof {
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
        caller: AuthenticatedCaller<'_>,
        scope: LogoutScope,
        proof: LogoutProof,
    ) -> Result<(), AuthError> {
        let (user, session) = (caller.user, caller.session);
        if scope != LogoutScope::Local && proof == LogoutProof::ExpiredAccessToken {
            return Err(AuthError::TokenRefused(ErrorCode::TokenExpired));
        }
        // An old token that was found in a log must not use up what its owner may do.
        if scope != LogoutScope::Global && proof != LogoutProof::ExpiredAccessToken {
            self.parts.limits.account(user)?;
        }
        let what = match scope {
            LogoutScope::Local => RevocationScope::Session {
                user: user.clone(),
                session,
            },
            LogoutScope::Others => RevocationScope::Others {
                user: user.clone(),
                keep: session,
            },
            LogoutScope::Global => RevocationScope::User(user.clone()),
        };
        let revoked = self.parts.store.revoke(&what, self.now()).await?;
        let ended = self.apply_locally(&revoked, scope.reason());
        if ended > 0 || proof != LogoutProof::ExpiredAccessToken {
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
        let id = match self.verify_refresh_token(token).await {
            Ok(token) => token.session,
            Err(AuthError::RefreshInvalid) => return Ok(()),
            Err(fault) => return Err(fault),
        };
        let Some(session) = self.parts.store.session(id, self.now()).await? else {
            return Ok(());
        };
        let what = RevocationScope::Session {
            user: session.user.clone(),
            session: id,
        };
        let ended = self.apply_locally(
            &self.parts.store.revoke(&what, self.now()).await?,
            LogoutScope::Local.reason(),
        );
        let (scope, proof) = (
            LogoutScope::Local.as_str(),
            LogoutProof::RefreshToken.as_str(),
        );
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
