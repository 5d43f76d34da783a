//! What has been revoked, in memory, so that no request asks the store.
//!
//! Fed from the revocation log of the store: read whole before serving, then followed, so that a
//! logout or a ban on one replica bites on every other within one poll. On its own replica it bites
//! at once, through [`Denylist::apply`].
//!
//! Must stay true: an entry stays as long as a token that it refuses can live; while the store
//! fails nothing is forgotten and nothing is let through that was refused before.

use std::{
    future::Future,
    hash::Hash,
    pin::pin,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use foldhash::fast::RandomState;
use tokio::sync::{Mutex, watch};

use crate::{
    clock::Clock,
    metrics::Metrics,
    store::{LogCursor, RevocationEntry, RevocationTarget, Store, StoreError},
    token::{AccessClaims, VerifiedClaims},
    types::{REVOCATION_RETENTION, SessionId, Timestamp, UserId},
};

/// Entries read from the store at once.
const PAGE_SIZE: usize = 1000;
/// How often old entries are forgotten.
const PRUNE_INTERVAL: Duration = Duration::from_mins(10);

/// The sessions, users and epochs that are refused. Asking it takes no lock.
#[derive(Debug)]
pub struct Denylist {
    /// How long an entry matters, in seconds: longer than any access token lives.
    retention: AtomicU64,
    sessions: papaya::HashMap<SessionId, Timestamp, RandomState>,
    users: papaya::HashMap<UserId, UserEpoch, RandomState>,
    /// Tokens with a lower `gep` are refused, whoever's they are.
    global_epoch: AtomicU64,
    /// Where the log has been read to.
    read_to: Mutex<Option<LogCursor>>,
    /// Sees every entry that is applied.
    changed: watch::Sender<()>,
}

impl Default for Denylist {
    fn default() -> Self {
        Self::new()
    }
}

/// Tokens of one user with a lower `ep` are refused.
#[derive(Debug, Clone, Copy)]
struct UserEpoch {
    epoch: u64,
    at: Timestamp,
}

impl Denylist {
    /// Remembers as long as the store's log does.
    pub fn new() -> Self {
        Self::with_retention(REVOCATION_RETENTION)
    }

    /// Remembers entries for this long, which must be longer than any access token is accepted.
    pub fn with_retention(retention: Duration) -> Self {
        Self {
            retention: AtomicU64::new(retention.min(REVOCATION_RETENTION).as_secs()),
            sessions: papaya::HashMap::default(),
            users: papaya::HashMap::default(),
            global_epoch: AtomicU64::new(0),
            read_to: Mutex::new(None),
            changed: watch::Sender::new(()),
        }
    }

    /// Remembers entries for this long at least, which must be longer than any access token is
    /// accepted.
    pub fn extend_retention(&self, retention: Duration) {
        self.retention.fetch_max(
            retention.min(REVOCATION_RETENTION).as_secs(),
            Ordering::AcqRel,
        );
    }

    /// Refuses from now on what the entry names. The same entry twice is as good as once, in any
    /// order.
    pub fn apply(&self, entry: &RevocationEntry) {
        match &entry.target {
            RevocationTarget::Session(id) => {
                update_or_insert(&self.sessions, id, entry.at, |at| entry.at.max(*at));
            }
            RevocationTarget::User { id, epoch } => {
                let new = UserEpoch {
                    epoch: *epoch,
                    at: entry.at,
                };
                let newest = |old: &UserEpoch| UserEpoch {
                    epoch: new.epoch.max(old.epoch),
                    at: new.at.max(old.at),
                };
                update_or_insert(&self.users, id, new, newest);
            }
            RevocationTarget::Everything { epoch } => {
                self.global_epoch.fetch_max(*epoch, Ordering::AcqRel);
            }
        }
        self.changed.send_replace(());
    }

    /// Tells when something more is refused, for whoever holds what was let in before. Many entries
    /// may be one change.
    pub fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Whether a token with these claims is revoked.
    ///
    /// One of another issuer has neither session nor epoch. Whatever ended all tokens of its user,
    /// a ban above all, ends it too, and those that its issuer gives meanwhile, for as long as
    /// revocations are remembered: nothing in it would say that it was given with knowledge of the
    /// ban.
    pub fn is_revoked(&self, claims: &VerifiedClaims) -> bool {
        match claims {
            VerifiedClaims::Own(claims) => self.is_own_revoked(claims),
            VerifiedClaims::External(claims) => self.users.pin().contains_key(&claims.sub),
        }
    }

    fn is_own_revoked(&self, claims: &AccessClaims) -> bool {
        claims.gep < self.global_epoch.load(Ordering::Acquire)
            || self.sessions.pin().contains_key(&claims.sid)
            || self
                .users
                .pin()
                .get(&claims.sub)
                .is_some_and(|user| claims.ep < user.epoch)
    }

    /// Forgets entries from before any token that still lives. The global epoch is one number and
    /// stays.
    pub fn prune(&self, now: Timestamp) {
        let retention = Duration::from_secs(self.retention.load(Ordering::Acquire));
        let matters = |at: Timestamp| at.plus(retention) > now;
        self.sessions.pin().retain(|_, at| matters(*at));
        self.users.pin().retain(|_, user| matters(user.at));
    }

    /// How many sessions and users are refused.
    pub fn len(&self) -> usize {
        self.sessions.len() + self.users.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads what is new in the log, to its end. The first call reads all of it, and must succeed
    /// before requests are served. Says when the newest entry that it read was made.
    pub async fn load(&self, store: &dyn Store) -> Result<Option<Timestamp>, StoreError> {
        let mut read_to = self.read_to.lock().await;
        let mut newest = None;
        loop {
            let page = store.revocations(read_to.as_ref(), PAGE_SIZE).await?;
            for entry in &page.entries {
                self.apply(entry);
                newest = newest.max(Some(entry.at));
            }
            *read_to = Some(page.next);
            if !page.more {
                return Ok(newest);
            }
        }
    }

    /// Follows the log until `shutdown`. While the store fails the list stays as it is.
    pub async fn follow(
        &self,
        store: &dyn Store,
        clock: &Clock,
        poll: Duration,
        metrics: &Metrics,
        shutdown: impl Future<Output = ()>,
    ) {
        let mut shutdown = pin!(shutdown);
        let mut failing = false;
        let mut forgotten_at = clock.now();
        loop {
            tokio::select! {
                () = &mut shutdown => return,
                () = tokio::time::sleep(poll) => {}
            }
            match self.load(store).await {
                Ok(newest) => {
                    if failing {
                        failing = false;
                        tracing::info!("revocations are followed again");
                    }
                    if let Some(at) = newest {
                        metrics
                            .revocation_lag
                            .set(clock.now().since(at).as_secs_f64());
                    }
                }
                Err(error) if !failing => {
                    failing = true;
                    tracing::warn!(%error, "revocations cannot be read, those known stay in force");
                }
                Err(_) => {}
            }
            if clock.now().since(forgotten_at) >= PRUNE_INTERVAL {
                forgotten_at = clock.now();
                self.prune(forgotten_at);
            }
        }
    }
}

/// Inserts a value, or updates the one that is there.
///
/// The map's own operation of this name never finishes a resize, so each lookup after it goes
/// through every table that the map ever had (papaya 0.2.5): with 10,000 sessions in it that was a
/// microsecond for each request.
fn update_or_insert<K, V>(
    map: &papaya::HashMap<K, V, RandomState>,
    key: &K,
    new: V,
    update: impl Fn(&V) -> V,
) where
    K: Clone + Eq + Hash,
    V: Copy,
{
    let map = map.pin();
    // What another thread forgets between the two is inserted after all.
    while map.try_insert(key.clone(), new).is_err() && map.update(key.clone(), &update).is_none() {}
}

#[cfg(test)]
mod tests;
