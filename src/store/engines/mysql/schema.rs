//! The tables, and what the server has to be.

use std::collections::BTreeMap;

use deadpool::managed::Pool;
use mysql_async::Row;

use super::{
    connection::{BatchError, Connector, PooledConnection, column, describe},
    errors::{is_changed, is_conflict, is_denied, is_no_such_table},
    name::NAME,
    statements::{self, Batch, SLOTS},
};
use crate::store::{
    OpenError,
    engine::{Changes, Commit, FENCE, Version},
    engines::database,
    open_options::FORMAT,
};

/// The version of what [`migrations`] leave.
const SCHEMA_VERSION: i32 = 1;
/// What MySQL and MariaDB must be at least.
const MIN_MYSQL: (u32, u32) = (8, 0);
const MIN_MARIADB: (u32, u32) = (10, 6);
/// The smallest `max_allowed_packet`: fifty of the largest records fit, in hex.
const MIN_PACKET: u64 = 16 << 20;
/// What speaks the protocol, and is another database. Each says so in its version.
const OTHER_DATABASES: [&str; 5] = ["TiDB", "OceanBase", "Vitess", "SingleStore", "MemSQL"];

/// From each version of the tables to the next, as statements that may be repeated, also by several
/// processes at once: in MySQL a statement that changes a table commits, so no lock of a transaction
/// outlasts it, and named locks are not those of the database. The version is written when all of them
/// are done. What stands here has been run and never changes.
fn migrations() -> [Vec<String>; SCHEMA_VERSION as usize] {
    let slots: Vec<_> = (1..=SLOTS).map(|id| format!("({id})")).collect();
    [vec![
        "CREATE TABLE IF NOT EXISTS menshen_records (
            record_key VARBINARY(255) NOT NULL PRIMARY KEY,
            version BIGINT NOT NULL,
            value MEDIUMBLOB NOT NULL
        ) ENGINE = InnoDB ROW_FORMAT = DYNAMIC"
            .to_owned(),
        "CREATE TABLE IF NOT EXISTS menshen_slots (id SMALLINT UNSIGNED NOT NULL PRIMARY KEY) ENGINE = InnoDB"
            .to_owned(),
        format!("INSERT IGNORE INTO menshen_slots VALUES {}", slots.join(",")),
    ]]
}

/// Refuses what is no MySQL or MariaDB, what is too old, what locks nothing on other servers of its
/// cluster, and settings under which an acknowledged commit may be lost.
pub(super) async fn check_server(connection: &mut PooledConnection) -> Result<(), OpenError> {
    let settings = Settings::read(connection).await?;
    settings.check_version()?;
    settings.check_cluster()?;
    settings.check_durability()?;
    let max_packet = settings.get("max_allowed_packet");
    if max_packet
        .parse()
        .is_ok_and(|bytes: u64| bytes < MIN_PACKET)
    {
        return Err(NAME.unsuitable(format!(
            "max_allowed_packet is {max_packet} on the server, and menshen needs at least {MIN_PACKET}: SET GLOBAL \
             max_allowed_packet = {MIN_PACKET}, and write it into the server's configuration"
        )));
    }
    Ok(())
}

/// Variables of the server by name. Which of them exist depends on the server.
struct Settings(BTreeMap<String, String>);

impl Settings {
    async fn read(connection: &mut PooledConnection) -> Result<Self, OpenError> {
        let sql = "SHOW GLOBAL VARIABLES WHERE variable_name IN ('version', 'version_comment', 'wsrep_on', \
            'group_replication_single_primary_mode', 'innodb_flush_log_at_trx_commit', 'log_bin', 'sync_binlog', \
            'binlog_format', 'max_allowed_packet')";
        let rows = connection
            .run(&Batch::new(sql))
            .await
            .map_err(|failed| NAME.unavailable(describe(&failed.error)))?;
        let setting = |row: &Row| Some((column(row, 0)?, column(row, 1)?));
        Ok(Self(rows.iter().filter_map(setting).collect()))
    }

    fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    fn check_version(&self) -> Result<(), OpenError> {
        let (version, comment) = (self.get("version"), self.get("version_comment"));
        let is_other = |name: &&str| version.contains(*name) || comment.contains(*name);
        if OTHER_DATABASES.iter().any(is_other) {
            return Err(NAME.unsuitable(format!(
                "the server is {comment} {version}, and only MySQL and MariaDB themselves are known to lock and to commit as \
                 menshen needs it"
            )));
        }
        let (name, minimum) = if version.contains("MariaDB") {
            ("MariaDB", MIN_MARIADB)
        } else {
            ("MySQL", MIN_MYSQL)
        };
        let mut numbers = version
            .split(['.', '-'])
            .map_while(|part| part.parse().ok());
        let found = (
            numbers.next().unwrap_or_default(),
            numbers.next().unwrap_or_default(),
        );
        if found < minimum {
            return Err(NAME.unsuitable(format!(
                "the server is {name} {version}, and menshen needs {name} {}.{} or later",
                minimum.0, minimum.1
            )));
        }
        Ok(())
    }

    fn check_cluster(&self) -> Result<(), OpenError> {
        if self.get("wsrep_on") == "ON" {
            return Err(NAME.unsuitable(
                "the server is a node of a Galera cluster, whose nodes do not see each other's locks: use a server with \
                 replicas",
            ));
        }
        if self.get("group_replication_single_primary_mode") == "OFF" {
            return Err(NAME.unsuitable(
                "its group replication has several primaries, which do not see each other's locks: set \
                 group_replication_single_primary_mode to ON",
            ));
        }
        Ok(())
    }

    fn check_durability(&self) -> Result<(), OpenError> {
        let mut wrong = Vec::new();
        if self.get("innodb_flush_log_at_trx_commit") != "1" {
            wrong.push(("innodb_flush_log_at_trx_commit", "1"));
        }
        if self.get("log_bin") == "ON" {
            // A crash takes back what is not in the binary log.
            if self.get("sync_binlog") != "1" {
                wrong.push(("sync_binlog", "1"));
            }
            if self.get("binlog_format") == "STATEMENT" {
                wrong.push(("binlog_format", "ROW"));
            }
        }
        let Some((name, value)) = wrong.first() else {
            return Ok(());
        };
        let reason = if *name == "binlog_format" {
            "which takes no changes at READ COMMITTED"
        } else {
            "so that it forgets commits in a crash"
        };
        Err(NAME.unsuitable(format!(
            "{name} is {} on the server, {reason}: SET GLOBAL {name} = {value}, and write it into the server's configuration",
            self.get(name)
        )))
    }
}

/// Whether the tables are there, in this version.
pub(super) async fn is_migrated(pool: &Pool<Connector>) -> Result<bool, OpenError> {
    Ok(found_version(pool).await? == SCHEMA_VERSION)
}

/// Brings the tables to [`SCHEMA_VERSION`], however many processes start together.
pub(super) async fn migrate(pool: &Pool<Connector>) -> Result<(), OpenError> {
    let found = found_version(pool).await?;
    if found == SCHEMA_VERSION {
        return Ok(());
    }
    let from = usize::try_from(found).unwrap_or_default();
    let migrations = migrations();
    let made = "CREATE TABLE IF NOT EXISTS menshen_schema (id TINYINT NOT NULL PRIMARY KEY, version INT NOT NULL, \
        format INT NOT NULL) ENGINE = InnoDB";
    run_step(pool, made).await?;
    for step in migrations[from.min(migrations.len())..].iter().flatten() {
        run_step(pool, step).await?;
    }
    let done = format!(
        "INSERT INTO menshen_schema VALUES (1, {SCHEMA_VERSION}, {FORMAT}) \
         ON DUPLICATE KEY UPDATE version = GREATEST(version, {SCHEMA_VERSION})"
    );
    run_step(pool, &done).await
}

/// Runs a statement of a migration, again where another process is at the same.
async fn run_step(pool: &Pool<Connector>, step: &str) -> Result<(), OpenError> {
    loop {
        match run_apart(pool, step).await? {
            Ok(_) => return Ok(()),
            Err(BatchError { error, .. }) if is_conflict(&error) => {}
            Err(BatchError { error, .. }) if is_denied(&error) => {
                return Err(NAME.unsuitable(format!(
                    "its tables are missing or of an older version, and this role may not make or use them ({}): run `menshen \
                     store migrate` as a role that may make tables in this database, and grant this one what \
                     docs/operations.md says",
                    describe(&error)
                )));
            }
            Err(BatchError { error, .. }) => {
                return Err(
                    NAME.unavailable(format!("its tables cannot be made: {}", describe(&error)))
                );
            }
        }
    }
}

/// Runs a statement that may fail on a connection of its own: after a failure it is used no more.
async fn run_apart(
    pool: &Pool<Connector>,
    sql: &str,
) -> Result<Result<Vec<Row>, BatchError>, OpenError> {
    let mut connection = database::first_connection(pool, NAME).await?;
    Ok(connection.run(&Batch::new(sql)).await)
}

/// The version of the tables that are there; 0: none are, or this role may not see them. Refuses those
/// of a newer version, and records of another format.
async fn found_version(pool: &Pool<Connector>) -> Result<i32, OpenError> {
    let rows = match run_apart(pool, "SELECT version, format FROM menshen_schema").await? {
        Ok(rows) => rows,
        Err(BatchError { error, .. }) if is_no_such_table(&error) || is_denied(&error) => {
            return Ok(0);
        }
        Err(BatchError { error, .. }) => return Err(NAME.unavailable(describe(&error))),
    };
    let version = rows.first().and_then(|row| column(row, 0)).unwrap_or(0);
    NAME.check_format(rows.first().and_then(|row| column(row, 1)))?;
    if version > SCHEMA_VERSION {
        return Err(NAME.unsuitable(format!(
            "its tables are of version {version}, made by a newer menshen, and this one knows version {SCHEMA_VERSION}: use \
             the newer one"
        )));
    }
    Ok(version)
}

/// Refuses tables that do not lock, and a role that may not write them.
pub(super) async fn check_tables(connection: &mut PooledConnection) -> Result<(), OpenError> {
    let sql = "SELECT table_name, engine FROM information_schema.tables WHERE table_schema = DATABASE() \
        AND table_name IN ('menshen_records', 'menshen_slots', 'menshen_schema') AND engine <> 'InnoDB'";
    let rows = run(connection, &Batch::new(sql)).await?;
    if let Some((table, engine)) = rows
        .first()
        .and_then(|row| Some((column::<String>(row, 0)?, column::<String>(row, 1)?)))
    {
        return Err(NAME.unsuitable(format!(
            "the table {table} is on {engine}, which has no transactions: ALTER TABLE {table} ENGINE = InnoDB"
        )));
    }
    let rows = run(
        connection,
        &Batch::new("SELECT COUNT(*) FROM menshen_slots"),
    )
    .await?;
    let slots = rows.first().and_then(|row| column(row, 0));
    if slots != Some(u32::from(SLOTS)) {
        return Err(NAME.unsuitable(format!(
            "the table menshen_slots must have the ids 1 to {SLOTS}, which commits lock: stop all replicas, DROP TABLE \
             menshen_slots, menshen_schema, and run `menshen store migrate`; users are in neither"
        )));
    }
    run(connection, &statements::use_of_tables()).await?;
    check_comparison(connection).await
}

/// Refuses a server that would commit though something has changed.
async fn check_comparison(connection: &mut PooledConnection) -> Result<(), OpenError> {
    let changed = Commit {
        version: Version::ABSENT,
        reads: [(FENCE.to_vec(), Version::from_i64(-1))].into(),
        changes: Changes::new(),
        not_after: crate::types::Timestamp::default(),
    };
    let refused = connection.run(&statements::commit(&changed)).await;
    connection.roll_back().await;
    match refused {
        Err(failed) if is_changed(&failed.error) => Ok(()),
        Err(failed) => Err(NAME.unavailable(describe(&failed.error))),
        Ok(_) => Err(NAME.unsuitable(
            "the server calls no number out of range, by which commits are refused when something has changed",
        )),
    }
}

async fn run(connection: &mut PooledConnection, batch: &Batch) -> Result<Vec<Row>, OpenError> {
    connection.run(batch).await.map_err(|failed| {
        let why = describe(&failed.error);
        if is_denied(&failed.error) {
            NAME.unsuitable(format!(
                "this role may not use its tables ({why}): grant it what docs/operations.md says"
            ))
        } else {
            NAME.unavailable(why)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(changes: &[(&str, &str)]) -> Settings {
        let mut settings = BTreeMap::new();
        for (name, value) in [
            ("version", "8.4.3"),
            ("version_comment", "MySQL Community Server - GPL"),
            ("innodb_flush_log_at_trx_commit", "1"),
            ("log_bin", "ON"),
            ("sync_binlog", "1"),
            ("binlog_format", "ROW"),
        ]
        .iter()
        .chain(changes)
        {
            settings.insert((*name).to_owned(), (*value).to_owned());
        }
        Settings(settings)
    }

    fn check(changes: &[(&str, &str)]) -> Result<(), String> {
        let settings = settings(changes);
        settings
            .check_version()
            .and_then(|()| settings.check_cluster())
            .and_then(|()| settings.check_durability())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn servers_that_lock_and_keep_what_they_acknowledge_are_taken() {
        for changes in [
            &[][..],
            &[("version", "8.0.11")],
            &[("version", "10.6.0-MariaDB")],
            &[("version", "11.4.2-MariaDB-log")],
            &[("wsrep_on", "OFF")],
            &[("group_replication_single_primary_mode", "ON")],
            &[("log_bin", "OFF"), ("sync_binlog", "0")],
        ] {
            assert_eq!(check(changes), Ok(()), "{changes:?}");
        }
    }

    #[test]
    fn other_servers_are_refused_and_it_is_said_why() {
        for (changes, text) in [
            (&[("version", "5.7.44-log")][..], "MySQL 8.0 or later"),
            (&[("version", "10.5.9-MariaDB")], "MariaDB 10.6 or later"),
            (
                &[("version", "8.0.11-TiDB-v8.5.0")],
                "only MySQL and MariaDB",
            ),
            (
                &[("version_comment", "OceanBase_CE 4.3.5.0")],
                "only MySQL and MariaDB",
            ),
            (&[("wsrep_on", "ON")], "Galera"),
            (
                &[("group_replication_single_primary_mode", "OFF")],
                "several primaries",
            ),
            (
                &[("innodb_flush_log_at_trx_commit", "2")],
                "innodb_flush_log_at_trx_commit is 2",
            ),
            (&[("sync_binlog", "100")], "sync_binlog is 100"),
            (&[("binlog_format", "STATEMENT")], "READ COMMITTED"),
        ] {
            let refused = check(changes).expect_err(text);
            assert!(refused.contains(text), "{refused}");
        }
    }
}
