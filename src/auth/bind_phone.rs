//! Binding a phone to the caller's account, by an SMS code or by WeChat; and unbinding it.

use super::{
    Auth, AuthError, AuthenticatedCaller, ReauthenticationProof, SignedIn, count,
    limits::PhoneDecryptKey,
};
use crate::{
    audit::Event,
    error::ErrorCode,
    provider::wechat::{EncryptedPhone, PhoneCode, Watermark, WechatError},
    store::{
        BindOutcome, MergedUser, PhoneBinding, PhoneProof, Session, UnbindOutcome, User,
        WechatSession,
    },
    token::Grant,
    types::{Phone, Secret, SmsCode, SmsPurpose},
};

/// The result of the phone number button.
#[derive(Debug, Clone)]
pub enum WechatPhone {
    Code(PhoneCode),
    /// Of old base libraries, where the config allows it: encrypted under the `session_key` of a
    /// login.
    Encrypted {
        encrypted_data: Secret<String>,
        iv: String,
    },
}

/// A phone that has been bound, before tokens are signed for the session that a merge may have
/// opened.
pub(super) struct CommittedPhone {
    phone: Phone,
    watermark: Option<Watermark>,
    /// The user that has it now.
    pub(super) user: Box<User>,
    /// Two accounts have been merged.
    merged: bool,
    /// In place of the caller's own session, which ended with its account.
    pub(super) reopened: Option<ReopenedSession>,
}

/// A session that a merge has opened.
pub(super) struct ReopenedSession {
    pub(super) session: Session,
    pub(super) global_epoch: u64,
}

/// The result of binding a phone.
#[derive(Debug)]
pub struct BoundPhone {
    pub phone: Phone,
    /// The user that has it now.
    pub user: Box<User>,
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
        let binding = async {
            if self.sms.is_none() {
                return Err(AuthError::SmsOff);
            }
            self.limits.account_per_user.check(caller.user)?;
            self.reauthenticate(caller, proof).await?;
            self.limits.verify_per_ip.check(&caller.from.network())?;
            let result = self
                .bind(
                    caller,
                    PhoneProof::Sms(self.guess(phone, code, SmsPurpose::Bind)?),
                )
                .await;
            let verified = match &result {
                Ok(_) | Err(AuthError::Rejected(ErrorCode::PhoneConflict)) => "right",
                Err(AuthError::Rejected(ErrorCode::CodeInvalid)) => "wrong",
                Err(_) => "failed",
            };
            self.refund_right_guess(result.as_ref().err(), caller.from);
            self.count_verification(verified);
            result
        };
        let committed = self.record_binding(caller, "sms", binding).await?;
        self.bound_phone(caller, committed).await
    }

    /// Binds the phone that the phone number button gave.
    pub async fn bind_wechat_phone(
        &self,
        caller: AuthenticatedCaller<'_>,
        phone: &WechatPhone,
    ) -> Result<BoundPhone, AuthError> {
        let tries = PhoneDecryptKey::Session(caller.session);
        let committed = self.commit_wechat_phone(caller, phone, tries).await?;
        self.bound_phone(caller, committed).await
    }

    /// Binds the phone that the phone number button gave, and signs no tokens. `tries`: whose tries
    /// of legacy decryption are counted.
    pub(super) async fn commit_wechat_phone(
        &self,
        caller: AuthenticatedCaller<'_>,
        phone: &WechatPhone,
        tries: PhoneDecryptKey,
    ) -> Result<CommittedPhone, AuthError> {
        match phone {
            WechatPhone::Code(code) => self.bind_by_phone_code(caller, code).await,
            WechatPhone::Encrypted { encrypted_data, iv } => {
                let encrypted_data = encrypted_data.expose();
                let encrypted = EncryptedPhone { encrypted_data, iv };
                self.bind_by_encrypted_data(caller, encrypted, tries).await
            }
        }
    }

    /// Signs tokens for the session that a merge has opened.
    async fn bound_phone(
        &self,
        caller: AuthenticatedCaller<'_>,
        committed: CommittedPhone,
    ) -> Result<BoundPhone, AuthError> {
        let CommittedPhone {
            phone,
            watermark,
            user,
            merged,
            reopened,
        } = committed;
        let signed_in = match &reopened {
            Some(ReopenedSession {
                session,
                global_epoch,
            }) => {
                let openid = self
                    .openid_for(&session.user, session.id, caller.token_profile)
                    .await?;
                let grant = Grant {
                    user: &user,
                    session,
                    global_epoch: *global_epoch,
                };
                let profile = caller.token_profile;
                Some(self.sign(&grant, openid, profile, self.now()).await?)
            }
            None => None,
        };
        Ok(BoundPhone {
            phone,
            user,
            watermark,
            merged,
            signed_in,
        })
    }

    /// Binds the phone of a code of the button. The code is the reauthentication: WeChat gives one
    /// for this openid only to its user.
    async fn bind_by_phone_code(
        &self,
        caller: AuthenticatedCaller<'_>,
        code: &PhoneCode,
    ) -> Result<CommittedPhone, AuthError> {
        let binding = async {
            self.limits.account_per_user.check(caller.user)?;
            let WechatSession { app_id, openid, .. } = self.wechat_session(caller).await?;
            let phone = self
                .wechat
                .phone_number(&app_id, &openid, code)
                .await
                .map_err(|error| match error {
                    WechatError::CodeInvalid => ErrorCode::PhoneCodeInvalid.into(),
                    other => AuthError::Wechat(other.into()),
                })?;
            self.bind(caller, PhoneProof::Wechat(phone)).await
        };
        self.record_binding(caller, "wechat", binding).await
    }

    /// Whether [`WechatPhone::Encrypted`] is taken.
    pub fn decrypts_phones(&self) -> bool {
        self.wechat.phone_decryption().is_some()
    }

    /// Binds the phone that the legacy phone number button encrypted under the session's
    /// `session_key`.
    async fn bind_by_encrypted_data(
        &self,
        caller: AuthenticatedCaller<'_>,
        encrypted: EncryptedPhone<'_>,
        tries: PhoneDecryptKey,
    ) -> Result<CommittedPhone, AuthError> {
        let binding = async {
            let Some(decryption) = self.wechat.phone_decryption() else {
                return Err(ErrorCode::PhoneDecryptFailed.into());
            };
            self.limits.account_per_user.check(caller.user)?;
            // Counted first: with enough tries anything could be decrypted.
            self.limits.check_phone_decrypt(&tries)?;
            let WechatSession {
                app_id,
                session_keys,
                ..
            } = self.wechat_session(caller).await?;
            let decrypted = decryption
                .phone(&app_id, &session_keys, &encrypted)
                .map_err(|_| ErrorCode::PhoneDecryptFailed)?;
            self.limits.refund_phone_decrypt(&tries);
            let committed = self
                .bind(caller, PhoneProof::Wechat(decrypted.phone))
                .await?;
            Ok(CommittedPhone {
                watermark: Some(decrypted.watermark),
                ..committed
            })
        };
        self.record_binding(caller, "wechat_legacy", binding).await
    }

    async fn wechat_session(
        &self,
        caller: AuthenticatedCaller<'_>,
    ) -> Result<WechatSession, AuthError> {
        self.store
            .wechat_session(caller.user, caller.session, self.now())
            .await?
            .ok_or(AuthError::NotFromWechat)
    }

    async fn bind(
        &self,
        caller: AuthenticatedCaller<'_>,
        proof: PhoneProof,
    ) -> Result<CommittedPhone, AuthError> {
        let now = self.now();
        // Where the merge deletes the caller's own account, the session is opened again, of the
        // same client type.
        let merge = if self.rules.merge {
            Some(self.new_session(caller.client_type)?)
        } else {
            None
        };
        let binding = PhoneBinding {
            user: caller.user.clone(),
            session: caller.session,
            proof,
            merge,
            single_per_client_type: self.rules.single_per_client_type,
            outbox: self.rules.outbox,
            now,
        };
        let phone = binding.proof.phone().clone();
        match self.store.bind_phone(&binding).await? {
            BindOutcome::Bound(user) => Ok(CommittedPhone {
                phone,
                user,
                watermark: None,
                merged: false,
                reopened: None,
            }),
            BindOutcome::Merged(merged) => Ok(self.merged_accounts(caller, phone, *merged)),
            BindOutcome::CodeWrong => Err(ErrorCode::CodeInvalid.into()),
            BindOutcome::Conflict => Err(ErrorCode::PhoneConflict.into()),
            BindOutcome::Disabled => Err(ErrorCode::UserDisabled.into()),
            BindOutcome::SessionEnded => Err(ErrorCode::TokenRevoked.into()),
        }
    }

    /// Applies and records a merge.
    fn merged_accounts(
        &self,
        caller: AuthenticatedCaller<'_>,
        phone: Phone,
        merged: MergedUser,
    ) -> CommittedPhone {
        self.apply_locally(&merged.revoked, "merged");
        self.audit.record(&Event::UsersMerged {
            user: &merged.user.id,
            gone: &merged.merged_id,
            from: caller.from,
        });
        let global_epoch = merged.global_epoch;
        let reopened = merged.session.map(|session| ReopenedSession {
            session,
            global_epoch,
        });
        if reopened.is_some() {
            self.metrics.sessions_opened.inc();
        }
        CommittedPhone {
            phone,
            user: Box::new(merged.user),
            watermark: None,
            merged: true,
            reopened,
        }
    }

    /// Records the result of a binding in metrics and in the audit log.
    async fn record_binding(
        &self,
        caller: AuthenticatedCaller<'_>,
        method: &'static str,
        binding: impl Future<Output = Result<CommittedPhone, AuthError>>,
    ) -> Result<CommittedPhone, AuthError> {
        let (user, session, from) = (caller.user, caller.session, caller.from);
        let result = binding.await;
        let label = match &result {
            Ok(committed) => {
                // After a merge the caller's own user may have been deleted.
                let (user, session) = committed
                    .reopened
                    .as_ref()
                    .map_or((user, session), |now| (&committed.user.id, now.session.id));
                self.audit.record(&Event::PhoneBound {
                    user,
                    session,
                    method,
                    from,
                });
                "bound"
            }
            Err(error) => {
                let reason = error.code().as_str();
                self.audit.record(&Event::PhoneRefused {
                    user,
                    session,
                    method,
                    reason,
                    from,
                });
                reason
            }
        };
        count(&self.metrics.phone_bindings, &[method, label]);
        result
    }

    /// Unbinds the caller's phone, after reauthentication. No error where there is none.
    pub async fn unbind_phone(
        &self,
        caller: AuthenticatedCaller<'_>,
        proof: &ReauthenticationProof,
    ) -> Result<User, AuthError> {
        let (user, session, from) = (caller.user, caller.session, caller.from);
        let unbinding = async {
            self.limits.account_per_user.check(user)?;
            self.reauthenticate(caller, proof).await?;
            let unbound = self.store.unbind_phone(user, session, self.now());
            Ok(unbound.await?)
        };
        let unbound: Result<_, AuthError> = unbinding.await;
        match &unbound {
            Ok(UnbindOutcome::Unbound(_)) => self.audit.record(&Event::PhoneUnbound {
                user,
                session,
                from,
            }),
            Ok(_) => {}
            Err(error) => {
                let reason = error.code().as_str();
                self.audit.record(&Event::PhoneNotUnbound {
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
            UnbindOutcome::SessionEnded => Err(ErrorCode::TokenRevoked.into()),
        }
    }
}
