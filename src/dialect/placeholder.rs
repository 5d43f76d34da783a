//! The placeholders of templates, and the values that they stand for.

use std::borrow::Cow;

use serde_json::Value;

use crate::types::Timestamp;

/// Declares the placeholders by group. A template is allowed whole groups.
macro_rules! placeholders {
    ($(
        $(#[$group_doc:meta])*
        $group:ident {
            $($(#[$doc:meta])* $name:ident = $text:literal,)*
        }
    )*) => {
        /// A placeholder of a template. Its name stands between braces.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Placeholder {
            $($($(#[$doc])* $name,)*)*
        }

        impl Placeholder {
            /// Every placeholder.
            pub const ALL: &'static [Self] = &[$($(Self::$name,)*)*];

            /// Its name.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $($(Self::$name => $text,)*)*
                }
            }
        }

        $(
            $(#[$group_doc])*
            pub(super) const $group: &[Placeholder] = &[$(Placeholder::$name,)*];
        )*
    };
}

placeholders! {
    /// In every response.
    COMMON {
        /// The time of the response.
        Now = "now",
        /// The request in the logs.
        RequestId = "request_id",
        /// The status of the response, a number.
        Status = "status",
        /// The name of the status: `Unauthorized`.
        Reason = "reason",
    }
    /// Of a minted token.
    MINTED {
        /// Its unique id.
        Jti = "jti",
    }
    /// Of a session that has been opened or renewed.
    SESSION {
        AccessToken = "access_token",
        /// Opaque.
        RefreshToken = "refresh_token",
        /// The refresh token inside a JWT, for clients that read its `exp`.
        RefreshJwt = "refresh_jwt",
        /// Lifetime of the access token, or of an SMS code: whole seconds.
        ExpiresIn = "expires_in",
        /// Whole seconds.
        RefreshExpiresIn = "refresh_expires_in",
        IsNewUser = "is_new_user",
        SessionId = "session_id",
        /// Stands for the session where a client expects the `session_key` of WeChat.
        SessionHandle = "session_handle",
        ClientType = "client_type",
    }
    /// Of a login by WeChat.
    LOGIN {
        /// The error code of a phone that came with the login and was not bound; else `null`.
        PhoneError = "phone_error",
    }
    /// Of a user.
    USER {
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
        /// `null` if `openid` of the dialect is off.
        UserOpenid = "user.openid",
        /// Whether the user is an administrator.
        UserIsStaff = "user.is_staff",
        /// `true` for an administrator, `null` for others.
        UserIsSuperuser = "user.is_superuser",
        /// A list of texts.
        UserRoles = "user.roles",
        UserCreatedAt = "user.created_at",
        UserLastLoginAt = "user.last_login_at",
    }
    /// Of an SMS code that was sent, besides `expires_in`.
    SENT {
        /// Whole seconds until another code may be asked for.
        ResendAfter = "resend_after",
    }
    /// Of a phone that was bound.
    PHONE {
        /// E.164.
        PhoneNumber = "phone.number",
        PhoneMasked = "phone.masked",
        /// Without the country code.
        PhoneNational = "phone.national",
        PhoneCountryCode = "phone.country_code",
        /// Seconds since 1970; `null` if the phone was bound with a code.
        PhoneWatermarkTimestamp = "phone.watermark.timestamp",
        PhoneWatermarkAppid = "phone.watermark.appid",
    }
    /// Of a rejection.
    REJECTION {
        /// The error code of a rejection.
        Code = "code",
        /// For people: from `messages`, or in the language of the dialect.
        Message = "message",
        /// Whole seconds, as in `Retry-After`; `null` without one.
        RetryAfter = "retry_after",
        /// The same with its unit: `1 second`, `2 seconds`.
        RetryAfterSeconds = "retry_after.seconds",
        /// WeChat's errcode, a number.
        WechatErrcode = "wechat.errcode",
        /// The published text of that errcode.
        WechatErrmsg = "wechat.errmsg",
        /// A list of the invalid fields, each rendered with `item`.
        Errors = "errors",
        /// An object: for each invalid field, the list of its messages.
        ErrorsByField = "errors.by_field",
    }
    /// Of one invalid field, in an `item`.
    FIELD {
        /// The client's name of the field.
        FieldName = "field.name",
        FieldMessage = "field.message",
        /// The value in the request; `null` without one.
        FieldValue = "field.value",
    }
}

impl Placeholder {
    /// Whether it is a time, which has formats of its own.
    pub(super) const fn is_time(self) -> bool {
        matches!(
            self,
            Self::Now | Self::UserCreatedAt | Self::UserLastLoginAt
        )
    }
}

/// Of a claim, in addition to those of a user.
pub(super) const CLAIM: &[Placeholder] = &[Placeholder::ClientType, Placeholder::SessionId];

/// Of a message about a rejection.
pub(super) const MESSAGE: &[Placeholder] = &[
    Placeholder::Code,
    Placeholder::RetryAfter,
    Placeholder::RetryAfterSeconds,
    Placeholder::WechatErrcode,
    Placeholder::WechatErrmsg,
];

/// The value of a placeholder.
#[derive(Debug, Clone)]
pub enum PlaceholderValue<'a> {
    /// `null`: the next alternative is taken.
    Null,
    Bool(bool),
    Number(i64),
    Text(Cow<'a, str>),
    Time(Timestamp),
    Json(Value),
    /// Serialized JSON, whose members keep their order.
    RawJson(String),
}

impl<'a> PlaceholderValue<'a> {
    /// A text, or `null`.
    pub fn text(text: Option<&'a str>) -> Self {
        text.map_or(Self::Null, |text| Self::Text(text.into()))
    }

    /// An owned text.
    pub const fn owned(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }

    /// A count; one that not every JSON reader keeps exact is `null`.
    pub fn count(count: u64) -> Self {
        i64::try_from(count)
            .ok()
            .filter(|count| *count <= 1 << 53)
            .map_or(Self::Null, Self::Number)
    }
}

/// The values of one response.
pub trait PlaceholderSource {
    /// The value of a placeholder; `null` if the response has none.
    fn get(&self, placeholder: Placeholder) -> PlaceholderValue<'_>;
}
