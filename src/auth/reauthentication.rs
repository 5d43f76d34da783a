//! Reauthentication for changes that a token alone must not make.
//!
//! A token can be stolen. A change that would let a thief stay or that cannot be undone (another
//! phone, no phone, a merge, no account) needs a recent login, or a code that only the user can get
//! now.

use super::{Auth, AuthError, AuthenticatedCaller};
use crate::{
    provider::wechat::LoginCode,
    types::{SmsCode, SmsPurpose},
};

/// The proof beside the access token.
#[derive(Debug)]
pub enum ReauthenticationProof {
    /// Nothing: the login has to be recent (`auth.recent_login`).
    None,
    /// A code that was sent to the user's own phone (purpose `login`), the one that is bound now.
    Sms(SmsCode),
    /// A code of `wx.login`.
    Wechat(LoginCode),
}

impl Auth {
    /// Checks the proof.
    pub(super) async fn reauthenticate(
        &self,
        caller: AuthenticatedCaller<'_>,
        proof: &ReauthenticationProof,
    ) -> Result<(), AuthError> {
        let (user, store, now) = (caller.user, &self.parts.store, self.now());
        let session = store
            .session(caller.session, now)
            .await?
            .ok_or(AuthError::SessionRevoked)?;
        match proof {
            ReauthenticationProof::None
                if now.since(session.created_at) <= self.parts.rules.recent_login =>
            {
                Ok(())
            }
            ReauthenticationProof::None => Err(AuthError::ReauthenticationRequired),
            ReauthenticationProof::Sms(code) => {
                self.parts.limits.verify(caller.from)?;
                let phone = store
                    .user(user)
                    .await?
                    .and_then(|user| user.phone)
                    .ok_or(AuthError::SmsCodeInvalid)?;
                let is_right = store
                    .prove_phone(user, &self.guess(phone, code, SmsPurpose::Login), now)
                    .await?;
                self.count_verification(if is_right { "right" } else { "wrong" });
                if !is_right {
                    return Err(AuthError::SmsCodeInvalid);
                }
                self.parts.limits.refund_verify(caller.from);
                Ok(())
            }
            ReauthenticationProof::Wechat(code) => {
                self.parts.limits.login(caller.from)?;
                let app = session.app_id.ok_or(AuthError::NotFromWechat)?;
                let identity = self.parts.wechat.code_to_session(&app, code).await?;
                if store.prove_wechat(user, &identity, now).await? {
                    Ok(())
                } else {
                    Err(AuthError::CodeSpent)
                }
            }
        }
    }
}
