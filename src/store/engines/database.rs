//! What the engines that are databases have in common: a pool of connections, bounds on time,
//! errors, and how the result of a read is put together.

pub(super) mod open_error;
#[cfg(test)]
pub(super) mod tests;
pub(super) mod tls;
pub(in crate::store) mod url;

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use deadpool::managed::{Manager, Object, Pool, PoolError, QueueMode, TimeoutType, Timeouts};
use tokio::{fs, time::timeout};

use self::open_error::EngineName;
use super::super::{
    OpenError,
    engine::{ConnectionPool, ReadResult, Version, Versioned},
    error::EngineError,
};
use crate::types::Timestamp;

/// How long a call waits for a connection of the pool.
const POOL_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a connection to one host may take to be made: TCP, TLS, authentication.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// After so long a read is given up, with its connection.
pub(super) const READ_TIMEOUT: Duration = Duration::from_secs(3);
/// After so long the outcome of a commit counts as unknown. It is not cancelled: a commit that
/// waits for a standby has happened on the primary. Longer than a commit waits for a lock, and
/// short enough that its call has time to look for it.
pub(super) const COMMIT_TIMEOUT: Duration = Duration::from_secs(3);
/// After so long the opening is given up, to be tried again.
const OPEN_TIMEOUT: Duration = Duration::from_secs(15);

pub(super) const UNREACHABLE: EngineError = EngineError::Refused("the database cannot be reached");
pub(super) const READ_ONLY: EngineError =
    EngineError::Refused("the database takes no writes now: it is a standby, or read-only");
/// Settings were changed since the start: see docs/operations.md.
pub(super) const NOT_DURABLE: EngineError = EngineError::Refused(
    "the database would forget commits in a crash: its settings were changed, and `menshen doctor` says which",
);
const BUSY: EngineError =
    EngineError::Refused("all connections to the database are in use: see store.connections");

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

/// A pool of at most so many connections, which are made when they are needed.
pub(super) fn pool<M>(manager: M, connections: usize) -> Result<Pool<M>, String>
where
    M: Manager<Error = ConnectError>,
{
    Pool::builder(manager)
        .max_size(connections)
        .runtime(deadpool::Runtime::Tokio1)
        // What was used last is used next: where few are needed, few are warm in the server's caches.
        .queue_mode(QueueMode::Lifo)
        .timeouts(Timeouts {
            wait: Some(POOL_TIMEOUT),
            // `first_primary` bounds the time for each host.
            create: None,
            recycle: None,
        })
        .build()
        .map_err(|error| error.to_string())
}

/// A connection, or why there is none: the error of the operation that needs it.
pub(super) async fn connection<M>(pool: &Pool<M>) -> Result<Object<M>, EngineError>
where
    M: Manager<Error = ConnectError>,
{
    match pool.get().await {
        Ok(connection) => Ok(connection),
        Err(PoolError::Timeout(TimeoutType::Wait)) => Err(BUSY),
        Err(PoolError::Closed) => Err(EngineError::Closed),
        Err(PoolError::Backend(error)) => {
            tracing::warn!(%error, "no connection to the store's database");
            Err(match error {
                ConnectError::NotPrimary => READ_ONLY,
                ConnectError::Server(_) | ConnectError::PasswordFile(_) => UNREACHABLE,
            })
        }
        Err(_) => Err(UNREACHABLE),
    }
}

/// A connection to open the store with, or why it does not open.
pub(super) async fn first_connection<M>(
    pool: &Pool<M>,
    engine: EngineName,
) -> Result<Object<M>, OpenError>
where
    M: Manager<Error = ConnectError>,
{
    pool.get().await.map_err(|error| match error {
        PoolError::Backend(error) => engine.unavailable(error.to_string()),
        error => engine.unavailable(error.to_string()),
    })
}

/// The connections of a pool.
pub(super) fn connections<M: Manager>(pool: &Pool<M>) -> ConnectionPool {
    let status = pool.status();
    ConnectionPool {
        in_use: status.size.saturating_sub(status.available),
        idle: status.available,
        waiting: status.waiting,
    }
}

/// Closes a connection instead of giving it back.
pub(super) fn discard<M: Manager>(connection: Object<M>) {
    drop(Object::take(connection));
}

/// Connects to the first host that takes writes. Each has its time, one after the other.
pub(super) async fn first_primary<C, T, F>(
    configs: Vec<C>,
    connect: impl Fn(C) -> F,
) -> Result<T, ConnectError>
where
    F: Future<Output = Result<T, ConnectError>>,
{
    let mut failed = ConnectError::Server("it does not answer".to_owned());
    for config in configs {
        match timeout(CONNECT_TIMEOUT, connect(config)).await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(error)) => failed = error,
            Err(_) => {}
        }
    }
    Err(failed)
}

/// The password in this file, without the end of its line. Read for each connection: a password
/// that was changed is used without a restart.
pub(super) async fn password(file: Option<&PathBuf>) -> Result<Option<Vec<u8>>, ConnectError> {
    let Some(path) = file else { return Ok(None) };
    let text = fs::read(path).await.map_err(ConnectError::PasswordFile)?;
    Ok(Some(text.trim_ascii_end().to_vec()))
}

/// Gives up what opens a store after [`OPEN_TIMEOUT`].
pub(super) async fn open_in_time<T>(
    engine: EngineName,
    opening: impl Future<Output = Result<T, OpenError>>,
) -> Result<T, OpenError> {
    // On the heap: all that opens a store would have it within.
    timeout(OPEN_TIMEOUT, Box::pin(opening))
        .await
        .unwrap_or_else(|_| Err(engine.unavailable("it does not answer")))
}

/// What a read gives: the records that were found, in the order in which they were asked for, and the
/// server's clock.
pub(super) fn read_result(
    mut found: BTreeMap<Vec<u8>, Versioned>,
    time: Timestamp,
    values: &[Vec<u8>],
    versions: &[Vec<u8>],
) -> ReadResult {
    let version = |key| {
        found
            .get(key)
            .map_or(Version::ABSENT, |record: &Versioned| record.version)
    };
    let versions = versions.iter().map(version).collect();
    let values = values
        .iter()
        .map(|key| found.remove(key).unwrap_or(Versioned::ABSENT))
        .collect();
    ReadResult {
        values,
        versions,
        time,
    }
}

/// The smallest key that is behind every key with this prefix; `None`: there is none.
pub(super) fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}
