//! `[sms.aliyun]`, `[sms.dypns]`, `[sms.tencent]` and `[sms.webhook]`: the account with each
//! provider.
//!
//! A table may be incomplete as long as `sms.providers` does not name its provider.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    provider::SmsProvider,
    template::{JsonTemplate, Template},
};
use crate::{
    config::{
        Mode, Problems, SecretText,
        address::{is_loopback, scheme_and_host},
        api_url::check_api_url,
        secret_form::SecretForm,
    },
    types::{Malformed, is_public},
};

/// Aliyun SMS, `SendSms`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AliyunConfig {
    /// The AccessKey ID, of a RAM user who may call `dysms:SendSms` and nothing else.
    #[schemars(example = &"LTAI0000000000000000")]
    pub access_key_id: Option<String>,
    /// Its AccessKey secret; also `access_key_secret_file`.
    #[schemars(example = &"...")]
    pub access_key_secret: Option<SecretText>,
    /// Read `access_key_secret` from this file.
    #[schemars(extend("format" = "path"), example = &"aliyun.secret")]
    pub access_key_secret_file: Option<PathBuf>,
    /// The approved signature that the message starts with.
    #[schemars(example = &"阿里云短信测试")]
    pub sign_name: Option<String>,
    /// The approved template.
    #[schemars(example = &"SMS_000000")]
    pub template_code: Option<String>,
    /// The template's variables: a JSON object of texts, in which `{code}` and `{minutes}` are
    /// filled.
    pub template_param: String,
    /// Where the API is.
    pub endpoint: String,
    /// What one message costs, in thousandths of a yuan: 45 is 0.045 CNY. 0: its cost is not
    /// counted.
    pub price: u32,
}

/// Aliyun number verification, `SendSmsVerifyCode`: for accounts without a signature of their own.
/// Mainland China only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DypnsConfig {
    /// The AccessKey ID, of a RAM user who may call `SendSmsVerifyCode` and nothing else.
    #[schemars(example = &"LTAI0000000000000000")]
    pub access_key_id: Option<String>,
    /// Its AccessKey secret; also `access_key_secret_file`.
    #[schemars(example = &"...")]
    pub access_key_secret: Option<SecretText>,
    /// Read `access_key_secret` from this file.
    #[schemars(extend("format" = "path"), example = &"aliyun.secret")]
    pub access_key_secret_file: Option<PathBuf>,
    /// One of the signatures that Aliyun gives.
    #[schemars(example = &"...")]
    pub sign_name: Option<String>,
    /// One of the templates that Aliyun gives.
    #[schemars(example = &"100001")]
    pub template_code: Option<String>,
    /// The template's variables: a JSON object of texts, in which `{code}` and `{minutes}` are
    /// filled.
    pub template_param: String,
    /// Where the API is.
    pub endpoint: String,
    /// What one message costs, in thousandths of a yuan. 0: its cost is not counted.
    pub price: u32,
}

/// Tencent Cloud SMS, `SendSms`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TencentConfig {
    /// The `SecretId`, of a sub-account that may call `sms:SendSms` and nothing else.
    #[schemars(example = &"AKID00000000000000000000000000000000")]
    pub secret_id: Option<String>,
    /// Its `SecretKey`; also `secret_key_file`.
    #[schemars(example = &"...")]
    pub secret_key: Option<SecretText>,
    /// Read `secret_key` from this file.
    #[schemars(extend("format" = "path"), example = &"tencent.secret")]
    pub secret_key_file: Option<PathBuf>,
    /// The application in the SMS console.
    #[schemars(example = &"1400000000")]
    pub sdk_app_id: Option<String>,
    /// The approved signature that the message starts with.
    #[schemars(example = &"腾讯云")]
    pub sign_name: Option<String>,
    /// The approved template.
    #[schemars(example = &"1110")]
    pub template_id: Option<String>,
    /// The template's variables in their order, in which `{code}` and `{minutes}` are filled.
    pub template_params: Vec<String>,
    /// The region that the call is for.
    pub region: String,
    /// Where the API is.
    pub endpoint: String,
    /// What one message costs, in thousandths of a yuan. 0: its cost is not counted.
    pub price: u32,
}

/// Your own server that sends the message. menshen posts `{id, phone, code, purpose, expires_in}`
/// as JSON to it: `phone` is `+8613800138000`, `purpose` is `login` or `bind`, `expires_in` is in
/// seconds. `id` is also in the header `Idempotency-Key`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WebhookConfig {
    /// Where to post. A redirect is not followed. 2xx means that the message is accepted, 429 that
    /// the phone has to wait (`Retry-After`, in seconds), any other 4xx but 408, 409 and 425 that
    /// the message is refused and another provider may be tried; after anything else it is unknown
    /// whether a message was sent.
    #[schemars(example = &"https://sms.example.com/send")]
    pub url: Option<String>,
    /// The key of the signature; also `secret_file`. `X-Menshen-Signature` is `sha256=` and the hex
    /// HMAC-SHA256 of `X-Menshen-Timestamp` (seconds since 1970), a `.` and the body. Refuse old
    /// timestamps.
    #[schemars(example = &"...")]
    pub secret: Option<SecretText>,
    /// Read `secret` from this file.
    #[schemars(extend("format" = "path"), example = &"webhook.secret")]
    pub secret_file: Option<PathBuf>,
    /// Whether the server may be on this machine or in a private network. If not, every address of
    /// its name is checked before each connection, and no proxy is used, since a proxy would hide
    /// the address.
    pub allow_private: bool,
    /// What one message costs, in thousandths of a yuan. 0: its cost is not counted.
    pub price: u32,
}

/// The two APIs of Aliyun have the same account.
macro_rules! check_aliyun_account {
    ($($config:ty),*) => {$(
        impl $config {
            pub(super) fn check(&self, mut check: ProviderCheck<'_>) {
                check.warn_if_unused(*self == Self::default());
                check.id("access_key_id", self.access_key_id.as_deref());
                check.secret("access_key_secret", self.access_key_secret.as_ref());
                check.secret_form(
                    SecretForm::AliyunAccessKeySecret,
                    "access_key_secret",
                    self.access_key_secret.as_ref(),
                );
                check.text("sign_name", self.sign_name.as_deref());
                check.text("template_code", self.template_code.as_deref());
                check.parse::<JsonTemplate>("template_param", &self.template_param);
                check.endpoint(&self.endpoint);
            }
        }
    )*};
}

check_aliyun_account!(AliyunConfig, DypnsConfig);

impl TencentConfig {
    pub(super) fn check(&self, mut check: ProviderCheck<'_>) {
        check.warn_if_unused(*self == Self::default());
        check.id("secret_id", self.secret_id.as_deref());
        check.secret("secret_key", self.secret_key.as_ref());
        check.secret_form(
            SecretForm::TencentSecretKey,
            "secret_key",
            self.secret_key.as_ref(),
        );
        check.text("sdk_app_id", self.sdk_app_id.as_deref());
        check.text("sign_name", self.sign_name.as_deref());
        check.text("template_id", self.template_id.as_deref());
        check.id("region", Some(&self.region));
        let templates: Vec<Option<Template>> = (self.template_params.iter().enumerate())
            .map(|(n, text)| check.parse(&format!("template_params[{n}]"), text))
            .collect();
        if templates
            .iter()
            .all(|template| matches!(template, Some(template) if !template.has_code()))
        {
            check.add(
                "template_params",
                "has no {code}: the message would not contain the code",
            );
        }
        check.endpoint(&self.endpoint);
    }
}

impl WebhookConfig {
    pub(super) fn check(&self, mut check: ProviderCheck<'_>) {
        check.warn_if_unused(*self == Self::default());
        check.text("url", self.url.as_deref());
        check.secret("secret", self.secret.as_ref());
        if let Some(url) = &self.url {
            self.check_url(url, check.mode, check.problems);
        }
    }

    /// The URL may hold a secret, so messages do not contain it.
    fn check_url(&self, url: &str, mode: Mode, problems: &mut Problems) {
        let key = "sms.webhook.url";
        let Some((scheme, host)) = scheme_and_host(url) else {
            return problems.add(
                key,
                "is not a URL: write https://host/path, without user name or fragment",
            );
        };
        if scheme == "http" && mode == Mode::Production && !is_loopback(&host) {
            problems.add_conflict(
                key,
                &["mode"],
                "must be https: it carries phone numbers and codes",
            );
        }
        let is_private =
            is_loopback(&host) || host.parse().is_ok_and(|address| !is_public(address));
        if is_private && !self.allow_private {
            let message = "is on this machine or in a private network: set `allow_private = true` if that is intended";
            problems.add_conflict(key, &["sms.webhook.allow_private"], message);
        }
    }
}

/// The checks that the tables share.
pub(super) struct ProviderCheck<'a> {
    pub(super) provider: SmsProvider,
    /// Whether `sms.providers` names it.
    pub(super) is_enabled: bool,
    pub(super) mode: Mode,
    pub(super) problems: &'a mut Problems,
}

impl ProviderCheck<'_> {
    fn key(&self, name: &str) -> String {
        format!("sms.{}.{name}", self.provider.as_str())
    }

    fn add(&mut self, name: &str, message: &str) {
        self.problems.add(&self.key(name), message);
    }

    fn warn_if_unused(&mut self, is_default: bool) {
        if !is_default && !self.is_enabled {
            let provider = self.provider.as_str();
            let message = format!("is not used: `sms.providers` does not name `{provider}`");
            self.problems.warn(&format!("sms.{provider}"), message);
        }
    }

    /// A text that the API needs.
    fn text(&mut self, name: &str, value: Option<&str>) {
        let message = match value {
            Some("") => "is empty".to_owned(),
            Some("...") => "is still the example".to_owned(),
            None if self.is_enabled => {
                let provider = self.provider.as_str();
                format!("is missing: `sms.providers` names `{provider}`")
            }
            Some(_) | None => return,
        };
        self.problems
            .add_conflict(&self.key(name), &["sms.providers"], message);
    }

    fn secret(&mut self, name: &str, value: Option<&SecretText>) {
        self.text(name, value.map(|secret| secret.expose().trim()));
    }

    /// Warns of a secret that cannot be one, where it is used.
    fn secret_form(&mut self, form: SecretForm, name: &str, value: Option<&SecretText>) {
        let value = value.filter(|_| self.is_enabled);
        form.check(&self.key(name), value, self.problems);
    }

    /// A text that is sent in a header.
    fn id(&mut self, name: &str, value: Option<&str>) {
        self.text(name, value);
        let is_plain = |text: &str| {
            text.bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        };
        if value.is_some_and(|text| text != "..." && !is_plain(text)) {
            self.add(name, "may hold letters, digits, '-', '_' and '.' alone");
        }
    }

    fn parse<T: std::str::FromStr<Err = Malformed>>(
        &mut self,
        name: &str,
        text: &str,
    ) -> Option<T> {
        let parsed = text.parse();
        parsed.map_err(|Malformed(what)| self.add(name, what)).ok()
    }

    fn endpoint(&mut self, url: &str) {
        let key = self.key("endpoint");
        check_api_url(
            &key,
            url,
            "phone numbers and codes",
            self.mode,
            self.problems,
        );
    }
}

impl Default for AliyunConfig {
    fn default() -> Self {
        Self {
            access_key_id: None,
            access_key_secret: None,
            access_key_secret_file: None,
            sign_name: None,
            template_code: None,
            template_param: r#"{"code":"{code}"}"#.to_owned(),
            endpoint: "https://dysmsapi.aliyuncs.com".to_owned(),
            price: 0,
        }
    }
}

impl Default for DypnsConfig {
    fn default() -> Self {
        Self {
            access_key_id: None,
            access_key_secret: None,
            access_key_secret_file: None,
            sign_name: None,
            template_code: None,
            template_param: r#"{"code":"{code}","min":"{minutes}"}"#.to_owned(),
            endpoint: "https://dypnsapi.aliyuncs.com".to_owned(),
            price: 0,
        }
    }
}

impl Default for TencentConfig {
    fn default() -> Self {
        Self {
            secret_id: None,
            secret_key: None,
            secret_key_file: None,
            sdk_app_id: None,
            sign_name: None,
            template_id: None,
            template_params: vec!["{code}".to_owned(), "{minutes}".to_owned()],
            region: "ap-guangzhou".to_owned(),
            endpoint: "https://sms.tencentcloudapi.com".to_owned(),
            price: 0,
        }
    }
}
