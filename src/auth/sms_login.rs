//! Login with a code that was sent to a phone.

use std::sync::Arc;

use super::{Auth, AuthError, SignedIn, count, login::LoginMethod};
use crate::{
    dialect::TokenProfile,
    error::ErrorCode,
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
    /// Logs in the user of the phone, or creates one. Wrong, used, expired, over its attempts and
    /// never sent get the same response after the same work.
    pub async fn sms_login(&self, login: SmsLogin, from: ClientIp) -> Result<SignedIn, AuthError> {
        let result = self.login_with_sms(login, from).await;
        let verified = match &result {
            // Also where the code was right and the login was rejected for another reason.
            Ok(_)
            | Err(AuthError::Rejected(ErrorCode::UserDisabled | ErrorCode::RegistrationClosed)) => {
                "right"
            }
            Err(AuthError::Rejected(ErrorCode::CodeInvalid) | AuthError::SmsCodeMissing) => "wrong",
            Err(AuthError::Limited(_)) => "limited",
            Err(_) => "failed",
        };
        self.count_verification(verified);
        self.record_login(LoginMethod::Sms, result.as_ref(), from);
        result
    }

    async fn login_with_sms(&self, login: SmsLogin, from: ClientIp) -> Result<SignedIn, AuthError> {
        if self.sms.is_none() {
            return Err(AuthError::SmsOff);
        }
        self.limits.verify_per_ip.check(&from.network())?;
        let proof = LoginProof::Sms(self.guess(login.phone, &login.code, SmsPurpose::Login)?);
        let new = self.new_login(proof, login.client_type, self.now())?;
        let result = self.sign_in(&new, None, from, &login.token_profile).await;
        self.refund_right_guess(result.as_ref().err(), from);
        result
    }

    /// Refunds a guess that was not wrong to its address.
    pub(super) fn refund_right_guess(&self, error: Option<&AuthError>, from: ClientIp) {
        let stays = |error: &AuthError| {
            matches!(
                error,
                AuthError::Rejected(ErrorCode::CodeInvalid)
                    | AuthError::SmsCodeMissing
                    | AuthError::Limited(_)
            )
        };
        if !error.is_some_and(stays) {
            self.limits.verify_per_ip.refund(&from.network());
        }
    }

    /// `menshen_sms_codes_verified_total{result}`.
    pub(super) fn count_verification(&self, result: &'static str) {
        count(&self.metrics.sms_codes_verified, &[result]);
    }
}
