//! Background tasks for backends: health checks, and repeated DNS lookups.
//!
//! Must stay true: no request waits for them; a name that cannot be resolved keeps its known
//! addresses.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::StatusCode;
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep},
};

use super::{
    Backend, Upstreams,
    health::CheckCounts,
    probe::{Probe, ProbeError, Prober},
};
use crate::config::HealthConfig;

/// Interval of updating the gauges.
const GAUGE_INTERVAL: Duration = Duration::from_secs(1);
/// Interval of lookups for a name that has never been resolved.
const UNRESOLVED_RETRY_INTERVAL: Duration = Duration::from_secs(1);

impl Upstreams {
    /// Checks the backends and resolves their names again. Never returns; runs for only one set of
    /// backends at a time. Calls `on_change` with the number of healthy backends and of all,
    /// whenever the former has changed; initially all count as healthy.
    pub async fn run_health_checks(self: Arc<Self>, on_change: impl Fn(usize, usize)) {
        self.reset_gauges();
        let mut tasks = JoinSet::new();
        for at in 0..self.len() {
            if self.has_health_checks() {
                tasks.spawn(run_checks(self.clone(), at));
            }
            if self.get(at).name.is_some() {
                tasks.spawn(run_lookups(self.clone(), at));
            }
        }
        let mut ticks = interval(GAUGE_INTERVAL);
        let mut reported = self.len();
        loop {
            ticks.tick().await;
            (0..self.len()).for_each(|at| self.get(at).health.update_gauge());
            let good = (0..self.len())
                .filter(|at| self.get(*at).health.is_healthy())
                .count();
            if good != reported {
                reported = good;
                on_change(good, self.len());
            }
        }
    }
}

async fn run_checks(all: Arc<Upstreams>, at: usize) {
    let (config, backend) = (&all.health, all.get(at));
    let prober = Prober::new(all.clone());
    let (mut ticks, mut counts) = (interval(config.interval.get()), CheckCounts::default());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // `run_lookups` makes it healthy as soon as its name is resolved.
        if !backend.is_resolved() {
            continue;
        }
        let checked = check(&prober, at, config).await;
        let changed = backend.health.report_check(
            checked.is_ok(),
            &mut counts,
            config.unhealthy_after,
            config.healthy_after,
        );
        match (changed, checked) {
            (Some(true), _) => {
                tracing::info!(upstream = backend.label, "a backend is healthy again");
            }
            (Some(false), Err(error)) => warn_unhealthy(&all, backend, error),
            (Some(false), Ok(())) | (None, _) => {}
        }
    }
}

/// Why a health check failed.
#[derive(Debug, Clone, Copy)]
enum CheckError {
    Probe(ProbeError),
    Status(StatusCode),
}

/// Requests the configured path; without one, only connects.
async fn check(prober: &Prober, at: usize, config: &HealthConfig) -> Result<(), CheckError> {
    let timeout = config.timeout.get();
    let Some(path) = config.path.as_deref() else {
        return prober
            .check_connection(at, timeout)
            .await
            .map_err(CheckError::Probe);
    };
    let probe = Probe {
        path,
        field: None,
        with_body: false,
    };
    match prober.send(at, probe, timeout).await {
        Ok(answer) if answer.status.is_success() || answer.status.is_redirection() => Ok(()),
        Ok(answer) => Err(CheckError::Status(answer.status)),
        Err(error) => Err(CheckError::Probe(error)),
    }
}

fn warn_unhealthy(all: &Upstreams, backend: &Backend, error: CheckError) {
    let upstream = &backend.label;
    match error {
        CheckError::Probe(error) => {
            tracing::warn!(upstream, why = %error, "a backend does not pass its health checks: {error}");
        }
        CheckError::Status(status) if status == StatusCode::BAD_REQUEST => {
            let key = all.fields.host_key();
            tracing::warn!(
                upstream,
                status = status.as_u16(),
                "a backend does not pass its health checks: it answers 400. If it rejects their `Host`, {key} sets another one"
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

/// Resolves the name again at intervals, which are short until it has been resolved once.
async fn run_lookups(all: Arc<Upstreams>, at: usize) {
    let backend = all.get(at);
    let Some(name) = backend.name.clone() else {
        return;
    };
    loop {
        let was_resolved = backend.is_resolved();
        let wait = if was_resolved {
            all.resolve_interval
        } else {
            UNRESOLVED_RETRY_INTERVAL
        };
        if wait.is_zero() {
            return;
        }
        sleep(wait).await;
        match tokio::net::lookup_host(name.clone()).await {
            Ok(found) => backend.set_addresses(&found.collect::<Vec<SocketAddr>>()),
            Err(error) if was_resolved => {
                tracing::warn!(upstream = backend.label, error = %error, "the name of a backend cannot be resolved, it keeps its addresses");
            }
            // The first failure was logged at start.
            Err(_) => {}
        }
        if !was_resolved && backend.is_resolved() {
            backend.health.update_gauge();
            tracing::info!(
                upstream = backend.label,
                "the name of a backend is resolved"
            );
        }
    }
}
