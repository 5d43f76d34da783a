//! The parts that live as long as the process, across reloads of the config: the store, the memory
//! of the use cases, the metrics.

use std::sync::Arc;

use tokio::sync::watch;

use crate::{
    admin::{ProcessStage, ReadinessDetails},
    audit::Audit,
    auth::{AuthMemory, Denylist, OutboxDispatcher, Passwords},
    clock::Clock,
    config::Source,
    console::ConsoleMemory,
    crypto::Key,
    entropy::Entropy,
    metrics::Metrics,
    proxy::Streams,
    store::{ReplicaId, Store, UpkeepLease},
    telemetry::Sink,
};

/// The parts that no reload replaces.
pub(super) struct Process {
    pub(super) store: Arc<dyn Store>,
    /// What this process is called by the others on the same store.
    pub(super) replica: ReplicaId,
    /// Whether this process does the upkeep of the store.
    pub(super) lease: Arc<UpkeepLease>,
    /// The store's root secret, from which the keys of refresh tokens and codes are derived.
    pub(super) root: Key,
    pub(super) denylist: Arc<Denylist>,
    pub(super) streams: Arc<Streams>,
    pub(super) passwords: Arc<Passwords>,
    pub(super) memory: Arc<AuthMemory>,
    /// Sends events to the backend, by the hooks of the config in use.
    pub(super) outbox_dispatcher: Arc<OutboxDispatcher>,
    pub(super) metrics: Metrics,
    pub(super) audit: Audit,
    pub(super) clock: Clock,
    pub(super) entropy: Entropy,
    pub(super) sink: Sink,
    pub(super) stage: watch::Receiver<ProcessStage>,
    pub(super) details: Arc<ReadinessDetails>,
    pub(super) console: Arc<ConsoleMemory>,
    /// Where the config comes from.
    pub(super) source: Source,
}
