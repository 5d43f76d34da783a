//! MySQL, version 8 and later, and MariaDB, version 10.6 and later, as a [`SharedEngine`]: a table of
//! sealed records, and a table of slots to lock.
//!
//! Everything runs at READ COMMITTED. The serializable level would be right too, but it locks gaps,
//! so that it aborts transactions of different users, and row locks do not lock what is not there.
//! Instead a commit locks the slots of its keys, which are rows that always exist, and only then
//! compares versions: at this level each statement sees what was committed before it began, and the
//! locks end when the commit is visible.
//!
//! Every call is one text on a connection of the pool, so one round trip; a commit is a text of
//! several statements, of which the server carries out none after one that failed. A second text
//! follows where a read finds nothing, and where a commit did not happen.

mod connection;
mod errors;
mod name;
mod schema;
mod statements;
#[cfg(test)]
pub(in crate::store) mod tests;
mod url;

use std::{path::Path, time::Duration};

use async_trait::async_trait;
use deadpool::managed::{Object, Pool};
use mysql_async::{Row, Value};
use tokio::{sync::Mutex, time::timeout};

use self::{
    connection::{BatchError, Connector, column, describe},
    errors::{is_changed, is_conflict, is_lost, is_not_primary},
    name::NAME,
    statements::Batch,
};
use super::{
    super::{
        OpenError,
        engine::{
            Commit, CommitOutcome, ConnectionPool, Pair, ReadResult, SharedEngine, SharedSnapshot,
            Version, Versioned, VersionedPairs,
        },
        error::EngineError,
    },
    database::{
        self, COMMIT_TIMEOUT, NOT_DURABLE, READ_ONLY, READ_TIMEOUT, UNREACHABLE, discard,
        open_in_time, read_result,
    },
};
use crate::types::Timestamp;

pub(in crate::store) use self::url::MysqlUrl;

/// How long a connection whose call was given up is kept for the server's answer.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
const TOO_LARGE: EngineError =
    EngineError::Refused("a commit is larger than the database takes: see max_allowed_packet");
const REFUSED: EngineError = EngineError::Refused("the database refused a commit: see the log");

type Connection = Object<Connector>;

/// Records in a database of MySQL or MariaDB.
pub(in crate::store) struct Mysql {
    pool: Pool<Connector>,
}

impl Mysql {
    /// For the database that the URL names, with at most so many connections. Connects to nothing
    /// yet. The current tokio runtime serves the connections.
    pub(in crate::store) fn new(
        url: &MysqlUrl,
        password_file: Option<&Path>,
        connections: usize,
    ) -> Result<Self, OpenError> {
        let connector = Connector::new(url, password_file)?;
        let pool =
            database::pool(connector, connections).map_err(|error| NAME.unsuitable(error))?;
        Ok(Self { pool })
    }

    /// Checks the server and makes or migrates the tables, if this role may. Repeating it does
    /// nothing.
    pub(in crate::store) async fn prepare(&self) -> Result<(), OpenError> {
        open_in_time(NAME, async {
            schema::check_server(&mut *self.first_connection().await?).await?;
            schema::migrate(&self.pool).await?;
            schema::check_tables(&mut *self.first_connection().await?).await
        })
        .await
    }

    /// Checks the server, and the tables if they are there; changes nothing.
    pub(in crate::store) async fn check(&self) -> Result<(), OpenError> {
        open_in_time(NAME, async {
            schema::check_server(&mut *self.first_connection().await?).await?;
            if schema::is_migrated(&self.pool).await? {
                schema::check_tables(&mut *self.first_connection().await?).await?;
            }
            Ok(())
        })
        .await
    }

    /// Checks the server, and that the tables are there; changes nothing.
    pub(in crate::store) async fn require_tables(&self) -> Result<(), OpenError> {
        open_in_time(NAME, async {
            schema::check_server(&mut *self.first_connection().await?).await?;
            if schema::is_migrated(&self.pool).await? {
                return Ok(());
            }
            Err(NAME.no_tables())
        })
        .await
    }

    async fn first_connection(&self) -> Result<Connection, OpenError> {
        database::first_connection(&self.pool, NAME).await
    }

    /// Reads records, a second time on another connection if the first one leads to a server that is
    /// not the primary any more.
    async fn read_records(&self, batch: &Batch) -> Result<Records, EngineError> {
        for _ in 0..2 {
            let mut rows = self.query(batch).await?;
            if rows.is_empty() {
                rows = self.query(&statements::with_row_of_none(batch)).await?;
            }
            let records = Records::from_rows(rows)?;
            if records.of_primary {
                return Ok(records);
            }
            self.pool.retain(|_, _| false);
        }
        tracing::warn!("a read of the store reached a server that is not the primary");
        Err(READ_ONLY)
    }

    /// Runs a batch that only reads, a second time on another connection if the first one is lost.
    async fn query(&self, batch: &Batch) -> Result<Vec<Row>, EngineError> {
        let mut tries = 2;
        loop {
            tries -= 1;
            let mut connection = database::connection(&self.pool).await?;
            let Ok(answer) = timeout(READ_TIMEOUT, connection.run(batch)).await else {
                discard(connection);
                tracing::warn!(timeout = ?READ_TIMEOUT, "the store's database does not answer");
                return Err(UNREACHABLE);
            };
            let failed = match answer {
                Ok(rows) => return Ok(rows),
                Err(failed) => failed,
            };
            let is_lost = is_lost(&failed.error);
            if is_lost {
                self.discard_all(connection);
            }
            if !is_lost || tries == 0 {
                tracing::warn!(error = %describe(&failed.error), "a read of the store failed");
                return Err(UNREACHABLE);
            }
        }
    }

    /// Removes a connection that is broken or leads to the wrong server, and all that are idle: they
    /// probably are the same.
    fn discard_all(&self, connection: Connection) {
        discard(connection);
        self.pool.retain(|_, _| false);
    }

    /// What an error says of a commit. Of a statement before the COMMIT it means that nothing happened,
    /// because the server stops there; of the COMMIT itself it says nothing certain.
    async fn commit_failed(
        &self,
        failed: BatchError,
        commit_index: usize,
        mut connection: Connection,
    ) -> Result<CommitOutcome, EngineError> {
        let BatchError { at, error } = failed;
        if is_lost(&error) || at >= commit_index {
            tracing::warn!(error = %describe(&error), "a commit's outcome is unknown");
            self.discard_all(connection);
            return Ok(CommitOutcome::Unknown);
        }
        if is_changed(&error) {
            return self.not_committed(connection).await;
        }
        if is_conflict(&error) {
            // After a time-out of a lock the transaction is still open.
            connection.roll_back().await;
            return Ok(CommitOutcome::Conflict);
        }
        tracing::warn!(error = %describe(&error), "a commit was refused");
        if is_not_primary(&error) {
            self.discard_all(connection);
            return Err(READ_ONLY);
        }
        discard(connection);
        Err(REFUSED)
    }

    /// Ends a commit that did not happen, and finds out why, as its server says. If it does not say so,
    /// the next attempt meets what is wrong.
    async fn not_committed(
        &self,
        mut connection: Connection,
    ) -> Result<CommitOutcome, EngineError> {
        let answer = timeout(READ_TIMEOUT, connection.run(&statements::roll_back())).await;
        let Ok(Ok(rows)) = answer else {
            discard(connection);
            return Ok(CommitOutcome::Conflict);
        };
        let readiness = readiness(&rows);
        if readiness == Err(READ_ONLY) {
            // The primary is another server now: all connections lead to the old one.
            self.discard_all(connection);
        }
        readiness.map(|()| CommitOutcome::Conflict)
    }
}

#[async_trait]
impl SharedEngine for Mysql {
    fn name(&self) -> &'static str {
        NAME.0
    }

    async fn read(
        &self,
        values: &[Vec<u8>],
        versions: &[Vec<u8>],
    ) -> Result<ReadResult, EngineError> {
        let read = statements::read(values, versions);
        let Records { found, time, .. } = self.read_records(&read).await?;
        let found = found.into_iter().collect();
        Ok(read_result(found, time, values, versions))
    }

    async fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<VersionedPairs, EngineError> {
        let scan = statements::scan(prefix, after, limit);
        self.read_records(&scan).await.map(|records| records.found)
    }

    async fn commit(&self, commit: &Commit) -> Result<CommitOutcome, EngineError> {
        let batch = statements::commit(commit);
        let mut connection = database::connection(&self.pool).await?;
        if batch.text.len() >= connection.max_packet() {
            tracing::warn!(
                bytes = batch.text.len(),
                "a commit is larger than max_allowed_packet"
            );
            return Err(TOO_LARGE);
        }
        let commit_index = statements::commit_index(&batch);
        let mut call = Box::pin(async move {
            let answer = connection.run(&batch).await;
            (connection, answer)
        });
        let Ok((connection, answer)) = timeout(COMMIT_TIMEOUT, &mut call).await else {
            // It is not cancelled. Until the server answers, the connection counts as one of the pool.
            tokio::spawn(timeout(DRAIN_TIMEOUT, call));
            tracing::warn!(timeout = ?COMMIT_TIMEOUT, "a commit's outcome is unknown");
            return Ok(CommitOutcome::Unknown);
        };
        match answer {
            Ok(_) => Ok(CommitOutcome::Committed),
            Err(failed) => self.commit_failed(failed, commit_index, connection).await,
        }
    }

    async fn snapshot(&self) -> Result<Box<dyn SharedSnapshot>, EngineError> {
        let connection = database::connection(&self.pool).await?;
        // Closes the connection if this is cancelled, with the transaction that may have begun.
        let snapshot = MysqlSnapshot(Mutex::new(Some(connection)));
        let rows = snapshot.query(&statements::snapshot()).await?;
        if rows.first().and_then(|row| column(row, 0)) != Some(true) {
            return Err(READ_ONLY);
        }
        Ok(Box::new(snapshot))
    }

    async fn ready(&self) -> Result<(), EngineError> {
        let rows = self.query(&statements::is_ready()).await?;
        let readiness = readiness(&rows);
        if readiness == Err(READ_ONLY) {
            // What is idle leads to a server that is not the primary any more.
            self.pool.retain(|_, _| false);
        }
        readiness
    }

    async fn size_bytes(&self) -> Result<u64, EngineError> {
        let rows = self.query(&statements::size()).await?;
        let size = rows.first().and_then(|row| column(row, 0));
        Ok(size.unwrap_or_default())
    }

    fn connections(&self) -> Option<ConnectionPool> {
        Some(database::connections(&self.pool))
    }

    async fn close(&self) -> Result<(), EngineError> {
        self.pool.close();
        Ok(())
    }
}

/// A transaction that sees one moment. Its connection is closed when it is dropped, which ends the
/// transaction.
struct MysqlSnapshot(Mutex<Option<Connection>>);

impl MysqlSnapshot {
    async fn query(&self, batch: &Batch) -> Result<Vec<Row>, EngineError> {
        let mut connection = self.0.lock().await;
        let connection = connection.as_mut().ok_or(EngineError::Closed)?;
        match timeout(READ_TIMEOUT, connection.run(batch)).await {
            Ok(Ok(rows)) => Ok(rows),
            Ok(Err(failed)) => {
                tracing::warn!(error = %describe(&failed.error), "a read of the store failed");
                Err(UNREACHABLE)
            }
            Err(_) => Err(UNREACHABLE),
        }
    }
}

impl Drop for MysqlSnapshot {
    fn drop(&mut self) {
        if let Some(connection) = self.0.get_mut().take() {
            discard(connection);
        }
    }
}

#[async_trait]
impl SharedSnapshot for MysqlSnapshot {
    async fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        let rows = self.query(&statements::read(&[key.to_vec()], &[])).await?;
        let row = rows.into_iter().next();
        Ok(row
            .map(read_row)
            .transpose()?
            .and_then(|(_, record)| record.value))
    }

    async fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, EngineError> {
        let rows = self.query(&statements::scan(prefix, after, limit)).await?;
        let pair = |row| {
            let (key, record) = read_row(row)?;
            Ok((key, record.value.unwrap_or_default()))
        };
        rows.into_iter().map(pair).collect()
    }
}

/// What the row of [`statements::is_ready`] says.
fn readiness(rows: &[Row]) -> Result<(), EngineError> {
    let row = rows.first();
    match row.and_then(|row| Some((column(row, 0)?, column(row, 1)?))) {
        Some((true, true)) => Ok(()),
        Some((true, false)) => Err(NOT_DURABLE),
        Some((false, _)) | None => Err(READ_ONLY),
    }
}

/// What a read found.
struct Records {
    found: VersionedPairs,
    /// The server's clock.
    time: Timestamp,
    /// Whether the server takes writes.
    of_primary: bool,
}

impl Records {
    /// Of rows, of which there is at least one. One may have no key, and so no record.
    fn from_rows(rows: Vec<Row>) -> Result<Self, EngineError> {
        let row = rows.first();
        let (time, of_primary) = row
            .and_then(|row| Some((column(row, 3)?, column(row, 4)?)))
            .ok_or_else(|| EngineError::Fault("the database has no clock".to_owned()))?;
        let has_key = |row: &Row| !matches!(row.as_ref(0), Some(Value::NULL));
        let found = rows.into_iter().filter(has_key).map(read_row);
        Ok(Self {
            found: found.collect::<Result<_, _>>()?,
            time: Timestamp::from_millis(time),
            of_primary,
        })
    }
}

/// Key, version, and the value unless only the version was asked for.
fn read_row(mut row: Row) -> Result<(Vec<u8>, Versioned), EngineError> {
    let mut columns = || {
        Some((
            row.take_opt(0)?.ok()?,
            row.take_opt(1)?.ok()?,
            row.take_opt(2)?.ok()?,
        ))
    };
    let (key, version, value) = columns().ok_or_else(|| {
        EngineError::Fault("the table menshen_records has other columns".to_owned())
    })?;
    let version = Version::from_i64(version);
    Ok((key, Versioned { version, value }))
}
