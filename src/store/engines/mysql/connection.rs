//! Connections of the pool.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use deadpool::managed::{Manager, Metrics, RecycleError, RecycleResult};
use mysql_async::{Conn, Error, Opts, OptsBuilder, Row, SslOpts, prelude::Queryable as _};
use rustls::crypto::aws_lc_rs;
use tokio::{runtime::Handle, time::timeout};

use super::{
    name::NAME,
    statements::{self, Batch},
    url::MysqlUrl,
};
use crate::store::{
    OpenError,
    engines::database::{ConnectError, first_primary, password, tls::trusted_roots, url::TlsRoots},
};

/// A connection that was idle for longer is asked whether it is still there before it is used.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long it may take to say so.
const PING_TIMEOUT: Duration = Duration::from_secs(1);

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
    configs: Vec<Opts>,
    /// The file with the password, where the server wants one.
    password_file: Option<PathBuf>,
}

impl Connector {
    pub(super) fn new(url: &MysqlUrl, password_file: Option<&Path>) -> Result<Self, OpenError> {
        let tls = url.tls().map(tls_options).transpose();
        let tls = tls.map_err(|error| NAME.unsuitable(error))?;
        let configs = url.configs().iter();
        let configs = configs.map(|config| with_tls(config, tls.clone()));
        Ok(Self {
            access: Access {
                configs: configs.collect(),
                password_file: password_file.map(Path::to_owned),
            },
            runtime: Handle::current(),
        })
    }
}

fn with_tls(config: &Opts, tls: Option<SslOpts>) -> Opts {
    OptsBuilder::from_opts(config.clone()).ssl_opts(tls).into()
}

/// TLS that verifies the server's certificate, and the host's name in it.
fn tls_options(roots: &TlsRoots) -> Result<SslOpts, String> {
    // The driver takes the process's. It fails if one is installed already.
    drop(aws_lc_rs::default_provider().install_default());
    let roots = trusted_roots(roots)?;
    let roots = roots
        .into_iter()
        .map(|certificate| certificate.to_vec().into());
    Ok(SslOpts::default()
        .with_disable_built_in_roots(true)
        .with_root_certs(roots.collect()))
}

impl Access {
    /// The first host that takes writes.
    async fn connect(self) -> Result<PooledConnection, ConnectError> {
        let password = password(self.password_file.as_ref()).await?;
        let password = password.map(String::from_utf8).transpose().map_err(|_| {
            ConnectError::Server("the password in store.password_file is no UTF-8".to_owned())
        })?;
        first_primary(self.configs, |config| {
            connect(OptsBuilder::from_opts(config).pass(password.clone()).into())
        })
        .await
    }
}

async fn connect(config: Opts) -> Result<PooledConnection, ConnectError> {
    let mut connection = PooledConnection {
        connection: Conn::new(config)
            .await
            .map_err(|error| server_error(&error))?,
        is_usable: true,
        max_packet: 0,
    };
    let rows = connection.run(&statements::set_up()).await;
    let rows = rows.map_err(|failed| server_error(&failed.error))?;
    let row = rows.first();
    if row.and_then(|row| column(row, 0)) != Some(true) {
        return Err(ConnectError::NotPrimary);
    }
    connection.max_packet = row.and_then(|row| column(row, 1)).unwrap_or_default();
    Ok(connection)
}

fn server_error(error: &Error) -> ConnectError {
    ConnectError::Server(describe(error))
}

/// A connection.
pub(super) struct PooledConnection {
    connection: Conn,
    /// Nothing is under way on it, and no transaction is open.
    is_usable: bool,
    /// Most bytes of a text that the server takes.
    max_packet: usize,
}

/// A batch that did not come to its end.
pub(super) struct BatchError {
    /// Which of its statements failed, from 0 on.
    pub(super) at: usize,
    pub(super) error: Error,
}

impl PooledConnection {
    pub(super) const fn max_packet(&self) -> usize {
        self.max_packet
    }

    /// Carries out statements in one round trip; the rows of the one that answers. After an error, and where
    /// this is cancelled, the connection is not used again.
    pub(super) async fn run(&mut self, batch: &Batch) -> Result<Vec<Row>, BatchError> {
        self.is_usable = false;
        let mut at = 0;
        let rows = self.collect(batch, &mut at).await;
        let rows = rows.map_err(|error| BatchError { at, error })?;
        self.is_usable = true;
        Ok(rows)
    }

    async fn collect(&mut self, batch: &Batch, at: &mut usize) -> Result<Vec<Row>, Error> {
        let mut results = self.connection.query_iter(batch.text.as_str()).await?;
        let mut answer = Vec::new();
        for next in 0..batch.count {
            *at = next;
            let rows = results.collect().await?;
            if next == batch.answer {
                answer = rows;
            }
        }
        Ok(answer)
    }

    /// Ends a transaction that a failed batch may have left open, so that the connection can be used
    /// again.
    pub(super) async fn roll_back(&mut self) {
        // If it fails or takes too long, the connection is closed, which ends the transaction too.
        let _ = timeout(PING_TIMEOUT, self.run(&Batch::new("ROLLBACK"))).await;
    }
}

impl Manager for Connector {
    type Type = PooledConnection;
    type Error = ConnectError;

    async fn create(&self) -> Result<PooledConnection, ConnectError> {
        let connecting = self.runtime.spawn(self.access.clone().connect());
        connecting
            .await
            .unwrap_or_else(|error| Err(ConnectError::Server(error.to_string())))
    }

    async fn recycle(
        &self,
        connection: &mut PooledConnection,
        metrics: &Metrics,
    ) -> RecycleResult<ConnectError> {
        if !connection.is_usable {
            return Err(RecycleError::message("in use"));
        }
        if metrics.last_used() > IDLE_TIMEOUT {
            let ping = timeout(PING_TIMEOUT, connection.connection.ping()).await;
            if !matches!(ping, Ok(Ok(()))) {
                return Err(RecycleError::message("closed"));
            }
        }
        Ok(())
    }
}

/// The value of a column; `None`: it is NULL, or something else.
pub(super) fn column<T: mysql_async::prelude::FromValue>(row: &Row, at: usize) -> Option<T> {
    row.get_opt(at)?.ok()
}

/// The number of an error that the server itself reports.
pub(super) fn code(error: &Error) -> Option<u16> {
    match error {
        Error::Server(reported) => Some(reported.code),
        _ => None,
    }
}

/// An error for the log: the server's message and number, or what happened to the connection. Never
/// a message that quotes the statement or a value in it.
pub(super) fn describe(error: &Error) -> String {
    // A duplicate key; a syntax error; a value that is truncated, incorrect or out of range.
    const QUOTING: [u16; 5] = [1062, 1064, 1292, 1366, 1690];
    if let Error::Server(reported) = error {
        if QUOTING.contains(&reported.code) {
            return format!("error {} of the server", reported.code);
        }
        return format!("{} (error {})", reported.message, reported.code);
    }
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // The driver's errors repeat their causes.
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
