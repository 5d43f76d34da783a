//! Sessions by their handles, which clients send where their API once took WeChat's `session_key`.

use super::{Auth, AuthError, refresh::DECOY_SALT};
use crate::{error::ErrorCode, store::WechatSession, token::SessionHandles, types::ClientIp};

impl Auth {
    /// The active session of a handle, if it began with WeChat. Every failure is the same error.
    pub async fn session_by_handle(
        &self,
        text: &str,
        from: ClientIp,
    ) -> Result<WechatSession, AuthError> {
        self.limits.api_per_ip.check(&from.network())?;
        let handle = SessionHandles::parse(text).ok_or(ErrorCode::PhoneDecryptFailed)?;
        let salt = self.store.refresh_salt(handle.session).await?;
        let is_right = self
            .session_handles
            .check(&handle, &salt.unwrap_or(DECOY_SALT));
        if !(is_right && salt.is_some()) {
            return Err(ErrorCode::PhoneDecryptFailed.into());
        }
        let session = self
            .store
            .wechat_session(handle.session, self.now())
            .await?;
        Ok(session.ok_or(ErrorCode::PhoneDecryptFailed)?)
    }
}
