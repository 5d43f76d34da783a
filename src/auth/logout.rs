//! Logout: of this session, of the others, or of all.
//!
//! An access token, also an expired one, and a refresh token, also a rotated one, end their own
//! session. Only a valid access token ends others.

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
    /// Its name in requests and in the audit log.
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

/// The proof of a logout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogoutProof {
    AccessToken,
    /// Genuine, and its session has not been ended here.
    ExpiredAccessToken,
    RefreshToken,
}

impl LogoutProof {
    /// Its name in the audit log.
    const fn as_str(self) -> &'static str {
        match self {
            Self::AccessToken => "access_token",
            Self::ExpiredAccessToken => "expired_access_token",
            Self::RefreshToken => "refresh_token",
        }
    }
}

impl Auth {
    /// Ends the sessions. Logout of an ended session is no error.
    ///
    /// A global logout is not rate limited: it ends its own token, and a thief must not be able to
    /// use up the owner's remedy.
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
        // An old token that was found in a log must not use up its owner's limit.
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

    /// Ends the session of a refresh token, also of a rotated one. An unknown token is no error
    /// (RFC 7009 section 2.2).
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
