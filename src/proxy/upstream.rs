//! The backends, and the choice of one for each request.
//!
//! Must stay true: choosing takes no lock that can wait and allocates nothing; a backend whose name
//! is not resolved is unhealthy, but does not prevent the start.

mod backend;
mod dial;
pub(super) mod fixed_fields;
pub(super) mod health;
mod health_checks;
mod idle_connections;
pub(super) mod probe;
pub(super) mod session;
mod tls_identity;

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use pingora::{Error, upstreams::peer::HttpPeer};
use prometheus::IntGaugeVec;
use tokio::{task::JoinSet, time::timeout};

use crate::{
    config::{HealthConfig, UpstreamConfig, UpstreamProtocol, UpstreamTlsConfig},
    metrics::Metrics,
};
use fixed_fields::FixedFields;
use health::AttemptedBackends;
use tls_identity::TlsIdentity;

pub use backend::UpstreamError;
pub(super) use backend::{Backend, UpstreamPeer};

/// How long a start waits for DNS lookups.
const FIRST_LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// The backends, at least one.
#[derive(Debug)]
pub struct Upstreams {
    backends: Vec<Backend>,
    /// The backends are configured for HTTP/2.
    pub(super) http2: bool,
    /// Fingerprint of the files of `upstream.tls`.
    fingerprint: u64,
    gauges: IntGaugeVec,
    health: HealthConfig,
    /// Fields of forwarded requests and of health checks.
    fields: FixedFields,
    /// How often names are resolved again. Zero: never.
    resolve_interval: Duration,
    /// Longest time without a byte from a backend, unless the rule has its own.
    pub(super) read_timeout: Duration,
    /// Longest time that writing a request may make no progress.
    pub(super) write_timeout: Duration,
    next: AtomicUsize,
}

impl Upstreams {
    /// The backends of a config. A backend with the same name as one of `before` starts with its
    /// known addresses.
    pub fn new(
        config: &UpstreamConfig,
        metrics: &Metrics,
        before: Option<&Self>,
    ) -> Result<Self, UpstreamError> {
        let tls = TlsIdentity::read(&config.tls)?;
        let backends = config
            .urls
            .iter()
            .map(|url| Backend::new(url, config, metrics, &tls))
            .collect::<Result<Vec<_>, _>>()?;
        for backend in &backends {
            let mut known = before.into_iter().flat_map(|before| &before.backends);
            if let Some(same) = known.find(|known| known.name == backend.name) {
                backend.inherit_addresses(same);
            }
        }
        Ok(Self {
            backends,
            http2: config.protocol == UpstreamProtocol::Http2,
            fingerprint: tls.fingerprint,
            gauges: metrics.upstream_healthy.clone(),
            health: config.health.clone(),
            fields: FixedFields::new(config),
            resolve_interval: config.resolve_interval.get(),
            read_timeout: config.read_timeout.get(),
            write_timeout: config.write_timeout.get(),
            next: AtomicUsize::new(0),
        })
    }

    /// Resolves every name, so that no request waits for a lookup. A name that cannot be resolved
    /// in time keeps its known addresses; without any, its backend is unhealthy.
    pub async fn resolve(&self) {
        let mut lookups = JoinSet::new();
        for (at, backend) in self.backends.iter().enumerate() {
            if let Some(name) = backend.name.clone() {
                lookups.spawn(async move {
                    let found = tokio::net::lookup_host(name).await;
                    (at, found.map(Iterator::collect::<Vec<_>>))
                });
            }
        }
        let resolving = async {
            while let Some(ended) = lookups.join_next().await {
                // A lookup task that panicked has no result.
                let Ok((at, found)) = ended else { continue };
                match found {
                    Ok(found) => self.get(at).set_addresses(&found),
                    Err(error) => {
                        tracing::warn!(upstream = self.get(at).label, error = %error, "the name of a backend cannot be resolved");
                    }
                }
            }
        };
        // Unfinished lookups are repeated in the background.
        drop(timeout(FIRST_LOOKUP_TIMEOUT, resolving).await);
        let unresolved = self.backends.iter().filter(|it| !it.is_resolved());
        for Backend { label, .. } in unresolved {
            tracing::warn!(
                upstream = label,
                "a backend is unhealthy until its name can be resolved"
            );
        }
    }

    /// Whether the files of `upstream.tls` are unchanged since these backends were built.
    pub fn has_same_tls_files(&self, config: &UpstreamTlsConfig) -> bool {
        TlsIdentity::read(config).is_ok_and(|identity| identity.fingerprint == self.fingerprint)
    }

    /// Number of backends.
    pub(super) const fn len(&self) -> usize {
        self.backends.len()
    }

    /// The next backend for a request, not yet attempted: a healthy one if possible. `None`: all
    /// were attempted.
    pub(super) fn pick(&self, attempted: &mut AttemptedBackends) -> Option<usize> {
        let all = self.backends.len();
        let turn = if all == 1 {
            0
        } else {
            self.next.fetch_add(1, Ordering::Relaxed)
        };
        attempted.next(all, turn, |at| self.backends[at].health.is_healthy())
    }

    /// Records a failed connection, on which nothing was sent. If the backend has another address,
    /// that is tried next. If not, `true`: the backend has failed, which counts once.
    pub(super) fn connection_failed(
        &self,
        at: usize,
        peer: &HttpPeer,
        error: &Error,
        attempted: &mut AttemptedBackends,
    ) -> bool {
        let backend = self.get(at);
        let has_failed = !attempted.retry_at_other_address(at, backend.demote_address(peer, error));
        if has_failed {
            backend.health.report_failure();
        }
        has_failed
    }

    /// A backend by its index.
    pub(super) fn get(&self, at: usize) -> &Backend {
        &self.backends[at]
    }

    /// Removes the health gauges of all backends, also of those that are no longer configured.
    pub(super) fn reset_gauges(&self) {
        self.gauges.reset();
    }

    /// Whether backends are checked: with several backends, or with a path to request.
    pub(super) fn has_health_checks(&self) -> bool {
        !self.health.interval.get().is_zero()
            && (self.backends.len() > 1 || self.health.path.is_some())
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use pingora::{ErrorType, upstreams::peer::Peer as _};

    use super::*;

    fn upstreams(url: &str, before: Option<&Upstreams>) -> Upstreams {
        let config = UpstreamConfig {
            urls: vec![url.to_owned()],
            ..UpstreamConfig::default()
        };
        Upstreams::new(&config, &Metrics::new(), before).unwrap()
    }

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_backend_is_where_its_name_leads_and_unhealthy_until_it_leads_somewhere() {
        let upstreams = upstreams("http://backend.test:3000", None);
        let backend = upstreams.get(0);
        assert!(!backend.is_resolved() && !backend.health.is_healthy());
        backend.set_addresses(&[]);
        assert!(!backend.health.is_healthy());
        backend.set_addresses(&[at("[::1]:3000"), at("127.0.0.2:3000")]);
        assert!(backend.is_resolved() && backend.health.is_healthy());
        let peer = backend.peer();
        assert_eq!(peer.address().as_inet(), Some(&at("127.0.0.2:3000")));
        // The other options are kept.
        assert_eq!(
            peer.options.read_timeout,
            Some(UpstreamConfig::default().read_timeout.get())
        );
        backend.set_addresses(&[at("127.0.0.3:3000")]);
        assert_eq!(
            backend.peer().address().as_inet(),
            Some(&at("127.0.0.3:3000"))
        );
        assert_ne!(
            backend.peer().reuse_hash(),
            peer.reuse_hash(),
            "connections to one are not used for the other"
        );
    }

    #[test]
    fn an_address_needs_no_resolver() {
        for url in [
            "http://127.0.0.1:3000",
            "http://[::1]:3000",
            "unix:/run/app.sock",
        ] {
            let upstreams = upstreams(url, None);
            assert!(
                upstreams.get(0).is_resolved() && upstreams.get(0).health.is_healthy(),
                "{url}"
            );
        }
    }

    /// A reload while DNS is down makes no backend unhealthy.
    #[test]
    fn what_is_known_of_a_name_outlives_a_reload() {
        let before = upstreams("http://backend.test:3000", None);
        before.get(0).set_addresses(&[at("127.0.0.2:3000")]);
        let same = upstreams("http://backend.test:3000", Some(&before));
        assert_eq!(
            same.get(0).peer().address().as_inet(),
            Some(&at("127.0.0.2:3000"))
        );
        assert!(same.get(0).health.is_healthy());
        for other in ["http://backend.test:3001", "http://other.test:3000"] {
            assert!(
                !upstreams(other, Some(&before)).get(0).is_resolved(),
                "{other}"
            );
        }
    }

    /// A backend with several addresses counts as one.
    #[test]
    fn addresses_that_speak_no_tls_are_tried_in_turn_and_count_as_one_failure() {
        let upstreams = upstreams("https://backend.test:3000", None);
        let backend = upstreams.get(0);
        backend.set_addresses(&[at("127.0.0.1:3000"), at("127.0.0.2:3000")]);
        let mut attempted = AttemptedBackends::default();
        let order: Vec<_> = std::iter::from_fn(|| {
            let n = upstreams.pick(&mut attempted)?;
            let peer = backend.peer();
            upstreams.connection_failed(
                n,
                &peer,
                &Error::explain(ErrorType::TLSHandshakeFailure, "no TLS"),
                &mut attempted,
            );
            peer.address().as_inet().copied()
        })
        .collect();
        assert_eq!(order, [at("127.0.0.1:3000"), at("127.0.0.2:3000")]);
        assert_eq!(backend.health.failures(), 1);
        // A refused connection means that every address was tried.
        let mut attempted = AttemptedBackends::default();
        let n = upstreams.pick(&mut attempted).unwrap();
        let refused = Error::explain(ErrorType::ConnectRefused, "refused");
        upstreams.connection_failed(n, &backend.peer(), &refused, &mut attempted);
        assert_eq!(
            (upstreams.pick(&mut attempted), backend.health.failures()),
            (None, 2)
        );
    }
}
