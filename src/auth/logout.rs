//! Signing out: here, everywhere else, or everywhere.

use super::{Auth, AuthError, Caller};
use crate::{audit::Event, store::Revoke};

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
        [Self::Local, Self::Others, Self::Global].into_iter().find(|scope| scope.as_str() == text)
    }

    const fn reason(self) -> &'static str {
        match self {
            Self::Local => "logout",
            Self::Others => "logout_others",
            Self::Global => "logout_global",
        }
    }
}

impl Auth {
    /// Ends the sessions. Signing out of a session that has ended is no error.
    ///
    /// Signing out everywhere is not counted: it ends the token that asks for it, and whoever holds a stolen one must not be
    /// able to use up the owner's remedy.
    pub async fn logout(&self, caller: Caller<'_>, scope: Scope) -> Result<(), AuthError> {
        let (user, session) = (caller.user, caller.session);
        if scope != Scope::Global {
            self.parts.limits.account(user)?;
        }
        let what = match scope {
            Scope::Local => Revoke::Session { user: user.clone(), session },
            Scope::Others => Revoke::Others { user: user.clone(), keep: session },
            Scope::Global => Revoke::User(user.clone()),
        };
        let revoked = self.parts.store.revoke(&what, self.now()).await?;
        let ended = self.bite(&revoked, scope.reason());
        self.parts.audit.record(&Event::LoggedOut { user, session, scope: scope.as_str(), ended });
        Ok(())
    }
}
