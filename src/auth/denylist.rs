//! Revocations in memory, so that no request reads the store.
//!
//! Loaded from the revocation log of the store before serving, then polled, so that a logout or a
//! ban on one replica takes effect on every other within one poll, or at once where the store sends
//! hints. On its own replica it takes effect at once, through [`Denylist::apply`].
//!
//! A line of the log that cannot be read may reject any token that was issued before it. Such a token
//! is treated as expired: its client refreshes it, and the store knows whether the session goes on.
//!
//! Must stay true: an entry stays as long as a token that it rejects can be valid; while the store
//! fails no entry is dropped; a line that cannot be read stops no other.

use std::{
    future::Future,
    hash::Hash,
    pin::pin,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use foldhash::fast::RandomState;
use tokio::{
    sync::{Mutex, watch},
    time::Instant,
};

use crate::{
    clock::Clock,
    metrics::Metrics,
    store::{
        LogCursor, LookBack, RevocationEntry, RevocationPage, RevocationTarget, Store, StoreError,
        UnreadableLines,
    },
    token::{AccessClaims, VerifiedClaims},
    types::{REVOCATION_RETENTION, SessionId, Timestamp, UserId},
};

/// Entries per read of the log.
const PAGE_SIZE: usize = 1000;
/// How long a poll waits for further hints.
const HINT_GATHER_TIME: Duration = Duration::from_millis(20);
/// How often old entries are dropped.
const PRUNE_INTERVAL: Duration = Duration::from_mins(10);

/// Revoked sessions, users and epochs. Reading it takes no lock.
#[derive(Debug)]
pub struct Denylist {
    /// How long an entry is kept, in seconds: longer than any access token is valid.
    retention: AtomicU64,
    sessions: papaya::HashMap<SessionId, Timestamp, RandomState>,
    users: papaya::HashMap<UserId, UserEpoch, RandomState>,
    /// Tokens with a lower `gep` are revoked, for all users.
    global_epoch: AtomicU64,
    /// Own tokens that were issued until then are treated as expired, in milliseconds since the epoch.
    doubtful_until: AtomicU64,
    read_to: Mutex<ReadTo>,
    created_at: Instant,
    /// When the whole log was read last, in milliseconds since `created_at`.
    read_at: AtomicU64,
    /// Signals every entry that is applied.
    changed: watch::Sender<()>,
}

impl Default for Denylist {
    fn default() -> Self {
        Self::new()
    }
}

/// How much of the log has been read.
#[derive(Debug, Default)]
struct ReadTo {
    /// Up to where; `None`: nothing yet.
    cursor: Option<LogCursor>,
    /// From how long ago on, in seconds before the first read.
    max_age: u64,
}

/// Tokens of one user with a lower `ep` are revoked.
#[derive(Debug, Clone, Copy)]
struct UserEpoch {
    epoch: u64,
    at: Timestamp,
}

impl Denylist {
    /// Keeps entries as long as the store's log does.
    pub fn new() -> Self {
        Self::with_retention(REVOCATION_RETENTION)
    }

    /// Keeps entries for this long, which must be longer than any access token is accepted.
    pub fn with_retention(retention: Duration) -> Self {
        Self {
            retention: AtomicU64::new(retention.min(REVOCATION_RETENTION).as_secs()),
            sessions: papaya::HashMap::default(),
            users: papaya::HashMap::default(),
            global_epoch: AtomicU64::new(0),
            doubtful_until: AtomicU64::new(0),
            read_to: Mutex::default(),
            created_at: Instant::now(),
            read_at: AtomicU64::new(0),
            changed: watch::Sender::new(()),
        }
    }

    /// Keeps entries for this long at least, which must be longer than any access token is
    /// accepted. The next [`load`](Self::load) reads what is older than what it has read so far.
    pub fn extend_retention(&self, retention: Duration) {
        self.retention.fetch_max(
            retention.min(REVOCATION_RETENTION).as_secs(),
            Ordering::AcqRel,
        );
    }

    /// Applies an entry. Idempotent, and independent of the order of entries.
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

    /// Signals new entries, for holders of requests that were admitted before. Many entries may be
    /// one signal.
    pub fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Whether a token with these claims is revoked.
    ///
    /// A token of an external issuer has neither session nor epoch. What revoked all tokens of its
    /// user, a ban above all, revokes it too, and those that its issuer issues meanwhile, for as
    /// long as revocations are kept: such a token does not say whether it was issued before or
    /// after the ban.
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

    /// Whether a token with these claims may be revoked by a line of the log that cannot be read. One
    /// of an external issuer is not meant: nothing says when it was issued, and its session is not
    /// the store's.
    pub fn is_doubtful(&self, claims: &VerifiedClaims) -> bool {
        let until = self.doubtful_until.load(Ordering::Acquire);
        claims
            .own()
            .is_some_and(|claims| claims.iat.as_millis() <= until)
    }

    /// How long ago the whole log was read.
    pub fn age(&self) -> Duration {
        let read_at = Duration::from_millis(self.read_at.load(Ordering::Acquire));
        self.created_at.elapsed().saturating_sub(read_at)
    }

    /// Drops entries older than any token that can still be valid. The global epoch is one number
    /// and stays.
    pub fn prune(&self, now: Timestamp) {
        let retention = Duration::from_secs(self.retention.load(Ordering::Acquire));
        let matters = |at: Timestamp| at.plus(retention) > now;
        self.sessions.pin().retain(|_, at| matters(*at));
        self.users.pin().retain(|_, user| matters(user.at));
    }

    /// How many sessions and users are revoked.
    pub fn len(&self) -> usize {
        self.sessions.len() + self.users.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads the new entries of the log. The first call reads all that may still matter, and must
    /// succeed before requests are served.
    pub async fn load(
        &self,
        store: &dyn Store,
        now: Timestamp,
        metrics: &Metrics,
    ) -> Result<(), StoreError> {
        self.read(store, LookBack::Window, now, metrics).await
    }

    async fn read(
        &self,
        store: &dyn Store,
        look_back: LookBack,
        now: Timestamp,
        metrics: &Metrics,
    ) -> Result<(), StoreError> {
        let asked_at = self.created_at.elapsed();
        let mut read_to = self.read_to.lock().await;
        let max_age = self.retention.load(Ordering::Acquire);
        if max_age > read_to.max_age {
            // Older entries matter now.
            *read_to = ReadTo {
                cursor: None,
                max_age,
            };
        }
        let max_age = Duration::from_secs(max_age);
        let is_following = read_to.cursor.is_some();
        loop {
            let page = store
                .revocations(read_to.cursor.as_ref(), look_back, max_age, PAGE_SIZE, now)
                .await?;
            self.apply_page(&page, metrics);
            if is_following {
                let lag = metrics.revocation_lag.with_label_values::<&str>(&[]);
                page.ages
                    .iter()
                    .for_each(|age| lag.observe(age.as_secs_f64()));
            }
            read_to.cursor = Some(page.next);
            if !page.more {
                if look_back == LookBack::Window {
                    let asked_at = u64::try_from(asked_at.as_millis()).unwrap_or(u64::MAX);
                    self.read_at.store(asked_at, Ordering::Release);
                }
                return Ok(());
            }
        }
    }

    fn apply_page(&self, page: &RevocationPage, metrics: &Metrics) {
        for entry in &page.entries {
            self.apply(entry);
        }
        let Some(UnreadableLines {
            count,
            issued_until,
        }) = page.unreadable
        else {
            return;
        };
        metrics.revocation_lines_unreadable.inc_by(count as u64);
        tracing::error!(
            count,
            "lines of the revocation log cannot be read: tokens that were issued before them count as expired"
        );
        self.doubt_until(issued_until);
    }

    /// Treats own tokens that were issued until then as expired.
    pub(super) fn doubt_until(&self, issued_until: Timestamp) {
        let until = issued_until.as_millis();
        self.doubtful_until.fetch_max(until, Ordering::AcqRel);
    }

    /// Follows the log until `shutdown`: once in each `poll`, and when the store hints that there is
    /// something new, at its end, so that many hints read little. While the store fails the list stays as it is.
    pub async fn follow(
        &self,
        store: &dyn Store,
        clock: &Clock,
        poll: Duration,
        metrics: &Metrics,
        shutdown: impl Future<Output = ()>,
    ) {
        let mut shutdown = pin!(shutdown);
        // One wait for as many polls as it takes: begun anew, it might never be connected.
        let mut hint = store.wait_for_hint();
        let mut failing = false;
        let mut forgotten_at = clock.now();
        let mut loading = Duration::ZERO;
        let mut next_poll = Instant::now() + poll;
        loop {
            let look_back = tokio::select! {
                biased;
                () = &mut shutdown => return,
                // However many hints come.
                () = tokio::time::sleep_until(next_poll) => LookBack::Window,
                () = &mut hint => {
                    hint = store.wait_for_hint();
                    // Many hints are one read. Most of the time is not spent in reads, however many come.
                    let gathered = Instant::now() + HINT_GATHER_TIME.max(loading * 4);
                    tokio::time::sleep_until(gathered.min(next_poll)).await;
                    LookBack::Recent
                }
            };
            let began = Instant::now();
            let loaded = self.read(store, look_back, clock.now(), metrics).await;
            loading = began.elapsed();
            if look_back == LookBack::Window {
                next_poll = Instant::now() + poll;
            }
            match loaded {
                Ok(()) if failing => {
                    failing = false;
                    tracing::info!("revocations are followed again");
                }
                Err(error) if !failing => {
                    failing = true;
                    tracing::warn!(%error, "revocations cannot be read, those known stay in force");
                }
                Ok(()) | Err(_) => {}
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
    // An entry that another thread drops between the two is inserted after all.
    while map.try_insert(key.clone(), new).is_err() && map.update(key.clone(), &update).is_none() {}
}

#[cfg(test)]
mod tests;
