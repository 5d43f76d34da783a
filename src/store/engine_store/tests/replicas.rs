//! Processes on a shared engine: their heartbeats, and the one lease on upkeep.

use super::{footprint::shared, shared_log::another, *};
use crate::store::{
    ReplicaFacts, ReplicaId, UpkeepLease,
    engine::{Changes, Version},
    engines::versioned::{SharedFault, VersionedMemory},
    operations::layout,
};

fn facts(version: &str) -> ReplicaFacts {
    ReplicaFacts {
        version: version.to_owned(),
        ..ReplicaFacts::default()
    }
}

async fn others(store: &EngineStore, id: u128) -> Vec<u128> {
    let others = store.heartbeat(ReplicaId(id), 5, &facts("1")).await;
    others.unwrap().iter().map(|other| other.id.0).collect()
}

fn heartbeats(engine: &VersionedMemory) -> usize {
    let mut present = std::collections::BTreeSet::new();
    for commit in engine.commits() {
        for (key, value) in commit.changes {
            if key.starts_with(layout::HEARTBEATS) && value.is_some() {
                present.insert(key);
            } else {
                present.remove(&key);
            }
        }
    }
    present.len()
}

#[tokio::test(start_paused = true)]
async fn processes_hear_of_each_other_for_as_long_as_they_run() {
    let (one, engine) = shared().await;
    let other = another(&engine).await;
    assert_eq!(others(&one, 1).await, [0; 0]);
    assert_eq!(others(&other, 2).await, [1]);
    let seen = one.heartbeat(ReplicaId(1), -7, &facts("2")).await.unwrap();
    assert_eq!((seen[0].clock_ahead_ms, &seen[0].facts), (5, &facts("1")));
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert_eq!(others(&one, 1).await, [0; 0], "it has ended");
    assert_eq!(heartbeats(&engine), 2);
    tokio::time::sleep(Duration::from_mins(6)).await;
    others(&one, 1).await;
    assert_eq!(heartbeats(&engine), 1, "it is forgotten");
    // What the other one wrote before the clock was set back does not count.
    others(&other, 2).await;
    engine.set_clock_back(Duration::from_hours(1));
    assert_eq!(others(&one, 1).await, [0; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_that_cannot_be_read_stops_no_other() {
    let (one, engine) = shared().await;
    let version = Version::first(&Entropy::default()).unwrap();
    let damaged: Changes = [(layout::heartbeat(9), Some(b"damaged".to_vec()))].into();
    engine.write(version, damaged);
    assert_eq!(others(&one, 1).await, [0; 0]);
    assert_eq!(heartbeats(&engine), 1);
}

#[tokio::test(start_paused = true)]
async fn one_process_at_a_time_holds_the_lease() {
    let (one, engine) = shared().await;
    let (one, other) = (stored(one), stored(another(&engine).await));
    let (first, second) = (
        UpkeepLease::new(ReplicaId(1)),
        UpkeepLease::new(ReplicaId(2)),
    );
    let held = || (first.is_held(), second.is_held());
    first.renew(&one).await.unwrap();
    second.renew(&other).await.unwrap();
    assert_eq!(held(), (true, false));
    // Renewed, it goes on.
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_secs(10)).await;
        first.renew(&one).await.unwrap();
        second.renew(&other).await.unwrap();
    }
    assert_eq!(held(), (true, false));
    // The first one can no longer renew it: it stops before the second one begins.
    engine.fail_next([SharedFault::Refuse]);
    first.renew(&one).await.unwrap_err();
    assert!(first.is_held());
    tokio::time::sleep(Duration::from_secs(26)).await;
    second.renew(&other).await.unwrap();
    assert_eq!(held(), (false, false));
    tokio::time::sleep(Duration::from_secs(5)).await;
    second.renew(&other).await.unwrap();
    first.renew(&one).await.unwrap();
    assert_eq!(held(), (false, true));
    // What is given back is taken at once, and giving back what another one holds does nothing.
    first.release(&*one).await.unwrap();
    one.release_lease(ReplicaId(1)).await.unwrap();
    let third = UpkeepLease::new(ReplicaId(3));
    third.renew(&one).await.unwrap();
    assert!(!third.is_held() && second.is_held());
    second.release(&*other).await.unwrap();
    third.renew(&one).await.unwrap();
    assert!(third.is_held() && !second.is_held());
}

/// As the store of a process.
fn stored(store: EngineStore) -> Arc<dyn Store> {
    Arc::new(store)
}

/// A process that stops drops the task that renews, at any await. The store goes on with the call.
#[tokio::test(start_paused = true)]
async fn a_lease_that_is_given_back_is_not_renewed_by_a_call_under_way() {
    let (one, engine) = shared().await;
    let (one, other) = (stored(one), stored(another(&engine).await));
    for is_held_before in [false, true] {
        let lease = UpkeepLease::new(ReplicaId(1));
        if is_held_before {
            lease.renew(&one).await.unwrap();
        }
        engine.fail_next([SharedFault::Hold(Duration::from_secs(2))]);
        let renewal = tokio::time::timeout(Duration::from_secs(1), lease.renew(&one));
        renewal.await.unwrap_err();
        lease.release(&*one).await.unwrap();
        lease.renew(&one).await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(!lease.is_held());
        let next = UpkeepLease::new(ReplicaId(2));
        next.renew(&other).await.unwrap();
        assert!(next.is_held(), "nobody has it");
        next.release(&*other).await.unwrap();
    }
    // The store may have given it though the call failed.
    let lease = UpkeepLease::new(ReplicaId(1));
    let hold = |id| other.hold_lease(ReplicaId(id), Duration::from_secs(30));
    assert!(hold(1).await.unwrap());
    engine.fail_next([SharedFault::Refuse]);
    lease.renew(&one).await.unwrap_err();
    lease.release(&*one).await.unwrap();
    assert!(hold(2).await.unwrap());
}

/// Nothing else would end it: its holder is gone, and its end is hours away.
#[tokio::test(start_paused = true)]
async fn a_lease_of_before_the_clock_was_set_back_is_void() {
    let (one, engine) = shared().await;
    let hold = |id| one.hold_lease(ReplicaId(id), Duration::from_secs(30));
    assert!(hold(1).await.unwrap());
    engine.set_clock_back(Duration::from_mins(1));
    assert!(!hold(2).await.unwrap(), "within what a lease may last");
    engine.set_clock_back(Duration::from_hours(1));
    assert!(hold(2).await.unwrap());
    let version = Version::first(&Entropy::default()).unwrap();
    let damaged = Some(b"damaged".to_vec());
    engine.write(version, [(layout::UPKEEP_LEASE.to_vec(), damaged)].into());
    assert!(hold(3).await.unwrap());
}

#[tokio::test]
async fn a_process_that_is_alone_writes_neither() {
    let store = Arc::new(in_memory());
    let lease = UpkeepLease::new(ReplicaId(1));
    let alone: Arc<dyn Store> = Arc::<EngineStore>::clone(&store);
    lease.renew(&alone).await.unwrap();
    assert!(lease.is_held());
    assert_eq!(others(&store, 1).await, [0; 0]);
    assert_eq!(store.shared_time().await.unwrap(), None);
    let keys = engine(&store).scan(b"", None, 9).unwrap();
    assert_eq!(keys.len(), 1, "the fence");
}

/// Ordinary traffic has neither in its read set, nor a line that a heartbeat writes.
#[tokio::test]
async fn what_a_call_costs_is_counted() {
    let (store, engine) = shared().await;
    let metrics = store.metrics.clone();
    store.login(&login_of("alice", 1)).await.unwrap();
    engine.fail_next([SharedFault::Conflict, SharedFault::HappenUntold]);
    store.login(&login_of("bob", 2)).await.unwrap();
    let text = metrics.render();
    for line in [
        r#"menshen_store_attempts_total{engine="memory",op="login",outcome="committed"} 1"#,
        r#"menshen_store_attempts_total{engine="memory",op="login",outcome="conflict"} 1"#,
        r#"menshen_store_attempts_total{engine="memory",op="login",outcome="unknown"} 1"#,
        r#"menshen_store_attempts_total{engine="memory",op="rotate",outcome="conflict"} 0"#,
    ] {
        assert!(text.contains(line), "{line} is not in:\n{text}");
    }
    let trips = metrics
        .store_round_trips
        .with_label_values(&["memory", "login"]);
    let before = trips.get();
    store.login(&login_of("alice", 3)).await.unwrap();
    assert_eq!(trips.get() - before, 3, "two reads and a commit");
}
