//! What the console remembers as long as the process lives: sessions, samples, the last reload.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval, timeout},
};

use super::{samples::Samples, sessions::ConsoleSessions, sign_in_limit::SignInLimit};
use crate::{
    admin::ProcessStage,
    auth::Denylist,
    clock::Clock,
    metrics::Metrics,
    store::{Replica, ReplicaFacts, Store},
    types::Timestamp,
};

/// How often the counters are read.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(10);
/// Samples between two that ask the store for its size.
const STORE_SIZE_EVERY: u32 = 6;
/// Timeout of a question to the store.
const STORE_TIMEOUT: Duration = Duration::from_millis(500);

/// The memory of the console, across reloads.
pub struct ConsoleMemory {
    pub(super) clock: Clock,
    pub(super) sessions: ConsoleSessions,
    pub(super) sign_ins: SignInLimit,
    samples: Mutex<Samples>,
    sampled: watch::Sender<u64>,
    reload: Mutex<ReloadState>,
    replicas: Mutex<Option<SeenReplicas>>,
}

/// The processes on the same store, as this one saw them last.
#[derive(Debug, Clone)]
pub struct SeenReplicas {
    /// When, by this process's clock.
    pub at: Timestamp,
    pub here: ReplicaFacts,
    /// How far this process's clock was ahead of the store's, in milliseconds.
    pub clock_ahead_ms: i64,
    pub others: Vec<Replica>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct ReloadState {
    /// How many configs have been used, and since when the last one is.
    pub(super) generation: u64,
    pub(super) since: Timestamp,
    pub(super) last: Option<LastReload>,
}

/// The outcome of the last reload.
#[derive(Debug, Clone)]
pub enum LastReload {
    Applied {
        at: Timestamp,
        /// Changed keys that need a restart.
        restart_keys: Vec<&'static str>,
    },
    Refused {
        at: Timestamp,
        why: String,
        problems: Vec<String>,
    },
}

impl ConsoleMemory {
    pub fn new(clock: Clock) -> Self {
        Self {
            sessions: ConsoleSessions::new(clock.clone()),
            sign_ins: SignInLimit::new(clock.clone()),
            clock,
            samples: Mutex::default(),
            sampled: watch::Sender::new(0),
            reload: Mutex::default(),
            replicas: Mutex::default(),
        }
    }

    /// Keeps the outcome of a reload.
    pub fn record_reload(&self, outcome: LastReload) {
        lock(&self.reload).last = Some(outcome);
    }

    /// Another config is in use from `now` on.
    pub fn begin_generation(&self, now: Timestamp) {
        let mut reload = lock(&self.reload);
        reload.generation += 1;
        reload.since = now;
    }

    /// Keeps what the last heartbeat showed.
    pub fn record_replicas(&self, seen: SeenReplicas) {
        *lock(&self.replicas) = Some(seen);
    }

    /// `None`: the store is not shared, or no heartbeat has succeeded yet.
    pub(super) fn replicas(&self) -> Option<SeenReplicas> {
        lock(&self.replicas).clone()
    }

    /// Reads the counters every ten seconds until the task is dropped.
    pub async fn sample(
        &self,
        metrics: &Metrics,
        store: &dyn Store,
        denylist: &Denylist,
        stage: watch::Receiver<ProcessStage>,
    ) {
        let mut ticks = interval(SAMPLE_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut until_size = 0;
        loop {
            ticks.tick().await;
            if until_size == 0 {
                until_size = STORE_SIZE_EVERY;
                // A disk that hangs must not stop the other figures.
                if let Ok(Ok(stats)) = timeout(STORE_TIMEOUT, store.stats()).await {
                    let size = i64::try_from(stats.size_bytes).unwrap_or(i64::MAX);
                    metrics.store_size.set(size);
                }
            }
            until_size -= 1;
            metrics.revocations_age.set(denylist.age().as_secs_f64());
            if *stage.borrow() != ProcessStage::Starting {
                self.take_sample(metrics);
            }
        }
    }

    /// Reads the counters now.
    pub(super) fn take_sample(&self, metrics: &Metrics) {
        let readings = metrics.readings();
        self.samples().add(self.clock.now(), &readings);
        self.sampled.send_modify(|count| *count += 1);
    }

    pub(super) fn samples(&self) -> MutexGuard<'_, Samples> {
        lock(&self.samples)
    }

    /// Changes with each sample.
    pub(super) fn sampled(&self) -> watch::Receiver<u64> {
        self.sampled.subscribe()
    }

    pub(super) fn reload_state(&self) -> ReloadState {
        lock(&self.reload).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
