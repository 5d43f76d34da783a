//! A client for the admin API of a running menshen on this machine.

use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{ClientError, Outbound, loopback_if_unspecified, read_up_to};
use crate::types::Secret;

/// Total time of one call.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Total time of a download.
const DOWNLOAD_TIMEOUT: Duration = Duration::from_hours(6);

/// Most bytes of a response: a user can have many sessions.
const MAX_RESPONSE_LEN: usize = 8 * 1024 * 1024;

/// Calls a running menshen through its admin listener.
pub struct AdminClient {
    outbound: Outbound,
    base: Url,
    token: Secret<String>,
}

/// Why a call of the admin API has no result.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// No connection: it does not run.
    #[error("nothing listens on admin.listen")]
    NotRunning,
    #[error("it does not accept this admin token: is it running with another one?")]
    Refused,
    /// An error response, with its text.
    #[error("{text}")]
    Failed { status: StatusCode, text: String },
    #[error("it gave no readable answer")]
    Unreadable,
}

/// The client could not be created.
#[derive(Debug, thiserror::Error)]
pub enum AdminClientError {
    #[error("admin.listen is not an address")]
    Address,
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl AdminClient {
    /// `listen` as in the config; an unspecified address (`0.0.0.0`, `::`) becomes loopback.
    pub fn new(listen: &str, token: Secret<String>) -> Result<Self, AdminClientError> {
        let address = listen.parse().map_err(|_| AdminClientError::Address)?;
        let address = loopback_if_unspecified(address);
        let base =
            Url::parse(&format!("http://{address}")).map_err(|_| AdminClientError::Address)?;
        Ok(Self {
            outbound: Outbound::to_backend(&base)?,
            base,
            token,
        })
    }

    /// Sends a request for `target`, a path with its query.
    pub async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        target: &str,
        body: Option<&Value>,
    ) -> Result<T, AdminError> {
        let mut request = self.request(method, target)?.timeout(CALL_TIMEOUT);
        if let Some(body) = body {
            request = request.json(body);
        }
        read_response(send(request).await?).await
    }

    /// Gets `target` and passes on the bytes of the body as they come.
    pub async fn download(
        &self,
        target: &str,
        mut take: impl FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<(), DownloadError> {
        let request = self.request(Method::GET, target)?.timeout(DOWNLOAD_TIMEOUT);
        let mut response = send(request).await?;
        if !response.status().is_success() {
            let error = read_response::<Value>(response).await.err();
            return Err(error.unwrap_or(AdminError::Unreadable).into());
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

    fn request(&self, method: Method, target: &str) -> Result<RequestBuilder, AdminError> {
        let url = self.base.join(target).map_err(|_| AdminError::Unreadable)?;
        let request = self.outbound.client.request(method, url);
        Ok(request.bearer_auth(self.token.expose()))
    }
}

async fn send(request: RequestBuilder) -> Result<Response, AdminError> {
    request.send().await.map_err(|error| {
        if error.is_connect() {
            AdminError::NotRunning
        } else {
            AdminError::Unreadable
        }
    })
}

async fn read_response<T: DeserializeOwned>(response: Response) -> Result<T, AdminError> {
    let status = response.status();
    let body = read_up_to(response, MAX_RESPONSE_LEN)
        .await
        .map_err(|_| AdminError::Unreadable)?;
    parse_response(status, &body)
}

/// Why a download is incomplete.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    #[error(transparent)]
    Admin(#[from] AdminError),
    #[error("the answer broke off: the log of the running menshen says why")]
    BrokenOff,
    #[error("cannot write: {0}")]
    Io(#[from] std::io::Error),
}

/// Reads a response of the admin API.
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
