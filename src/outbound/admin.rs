//! A client for another menshen on this machine: its admin API.

use std::time::Duration;

use reqwest::{Method, StatusCode, Url};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{ClientError, Outbound, read_up_to};
use crate::types::Secret;

/// Time for one call, all of it.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Time for an answer that may be large, all of it.
const DOWNLOAD_TIMEOUT: Duration = Duration::from_hours(6);

/// Most bytes of an answer: somebody can have many sessions.
const MAX_RESPONSE_LEN: usize = 8 * 1024 * 1024;

/// Asks a running menshen through its admin listener.
pub struct AdminClient {
    outbound: Outbound,
    base: Url,
    token: Secret<String>,
}

/// Why a running menshen gave no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Nobody listens there: it does not run.
    #[error("nobody listens on admin.listen")]
    NotRunning,
    #[error("it does not take this admin token: is it running with another one?")]
    Refused,
    /// It says why.
    #[error("{text}")]
    Failed { status: StatusCode, text: String },
    #[error("it gave no answer that can be read")]
    Unreadable,
}

/// The client could not be made.
#[derive(Debug, thiserror::Error)]
pub enum AdminClientError {
    #[error("admin.listen is not an address")]
    Address,
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl AdminClient {
    /// `listen` as in the config; an unspecified address (`0.0.0.0`, `::`) is asked on this
    /// machine.
    pub fn new(listen: &str, token: Secret<String>) -> Result<Self, AdminClientError> {
        let mut address: std::net::SocketAddr =
            listen.parse().map_err(|_| AdminClientError::Address)?;
        if address.ip().is_unspecified() {
            address.set_ip(match address.ip() {
                std::net::IpAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                std::net::IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            });
        }
        let base =
            Url::parse(&format!("http://{address}")).map_err(|_| AdminClientError::Address)?;
        Ok(Self {
            outbound: Outbound::direct()?,
            base,
            token,
        })
    }

    /// Asks for `target`, a path with its query.
    pub async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        target: &str,
        body: Option<&Value>,
    ) -> Result<T, AdminError> {
        let url = self.base.join(target).map_err(|_| AdminError::Unreadable)?;
        let mut request = self
            .outbound
            .client
            .request(method, url)
            .bearer_auth(self.token.expose())
            .timeout(CALL_TIMEOUT);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|error| {
            if error.is_connect() {
                AdminError::NotRunning
            } else {
                AdminError::Unreadable
            }
        })?;
        let status = response.status();
        let body = read_up_to(response, MAX_RESPONSE_LEN)
            .await
            .map_err(|_| AdminError::Unreadable)?;
        parse_response(status, &body)
    }
}

impl AdminClient {
    /// Asks for `target` and hands on the bytes of the answer as they come.
    pub async fn download(
        &self,
        target: &str,
        mut take: impl FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<(), DownloadError> {
        let url = self.base.join(target).map_err(|_| AdminError::Unreadable)?;
        let request = self
            .outbound
            .client
            .request(Method::GET, url)
            .bearer_auth(self.token.expose())
            .timeout(DOWNLOAD_TIMEOUT);
        let mut response = request.send().await.map_err(|error| {
            if error.is_connect() {
                AdminError::NotRunning
            } else {
                AdminError::Unreadable
            }
        })?;
        let status = response.status();
        if !status.is_success() {
            let body = read_up_to(response, MAX_RESPONSE_LEN)
                .await
                .map_err(|_| AdminError::Unreadable)?;
            return Err(parse_response::<Value>(status, &body)
                .err()
                .unwrap_or(AdminError::Unreadable)
                .into());
        }
        while let Some(bytes) = response
            .chunk()
            .await
            .map_err(|_| DownloadError::BrokenOff)?
        {
            take(&bytes)?;
        }
        Ok(())
    }
}

/// Why an answer did not arrive whole.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    #[error(transparent)]
    Admin(#[from] AdminError),
    #[error("the answer broke off: the log of the running menshen says why")]
    BrokenOff,
    #[error("cannot write: {0}")]
    Io(#[from] std::io::Error),
}

/// What an answer of the admin API says, wherever it came from.
pub fn parse_response<T: DeserializeOwned>(
    status: StatusCode,
    body: &[u8],
) -> Result<T, AdminError> {
    if status.is_success() {
        return serde_json::from_slice(body).map_err(|_| AdminError::Unreadable);
    }
    if status == StatusCode::UNAUTHORIZED {
        return Err(AdminError::Refused);
    }
    let said: Option<Value> = serde_json::from_slice(body).ok();
    let text = said.as_ref().and_then(|said| said["error"].as_str());
    Err(AdminError::Failed {
        status,
        text: text.map_or_else(|| format!("it answered {status}"), str::to_owned),
    })
}
