//! The one HTTP client: what menshen itself asks of other servers.
//!
//! Every call has a time for the whole of it and a size for its answer, whatever the other side
//! does. Redirects are not followed, cookies not kept, nothing is sent twice. A vendor's URL can
//! hold a secret, so no error here has a text of its own: a [`OutboundError`] is a name, and the library's
//! errors, which print URLs, end in this file.

mod admin;
mod public_resolver;

use std::{net::IpAddr, sync::Arc, time::Duration};

use crate::types::is_public;
use bytes::{Bytes, BytesMut};
use reqwest::{Client, Response, StatusCode, Url, redirect};

pub use admin::{AdminClient, AdminClientError, AdminError, DownloadError, parse_response};
use public_resolver::PublicResolver;

/// Most bytes of an answer; what we ask for fits in one.
pub const MAX_RESPONSE_LEN: usize = 64 * 1024;

/// Time to open a connection, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A client for one server.
#[derive(Clone)]
pub struct Outbound {
    client: Client,
}

/// A whole answer.
#[derive(Clone, PartialEq, Eq)]
pub struct OutboundResponse {
    pub status: StatusCode,
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OutboundError {
    /// No connection: nothing was sent.
    #[error("no connection")]
    Connect,
    /// Not answered in time; the other side may have acted.
    #[error("no answer in time")]
    Timeout,
    /// The exchange broke off or was not HTTP; the other side may have acted.
    #[error("broken answer")]
    Broken,
    /// The answer is longer than [`MAX_RESPONSE_LEN`].
    #[error("answer too large")]
    TooLarge,
}

/// The client could not be made: no usable root certificates on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no HTTPS client: are root certificates (ca-certificates) installed?")]
pub struct ClientError;

impl Outbound {
    /// A client for the server at `base`. Proxies are taken from the environment (`HTTPS_PROXY`,
    /// `NO_PROXY`) and only from there. A server on this machine is reached directly, and over
    /// plain HTTP it needs no certificates.
    pub fn new(base: &Url) -> Result<Self, ClientError> {
        let mut client = Self::builder();
        if is_loopback(base) {
            client = client.no_proxy();
            if base.scheme() == "http" {
                client = client.tls_certs_only([]);
            }
        }
        client
            .build()
            .map(|client| Self { client })
            .map_err(|_| ClientError)
    }

    /// A client that connects to public addresses alone, whatever the name in a URL resolves to,
    /// and to no proxy, which would look names up by itself. A URL with an address in it is for the
    /// caller to check, with [`is_private_address`].
    pub fn to_public() -> Result<Self, ClientError> {
        let client = Self::builder()
            .no_proxy()
            .dns_resolver(Arc::new(PublicResolver))
            .build();
        client
            .map(|client| Self { client })
            .map_err(|_| ClientError)
    }

    /// A client for the backend at `base`, which no proxy stands before; over plain HTTP it needs
    /// no certificates.
    pub fn to_backend(base: &Url) -> Result<Self, ClientError> {
        let mut client = Self::builder().no_proxy();
        if base.scheme() == "http" {
            client = client.tls_certs_only([]);
        }
        client
            .build()
            .map(|client| Self { client })
            .map_err(|_| ClientError)
    }

    /// A client that goes to no proxy and needs no certificates: for plain HTTP to a process of our
    /// own, with its token.
    fn direct() -> Result<Self, ClientError> {
        let client = Self::builder().no_proxy().tls_certs_only([]).build();
        client
            .map(|client| Self { client })
            .map_err(|_| ClientError)
    }

    fn builder() -> reqwest::ClientBuilder {
        Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .user_agent(concat!("menshen/", env!("CARGO_PKG_VERSION")))
    }

    /// Any request, as it is given, all of it within `timeout`.
    pub async fn send(
        &self,
        request: http::Request<Bytes>,
        timeout: Duration,
    ) -> Result<http::Response<Bytes>, OutboundError> {
        let exchange = async {
            let request = request.try_into().map_err(|error| classify(&error))?;
            let mut response = self
                .client
                .execute(request)
                .await
                .map_err(|error| classify(&error))?;
            let mut answer = http::Response::new(Bytes::new());
            *answer.status_mut() = response.status();
            *answer.headers_mut() = std::mem::take(response.headers_mut());
            *answer.body_mut() = read(response).await?;
            Ok(answer)
        };
        tokio::time::timeout(timeout, exchange)
            .await
            .unwrap_or(Err(OutboundError::Timeout))
    }

    /// Any request, of whose answer only status and headers are read; within `timeout`.
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

    /// `GET` with the head of the answer, whose body may have `max_len` bytes; all of it within
    /// `timeout`.
    pub async fn fetch(
        &self,
        url: Url,
        max_len: usize,
        timeout: Duration,
    ) -> Result<http::Response<Bytes>, OutboundError> {
        let exchange = async {
            let mut response = self
                .client
                .get(url)
                .send()
                .await
                .map_err(|error| classify(&error))?;
            let mut answer = http::Response::new(Bytes::new());
            *answer.status_mut() = response.status();
            *answer.headers_mut() = std::mem::take(response.headers_mut());
            *answer.body_mut() = read_up_to(response, max_len).await?;
            Ok(answer)
        };
        tokio::time::timeout(timeout, exchange)
            .await
            .unwrap_or(Err(OutboundError::Timeout))
    }

    /// `GET`, all of it within `timeout`.
    pub async fn get(
        &self,
        url: Url,
        timeout: Duration,
    ) -> Result<OutboundResponse, OutboundError> {
        let exchange = async {
            let response = self
                .client
                .get(url)
                .send()
                .await
                .map_err(|error| classify(&error))?;
            let status = response.status();
            read(response)
                .await
                .map(|body| OutboundResponse { status, body })
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

async fn read(response: Response) -> Result<Bytes, OutboundError> {
    read_up_to(response, MAX_RESPONSE_LEN).await
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
    // A connect timeout is both; it counts as `Connect`, because nothing was sent.
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
            ask(Outbound::direct().unwrap()).await,
            Err(OutboundError::Timeout)
        );
    }
}
