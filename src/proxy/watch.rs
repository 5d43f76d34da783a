//! What is done about backends in the background: checks of their health, and names that may come to mean another address.
//!
//! Must stay true: no request waits for any of it; a name that cannot be resolved keeps the address it had.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::Method;
use pingora::{connectors::http::v1::Connector, http::RequestHeader, upstreams::peer::HttpPeer};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};

use super::{
    health::Tally,
    upstream::{Backend, Upstreams},
};

/// How often gauges are brought up to date.
const SHOW_EVERY: Duration = Duration::from_secs(1);

impl Upstreams {
    /// Looks after the backends until the future is dropped; only one set of them at a time. `tell` hears how many of them all are
    /// healthy when that has changed; at first all are.
    pub async fn watch(self: Arc<Self>, tell: impl Fn(usize, usize)) {
        self.forget_others();
        let mut tasks = JoinSet::new();
        for at in 0..self.len() {
            if self.are_checked() {
                let all = self.clone();
                tasks.spawn(async move { check_all_along(&all, all.get(at)).await });
            }
            if self.get(at).name.is_some() && !self.resolve_every().is_zero() {
                let all = self.clone();
                tasks.spawn(async move { resolve_all_along(&all, at).await });
            }
        }
        let mut ticks = interval(SHOW_EVERY);
        let mut told = self.len();
        loop {
            ticks.tick().await;
            (0..self.len()).for_each(|at| self.get(at).health.show());
            let good = (0..self.len()).filter(|at| self.get(*at).health.is_good()).count();
            if good != told {
                told = good;
                tell(good, self.len());
            }
        }
    }
}

async fn check_all_along(all: &Upstreams, backend: &Backend) {
    let config = all.health();
    // Over HTTP/2 nothing is asked: what has agreed to speak it takes connections.
    let path = config.path.as_deref().filter(|_| !all.speak_http2());
    // Of its own, so that a check never takes a connection that a request could have, and always makes one.
    let connector = Connector::new(None);
    let (mut ticks, mut tally) = (interval(config.interval.get()), Tally::default());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let peer = backend.peer();
        let checked = timeout(config.timeout.get(), check(&connector, &peer, backend, path)).await;
        let good = matches!(checked, Ok(Ok(true)));
        if let Some(good) = backend.health.checked(good, &mut tally, config.unhealthy_after, config.healthy_after) {
            if good {
                tracing::info!(upstream = backend.label, "a backend is healthy again");
            } else {
                tracing::warn!(upstream = backend.label, "a backend does not pass its health checks");
            }
        }
    }
}

/// Whether it takes a connection, and answers well where there is something to ask.
async fn check(connector: &Connector, peer: &HttpPeer, backend: &Backend, path: Option<&str>) -> pingora::Result<bool> {
    let (mut session, _) = connector.get_http_session(peer).await?;
    let Some(path) = path else { return Ok(true) };
    let mut request = RequestHeader::build(Method::GET, path.as_bytes(), Some(3))?;
    request.insert_header(http::header::HOST, backend.authority.clone())?;
    request.insert_header(http::header::USER_AGENT, concat!("menshen/", env!("CARGO_PKG_VERSION")))?;
    request.insert_header(http::header::CONNECTION, "close")?;
    session.write_request_header(Box::new(request)).await?;
    loop {
        session.read_response().await?;
        match session.get_status() {
            Some(status) if status.is_informational() && status != http::StatusCode::SWITCHING_PROTOCOLS => {}
            status => return Ok(status.is_some_and(|status| status.is_success() || status.is_redirection())),
        }
    }
}

async fn resolve_all_along(all: &Upstreams, at: usize) {
    let mut ticks = interval(all.resolve_every());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // It was resolved at start.
    ticks.tick().await;
    let Some((host, port)) = all.get(at).name.clone() else { return };
    loop {
        ticks.tick().await;
        match tokio::net::lookup_host((host.as_str(), port)).await {
            Ok(found) => all.found(at, &found.collect::<Vec<SocketAddr>>()),
            Err(fault) => {
                tracing::warn!(upstream = all.get(at).label, error = %fault, "the name of a backend cannot be resolved, it keeps its address");
            }
        }
    }
}
