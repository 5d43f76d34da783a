//! The one HTTP client: what menshen itself asks of other servers.
//!
//! Every call has a time for the whole of it and a size for its answer, whatever the other side
//! does. Redirects are not followed, cookies not kept, nothing is sent twice. A vendor's URL can
//! hold a secret, so no error here has a text of its own: a [`Fault`] is a name, and the library's
//! errors, which print URLs, end in this file.

mod admin;
mod public;

use std::{net::IpAddr, sync::Arc, time::Duration};

use crate::types::is_public;
use bytes::{Bytes, BytesMut};
use reqwest::{Client, Response, StatusCode, Url, redirect};

pub use admin::{AdminClient, AdminFault, DownloadFault, NoAdminClient, understand};
use public::PublicNames;

/// Most bytes of an answer; what we ask for fits in one.
pub const LONGEST_ANSWER: usize = 64 * 1024;

/// Time to open a connection, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A client for one server.
#[derive(Clone)]
pub struct Outbound {
    client: Client,
}

/// A whole answer.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: StatusCode,
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No connection: nothing was sent.
    #[error("no connection")]
    Connect,
    /// Not answered in time; the other side may have acted.
    #[error("no answer in time")]
    Timeout,
    /// The exchange broke off or was not HTTP; the other side may have acted.
    #[error("broken answer")]
    Broken,
    /// The answer is longer than [`LONGEST_ANSWER`].
    #[error("answer too large")]
    TooLarge,
}

/// The client could not be made: no usable root certificates on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no HTTPS client: are root certificates (ca-certificates) installed?")]
pub struct NoClient;

impl Outbound {
    /// A client for the server at `base`. Proxies are taken from the environment (`HTTPS_PROXY`,
    /// `NO_PROXY`) and only from there. A server on this machine is reached directly, and over
    /// plain HTTP it needs no certificates.
    pub fn new(base: &Url) -> Result<Self, NoClient> {
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
            .map_err(|_| NoClient)
    }

    /// A client that connects to public addresses alone, whatever the name in a URL resolves to,
    /// and to no proxy, which would look names up by itself. A URL with an address in it is for the
    /// caller to check, with [`is_private_address`].
    pub fn to_public() -> Result<Self, NoClient> {
        let client = Self::builder()
            .no_proxy()
            .dns_resolver(Arc::new(PublicNames))
            .build();
        client.map(|client| Self { client }).map_err(|_| NoClient)
    }

    /// A client for the backend at `base`, which no proxy stands before; over plain HTTP it needs
    /// no certificates.
    pub fn to_backend(base: &Url) -> Result<Self, NoClient> {
        let mut client = Self::builder().no_proxy();
        if base.scheme() == "http" {
            client = client.tls_certs_only([]);
        }
        client
            .build()
            .map(|client| Self { client })
            .map_err(|_| NoClient)
    }

    /// A client that goes to no proxy and needs no certificates: for plain HTTP to a process of our
    /// own, with its token.
    fn direct() -> Result<Self, NoClient> {
        let client = Self::builder().no_proxy().tls_certs_only([]).build();
        client.map(|client| Self { client }).map_err(|_| NoClient)
    }

    fn builder() -> reqwest::ClientBuilder {
        Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .user_agent(concat!("menshen/", env!("CARGO_PKG_VERSION")))
    }

    /// Any request, as it is given, all of it within `limit`.
    pub async fn send(
        &self,
        request: http::Request<Bytes>,
        limit: Duration,
    ) -> Result<http::Response<Bytes>, Fault> {
        let exchange = async {
            let request = request.try_into().map_err(|error| fault(&error))?;
            let mut response = self
                .client
                .execute(request)
                .await
                .map_err(|error| fault(&error))?;
            let mut answer = http::Response::new(Bytes::new());
            *answer.status_mut() = response.status();
            *answer.headers_mut() = std::mem::take(response.headers_mut());
            *answer.body_mut() = read(response).await?;
            Ok(answer)
        };
        tokio::time::timeout(limit, exchange)
            .await
            .unwrap_or(Err(Fault::Timeout))
    }

    /// Any request, of whose answer only status and headers are read; within `limit`.
    pub async fn head_of(
        &self,
        request: http::Request<Bytes>,
        limit: Duration,
    ) -> Result<(StatusCode, http::HeaderMap), Fault> {
        let exchange = async {
            let request = request.try_into().map_err(|error| fault(&error))?;
            let mut response = self
                .client
                .execute(request)
                .await
                .map_err(|error| fault(&error))?;
            Ok((response.status(), std::mem::take(response.headers_mut())))
        };
        tokio::time::timeout(limit, exchange)
            .await
            .unwrap_or(Err(Fault::Timeout))
    }

    /// `GET` with the head of the answer, whose body may have `most` bytes; all of it within
    /// `limit`.
    pub async fn fetch(
        &self,
        url: Url,
        most: usize,
        limit: Duration,
    ) -> Result<http::Response<Bytes>, Fault> {
        let exchange = async {
            let mut response = self
                .client
                .get(url)
                .send()
                .await
                .map_err(|error| fault(&error))?;
            let mut answer = http::Response::new(Bytes::new());
            *answer.status_mut() = response.status();
            *answer.headers_mut() = std::mem::take(response.headers_mut());
            *answer.body_mut() = read_up_to(response, most).await?;
            Ok(answer)
        };
        tokio::time::timeout(limit, exchange)
            .await
            .unwrap_or(Err(Fault::Timeout))
    }

    /// `GET`, all of it within `limit`.
    pub async fn get(&self, url: Url, limit: Duration) -> Result<Answer, Fault> {
        let exchange = async {
            let response = self
                .client
                .get(url)
                .send()
                .await
                .map_err(|error| fault(&error))?;
            let status = response.status();
            read(response).await.map(|body| Answer { status, body })
        };
        tokio::time::timeout(limit, exchange)
            .await
            .unwrap_or(Err(Fault::Timeout))
    }
}

impl std::fmt::Debug for Outbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Outbound")
    }
}

/// The body can be a credential.
impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer")
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

async fn read(response: Response) -> Result<Bytes, Fault> {
    read_up_to(response, LONGEST_ANSWER).await
}

async fn read_up_to(mut response: Response, most: usize) -> Result<Bytes, Fault> {
    let mut body = BytesMut::new();
    while let Some(part) = response.chunk().await.map_err(|error| fault(&error))? {
        if body.len() + part.len() > most {
            return Err(Fault::TooLarge);
        }
        body.extend_from_slice(&part);
    }
    Ok(body.freeze())
}

fn fault(error: &reqwest::Error) -> Fault {
    // A connect timeout is both; it counts as `Connect`, because nothing was sent.
    if error.is_connect() {
        Fault::Connect
    } else if error.is_timeout() {
        Fault::Timeout
    } else {
        Fault::Broken
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
            Err(Fault::Connect)
        );
        // The same server is there for a client that may: it takes the connection, and says
        // nothing.
        assert_eq!(ask(Outbound::direct().unwrap()).await, Err(Fault::Timeout));
    }
}
