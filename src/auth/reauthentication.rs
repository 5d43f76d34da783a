//! Reauthentication for changes that a token alone must not make.
//!
//! A token can be stolen. A change that would let a thief stay or that cannot be undone (another
//! phone, no phone, a merge, no account) needs a recent login, or a code that only the user can get
//! now.

use super::{Auth, AuthError, AuthenticatedCaller};
use crate::{
    error::ErrorCode,
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
        let (user, store, now) = (caller.user, &self.store, self.now());
        let session = store
            .session(caller.user, caller.session, now)
            .await?
            .ok_or(ErrorCode::SessionRevoked)?;
        match proof {
            ReauthenticationProof::None
                if now.since(session.created_at) <= self.rules.recent_login =>
            {
                Ok(())
            }
            ReauthenticationProof::None => Err(ErrorCode::ReauthenticationRequired.into()),
            ReauthenticationProof::Sms(code) => {
                self.limits.verify_per_ip.check(&caller.from.network())?;
                let phone = store
                    .user(user)
                    .await?
                    .and_then(|user| user.phone)
                    .ok_or(ErrorCode::CodeInvalid)?;
                let is_right = store
                    .prove_phone(user, &self.guess(phone, code, SmsPurpose::Login)?, now)
                    .await?;
                self.count_verification(if is_right { "right" } else { "wrong" });
                if !is_right {
                    return Err(ErrorCode::CodeInvalid.into());
                }
                self.limits.verify_per_ip.refund(&caller.from.network());
                Ok(())
            }
            ReauthenticationProof::Wechat(code) => {
                self.limits.login_per_ip.check(&caller.from.network())?;
                let app = session.app_id.ok_or(AuthError::NotFromWechat)?;
                let identity = self.wechat.code_to_session(&app, code).await?;
                if store.prove_wechat(user, &identity, now).await? {
                    Ok(())
                } else {
                    Err(AuthError::CodeUsed)
                }
            }
        }
    }
}
