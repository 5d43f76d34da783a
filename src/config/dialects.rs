//! `[[dialect]]`: the APIs that existing mini programs call, with their paths, fields, shapes and
//! messages.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::HumanDuration;

/// One API that an existing mini program calls.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = nest())]
pub struct DialectConfig {
    /// `simplejwt` (`djangorestframework-simplejwt`), `nest` (`@nestjs/jwt`), `success-data`,
    /// `code-data` (Express), or `custom`, which is all in this file. `menshen dialect nest` prints
    /// nest as a custom one, to start from.
    #[schemars(example = DialectKind::Nest)]
    pub kind: DialectKind,
    /// Where its routes start. What menshen refuses on any path under it has the shape of this
    /// dialect. Unset: `/api/v1` for nest, `/api` for simplejwt and success-data, nothing for the
    /// others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"/api/v1")]
    pub prefix: Option<String>,
    /// How long its access tokens are valid. Unset: 7d for nest, 1h for code-data,
    /// `tokens.access_ttl` for the others. At most 7d.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"7d")]
    pub access_ttl: Option<HumanDuration>,
    /// Fill `{user.openid}` in. Unset: as the client of the dialect needs it; a custom one has it
    /// where it asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = false)]
    pub openid: Option<bool>,
    /// What `{user.phone}` is. Unset: `masked`, because tokens travel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = ShownPhone::Masked)]
    pub phone: Option<ShownPhone>,
    /// Take a token that stands in `Authorization` without `Bearer`, on every path under the
    /// prefix. Unset: for code-data only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = false)]
    pub bare_token: Option<bool>,
    /// In what language `{message}` is where `messages` has none: `en` or `zh`. Unset: `en`; zh for
    /// nest, success-data and code-data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = Language::Zh)]
    pub language: Option<Language>,
    /// Other names for kinds of user in `{user.type}`. The claim `user_type` and `X-User-Type` keep
    /// their own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(example = pairs(&[("user", "wechat")]))]
    pub user_types: BTreeMap<String, String>,
    /// Further claims of its access tokens, for a backend that reads the token itself. Those of
    /// menshen cannot be named.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(example = pairs(&[("user_id", "{user.id}")]))]
    pub claims: BTreeMap<String, String>,
    /// The same for `{refresh_jwt}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(example = pairs(&[("token_type", "refresh")]))]
    pub refresh_claims: BTreeMap<String, String>,
    /// What `{message}` is, by wire code (docs/errors.md) or by one of the finer `code_missing` (a
    /// login with no code to compare with), `wechat_refused` (WeChat answered with an errcode),
    /// `wechat_unreachable` (there was no answer of WeChat, or one that is no JSON),
    /// `wechat_unusable` (it does not say who it is), `refresh_expired` (the session has come to
    /// its end) and `refresh_wrong_type` (an access token in place of a refresh token).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(example = pairs(&[("token_missing", "please sign in")]))]
    pub messages: BTreeMap<String, String>,
    /// What it answers. For `custom` only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub route: Vec<DialectRoute>,
    /// What its refusals look like, where the route has none for the code: the first that fits. For
    /// `custom` only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub error: Vec<DialectError>,
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
    /// Where each input is found: `body.field` (`body.data.field` for one inside another),
    /// `header.Name` or `query.name`; of several (`body.nickName|body.nickname`) the first that has
    /// something. What is not named is not read, but for `access_token`, which is in
    /// `Authorization`. docs/migrating.md lists the inputs of each action.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(example = pairs(&[("code", "body.code"), ("nickname", "body.nickName")]))]
    pub inputs: BTreeMap<String, String>,
    /// What inputs have to look like, with the messages for `{errors}`. All that fail are told, in
    /// this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub check: Vec<DialectCheck>,
    /// For `wechat_login`: `keep` fills a nickname and avatar in where the user has none; `replace`
    /// takes those of each login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = ProfileOfLogin::Keep)]
    pub profile: Option<ProfileOfLogin>,
    /// For `refresh`: `false` leaves the refresh token as it is, for clients that keep their first
    /// one. Theft is not found out then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = true)]
    pub rotate: Option<bool>,
    /// The status of a success. Unset: 200.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = 200)]
    pub status: Option<u32>,
    /// Further header fields of a success, with placeholders.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(example = pairs(&[("X-Session", "{session_id}")]))]
    pub headers: BTreeMap<String, String>,
    /// The JSON of a success, with placeholders in its texts. A text that is one placeholder
    /// becomes its value, of any type; a member whose name ends with `?` is left out where that is
    /// null. Unset: no body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"{ \"token\": \"{access_token}\" }")]
    pub body: Option<String>,
    /// What its refusals look like, before those of the dialect.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub error: Vec<DialectError>,
}

/// What one input has to look like: one of a rule, a length and a pattern. With none of them it has
/// to be a text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DialectCheck {
    /// Which.
    #[schemars(example = &"phone")]
    pub input: String,
    /// `required`: it was sent. `not_null`, `not_blank`: so it says. `string`: a text, or a number
    /// for its digits. Each passes what another of them is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = CheckRule::Required)]
    pub rule: Option<CheckRule>,
    /// The fewest and the most characters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(example = [11, 11])]
    pub length: Vec<u32>,
    /// A regular expression that it has to match. `\d`, `\w`, `\s` and `\b` are about ASCII, as in
    /// JavaScript.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"^1[3-9][0-9]{9}$")]
    pub pattern: Option<String>,
    /// What is said where it does not.
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

/// What a refusal looks like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DialectError {
    /// For which refusals, as in `messages`. Empty: for all that are left.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(example = ["token_missing", "token_invalid"])]
    pub codes: Vec<String>,
    /// Its status. Unset: the usual one of the code (docs/errors.md).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = 401)]
    pub status: Option<u32>,
    /// Further header fields, with placeholders.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(example = pairs(&[("X-Reason", "{code}")]))]
    pub headers: BTreeMap<String, String>,
    /// Its JSON, as that of a success.
    #[schemars(example = &"{ \"code\": \"{status}\", \"message\": \"{message}\" }")]
    pub body: String,
    /// The JSON of each field in `{errors}`, where that is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"{ \"field\": \"{field.name}\", \"message\": \"{field.message}\" }")]
    pub item: Option<String>,
}

/// Which API it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DialectKind {
    Simplejwt,
    Nest,
    SuccessData,
    CodeData,
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
    pub const fn for_kind(kind: DialectKind) -> Self {
        Self {
            kind,
            prefix: None,
            access_ttl: None,
            openid: None,
            phone: None,
            bare_token: None,
            language: None,
            user_types: BTreeMap::new(),
            claims: BTreeMap::new(),
            refresh_claims: BTreeMap::new(),
            messages: BTreeMap::new(),
            route: Vec::new(),
            error: Vec::new(),
        }
    }
}

/// The one that the most teams write.
fn nest() -> DialectConfig {
    DialectConfig {
        prefix: Some("/api/v1".to_owned()),
        ..DialectConfig::for_kind(DialectKind::Nest)
    }
}

fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}
