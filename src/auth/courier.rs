//! Tells the backend what has happened: from the outbox until it has heard, and of logins while it
//! keeps up.
//!
//! An event of the outbox is taken for a time, told, and forgotten when the backend has answered
//! 2xx; otherwise it is told again after a pause that doubles, up to ten minutes, until
//! `hooks.give_up_after`. Whatever ends the process, what was taken is due again. So the backend
//! may hear of one event more than once, always under the same id.
//!
//! Logins wait in memory, a bounded number of them: each would cost the store three writes
//! otherwise, and a backend that counts logins can live without a few.

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
    provider::hooks::{Hooks, LoginTold, Told},
    store::{Known, OutboxEntry, OutboxEvent, Store, StoreError},
    types::Timestamp,
};

/// Events taken and told at once.
const AT_ONCE: usize = 8;
/// Logins that wait to be told.
const LOGINS: usize = 1000;
/// How often the outbox is looked at.
const POLL: Duration = Duration::from_secs(1);
/// Every so many looks the backlog is counted.
const COUNT_EVERY: u32 = 5;
/// How much longer than a message may take an event is taken for.
const SLACK: Duration = Duration::from_secs(5);
/// The pause after the first failure.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_mins(10);

/// What it needs.
#[derive(Clone)]
pub struct CourierParts {
    pub store: Arc<dyn Store>,
    pub metrics: Metrics,
    pub audit: Audit,
    pub clock: Clock,
}

/// Carries events to the backend. Lives as long as the process; the hooks may change.
pub struct Courier {
    parts: CourierParts,
    route: ArcSwapOption<Route>,
    woken: Notify,
    logins: mpsc::Sender<LoginTold>,
    waiting: Mutex<mpsc::Receiver<LoginTold>>,
}

/// Where events go, and for how long they are tried.
struct Route {
    hooks: Arc<Hooks>,
    give_up_after: Duration,
}

impl Courier {
    /// Nothing is told before [`Courier::go_to`].
    pub fn new(parts: CourierParts) -> Self {
        let (logins, waiting) = mpsc::channel(LOGINS);
        let (route, waiting) = (ArcSwapOption::empty(), Mutex::new(waiting));
        Self {
            parts,
            route,
            woken: Notify::new(),
            logins,
            waiting,
        }
    }

    /// Tells these hooks from now on, or nobody. What is in the outbox stays.
    pub fn go_to(&self, hooks: Option<Arc<Hooks>>, give_up_after: Duration) {
        self.route.store(hooks.map(|hooks| {
            Arc::new(Route {
                hooks,
                give_up_after,
            })
        }));
        self.woken.notify_one();
    }

    /// Something has been put into the outbox just now.
    pub fn wake(&self) {
        self.woken.notify_one();
    }

    /// Tells of a login, unless too many wait already.
    pub fn tell_login(&self, login: LoginTold) {
        if self.logins.try_send(login).is_err() {
            self.parts
                .metrics
                .hook_events_lost
                .with_label_values(&["login.succeeded"])
                .inc();
        }
    }

    /// Tells what is in the outbox, for good.
    pub async fn carry_events(&self) {
        let mut ticks = interval(POLL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looks = 0;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.woken.notified() => {}
            }
            if let Err(fault) = self.carry().await {
                tracing::warn!(error = %fault, "the events for the backend could not be read or settled");
            }
            looks = (looks + 1) % COUNT_EVERY;
            if looks == 1 && self.route.load().is_some() {
                self.count().await;
            }
        }
    }

    /// Tells of logins, for good.
    pub async fn carry_logins(&self) {
        let mut waiting = self.waiting.lock().await;
        while let Some(login) = waiting.recv().await {
            let Some(route) = self.route.load_full() else {
                continue;
            };
            if route
                .hooks
                .tell(&Told::Login { login: &login })
                .await
                .is_err()
            {
                self.parts
                    .metrics
                    .hook_events_lost
                    .with_label_values(&["login.succeeded"])
                    .inc();
            }
        }
    }

    /// Tells everything that is due now; says how much was told.
    pub async fn carry(&self) -> Result<usize, StoreError> {
        let Some(route) = self.route.load_full() else {
            return Ok(0);
        };
        let mut told = 0;
        loop {
            let now = self.parts.clock.now();
            let until = now.plus(route.hooks.timeout() + SLACK);
            let taken = self.parts.store.take_outbox(now, until, AT_ONCE).await?;
            if taken.is_empty() {
                return Ok(told);
            }
            let mut deliveries = JoinSet::new();
            for entry in taken {
                deliveries.spawn(deliver(self.parts.clone(), Arc::clone(&route), entry));
            }
            while let Some(delivery) = deliveries.join_next().await {
                told += usize::from(delivery.unwrap_or(Ok(false))?);
            }
        }
    }

    async fn count(&self) {
        let Ok(backlog) = self.parts.store.backlog().await else {
            return;
        };
        let age = backlog.oldest.map_or(Duration::ZERO, |oldest| {
            self.parts.clock.now().since(oldest)
        });
        self.parts
            .metrics
            .hook_backlog
            .set(i64::try_from(backlog.waiting).unwrap_or(i64::MAX));
        self.parts.metrics.hook_backlog_age.set(age.as_secs_f64());
    }
}

/// Tells one event and settles it; says whether the backend has heard.
async fn deliver(
    parts: CourierParts,
    route: Arc<Route>,
    entry: OutboxEntry,
) -> Result<bool, StoreError> {
    let OutboxEntry {
        event,
        at,
        attempts,
        place,
    } = &entry;
    let known = match event {
        OutboxEvent::Created { user } => match parts.store.known(user).await? {
            Known::User(known) => Some(known),
            // Whoever is gone since is told of by another event.
            Known::Gone { .. } | Known::Never => {
                parts.store.settle_outbox(place, None).await?;
                return Ok(false);
            }
        },
        OutboxEvent::Deleted { .. }
        | OutboxEvent::Merged { .. }
        | OutboxEvent::Withdrawn { .. } => None,
    };
    let Err(error) = route
        .hooks
        .tell(&Told::Kept {
            event,
            at: *at,
            user: known.as_deref(),
        })
        .await
    else {
        parts.store.settle_outbox(place, None).await?;
        return Ok(true);
    };
    let (now, id) = (parts.clock.now(), event.id());
    if now.since(*at) >= route.give_up_after {
        let name = event.name();
        parts
            .metrics
            .hook_events_lost
            .with_label_values(&[name])
            .inc();
        parts.audit.record(&Event::HookGivenUp {
            event: name,
            id: &id,
        });
        tracing::error!(event = name, id, error = %error, "the backend was not told, and will not be: {error}");
        parts.store.settle_outbox(place, None).await?;
        return Ok(false);
    }
    tracing::warn!(event = event.name(), id, attempts, error = %error, "the backend was not told yet: {error}");
    parts
        .store
        .settle_outbox(place, Some(again(*attempts, now)))
        .await?;
    Ok(false)
}

/// When an event that has been told so often in vain is told again.
fn again(attempts: u32, now: Timestamp) -> Timestamp {
    let doubled = FIRST_PAUSE.saturating_mul(
        1_u32
            .checked_shl(attempts.saturating_sub(1))
            .unwrap_or(u32::MAX),
    );
    now.plus(doubled.min(LONGEST_PAUSE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_ten_minutes() {
        let now = Timestamp::from_secs(1_800_000_000);
        let pauses = [1, 2, 3, 10, 11, 40, u32::MAX]
            .map(|attempts| again(attempts, now).since(now).as_secs());
        assert_eq!(pauses, [1, 2, 4, 512, 600, 600, 600]);
    }
}
