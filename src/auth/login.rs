//! What every login has in common: one operation of the store, a session, and an audit event.

use uuid::Builder;

use super::{Auth, AuthError, SignedIn, count};
use crate::{
    audit::Event,
    dialect::TokenProfile,
    entropy::NoEntropy,
    provider::hooks::LoginNotification,
    store::{
        LoginOutcome, LoginProof, NewLogin, NewSession, NewUserId, OpenedSession, Profile,
        RefreshSalt,
    },
    token::Grant,
    types::{ClientIp, ClientType, ExtraClaims, Malformed, Timestamp, UserId, UserType},
};

/// The way of a login, by its name in metrics and in the audit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LoginMethod {
    Wechat,
    Sms,
    Password,
}

impl LoginMethod {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Wechat => "wechat",
            Self::Sms => "sms",
            Self::Password => "password",
        }
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
        let rules = &self.parts.rules;
        Ok(NewLogin {
            proof,
            profile: Profile::default(),
            profile_is_newer: false,
            user_type: UserType::user(),
            new_user: if rules.hooks.asks {
                NewUserId::Pending
            } else {
                self.new_user_id(now)?
            },
            claims: ExtraClaims::default(),
            outbox: rules.outbox,
            registration_open: rules.registration_open,
            code: None,
            merge: rules.merge,
            session: self.new_session(client_type)?,
            single_per_client_type: rules.single_per_client_type,
            max_sessions: rules.max_sessions,
            now,
        })
    }

    /// Logs in. `not_proven` is the error where the proof is wrong.
    pub(super) async fn sign_in(
        &self,
        new: &NewLogin,
        from: ClientIp,
        token_profile: &TokenProfile,
        not_proven: AuthError,
    ) -> Result<SignedIn, AuthError> {
        let outcome = match self.parts.store.login(new).await? {
            LoginOutcome::UnknownUser => self.register(new).await?,
            known => known,
        };
        match outcome {
            LoginOutcome::Opened(login) => self.open(*login, new, from, token_profile).await,
            LoginOutcome::CodeSpent => Err(AuthError::CodeSpent),
            LoginOutcome::NotProven { no_code: true } => Err(AuthError::SmsCodeMissing),
            LoginOutcome::NotProven { no_code: false } => Err(not_proven),
            LoginOutcome::Disabled(_) => Err(AuthError::UserDisabled),
            LoginOutcome::RegistrationClosed => Err(AuthError::RegistrationClosed),
            // A registered user has an id, and one that was free.
            LoginOutcome::UnknownUser | LoginOutcome::IdTaken { .. } => Err(AuthError::Interrupted),
        }
    }

    async fn open(
        &self,
        login: OpenedSession,
        new: &NewLogin,
        from: ClientIp,
        token_profile: &TokenProfile,
    ) -> Result<SignedIn, AuthError> {
        let now = new.now;
        let openid = match &new.proof {
            LoginProof::Wechat(identity) => Some(identity.openid.clone()),
            LoginProof::Sms(_) | LoginProof::Password(..) => None,
        };
        let OpenedSession {
            user,
            session,
            is_new_user,
            global_epoch,
            ended,
            merged,
        } = login;
        self.apply_ended_sessions(&ended, "single_session", now);
        if let Some((gone, revoked)) = &merged {
            self.apply_locally(revoked, "merged");
            self.parts.audit.record(&Event::UsersMerged {
                user: &user.id,
                gone,
                from,
            });
        }
        let grant = Grant {
            user: &user,
            session: &session,
            global_epoch,
        };
        Ok(SignedIn {
            is_new_user,
            ..self.sign(&grant, openid, token_profile, now).await?
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
                let (user, session, is_new_user) = (
                    &signed_in.user.id,
                    signed_in.session.id,
                    signed_in.is_new_user,
                );
                count(&self.parts.metrics.logins, &[method, "success"]);
                self.parts.metrics.sessions_opened.inc();
                self.parts.audit.record(&Event::LoginSucceeded {
                    method,
                    user,
                    session,
                    is_new_user,
                    from,
                });
                if self.parts.rules.hooks.logins {
                    let (user, client_type, at) =
                        (user.clone(), signed_in.session.client_type, self.now());
                    self.parts.outbox_dispatcher.send_login(LoginNotification {
                        user,
                        session,
                        client_type,
                        method,
                        is_new_user,
                        at,
                    });
                }
            }
            Err(error) => {
                let reason = error.code().as_str();
                count(&self.parts.metrics.logins, &[method, reason]);
                self.parts.audit.record(&Event::LoginFailed {
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
            id: self.parts.entropy.session_id()?,
            client_type,
            salt: RefreshSalt(self.parts.entropy.bytes()?),
            idle_ttl: self.parts.rules.idle_ttl,
            absolute_ttl: self.parts.rules.absolute_ttl,
        })
    }

    pub(super) fn new_user_id(&self, now: Timestamp) -> Result<NewUserId, NoEntropy> {
        new_user_id(self.parts.rules.first_integer, &self.parts.entropy, now)
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
