//! The backend's addresses, resolved and made ready once, taken in turn.

use std::{
    net::ToSocketAddrs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use http::HeaderValue;

use pingora::upstreams::peer::HttpPeer;

use crate::config::UpstreamConfig;

/// The backends, at least one.
#[derive(Debug)]
pub struct Upstreams {
    backends: Vec<Backend>,
    next: AtomicUsize,
}

/// One backend.
#[derive(Debug)]
pub(super) struct Backend {
    pub(super) peer: Arc<HttpPeer>,
    /// `Host` for a client that named none.
    pub(super) authority: HeaderValue,
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
        let backends = config.urls.iter().map(|url| backend(url, config)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { backends, next: AtomicUsize::new(0) })
    }

    /// How many there are.
    pub(super) const fn len(&self) -> usize {
        self.backends.len()
    }

    /// Whose turn it is.
    pub(super) fn turn(&self) -> usize {
        if self.backends.len() == 1 { 0 } else { self.next.fetch_add(1, Ordering::Relaxed) % self.backends.len() }
    }

    /// One of them, by a number that [`Self::turn`] gave.
    pub(super) fn get(&self, at: usize) -> &Backend {
        &self.backends[at]
    }

    /// The next one.
    pub(super) fn next(&self) -> &Backend {
        self.get(self.turn())
    }
}

fn backend(url: &str, config: &UpstreamConfig) -> Result<Backend, UpstreamError> {
    let authority = url.parse::<http::Uri>().ok().and_then(|uri| uri.authority().map(ToString::to_string));
    let authority = authority.filter(|_| !url.starts_with("unix:")).unwrap_or_else(|| "localhost".to_owned());
    Ok(Backend {
        peer: Arc::new(peer(url, config)?),
        authority: HeaderValue::from_str(&authority).map_err(|_| UpstreamError::NotAnUrl(url.to_owned()))?,
    })
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
        // `localhost` often means ::1 first, where an old backend does not listen.
        let addresses: Vec<_> = (bare, port).to_socket_addrs().map_err(unresolved)?.collect();
        let address = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first());
        let address = *address.ok_or_else(|| unresolved(std::io::Error::other("no address")))?;
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
