//! Sessions by their handles, which clients send where their API once took WeChat's `session_key`.

use super::{Auth, AuthError};
use crate::{
    error::ErrorCode,
    store::{RefreshSalt, WechatSession},
    token::SessionHandles,
    types::ClientIp,
};

impl Auth {
    /// The active session of a handle, if it began with WeChat. Every failure is the same error.
    pub async fn session_by_handle(
        &self,
        text: &str,
        from: ClientIp,
    ) -> Result<WechatSession, AuthError> {
        self.limits.api_per_ip.check(&from.network())?;
        let handle = SessionHandles::parse(text).ok_or(ErrorCode::PhoneDecryptFailed)?;
        let (store, now) = (&self.store, self.now());
        let found = store
            .wechat_session(&handle.user, handle.session, now)
            .await?;
        let salt = found.as_ref().map(|found| found.session.salt);
        let salt = salt.unwrap_or(RefreshSalt::DECOY);
        let is_genuine = self.session_handles.check(&handle, &salt);
        let found = found.filter(|_| is_genuine);
        Ok(found.ok_or(ErrorCode::PhoneDecryptFailed)?)
    }
}
