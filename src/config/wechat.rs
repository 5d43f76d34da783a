//! `[wechat]`: the mini programs whose users sign in.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    HumanDuration, Mode, Problems, PushConfig, SecretText, WechatApp, admin::check_bearer_token,
    api_url::check_api_url, secret_form::SecretForm,
};
use crate::types::{AppId, Malformed};

/// The mini programs whose users sign in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WechatConfig {
    /// Where WeChat's server API is. `https://api2.weixin.qq.com` is its failover; `sh.`, `sz.` and
    /// `hk.api.` are regional.
    pub base_url: String,
    /// Total time for one call, its retry included.
    #[schemars(extend("minimum" = "1ms", "maximum" = "1m"))]
    pub timeout: HumanDuration,
    /// Where calls get their access token: `stable` gets it from WeChat by AppSecret; `none` sends
    /// none, for WeChat Cloud Run, which adds it on the way.
    pub token_mode: TokenMode,
    /// Lends the access token to a backend that calls WeChat itself and knows this secret, at least
    /// 32 characters: `GET
    /// /wechat/access_token?app_id=` on the admin listener, with it as `Authorization: Bearer`. Also `lend_token_file`. Unset: it
    /// is not lent.
    #[schemars(example = &"...")]
    pub lend_token: Option<SecretText>,
    /// Read `lend_token` from this file.
    #[schemars(extend("format" = "path"), example = &"lend.token")]
    pub lend_token_file: Option<PathBuf>,
    /// What WeChat takes for each phone number, in thousandths of a yuan: 30 is 0.03 CNY. Only for
    /// the metric `menshen_wechat_phone_cost_cny_total`. At most 100000.
    #[schemars(range(min = 0, max = 100_000))]
    pub phone_price: u32,
    /// Accept phone numbers also as `encrypted_data` and `iv`, from mini programs that are too old
    /// for phone codes. The encryption has no authentication, so prefer the codes.
    pub legacy_decrypt: bool,
    /// How old such encrypted data may be. 1 second to 1 day.
    #[schemars(extend("minimum" = "1s", "maximum" = "1d"))]
    pub watermark_max_age: HumanDuration,
    /// The one mini program of a deployment that has one. Several: `[[wechat.app]]`.
    #[schemars(example = &"wx0000000000000000")]
    pub app_id: Option<String>,
    /// Its AppSecret; also `secret_file`.
    #[schemars(example = &"...")]
    pub secret: Option<SecretText>,
    /// Read `secret` from this file.
    #[schemars(extend("format" = "path"), example = &"wechat.secret")]
    pub secret_file: Option<PathBuf>,
    /// Token of its message push ([wechat.push]); also `push_token_file`.
    #[schemars(example = &"...")]
    pub push_token: Option<SecretText>,
    /// Read `push_token` from this file.
    #[schemars(extend("format" = "path"), example = &"push.token")]
    pub push_token_file: Option<PathBuf>,
    /// `EncodingAESKey` of its message push, 43 characters; also `push_aes_key_file`.
    #[schemars(example = &"...")]
    pub push_aes_key: Option<SecretText>,
    /// Read `push_aes_key` from this file.
    #[schemars(extend("format" = "path"), example = &"push.key")]
    pub push_aes_key_file: Option<PathBuf>,
    pub push: PushConfig,
    /// Each mini program, where there are several. A login without `app_id` is for the first.
    pub app: Vec<WechatApp>,
}

/// Where access tokens come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TokenMode {
    /// From WeChat, by AppSecret.
    #[default]
    Stable,
    /// From nowhere: calls carry none.
    None,
}

impl WechatConfig {
    /// Every mini program: the one given in short form first, then the list.
    pub fn apps(&self) -> Vec<WechatApp> {
        let short = self.app_id.clone().map(|app_id| WechatApp {
            app_id,
            secret: self.secret.clone(),
            secret_file: self.secret_file.clone(),
            push_token: self.push_token.clone(),
            push_token_file: self.push_token_file.clone(),
            push_aes_key: self.push_aes_key.clone(),
            push_aes_key_file: self.push_aes_key_file.clone(),
        });
        short.into_iter().chain(self.app.iter().cloned()).collect()
    }

    pub(super) fn check(&self, mode: Mode, problems: &mut Problems) {
        check_api_url(
            "wechat.base_url",
            &self.base_url,
            "the AppSecret",
            mode,
            problems,
        );
        check_bearer_token("wechat.lend_token", self.lend_token.as_ref(), problems);
        if self.app_id.is_none() && self.secret.is_some() {
            problems.add(
                "wechat.app_id",
                "is missing: `wechat.secret` belongs to an app id",
            );
        }
        if mode == Mode::Production && self.apps().is_empty() && self.secret.is_none() {
            let others = ["mode", "wechat.app_id", "wechat.secret", "wechat.app"];
            problems.add_conflict("wechat", &others, NO_CREDENTIALS);
        }
        let keys = self
            .app_id
            .iter()
            .map(|_| "wechat".to_owned())
            .chain((0..self.app.len()).map(|n| format!("wechat.app[{n}]")));
        let apps: Vec<_> = keys.zip(self.apps()).collect();
        self.push.check(mode, &apps, problems);
        let mut seen: Vec<String> = Vec::new();
        for (key, app) in apps {
            let (id_key, secret_key) = (format!("{key}.app_id"), format!("{key}.secret"));
            if let Err(Malformed(what)) = AppId::parse(&app.app_id) {
                problems.add(&id_key, format!("{:?} {what}", app.app_id));
            } else if seen.contains(&app.app_id) {
                problems.add(&id_key, format!("{:?} is given twice", app.app_id));
            }
            match &app.secret {
                Some(secret) if secret.expose().trim().is_empty() => {
                    problems.add(&secret_key, "is empty");
                }
                Some(secret) if secret.expose() == "..." => {
                    problems.add(&secret_key, "is still the example");
                }
                None if mode == Mode::Production => {
                    let message = format!(
                        "is missing: set the AppSecret of {:?} here or in `secret_file`",
                        app.app_id
                    );
                    problems.add_conflict(&secret_key, &["mode", &id_key], message);
                }
                Some(_) | None => {}
            }
            SecretForm::WechatAppSecret.check(&secret_key, app.secret.as_ref(), problems);
            seen.push(app.app_id);
        }
    }
}

const NO_CREDENTIALS: &str = "production needs the mini program's credentials: give `wechat.app_id` and `wechat.secret` (or \
     `wechat.secret_file`), one [[wechat.app]] for each of several, or set mode = \"development\" to try menshen without";

impl Default for WechatConfig {
    fn default() -> Self {
        Self {
            base_url: "https://api.weixin.qq.com".to_owned(),
            timeout: HumanDuration::secs(10),
            lend_token: None,
            lend_token_file: None,
            token_mode: TokenMode::Stable,
            phone_price: 30,
            legacy_decrypt: false,
            watermark_max_age: HumanDuration::minutes(5),
            app_id: None,
            secret: None,
            secret_file: None,
            push_token: None,
            push_token_file: None,
            push_aes_key: None,
            push_aes_key_file: None,
            push: PushConfig::default(),
            app: Vec::new(),
        }
    }
}
