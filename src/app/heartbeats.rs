//! Tells the other processes on the same store that this one runs, compares them with it, and renews
//! the lease on upkeep.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::time::{MissedTickBehavior, interval};

use super::{process::Process, reload::Current};
use crate::{
    clock::Clock,
    console::SeenReplicas,
    metrics::Metrics,
    store::{Replica, ReplicaFacts, ReplicaId, Store, StoreError},
    types::Timestamp,
};

/// How often a process says that it runs, and the lease on upkeep is renewed.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(10);
/// A measurement of the clock that took longer says nothing.
const MAX_MEASURING_TIME: Duration = Duration::from_secs(1);

/// Tells the other processes that this one runs, compares them with it, and renews the lease. Runs
/// until it is dropped.
pub(super) async fn run(process: Arc<Process>, current: Arc<Current>) {
    let mut ticks = interval(HEARTBEAT_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heartbeats = Heartbeats {
        id: process.replica,
        clock_ahead_ms: 0,
        warned: BTreeSet::new(),
    };
    loop {
        ticks.tick().await;
        let (store, metrics) = (&*process.store, &process.metrics);
        if let Err(error) = process.lease.renew(&process.store).await {
            tracing::warn!(%error, "the lease on upkeep cannot be renewed");
        }
        metrics.store_upkeep.set(i64::from(process.lease.is_held()));
        let facts = current.generation.load_full().replica_facts.clone();
        match heartbeats
            .beat(store, &process.clock, metrics, &facts)
            .await
        {
            Ok(Some(others)) => process.console.record_replicas(SeenReplicas {
                at: process.clock.now(),
                here: facts,
                clock_ahead_ms: heartbeats.clock_ahead_ms,
                others,
            }),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, "other replicas cannot be told that this one runs");
            }
        }
    }
}

/// The heartbeats of one process.
struct Heartbeats {
    id: ReplicaId,
    /// As it was measured last.
    clock_ahead_ms: i64,
    /// What has been logged: the process and the fact that differs.
    warned: BTreeSet<(ReplicaId, &'static str)>,
}

impl Heartbeats {
    /// The other processes that run; `None`: the store is not shared.
    async fn beat(
        &mut self,
        store: &dyn Store,
        clock: &Clock,
        metrics: &Metrics,
        facts: &ReplicaFacts,
    ) -> Result<Option<Vec<Replica>>, StoreError> {
        let before = clock.now();
        let Some(time) = store.shared_time().await? else {
            return Ok(None);
        };
        if let Some(ahead) = clock_ahead_ms(before, clock.now(), time) {
            self.clock_ahead_ms = ahead;
            let seconds = Duration::from_millis(ahead.unsigned_abs()).as_secs_f64();
            let signed = if ahead < 0 { -seconds } else { seconds };
            metrics.store_clock_ahead.set(signed);
        }
        let others = store.heartbeat(self.id, self.clock_ahead_ms, facts).await?;
        let running = i64::try_from(others.len() + 1).unwrap_or(i64::MAX);
        metrics.store_replicas.set(running);
        let written_at = Duration::from_millis(clock.now().as_millis());
        metrics.store_heartbeat_time.set(written_at.as_secs_f64());
        self.compare(&others, metrics, facts);
        Ok(Some(others))
    }

    /// Counts the processes that differ, and logs each difference once.
    fn compare(&mut self, others: &[Replica], metrics: &Metrics, facts: &ReplicaFacts) {
        self.warned
            .retain(|(id, _)| others.iter().any(|other| other.id == *id));
        for (aspect, _) in facts.aspects() {
            let differs = |other: &&Replica| {
                let mut found = facts.differences(&other.facts);
                found.any(|(name, ..)| name == aspect)
            };
            let count = others.iter().filter(differs).count();
            let gauge = metrics
                .store_replicas_differing
                .with_label_values(&[aspect]);
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        for other in others {
            for (aspect, here, there) in facts.differences(&other.facts) {
                if self.warned.insert((other.id, aspect)) {
                    tracing::warn!(
                        aspect,
                        here,
                        there,
                        "another replica differs from this one in its {aspect}: {}",
                        ReplicaFacts::consequence(aspect)
                    );
                }
            }
        }
    }
}

/// How far a clock is ahead of another one that showed `other` between these two times, in
/// milliseconds; `None`: too much time went by between them.
fn clock_ahead_ms(before: Timestamp, after: Timestamp, other: Timestamp) -> Option<i64> {
    let took = after.since(before);
    if took > MAX_MEASURING_TIME || after < before {
        return None;
    }
    let here = before.plus(took / 2);
    let signed = |millis: u64| i64::try_from(millis).ok();
    signed(here.as_millis())?.checked_sub(signed(other.as_millis())?)
}

#[cfg(test)]
mod tests {
    use super::{super::replica_facts::replica_facts, *};
    use crate::{config::Config, store::engine_store::faulty};

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000 + millis)
    }

    #[test]
    fn a_clock_is_compared_at_the_middle_of_the_call() {
        for (before, after, other, ahead) in [
            (1000, 1100, 1050, Some(0)),
            (1000, 1100, 3050, Some(-2000)),
            (5000, 5000, 2500, Some(2500)),
            (1000, 2001, 1500, None),
            (2000, 1999, 2000, None),
        ] {
            assert_eq!(clock_ahead_ms(at(before), at(after), at(other)), ahead);
        }
    }

    /// The figures of the others stay while heartbeats fail, and the time beside them says how old they are.
    #[tokio::test]
    async fn figures_of_other_replicas_have_the_time_of_the_last_heartbeat() {
        let (store, engine) = faulty::shared_in_memory().await;
        let metrics = Metrics::new();
        let facts = replica_facts(&Config::default()).unwrap();
        let clock = Clock::manual(at(0));
        let mut heartbeats = Heartbeats {
            id: ReplicaId(1),
            clock_ahead_ms: 0,
            warned: BTreeSet::new(),
        };
        heartbeats
            .beat(&store, &clock, &metrics, &facts)
            .await
            .unwrap();
        let seen = || {
            (
                metrics.store_heartbeat_time.get(),
                metrics.store_replicas.get(),
            )
        };
        assert_eq!(seen(), (1_800_000_000.0, 1));
        clock.advance(Duration::from_mins(1));
        engine.refuse_next_commit();
        let failed = heartbeats.beat(&store, &clock, &metrics, &facts).await;
        failed.unwrap_err();
        assert_eq!(seen(), (1_800_000_000.0, 1));
        heartbeats
            .beat(&store, &clock, &metrics, &facts)
            .await
            .unwrap();
        assert_eq!(seen(), (1_800_000_060.0, 1));
    }

    #[test]
    fn what_differs_is_counted_and_said_once() {
        let metrics = Metrics::new();
        let facts = replica_facts(&Config::default()).unwrap();
        let other = Replica {
            id: ReplicaId(2),
            at: at(0),
            clock_ahead_ms: 0,
            facts: ReplicaFacts {
                version: "0.0.1".to_owned(),
                ..facts.clone()
            },
        };
        let same = Replica {
            id: ReplicaId(3),
            facts: facts.clone(),
            ..other.clone()
        };
        let mut heartbeats = Heartbeats {
            id: ReplicaId(1),
            clock_ahead_ms: 0,
            warned: BTreeSet::new(),
        };
        let differing = |aspect| {
            let gauge = metrics
                .store_replicas_differing
                .with_label_values(&[aspect]);
            gauge.get()
        };
        for _ in 0..2 {
            heartbeats.compare(&[other.clone(), same.clone()], &metrics, &facts);
            assert_eq!((differing("version"), differing("issuer")), (1, 0));
            assert_eq!(heartbeats.warned, [(ReplicaId(2), "version")].into());
        }
        heartbeats.compare(&[same], &metrics, &facts);
        assert_eq!(differing("version"), 0);
        assert!(heartbeats.warned.is_empty());
    }
}
