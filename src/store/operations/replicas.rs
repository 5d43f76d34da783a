//! Heartbeats of the processes that share a store: one small record each, which no other operation
//! reads.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    layout,
    transaction::{ReadView, Transaction},
};
use crate::{
    store::{Replica, ReplicaFacts, ReplicaId, error::EngineError, replicas::REPLICA_TIMEOUT},
    types::Timestamp,
};

/// A heartbeat is removed after so long.
const FORGET_AFTER: Duration = Duration::from_mins(5);
/// Most heartbeats that are read.
const MAX_REPLICAS: usize = 1000;
/// Most that are removed at once.
const MAX_REMOVALS: usize = 20;

/// A heartbeat. Each process writes its own alone.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Heartbeat {
    at: Timestamp,
    clock_ahead_ms: i64,
    version: String,
    issuer: String,
    algorithm: String,
    lifetimes: String,
    config: String,
}

/// How far two times are from each other: a clock that was set back does not keep a process alive.
fn distance(one: Timestamp, other: Timestamp) -> Duration {
    one.since(other).max(other.since(one))
}

/// All heartbeats, and the keys of those that no process needs any more.
fn read(view: &dyn ReadView, time: Timestamp) -> Result<(Vec<Replica>, Vec<Vec<u8>>), EngineError> {
    let (mut replicas, mut over) = (Vec::new(), Vec::new());
    for (key, bytes) in view.scan(layout::HEARTBEATS, None, MAX_REPLICAS)? {
        let beat = match view.cipher().read::<Heartbeat>(&key, &bytes) {
            // It is written again soon, if its process runs.
            Err(EngineError::Damaged(_)) => Heartbeat::default(),
            read => read?,
        };
        let age = distance(time, beat.at);
        if let Some(id) = layout::heartbeat_id(&key).filter(|_| age <= REPLICA_TIMEOUT) {
            replicas.push(Replica {
                id: ReplicaId(id),
                at: beat.at,
                clock_ahead_ms: beat.clock_ahead_ms,
                facts: ReplicaFacts {
                    version: beat.version,
                    issuer: beat.issuer,
                    algorithm: beat.algorithm,
                    lifetimes: beat.lifetimes,
                    config: beat.config,
                },
            });
        } else if age > FORGET_AFTER {
            over.push(key);
        }
    }
    Ok((replicas, over))
}

/// Writes a heartbeat; the other processes that run. Heartbeats that are over are removed.
pub(in crate::store) fn beat(
    tx: &mut Transaction<'_>,
    id: ReplicaId,
    clock_ahead_ms: i64,
    facts: &ReplicaFacts,
) -> Result<Vec<Replica>, EngineError> {
    let Some(time) = tx.shared_time()? else {
        return Ok(Vec::new());
    };
    let (mut replicas, over) = read(tx, time)?;
    let ReplicaFacts {
        version,
        issuer,
        algorithm,
        lifetimes,
        config,
    } = facts.clone();
    let beat = Heartbeat {
        at: time,
        clock_ahead_ms,
        version,
        issuer,
        algorithm,
        lifetimes,
        config,
    };
    for key in over.into_iter().take(MAX_REMOVALS) {
        tx.remove(key);
    }
    tx.put(layout::heartbeat(id.0), &beat)?;
    replicas.retain(|replica| replica.id != id);
    Ok(replicas)
}

/// All processes that run.
pub(in crate::store) fn all(view: &dyn ReadView) -> Result<Vec<Replica>, EngineError> {
    match view.shared_time()? {
        Some(time) => Ok(read(view, time)?.0),
        None => Ok(Vec::new()),
    }
}
