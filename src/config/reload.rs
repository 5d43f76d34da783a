//! `[reload]`: another config without a restart.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{HumanDuration, Problems};

/// Another config without a restart. SIGHUP reads it again at any time; a config with a problem
/// changes nothing. What a process that runs cannot change (where it listens, `store`, `mode`,
/// `server.threads`, the form of the log) is named in the log and waits for a restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ReloadConfig {
    /// How often this file and the files that it names are looked at; what has changed is read once
    /// it rests for as long. `"0s"`: never, only on SIGHUP.
    pub interval: HumanDuration,
}

impl ReloadConfig {
    pub(super) fn check(&self, problems: &mut Problems) {
        problems.check_range(
            "reload.interval",
            &self.interval,
            HumanDuration::secs(0)..=HumanDuration::hours(24),
        );
    }
}

impl Default for ReloadConfig {
    fn default() -> Self {
        Self {
            interval: HumanDuration::secs(2),
        }
    }
}
