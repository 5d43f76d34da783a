//! Binding a phone to the caller's account, by an SMS code or by WeChat; and unbinding it.

use super::{Auth, AuthError, AuthenticatedCaller, ReauthenticationProof, SignedIn, count};
use crate::{
    audit::Event,
    provider::wechat::{EncryptedPhone, PhoneCode, Watermark, WechatError},
    store::{
        BindOutcome, MergedUser, PhoneBinding, PhoneProof, UnbindOutcome, User, WechatSession,
    },
    token::Grant,
    types::{Phone, SmsCode, SmsPurpose, Timestamp},
};

/// The result of binding a phone.
#[derive(Debug)]
pub struct BoundPhone {
    pub phone: Phone,
    /// Of the encrypted data, where the phone came so.
    pub watermark: Option<Watermark>,
    /// Two accounts have been merged.
    pub merged: bool,
    /// New tokens, where the caller's own session ended with its account.
    pub signed_in: Option<SignedIn>,
}

impl Auth {
    /// Binds a phone by a code that was sent to it (purpose `bind`), after reauthentication: a
    /// thief with a stolen token has a phone too, and could log in with it ever after.
    pub async fn bind_by_sms(
        &self,
        caller: AuthenticatedCaller<'_>,
        phone: Phone,
        code: &SmsCode,
        proof: &ReauthenticationProof,
    ) -> Result<BoundPhone, AuthError> {
        let result = self.bind_sms(caller, phone, code, proof).await;
        self.record_binding(caller, "sms", &result);
        result
    }

    async fn bind_sms(
        &self,
        caller: AuthenticatedCaller<'_>,
        phone: Phone,
        code: &SmsCode,
        proof: &ReauthenticationProof,
    ) -> Result<BoundPhone, AuthError> {
        if self.parts.sms.is_none() {
            return Err(AuthError::SmsOff);
        }
        self.parts.limits.account(caller.user)?;
        self.reauthenticate(caller, proof).await?;
        self.parts.limits.verify(caller.from)?;
        let result = self
            .bind(
                caller,
                PhoneProof::Sms(self.guess(phone, code, SmsPurpose::Bind)),
            )
            .await;
        let verified = match &result {
            Ok(_) | Err(AuthError::PhoneConflict) => "right",
            Err(AuthError::SmsCodeInvalid) => "wrong",
            Err(_) => "failed",
        };
        self.refund_right_guess(result.as_ref().err(), caller.from);
        self.count_verification(verified);
        result
    }

    /// Binds the phone of a code of the phone number button. The code is the reauthentication:
    /// WeChat gives one for this openid only to its user.
    pub async fn bind_by_wechat(
        &self,
        caller: AuthenticatedCaller<'_>,
        code: &PhoneCode,
    ) -> Result<BoundPhone, AuthError> {
        let result = self.bind_wechat(caller, code).await;
        self.record_binding(caller, "wechat", &result);
        result
    }

    async fn bind_wechat(
        &self,
        caller: AuthenticatedCaller<'_>,
        code: &PhoneCode,
    ) -> Result<BoundPhone, AuthError> {
        self.parts.limits.account(caller.user)?;
        let WechatSession { app_id, openid, .. } = self.wechat_session(caller).await?;
        let phone = self
            .parts
            .wechat
            .phone_number(&app_id, &openid, code)
            .await
            .map_err(|error| match error {
                WechatError::CodeInvalid => AuthError::PhoneCodeInvalid,
                other => AuthError::Wechat(other),
            })?;
        self.bind(caller, PhoneProof::Wechat(phone)).await
    }

    /// Whether [`Auth::bind_by_encrypted_data`] is enabled.
    pub fn decrypts_phones(&self) -> bool {
        self.parts.wechat.phone_decryption().is_some()
    }

    /// Binds the phone that the legacy phone number button encrypted under the session's
    /// `session_key`.
    pub async fn bind_by_encrypted_data(
        &self,
        caller: AuthenticatedCaller<'_>,
        encrypted: EncryptedPhone<'_>,
    ) -> Result<BoundPhone, AuthError> {
        let result = self.bind_encrypted(caller, encrypted).await;
        self.record_binding(caller, "wechat_legacy", &result);
        result
    }

    async fn bind_encrypted(
        &self,
        caller: AuthenticatedCaller<'_>,
        encrypted: EncryptedPhone<'_>,
    ) -> Result<BoundPhone, AuthError> {
        let Some(decryption) = self.parts.wechat.phone_decryption() else {
            return Err(AuthError::PhoneDecryptFailed);
        };
        self.parts.limits.account(caller.user)?;
        // Counted before anything is looked at: with enough tries anything could be decrypted.
        self.parts.limits.phone_decrypt(caller.session)?;
        let WechatSession {
            app_id,
            session_keys,
            ..
        } = self.wechat_session(caller).await?;
        let decrypted = decryption
            .phone(&app_id, &session_keys, &encrypted)
            .map_err(|_| AuthError::PhoneDecryptFailed)?;
        self.parts.limits.refund_phone_decrypt(caller.session);
        let bound = self
            .bind(caller, PhoneProof::Wechat(decrypted.phone))
            .await?;
        Ok(BoundPhone {
            watermark: Some(decrypted.watermark),
            ..bound
        })
    }

    async fn wechat_session(
        &self,
        caller: AuthenticatedCaller<'_>,
    ) -> Result<WechatSession, AuthError> {
        self.parts
            .store
            .wechat_session(caller.session, self.now())
            .await?
            .ok_or(AuthError::NotFromWechat)
    }

    async fn bind(
        &self,
        caller: AuthenticatedCaller<'_>,
        proof: PhoneProof,
    ) -> Result<BoundPhone, AuthError> {
        let now = self.now();
        // Where the merge deletes the caller's own account, the session is opened again, of the
        // same client type.
        let merge = if self.parts.rules.merge {
            Some(self.new_session(caller.client_type)?)
        } else {
            None
        };
        let phone = proof.phone().clone();
        let (user, session) = (caller.user.clone(), caller.session);
        let single_per_client_type = self.parts.rules.single_per_client_type;
        let outbox = self.parts.rules.outbox;
        let binding = PhoneBinding {
            user,
            session,
            proof,
            merge,
            single_per_client_type,
            outbox,
            now,
        };
        match self.parts.store.bind_phone(&binding).await? {
            BindOutcome::Bound(_) => Ok(BoundPhone {
                phone,
                watermark: None,
                merged: false,
                signed_in: None,
            }),
            BindOutcome::Merged(merged) => self.merged_accounts(caller, phone, &merged, now).await,
            BindOutcome::CodeWrong => Err(AuthError::SmsCodeInvalid),
            BindOutcome::Conflict => Err(AuthError::PhoneConflict),
            BindOutcome::Disabled => Err(AuthError::UserDisabled),
            BindOutcome::SessionEnded => Err(AuthError::UserGone),
        }
    }

    async fn merged_accounts(
        &self,
        caller: AuthenticatedCaller<'_>,
        phone: Phone,
        merged: &MergedUser,
        now: Timestamp,
    ) -> Result<BoundPhone, AuthError> {
        self.apply_locally(&merged.revoked, "merged");
        self.parts.audit.record(&Event::UsersMerged {
            user: &merged.user.id,
            gone: &merged.merged_id,
            from: caller.from,
        });
        let signed_in = match &merged.session {
            Some(session) => {
                self.parts.metrics.sessions_opened.inc();
                let grant = Grant {
                    user: &merged.user,
                    session,
                    global_epoch: merged.global_epoch,
                };
                let openid = self.openid_for(session.id, caller.token_profile).await?;
                Some(self.sign(&grant, openid, caller.token_profile, now).await?)
            }
            None => None,
        };
        Ok(BoundPhone {
            phone,
            watermark: None,
            merged: true,
            signed_in,
        })
    }

    fn record_binding(
        &self,
        caller: AuthenticatedCaller<'_>,
        method: &'static str,
        result: &Result<BoundPhone, AuthError>,
    ) {
        let (user, session, from) = (caller.user, caller.session, caller.from);
        let label = match result {
            Ok(bound) => {
                // After a merge the caller's own user may have been deleted.
                let (user, session) = bound
                    .signed_in
                    .as_ref()
                    .map_or((user, session), |now| (&now.user.id, now.session.id));
                self.parts.audit.record(&Event::PhoneBound {
                    user,
                    session,
                    method,
                    from,
                });
                "bound"
            }
            Err(error) => {
                let reason = error.code().as_str();
                self.parts.audit.record(&Event::PhoneRefused {
                    user,
                    session,
                    method,
                    reason,
                    from,
                });
                reason
            }
        };
        count(&self.parts.metrics.phone_bindings, &[method, label]);
    }

    /// Unbinds the caller's phone, after reauthentication. No error where there is none.
    pub async fn unbind_phone(
        &self,
        caller: AuthenticatedCaller<'_>,
        proof: &ReauthenticationProof,
    ) -> Result<User, AuthError> {
        let (user, session, from) = (caller.user, caller.session, caller.from);
        let unbound = self.prove_and_unbind(caller, proof).await;
        match &unbound {
            Ok(UnbindOutcome::Unbound(_)) => self.parts.audit.record(&Event::PhoneUnbound {
                user,
                session,
                from,
            }),
            Ok(_) => {}
            Err(error) => {
                let reason = error.code().as_str();
                self.parts.audit.record(&Event::PhoneNotUnbound {
                    user,
                    session,
                    reason,
                    from,
                });
            }
        }
        match unbound? {
            UnbindOutcome::Unbound(now) | UnbindOutcome::NotBound(now) => Ok(*now),
            UnbindOutcome::OnlyIdentity => Err(AuthError::OnlyIdentity),
            UnbindOutcome::SessionEnded => Err(AuthError::UserGone),
        }
    }

    async fn prove_and_unbind(
        &self,
        caller: AuthenticatedCaller<'_>,
        proof: &ReauthenticationProof,
    ) -> Result<UnbindOutcome, AuthError> {
        let user = caller.user;
        self.parts.limits.account(user)?;
        self.reauthenticate(caller, proof).await?;
        Ok(self
            .parts
            .store
            .unbind_phone(user, caller.session, self.now())
            .await?)
    }
}
