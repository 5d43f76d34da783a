//! The meaning of WeChat's error codes.
//!
//! By `errcode` alone: `errmsg` changes its wording, and the status is always 200.

use std::time::Duration;

use crate::outbound::OutboundError;

/// Why a call of WeChat failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WechatError {
    /// The code is wrong, used, expired, or of another kind or mini program: the mini program has
    /// to get a new one.
    #[error("the code is not valid")]
    CodeInvalid,
    /// WeChat considers this user a risk.
    #[error("WeChat blocked the login")]
    Blocked,
    /// "System busy": WeChat did nothing.
    #[error("WeChat is busy")]
    Busy { retry_after: Duration },
    /// Over a quota, of this user or of the mini program.
    #[error("over a quota of WeChat")]
    RateLimited { retry_after: Duration },
    /// The app id, the secret or the account: an operator has to act.
    #[error("WeChat refuses our credentials or our request")]
    Misconfigured,
    /// No connection.
    #[error("WeChat is not reachable")]
    Unreachable,
    /// No response in time. The code may be used up.
    #[error("WeChat did not answer in time")]
    Timeout,
    /// The connection was lost, or the response is no JSON, so it is not of WeChat. The code may be
    /// used up.
    #[error("the exchange with WeChat broke off")]
    Broken,
    /// A response with neither a result nor a known error. The code may be used up.
    #[error("WeChat's answer is not usable")]
    Unusable,
}

/// WeChat's own error code, for clients that expect it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Errcode(i64);

/// Why a call of WeChat failed, with its errcode where it gave one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct WechatRejection {
    pub why: WechatError,
    pub errcode: Option<Errcode>,
}

impl Errcode {
    /// The login code has been used (here or elsewhere).
    pub const CODE_BEEN_USED: Self = Self(40163);

    pub(super) const fn new(errcode: i64) -> Self {
        Self(errcode)
    }

    /// The number.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The published text of the errcode. The text of the response is not passed on: it may contain
    /// menshen's address or app id.
    pub const fn text(self) -> &'static str {
        match self.0 {
            -1 => "system error",
            40001 => "invalid credential",
            40002 => "invalid grant_type",
            40013 => "invalid appid",
            40029 => "invalid code",
            40125 => "invalid appsecret",
            40163 => "code been used",
            40164 => "invalid ip",
            40226 => "code blocked",
            41002 => "appid missing",
            41004 => "appsecret missing",
            41008 => "missing code",
            45009 => "reach max api daily quota limit",
            45011 => "api minute-quota reach limit, retry next minute",
            50002 => "user limited",
            _ => "refused by wechat",
        }
    }
}

impl From<WechatError> for WechatRejection {
    fn from(why: WechatError) -> Self {
        Self { why, errcode: None }
    }
}

impl WechatError {
    /// Its metric label.
    pub const fn class(&self) -> &'static str {
        match self {
            Self::CodeInvalid => "code_invalid",
            Self::Blocked => "blocked",
            Self::Busy { .. } => "busy",
            Self::RateLimited { .. } => "rate_limited",
            Self::Misconfigured => "misconfigured",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Broken | Self::Unusable => "unusable",
        }
    }

    /// The meaning of a nonzero `errcode` of `jscode2session`. An unknown one is a transient error:
    /// it is logged, and the client may try again.
    pub(super) const fn from_errcode(errcode: i64) -> Self {
        match errcode {
            -1 => Self::Busy {
                retry_after: Duration::from_secs(1),
            },
            // Wrong, used; 87009 belongs to another API and requires a new login too.
            40029 | 40163 | 87009 => Self::CodeInvalid,
            40226 => Self::Blocked,
            // 100 calls a minute for one user.
            45011 => Self::RateLimited {
                retry_after: Duration::from_mins(1),
            },
            // The mini program's daily quota.
            45009 => Self::RateLimited {
                retry_after: Duration::from_mins(10),
            },
            // Secret, app id or grant type wrong or missing, this address not allowed, account
            // limited or frozen, or the request malformed.
            1
            | 40001..=40003
            | 40013
            | 40014
            | 40097
            | 40125
            | 40164
            | 40243
            | 41001
            | 41002
            | 41004
            | 41008
            | 41009
            | 42001
            | 43002
            | 44002
            | 47001
            | 48001
            | 48004
            | 50002
            | 50004
            | 50007
            | 61024
            | 87008
            | 89501
            | 89503
            | 89506
            | 89507 => Self::Misconfigured,
            _ => Self::Unusable,
        }
    }
}

impl From<OutboundError> for WechatError {
    fn from(fault: OutboundError) -> Self {
        match fault {
            OutboundError::Connect => Self::Unreachable,
            OutboundError::Timeout => Self::Timeout,
            OutboundError::Broken | OutboundError::TooLarge => Self::Broken,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn every_known_errcode_has_the_meaning_of_its_class() {
        let table: Value =
            serde_json::from_str(include_str!("../../../tests/data/wechat-errors.json")).unwrap();
        let mut seen = 0;
        for entry in table["errors"].as_array().unwrap() {
            let errcode = entry["errcode"].as_i64().unwrap();
            let expected: &[&str] = match entry["class"].as_str().unwrap() {
                "ok" => continue,
                "retry" => &["busy"],
                "client_code" | "client_relogin" => &["code_invalid"],
                "rate" => &["rate_limited"],
                "blocked" => &["blocked"],
                "config" | "input" | "refresh_token" => &["misconfigured"],
                other => panic!("a class without a meaning: {other}"),
            };
            assert!(
                expected.contains(&WechatError::from_errcode(errcode).class()),
                "{errcode}"
            );
            seen += 1;
        }
        assert_eq!(seen, 37);
    }

    #[test]
    fn an_errcode_nobody_knows_is_a_fault_and_never_a_login() {
        assert_eq!(WechatError::from_errcode(99_999), WechatError::Unusable);
        assert_eq!(WechatError::from_errcode(i64::MIN), WechatError::Unusable);
    }
}
