//! `[[wechat.app]]`: one mini program.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SecretText;

/// One mini program.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WechatApp {
    /// Its AppID, `wx...`.
    #[schemars(example = &"wx0000000000000000")]
    pub app_id: String,
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
}
