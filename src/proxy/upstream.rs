//! The backend's addresses, resolved and made ready once, taken in turn.

use std::{
    net::ToSocketAddrs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use aws_lc_rs::digest;
use http::HeaderValue;
use pingora::{
    protocols::tls::CaType,
    upstreams::peer::{ALPN, HttpPeer},
    utils::tls::{CertKey, WrappedX509, parse_x509},
};

use super::tls::{self, TlsError};
use crate::config::{UpstreamConfig, UpstreamProtocol, UpstreamTlsConfig};

/// Requests at once on one HTTP/2 connection to a backend, where it allows as many.
const MOST_STREAMS: usize = 100;
/// Bytes of an answer that one HTTP/2 stream may send, and all of a connection together, before they are taken from it.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// How often an HTTP/2 connection to a backend is asked whether it is still there.
const PING_EVERY: Duration = Duration::from_secs(30);

/// The backends, at least one.
#[derive(Debug)]
pub struct Upstreams {
    backends: Vec<Backend>,
    http2: bool,
    /// Of the files of `upstream.tls`.
    mark: u64,
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
    #[error("upstream.tls: {0}")]
    Tls(#[from] TlsError),
}

impl Upstreams {
    /// Resolves every name now, so that no request ever waits for a resolver.
    pub fn resolve(config: &UpstreamConfig) -> Result<Self, UpstreamError> {
        let tls = Identity::read(&config.tls)?;
        let backends = config.urls.iter().map(|url| backend(url, config, &tls)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { backends, http2: config.protocol == UpstreamProtocol::Http2, mark: tls.mark, next: AtomicUsize::new(0) })
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

fn backend(url: &str, config: &UpstreamConfig, tls: &Identity) -> Result<Backend, UpstreamError> {
    let authority = url.parse::<http::Uri>().ok().and_then(|uri| uri.authority().map(ToString::to_string));
    let authority = authority.filter(|_| !url.starts_with("unix:")).unwrap_or_else(|| "localhost".to_owned());
    Ok(Backend {
        peer: Arc::new(peer(url, config, tls)?),
        authority: HeaderValue::from_str(&authority).map_err(|_| UpstreamError::NotAnUrl(url.to_owned()))?,
    })
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
        // `localhost` often means ::1 first, where an old backend does not listen.
        let addresses: Vec<_> = (bare, port).to_socket_addrs().map_err(unresolved)?.collect();
        let address = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first());
        let address = *address.ok_or_else(|| unresolved(std::io::Error::other("no address")))?;
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
        options.max_h2_streams = MOST_STREAMS;
        options.h2_stream_window_size = Some(STREAM_WINDOW);
        options.h2_connection_window_size = Some(CONNECTION_WINDOW);
        options.h2_ping_interval = Some(PING_EVERY);
    }
    Ok(peer)
}
