//! WeChat's server API: a login code becomes an openid.
//!
//! Source: `GET /sns/jscode2session`, developers.weixin.qq.com, "code2Session".
//!
//! Must stay true: the AppSecret and the code stand in the URL, so neither a URL nor an answer is ever logged or put into an
//! error; of a refusal only `errcode` and WeChat's own request id are. A code is asked about again only when WeChat itself
//! said that it did nothing (errcode -1): after a timeout the code may be used up.

mod answer;
mod code;
mod errcode;

use std::time::{Duration, Instant};

use reqwest::Url;

pub use code::LoginCode;
pub use errcode::WechatError;

use crate::{
    config::{Mode, SecretText, WechatConfig},
    metrics::Metrics,
    outbound::{NoClient, Outbound, is_loopback},
    store::WechatIdentity,
    types::{AppId, OpenId, Secret},
};
use answer::Answer;

/// The name of the call in metrics.
const API: &str = "jscode2session";
/// How long WeChat gets to recover from "system busy" before it is asked once more.
const RETRY_AFTER_BUSY: Duration = Duration::from_millis(200);
/// The app id of a development without any.
const DEVELOPMENT_APP: &str = "development";

/// Who answers for login codes.
#[derive(Debug)]
pub enum Wechat {
    /// WeChat, or what speaks like it.
    Live(Box<Live>),
    /// Nobody: no network, a code is its own openid.
    Development(Development),
}

/// The real client.
#[derive(Debug)]
pub struct Live {
    outbound: Outbound,
    endpoint: Url,
    timeout: Duration,
    apps: Vec<Credentials>,
    metrics: Metrics,
}

/// What development mode knows of mini programs: the ids that the config names, if any.
#[derive(Debug)]
pub struct Development {
    apps: Vec<AppId>,
}

#[derive(Debug)]
struct Credentials {
    app_id: AppId,
    secret: Secret<String>,
}

/// A mini program as the config names it; an empty secret is none.
struct NamedApp {
    app_id: AppId,
    secret: Option<Secret<String>>,
}

/// Why there is no client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    #[error("wechat.base_url is not a URL")]
    BaseUrl,
    #[error("the app id {0:?} is not valid: it must be 1 to 64 letters, digits, '-' or '_'")]
    AppId(String),
    #[error("no mini program: set wechat.app_id and wechat.secret")]
    NoApp,
    #[error("the mini program {0} has no secret")]
    NoSecret(AppId),
    #[error(transparent)]
    NoClient(#[from] NoClient),
}

impl Wechat {
    /// The client that the config asks for. In development nothing is asked of the network, unless every mini program has a
    /// secret and `base_url` is on this machine (a simulated WeChat). Secrets in files have been read by now.
    pub fn new(config: &WechatConfig, mode: Mode, metrics: Metrics) -> Result<Self, SetupError> {
        let base = Url::parse(&config.base_url).map_err(|_| SetupError::BaseUrl)?;
        let named = named_apps(config)?;
        if mode == Mode::Development && !(is_loopback(&base) && has_credentials(&named)) {
            return Ok(Self::Development(Development { apps: named.into_iter().map(|app| app.app_id).collect() }));
        }
        Live::new(&base, config.timeout.get(), named, metrics).map(|live| Self::Live(Box::new(live)))
    }

    /// The app id that a login is for: the one asked for if it is ours, the first without a wish.
    pub fn app(&self, asked: Option<&AppId>) -> Option<AppId> {
        let mut known = match self {
            Self::Live(live) => live.apps.iter().map(|app| &app.app_id).collect::<Vec<_>>(),
            Self::Development(development) => development.apps.iter().collect(),
        };
        let fallback = AppId::parse(DEVELOPMENT_APP).ok();
        if known.is_empty() {
            // Development without app ids takes any: the mini program under development knows its own.
            known.extend(asked.or(fallback.as_ref()));
        }
        match asked {
            Some(asked) => known.contains(&asked).then(|| asked.clone()),
            None => known.first().map(|&first| first.clone()),
        }
    }

    /// Whether a code can be used again: only where it is its own openid.
    pub const fn codes_are_reusable(&self) -> bool {
        matches!(self, Self::Development(_))
    }

    /// Asks who the code stands for. `app` is one that [`Wechat::app`] gave.
    pub async fn code_to_session(&self, app: &AppId, code: &LoginCode) -> Result<WechatIdentity, WechatError> {
        match self {
            Self::Live(live) => live.code_to_session(app, code).await,
            Self::Development(_) => {
                let openid = OpenId::parse(code.expose()).map_err(|_| WechatError::CodeInvalid)?;
                Ok(WechatIdentity { app_id: app.clone(), openid, unionid: None, session_key: None })
            }
        }
    }
}

impl Live {
    fn new(base: &Url, timeout: Duration, named: Vec<NamedApp>, metrics: Metrics) -> Result<Self, SetupError> {
        if named.is_empty() {
            return Err(SetupError::NoApp);
        }
        let with_secret = |NamedApp { app_id, secret }| match secret {
            Some(secret) => Ok(Credentials { app_id, secret }),
            None => Err(SetupError::NoSecret(app_id)),
        };
        let apps = named.into_iter().map(with_secret).collect::<Result<_, _>>()?;
        let endpoint = format!("{}/sns/jscode2session", base.as_str().trim_end_matches('/'));
        let endpoint = Url::parse(&endpoint).map_err(|_| SetupError::BaseUrl)?;
        Ok(Self { outbound: Outbound::new(base)?, endpoint, timeout, apps, metrics })
    }

    async fn code_to_session(&self, app: &AppId, code: &LoginCode) -> Result<WechatIdentity, WechatError> {
        let Some(credentials) = self.apps.iter().find(|known| known.app_id == *app) else {
            return Err(WechatError::Misconfigured);
        };
        let deadline = Instant::now() + self.timeout;
        let mut answer = self.ask(credentials, code, deadline).await;
        let room_for_another = deadline.saturating_duration_since(Instant::now()) > RETRY_AFTER_BUSY;
        if matches!(answer, Err(WechatError::Busy { .. })) && room_for_another {
            tokio::time::sleep(RETRY_AFTER_BUSY).await;
            answer = self.ask(credentials, code, deadline).await;
        }
        answer
    }

    async fn ask(
        &self,
        credentials: &Credentials,
        code: &LoginCode,
        deadline: Instant,
    ) -> Result<WechatIdentity, WechatError> {
        let begun = Instant::now();
        let limit = deadline.saturating_duration_since(begun);
        let result = match self.outbound.get(self.url(credentials, code), limit).await {
            Ok(answer) => Answer::read(answer.status, &answer.body).into_identity(&credentials.app_id),
            Err(fault) => {
                tracing::warn!(wechat.api = API, fault = %fault, "WeChat gave no answer: {fault}");
                Err(WechatError::from(fault))
            }
        };
        let class = result.as_ref().map_or_else(WechatError::class, |_| "ok");
        self.metrics.wechat_call(API, class, begun.elapsed());
        result
    }

    fn url(&self, credentials: &Credentials, code: &LoginCode) -> Url {
        let mut url = self.endpoint.clone();
        url.query_pairs_mut()
            .append_pair("appid", credentials.app_id.as_str())
            .append_pair("secret", credentials.secret.expose())
            .append_pair("js_code", code.expose())
            .append_pair("grant_type", "authorization_code");
        url
    }
}

/// Every mini program that the config names, in order.
fn named_apps(config: &WechatConfig) -> Result<Vec<NamedApp>, SetupError> {
    let single = config.app_id.iter().map(|app_id| (app_id, config.secret.as_ref()));
    let listed = config.app.iter().map(|app| (&app.app_id, app.secret.as_ref()));
    single
        .chain(listed)
        .map(|(app_id, secret)| {
            let app_id = AppId::parse(app_id).map_err(|_| SetupError::AppId(app_id.clone()))?;
            let secret = secret.map(SecretText::expose).filter(|text| !text.is_empty());
            Ok(NamedApp { app_id, secret: secret.cloned().map(Secret::new) })
        })
        .collect()
}

fn has_credentials(named: &[NamedApp]) -> bool {
    !named.is_empty() && named.iter().all(|app| app.secret.is_some())
}

#[cfg(test)]
mod tests;
