//! `[admin]`: metrics and probes, on their own listener.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Metrics and probes (`/metrics`, `/livez`, `/readyz`, `/startupz`), on their own listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AdminConfig {
    /// `IP:PORT`. Keep it where only the scraper and the kubelet reach it. Port 0 takes a free one.
    pub listen: String,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self { listen: "127.0.0.1:9090".to_owned() }
    }
}
