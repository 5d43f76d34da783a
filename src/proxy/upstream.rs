//! The backends: their addresses, resolved and made ready before any request, and whose turn it is.
//!
//! Must stay true: choosing takes no lock that can wait and allocates nothing; a backend whose name
//! has not been resolved is unhealthy, and never a reason not to start.

mod dial;
pub(super) mod fixed_fields;
pub(super) mod health;
mod health_checks;
mod idle_connections;
pub(super) mod probe;
pub(super) mod session;

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    ops::Deref,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use aws_lc_rs::digest;
use http::HeaderValue;
use pingora::{
    Error, ErrorType,
    protocols::{l4::socket, tls::CaType},
    upstreams::peer::{ALPN, HttpPeer, Peer as _},
    utils::tls::{CertKey, WrappedX509, parse_x509},
};
use prometheus::{Histogram, IntGaugeVec};
use tokio::{task::JoinSet, time::timeout};

use super::tls::{self, TlsError};
use crate::{
    config::{HealthConfig, UpstreamAddress, UpstreamConfig, UpstreamProtocol, UpstreamTlsConfig},
    metrics::Metrics,
};
use dial::Addresses;
use fixed_fields::FixedFields;
use health::{AttemptedBackends, Health};

/// Requests at once on one HTTP/2 connection to a backend, where it allows as many.
const MAX_STREAMS: u32 = 100;
/// Bytes of an answer that one HTTP/2 stream may send before they are taken from it (RFC 9113
/// section 5.2).
const STREAM_WINDOW: u32 = 64 * 1024;
/// The same for all streams of a connection: as many for each, so that a client which reads nothing
/// holds up no other's answer.
const CONNECTION_WINDOW: u32 = MAX_STREAMS * STREAM_WINDOW;
/// How often an HTTP/2 connection to a backend is asked whether it is still there.
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// The backends, at least one.
#[derive(Debug)]
pub struct Upstreams {
    backends: Vec<Backend>,
    http2: bool,
    /// Of the files of `upstream.tls`.
    fingerprint: u64,
    gauges: IntGaugeVec,
    health: HealthConfig,
    /// What requests and checks have alike.
    fields: FixedFields,
    resolve_interval: Duration,
    read_timeout: Duration,
    write_timeout: Duration,
    next: AtomicUsize,
}

/// How long a start waits for the names of backends.
const FIRST_LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// One backend.
#[derive(Debug)]
pub(super) struct Backend {
    peer: ArcSwap<UpstreamPeer>,
    /// Of its name, where it has one.
    addresses: Option<Arc<Addresses>>,
    /// `Host` for a client that named none.
    pub(super) authority: HeaderValue,
    pub(super) health: Health,
    /// What it is called in metrics and logs.
    pub(super) label: String,
    /// Host and port, where the host is a name.
    pub(super) name: Option<(String, u16)>,
    /// How long until the heads of its responses come.
    pub(super) response_seconds: Histogram,
}

/// Where a backend is, and how it is spoken to.
#[derive(Debug)]
pub(super) struct UpstreamPeer {
    pub(super) peer: HttpPeer,
    /// The same for connections that may be used for each other.
    pub(super) key: u64,
}

impl UpstreamPeer {
    fn new(peer: HttpPeer) -> Self {
        Self {
            key: peer.reuse_hash(),
            peer,
        }
    }
}

impl Deref for UpstreamPeer {
    type Target = HttpPeer;

    fn deref(&self) -> &HttpPeer {
        &self.peer
    }
}

impl Backend {
    /// Where it is now.
    pub(super) fn peer(&self) -> Arc<UpstreamPeer> {
        let peer = self.peer.load_full();
        let first = self
            .addresses
            .as_ref()
            .and_then(|addresses| addresses.first());
        match first {
            Some(first) if peer.address().as_inet() != Some(&first) => self.move_to(&peer, first),
            Some(_) | None => peer,
        }
    }

    /// Whether it is known where it is.
    pub(super) fn is_resolved(&self) -> bool {
        self.addresses
            .as_ref()
            .is_none_or(|addresses| addresses.first().is_some())
    }

    /// Its name has these addresses now.
    pub(super) fn set_addresses(&self, found: &[SocketAddr]) {
        if let Some(addresses) = &self.addresses {
            let before = addresses.first();
            addresses.set(found);
            if let (Some(before), Some(now)) = (before, addresses.first())
                && before != now
            {
                tracing::info!(upstream = self.label, address = %now, "a backend has moved to another address");
            }
            self.health.set_resolved(self.is_resolved());
        }
    }

    /// Connections to one address are not used for another, so it has a peer of its own.
    fn move_to(&self, before: &HttpPeer, to: SocketAddr) -> Arc<UpstreamPeer> {
        let mut peer = HttpPeer::clone(before);
        peer._address = socket::SocketAddr::Inet(to);
        let peer = Arc::new(UpstreamPeer::new(peer));
        self.peer.store(peer.clone());
        if before
            .address()
            .as_inet()
            .is_some_and(|before| !before.ip().is_unspecified())
        {
            // While no address works, each request moves it.
            tracing::debug!(upstream = self.label, address = %to, "a backend is reached at another address");
        }
        peer
    }

    /// Tries another of its addresses first from now on, where this fault came after the connection
    /// (no TLS, a certificate that is not believed). How many others there are.
    pub(super) fn demote_address(&self, peer: &HttpPeer, error: &Error) -> usize {
        let is_unusable = matches!(
            error.etype(),
            ErrorType::TLSHandshakeFailure
                | ErrorType::HandshakeError
                | ErrorType::InvalidCert
                | ErrorType::InvalidH2
                | ErrorType::H2Error
        ) || peer.is_tls() && *error.etype() == ErrorType::ConnectTimedout; // pingora's word for a handshake that hangs, too
        match (&self.addresses, peer.address().as_inet()) {
            (Some(addresses), Some(address)) if is_unusable => addresses.demote(*address),
            _ => 0,
        }
    }
}

/// Why an entry of `upstream.urls` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    #[error("upstream.urls: {0} is not http://HOST:PORT, https://HOST:PORT or unix:PATH")]
    NotAnUrl(String),
    #[error("upstream.tls: {0}")]
    Tls(#[from] TlsError),
}

impl Upstreams {
    /// The backends of a config. Those of `before` whose names are the same begin with the
    /// addresses that are known.
    pub fn new(
        config: &UpstreamConfig,
        metrics: &Metrics,
        before: Option<&Self>,
    ) -> Result<Self, UpstreamError> {
        let tls = TlsIdentity::read(&config.tls)?;
        let backends = config
            .urls
            .iter()
            .map(|url| backend(url, config, metrics, &tls))
            .collect::<Result<Vec<_>, _>>()?;
        for backend in &backends {
            let same = before.and_then(|before| {
                before
                    .backends
                    .iter()
                    .find(|other| other.name == backend.name)
            });
            if let Some(addresses) = same.and_then(|same| same.addresses.as_ref()) {
                backend.set_addresses(&addresses.list());
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

    /// Resolves every name, so that no request ever waits for a resolver. What cannot be resolved
    /// in time is unhealthy until it can be, or keeps the addresses that are known.
    pub async fn resolve(&self) {
        let mut lookups = JoinSet::new();
        for (at, backend) in self.backends.iter().enumerate() {
            if let Some(name) = backend.name.clone() {
                lookups.spawn(async move {
                    (
                        at,
                        tokio::net::lookup_host(name)
                            .await
                            .map(Iterator::collect::<Vec<_>>),
                    )
                });
            }
        }
        let resolving = async {
            while let Some(ended) = lookups.join_next().await {
                // A lookup that panicked found nothing.
                let Ok((at, found)) = ended else { continue };
                match found {
                    Ok(found) => self.get(at).set_addresses(&found),
                    Err(error) => {
                        tracing::warn!(upstream = self.get(at).label, error = %error, "the name of a backend cannot be resolved");
                    }
                }
            }
        };
        // The lookups that are cut short are made again in the background.
        drop(timeout(FIRST_LOOKUP_TIMEOUT, resolving).await);
        for backend in self
            .backends
            .iter()
            .filter(|backend| !backend.is_resolved())
        {
            tracing::warn!(
                upstream = backend.label,
                "a backend is unhealthy until its name can be resolved"
            );
        }
    }

    /// Whether the files hold what they held when these backends were made.
    pub fn has_same_tls_files(&self, config: &UpstreamTlsConfig) -> bool {
        TlsIdentity::read(config).is_ok_and(|identity| identity.fingerprint == self.fingerprint)
    }

    /// Whether they are spoken to in HTTP/2.
    pub(super) const fn is_http2(&self) -> bool {
        self.http2
    }

    /// How many there are.
    pub(super) const fn len(&self) -> usize {
        self.backends.len()
    }

    /// The next one to try for a request that has tried these: a healthy one where there is one.
    pub(super) fn pick(&self, tried: &mut AttemptedBackends) -> Option<usize> {
        let all = self.backends.len();
        let turn = if all == 1 {
            0
        } else {
            self.next.fetch_add(1, Ordering::Relaxed)
        };
        tried.next(all, turn, |at| self.backends[at].health.is_healthy())
    }

    /// No connection to this backend came about by this peer, so nothing was sent. Where another of
    /// its addresses is left to try, it is the next one to try; where not, it has failed, once
    /// (`true`).
    pub(super) fn connection_failed(
        &self,
        at: usize,
        peer: &HttpPeer,
        error: &Error,
        tried: &mut AttemptedBackends,
    ) -> bool {
        let backend = self.get(at);
        let has_failed = !tried.retry_at_other_address(at, backend.demote_address(peer, error));
        if has_failed {
            backend.health.report_failure();
        }
        has_failed
    }

    /// One of them, by a number that [`Self::turn`] gave.
    pub(super) fn get(&self, at: usize) -> &Backend {
        &self.backends[at]
    }

    /// Takes the gauges of backends that are no more away.
    pub(super) fn reset_gauges(&self) {
        self.gauges.reset();
    }

    /// How they are checked.
    pub(super) const fn health(&self) -> &HealthConfig {
        &self.health
    }

    /// Whether they are: where there is a choice, or something to ask.
    pub(super) fn has_health_checks(&self) -> bool {
        !self.health.interval.get().is_zero()
            && (self.backends.len() > 1 || self.health.path.is_some())
    }

    /// How often names are resolved again; zero for never.
    pub(super) const fn resolve_interval(&self) -> Duration {
        self.resolve_interval
    }

    /// Longest silence of a backend, where the rule has none of its own.
    pub(super) const fn read_timeout(&self) -> Duration {
        self.read_timeout
    }

    /// Longest time in which a backend may take nothing of a request.
    pub(super) const fn write_timeout(&self) -> Duration {
        self.write_timeout
    }

    /// The fields that every request to a backend has.
    pub(super) const fn fields(&self) -> &FixedFields {
        &self.fields
    }
}

/// Whom we believe behind TLS, and who we are there.
struct TlsIdentity {
    authorities: Option<Arc<CaType>>,
    client_certificate: Option<Arc<CertKey>>,
    /// Connections made with one identity are not used with another.
    fingerprint: u64,
}

impl TlsIdentity {
    fn read(config: &UpstreamTlsConfig) -> Result<Self, TlsError> {
        let mut context = digest::Context::new(&digest::SHA256);
        let mut read = |file: &Path| {
            let bytes = tls::read_file(file)?;
            context.update(&bytes);
            Ok::<_, TlsError>(bytes)
        };
        let authorities = match &config.ca_file {
            None => None,
            Some(file) => {
                let authorities = tls::certificates(file, &read(file)?)?;
                tls::root_store(file, &authorities)?;
                let authorities = authorities
                    .into_iter()
                    .map(|der| WrappedX509::new(der.to_vec(), parse_x509));
                Some(Arc::from(authorities.collect::<Vec<_>>()))
            }
        };
        let client_certificate = match (&config.cert_file, &config.key_file) {
            (Some(cert_file), Some(key_file)) => {
                let chain = tls::certificates(cert_file, &read(cert_file)?)?;
                let key = tls::private_key(key_file, &zeroize::Zeroizing::new(read(key_file)?))?;
                tls::check_key_pair(&chain, &key)?;
                let chain = chain.into_iter().map(|der| der.to_vec()).collect();
                Some(Arc::new(CertKey::new(chain, key.secret_der().to_vec())))
            }
            (Some(_), None) => return Err(TlsError::Unset("upstream.tls.key_file")),
            (None, Some(_)) => return Err(TlsError::Unset("upstream.tls.cert_file")),
            (None, None) => None,
        };
        let fingerprint = context.finish();
        let fingerprint = fingerprint
            .as_ref()
            .first_chunk()
            .map_or(0, |first| u64::from_be_bytes(*first));
        Ok(Self {
            authorities,
            client_certificate,
            fingerprint,
        })
    }
}

fn backend(
    url: &str,
    config: &UpstreamConfig,
    metrics: &Metrics,
    tls: &TlsIdentity,
) -> Result<Backend, UpstreamError> {
    let authority = url
        .parse::<http::Uri>()
        .ok()
        .and_then(|uri| uri.authority().map(ToString::to_string));
    let authority = authority
        .filter(|_| !url.starts_with("unix:"))
        .unwrap_or_else(|| "localhost".to_owned());
    let (label, name) = match url.parse() {
        Ok(UpstreamAddress::Http { host, port, .. }) => {
            let is_name = host.parse::<IpAddr>().is_err();
            (format!("{host}:{port}"), is_name.then_some((host, port)))
        }
        Ok(UpstreamAddress::Unix(path)) => (path.display().to_string(), None),
        Err(_) => return Err(UpstreamError::NotAnUrl(url.to_owned())),
    };
    let addresses = name
        .is_some()
        .then(|| Arc::new(Addresses::unresolved(config.connect_timeout.get())));
    let health = Health::new(&label, metrics);
    health.set_resolved(addresses.is_none());
    Ok(Backend {
        peer: ArcSwap::from_pointee(UpstreamPeer::new(peer(
            url,
            config,
            tls,
            addresses.clone(),
        )?)),
        addresses,
        authority: HeaderValue::from_str(&authority)
            .map_err(|_| UpstreamError::NotAnUrl(url.to_owned()))?,
        health,
        response_seconds: metrics.upstream_response.with_label_values(&[&label]),
        label,
        name,
    })
}

/// `addresses`: where connections are made to, if the host is a name.
fn peer(
    url: &str,
    config: &UpstreamConfig,
    identity: &TlsIdentity,
    addresses: Option<Arc<Addresses>>,
) -> Result<HttpPeer, UpstreamError> {
    let not_an_url = || UpstreamError::NotAnUrl(url.to_owned());
    let mut peer = if let Some(path) = url.strip_prefix("unix:") {
        HttpPeer::new_uds(path, false, String::new()).map_err(|_| not_an_url())?
    } else {
        let uri: http::Uri = url.parse().map_err(|_| not_an_url())?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(not_an_url()),
        };
        let host = uri.host().ok_or_else(not_an_url)?;
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        // Of a name, none yet: this stands for it, and is never connected to.
        let ip = bare.parse().unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
        let name = config.tls.server_name.as_deref().unwrap_or(bare);
        let mut peer = HttpPeer::new(
            SocketAddr::new(ip, port),
            tls,
            if tls { name.to_owned() } else { String::new() },
        );
        if let Some(addresses) = addresses {
            peer.options.custom_l4 = Some(addresses);
        }
        if tls {
            peer.options.ca.clone_from(&identity.authorities);
            peer.client_cert_key
                .clone_from(&identity.client_certificate);
            peer.group_key = identity.fingerprint;
        }
        peer
    };
    let options = &mut peer.options;
    options.connection_timeout = Some(config.connect_timeout.get());
    // A TLS handshake takes more round trips than a connection.
    options.total_connection_timeout = Some(config.connect_timeout.get() * 3);
    options.read_timeout = Some(config.read_timeout.get());
    options.write_timeout = Some(config.write_timeout.get());
    options.idle_timeout = Some(config.idle_timeout.get());
    if config.protocol == UpstreamProtocol::Http2 {
        options.alpn = ALPN::H2;
        options.max_h2_streams = MAX_STREAMS as usize;
        options.h2_stream_window_size = Some(STREAM_WINDOW);
        options.h2_connection_window_size = Some(CONNECTION_WINDOW);
        options.h2_ping_interval = Some(PING_INTERVAL);
    }
    Ok(peer)
}

#[cfg(test)]
mod tests {
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
        // What else is known of it goes along.
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

    /// A reload while the resolver is down takes no backend away.
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

    /// However many addresses it has: it is one backend.
    #[test]
    fn addresses_that_speak_no_tls_are_tried_in_turn_and_count_as_one_failure() {
        let upstreams = upstreams("https://backend.test:3000", None);
        let backend = upstreams.get(0);
        backend.set_addresses(&[at("127.0.0.1:3000"), at("127.0.0.2:3000")]);
        let mut tried = AttemptedBackends::default();
        let order: Vec<_> = std::iter::from_fn(|| {
            let n = upstreams.pick(&mut tried)?;
            let peer = backend.peer();
            upstreams.connection_failed(
                n,
                &peer,
                &Error::explain(ErrorType::TLSHandshakeFailure, "no TLS"),
                &mut tried,
            );
            peer.address().as_inet().copied()
        })
        .collect();
        assert_eq!(order, [at("127.0.0.1:3000"), at("127.0.0.2:3000")]);
        assert_eq!(backend.health.failures(), 1);
        // Where no connection came about at all, every address has been tried.
        let mut tried = AttemptedBackends::default();
        let n = upstreams.pick(&mut tried).unwrap();
        let refused = Error::explain(ErrorType::ConnectRefused, "refused");
        upstreams.connection_failed(n, &backend.peer(), &refused, &mut tried);
        assert_eq!(
            (upstreams.pick(&mut tried), backend.health.failures()),
            (None, 2)
        );
    }
}
