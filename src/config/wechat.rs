//! `[wechat]`: the mini programs whose users sign in.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{HumanDuration, SecretText};

/// The mini programs whose users sign in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WechatConfig {
    /// Where WeChat's server API is. `https://api2.weixin.qq.com` is its failover; `sh.`, `sz.` and `hk.api.` are regional.
    pub base_url: String,
    /// Total time for one call, its retry included.
    pub timeout: HumanDuration,
    /// The one mini program of a deployment that has one. Several: `[[wechat.app]]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_id: Option<String>,
    /// Its AppSecret; also `secret_file`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretText>,
    /// Read `secret` from this file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
    /// Each mini program, where there are several. A login without `app_id` is for the first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub app: Vec<WechatApp>,
}

impl Default for WechatConfig {
    fn default() -> Self {
        Self {
            base_url: "https://api.weixin.qq.com".to_owned(),
            timeout: HumanDuration::secs(10),
            app_id: None,
            secret: None,
            secret_file: None,
            app: Vec::new(),
        }
    }
}

/// One mini program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WechatApp {
    /// Its AppID, `wx...`.
    pub app_id: String,
    /// Its AppSecret; also `secret_file`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretText>,
    /// Read `secret` from this file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
}
