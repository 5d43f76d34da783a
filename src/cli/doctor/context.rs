//! What every check reads.

use std::time::Duration;

use super::server_probe::ServerProbes;
use crate::config::Config;

/// Total time of one check.
pub(super) const CHECK_TIMEOUT: Duration = Duration::from_secs(6);

/// What every check reads.
pub(super) struct DoctorContext {
    pub(super) config: Config,
    /// The path that echoes headers.
    pub(super) echo: Option<String>,
    pub(super) probes: ServerProbes,
}
