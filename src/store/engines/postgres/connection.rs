//! Connections of the pool, each served by a task of its own.

use std::{
    future::poll_fn,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use deadpool::managed::{Manager, Metrics, RecycleError, RecycleResult};
use tokio::{fs, runtime::Handle, time::timeout};
use tokio_postgres::{AsyncMessage, Client, NoTls, Socket, tls::MakeTlsConnect};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{
    open_error::unavailable,
    tls,
    url::{CONNECT_TIMEOUT, PostgresUrl},
};
use crate::store::OpenError;

/// Makes connections for the pool.
pub(super) struct Connector {
    access: Access,
    /// Serves all connections, so that none ends with the thread that happened to need it first.
    runtime: Handle,
}

/// How to get in.
#[derive(Clone)]
struct Access {
    /// One for each host, tried in order.
    configs: Vec<tokio_postgres::Config>,
    /// The file with the password, where the server wants one.
    password_file: Option<PathBuf>,
    /// `None`: without TLS.
    tls: Option<MakeRustlsConnect>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("{0}")]
    Server(String),
    #[error("the server takes no writes: it is a standby, or read-only")]
    NotPrimary,
    #[error("the password file cannot be read: {0}")]
    PasswordFile(std::io::Error),
}

impl From<ConnectError> for OpenError {
    fn from(error: ConnectError) -> Self {
        unavailable(error.to_string())
    }
}

impl Connector {
    pub(super) fn new(url: &PostgresUrl, password_file: Option<&Path>) -> Result<Self, OpenError> {
        let tls = url.tls().map(tls::client_config).transpose()?;
        Ok(Self {
            access: Access {
                configs: url.configs().to_vec(),
                password_file: password_file.map(Path::to_owned),
                tls: tls.map(MakeRustlsConnect::new),
            },
            runtime: Handle::current(),
        })
    }
}

impl Access {
    /// The first host that takes writes.
    async fn connect(mut self) -> Result<PooledClient, ConnectError> {
        let mut password = None;
        if let Some(path) = &self.password_file {
            // Read each time: a password that was changed is used without a restart.
            password = Some(fs::read(path).await.map_err(ConnectError::PasswordFile)?);
        }
        let mut failed = ConnectError::Server("it does not answer".to_owned());
        for mut config in std::mem::take(&mut self.configs) {
            if let Some(password) = &password {
                config.password(password.trim_ascii_end());
            }
            let connecting = async {
                match &self.tls {
                    Some(tls) => Self::connect_with(&config, tls.clone()).await,
                    None => Self::connect_with(&config, NoTls).await,
                }
            };
            match timeout(CONNECT_TIMEOUT, connecting).await {
                Ok(Ok(client)) => return Ok(client),
                Ok(Err(error)) => failed = error,
                Err(_) => {}
            }
        }
        Err(failed)
    }

    async fn connect_with<T>(
        config: &tokio_postgres::Config,
        tls: T,
    ) -> Result<PooledClient, ConnectError>
    where
        T: MakeTlsConnect<Socket>,
        T::Stream: Send + 'static,
    {
        let (client, mut connection) = config.connect(tls).await.map_err(|error| {
            let why = describe(&error);
            // The driver has no kind of error for this one.
            if why.contains("does not allow writes") {
                ConnectError::NotPrimary
            } else {
                ConnectError::Server(why)
            }
        })?;
        let unreplicated = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&unreplicated);
        tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
                if let AsyncMessage::Notice(notice) = message
                    // The text is in the server's language, this is not.
                    && notice.routine() == Some("SyncRepWaitForLSN")
                {
                    seen.store(true, Ordering::Release);
                }
            }
        });
        Ok(PooledClient {
            client,
            unreplicated,
        })
    }
}

/// A connection.
pub(super) struct PooledClient {
    client: Client,
    /// The server said that it gave up waiting for a standby. It says so before its answer.
    unreplicated: Arc<AtomicBool>,
}

impl PooledClient {
    pub(super) const fn client(&self) -> &Client {
        &self.client
    }

    pub(super) const fn client_mut(&mut self) -> &mut Client {
        &mut self.client
    }

    /// Whether a commit since the last call was not confirmed by a standby that should have.
    pub(super) fn take_unreplicated(&self) -> bool {
        self.unreplicated.swap(false, Ordering::AcqRel)
    }
}

impl Manager for Connector {
    type Type = PooledClient;
    type Error = ConnectError;

    async fn create(&self) -> Result<PooledClient, ConnectError> {
        let connecting = self.runtime.spawn(self.access.clone().connect());
        connecting
            .await
            .unwrap_or_else(|error| Err(ConnectError::Server(error.to_string())))
    }

    async fn recycle(
        &self,
        connection: &mut PooledClient,
        _: &Metrics,
    ) -> RecycleResult<ConnectError> {
        if connection.client.is_closed() {
            return Err(RecycleError::message("closed"));
        }
        Ok(())
    }
}

/// An error for the log: the server's message and code, or what happened to the connection. Never a
/// detail, which may quote a key.
pub(super) fn describe(error: &tokio_postgres::Error) -> String {
    if let Some(reported) = error.as_db_error() {
        return format!("{} ({})", reported.message(), reported.code().code());
    }
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
