//! What the pages are made from.

use std::sync::Arc;

use axum::extract::State;
use tokio::sync::Semaphore;

use super::memory::ConsoleMemory;
use crate::{
    admin::{AdminState, Probes},
    config::{Config, Loaded, Problems, ValueInForce},
    gate::Gate,
    telemetry::RecentLines,
    types::Secret,
};

/// Pages that update themselves, at most; more are updated by hand.
const MAX_STREAMS: usize = 8;

/// Checks a text as if it stood in the config file.
pub(super) type CheckConfig = Box<dyn Fn(&str) -> Result<Loaded, Problems> + Send + Sync>;

/// The console of one config.
pub struct Console {
    pub(super) parts: ConsoleParts,
    pub(super) streams: Arc<Semaphore>,
    /// Checks of pasted configs.
    pub(super) checks: Arc<Semaphore>,
}

/// The parts of the process that the pages read and act through.
pub struct ConsoleParts {
    pub admin: Arc<AdminState>,
    pub probes: Probes,
    pub memory: Arc<ConsoleMemory>,
    pub recent: Arc<RecentLines>,
    /// The admin token.
    pub token: Secret<String>,
    /// Decides as the one in use does. The counters of requests are its own; a token that it checks counts as any
    /// other.
    pub gate: Gate,
    pub config: Config,
    pub values: Vec<ValueInForce>,
    pub check: CheckConfig,
}

impl Console {
    pub fn new(parts: ConsoleParts) -> Self {
        Self {
            parts,
            streams: Arc::new(Semaphore::new(MAX_STREAMS)),
            checks: Arc::new(Semaphore::new(1)),
        }
    }
}

/// The state, as a route extracts it.
pub(super) type SharedConsole = State<Arc<Console>>;
