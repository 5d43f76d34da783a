//! The backend's addresses, resolved and made ready once, taken in turn.

use std::{
    net::ToSocketAddrs,
    sync::atomic::{AtomicUsize, Ordering},
};

use pingora::upstreams::peer::HttpPeer;

use crate::config::UpstreamConfig;

/// The backends, at least one.
#[derive(Debug)]
pub struct Upstreams {
    peers: Vec<HttpPeer>,
    next: AtomicUsize,
}

/// Why an entry of `upstream.urls` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    #[error("upstream.urls: {0} is not http://HOST:PORT, https://HOST:PORT or unix:PATH")]
    NotAnUrl(String),
    #[error("upstream.urls: the name in {url} cannot be resolved: {why}")]
    Unresolved { url: String, why: std::io::Error },
}

impl Upstreams {
    /// Resolves every name now, so that no request ever waits for a resolver.
    pub fn resolve(config: &UpstreamConfig) -> Result<Self, UpstreamError> {
        let peers = config.urls.iter().map(|url| peer(url, config)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { peers, next: AtomicUsize::new(0) })
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.peers.len()
    }

    /// The next one, ready to connect to.
    pub(super) fn next(&self) -> Box<HttpPeer> {
        let at = if self.peers.len() == 1 { 0 } else { self.next.fetch_add(1, Ordering::Relaxed) % self.peers.len() };
        Box::new(self.peers[at].clone())
    }
}

fn peer(url: &str, config: &UpstreamConfig) -> Result<HttpPeer, UpstreamError> {
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
        let address = (bare, port).to_socket_addrs().map_err(unresolved)?.next();
        let address = address.ok_or_else(|| unresolved(std::io::Error::other("no address")))?;
        HttpPeer::new(address, tls, if tls { bare.to_owned() } else { String::new() })
    };
    let options = &mut peer.options;
    options.connection_timeout = Some(config.connect_timeout.get());
    // A TLS handshake takes more round trips than a connection.
    options.total_connection_timeout = Some(config.connect_timeout.get() * 3);
    options.read_timeout = Some(config.read_timeout.get());
    options.write_timeout = Some(config.write_timeout.get());
    options.idle_timeout = Some(config.idle_timeout.get());
    Ok(peer)
}
