//! PostgreSQL, version 13 and later, as a [`SharedEngine`]: one table of sealed records, and one
//! function that commits.
//!
//! Everything runs at READ COMMITTED. The serializable level would be right too, but it locks pages
//! and gaps, so that it aborts transactions of different users. Instead a commit takes advisory
//! locks on the names of its keys, those of absent records included, and only then compares
//! versions: `menshen_commit` is VOLATILE, so each statement in it sees what was committed before
//! that statement began, and the locks end when the commit is visible.
//!
//! Every call is one statement on a connection of the pool, with its parameters beside it, so that
//! PgBouncer in transaction mode may stand in between.

mod commit_call;
mod connection;
mod hints;
mod name;
mod schema;
mod statements;
#[cfg(test)]
pub(in crate::store) mod tests;
mod url;

use std::{collections::BTreeMap, path::Path};

use async_trait::async_trait;
use deadpool::managed::{Object, Pool};
use tokio::time::timeout;
use tokio_postgres::{
    Client, Row,
    error::SqlState,
    types::{FromSql, ToSql, Type},
};

use self::{
    commit_call::CommitCall,
    connection::{Connector, drain},
    hints::Hints,
    name::NAME,
    statements::{COMMIT, GET, READ, READY, SCAN, SIZE},
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
        open_in_time, prefix_end, read_result,
    },
};
use crate::types::Timestamp;

pub(in crate::store) use self::url::PostgresUrl;

type Connection = Object<Connector>;

/// Records in a database of PostgreSQL.
pub(in crate::store) struct Postgres {
    pool: Pool<Connector>,
    hints: Hints,
}

impl Postgres {
    /// For the database that the URL names, with at most so many connections. Connects to nothing
    /// yet. A task of the current tokio runtime serves each connection that is made.
    pub(in crate::store) fn new(
        url: &PostgresUrl,
        password_file: Option<&Path>,
        connections: usize,
    ) -> Result<Self, OpenError> {
        let connector = Connector::new(url, password_file)?;
        let pool =
            database::pool(connector, connections).map_err(|error| NAME.unsuitable(error))?;
        Ok(Self {
            pool,
            hints: Hints::default(),
        })
    }

    /// Checks the server and makes or migrates the tables, if this role may. Repeating it does
    /// nothing.
    pub(in crate::store) async fn prepare(&self) -> Result<(), OpenError> {
        open_in_time(NAME, async {
            let mut connection = database::first_connection(&self.pool, NAME).await?;
            schema::check_server(connection.client()).await?;
            schema::migrate(connection.client_mut()).await
        })
        .await
    }

    /// Checks the server, and the tables if they are there; changes nothing.
    pub(in crate::store) async fn check(&self) -> Result<(), OpenError> {
        open_in_time(NAME, async {
            let connection = database::first_connection(&self.pool, NAME).await?;
            schema::check_server(connection.client()).await?;
            schema::found_version(connection.client()).await.map(drop)
        })
        .await
    }

    /// Checks the server, and that the tables are there; changes nothing.
    pub(in crate::store) async fn require_tables(&self) -> Result<(), OpenError> {
        open_in_time(NAME, async {
            let connection = database::first_connection(&self.pool, NAME).await?;
            schema::check_server(connection.client()).await?;
            schema::require_tables(connection.client()).await
        })
        .await
    }

    /// Whether hints arrive here, where there are tables. `None`: that could not be tried.
    pub(in crate::store) async fn try_hints(&self) -> Option<bool> {
        hints::try_once(&self.pool).await
    }

    async fn connection(&self) -> Result<Connection, EngineError> {
        database::connection(&self.pool).await
    }

    /// Runs a statement that only reads, a second time on another connection if the first one leads
    /// to a server that is not the primary any more. The row without a key says that.
    async fn read_rows(
        &self,
        sql: &str,
        parameters: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Vec<Row>, EngineError> {
        for _ in 0..2 {
            let rows = self.query(sql, parameters).await?;
            // Few rows have no key, so few values are looked at.
            let mut is_stale = false;
            for row in &rows {
                is_stale |= column::<Option<&[u8]>>(row, 0)?.is_none()
                    && column::<Option<&[u8]>>(row, 2)?.is_some();
            }
            if !is_stale {
                return Ok(rows);
            }
            self.pool.retain(|_, _| false);
        }
        tracing::warn!("a read of the store reached a server that is not the primary");
        Err(READ_ONLY)
    }

    /// Runs a statement that only reads, a second time on another connection if the first one is
    /// lost.
    async fn query(
        &self,
        sql: &str,
        parameters: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Vec<Row>, EngineError> {
        let mut tries = 2;
        loop {
            tries -= 1;
            let connection = self.connection().await?;
            let query = connection.query(sql, parameters);
            let Ok(answer) = timeout(READ_TIMEOUT, query).await else {
                drain(connection);
                tracing::warn!(timeout = ?READ_TIMEOUT, "the store's database does not answer");
                return Err(UNREACHABLE);
            };
            match answer {
                Ok(rows) => return Ok(rows),
                Err(error) if is_lost(&error) && tries > 0 => self.discard_broken(connection),
                Err(error) => return Err(self.read_failed(&error, connection)),
            }
        }
    }

    fn read_failed(&self, error: &tokio_postgres::Error, connection: Connection) -> EngineError {
        tracing::warn!(error = %connection::describe(error), "a read of the store failed");
        if is_lost(error) {
            self.discard_broken(connection);
        }
        UNREACHABLE
    }

    /// Removes a connection that is broken, and those like it: the server probably restarted.
    fn discard_broken(&self, connection: Connection) {
        discard(connection);
        self.pool
            .retain(|connection, _| !connection.client().is_closed());
    }

    /// What an error says of a commit. Only an error that the server itself reports at the level
    /// ERROR means that the transaction ended without effect.
    fn commit_failed(
        &self,
        error: &tokio_postgres::Error,
        connection: Connection,
    ) -> Result<CommitOutcome, EngineError> {
        let Some(reported) = error.as_db_error().filter(|_| !is_lost(error)) else {
            tracing::warn!(error = %connection::describe(error), "a commit's outcome is unknown");
            self.discard_broken(connection);
            return Ok(CommitOutcome::Unknown);
        };
        let code = reported.code();
        if is_conflict(code) {
            return Ok(CommitOutcome::Conflict);
        }
        tracing::warn!(error = %connection::describe(error), "a commit was refused");
        if *code == SqlState::READ_ONLY_SQL_TRANSACTION {
            // The primary is another server now: all connections lead to the old one.
            discard(connection);
            self.pool.retain(|_, _| false);
            return Err(READ_ONLY);
        }
        Err(EngineError::Refused(
            "the database refused a commit: see the log",
        ))
    }
}

/// Whether the connection is gone, so that the outcome of its statement is not known: no report of
/// the server, or one that ended the session (class 08; 57P01 to 57P05), or one that says that it
/// does not know either (40003).
fn is_lost(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_none_or(|reported| {
        let code = reported.code();
        !matches!(
            reported.parsed_severity(),
            Some(tokio_postgres::error::Severity::Error)
        ) || code.code().starts_with("08")
            || code.code().starts_with("57P")
            // It is in a transaction, which no statement of this engine leaves open.
            || (code.code().starts_with("25") && *code != SqlState::READ_ONLY_SQL_TRANSACTION)
            || *code == SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN
            // The session does not know the statement any more, or not as it was.
            || [SqlState::INVALID_SQL_STATEMENT_NAME, SqlState::FEATURE_NOT_SUPPORTED].contains(code)
    })
}

/// Whether the server ended the transaction because of another one.
fn is_conflict(code: &SqlState) -> bool {
    [
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::LOCK_NOT_AVAILABLE,
    ]
    .contains(code)
}

#[async_trait]
impl SharedEngine for Postgres {
    fn name(&self) -> &'static str {
        NAME.0
    }

    async fn read(
        &self,
        values: &[Vec<u8>],
        versions: &[Vec<u8>],
    ) -> Result<ReadResult, EngineError> {
        let parameters: [(&(dyn ToSql + Sync), Type); 2] =
            [(&values, Type::BYTEA_ARRAY), (&versions, Type::BYTEA_ARRAY)];
        let (mut found, mut time) = (BTreeMap::new(), None);
        for row in self.read_rows(READ, &parameters).await? {
            if let Some(key) = column::<Option<Vec<u8>>>(&row, 0)? {
                let (version, value) = (Version::from_i64(column(&row, 1)?), column(&row, 2)?);
                found.insert(key, Versioned { version, value });
            } else {
                time = u64::try_from(column::<i64>(&row, 1)?).ok();
            }
        }
        let time = time
            .map(Timestamp::from_millis)
            .ok_or(EngineError::Refused("the database's clock cannot be read"))?;
        Ok(read_result(found, time, values, versions))
    }

    async fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<VersionedPairs, EngineError> {
        let scan = Scan::new(prefix, after, limit);
        let rows = self.read_rows(SCAN, &scan.parameters()).await?;
        rows.iter().map(read_row).collect()
    }

    async fn commit(&self, commit: &Commit) -> Result<CommitOutcome, EngineError> {
        let call = CommitCall::new(commit);
        let connection = self.connection().await?;
        let parameters = call.parameters();
        let query = connection.query(COMMIT, &parameters);
        let Ok(answer) = timeout(COMMIT_TIMEOUT, query).await else {
            drain(connection);
            tracing::warn!(timeout = ?COMMIT_TIMEOUT, "a commit's outcome is unknown");
            return Ok(CommitOutcome::Unknown);
        };
        let rows = match answer {
            Ok(rows) => rows,
            Err(error) => return self.commit_failed(&error, connection),
        };
        if connection.take_unreplicated() {
            tracing::warn!("a commit waited for a standby in vain: its outcome is unknown");
            return Ok(CommitOutcome::Unknown);
        }
        let is_committed = rows.first().and_then(|row| row.try_get(0).ok());
        match is_committed {
            Some(Some(true)) => Ok(CommitOutcome::Committed),
            Some(Some(false)) => Ok(CommitOutcome::Conflict),
            Some(None) => Err(NOT_DURABLE),
            None => Ok(CommitOutcome::Unknown),
        }
    }

    async fn snapshot(&self) -> Result<Box<dyn SharedSnapshot>, EngineError> {
        let connection = self.connection().await?;
        // The moment is that of the first query, not of BEGIN.
        let begin =
            "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; SELECT FROM menshen_records LIMIT 1";
        // Closes the connection if this is cancelled, with the transaction that may have begun.
        let snapshot = PostgresSnapshot(Some(connection));
        match timeout(READ_TIMEOUT, snapshot.client()?.batch_execute(begin)).await {
            Ok(Ok(())) => Ok(Box::new(snapshot)),
            Ok(Err(error)) => {
                tracing::warn!(error = %connection::describe(&error), "a snapshot of the store failed");
                Err(UNREACHABLE)
            }
            Err(_) => Err(UNREACHABLE),
        }
    }

    async fn ready(&self) -> Result<(), EngineError> {
        let rows = self.query(READY, &[]).await?;
        let row = rows.first();
        match row.and_then(|row| Some((row.try_get(0).ok()?, row.try_get(1).ok()?))) {
            Some((true, false)) => Ok(()),
            Some((true, true)) => Err(NOT_DURABLE),
            Some((false, _)) | None => {
                // What is idle leads to a server that is not the primary any more.
                self.pool.retain(|_, _| false);
                Err(READ_ONLY)
            }
        }
    }

    async fn size_bytes(&self) -> Result<u64, EngineError> {
        let rows = self.query(SIZE, &[]).await?;
        let size: Option<i64> = rows.first().and_then(|row| row.try_get(0).ok());
        Ok(size
            .and_then(|size| size.try_into().ok())
            .unwrap_or_default())
    }

    fn connections(&self) -> Option<ConnectionPool> {
        Some(database::connections(&self.pool))
    }

    async fn send_hint(&self) {
        self.hints.send(&self.pool).await;
    }

    fn hints_arrive(&self) -> Option<bool> {
        self.hints.arrive()
    }

    async fn wait_for_hint(&self) {
        self.hints.wait(&self.pool).await;
    }

    async fn close(&self) -> Result<(), EngineError> {
        self.pool.close();
        Ok(())
    }
}

/// A transaction that sees one moment. Its connection is closed when it is dropped, which ends the
/// transaction.
struct PostgresSnapshot(Option<Connection>);

impl PostgresSnapshot {
    fn client(&self) -> Result<&Client, EngineError> {
        let connection = self.0.as_ref().ok_or(EngineError::Closed)?;
        Ok(connection.client())
    }

    async fn query(
        &self,
        sql: &str,
        parameters: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Vec<Row>, EngineError> {
        let query = self.client()?.query_typed(sql, parameters);
        match timeout(READ_TIMEOUT, query).await {
            Ok(Ok(rows)) => Ok(rows),
            Ok(Err(error)) => {
                tracing::warn!(error = %connection::describe(&error), "a read of the store failed");
                Err(UNREACHABLE)
            }
            Err(_) => Err(UNREACHABLE),
        }
    }
}

impl Drop for PostgresSnapshot {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            discard(connection);
        }
    }
}

#[async_trait]
impl SharedSnapshot for PostgresSnapshot {
    async fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        let rows = self.query(GET, &[(&key, Type::BYTEA)]).await?;
        let record = rows.first().map(read_row).transpose()?;
        Ok(record.and_then(|(_, record)| record.value))
    }

    async fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, EngineError> {
        let scan = Scan::new(prefix, after, limit);
        let rows = self.query(SCAN, &scan.parameters()).await?;
        let pair = |row| {
            let (key, record) = read_row(row)?;
            Ok((key, record.value.unwrap_or_default()))
        };
        rows.iter().map(pair).collect()
    }
}

/// Key, version, and the value unless only the version was asked for.
fn read_row(row: &Row) -> Result<(Vec<u8>, Versioned), EngineError> {
    let version = Version::from_i64(column(row, 1)?);
    let value = column(row, 2)?;
    Ok((column(row, 0)?, Versioned { version, value }))
}

fn column<'a, T: FromSql<'a>>(row: &'a Row, at: usize) -> Result<T, EngineError> {
    row.try_get(at)
        .map_err(|error| EngineError::Fault(format!("the table menshen_records: {error}")))
}

/// The parameters of [`SCAN`].
struct Scan<'a> {
    prefix: &'a [u8],
    /// The first bytes that are behind all that begins with the prefix; `None`: there are none.
    end: Option<Vec<u8>>,
    after: Option<&'a [u8]>,
    limit: i64,
}

impl<'a> Scan<'a> {
    fn new(prefix: &'a [u8], after: Option<&'a [u8]>, limit: usize) -> Self {
        Self {
            prefix,
            end: prefix_end(prefix),
            after,
            limit: i64::try_from(limit).unwrap_or(i64::MAX),
        }
    }

    fn parameters(&self) -> [(&(dyn ToSql + Sync), Type); 4] {
        [
            (&self.prefix, Type::BYTEA),
            (&self.end, Type::BYTEA),
            (&self.after, Type::BYTEA),
            (&self.limit, Type::INT8),
        ]
    }
}
