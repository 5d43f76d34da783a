//! The actions of routes: the inputs of each, and the placeholders of its response.

use super::placeholder::{self, Placeholder};
use crate::config::DialectAction;

/// The inputs of an action, by the auth API's names.
pub(super) struct ActionInputs {
    /// The config has to name them.
    pub(super) required: &'static [&'static str],
    pub(super) optional: &'static [&'static str],
}

/// The input for the access token. A route without it reads `Authorization`.
pub const ACCESS_TOKEN: &str = "access_token";

/// The inputs of an action.
pub(super) const fn inputs(action: DialectAction) -> ActionInputs {
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
                "phone_code",
                "encrypted_data",
                "iv",
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
    ActionInputs { required, optional }
}

/// The placeholders of its response.
pub(super) const fn placeholders(action: DialectAction) -> &'static [&'static [Placeholder]] {
    match action {
        DialectAction::WechatLogin => &[
            placeholder::COMMON,
            placeholder::SESSION,
            placeholder::USER,
            placeholder::LOGIN,
        ],
        DialectAction::SmsLogin
        | DialectAction::PasswordLogin
        | DialectAction::Refresh
        | DialectAction::Renew => &[placeholder::COMMON, placeholder::SESSION, placeholder::USER],
        DialectAction::SmsSend => &[
            placeholder::COMMON,
            &[Placeholder::ExpiresIn],
            placeholder::SENT,
        ],
        DialectAction::Logout => &[placeholder::COMMON],
        DialectAction::Me | DialectAction::ChangeMe => &[placeholder::COMMON, placeholder::USER],
        // Merging two accounts can open a new session.
        DialectAction::PhoneWechat | DialectAction::PhoneSms => &[
            placeholder::COMMON,
            placeholder::PHONE,
            placeholder::SESSION,
        ],
    }
}
