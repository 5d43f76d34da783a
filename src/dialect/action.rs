//! What the routes of a dialect do: the inputs that each takes, and the places that its answer has.

use super::placeholder::{self, Placeholder};
use crate::config::DialectAction;

/// The inputs of an action, by the names that the auth API has for them.
pub(super) struct Inputs {
    /// Has to be named in the config.
    pub(super) required: &'static [&'static str],
    pub(super) optional: &'static [&'static str],
}

/// Where the access token is, unless it is named: in `Authorization`.
pub const ACCESS_TOKEN: &str = "access_token";

/// What it takes.
pub(super) const fn inputs(action: DialectAction) -> Inputs {
    let (required, optional): (&[_], &[_]) = match action {
        DialectAction::WechatLogin => (
            &["code"],
            &[
                "nickname",
                "avatar_url",
                "client_type",
                "app_id",
                "raw_data",
                "signature",
            ],
        ),
        DialectAction::SmsSend => (&["phone"], &["purpose"]),
        DialectAction::SmsLogin => (&["phone", "code"], &["client_type"]),
        DialectAction::PasswordLogin => (&["username", "password"], &["client_type"]),
        DialectAction::Refresh => (&["refresh_token"], &[]),
        DialectAction::Renew | DialectAction::Me => (&[], &[ACCESS_TOKEN]),
        DialectAction::Logout => (&[], &[ACCESS_TOKEN, "scope", "refresh_token"]),
        DialectAction::ChangeMe => (
            &[],
            &[ACCESS_TOKEN, "nickname", "avatar_url", "bio", "birthday"],
        ),
        DialectAction::PhoneWechat => (
            &[],
            &[
                ACCESS_TOKEN,
                "session_handle",
                "openid",
                "code",
                "encrypted_data",
                "iv",
            ],
        ),
        DialectAction::PhoneSms => (
            &["phone", "code"],
            &[ACCESS_TOKEN, "sms_code", "wechat_code"],
        ),
    };
    Inputs { required, optional }
}

/// The places of its answer, besides those of every answer.
pub(super) const fn placeholders(action: DialectAction) -> &'static [&'static [Placeholder]] {
    match action {
        DialectAction::WechatLogin
        | DialectAction::SmsLogin
        | DialectAction::PasswordLogin
        | DialectAction::Refresh
        | DialectAction::Renew => &[placeholder::COMMON, placeholder::SESSION, placeholder::USER],
        DialectAction::SmsSend => &[placeholder::COMMON, placeholder::SENT],
        DialectAction::Logout => &[placeholder::COMMON],
        DialectAction::Me | DialectAction::ChangeMe => &[placeholder::COMMON, placeholder::USER],
        // Where two accounts become one there may be a new session.
        DialectAction::PhoneWechat | DialectAction::PhoneSms => &[
            placeholder::COMMON,
            placeholder::PHONE,
            placeholder::SESSION,
        ],
    }
}
