//! Connections of the pool, each served by a task of its own.
//!
//! A connection to the server itself has a session of its own, in which a statement is parsed and
//! planned once. A pooler in transaction mode lends its sessions, so that what was prepared in one is
//! not there in the next, or is what somebody else prepared. Which of both it is, the options of the
//! startup packet tell: a pooler refuses them or leaves them out, because no one client may set up a
//! session that others use too.

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
use tokio::{
    runtime::Handle,
    sync::{Notify, OnceCell},
};
use tokio_postgres::{
    AsyncMessage, Client, Config, Error, NoTls, Row, SimpleQueryMessage, Socket, Statement,
    tls::MakeTlsConnect,
    types::{ToSql, Type},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{
    name::NAME,
    statements::{COMMIT, READ},
    url::PostgresUrl,
};
use crate::store::{
    OpenError,
    engines::database::{ConnectError, first_primary, password, tls::trusted_roots, url::TlsRoots},
};

/// Marks a session that is a connection's own.
const OWN_SESSION: &str = "-c menshen.session=own";
/// Whether the session has that mark.
const IS_OWN_SESSION: &str = "SELECT current_setting('menshen.session', true)";

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
    configs: Vec<Config>,
    /// The file with the password, where the server wants one.
    password_file: Option<PathBuf>,
    /// `None`: without TLS.
    tls: Option<MakeRustlsConnect>,
    /// What stands in between has refused to mark a session, so it is not asked again.
    refuses_options: Arc<AtomicBool>,
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
                refuses_options: Arc::default(),
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
            let (tls, refuses_options) = (self.tls.clone(), &*self.refuses_options);
            async move {
                match tls {
                    Some(tls) => Self::connect_with(config, tls, refuses_options).await,
                    None => Self::connect_with(config, NoTls, refuses_options).await,
                }
            }
        })
        .await
    }

    async fn connect_with<T>(
        mut config: Config,
        tls: T,
        refuses_options: &AtomicBool,
    ) -> Result<PooledClient, ConnectError>
    where
        T: MakeTlsConnect<Socket> + Clone,
        T::Stream: Send + 'static,
    {
        let with_options = !refuses_options.load(Ordering::Relaxed);
        let unmarked = config.clone();
        if with_options {
            config.options(OWN_SESSION);
        }
        let mut connected = config.connect(tls.clone()).await;
        if with_options && connected.as_ref().is_err_and(refuses_a_parameter) {
            connected = unmarked.connect(tls).await;
            refuses_options.store(connected.is_ok(), Ordering::Relaxed);
        }
        let (client, mut connection) = connected.map_err(|error| {
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
        let has_own_session = is_own_session(&client)
            .await
            .map_err(|error| ConnectError::Server(describe(&error)))?;
        Ok(PooledClient {
            client,
            has_own_session,
            read: OnceCell::new(),
            commit: OnceCell::new(),
            unreplicated,
            notified,
        })
    }
}

/// Whether a pooler, or a server, does not take something of the startup packet: it reported
/// anything but a wrong role, password or database. To ask once more without options harms nothing.
fn refuses_a_parameter(error: &Error) -> bool {
    error
        .code()
        .is_some_and(|code| !["28", "3D"].contains(&&code.code()[..2]))
}

async fn is_own_session(client: &Client) -> Result<bool, Error> {
    let answer = client.simple_query(IS_OWN_SESSION).await?;
    Ok(answer.iter().any(
        |message| matches!(message, SimpleQueryMessage::Row(row) if row.get(0) == Some("own")),
    ))
}

/// A connection.
pub(super) struct PooledClient {
    client: Client,
    has_own_session: bool,
    /// [`READ`] and [`COMMIT`] as the session knows them, once they were needed.
    read: OnceCell<Statement>,
    commit: OnceCell<Statement>,
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

    /// Runs a statement. Those of each operation are parsed once in a session, if it is this
    /// connection's own; the others have no name.
    pub(super) async fn query(
        &self,
        sql: &str,
        parameters: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Vec<Row>, Error> {
        let prepared = match sql {
            READ if self.has_own_session => &self.read,
            COMMIT if self.has_own_session => &self.commit,
            _ => return self.client.query_typed(sql, parameters).await,
        };
        let (values, types): (Vec<_>, Vec<_>) = parameters.iter().cloned().unzip();
        let statement = prepared
            .get_or_try_init(|| self.client.prepare_typed(sql, &types))
            .await?;
        self.client.query(statement, &values).await
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
