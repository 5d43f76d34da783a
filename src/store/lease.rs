//! The lease on upkeep: of the processes that share a store, the one that holds it removes expired
//! records, sends the outbox, encrypts records again and rotates signing keys.
//!
//! It only saves work. Each of these is correct when several processes do it at once, so a holder
//! that does not notice that its lease has ended does no harm.
//!
//! Must stay true: once it is given back nothing renews it, also not a renewal whose caller has gone
//! while it was under way.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, timeout};

use super::{ReplicaId, Store, StoreError};

/// How long the lease lasts in the store, unless it is renewed.
const LEASE_DURATION: Duration = Duration::from_secs(30);
/// The holder stops so much earlier.
const MARGIN: Duration = Duration::from_secs(5);
/// How long a process that stops waits for a renewal that is under way: longer than a call to the
/// store takes where its engine answers.
const RENEWAL_TIMEOUT: Duration = Duration::from_secs(8);

/// The lease, as this process knows it. A process that is alone always gets it.
#[derive(Debug)]
pub struct UpkeepLease {
    holder: ReplicaId,
    held_until: Arc<Mutex<Option<Instant>>>,
    /// Locked while the store is asked.
    turn: Arc<tokio::sync::Mutex<Turn>>,
}

/// What this process has asked the store for.
#[derive(Debug, Default)]
struct Turn {
    /// The store may have it for this process.
    may_be_ours: bool,
    is_released: bool,
}

impl UpkeepLease {
    /// Not held yet.
    pub fn new(holder: ReplicaId) -> Self {
        Self {
            holder,
            held_until: Arc::default(),
            turn: Arc::default(),
        }
    }

    /// Whether this process holds it.
    pub fn is_held(&self) -> bool {
        let held_until = *locked(&self.held_until);
        held_until.is_some_and(|until| Instant::now() < until)
    }

    /// Takes it or renews it, unless another process holds it. While the store fails it is held for
    /// as long as it was. Does nothing once it was given back.
    pub async fn renew(&self, store: &Arc<dyn Store>) -> Result<(), StoreError> {
        let mut turn = Arc::clone(&self.turn).lock_owned().await;
        if turn.is_released {
            return Ok(());
        }
        turn.may_be_ours = true;
        let (holder, store) = (self.holder, Arc::clone(store));
        let held_until = Arc::clone(&self.held_until);
        // The store goes on with it when the caller gives up, so the turn ends with the call.
        let renewal = tokio::spawn(async move {
            let asked_at = Instant::now();
            let is_ours = store.hold_lease(holder, LEASE_DURATION).await?;
            turn.may_be_ours = is_ours;
            *locked(&held_until) = is_ours.then_some(asked_at + LEASE_DURATION - MARGIN);
            Ok(())
        });
        renewal.await.unwrap_or_else(|_| {
            let why = "a renewal of the lease panicked";
            Err(StoreError::Unavailable(why.to_owned()))
        })
    }

    /// Gives it back for good, so that another process takes it at once. Waits for a renewal that is
    /// under way.
    pub async fn release(&self, store: &dyn Store) -> Result<(), StoreError> {
        locked(&self.held_until).take();
        let Ok(mut turn) = timeout(RENEWAL_TIMEOUT, self.turn.lock()).await else {
            let why = "a renewal of it does not end, so it ends by itself";
            return Err(StoreError::Unavailable(why.to_owned()));
        };
        locked(&self.held_until).take();
        turn.is_released = true;
        if turn.may_be_ours {
            store.release_lease(self.holder).await?;
            turn.may_be_ours = false;
        }
        Ok(())
    }
}

fn locked(held_until: &Mutex<Option<Instant>>) -> std::sync::MutexGuard<'_, Option<Instant>> {
    held_until.lock().unwrap_or_else(PoisonError::into_inner)
}
