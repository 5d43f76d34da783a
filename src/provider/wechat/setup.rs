//! The mini programs of the config, and whether WeChat is called for them.

use reqwest::Url;

use crate::{
    config::{Mode, SecretText, WechatConfig},
    outbound::{ClientError, is_loopback},
    types::{AppId, Secret},
};

/// Why there is no client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WechatSetupError {
    #[error("wechat.base_url is not a URL")]
    BaseUrl,
    #[error("the app id {0:?} is not valid: it must be 1 to 64 letters, digits, '-' or '_'")]
    AppId(String),
    #[error("no mini program: set wechat.app_id and wechat.secret")]
    NoApp,
    #[error("the mini program {0} has no secret")]
    NoSecret(AppId),
    #[error(transparent)]
    NoClient(#[from] ClientError),
}

/// A mini program of the config; an empty secret is none.
pub(super) struct NamedApp {
    pub(super) app_id: AppId,
    pub(super) secret: Option<Secret<String>>,
}

/// The mini programs of the config, in order.
pub(super) fn named_apps(config: &WechatConfig) -> Result<Vec<NamedApp>, WechatSetupError> {
    let named = config.apps().into_iter().map(|app| {
        let app_id =
            AppId::parse(&app.app_id).map_err(|_| WechatSetupError::AppId(app.app_id.clone()))?;
        let secret = app.secret.as_ref().map(SecretText::expose);
        let secret = secret.filter(|text| !text.is_empty());
        Ok(NamedApp {
            app_id,
            secret: secret.cloned().map(Secret::new),
        })
    });
    named.collect()
}

/// In development, only what is on this machine.
pub(super) fn is_live(mode: Mode, base: &Url, named: &[NamedApp]) -> bool {
    mode == Mode::Production || is_loopback(base) && have_secrets(named)
}

fn have_secrets(named: &[NamedApp]) -> bool {
    !named.is_empty() && named.iter().all(|app| app.secret.is_some())
}
