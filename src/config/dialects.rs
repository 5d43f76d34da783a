//! `[[dialect]]`: the APIs that existing mini programs call, with their paths, fields, shapes and
//! messages.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{HumanDuration, values::pairs};

/// One API of an existing mini program.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = nest())]
pub struct DialectConfig {
    /// `simplejwt` (`djangorestframework-simplejwt`), `nest` (`@nestjs/jwt`), `success-data`,
    /// `code-data` (Express), or `custom`, which is defined in this file alone. `menshen dialect
    /// nest` prints nest as a custom one, to start from.
    #[schemars(example = DialectKind::Nest)]
    pub kind: DialectKind,
    /// The prefix of its routes. Rejections on any path below it have the format of this dialect.
    /// Unset: `/api/v1` for nest, `/api` for simplejwt and success-data, none for the others.
    #[schemars(example = &"/api/v1")]
    pub prefix: Option<String>,
    /// How long its access tokens are valid. Unset: 7d for nest, 1h for code-data,
    /// `tokens.access_ttl` for the others. At most 7d.
    #[schemars(example = &"7d")]
    pub access_ttl: Option<HumanDuration>,
    /// Whether `{user.openid}` has a value. Unset: as the clients of the dialect need it; a custom
    /// one has it where it uses the placeholder.
    #[schemars(example = false)]
    pub openid: Option<bool>,
    /// What `{user.phone}` is. Unset: `masked`, because tokens travel.
    #[schemars(example = ShownPhone::Masked)]
    pub phone: Option<ShownPhone>,
    /// In place of `gate.token_header`, on every path below the prefix: `header.Name`. A route
    /// whose `inputs` say where its `access_token` is takes it from there alone.
    #[schemars(example = &"header._token")]
    pub access_token: Option<String>,
    /// Accept a token in `Authorization` without `Bearer`, on every path below the prefix. Unset:
    /// for code-data only.
    #[schemars(example = false)]
    pub bare_token: Option<bool>,
    /// The language of `{message}` where `messages` has none: `en` or `zh`. Unset: `en`; zh for
    /// nest, success-data and code-data.
    #[schemars(example = Language::Zh)]
    pub language: Option<Language>,
    /// Other names for kinds of user in `{user.type}`. The claim `user_type` and `X-User-Type` do
    /// not change.
    #[serde(default)]
    #[schemars(example = pairs(&[("user", "wechat")]))]
    pub user_types: BTreeMap<String, String>,
    /// Further claims of its access tokens, for a backend that reads the token itself. Claims that
    /// menshen sets cannot be listed.
    #[serde(default)]
    #[schemars(example = pairs(&[("user_id", "{user.id}")]))]
    pub claims: BTreeMap<String, String>,
    /// The same for `{refresh_jwt}`.
    #[serde(default)]
    #[schemars(example = pairs(&[("token_type", "refresh")]))]
    pub refresh_claims: BTreeMap<String, String>,
    /// What `{message}` is, by wire code (docs/errors.md) or by one of the finer `code_missing` (a
    /// login with no code to compare with), `wechat_refused` (WeChat answered with an errcode),
    /// `wechat_unreachable` (no response of WeChat, or one that is not JSON), `wechat_unusable` (a
    /// response without an openid), `refresh_expired` (the session has expired) and
    /// `refresh_wrong_type` (an access token in place of a refresh token).
    #[serde(default)]
    #[schemars(example = pairs(&[("token_missing", "please sign in")]))]
    pub messages: BTreeMap<String, String>,
    /// Its routes. For `custom` only.
    #[serde(default)]
    pub route: Vec<DialectRoute>,
    /// Formats of its rejections, where the route has none for the code: the first that matches.
    /// For `custom` only.
    #[serde(default)]
    pub error: Vec<DialectError>,
}

impl DialectConfig {
    /// The name in `access_token`, if it is that of a header.
    pub(super) fn token_header(&self) -> Option<&str> {
        self.access_token.as_deref()?.strip_prefix("header.")
    }
}

/// One route.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DialectRoute {
    /// `GET`, `POST`, `PUT`, `PATCH` or `DELETE`. Other methods of the same path go to the backend.
    #[schemars(example = &"POST")]
    pub method: String,
    /// After the prefix, exactly.
    #[schemars(example = &"/auth/wx-login")]
    pub path: String,
    /// What it does.
    #[schemars(example = DialectAction::WechatLogin)]
    pub action: DialectAction,
    /// Where each input is: `body.field` (`body.data.field` for a nested one), `header.Name` or
    /// `query.name`; of several (`body.nickName|body.nickname`) the first with a value. Inputs that
    /// are not listed are not read, except `access_token`, which is in `Authorization` or where
    /// the dialect says.
    /// docs/migrating.md lists the inputs of each action.
    #[serde(default)]
    #[schemars(example = pairs(&[("code", "body.code"), ("nickname", "body.nickName")]))]
    pub inputs: BTreeMap<String, String>,
    /// Validation of the inputs, with the messages for `{errors}`. All failures are reported, in
    /// this order.
    #[serde(default)]
    pub check: Vec<DialectCheck>,
    /// For `wechat_login`: `keep` stores a nickname and avatar where the user has none; `replace`
    /// stores those of each login.
    #[schemars(example = ProfileOfLogin::Keep)]
    pub profile: Option<ProfileOfLogin>,
    /// For `refresh`: `false` does not rotate the refresh token, for clients that keep their first
    /// one. Theft is not detected then.
    #[schemars(example = true)]
    pub rotate: Option<bool>,
    /// The status of a success. Unset: 200.
    #[schemars(example = 200)]
    pub status: Option<u32>,
    /// Further header fields of a success, with placeholders.
    #[serde(default)]
    #[schemars(example = pairs(&[("X-Session", "{session_id}")]))]
    pub headers: BTreeMap<String, String>,
    /// The JSON of a success, with placeholders in its texts. A text that is one placeholder
    /// becomes its value, of any type; a member whose name ends with `?` is left out where that is
    /// null. Unset: no body.
    #[schemars(example = &"{ \"token\": \"{access_token}\" }")]
    pub body: Option<String>,
    /// Formats of its rejections, which come before those of the dialect.
    #[serde(default)]
    pub error: Vec<DialectError>,
}

/// Validation of one input: one of a rule, a length and a pattern. With none of them the input must
/// be a text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DialectCheck {
    /// Which.
    #[schemars(example = &"phone")]
    pub input: String,
    /// `required`: it is present. `not_null`, `not_blank`: as the name says. `string`: a text, or a
    /// number, whose digits are taken. Each rule ignores what another one checks.
    #[schemars(example = CheckRule::Required)]
    pub rule: Option<CheckRule>,
    /// The fewest and the most characters.
    #[serde(default)]
    #[schemars(example = [11, 11])]
    pub length: Vec<u32>,
    /// A regular expression that it must match. `\d`, `\w`, `\s` and `\b` are about ASCII, as in
    /// JavaScript.
    #[schemars(example = &"^1[3-9][0-9]{9}$")]
    pub pattern: Option<String>,
    /// The message of a failure.
    #[schemars(example = &"not a phone number")]
    pub message: String,
}

/// One thing about what was sent, as Django REST framework and others tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckRule {
    Required,
    NotNull,
    String,
    NotBlank,
}

/// The format of a rejection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DialectError {
    /// The codes of the rejections, as in `messages`. Empty: all others.
    #[serde(default)]
    #[schemars(example = ["token_missing", "token_invalid"])]
    pub codes: Vec<String>,
    /// Its status. Unset: the default of the code (docs/errors.md).
    #[schemars(example = 401)]
    pub status: Option<u32>,
    /// Further header fields, with placeholders.
    #[serde(default)]
    #[schemars(example = pairs(&[("X-Reason", "{code}")]))]
    pub headers: BTreeMap<String, String>,
    /// Its JSON, as that of a success.
    #[schemars(example = &"{ \"code\": \"{status}\", \"message\": \"{message}\" }")]
    pub body: String,
    /// The JSON of each field in `{errors}`, where that is used.
    #[schemars(example = &"{ \"field\": \"{field.name}\", \"message\": \"{field.message}\" }")]
    pub item: Option<String>,
}

/// Which API it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DialectKind {
    Simplejwt,
    Nest,
    SuccessData,
    CodeData,
    #[default]
    Custom,
}

/// What a route does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DialectAction {
    /// Signs in with a code of `wx.login`.
    WechatLogin,
    /// Sends a code to a phone.
    SmsSend,
    /// Signs in with such a code.
    SmsLogin,
    /// Signs in with a name and a password.
    PasswordLogin,
    /// Gives an access token for a refresh token.
    Refresh,
    /// Gives an access token for one that may have expired, while its session lives.
    Renew,
    /// Ends the session.
    Logout,
    /// My profile.
    Me,
    /// Changes my profile.
    ChangeMe,
    /// Binds the phone of the phone number button.
    PhoneWechat,
    /// Binds a phone by a code that was sent to it.
    PhoneSms,
}

/// What becomes of a nickname and an avatar that come with a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProfileOfLogin {
    Keep,
    Replace,
}

/// How much of a phone is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ShownPhone {
    #[default]
    Masked,
    Full,
}

/// The language of messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    #[default]
    En,
    Zh,
}

impl DialectKind {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Simplejwt => "simplejwt",
            Self::Nest => "nest",
            Self::SuccessData => "success-data",
            Self::CodeData => "code-data",
            Self::Custom => "custom",
        }
    }
}

impl DialectConfig {
    /// One of this kind with nothing of its own.
    pub fn for_kind(kind: DialectKind) -> Self {
        Self {
            kind,
            ..Self::default()
        }
    }
}

/// The most common dialect.
fn nest() -> DialectConfig {
    DialectConfig {
        prefix: Some("/api/v1".to_owned()),
        ..DialectConfig::for_kind(DialectKind::Nest)
    }
}
