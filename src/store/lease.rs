//! The lease on upkeep: of the processes that share a store, the one that holds it removes expired
//! records, sends the outbox, encrypts records again and rotates signing keys.
//!
//! It only saves work. Each of these is correct when several processes do it at once, so a holder
//! that does not notice that its lease has ended does no harm.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{ReplicaId, Store, StoreError};

/// How long the lease lasts in the store, unless it is renewed.
const LEASE_DURATION: Duration = Duration::from_secs(30);
/// The holder stops so much earlier.
const MARGIN: Duration = Duration::from_secs(5);

/// The lease, as this process knows it. A process that is alone always gets it.
#[derive(Debug)]
pub struct UpkeepLease {
    holder: ReplicaId,
    held_until: Mutex<Option<Instant>>,
}

impl UpkeepLease {
    /// Not held yet.
    pub const fn new(holder: ReplicaId) -> Self {
        Self {
            holder,
            held_until: Mutex::new(None),
        }
    }

    /// Whether this process holds it.
    pub fn is_held(&self) -> bool {
        let held_until = *self.locked();
        held_until.is_some_and(|until| Instant::now() < until)
    }

    /// Takes it or renews it, unless another process holds it. While the store fails it is held for
    /// as long as it was.
    pub async fn renew(&self, store: &dyn Store) -> Result<(), StoreError> {
        let asked_at = Instant::now();
        let is_ours = store.hold_lease(self.holder, LEASE_DURATION).await?;
        *self.locked() = is_ours.then_some(asked_at + LEASE_DURATION - MARGIN);
        Ok(())
    }

    /// Gives it back, so that another process takes it at once.
    pub async fn release(&self, store: &dyn Store) -> Result<(), StoreError> {
        if self.locked().take().is_some() {
            store.release_lease(self.holder).await?;
        }
        Ok(())
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.held_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
