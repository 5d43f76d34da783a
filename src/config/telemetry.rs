//! `[telemetry]`: logs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Problems;

/// Logs, on standard output. No secret, token, phone or openid is ever in them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// `json` for machines, `text` for people.
    pub log_format: LogFormat,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub log_level: String,
    /// One line for each request.
    pub access_log: bool,
}

impl TelemetryConfig {
    pub(super) fn check(&self, problems: &mut Problems) {
        if !["error", "warn", "info", "debug", "trace"].contains(&self.log_level.as_str()) {
            let message = format!(
                "{:?} is none of `error`, `warn`, `info`, `debug`, `trace`",
                self.log_level
            );
            problems.add("telemetry.log_level", message);
        }
    }
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            log_format: LogFormat::Json,
            log_level: "info".to_owned(),
            access_log: true,
        }
    }
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Json,
    Text,
}
