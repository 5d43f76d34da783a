//! The backends: their addresses, resolved and made ready before any request, and whose turn it is.
//!
//! Must stay true: choosing takes no lock that can wait and allocates nothing.

use std::{
    net::{IpAddr, SocketAddr, ToSocketAddrs},
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
    protocols::tls::CaType,
    upstreams::peer::{ALPN, HttpPeer, Peer as _},
    utils::tls::{CertKey, WrappedX509, parse_x509},
};
use prometheus::IntGaugeVec;

use super::{
    health::{Health, Tried},
    tls::{self, TlsError},
};
use crate::{
    config::{HealthConfig, UpstreamAddress, UpstreamConfig, UpstreamProtocol, UpstreamTlsConfig},
    metrics::Metrics,
};

/// Requests at once on one HTTP/2 connection to a backend, where it allows as many.
const MAX_STREAMS: u32 = 100;
/// Bytes of an answer that one HTTP/2 stream may send before they are taken from it (RFC 9113 section 5.2).
const STREAM_WINDOW: u32 = 64 * 1024;
/// The same for all streams of a connection: as many for each, so that a client which reads nothing holds up no other's answer.
const CONNECTION_WINDOW: u32 = MAX_STREAMS * STREAM_WINDOW;
/// How often an HTTP/2 connection to a backend is asked whether it is still there.
const PING_EVERY: Duration = Duration::from_secs(30);

/// The backends, at least one.
#[derive(Debug)]
pub struct Upstreams {
    backends: Vec<Backend>,
    http2: bool,
    /// Of the files of `upstream.tls`.
    mark: u64,
    gauges: IntGaugeVec,
    health: HealthConfig,
    resolve_every: Duration,
    next: AtomicUsize,
}

/// One backend.
#[derive(Debug)]
pub(super) struct Backend {
    peer: ArcSwap<HttpPeer>,
    /// `Host` for a client that named none.
    pub(super) authority: HeaderValue,
    pub(super) health: Health,
    /// What it is called in metrics and logs.
    pub(super) label: String,
    /// Host and port, where the host is a name.
    pub(super) name: Option<(String, u16)>,
}

impl Backend {
    /// Where it is now.
    pub(super) fn peer(&self) -> Arc<HttpPeer> {
        self.peer.load_full()
    }
}

/// Why an entry of `upstream.urls` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    #[error("upstream.urls: {0} is not http://HOST:PORT, https://HOST:PORT or unix:PATH")]
    NotAnUrl(String),
    #[error("upstream.urls: the name in {url} cannot be resolved: {why}")]
    Unresolved { url: String, why: std::io::Error },
    #[error("upstream.tls: {0}")]
    Tls(#[from] TlsError),
}

impl Upstreams {
    /// Resolves every name now, so that no request ever waits for a resolver.
    pub fn resolve(config: &UpstreamConfig, metrics: &Metrics) -> Result<Self, UpstreamError> {
        let tls = Identity::read(&config.tls)?;
        let backends = config.urls.iter().map(|url| backend(url, config, metrics, &tls)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            backends,
            http2: config.protocol == UpstreamProtocol::Http2,
            mark: tls.mark,
            gauges: metrics.upstream_healthy.clone(),
            health: config.health.clone(),
            resolve_every: config.resolve_interval.get(),
            next: AtomicUsize::new(0),
        })
    }

    /// Whether the files hold what they held when these backends were made.
    pub fn trust_as(&self, config: &UpstreamTlsConfig) -> bool {
        Identity::read(config).is_ok_and(|identity| identity.mark == self.mark)
    }

    /// Whether they are spoken to in HTTP/2.
    pub(super) const fn speak_http2(&self) -> bool {
        self.http2
    }

    /// How many there are.
    pub(super) const fn len(&self) -> usize {
        self.backends.len()
    }

    /// The next one to try for a request that has tried these: a healthy one where there is one.
    pub(super) fn pick(&self, tried: &mut Tried) -> Option<usize> {
        let all = self.backends.len();
        let turn = if all == 1 { 0 } else { self.next.fetch_add(1, Ordering::Relaxed) };
        tried.next(all, turn, |at| self.backends[at].health.is_good())
    }

    /// One of them, by a number that [`Self::turn`] gave.
    pub(super) fn get(&self, at: usize) -> &Backend {
        &self.backends[at]
    }

    /// Takes the gauges of backends that are no more away.
    pub(super) fn forget_others(&self) {
        self.gauges.reset();
    }

    /// How they are checked.
    pub(super) const fn health(&self) -> &HealthConfig {
        &self.health
    }

    /// Whether they are: where there is a choice, or something to ask.
    pub(super) fn are_checked(&self) -> bool {
        !self.health.interval.get().is_zero() && (self.backends.len() > 1 || self.health.path.is_some())
    }

    /// How often names are resolved again; zero for never.
    pub(super) const fn resolve_every(&self) -> Duration {
        self.resolve_every
    }

    /// These are the addresses that a backend's name now has: it moves when its own is not among them.
    pub(super) fn found(&self, at: usize, addresses: &[SocketAddr]) {
        let backend = self.get(at);
        let peer = backend.peer();
        let Some(now) = peer.address().as_inet().copied() else { return };
        let Some(better) = preferred(addresses).filter(|_| !addresses.contains(&now)) else { return };
        let mut moved = HttpPeer::clone(&peer);
        moved._address = pingora::protocols::l4::socket::SocketAddr::Inet(better);
        backend.peer.store(Arc::new(moved));
        tracing::info!(upstream = backend.label, %better, "a backend has moved to another address");
    }
}

/// Whom we believe behind TLS, and who we are there.
struct Identity {
    authorities: Option<Arc<CaType>>,
    own: Option<Arc<CertKey>>,
    /// Connections made with one identity are not used with another.
    mark: u64,
}

impl Identity {
    fn read(config: &UpstreamTlsConfig) -> Result<Self, TlsError> {
        let mut context = digest::Context::new(&digest::SHA256);
        let mut read = |file: &Path| {
            let bytes = tls::bytes_of(file)?;
            context.update(&bytes);
            Ok::<_, TlsError>(bytes)
        };
        let authorities = match &config.ca_file {
            None => None,
            Some(file) => {
                let authorities = tls::certificates(file, &read(file)?)?;
                tls::roots(file, &authorities)?;
                let authorities = authorities.into_iter().map(|der| WrappedX509::new(der.to_vec(), parse_x509));
                Some(Arc::from(authorities.collect::<Vec<_>>()))
            }
        };
        let own = match (&config.cert_file, &config.key_file) {
            (Some(cert_file), Some(key_file)) => {
                let chain = tls::certificates(cert_file, &read(cert_file)?)?;
                let key = tls::private_key(key_file, &zeroize::Zeroizing::new(read(key_file)?))?;
                tls::fits(&chain, &key)?;
                let chain = chain.into_iter().map(|der| der.to_vec()).collect();
                Some(Arc::new(CertKey::new(chain, key.secret_der().to_vec())))
            }
            (Some(_), None) => return Err(TlsError::Unset("upstream.tls.key_file")),
            (None, Some(_)) => return Err(TlsError::Unset("upstream.tls.cert_file")),
            (None, None) => None,
        };
        let mark = context.finish();
        let mark = mark.as_ref().first_chunk().map_or(0, |first| u64::from_be_bytes(*first));
        Ok(Self { authorities, own, mark })
    }
}

fn backend(url: &str, config: &UpstreamConfig, metrics: &Metrics, tls: &Identity) -> Result<Backend, UpstreamError> {
    let authority = url.parse::<http::Uri>().ok().and_then(|uri| uri.authority().map(ToString::to_string));
    let authority = authority.filter(|_| !url.starts_with("unix:")).unwrap_or_else(|| "localhost".to_owned());
    let (label, name) = match url.parse() {
        Ok(UpstreamAddress::Http { host, port, .. }) => {
            let is_name = host.parse::<IpAddr>().is_err();
            (format!("{host}:{port}"), is_name.then_some((host, port)))
        }
        Ok(UpstreamAddress::Unix(path)) => (path.display().to_string(), None),
        Err(_) => return Err(UpstreamError::NotAnUrl(url.to_owned())),
    };
    Ok(Backend {
        peer: ArcSwap::from_pointee(peer(url, config, tls)?),
        authority: HeaderValue::from_str(&authority).map_err(|_| UpstreamError::NotAnUrl(url.to_owned()))?,
        health: Health::new(&label, metrics),
        label,
        name,
    })
}

/// The one of several addresses that is used. `localhost` often means `::1` first, where an old backend does not listen.
fn preferred(addresses: &[SocketAddr]) -> Option<SocketAddr> {
    addresses.iter().find(|address| address.is_ipv4()).or(addresses.first()).copied()
}

fn peer(url: &str, config: &UpstreamConfig, identity: &Identity) -> Result<HttpPeer, UpstreamError> {
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
        let unresolved = |why| UpstreamError::Unresolved { url: url.to_owned(), why };
        let addresses: Vec<_> = (bare, port).to_socket_addrs().map_err(unresolved)?.collect();
        let address = preferred(&addresses).ok_or_else(|| unresolved(std::io::Error::other("no address")))?;
        let name = config.tls.server_name.as_deref().unwrap_or(bare);
        let mut peer = HttpPeer::new(address, tls, if tls { name.to_owned() } else { String::new() });
        if tls {
            peer.options.ca.clone_from(&identity.authorities);
            peer.client_cert_key.clone_from(&identity.own);
            peer.group_key = identity.mark;
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
        options.h2_ping_interval = Some(PING_EVERY);
    }
    Ok(peer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_moves_only_when_its_address_is_no_longer_its_own() {
        let config = UpstreamConfig { urls: vec!["http://127.0.0.1:3000".to_owned()], ..UpstreamConfig::default() };
        let upstreams = Upstreams::resolve(&config, &Metrics::new()).unwrap();
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let now = || upstreams.get(0).peer().address().as_inet().copied().unwrap();
        for (found, expected) in [
            (vec![at("127.0.0.9:3000"), at("127.0.0.1:3000")], at("127.0.0.1:3000")),
            (Vec::new(), at("127.0.0.1:3000")),
            (vec![at("[::1]:3000"), at("127.0.0.2:3000")], at("127.0.0.2:3000")),
            (vec![at("[::1]:3000")], at("[::1]:3000")),
        ] {
            upstreams.found(0, &found);
            assert_eq!(now(), expected, "{found:?}");
        }
        // What else is known of it goes along.
        assert_eq!(upstreams.get(0).peer().options.read_timeout, Some(config.read_timeout.get()));
    }
}
