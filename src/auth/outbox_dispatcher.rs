//! Sends the events of the outbox to the backend, and notifications of logins.
//!
//! An event is leased, sent, and acknowledged when the backend has responded 2xx; otherwise it is
//! sent again after a backoff that doubles, up to ten minutes, until `hooks.give_up_after`. If the
//! process ends, the lease expires and the event is due again. So the backend may get one event
//! more than once, always under the same id.
//!
//! Logins wait in a bounded queue in memory: in the outbox each would cost three writes, and a
//! backend that counts logins can do without a few.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use tokio::{
    sync::{Mutex, Notify, mpsc},
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use crate::{
    audit::{Audit, Event},
    clock::Clock,
    metrics::Metrics,
    provider::hooks::{HookNotification, Hooks, LoginNotification},
    store::{OutboxEntry, OutboxEvent, Store, StoreError, UpkeepLease, UserLookup},
    types::Timestamp,
};

/// Events leased and sent at a time.
const MAX_CONCURRENT_DELIVERIES: usize = 8;
/// Logins waiting to be sent.
const LOGIN_QUEUE_CAPACITY: usize = 1000;
/// How often the outbox is polled.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// The backlog is counted at every fifth poll.
const POLLS_PER_BACKLOG_COUNT: u32 = 5;
/// How much longer a lease is than a message may take.
const LEASE_MARGIN: Duration = Duration::from_secs(5);
/// The backoff after the first failure.
const MIN_BACKOFF: Duration = Duration::from_secs(1);
/// The longest backoff.
const MAX_BACKOFF: Duration = Duration::from_mins(10);

/// Sends events to the backend. Lives as long as the process; the hooks may change.
pub struct OutboxDispatcher {
    store: Arc<dyn Store>,
    metrics: Metrics,
    audit: Audit,
    clock: Clock,
    lease: Arc<UpkeepLease>,
    target: ArcSwapOption<HookTarget>,
    woken: Notify,
    logins: mpsc::Sender<LoginNotification>,
    login_queue: Mutex<mpsc::Receiver<LoginNotification>>,
}

/// Where events go, and for how long they are retried.
struct HookTarget {
    hooks: Arc<Hooks>,
    give_up_after: Duration,
}

impl OutboxDispatcher {
    /// Sends nothing before [`OutboxDispatcher::set_target`], and events of the outbox only while
    /// this process holds the lease.
    pub fn new(
        store: Arc<dyn Store>,
        metrics: Metrics,
        audit: Audit,
        clock: Clock,
        lease: Arc<UpkeepLease>,
    ) -> Self {
        let (logins, login_queue) = mpsc::channel(LOGIN_QUEUE_CAPACITY);
        Self {
            store,
            metrics,
            audit,
            clock,
            lease,
            target: ArcSwapOption::empty(),
            woken: Notify::new(),
            logins,
            login_queue: Mutex::new(login_queue),
        }
    }

    /// Sends to these hooks from now on; `None`: to none, and events stay in the outbox.
    pub fn set_target(&self, hooks: Option<Arc<Hooks>>, give_up_after: Duration) {
        self.target.store(hooks.map(|hooks| {
            Arc::new(HookTarget {
                hooks,
                give_up_after,
            })
        }));
        self.woken.notify_one();
    }

    /// Polls the outbox now: an event has just been written.
    pub fn wake(&self) {
        self.woken.notify_one();
    }

    /// Queues a notification of a login, or counts it as lost where the queue is full.
    pub fn send_login(&self, login: LoginNotification) {
        if self.logins.try_send(login).is_err() {
            self.count_lost("login.succeeded");
        }
    }

    /// Sends the events of the outbox. Never returns.
    pub async fn run(self: &Arc<Self>) {
        let mut ticks = interval(POLL_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut polls = 0;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.woken.notified() => {}
            }
            if let Err(fault) = self.dispatch_due().await {
                tracing::warn!(error = %fault, "the events for the backend could not be read or acknowledged");
            }
            polls = (polls + 1) % POLLS_PER_BACKLOG_COUNT;
            if polls == 1 && self.target.load().is_some() {
                self.update_backlog_metrics().await;
            }
        }
    }

    /// Sends the queued notifications of logins. Returns only when the dispatcher is dropped.
    pub async fn run_logins(&self) {
        let mut login_queue = self.login_queue.lock().await;
        while let Some(login) = login_queue.recv().await {
            let Some(target) = self.target.load_full() else {
                continue;
            };
            if target
                .hooks
                .notify(&HookNotification::Login { login: &login })
                .await
                .is_err()
            {
                self.count_lost("login.succeeded");
            }
        }
    }

    /// Sends every event that is due, while this process holds the lease; returns how many the backend
    /// has accepted.
    pub async fn dispatch_due(self: &Arc<Self>) -> Result<usize, StoreError> {
        let Some(target) = self.target.load_full() else {
            return Ok(0);
        };
        let mut delivered = 0;
        while self.lease.is_held() {
            let now = self.clock.now();
            let until = now.plus(target.hooks.timeout() + LEASE_MARGIN);
            let leased = self
                .store
                .take_outbox(now, until, MAX_CONCURRENT_DELIVERIES)
                .await?;
            if leased.is_empty() {
                return Ok(delivered);
            }
            let mut deliveries = JoinSet::new();
            for entry in leased {
                let (this, target) = (Arc::clone(self), Arc::clone(&target));
                deliveries.spawn(async move { this.deliver(&target, entry).await });
            }
            while let Some(delivery) = deliveries.join_next().await {
                delivered += usize::from(delivery.unwrap_or(Ok(false))?);
            }
        }
        Ok(delivered)
    }

    async fn update_backlog_metrics(&self) {
        let Ok(backlog) = self.store.backlog().await else {
            return;
        };
        let age = backlog
            .oldest
            .map_or(Duration::ZERO, |oldest| self.clock.now().since(oldest));
        self.metrics
            .hook_backlog
            .set(i64::try_from(backlog.waiting).unwrap_or(i64::MAX));
        self.metrics.hook_backlog_age.set(age.as_secs_f64());
    }

    fn count_lost(&self, event: &str) {
        let lost = &self.metrics.hook_events_lost;
        lost.with_label_values(&[event]).inc();
    }

    /// Sends one event and acknowledges or reschedules it; returns whether the backend has accepted
    /// it.
    async fn deliver(&self, target: &HookTarget, entry: OutboxEntry) -> Result<bool, StoreError> {
        let OutboxEntry {
            event,
            at,
            attempts,
            receipt,
        } = &entry;
        let identities = match event {
            OutboxEvent::Created { user } => match self.store.lookup_user(user).await? {
                UserLookup::Active(identities) => Some(identities),
                // The deletion of this user is an event of its own.
                UserLookup::Deleted { .. } | UserLookup::Unknown => {
                    self.store.acknowledge_outbox(receipt, None).await?;
                    return Ok(false);
                }
            },
            OutboxEvent::Deleted { .. }
            | OutboxEvent::Merged { .. }
            | OutboxEvent::Withdrawn { .. } => None,
        };
        let Err(error) = target
            .hooks
            .notify(&HookNotification::Outbox {
                event,
                at: *at,
                user: identities.as_deref(),
            })
            .await
        else {
            self.store.acknowledge_outbox(receipt, None).await?;
            return Ok(true);
        };
        let (now, id) = (self.clock.now(), event.id());
        if now.since(*at) >= target.give_up_after {
            let name = event.name();
            self.count_lost(name);
            self.audit.record(&Event::HookGivenUp {
                event: name,
                id: &id,
            });
            tracing::error!(event = name, id, error = %error, "an event for the backend was dropped: {error}");
            self.store.acknowledge_outbox(receipt, None).await?;
            return Ok(false);
        }
        tracing::warn!(event = event.name(), id, attempts, error = %error, "an event could not be sent to the backend yet: {error}");
        self.store
            .acknowledge_outbox(receipt, Some(next_attempt_at(*attempts, now)))
            .await?;
        Ok(false)
    }
}

/// When an event is sent again after so many failed attempts.
fn next_attempt_at(attempts: u32, now: Timestamp) -> Timestamp {
    let doubled = MIN_BACKOFF.saturating_mul(
        1_u32
            .checked_shl(attempts.saturating_sub(1))
            .unwrap_or(u32::MAX),
    );
    now.plus(doubled.min(MAX_BACKOFF))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_ten_minutes() {
        let now = Timestamp::from_secs(1_800_000_000);
        let pauses = [1, 2, 3, 10, 11, 40, u32::MAX]
            .map(|attempts| next_attempt_at(attempts, now).since(now).as_secs());
        assert_eq!(pauses, [1, 2, 4, 512, 600, 600, 600]);
    }
}
