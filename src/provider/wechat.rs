//! The client of WeChat's server API: openids for login codes, phone numbers for phone codes.
//!
//! One file for each API: `session`, `phone`, and `access_token`, which `phone` needs; `api_client`
//! makes the calls. `encrypted_data` and `raw_data` call nothing: they check what WeChat gave the
//! mini program under the `session_key`.
//!
//! Must stay true: the AppSecret, the access token and the login code are in URLs, so neither a URL
//! nor a response is ever logged or put into an error; of a rejection only `errcode` and WeChat's
//! own request id are. A call with a code is retried only when WeChat itself said that it did
//! nothing (errcode -1, a rejected access token): after a timeout the code may be used up.

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

/// The app id in development without any in the config.
const DEVELOPMENT_APP: &str = "development";
/// The country of the numbers that are phone codes in development.
const DEVELOPMENT_COUNTRY: &str = "86";

/// The client and the decryption of legacy phone data.
pub struct Wechat {
    client: WechatClient,
    decryption: Option<PhoneDecryption>,
}

enum WechatClient {
    /// WeChat, or a simulation of it.
    Live(Box<LiveClient>),
    /// No network: a login code is its own openid, a phone code its own number. The mini programs
    /// of the config, if any.
    Development(Vec<AppId>),
}

/// The client that uses the network.
struct LiveClient {
    api: Arc<ApiClient>,
    timeout: Duration,
    apps: Vec<LiveApp>,
    /// Price of one phone number, in thousandths of a yuan.
    phone_price: u32,
}

struct LiveApp {
    app_id: AppId,
    secret: Secret<String>,
    /// `None` with `wechat.token_mode = "none"`.
    tokens: Option<AccessTokenCache>,
}

impl Wechat {
    /// From the config. In development the network is not used, unless every mini program has a
    /// secret and `base_url` is on this machine (a simulated WeChat). Secrets in files have been
    /// read before.
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

    /// Whether a login calls WeChat or its simulation. Where not, a login code is its own openid.
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

    /// Whether a login code can be used again: only without a network.
    pub const fn codes_are_reusable(&self) -> bool {
        matches!(self.client, WechatClient::Development(_))
    }

    /// The identity of a login code. `app` comes from [`Wechat::app`].
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

    /// The phone number of a phone code, which WeChat has to have given to this user of this mini
    /// program. Each success costs `wechat.phone_price`. After [`WechatError::Timeout`],
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
    /// invalidate each other's. `None` in development, and with `wechat.token_mode = "none"`. `app`
    /// comes from [`Wechat::app`].
    pub async fn access_token(&self, app: &AppId) -> Result<Option<Secret<String>>, WechatError> {
        match &self.client {
            WechatClient::Live(live) => live.access_token(app).await,
            WechatClient::Development(_) => Ok(None),
        }
    }

    /// The decryption of legacy phone data; `None` unless `wechat.legacy_decrypt` is set.
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
        Ok(Some(tokens.token(Instant::now() + self.timeout).await?))
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
