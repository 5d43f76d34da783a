//! The one HTTP client: menshen's own requests to other servers.
//!
//! Every call has a total timeout and a limit on the response body. Redirects are not followed,
//! cookies not stored, nothing is retried. A vendor's URL can hold a secret, so an
//! [`OutboundError`] is a name without details, and the library's errors, which print URLs, do not
//! leave this file.

mod admin;
mod public_resolver;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use crate::types::is_public;
use bytes::{Bytes, BytesMut};
use reqwest::{Client, ClientBuilder, Method, Request, Response, StatusCode, Url, redirect};

pub use admin::{AdminClient, AdminClientError, AdminError, DownloadError, parse_response};
use public_resolver::PublicResolver;

/// Most bytes of a response body.
pub const MAX_RESPONSE_LEN: usize = 64 * 1024;

/// Time to open a connection, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A client for one server.
#[derive(Clone)]
pub struct Outbound {
    client: Client,
}

/// Status and body of a response.
#[derive(Clone, PartialEq, Eq)]
pub struct OutboundResponse {
    pub status: StatusCode,
    pub body: Bytes,
}

/// Why there is no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OutboundError {
    /// No connection, so nothing was sent.
    #[error("no connection")]
    Connect,
    /// No response in time; the server may have acted.
    #[error("no answer in time")]
    Timeout,
    /// The connection broke off, or the response is not HTTP; the server may have acted.
    #[error("broken answer")]
    Broken,
    /// The body is longer than [`MAX_RESPONSE_LEN`].
    #[error("answer too large")]
    TooLarge,
}

/// The client could not be created: no usable root certificates on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no HTTPS client: are root certificates (ca-certificates) installed?")]
pub struct ClientError;

impl Outbound {
    /// A client for the server at `base`. Proxies are taken from the environment (`HTTPS_PROXY`,
    /// `NO_PROXY`) and only from there. A server on this machine is reached directly, and over
    /// plain HTTP it needs no certificates.
    pub fn new(base: &Url) -> Result<Self, ClientError> {
        if is_loopback(base) {
            return Self::to_backend(base);
        }
        Self::build(Self::builder())
    }

    /// A client that connects to public addresses alone, whatever the name in a URL resolves to,
    /// and to no proxy, which would resolve names by itself. The caller checks a URL that holds an
    /// address, with [`is_private_address`].
    pub fn to_public() -> Result<Self, ClientError> {
        let resolver = Arc::new(PublicResolver);
        Self::build(Self::builder().no_proxy().dns_resolver(resolver))
    }

    /// A client for the backend or another process at `base`, without a proxy; over plain HTTP it
    /// needs no certificates.
    pub fn to_backend(base: &Url) -> Result<Self, ClientError> {
        let mut client = Self::builder().no_proxy();
        if base.scheme() == "http" {
            client = client.tls_certs_only([]);
        }
        Self::build(client)
    }

    fn build(builder: ClientBuilder) -> Result<Self, ClientError> {
        builder
            .build()
            .map(|client| Self { client })
            .map_err(|_| ClientError)
    }

    fn builder() -> ClientBuilder {
        Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .user_agent(concat!("menshen/", env!("CARGO_PKG_VERSION")))
    }

    /// Sends any request as it is, all of it within `timeout`.
    pub async fn send(
        &self,
        request: http::Request<Bytes>,
        timeout: Duration,
    ) -> Result<http::Response<Bytes>, OutboundError> {
        let request = request.try_into().map_err(|error| classify(&error))?;
        self.execute(request, MAX_RESPONSE_LEN, timeout).await
    }

    /// Sends any request and reads status and headers of the response, within `timeout`.
    pub async fn fetch_head(
        &self,
        request: http::Request<Bytes>,
        timeout: Duration,
    ) -> Result<(StatusCode, http::HeaderMap), OutboundError> {
        let exchange = async {
            let request = request.try_into().map_err(|error| classify(&error))?;
            let mut response = self
                .client
                .execute(request)
                .await
                .map_err(|error| classify(&error))?;
            Ok((response.status(), std::mem::take(response.headers_mut())))
        };
        tokio::time::timeout(timeout, exchange)
            .await
            .unwrap_or(Err(OutboundError::Timeout))
    }

    /// `GET` with the head of the response, whose body may have `max_len` bytes; all of it within
    /// `timeout`.
    pub async fn fetch(
        &self,
        url: Url,
        max_len: usize,
        timeout: Duration,
    ) -> Result<http::Response<Bytes>, OutboundError> {
        self.execute(Request::new(Method::GET, url), max_len, timeout)
            .await
    }

    /// `GET`, all of it within `timeout`.
    pub async fn get(
        &self,
        url: Url,
        timeout: Duration,
    ) -> Result<OutboundResponse, OutboundError> {
        let response = self.fetch(url, MAX_RESPONSE_LEN, timeout).await?;
        Ok(OutboundResponse {
            status: response.status(),
            body: response.into_body(),
        })
    }

    async fn execute(
        &self,
        request: Request,
        max_len: usize,
        timeout: Duration,
    ) -> Result<http::Response<Bytes>, OutboundError> {
        let exchange = async {
            let sent = self.client.execute(request).await;
            let mut received = sent.map_err(|error| classify(&error))?;
            let mut response = http::Response::new(Bytes::new());
            *response.status_mut() = received.status();
            *response.headers_mut() = std::mem::take(received.headers_mut());
            *response.body_mut() = read_up_to(received, max_len).await?;
            Ok(response)
        };
        tokio::time::timeout(timeout, exchange)
            .await
            .unwrap_or(Err(OutboundError::Timeout))
    }
}

/// The body can be a credential.
impl std::fmt::Debug for OutboundResponse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OutboundResponse")
            .field("status", &self.status)
            .field("bytes", &self.body.len())
            .finish()
    }
}

/// Whether the server is on this machine.
pub fn is_loopback(url: &Url) -> bool {
    url.host_str() == Some("localhost")
        || address_in(url).is_some_and(|address| address.is_loopback())
}

/// Where a server of this machine that listens on this address is reached: an unspecified IP
/// address (`0.0.0.0`, `::`) becomes loopback.
pub fn loopback_if_unspecified(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

/// Whether the URL names the server by an address, and not one of the public internet.
pub fn is_private_address(url: &Url) -> bool {
    address_in(url).is_some_and(|address| !is_public(address))
}

fn address_in(url: &Url) -> Option<IpAddr> {
    let host = url.host_str().unwrap_or_default();
    host.trim_start_matches('[')
        .trim_end_matches(']')
        .parse()
        .ok()
}

async fn read_up_to(mut response: Response, max_len: usize) -> Result<Bytes, OutboundError> {
    let mut body = BytesMut::new();
    while let Some(part) = response.chunk().await.map_err(|error| classify(&error))? {
        if body.len() + part.len() > max_len {
            return Err(OutboundError::TooLarge);
        }
        body.extend_from_slice(&part);
    }
    Ok(body.freeze())
}

fn classify(error: &reqwest::Error) -> OutboundError {
    // A connect timeout is both; it is `Connect`, because nothing was sent.
    if error.is_connect() {
        OutboundError::Connect
    } else if error.is_timeout() {
        OutboundError::Timeout
    } else {
        OutboundError::Broken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_loopback() {
        let says = |text: &str| is_loopback(&Url::parse(text).unwrap());
        for here in [
            "http://127.0.0.1:9",
            "http://127.8.8.8",
            "http://[::1]:9",
            "http://localhost",
        ] {
            assert!(says(here), "{here}");
        }
        for elsewhere in [
            "https://api.weixin.qq.com",
            "http://10.0.0.1",
            "http://localhost.example.com",
            "http://[2001:db8::1]",
        ] {
            assert!(!says(elsewhere), "{elsewhere}");
        }
    }

    #[test]
    fn an_address_is_seen_however_it_is_spelled() {
        let says = |text: &str| is_private_address(&Url::parse(text).unwrap());
        for private in [
            "http://10.0.0.1",
            "http://127.1",
            "http://0x7f.1",
            "http://2130706433",
            "http://[::ffff:127.0.0.1]",
        ] {
            assert!(says(private), "{private}");
        }
        for other in [
            "http://1.1.1.1",
            "https://sms.example.com",
            "http://localhost",
        ] {
            assert!(!says(other), "{other}");
        }
    }

    #[tokio::test]
    async fn a_name_of_this_machine_is_not_connected_to() {
        let here = tokio::net::TcpListener::bind(("127.0.0.1", 0))
            .await
            .unwrap();
        let url = format!("http://localhost:{}/", here.local_addr().unwrap().port());
        let ask = async |client: Outbound| {
            client
                .get(Url::parse(&url).unwrap(), Duration::from_millis(300))
                .await
        };
        assert_eq!(
            ask(Outbound::to_public().unwrap()).await,
            Err(OutboundError::Connect)
        );
        // The same server is there for a client that may: it takes the connection, and says
        // nothing.
        assert_eq!(
            ask(Outbound::to_backend(&Url::parse(&url).unwrap()).unwrap()).await,
            Err(OutboundError::Timeout)
        );
    }
}
