//! `[wechat.push]`: what WeChat pushes about users who take something back.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{HumanDuration, Mode, Problems, WechatApp};

/// Characters of an `EncodingAESKey`.
const AES_KEY_LEN: usize = 43;

/// WeChat's message push, at `/wechat/push` of the auth API: a user who cancels the authorisation
/// in WeChat is erased as by `DELETE /auth/me`; revoked data is cleared. Enter the address with
/// `push_token` and `push_aes_key` in the console of the mini program. See docs/hooks.md.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PushConfig {
    /// Whether pushes are accepted.
    pub enabled: bool,
    /// Accept pushes in plain mode from mini programs without `push_aes_key`. Their signature does
    /// not cover the body: an attacker who has seen one can erase any user until `max_age` is over.
    pub plain: bool,
    /// How long ago a push may have been signed. 10 seconds to 1 hour.
    #[schemars(extend("minimum" = "10s", "maximum" = "1h"))]
    pub max_age: HumanDuration,
}

impl PushConfig {
    pub(super) fn check(&self, mode: Mode, apps: &[(String, WechatApp)], problems: &mut Problems) {
        if !self.enabled {
            for (key, _) in apps
                .iter()
                .filter(|(_, app)| app.push_token.is_some() || app.push_aes_key.is_some())
            {
                problems.warn(
                    &format!("{key}.push_token"),
                    "is not used: `wechat.push.enabled` is false",
                );
            }
            return;
        }
        if apps.is_empty() {
            problems.add_conflict(
                "wechat.push.enabled",
                &["wechat.app_id", "wechat.app"],
                "needs a mini program with `push_token`",
            );
        }
        if self.plain && mode == Mode::Production {
            problems.warn(
                "wechat.push.plain",
                "accepts pushes whose body is not signed: prefer safe mode and `push_aes_key`",
            );
        }
        for (key, app) in apps {
            self.check_app(key, app, problems);
        }
    }

    fn check_app(&self, key: &str, app: &WechatApp, problems: &mut Problems) {
        let (token_key, aes_key) = (format!("{key}.push_token"), format!("{key}.push_aes_key"));
        let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        match app.push_token.as_ref().map(|token| token.expose().as_str()) {
            None => problems.add_conflict(
                &token_key,
                &["wechat.push.enabled"],
                "is missing: the Token of the message push",
            ),
            Some(token) if !(3..=32).contains(&token.len()) || !is_plain(token) => {
                problems.add(
                    &token_key,
                    "is not 3 to 32 letters and digits, which WeChat's console requires",
                );
            }
            Some(_) => {}
        }
        match app.push_aes_key.as_ref().map(|key| key.expose().as_str()) {
            None if self.plain => {}
            None => {
                let message = "is missing: the EncodingAESKey of the message push (safe mode), or `wechat.push.plain = true`";
                problems.add_conflict(
                    &aes_key,
                    &["wechat.push.enabled", "wechat.push.plain"],
                    message,
                );
            }
            Some(key) if key.len() != AES_KEY_LEN || !is_plain(key) => {
                problems.add(&aes_key, "is not an EncodingAESKey: 43 letters and digits");
            }
            Some(_) => {}
        }
    }
}

impl Default for PushConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            plain: false,
            max_age: HumanDuration::minutes(10),
        }
    }
}
