//! A client for another menshen on this machine: its admin API.

use std::time::Duration;

use reqwest::{Method, StatusCode, Url};
use serde::de::DeserializeOwned;

use super::{NoClient, Outbound, read};
use crate::types::Secret;

/// Time for one call, all of it.
const LIMIT: Duration = Duration::from_secs(10);

/// Asks a running menshen through its admin listener.
#[derive(Debug)]
pub struct AdminClient {
    outbound: Outbound,
    base: Url,
    token: Secret<String>,
}

/// Why a running menshen gave no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub enum AdminFault {
    /// Nobody listens there: it does not run.
    #[error("nobody listens on admin.listen")]
    NotThere,
    #[error("it does not take this admin token: is it running with another one?")]
    Refused,
    /// It says why.
    #[error("it answered {status}: {text}")]
    Failed { status: StatusCode, text: String },
    #[error("it gave no answer that can be read")]
    Unreadable,
}

/// The client could not be made.
#[derive(Debug, thiserror::Error)]
pub enum NoAdminClient {
    #[error("admin.listen is not an address")]
    Address,
    #[error(transparent)]
    Client(#[from] NoClient),
}

impl AdminClient {
    /// `listen` as in the config; an unspecified address (`0.0.0.0`, `::`) is asked on this machine.
    pub fn new(listen: &str, token: Secret<String>) -> Result<Self, NoAdminClient> {
        let mut address: std::net::SocketAddr = listen.parse().map_err(|_| NoAdminClient::Address)?;
        if address.ip().is_unspecified() {
            address.set_ip(match address.ip() {
                std::net::IpAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                std::net::IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            });
        }
        let base = Url::parse(&format!("http://{address}")).map_err(|_| NoAdminClient::Address)?;
        Ok(Self { outbound: Outbound::direct()?, base, token })
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, AdminFault> {
        self.call(Method::GET, path).await
    }

    pub async fn post<T: DeserializeOwned>(&self, path: &str) -> Result<T, AdminFault> {
        self.call(Method::POST, path).await
    }

    async fn call<T: DeserializeOwned>(&self, method: Method, path: &str) -> Result<T, AdminFault> {
        let mut url = self.base.clone();
        url.set_path(path);
        let request = self.outbound.client.request(method, url).bearer_auth(self.token.expose()).timeout(LIMIT);
        let response = request
            .send()
            .await
            .map_err(|fault| if fault.is_connect() { AdminFault::NotThere } else { AdminFault::Unreadable })?;
        let status = response.status();
        let body = read(response).await.map_err(|_| AdminFault::Unreadable)?;
        match status {
            StatusCode::OK => serde_json::from_slice(&body).map_err(|_| AdminFault::Unreadable),
            StatusCode::UNAUTHORIZED => Err(AdminFault::Refused),
            status => Err(AdminFault::Failed { status, text: String::from_utf8_lossy(&body).into_owned() }),
        }
    }
}
