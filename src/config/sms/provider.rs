//! The providers that send codes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SmsProvider {
    /// Aliyun `SendSms`.
    Aliyun,
    /// Tencent Cloud `SendSms`.
    Tencent,
    /// Aliyun `SendSmsVerifyCode`.
    Dypns,
    /// The operator's own server.
    Webhook,
    /// No vendor: the code is printed in the log. Development only.
    Log,
}

impl SmsProvider {
    /// Its name in the config and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Aliyun => "aliyun",
            Self::Tencent => "tencent",
            Self::Dypns => "dypns",
            Self::Webhook => "webhook",
            Self::Log => "log",
        }
    }
}
