//! The whole of an account: a copy of it, and its end.

use super::{Auth, AuthError, Caller};
use crate::{
    audit::Event,
    provider::wechat::LoginCode,
    store::{Identities, Known, Lookup, Session},
    types::{SmsCode, SmsPurpose},
};

/// Everything that is kept about a user, but for what signs in as them (session keys, password, token secrets).
#[derive(Debug)]
pub struct AccountCopy {
    pub identities: Identities,
    pub sessions: Vec<Session>,
}

/// Proof that it is the user who asks, besides a token that may be old or stolen.
#[derive(Debug)]
pub enum FreshProof {
    /// Only that the login was a moment ago.
    None,
    /// A code that was sent to the user's own phone (purpose `login`).
    Sms(SmsCode),
    /// A code of `wx.login`.
    Wechat(LoginCode),
}

impl Auth {
    /// A copy of all that is stored about the caller.
    pub async fn export_account(&self, caller: Caller<'_>) -> Result<AccountCopy, AuthError> {
        let user = &caller.claims.sub;
        self.parts.limits.account(user)?;
        let Known::User(identities) = self.parts.store.known(user).await? else { return Err(AuthError::UserGone) };
        if identities.user.disabled {
            return Err(AuthError::UserDisabled);
        }
        let sessions = self.parts.store.sessions(user, self.now()).await?;
        self.parts.audit.record(&Event::AccountExported { user, from: caller.from });
        Ok(AccountCopy { identities: *identities, sessions })
    }

    /// Erases the caller's account. A login that is not fresh needs a code as well.
    pub async fn erase_account(&self, caller: Caller<'_>, proof: FreshProof) -> Result<(), AuthError> {
        let user = &caller.claims.sub;
        self.parts.limits.account(user)?;
        self.prove_freshly(caller, proof).await?;
        let revoked = self.parts.store.erase_user(user, self.now()).await?;
        // Erased by another request, or joined to another user, since it was looked at: what is left is not this one's to end.
        if revoked.entries.is_empty() {
            return Err(AuthError::UserGone);
        }
        self.bite(&revoked, "erased");
        self.parts.audit.record(&Event::AccountErased { user, by: "user" });
        Ok(())
    }

    async fn prove_freshly(&self, caller: Caller<'_>, proof: FreshProof) -> Result<(), AuthError> {
        let (user, store, now) = (&caller.claims.sub, &self.parts.store, self.now());
        let session = store.session(caller.session(), now).await?.ok_or(AuthError::SessionRevoked)?;
        match proof {
            FreshProof::None if now.since(session.created_at) <= self.parts.rules.recent_login => Ok(()),
            FreshProof::None => Err(AuthError::ReauthenticationRequired),
            FreshProof::Sms(code) => {
                self.parts.limits.verify(caller.from)?;
                let phone = store.user(user).await?.and_then(|user| user.phone).ok_or(AuthError::SmsCodeInvalid)?;
                let is_right = store.prove_phone(user, &self.guess(phone, &code, SmsPurpose::Login), now).await?;
                self.count_verification(if is_right { "right" } else { "wrong" });
                if is_right { Ok(()) } else { Err(AuthError::SmsCodeInvalid) }
            }
            FreshProof::Wechat(code) => {
                self.parts.limits.login(caller.from)?;
                let app = session.app_id.ok_or(AuthError::NotFromWechat)?;
                let said = self.parts.wechat.code_to_session(&app, &code).await?;
                let owner = store.find_user(&Lookup::OpenId(said.app_id, said.openid)).await?;
                if owner.as_ref() == Some(user) { Ok(()) } else { Err(AuthError::CodeSpent) }
            }
        }
    }
}
