//! Logout: of this session, of the others, or of all.
//!
//! An access token, also an expired one, and a refresh token, also a rotated one, end their own
//! session. Only a valid access token ends others.

use super::{Auth, AuthError, AuthenticatedCaller};
use crate::{
    audit::Event,
    error::ErrorCode,
    store::{RefreshSalt, RevocationScope},
    token::RefreshTokens,
    types::named_enum,
};

named_enum! {
    /// Which of the user's sessions end.
    #[derive(Default, serde::Deserialize, utoipa::ToSchema)]
    #[serde(rename_all = "lowercase")]
    #[schema(as = Scope)]
    pub enum LogoutScope {
        /// This one.
        #[default]
        Local = "local",
        /// All but this one.
        Others = "others",
        /// All; also every access token made until now.
        Global = "global",
    }
}

impl LogoutScope {
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

named_enum! {
    /// The proof of a logout, by its name in the audit log.
    pub enum LogoutProof {
        AccessToken = "access_token",
        /// Genuine, and its session has not been ended here.
        ExpiredAccessToken = "expired_access_token",
        RefreshToken = "refresh_token",
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
            return Err(ErrorCode::TokenExpired.into());
        }
        // An old token that was found in a log must not use up its owner's limit.
        if scope != LogoutScope::Global && proof != LogoutProof::ExpiredAccessToken {
            self.limits.account_per_user.check(user)?;
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
        let ended = self.revoke(&what, scope.reason()).await?;
        if ended > 0 || proof != LogoutProof::ExpiredAccessToken {
            self.audit.record(&Event::LoggedOut {
                user,
                session,
                scope: scope.as_str(),
                proof: proof.as_str(),
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
        let (store, now) = (&self.store, self.now());
        let found = store.session(&token.user, token.session, now).await?;
        let salt = found.as_ref().map(|session| session.salt);
        let salt = salt.unwrap_or(RefreshSalt::DECOY);
        let is_genuine = self.refresh_tokens.check(&token, &salt);
        let Some(found) = found.filter(|_| is_genuine) else {
            return Ok(());
        };
        let (user, session) = (found.user, found.id);
        let what = RevocationScope::Session {
            user: user.clone(),
            session,
        };
        let ended = self.revoke(&what, LogoutScope::Local.reason()).await?;
        self.audit.record(&Event::LoggedOut {
            user: &user,
            session,
            scope: LogoutScope::Local.as_str(),
            proof: LogoutProof::RefreshToken.as_str(),
            ended,
        });
        Ok(())
    }
}
