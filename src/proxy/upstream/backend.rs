//! One backend: its addresses, connection options and health.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    ops::Deref,
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use http::HeaderValue;
use pingora::{
    Error, ErrorType,
    protocols::l4::socket,
    upstreams::peer::{ALPN, HttpPeer, Peer as _},
};
use prometheus::Histogram;

use super::{dial::Addresses, health::Health, tls_identity::TlsIdentity};
use crate::{
    config::{UpstreamAddress, UpstreamConfig, UpstreamProtocol},
    metrics::Metrics,
    proxy::tls::TlsError,
};

/// Most concurrent streams on one HTTP/2 connection to a backend; the backend may allow fewer.
const MAX_STREAMS: u32 = 100;
/// Flow control window of one HTTP/2 stream, in bytes (RFC 9113 section 5.2).
const STREAM_WINDOW: u32 = 64 * 1024;
/// Flow control window of a connection: it covers the windows of all streams, so that a client
/// which reads nothing blocks no other response.
const CONNECTION_WINDOW: u32 = MAX_STREAMS * STREAM_WINDOW;
/// Interval of PINGs on an HTTP/2 connection to a backend.
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// One backend.
#[derive(Debug)]
pub(in crate::proxy) struct Backend {
    peer: ArcSwap<UpstreamPeer>,
    /// The addresses of its name, if its host is a name.
    addresses: Option<Arc<Addresses>>,
    /// `Host` for a request without one.
    pub(in crate::proxy) authority: HeaderValue,
    pub(in crate::proxy) health: Health,
    /// Its label in metrics and logs.
    pub(in crate::proxy) label: String,
    /// Host and port, if the host is a name.
    pub(in crate::proxy) name: Option<(String, u16)>,
    /// Seconds until its response heads arrive.
    pub(in crate::proxy) response_seconds: Histogram,
}

/// A backend's address and connection options.
#[derive(Debug)]
pub(in crate::proxy) struct UpstreamPeer {
    pub(in crate::proxy) peer: HttpPeer,
    /// Connections with equal keys are interchangeable.
    pub(in crate::proxy) key: u64,
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
    pub(super) fn new(
        url: &str,
        config: &UpstreamConfig,
        metrics: &Metrics,
        tls: &TlsIdentity,
    ) -> Result<Self, UpstreamError> {
        let not_an_url = || UpstreamError::NotAnUrl(url.to_owned());
        let address = url.parse().map_err(|_| not_an_url())?;
        let (label, name) = match &address {
            UpstreamAddress::Http { host, port, .. } => {
                let is_name = host.parse::<IpAddr>().is_err();
                let name = is_name.then(|| (host.clone(), *port));
                (format!("{host}:{port}"), name)
            }
            UpstreamAddress::Unix(path) => (path.display().to_string(), None),
        };
        // As it is written, so without a default port.
        let authority = match (&address, url.split_once("://")) {
            (UpstreamAddress::Http { .. }, Some((_, authority))) => authority.trim_end_matches('/'),
            (UpstreamAddress::Http { .. } | UpstreamAddress::Unix(_), _) => "localhost",
        };
        let addresses = name
            .is_some()
            .then(|| Arc::new(Addresses::unresolved(config.connect_timeout.get())));
        let health = Health::new(&label, metrics);
        health.set_resolved(addresses.is_none());
        let peer = peer(&address, config, tls, addresses.clone()).map_err(|_| not_an_url())?;
        Ok(Self {
            peer: ArcSwap::from_pointee(UpstreamPeer::new(peer)),
            addresses,
            authority: HeaderValue::from_str(authority).map_err(|_| not_an_url())?,
            health,
            response_seconds: metrics.upstream_response.with_label_values(&[&label]),
            label,
            name,
        })
    }

    /// Its current address and options.
    pub(in crate::proxy) fn peer(&self) -> Arc<UpstreamPeer> {
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

    /// Whether its address is known.
    pub(in crate::proxy) fn is_resolved(&self) -> bool {
        self.addresses
            .as_ref()
            .is_none_or(|addresses| addresses.first().is_some())
    }

    /// Sets the addresses of its name. An empty list changes nothing.
    pub(in crate::proxy) fn set_addresses(&self, found: &[SocketAddr]) {
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

    /// Starts with the addresses that are known of `previous`, which has the same name.
    pub(super) fn inherit_addresses(&self, previous: &Self) {
        if let Some(addresses) = &previous.addresses {
            self.set_addresses(&addresses.list());
        }
    }

    /// A new peer for another address, because connections to different addresses are not
    /// interchangeable.
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
            // While no address works, every request changes it.
            tracing::debug!(upstream = self.label, address = %to, "a backend is reached at another address");
        }
        peer
    }

    /// Moves this address to the end of the list, if the connection failed after TCP was
    /// established (no TLS, or an untrusted certificate). Returns the number of other addresses; 0
    /// if the list is unchanged.
    pub(in crate::proxy) fn demote_address(&self, peer: &HttpPeer, error: &Error) -> usize {
        let is_unusable = matches!(
            error.etype(),
            ErrorType::TLSHandshakeFailure
                | ErrorType::HandshakeError
                | ErrorType::InvalidCert
                | ErrorType::InvalidH2
                | ErrorType::H2Error
        ) || peer.is_tls() && *error.etype() == ErrorType::ConnectTimedout; // pingora reports a hanging handshake like this, too
        match (&self.addresses, peer.address().as_inet()) {
            (Some(addresses), Some(address)) if is_unusable => addresses.demote(*address),
            _ => 0,
        }
    }
}

/// Why the `upstream` config cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    #[error("upstream.urls: {0} is not http://HOST:PORT, https://HOST:PORT or unix:PATH")]
    NotAnUrl(String),
    #[error("upstream.tls: {0}")]
    Tls(#[from] TlsError),
}

/// `addresses`: of the host, if it is a name.
fn peer(
    address: &UpstreamAddress,
    config: &UpstreamConfig,
    identity: &TlsIdentity,
    addresses: Option<Arc<Addresses>>,
) -> pingora::Result<HttpPeer> {
    let mut peer = match address {
        UpstreamAddress::Unix(path) => {
            HttpPeer::new_uds(&path.to_string_lossy(), false, String::new())?
        }
        UpstreamAddress::Http { tls, host, port } => {
            // A placeholder for a name that is not resolved yet; no connection is made to it.
            let ip = host.parse().unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
            let name = tls.then(|| config.tls.server_name.as_ref().unwrap_or(host).clone());
            let address = SocketAddr::new(ip, *port);
            let mut peer = HttpPeer::new(address, *tls, name.unwrap_or_default());
            if let Some(addresses) = addresses {
                peer.options.custom_l4 = Some(addresses);
            }
            if *tls {
                peer.options.ca.clone_from(&identity.authorities);
                peer.client_cert_key
                    .clone_from(&identity.client_certificate);
                peer.group_key = identity.fingerprint;
            }
            peer
        }
    };
    let options = &mut peer.options;
    options.connection_timeout = Some(config.connect_timeout.get());
    // A TLS handshake takes more round trips than a TCP connection.
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
