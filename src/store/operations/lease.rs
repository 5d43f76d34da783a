//! The lease on upkeep: one record that says which process does it, and until when.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    bits::Bits,
    layout,
    transaction::{ReadView, Transaction},
};
use crate::{
    store::{ReplicaId, error::EngineError},
    types::Timestamp,
};

/// No lease lasts longer: one that would was written before the clock was set back, and is void.
const MAX_DURATION: Duration = Duration::from_mins(5);

#[derive(Serialize, Deserialize)]
struct LeaseRecord {
    holder: Bits,
    until: Timestamp,
}

fn current(tx: &Transaction<'_>) -> Result<Option<LeaseRecord>, EngineError> {
    match tx.record(layout::UPKEEP_LEASE) {
        // Whatever it was, the next holder writes it anew.
        Err(EngineError::Damaged(_)) => Ok(None),
        read => read,
    }
}

/// Takes or renews the lease, unless another process holds it; whether this one does now. A process
/// that is alone needs none.
pub(in crate::store) fn hold(
    tx: &mut Transaction<'_>,
    holder: ReplicaId,
    lasts: Duration,
) -> Result<bool, EngineError> {
    let Some(time) = tx.shared_time()? else {
        return Ok(true);
    };
    let holder = Bits(holder.0);
    let in_force =
        |lease: &LeaseRecord| lease.until > time && lease.until <= time.plus(MAX_DURATION);
    if current(tx)?.is_some_and(|lease| lease.holder != holder && in_force(&lease)) {
        return Ok(false);
    }
    let until = time.plus(lasts);
    tx.put(
        layout::UPKEEP_LEASE.to_vec(),
        &LeaseRecord { holder, until },
    )?;
    Ok(true)
}

/// Gives the lease back, if this process holds it.
pub(in crate::store) fn release(
    tx: &mut Transaction<'_>,
    holder: ReplicaId,
) -> Result<(), EngineError> {
    if current(tx)?.is_some_and(|lease| lease.holder == Bits(holder.0)) {
        tx.remove(layout::UPKEEP_LEASE.to_vec());
    }
    Ok(())
}
