//! What every login has in common: one operation of the store, a session, and an audit event.

use uuid::Builder;

use super::{
    Auth, AuthError, AuthenticatedCaller, SignedIn, WechatPhone, count, limits::PhoneDecryptKey,
};
use crate::{
    audit::Event,
    dialect::TokenProfile,
    entropy::NoEntropy,
    error::ErrorCode,
    provider::hooks::LoginNotification,
    store::{
        LoginOutcome, LoginProof, NewLogin, NewSession, NewUserId, OpenedSession, Profile,
        RefreshSalt,
    },
    token::Grant,
    types::{
        ClientIp, ClientType, ExtraClaims, Malformed, Timestamp, UserId, UserType, named_enum,
    },
};

named_enum! {
    /// The way of a login, by its name in metrics and in the audit log.
    pub(super) enum LoginMethod {
        Wechat = "wechat",
        Sms = "sms",
        Password = "password",
    }
}

impl Auth {
    /// A login with this proof and the settings of the config.
    pub(super) fn new_login(
        &self,
        proof: LoginProof,
        client_type: ClientType,
        now: Timestamp,
    ) -> Result<NewLogin, AuthError> {
        let rules = &self.rules;
        Ok(NewLogin {
            proof,
            profile: Profile::default(),
            replaces_profile: false,
            user_type: UserType::user(),
            new_user: if rules.asks_backend {
                NewUserId::Pending
            } else {
                self.new_user_id(now)?
            },
            claims: ExtraClaims::default(),
            outbox: rules.outbox,
            registration_open: rules.registration_open,
            code: None,
            code_client: None,
            merge: rules.merge,
            session: self.new_session(client_type)?,
            single_per_client_type: rules.single_per_client_type,
            max_sessions: rules.max_sessions,
            now,
        })
    }

    /// Logs in, and then binds the phone that came with the login. A phone that cannot be bound
    /// does not undo the login, unless its session has ended or may have.
    pub(super) async fn sign_in(
        &self,
        new: &NewLogin,
        phone: Option<&WechatPhone>,
        from: ClientIp,
        token_profile: &TokenProfile,
    ) -> Result<SignedIn, AuthError> {
        let outcome = match self.store.login(new).await? {
            LoginOutcome::UnknownUser => self.register(new).await?,
            known => known,
        };
        match outcome {
            LoginOutcome::Opened(login) => self.open(*login, new, phone, from, token_profile).await,
            LoginOutcome::CodeUsed => Err(AuthError::CodeUsed),
            LoginOutcome::NotProven { no_code: true } => Err(AuthError::SmsCodeMissing),
            LoginOutcome::NotProven { no_code: false } => Err(match new.proof {
                LoginProof::Wechat(_) => AuthError::CodeUsed,
                LoginProof::Sms(_) => ErrorCode::CodeInvalid.into(),
                LoginProof::Password(..) => ErrorCode::CredentialsInvalid.into(),
            }),
            LoginOutcome::Disabled(_) => Err(ErrorCode::UserDisabled.into()),
            LoginOutcome::RegistrationClosed => Err(ErrorCode::RegistrationClosed.into()),
            // A registered user has an id, and one that was free.
            LoginOutcome::UnknownUser | LoginOutcome::IdTaken { .. } => Err(AuthError::Interrupted),
        }
    }

    async fn open(
        &self,
        login: OpenedSession,
        new: &NewLogin,
        phone: Option<&WechatPhone>,
        from: ClientIp,
        token_profile: &TokenProfile,
    ) -> Result<SignedIn, AuthError> {
        let openid = match &new.proof {
            LoginProof::Wechat(identity) => Some(identity.openid.clone()),
            LoginProof::Sms(_) | LoginProof::Password(..) => None,
        };
        let OpenedSession {
            mut user,
            mut session,
            mut is_new_user,
            mut global_epoch,
            ended,
            merged,
        } = login;
        self.apply_ended_sessions(&ended, "single_session", new.now);
        if let Some((gone, revoked)) = &merged {
            self.apply_locally(revoked, "merged");
            self.audit.record(&Event::UsersMerged {
                user: &user.id,
                gone,
                from,
            });
        }
        let (mut phone_error, mut now) = (None, new.now);
        if let Some(phone) = phone {
            let caller = AuthenticatedCaller {
                user: &user.id,
                session: session.id,
                client_type: session.client_type,
                from,
                token_profile,
            };
            // Not by session: each login has another.
            let tries = PhoneDecryptKey::Login(user.id.clone());
            match self.commit_wechat_phone(caller, phone, tries).await {
                Ok(committed) => {
                    user = *committed.user;
                    // The older account of the phone is left, with a session of its own.
                    if let Some(reopened) = committed.reopened {
                        (session, global_epoch) = (reopened.session, reopened.global_epoch);
                        is_new_user = false;
                    }
                }
                Err(error) => {
                    phone_error = Some(phone_error_of_login(error)?);
                    // The error may have come before the session was looked at.
                    let is_active = self.store.session(&user.id, session.id, self.now()).await?;
                    if is_active.is_none() {
                        return Err(ErrorCode::TokenRevoked.into());
                    }
                }
            }
            // WeChat may have taken its time.
            now = self.now();
        }
        let grant = Grant {
            user: &user,
            session: &session,
            global_epoch,
        };
        let signed_in = self.sign(&grant, openid, token_profile, now).await?;
        Ok(SignedIn {
            is_new_user,
            phone_error,
            ..signed_in
        })
    }

    /// Records a login in metrics and in the audit log.
    pub(super) fn record_login(
        &self,
        method: LoginMethod,
        result: Result<&SignedIn, &AuthError>,
        from: ClientIp,
    ) {
        let method = method.as_str();
        match result {
            Ok(signed_in) => {
                let (user, session) = (&signed_in.user.id, &signed_in.session);
                let is_new_user = signed_in.is_new_user;
                count(&self.metrics.logins, &[method, "success"]);
                self.metrics.sessions_opened.inc();
                self.audit.record(&Event::LoginSucceeded {
                    method,
                    user,
                    session: session.id,
                    is_new_user,
                    from,
                });
                if self.rules.notifies_logins {
                    self.outbox_dispatcher.send_login(LoginNotification {
                        user: user.clone(),
                        session: session.id,
                        client_type: session.client_type,
                        method,
                        is_new_user,
                        at: self.now(),
                    });
                }
            }
            Err(error) => {
                let reason = error.code().as_str();
                count(&self.metrics.logins, &[method, reason]);
                self.audit.record(&Event::LoginFailed {
                    method,
                    reason,
                    from,
                });
            }
        }
    }

    /// A session to be opened.
    pub(super) fn new_session(&self, client_type: ClientType) -> Result<NewSession, NoEntropy> {
        Ok(NewSession {
            id: self.entropy.session_id()?,
            client_type,
            salt: RefreshSalt(self.entropy.bytes()?),
            idle_ttl: self.rules.idle_ttl,
            absolute_ttl: self.rules.absolute_ttl,
        })
    }

    pub(super) fn new_user_id(&self, now: Timestamp) -> Result<NewUserId, NoEntropy> {
        new_user_id(self.rules.first_integer, &self.entropy, now)
    }
}

/// Why the phone of a login was not bound. `Err`: the session of the login has ended meanwhile, or
/// may have ended in a merge, so the login fails.
fn phone_error_of_login(error: AuthError) -> Result<ErrorCode, AuthError> {
    match error {
        // A login that brings a phone is one with WeChat.
        AuthError::NotFromWechat => Err(ErrorCode::TokenRevoked.into()),
        AuthError::Rejected(ErrorCode::TokenRevoked | ErrorCode::UserDisabled)
        | AuthError::Store(_) => Err(error),
        other => Ok(other.code()),
    }
}

/// The id of a new user: the store's next integer, or a UUID of version 7 (RFC 9562 section 5.7).
pub(super) fn new_user_id(
    first_integer: Option<u64>,
    entropy: &crate::entropy::Entropy,
    now: Timestamp,
) -> Result<NewUserId, NoEntropy> {
    if let Some(first) = first_integer {
        return Ok(NewUserId::NextInteger { first });
    }
    let id = Builder::from_unix_timestamp_millis(now.as_millis(), &entropy.bytes()?)
        .into_uuid()
        .to_string();
    UserId::parse(&id)
        .map(NewUserId::Generated)
        .map_err(|Malformed(_)| NoEntropy)
}
