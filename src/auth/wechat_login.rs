//! Login with a code of `wx.login`.

use std::{sync::Arc, time::Duration};

use super::{
    Auth, AuthError, SignedIn, WechatPhone,
    login::LoginMethod,
    login_attempts::{self, LoginClient},
};
use crate::{
    crypto,
    dialect::TokenProfile,
    provider::wechat::{LoginCode, raw_data_is_signed},
    store::{CodeHash, CodeUse, LoginProof, NewLogin, Profile},
    token::Grant,
    types::{AppId, ClientIp, ClientType, Secret, UserType},
};

/// Development: a code with this prefix signs in an administrator.
const ADMIN_CODE_PREFIX: &str = "admin";

/// The request of a mini program.
#[derive(Debug, Clone)]
pub struct WechatLogin {
    pub code: LoginCode,
    /// `None`: the first mini program of the config.
    pub app_id: Option<AppId>,
    pub profile: Profile,
    /// Whether a nickname or avatar in `profile` replaces the stored one. Otherwise it is stored only
    /// if there is none.
    pub replaces_profile: bool,
    /// Checked where it is present, except in development without a network, where there is no
    /// `session_key`.
    pub signed: Option<SignedData>,
    /// The phone number of the user, which is bound when the login is done.
    pub phone: Option<WechatPhone>,
    pub client_type: ClientType,
    pub token_profile: Arc<TokenProfile>,
}

/// Milliseconds before each look for a login that another replica is about to commit: in all, almost
/// two seconds.
const LOOKS: [u64; 6] = [25, 50, 100, 200, 500, 1000];

/// A login that another replica may have done.
struct LoginElsewhere {
    code: CodeHash,
    client: Option<CodeHash>,
    token_profile: Arc<TokenProfile>,
}

/// Data that WeChat signed under the `session_key` of this login. It proves no identity.
#[derive(Debug, Clone)]
pub struct SignedData {
    /// As received, byte by byte.
    pub raw_data: Secret<String>,
    /// Lower-case hex of SHA-1.
    pub signature: Secret<String>,
}

impl SignedData {
    /// Whether WeChat signed it.
    fn is_genuine(&self, session_key: Option<&Secret<String>>) -> bool {
        let (raw_data, signature) = (self.raw_data.expose(), self.signature.expose());
        session_key.is_some_and(|key| raw_data_is_signed(raw_data.as_bytes(), signature, key))
    }
}

impl Auth {
    /// Logs a user in. Repeated posts of one code by one client share one login, so the result is
    /// shared too.
    pub async fn wechat_login(
        self: &Arc<Self>,
        login: WechatLogin,
        from: ClientIp,
    ) -> login_attempts::Shared {
        let app = match self.check_login(&login, from) {
            Ok(app) => app,
            Err(rejection) => {
                self.record_login(LoginMethod::Wechat, Err(&rejection), from);
                return Err(Arc::new(rejection));
            }
        };
        let code = self.login_code_hash(&app, &login.code);
        let by = LoginClient {
            from,
            token_profile: login.token_profile.number,
            phone: login.phone.as_ref().map(|phone| self.phone_hash(phone)),
        };
        let this = Arc::clone(self);
        let work = || async move { this.login_once(login, app, code, by).await };
        if self.wechat.codes_are_reusable() {
            return work().await.map(Arc::new).map_err(Arc::new);
        }
        let clock = self.clock.clone();
        self.memory
            .login_attempts
            .once(code, by, move || clock.monotonic(), work)
            .await
            .unwrap_or_else(|login_attempts::Spent| {
                self.record_login(LoginMethod::Wechat, Err(&AuthError::CodeUsed), from);
                Err(Arc::new(AuthError::CodeUsed))
            })
    }

    /// The checks that need no call: the rate limit and the app id.
    fn check_login(&self, login: &WechatLogin, from: ClientIp) -> Result<AppId, AuthError> {
        self.limits.login_per_ip.check(&from.network())?;
        self.wechat
            .app(login.app_id.as_ref())
            .ok_or(AuthError::UnknownApp)
    }

    /// Logs in, unless this client has done so with this code at another replica, or does so now.
    async fn login_once(
        &self,
        login: WechatLogin,
        app: AppId,
        code: CodeHash,
        by: LoginClient,
    ) -> Result<SignedIn, AuthError> {
        let from = by.from;
        let elsewhere = LoginElsewhere {
            code,
            client: self.client_hash(&by),
            token_profile: Arc::clone(&login.token_profile),
        };
        // Saves a call to WeChat for a spent code, and fails before the code is used up if the
        // store is down.
        let result = match self.login_elsewhere(&elsewhere).await {
            // Recorded where it was done.
            Ok(Some(signed_in)) => return Ok(signed_in),
            Ok(None) => {
                self.login_with_code(login, app, code, elsewhere.client, from)
                    .await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = &result
            && error.is_used_at_wechat()
            && let Some(signed_in) = self.wait_for_login_elsewhere(&elsewhere).await
        {
            return Ok(signed_in);
        }
        self.record_login(LoginMethod::Wechat, result.as_ref(), from);
        result
    }

    /// The session that this client has just opened with this code. `None`: the code is unused, as far
    /// as is known.
    async fn login_elsewhere(
        &self,
        elsewhere: &LoginElsewhere,
    ) -> Result<Option<SignedIn>, AuthError> {
        if self.wechat.codes_are_reusable() {
            return Ok(None);
        }
        let LoginElsewhere {
            code,
            client,
            token_profile,
        } = elsewhere;
        let login = match self
            .store
            .code_use(code, client.as_ref(), self.now())
            .await?
        {
            CodeUse::Unused => return Ok(None),
            CodeUse::Used => return Err(AuthError::CodeUsed),
            CodeUse::Opened(login) => login,
        };
        let grant = Grant {
            user: &login.user,
            session: &login.session,
            global_epoch: login.global_epoch,
        };
        let openid = self
            .openid_for(&grant.user.id, grant.session.id, token_profile)
            .await?;
        let signed_in = self.sign(&grant, openid, token_profile, self.now()).await?;
        Ok(Some(SignedIn {
            is_new_user: login.is_new_user,
            ..signed_in
        }))
    }

    /// WeChat gave the code to another replica, which may not have committed the login yet.
    async fn wait_for_login_elsewhere(&self, elsewhere: &LoginElsewhere) -> Option<SignedIn> {
        if !self.rules.shares_store || elsewhere.client.is_none() {
            return None;
        }
        for pause in LOOKS {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            match self.login_elsewhere(elsewhere).await {
                Ok(None) => {}
                Ok(signed_in) => return signed_in,
                Err(_) => return None,
            }
        }
        None
    }

    async fn login_with_code(
        &self,
        login: WechatLogin,
        app: AppId,
        code: CodeHash,
        client: Option<CodeHash>,
        from: ClientIp,
    ) -> Result<SignedIn, AuthError> {
        let reusable = self.wechat.codes_are_reusable();
        let identity = self.wechat.code_to_session(&app, &login.code).await?;
        if login
            .signed
            .as_ref()
            .is_some_and(|signed| !reusable && !signed.is_genuine(identity.session_key.as_ref()))
        {
            return Err(AuthError::RawDataForged);
        }
        let now = self.now();
        let is_admin = self.rules.admin_codes && login.code.expose().starts_with(ADMIN_CODE_PREFIX);
        let new = NewLogin {
            profile: login.profile,
            replaces_profile: login.replaces_profile,
            user_type: if is_admin {
                UserType::admin()
            } else {
                UserType::user()
            },
            code: (!reusable).then(|| (code, now.plus(login_attempts::SPENT_CODE_TTL))),
            code_client: client,
            ..self.new_login(LoginProof::Wechat(identity), login.client_type, now)?
        };
        self.sign_in(&new, login.phone.as_ref(), from, &login.token_profile)
            .await
    }

    fn login_code_hash(&self, app: &AppId, code: &LoginCode) -> CodeHash {
        CodeHash(crypto::mac(
            &self.code_key,
            &[app.as_str().as_bytes(), code.expose().as_bytes()],
        ))
    }

    /// What this client is known by at every replica. `None`: what became of its phone is known at one
    /// replica alone, so that no other one can tell it.
    fn client_hash(&self, by: &LoginClient) -> Option<CodeHash> {
        let LoginClient {
            from,
            token_profile,
            phone,
        } = by;
        let from = from.to_string();
        let parts = [
            b"client".as_slice(),
            from.as_bytes(),
            &token_profile.to_be_bytes(),
        ];
        let hash = || CodeHash(crypto::mac(&self.code_key, &parts));
        phone.is_none().then(hash)
    }

    fn phone_hash(&self, phone: &WechatPhone) -> CodeHash {
        let parts = match phone {
            WechatPhone::Code(code) => ["code", code.expose(), ""],
            WechatPhone::Encrypted { encrypted_data, iv } => {
                ["encrypted", encrypted_data.expose(), iv]
            }
        };
        CodeHash(crypto::mac(&self.code_key, &parts.map(str::as_bytes)))
    }
}
