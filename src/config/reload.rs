//! `[reload]`: another config without a restart.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::HumanDuration;

/// Reloading the config without a restart. SIGHUP reads it again at any time; a config with a
/// problem changes nothing. Keys that a running process cannot change (addresses to listen on,
/// `store`, `mode`, `server.threads`, the format of the log) are named in the log and need a
/// restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ReloadConfig {
    /// How often this file and the files that it names are checked for changes; a changed file is
    /// read when it has not changed for as long. `"0s"`: never, only on SIGHUP.
    #[schemars(extend("minimum" = "0s", "maximum" = "24h"))]
    pub interval: HumanDuration,
}

impl Default for ReloadConfig {
    fn default() -> Self {
        Self {
            interval: HumanDuration::secs(2),
        }
    }
}
