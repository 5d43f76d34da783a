//! Login with a code that was sent to a phone.

use std::sync::Arc;

use super::{Auth, AuthError, SignedIn, count, login::LoginMethod};
use crate::{
    dialect::TokenProfile,
    store::LoginProof,
    types::{ClientIp, ClientType, Phone, SmsCode, SmsPurpose},
};

/// The request of a client.
#[derive(Debug, Clone)]
pub struct SmsLogin {
    pub phone: Phone,
    pub code: SmsCode,
    pub client_type: ClientType,
    pub token_profile: Arc<TokenProfile>,
}

impl Auth {
    /// Logs in the user of the phone, or makes one. Wrong, used, expired, over its attempts and
    /// never sent get the same response after the same work.
    pub async fn sms_login(&self, login: SmsLogin, from: ClientIp) -> Result<SignedIn, AuthError> {
        let result = self.login_with_sms(login, from).await;
        let verified = match &result {
            // Also where the code was right and the login was rejected for another reason.
            Ok(_) | Err(AuthError::UserDisabled | AuthError::RegistrationClosed) => "right",
            Err(AuthError::SmsCodeInvalid | AuthError::SmsCodeMissing) => "wrong",
            Err(AuthError::Limited(_)) => "limited",
            Err(_) => "failed",
        };
        self.count_verification(verified);
        self.record_login(LoginMethod::Sms, result.as_ref(), from);
        result
    }

    async fn login_with_sms(&self, login: SmsLogin, from: ClientIp) -> Result<SignedIn, AuthError> {
        let SmsLogin {
            phone,
            code,
            client_type,
            token_profile,
        } = login;
        if self.parts.sms.is_none() {
            return Err(AuthError::SmsOff);
        }
        self.parts.limits.verify(from)?;
        let proof = LoginProof::Sms(self.guess(phone, &code, SmsPurpose::Login));
        let new = self.new_login(proof, client_type, self.now())?;
        let result = self
            .sign_in(&new, from, &token_profile, AuthError::SmsCodeInvalid)
            .await;
        self.refund_right_guess(result.as_ref().err(), from);
        result
    }

    /// Refunds a guess that was not wrong to its address.
    pub(super) fn refund_right_guess(&self, error: Option<&AuthError>, from: ClientIp) {
        let stays = |error: &AuthError| {
            matches!(
                error,
                AuthError::SmsCodeInvalid | AuthError::SmsCodeMissing | AuthError::Limited(_)
            )
        };
        if !error.is_some_and(stays) {
            self.parts.limits.refund_verify(from);
        }
    }

    /// `menshen_sms_codes_verified_total{result}`.
    pub(super) fn count_verification(&self, result: &'static str) {
        count(&self.parts.metrics.sms_codes_verified, &[result]);
    }
}
