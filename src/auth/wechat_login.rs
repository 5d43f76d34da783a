//! Signing in with a code of `wx.login`.

use std::sync::Arc;

use uuid::Builder;

use super::{Auth, AuthError, SignedIn, coalesce};
use crate::{
    audit::Event,
    crypto,
    entropy::NoEntropy,
    provider::wechat::LoginCode,
    store::{CodeHash, LoginOutcome, LoginProof, NewLogin, NewSession, NewUserId, Opened, Profile, RefreshSalt},
    token::Grant,
    types::{AppId, ClientIp, ClientType, Malformed, Timestamp, UserId, UserType},
};

/// Its name in metrics and in the audit log.
const METHOD: &str = "wechat";
/// Development: a code that starts so signs in an administrator.
const ADMIN_CODE: &str = "admin";

/// What a mini program sends.
#[derive(Debug, Clone)]
pub struct WechatLogin {
    pub code: LoginCode,
    /// `None`: the first mini program of the config.
    pub app_id: Option<AppId>,
    pub profile: Profile,
    pub client_type: ClientType,
}

impl Auth {
    /// Signs a user in. Repeated posts of one code by one client share one login, so the result is shared too.
    pub async fn wechat_login(self: &Arc<Self>, login: WechatLogin, from: ClientIp) -> coalesce::Shared {
        let app = match self.admit_login(&login, from) {
            Ok(app) => app,
            Err(refused) => {
                self.record_refusal(&refused, from);
                return Err(Arc::new(refused));
            }
        };
        let code = self.hash_of(&app, &login.code);
        let this = Arc::clone(self);
        let work = || async move { this.login_and_record(login, app, code, from).await };
        if self.parts.wechat.codes_are_reusable() {
            return work().await.map(Arc::new).map_err(Arc::new);
        }
        let clock = self.parts.clock.clone();
        self.coalesce.once(code, from, move || clock.now(), work).await.unwrap_or_else(|coalesce::Spent| {
            self.record_refusal(&AuthError::CodeSpent, from);
            Err(Arc::new(AuthError::CodeSpent))
        })
    }

    /// What can be said before anybody is asked: the limit, and which mini program it is.
    fn admit_login(&self, login: &WechatLogin, from: ClientIp) -> Result<AppId, AuthError> {
        self.parts.limits.login(from)?;
        self.parts.wechat.app(login.app_id.as_ref()).ok_or(AuthError::UnknownApp)
    }

    async fn login_and_record(
        &self,
        login: WechatLogin,
        app: AppId,
        code: CodeHash,
        from: ClientIp,
    ) -> Result<SignedIn, AuthError> {
        let result = self.login_with_code(login, app, code).await;
        match &result {
            Ok(signed_in) => {
                let (user, session, is_new_user) = (&signed_in.user.id, signed_in.session.id, signed_in.is_new_user);
                self.parts.metrics.logins.with_label_values(&[METHOD, "success"]).inc();
                self.parts.metrics.sessions_opened.inc();
                self.parts.audit.record(&Event::LoginSucceeded { method: METHOD, user, session, is_new_user, from });
            }
            Err(error) => self.record_refusal(error, from),
        }
        result
    }

    fn record_refusal(&self, error: &AuthError, from: ClientIp) {
        let reason = error.code().as_str();
        self.parts.metrics.logins.with_label_values(&[METHOD, reason]).inc();
        self.parts.audit.record(&Event::LoginFailed { method: METHOD, reason, from });
    }

    async fn login_with_code(&self, login: WechatLogin, app: AppId, code: CodeHash) -> Result<SignedIn, AuthError> {
        let reusable = self.parts.wechat.codes_are_reusable();
        // Also finds out that the store is down before WeChat has used the code up.
        if !reusable && self.parts.store.code_spent(&code, self.now()).await? {
            return Err(AuthError::CodeSpent);
        }
        let identity = self.parts.wechat.code_to_session(&app, &login.code).await?;
        let person = identity.openid.clone();
        let (rules, now) = (&self.parts.rules, self.now());
        let is_admin = rules.admin_codes && login.code.expose().starts_with(ADMIN_CODE);
        let new = NewLogin {
            proof: LoginProof::Wechat(identity),
            profile: login.profile,
            user_type: if is_admin { UserType::admin() } else { UserType::user() },
            new_user: self.new_user_id(now)?,
            registration_open: rules.registration_open,
            code: (!reusable).then(|| (code, now.plus(coalesce::REMEMBERED))),
            merge: rules.merge,
            session: self.new_session(login.client_type)?,
            single_per_client_type: rules.single_per_client_type,
            now,
        };
        match self.parts.store.login(&new).await? {
            LoginOutcome::Opened(login) => {
                let mut signed_in = self.open(*login, now)?;
                signed_in.openid = Some(person);
                Ok(signed_in)
            }
            LoginOutcome::CodeSpent | LoginOutcome::NotProven => Err(AuthError::CodeSpent),
            LoginOutcome::Disabled(_) => Err(AuthError::UserDisabled),
            LoginOutcome::RegistrationClosed => Err(AuthError::RegistrationClosed),
        }
    }

    fn open(&self, opened: Opened, now: Timestamp) -> Result<SignedIn, AuthError> {
        let Opened { user, session, is_new_user, global_epoch, ended, merged } = opened;
        let _ = merged;
        self.bite_sessions(&ended, "single_session", now);
        let grant = Grant { user: &user, session: &session, global_epoch };
        Ok(SignedIn { is_new_user, ..self.sign(&grant, now)? })
    }

    fn new_session(&self, client_type: ClientType) -> Result<NewSession, NoEntropy> {
        Ok(NewSession {
            id: self.parts.entropy.session_id()?,
            client_type,
            salt: RefreshSalt(self.parts.entropy.bytes()?),
            idle_ttl: self.parts.rules.idle_ttl,
            absolute_ttl: self.parts.rules.absolute_ttl,
        })
    }

    fn new_user_id(&self, now: Timestamp) -> Result<NewUserId, NoEntropy> {
        if let Some(first) = self.parts.rules.first_integer {
            return Ok(NewUserId::NextInteger { first });
        }
        let random = self.parts.entropy.bytes()?;
        let id = Builder::from_unix_timestamp_millis(now.as_millis(), &random).into_uuid().to_string();
        UserId::parse(&id).map(NewUserId::Given).map_err(|Malformed(_)| NoEntropy)
    }

    fn hash_of(&self, app: &AppId, code: &LoginCode) -> CodeHash {
        CodeHash(crypto::mac(&self.parts.code_key, &[app.as_str().as_bytes(), code.expose().as_bytes()]))
    }
}
