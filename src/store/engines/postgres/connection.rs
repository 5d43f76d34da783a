//! Connections of the pool, each served by a task of its own.

use std::{
    future::poll_fn,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use deadpool::managed::{Manager, Metrics, Object, RecycleError, RecycleResult};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use tokio::{runtime::Handle, sync::Notify};
use tokio_postgres::{AsyncMessage, Client, NoTls, Socket, tls::MakeTlsConnect};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{name::NAME, url::PostgresUrl};
use crate::store::{
    OpenError,
    engines::database::{ConnectError, first_primary, password, tls::trusted_roots, url::TlsRoots},
};

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

impl Connector {
    pub(super) fn new(url: &PostgresUrl, password_file: Option<&Path>) -> Result<Self, OpenError> {
        let tls = url.tls().map(client_config).transpose();
        let tls = tls.map_err(|error| NAME.unsuitable(error))?;
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

impl Connector {
    /// A connection to the first host that takes writes.
    pub(super) async fn connect(&self) -> Result<PooledClient, ConnectError> {
        let connecting = self.runtime.spawn(self.access.clone().connect());
        connecting
            .await
            .unwrap_or_else(|error| Err(ConnectError::Server(error.to_string())))
    }
}

impl Access {
    /// The first host that takes writes.
    async fn connect(self) -> Result<PooledClient, ConnectError> {
        let password = password(self.password_file.as_ref()).await?;
        first_primary(self.configs, |mut config| {
            if let Some(password) = &password {
                config.password(password);
            }
            let tls = self.tls.clone();
            async move {
                match tls {
                    Some(tls) => Self::connect_with(&config, tls).await,
                    None => Self::connect_with(&config, NoTls).await,
                }
            }
        })
        .await
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
        let notified = Arc::new(Notify::new());
        let (seen, notify) = (Arc::clone(&unreplicated), Arc::clone(&notified));
        tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
                match message {
                    // The text is in the server's language, this is not.
                    AsyncMessage::Notice(notice)
                        if notice.routine() == Some("SyncRepWaitForLSN") =>
                    {
                        seen.store(true, Ordering::Release);
                    }
                    AsyncMessage::Notification(_) => notify.notify_one(),
                    _ => {}
                }
            }
            // What listens looks why.
            notify.notify_one();
        });
        Ok(PooledClient {
            client,
            unreplicated,
            notified,
        })
    }
}

/// A connection.
pub(super) struct PooledClient {
    client: Client,
    /// The server said that it gave up waiting for a standby. It says so before its answer.
    unreplicated: Arc<AtomicBool>,
    /// The server sent a notification, because this session listens, or the connection ended.
    notified: Arc<Notify>,
}

impl PooledClient {
    /// Waits for a notification, or for the end of the connection.
    pub(super) async fn notified(&self) {
        self.notified.notified().await;
    }

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
        self.connect().await
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

/// Gives a connection back when the server has answered what is under way on it. Until then it counts
/// as one of the pool, because the server has it too.
pub(super) fn drain(connection: Object<Connector>) {
    tokio::spawn(async move {
        let _ = connection.client().simple_query("").await;
        drop(connection);
    });
}

/// TLS that verifies the server's certificate, and the host's name in it.
fn client_config(roots: &TlsRoots) -> Result<ClientConfig, String> {
    let mut trusted = RootCertStore::empty();
    trusted.add_parsable_certificates(trusted_roots(roots)?);
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(builder
        .with_root_certificates(trusted)
        .with_no_client_auth())
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
