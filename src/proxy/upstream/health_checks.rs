//! What is done about backends in the background: checks of their health, and names that may come
//! to mean another address.
//!
//! Must stay true: no request waits for any of it; a name that cannot be resolved keeps the
//! addresses it had.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::StatusCode;
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep},
};

use super::{
    Backend, Upstreams,
    health::Tally,
    probe::{Probe, ProbeError, Prober},
};
use crate::config::HealthConfig;

/// How often gauges are brought up to date.
const SHOW_EVERY: Duration = Duration::from_secs(1);
/// How often a name is looked up that has led nowhere yet.
const UNRESOLVED_RETRY_INTERVAL: Duration = Duration::from_secs(1);

impl Upstreams {
    /// Looks after the backends until the future is dropped; only one set of them at a time. `tell`
    /// hears how many of them all are healthy when that has changed; at first all are.
    pub async fn watch(self: Arc<Self>, tell: impl Fn(usize, usize)) {
        self.forget_others();
        let mut tasks = JoinSet::new();
        for at in 0..self.len() {
            if self.are_checked() {
                tasks.spawn(check_all_along(self.clone(), at));
            }
            if self.get(at).name.is_some() {
                tasks.spawn(resolve_all_along(self.clone(), at));
            }
        }
        let mut ticks = interval(SHOW_EVERY);
        let mut told = self.len();
        loop {
            ticks.tick().await;
            (0..self.len()).for_each(|at| self.get(at).health.show());
            let good = (0..self.len())
                .filter(|at| self.get(*at).health.is_good())
                .count();
            if good != told {
                told = good;
                tell(good, self.len());
            }
        }
    }
}

async fn check_all_along(all: Arc<Upstreams>, at: usize) {
    let (config, backend) = (all.health(), all.get(at));
    let prober = Prober::new(all.clone());
    let (mut ticks, mut tally) = (interval(config.interval.get()), Tally::default());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // Its name is looked up again meanwhile, and where that leads somewhere it is healthy at
        // once.
        if !backend.is_resolved() {
            continue;
        }
        let checked = check(&prober, at, config).await;
        let changed = backend.health.checked(
            checked.is_ok(),
            &mut tally,
            config.unhealthy_after,
            config.healthy_after,
        );
        match (changed, checked) {
            (Some(true), _) => {
                tracing::info!(upstream = backend.label, "a backend is healthy again")
            }
            (Some(false), Err(fault)) => warn_of(&all, backend, fault),
            (Some(false), Ok(())) | (None, _) => {}
        }
    }
}

/// Why a check was not passed.
#[derive(Debug, Clone, Copy)]
enum CheckError {
    Probe(ProbeError),
    Status(StatusCode),
}

/// Asks where there is something to ask, else connects.
async fn check(prober: &Prober, at: usize, config: &HealthConfig) -> Result<(), CheckError> {
    let limit = config.timeout.get();
    let Some(path) = config.path.as_deref() else {
        return prober.connects(at, limit).await.map_err(CheckError::Probe);
    };
    let probe = Probe {
        path,
        field: None,
        with_body: false,
    };
    match prober.ask(at, probe, limit).await {
        Ok(answer) if answer.status.is_success() || answer.status.is_redirection() => Ok(()),
        Ok(answer) => Err(CheckError::Status(answer.status)),
        Err(fault) => Err(CheckError::Probe(fault)),
    }
}

fn warn_of(all: &Upstreams, backend: &Backend, fault: CheckError) {
    let upstream = &backend.label;
    match fault {
        CheckError::Probe(fault) => {
            tracing::warn!(upstream, why = %fault, "a backend does not pass its health checks: {fault}");
        }
        CheckError::Status(status) if status == StatusCode::BAD_REQUEST => {
            let key = all.fields().host_key();
            tracing::warn!(
                upstream,
                status = status.as_u16(),
                "a backend does not pass its health checks: it answers 400. Where it refuses their `Host`, {key} gives them another"
            );
        }
        CheckError::Status(status) => {
            let status = status.as_u16();
            tracing::warn!(
                upstream,
                status,
                "a backend does not pass its health checks: it answers {status}"
            );
        }
    }
}

/// Looks the name up again from time to time, and often while it has led nowhere yet.
async fn resolve_all_along(all: Arc<Upstreams>, at: usize) {
    let backend = all.get(at);
    let Some(name) = backend.name.clone() else {
        return;
    };
    loop {
        let was_resolved = backend.is_resolved();
        let wait = if was_resolved {
            all.resolve_every()
        } else {
            UNRESOLVED_RETRY_INTERVAL
        };
        if wait.is_zero() {
            return;
        }
        sleep(wait).await;
        match tokio::net::lookup_host(name.clone()).await {
            Ok(found) => backend.set_addresses(&found.collect::<Vec<SocketAddr>>()),
            Err(fault) if was_resolved => {
                tracing::warn!(upstream = backend.label, error = %fault, "the name of a backend cannot be resolved, it keeps its addresses");
            }
            // That was said when it began.
            Err(_) => {}
        }
        if !was_resolved && backend.is_resolved() {
            backend.health.show();
            tracing::info!(
                upstream = backend.label,
                "the name of a backend is resolved"
            );
        }
    }
}
