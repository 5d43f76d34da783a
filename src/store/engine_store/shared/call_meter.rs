//! What a call costs the engine, counted by the name of its operation.

use crate::{metrics::Metrics, store::engine::CommitOutcome};

/// Counts for one operation on one engine.
pub(super) struct CallMeter<'a> {
    pub(super) metrics: &'a Metrics,
    /// The engine's name.
    pub(super) engine: &'static str,
    /// The operation's name.
    pub(super) operation: &'static str,
}

/// Creates the counters of an engine at zero.
pub(super) fn initialize(metrics: &Metrics, engine: &str) {
    metrics.store_attempts.initialize(&[engine]);
    metrics.store_round_trips.initialize(&[engine]);
}

impl CallMeter<'_> {
    /// The engine is asked, and the call waits for its answer.
    pub(super) fn count_round_trip(&self) {
        let labels = [self.engine, self.operation];
        let round_trips = &self.metrics.store_round_trips;
        round_trips.with_label_values(&labels).inc();
    }

    /// An attempt to commit has ended.
    pub(super) fn count_attempt(&self, outcome: CommitOutcome) {
        self.count(match outcome {
            CommitOutcome::Committed => "committed",
            CommitOutcome::Conflict => "conflict",
            CommitOutcome::Unknown => "unknown",
        });
    }

    /// An attempt has read records of two moments.
    pub(super) fn count_conflict(&self) {
        self.count("conflict");
    }

    fn count(&self, outcome: &str) {
        let labels = [self.engine, self.operation, outcome];
        self.metrics.store_attempts.with_label_values(&labels).inc();
    }
}
