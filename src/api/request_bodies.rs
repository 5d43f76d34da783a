//! The schemas of request bodies, for the contract. [`BodyFields`](super::body::BodyFields) reads
//! the bodies, so that a rejection names every invalid field at once.

use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    auth::LogoutScope,
    types::{ClientType, SmsPurpose},
};

/// A login with the code of `wx.login`.
#[derive(ToSchema)]
pub(super) struct WechatLoginBody {
    /// The code that `wx.login` gave; five minutes, one use. Not the code of the phone number
    /// button.
    #[schema(min_length = 1, max_length = 256, pattern = "^[!-~]+$")]
    code: String,
    /// Stored where the user has none. An invalid one is ignored: empty, nothing visible, too long,
    /// with control characters, no string, or WeChat's anonymous one.
    #[schema(
        min_length = 1,
        max_length = 64,
        pattern = r"^[^\x00-\x1F\x7F-\x9F]*[0-9A-Za-z\u4E00-\u9FFF][^\x00-\x1F\x7F-\x9F]*$"
    )]
    nickname: Option<String>,
    /// Stored where the user has none. An http or https URL. Anything else is ignored, and so is
    /// the URL of a file that only the mini program can see (`wxfile://`, `http://tmp/`).
    #[schema(
        max_length = 512,
        pattern = r"^https?://([0-9A-Za-z]+(-[0-9A-Za-z]+)*\.)+[A-Za-z][0-9A-Za-z]*(-[0-9A-Za-z]+)*(:[1-9][0-9]{0,3})?([/?#][!-~]*)?$"
    )]
    avatar_url: Option<String>,
    /// `rawData` of `wx.getUserInfo`, unchanged. Needs `signature`, which is verified with the
    /// `session_key` of this login.
    #[schema(
        max_length = 4096,
        pattern = r"^([ -~]{0,4096}|[^\x00-\x1F\x7F]{0,1024})$"
    )]
    raw_data: Option<String>,
    /// `signature` of `wx.getUserInfo`: 40 lower-case hex digits.
    #[schema(pattern = "^[0-9a-f]{40}$")]
    signature: Option<String>,
    /// `e.detail.code` of the phone number button; five minutes, one use. Not the code of
    /// `wx.login`. The phone is bound when the login is done.
    #[schema(min_length = 1, max_length = 256, pattern = "^[!-~]+$")]
    phone_code: Option<String>,
    /// `e.detail.encryptedData` of the button, in place of `phone_code`, where the config allows
    /// it. Needs `iv`.
    #[schema(max_length = 4096)]
    encrypted_data: Option<String>,
    /// `e.detail.iv` of the button.
    #[schema(max_length = 64)]
    iv: Option<String>,
    /// Absent: `miniprogram`.
    client_type: Option<ClientType>,
    /// The mini program, where there are several. Absent: the first of the configuration.
    #[schema(min_length = 1, max_length = 64, pattern = "^[0-9A-Za-z_-]+$")]
    app_id: Option<String>,
}

/// A login with a name and a password.
#[derive(ToSchema)]
pub(super) struct PasswordLoginBody {
    /// The name that an operator has given, in any case.
    #[schema(min_length = 1, max_length = 64, pattern = "^[0-9A-Za-z_.@-]+$")]
    username: String,
    /// 1 to 256 bytes of UTF-8.
    #[schema(
        min_length = 1,
        max_length = 256,
        format = "password",
        pattern = r"^([ -~]{1,256}|[^\x00-\x1F\x7F]{1,64})$"
    )]
    password: String,
    /// Absent: `web`.
    client_type: Option<ClientType>,
}

/// A phone to send a code to.
#[derive(ToSchema)]
pub(super) struct SmsSendBody {
    /// In any spelling: `138 0013 8000`, `+86 138...`, `0086138...`.
    #[schema(example = "13800138000")]
    phone: String,
    /// What the code is for. Absent: `login`.
    purpose: Option<SmsPurpose>,
}

/// A login with a code that was sent to a phone.
#[derive(ToSchema)]
pub(super) struct SmsLoginBody {
    /// In any spelling.
    #[schema(example = "13800138000")]
    phone: String,
    /// Six digits.
    #[schema(pattern = "^[0-9]{6}$", example = "123456")]
    code: String,
    /// Absent: `miniprogram`.
    client_type: Option<ClientType>,
}

/// A phone and the code that was sent to it.
#[derive(ToSchema)]
pub(super) struct PhoneSmsBody {
    /// In any spelling.
    #[schema(example = "13800138000")]
    phone: String,
    /// Six digits, sent with the purpose `bind`.
    #[schema(pattern = "^[0-9]{6}$", example = "123456")]
    code: String,
    /// Where my login is not recent: a code that was sent to the phone that is bound now, with the
    /// purpose `login`.
    #[schema(pattern = "^[0-9]{6}$")]
    sms_code: Option<String>,
    /// Where my login is not recent: a code of `wx.login`.
    #[schema(min_length = 1, max_length = 256, pattern = "^[!-~]+$")]
    wechat_code: Option<String>,
}

/// The result of the phone number button: `code`, or, where the config allows it,
/// `encrypted_data` and `iv`.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub(super) enum PhoneWechatBody {
    Code {
        /// `e.detail.code` of the button; five minutes, one use. Not a code of `wx.login`.
        #[schema(min_length = 1, max_length = 256, pattern = "^[!-~]+$")]
        code: String,
    },
    Encrypted {
        /// `e.detail.encryptedData` of the button.
        #[schema(max_length = 4096)]
        encrypted_data: String,
        /// `e.detail.iv` of the button.
        #[schema(max_length = 64)]
        iv: String,
    },
}

/// Reauthentication, where my login is not recent: one of the two.
#[derive(ToSchema)]
pub(super) struct FreshProofBody {
    /// A code that was sent to my own phone, with the purpose `login`.
    #[schema(pattern = "^[0-9]{6}$")]
    sms_code: Option<String>,
    /// A code of `wx.login`.
    #[schema(min_length = 1, max_length = 256, pattern = "^[!-~]+$")]
    wechat_code: Option<String>,
}

/// A refresh token to exchange.
#[derive(ToSchema)]
pub(super) struct RefreshBody {
    /// The newest one of the session.
    #[schema(min_length = 1, max_length = 1024)]
    refresh_token: String,
}

/// Which sessions end.
#[derive(ToSchema)]
pub(super) struct LogoutBody {
    /// Absent: `local`, this session only. The others need an access token that has not expired.
    scope: Option<LogoutScope>,
    /// With `local`: ends its own session too, and needs no access token. An unknown one is no
    /// error (RFC 7009).
    refresh_token: Option<String>,
}

/// A change of my profile, as a JSON merge patch (RFC 7396): what is absent stays, null clears.
#[derive(ToSchema)]
pub(super) struct MePatch {
    /// Trimmed; without control characters, and not all of it invisible. WeChat's anonymous
    /// nickname is ignored.
    #[schema(
        min_length = 1,
        max_length = 64,
        pattern = r"^[^\x00-\x1F\x7F-\x9F]*[0-9A-Za-z\u4E00-\u9FFF][^\x00-\x1F\x7F-\x9F]*$"
    )]
    nickname: Option<String>,
    /// An http or https URL, and not of a file that only the mini program can see (`http://tmp/`).
    #[schema(
        max_length = 512,
        pattern = r"^https?://([0-9A-Za-z]+(-[0-9A-Za-z]+)*\.)+[A-Za-z][0-9A-Za-z]*(-[0-9A-Za-z]+)*(:[1-9][0-9]{0,3})?([/?#][!-~]*)?$"
    )]
    avatar_url: Option<String>,
    /// Line breaks and tabs are the only control characters.
    #[schema(
        max_length = 500,
        pattern = r"^[^\x00-\x08\x0B\x0C\x0E-\x1F\x7F-\x9F]*$"
    )]
    bio: Option<String>,
    /// From 1900-01-01 on.
    #[schema(format = Date, pattern = r"^(((19|[2-9][0-9])[0-9]{2})-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))|((19|[2-9][0-9])(0[48]|[2468][048]|[13579][26])|(2[048]|3[26]|[468][048]|[579][26])00)-02-29)$")]
    birthday: Option<String>,
}
