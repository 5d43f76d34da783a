//! Sessions by their handles, which clients send where their API once took WeChat's `session_key`.

use super::{Auth, AuthError, refresh::DECOY_SALT};
use crate::{store::WechatSession, token::SessionHandles, types::ClientIp};

impl Auth {
    /// The active session of a handle, if it began with WeChat. Every failure is the same error.
    pub async fn session_by_handle(
        &self,
        text: &str,
        from: ClientIp,
    ) -> Result<WechatSession, AuthError> {
        self.parts.limits.api(from)?;
        let handle = SessionHandles::parse(text).ok_or(AuthError::PhoneDecryptFailed)?;
        let salt = self.parts.store.refresh_salt(handle.session).await?;
        let is_right = self
            .parts
            .session_handles
            .check(&handle, &salt.unwrap_or(DECOY_SALT));
        if !(is_right && salt.is_some()) {
            return Err(AuthError::PhoneDecryptFailed);
        }
        let session = self
            .parts
            .store
            .wechat_session(handle.session, self.now())
            .await?;
        session.ok_or(AuthError::PhoneDecryptFailed)
    }
}
