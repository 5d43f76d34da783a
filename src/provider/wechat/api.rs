//! The APIs of WeChat that menshen calls, and why a call gave nothing.

use super::{Errcode, WechatError};

/// What we ask of WeChat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Api {
    CodeToSession,
    StableToken,
    PhoneNumber,
}

/// Why a call gave nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallError {
    /// The access token is not valid, or not any more; nothing was done.
    StaleToken,
    Failed(WechatError),
    /// WeChat answered with this number.
    Rejected(WechatError, Errcode),
}

impl Api {
    /// Its name in metrics and logs.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::CodeToSession => "jscode2session",
            Self::StableToken => "stable_token",
            Self::PhoneNumber => "getuserphonenumber",
        }
    }

    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::CodeToSession => "/sns/jscode2session",
            Self::StableToken => "/cgi-bin/stable_token",
            Self::PhoneNumber => "/wxa/business/getuserphonenumber",
        }
    }
}

impl CallError {
    pub(super) const fn class(self) -> &'static str {
        match self {
            Self::StaleToken => "stale_token",
            Self::Failed(error) | Self::Rejected(error, _) => error.class(),
        }
    }

    /// The number that WeChat gave for it.
    pub(super) const fn errcode(self) -> Option<Errcode> {
        match self {
            Self::Rejected(_, errcode) => Some(errcode),
            Self::StaleToken | Self::Failed(_) => None,
        }
    }

    /// What it comes to where no other token can be tried.
    pub(super) fn into_wechat_error(self, api: Api) -> WechatError {
        match self {
            Self::Failed(error) | Self::Rejected(error, _) => error,
            Self::StaleToken => {
                let name = api.name();
                tracing::error!(
                    wechat.api = name,
                    "WeChat refuses the access token that it has just given: {name}"
                );
                WechatError::Misconfigured
            }
        }
    }
}
