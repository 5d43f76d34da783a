//! What can stand in a template: the places that are filled in, and what fills them.

use std::borrow::Cow;

use serde_json::Value;

use crate::types::Timestamp;

macro_rules! placeholders {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// A place of a template. Its name is what stands between the braces.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Placeholder {
            $($(#[$doc])* $name,)*
        }

        impl Placeholder {
            /// Every place.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its name.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

placeholders! {
    /// The time of the answer.
    Now = "now",
    /// The request in the logs.
    RequestId = "request_id",
    /// In a token that is minted: its own name, never given twice.
    Jti = "jti",
    /// The status of the answer, a number.
    Status = "status",
    /// The name of the status: `Unauthorized`.
    Reason = "reason",

    AccessToken = "access_token",
    /// Opaque.
    RefreshToken = "refresh_token",
    /// The refresh token inside a JWT, for clients that look at its `exp`.
    RefreshJwt = "refresh_jwt",
    /// What the access token, or a code that was sent, is good for: whole seconds.
    ExpiresIn = "expires_in",
    /// Whole seconds.
    RefreshExpiresIn = "refresh_expires_in",
    IsNewUser = "is_new_user",
    SessionId = "session_id",
    /// Stands for the session where a client expects the `session_key` of WeChat.
    SessionHandle = "session_handle",
    ClientType = "client_type",

    UserId = "user.id",
    UserType = "user.type",
    UserName = "user.username",
    UserNickname = "user.nickname",
    UserAvatarUrl = "user.avatar_url",
    UserBio = "user.bio",
    UserBirthday = "user.birthday",
    /// Masked or whole, as `phone` of the dialect says.
    UserPhone = "user.phone",
    UserPhoneMasked = "user.phone_masked",
    /// Nothing where `openid` of the dialect is off.
    UserOpenid = "user.openid",
    /// Whether the user is an administrator.
    UserIsStaff = "user.is_staff",
    /// `true` for an administrator, nothing for others.
    UserIsSuperuser = "user.is_superuser",
    /// A list of texts.
    UserRoles = "user.roles",
    UserCreatedAt = "user.created_at",
    UserLastLoginAt = "user.last_login_at",

    /// Whole seconds until another code may be asked for.
    ResendAfter = "resend_after",

    /// E.164.
    PhoneNumber = "phone.number",
    PhoneMasked = "phone.masked",
    /// Without the country code.
    PhoneNational = "phone.national",
    PhoneCountryCode = "phone.country_code",
    /// Seconds since 1970; nothing where the phone came by a code.
    PhoneWatermarkTimestamp = "phone.watermark.timestamp",
    PhoneWatermarkAppid = "phone.watermark.appid",

    /// The wire code of a refusal.
    Code = "code",
    /// What a person is told: from `messages`, or in the language of the dialect.
    Message = "message",
    /// Whole seconds, as in `Retry-After`; nothing where there is none.
    RetryAfter = "retry_after",
    /// The same with its unit: `1 second`, `2 seconds`.
    RetryAfterSeconds = "retry_after.seconds",
    /// WeChat's own code of a refusal, a number.
    WechatErrcode = "wechat.errcode",
    /// The published text of that code.
    WechatErrmsg = "wechat.errmsg",
    /// Each field that was not valid, in the shape of `item`.
    Errors = "errors",
    /// An object: for each field that was not valid the list of its messages.
    ErrorsByField = "errors.by_field",

    /// In an `item`: the name that the client gives the field.
    FieldName = "field.name",
    FieldMessage = "field.message",
    /// What was sent; nothing where nothing was.
    FieldValue = "field.value",
}

impl Placeholder {
    /// Whether it is an instant, which has formats of its own.
    pub(super) const fn is_time(self) -> bool {
        matches!(
            self,
            Self::Now | Self::UserCreatedAt | Self::UserLastLoginAt
        )
    }
}

/// In every answer.
pub(super) const COMMON: &[Placeholder] = &[
    Placeholder::Now,
    Placeholder::RequestId,
    Placeholder::Status,
    Placeholder::Reason,
];

/// Of a user.
pub(super) const USER: &[Placeholder] = &[
    Placeholder::UserId,
    Placeholder::UserType,
    Placeholder::UserName,
    Placeholder::UserNickname,
    Placeholder::UserAvatarUrl,
    Placeholder::UserBio,
    Placeholder::UserBirthday,
    Placeholder::UserPhone,
    Placeholder::UserPhoneMasked,
    Placeholder::UserOpenid,
    Placeholder::UserIsStaff,
    Placeholder::UserIsSuperuser,
    Placeholder::UserRoles,
    Placeholder::UserCreatedAt,
    Placeholder::UserLastLoginAt,
];

/// Of a session that has been opened or renewed.
pub(super) const SESSION: &[Placeholder] = &[
    Placeholder::AccessToken,
    Placeholder::RefreshToken,
    Placeholder::RefreshJwt,
    Placeholder::ExpiresIn,
    Placeholder::RefreshExpiresIn,
    Placeholder::IsNewUser,
    Placeholder::SessionId,
    Placeholder::SessionHandle,
    Placeholder::ClientType,
];

/// Of a code that was sent.
pub(super) const SENT: &[Placeholder] = &[Placeholder::ExpiresIn, Placeholder::ResendAfter];

/// Of a phone that was bound.
pub(super) const PHONE: &[Placeholder] = &[
    Placeholder::PhoneNumber,
    Placeholder::PhoneMasked,
    Placeholder::PhoneNational,
    Placeholder::PhoneCountryCode,
    Placeholder::PhoneWatermarkTimestamp,
    Placeholder::PhoneWatermarkAppid,
];

/// Of a claim, besides a user's.
pub(super) const CLAIM: &[Placeholder] = &[Placeholder::ClientType, Placeholder::SessionId];

/// Of a refusal.
pub(super) const REFUSAL: &[Placeholder] = &[
    Placeholder::Code,
    Placeholder::Message,
    Placeholder::RetryAfter,
    Placeholder::RetryAfterSeconds,
    Placeholder::WechatErrcode,
    Placeholder::WechatErrmsg,
    Placeholder::Errors,
    Placeholder::ErrorsByField,
];

/// Of a message about a refusal.
pub(super) const MESSAGE: &[Placeholder] = &[
    Placeholder::Code,
    Placeholder::RetryAfter,
    Placeholder::RetryAfterSeconds,
    Placeholder::WechatErrcode,
    Placeholder::WechatErrmsg,
];

/// Of one field that was not valid.
pub(super) const FIELD: &[Placeholder] = &[
    Placeholder::FieldName,
    Placeholder::FieldMessage,
    Placeholder::FieldValue,
];

/// What fills a place.
#[derive(Debug, Clone)]
pub enum PlaceholderValue<'a> {
    /// `null`; the next alternative counts.
    Null,
    Bool(bool),
    Number(i64),
    Text(Cow<'a, str>),
    Time(Timestamp),
    Json(Value),
    /// JSON whose members stand in an order of their own.
    RawJson(String),
}

impl<'a> PlaceholderValue<'a> {
    /// A text that may not be there.
    pub fn text(text: Option<&'a str>) -> Self {
        text.map_or(Self::Null, |text| Self::Text(text.into()))
    }

    /// A text made just now.
    pub const fn owned(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }

    /// A count; one that no JSON reader takes for the same number is nothing.
    pub fn count(count: u64) -> Self {
        i64::try_from(count)
            .ok()
            .filter(|count| *count <= 1 << 53)
            .map_or(Self::Null, Self::Number)
    }
}

/// What fills the places of one answer.
pub trait PlaceholderSource {
    /// What stands at this place; nothing where the answer has no such thing.
    fn get(&self, placeholder: Placeholder) -> PlaceholderValue<'_>;
}
