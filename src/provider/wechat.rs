//! WeChat's server API: a login code becomes an openid, a phone code a phone number.
//!
//! One file for each call: `session`, `phone`, and `access_token`, which the others need; `call` is
//! what they share. `encrypted_data` and `raw_data` ask nobody: they check what WeChat gave the
//! mini program under the `session_key`.
//!
//! Must stay true: the AppSecret, the access token and the login code stand in URLs, so neither a
//! URL nor an answer is ever logged or put into an error; of a refusal only `errcode` and WeChat's
//! own request id are. A code is asked about again only when WeChat itself said that it did nothing
//! (errcode -1, an access token that it does not take): after a timeout the code may be used up.

mod access_token;
mod api;
mod api_client;
mod code;
mod credentials_check;
mod encrypted_data;
mod errcode;
mod object;
mod phone;
mod phone_info;
mod push;
mod raw_data;
mod response;
mod session;
mod setup;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use reqwest::Url;

pub use code::{LoginCode, PhoneCode};
pub use encrypted_data::{
    DecryptFailed, DecryptedPhone, EncryptedPhone, PhoneDecryption, Watermark,
};
pub use errcode::{Errcode, WechatError, WechatRejection};
pub use push::{
    AuthorizationChange, AuthorizationEvent, PushMessage, PushQuery, PushReceiver, PushRejection,
};
pub use raw_data::raw_data_is_signed;
pub use setup::WechatSetupError;

use crate::{
    clock::Clock,
    config::{Mode, TokenMode, WechatConfig},
    entropy::Entropy,
    metrics::Metrics,
    store::WechatIdentity,
    types::{AppId, OpenId, Phone, Secret},
};
use access_token::AccessTokenCache;
use api_client::ApiClient;
use setup::{NamedApp, is_live, named_apps};

/// The app id of a development without any.
const DEVELOPMENT_APP: &str = "development";
/// The country whose numbers development takes for codes.
const DEVELOPMENT_COUNTRY: &str = "86";

/// Who answers for codes, and who decrypts.
pub struct Wechat {
    client: WechatClient,
    decryption: Option<PhoneDecryption>,
}

enum WechatClient {
    /// WeChat, or what speaks like it.
    Live(Box<LiveClient>),
    /// Nobody: no network, a login code is its own openid, a phone code its own number. These mini
    /// programs are named in the config, if any.
    Development(Vec<AppId>),
}

/// The real client.
struct LiveClient {
    api: Arc<ApiClient>,
    timeout: Duration,
    apps: Vec<LiveApp>,
    /// In thousandths of a yuan.
    phone_price: u32,
}

struct LiveApp {
    app_id: AppId,
    secret: Secret<String>,
    /// `None` where calls carry no token.
    tokens: Option<AccessTokenCache>,
}

impl Wechat {
    /// The client that the config asks for. In development nothing is asked of the network, unless
    /// every mini program has a secret and `base_url` is on this machine (a simulated WeChat).
    /// Secrets in files have been read by now.
    pub fn new(
        config: &WechatConfig,
        mode: Mode,
        metrics: Metrics,
        clock: &Clock,
        entropy: &Entropy,
    ) -> Result<Self, WechatSetupError> {
        let base = Url::parse(&config.base_url).map_err(|_| WechatSetupError::BaseUrl)?;
        let named = named_apps(config)?;
        let max_age = config.watermark_max_age.get();
        let decryption = config
            .legacy_decrypt
            .then(|| PhoneDecryption::new(max_age, clock.clone()));
        let client = if is_live(mode, &base, &named) {
            let api = Arc::new(ApiClient::new(&base, metrics)?);
            WechatClient::Live(Box::new(LiveClient::new(
                config, named, &api, clock, entropy,
            )?))
        } else {
            WechatClient::Development(named.into_iter().map(|app| app.app_id).collect())
        };
        Ok(Self { client, decryption })
    }

    /// Whether a login asks WeChat, or what the config has for it. Where not, a login code is its
    /// own openid.
    pub fn uses_network(config: &WechatConfig, mode: Mode) -> bool {
        let (Ok(base), Ok(named)) = (Url::parse(&config.base_url), named_apps(config)) else {
            return false;
        };
        is_live(mode, &base, &named)
    }

    /// The app id of a login: the requested one if it is in the config, the first one without a
    /// request.
    pub fn app(&self, requested: Option<&AppId>) -> Option<AppId> {
        let mut known = match &self.client {
            WechatClient::Live(live) => live.apps.iter().map(|app| &app.app_id).collect::<Vec<_>>(),
            WechatClient::Development(apps) => apps.iter().collect(),
        };
        let fallback = AppId::parse(DEVELOPMENT_APP).ok();
        if known.is_empty() {
            // Development without app ids in the config accepts any: the mini program has its own.
            known.extend(requested.or(fallback.as_ref()));
        }
        match requested {
            Some(requested) => known.contains(&requested).then(|| requested.clone()),
            None => known.first().map(|&first| first.clone()),
        }
    }

    /// Whether a code can be used again: only where it stands for itself.
    pub const fn codes_are_reusable(&self) -> bool {
        matches!(self.client, WechatClient::Development(_))
    }

    /// Asks who the code stands for. `app` is one that [`Wechat::app`] gave.
    pub async fn code_to_session(
        &self,
        app: &AppId,
        code: &LoginCode,
    ) -> Result<WechatIdentity, WechatRejection> {
        match &self.client {
            WechatClient::Live(live) => live.code_to_session(app, code).await,
            WechatClient::Development(_) => {
                let openid = OpenId::parse(code.expose()).map_err(|_| WechatError::CodeInvalid)?;
                Ok(WechatIdentity {
                    app_id: app.clone(),
                    openid,
                    unionid: None,
                    session_key: None,
                })
            }
        }
    }

    /// Asks which phone number the code stands for; it has to have been given to this user of this
    /// mini program. Each success costs `wechat.phone_price`. After [`WechatError::Timeout`],
    /// [`WechatError::Broken`] and [`WechatError::Unusable`] the code may be used up.
    pub async fn phone_number(
        &self,
        app: &AppId,
        openid: &OpenId,
        code: &PhoneCode,
    ) -> Result<Phone, WechatError> {
        match &self.client {
            WechatClient::Live(live) => live.phone_number(app, openid, code).await,
            WechatClient::Development(_) => {
                let countries = [DEVELOPMENT_COUNTRY.to_owned()];
                Phone::parse(code.expose(), &countries).map_err(|_| WechatError::CodeInvalid)
            }
        }
    }

    /// The access token of a mini program, for a backend that calls WeChat itself: two owners would
    /// take it from each other. `None` where there is none: in development, and with
    /// `wechat.token_mode = "none"`. `app` is one that [`Wechat::app`] gave.
    pub async fn access_token(&self, app: &AppId) -> Result<Option<Secret<String>>, WechatError> {
        match &self.client {
            WechatClient::Live(live) => live.access_token(app).await,
            WechatClient::Development(_) => Ok(None),
        }
    }

    /// The old way to a phone number, which asks nobody; `None` unless `wechat.legacy_decrypt` is
    /// set.
    pub const fn phone_decryption(&self) -> Option<&PhoneDecryption> {
        self.decryption.as_ref()
    }
}

impl LiveClient {
    fn new(
        config: &WechatConfig,
        named: Vec<NamedApp>,
        api: &Arc<ApiClient>,
        clock: &Clock,
        entropy: &Entropy,
    ) -> Result<Self, WechatSetupError> {
        if named.is_empty() {
            return Err(WechatSetupError::NoApp);
        }
        let timeout = config.timeout.get();
        let live_app = |NamedApp { app_id, secret }| {
            let Some(secret) = secret else {
                return Err(WechatSetupError::NoSecret(app_id));
            };
            let tokens = (config.token_mode == TokenMode::Stable).then(|| {
                AccessTokenCache::new(
                    &app_id,
                    &secret,
                    Arc::clone(api),
                    timeout,
                    clock.clone(),
                    entropy.clone(),
                )
            });
            Ok(LiveApp {
                app_id,
                secret,
                tokens,
            })
        };
        let apps = named.into_iter().map(live_app).collect::<Result<_, _>>()?;
        Ok(Self {
            api: Arc::clone(api),
            timeout,
            apps,
            phone_price: config.phone_price,
        })
    }

    async fn access_token(&self, app: &AppId) -> Result<Option<Secret<String>>, WechatError> {
        let Some(tokens) = &self.app(app)?.tokens else {
            return Ok(None);
        };
        let token = tokens.token(Instant::now() + self.timeout).await?;
        Ok(Some(Secret::new(token.expose().to_owned())))
    }

    fn app(&self, app: &AppId) -> Result<&LiveApp, WechatError> {
        self.apps
            .iter()
            .find(|known| known.app_id == *app)
            .ok_or(WechatError::Misconfigured)
    }
}

#[cfg(test)]
mod tests;
