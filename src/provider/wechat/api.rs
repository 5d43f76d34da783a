//! The APIs of WeChat that menshen calls, and why a call fails.

use super::errcode::{Errcode, WechatError, WechatRejection};

/// An API of WeChat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Api {
    CodeToSession,
    StableToken,
    PhoneNumber,
}

/// Why a call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallError {
    /// The access token is not valid, or no longer; nothing was done.
    StaleToken,
    Failed(WechatRejection),
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

    /// The meaning of a nonzero `errcode` of this API. Sources: the tables of errcodes on the pages
    /// of the three APIs, developers.weixin.qq.com.
    pub(super) const fn classify(self, errcode: i64) -> CallError {
        let why = match (self, errcode, WechatError::from_errcode(errcode)) {
            (Self::PhoneNumber, 40001 | 40014 | 42001, _) => return CallError::StaleToken,
            // The code was given to another mini program, or does not belong to this openid, which
            // is itself valid.
            (Self::PhoneNumber, 40013 | 40003, _) => WechatError::CodeInvalid,
            // This call has no code and no user, so such an errcode makes no sense.
            (Self::StableToken, _, WechatError::CodeInvalid | WechatError::Blocked) => {
                WechatError::Unusable
            }
            (_, _, meaning) => meaning,
        };
        let errcode = Some(Errcode::new(errcode));
        CallError::Failed(WechatRejection { why, errcode })
    }
}

impl CallError {
    pub(super) const fn class(self) -> &'static str {
        match self {
            Self::StaleToken => "stale_token",
            Self::Failed(rejection) => rejection.why.class(),
        }
    }

    /// The rejection where no other access token can be tried.
    pub(super) fn into_rejection(self, api: Api) -> WechatRejection {
        match self {
            Self::Failed(rejection) => rejection,
            Self::StaleToken => {
                let name = api.name();
                tracing::error!(
                    wechat.api = name,
                    "WeChat refuses the access token that it has just given: {name}"
                );
                WechatError::Misconfigured.into()
            }
        }
    }
}

impl From<WechatError> for CallError {
    fn from(why: WechatError) -> Self {
        Self::Failed(why.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_errcode_can_mean_something_else_for_another_call() {
        let error = Some;
        for (api, errcode, meaning) in [
            (Api::CodeToSession, 40001, error(WechatError::Misconfigured)),
            (Api::CodeToSession, 40013, error(WechatError::Misconfigured)),
            (Api::StableToken, 40001, error(WechatError::Misconfigured)),
            (Api::StableToken, 40029, error(WechatError::Unusable)),
            (Api::StableToken, 40226, error(WechatError::Unusable)),
            (Api::PhoneNumber, 40001, None),
            (Api::PhoneNumber, 40014, None),
            (Api::PhoneNumber, 42001, None),
            (Api::PhoneNumber, 40003, error(WechatError::CodeInvalid)),
            (Api::PhoneNumber, 40013, error(WechatError::CodeInvalid)),
            (Api::PhoneNumber, 40029, error(WechatError::CodeInvalid)),
            (Api::PhoneNumber, 48001, error(WechatError::Misconfigured)),
        ] {
            let found = match api.classify(errcode) {
                CallError::StaleToken => None,
                CallError::Failed(rejection) => Some(rejection.why),
            };
            assert_eq!(found, meaning, "{api:?} {errcode}");
        }
    }
}
