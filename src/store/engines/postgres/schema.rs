//! The table, the functions that read and commit, and what the server has to be.

use tokio_postgres::{Client, IsolationLevel, SimpleQueryMessage, error::SqlState};

use super::{connection::describe, name::NAME};
use crate::store::{OpenError, open_options::FORMAT};

/// The version of what [`MIGRATIONS`] leave.
const SCHEMA_VERSION: i32 = 1;
/// 13.0, as `server_version_num` has it.
const MIN_SERVER_VERSION: i32 = 130_000;
/// The advisory lock of migrations: any number that all versions share.
const MIGRATION_LOCK: i64 = 0x006d_656e_7368_656e;

/// From each version of the tables to the next. What stands here has been run and never changes.
const MIGRATIONS: [&str; SCHEMA_VERSION as usize] = [r"
CREATE TABLE menshen_records (
    key bytea PRIMARY KEY,
    version bigint NOT NULL,
    value bytea NOT NULL
) WITH (fillfactor = 85);
-- Values are encrypted, so they do not compress.
ALTER TABLE menshen_records ALTER value SET STORAGE EXTERNAL;

-- A plan of this session, where the statement itself would be planned at each call, because a proxy may move a session from one
-- connection to the next. It outlives the size of the table that it was made for, so it scans none. STABLE: all of it is read as it was when the statement began.
CREATE FUNCTION menshen_read(with_values bytea[], without_values bytea[])
RETURNS TABLE (key bytea, version bigint, value bytea)
LANGUAGE plpgsql STABLE SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
BEGIN
    RETURN QUERY
        SELECT r.key, r.version, r.value FROM menshen_records r WHERE r.key = ANY(with_values)
        UNION ALL
        SELECT r.key, r.version, NULL::bytea FROM menshen_records r WHERE r.key = ANY(without_values)
        UNION ALL
        SELECT NULL::bytea, (extract(epoch FROM clock_timestamp()) * 1000)::bigint,
            CASE WHEN pg_is_in_recovery() OR current_setting('transaction_read_only')::bool THEN ''::bytea END;
END $$;

CREATE FUNCTION menshen_commit(
    locks bigint[], exclusive bool[], read_keys bytea[], read_versions bigint[],
    written_keys bytea[], written_values bytea[], new_version bigint, not_after bigint
) RETURNS bool LANGUAGE plpgsql VOLATILE SET lock_timeout = '2s' SET enable_seqscan = off AS $$
DECLARE
    found_version bigint;
    -- Advisory locks are the database's: those of another table of this name are others.
    salt bigint := 'menshen_records'::regclass::oid::bigint << 32;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'menshen_commit needs READ COMMITTED';
    END IF;
    -- Expressions: PERFORM would run a statement for each.
    FOR i IN 1..cardinality(locks) LOOP
        IF exclusive[i] THEN
            CONTINUE WHEN pg_advisory_xact_lock(locks[i] # salt) IS NULL;
        ELSE
            CONTINUE WHEN pg_advisory_xact_lock_shared(locks[i] # salt) IS NULL;
        END IF;
    END LOOP;
    IF extract(epoch FROM clock_timestamp()) * 1000 > not_after THEN
        RETURN false;
    END IF;
    FOR i IN 1..cardinality(read_keys) LOOP
        SELECT version INTO found_version FROM menshen_records WHERE key = read_keys[i];
        IF coalesce(found_version, 0) <> read_versions[i] THEN
            RETURN false;
        END IF;
    END LOOP;
    FOR i IN 1..cardinality(written_keys) LOOP
        IF written_values[i] IS NULL THEN
            DELETE FROM menshen_records WHERE key = written_keys[i];
        ELSE
            INSERT INTO menshen_records VALUES (written_keys[i], new_version, written_values[i])
            ON CONFLICT (key) DO UPDATE SET version = excluded.version, value = excluded.value;
        END IF;
    END LOOP;
    RETURN true;
END $$;

-- Whoever calls them, they are about the table beside them.
DO $$ BEGIN
    EXECUTE format('ALTER FUNCTION menshen_read SET search_path = %I, pg_temp', current_schema());
    EXECUTE format('ALTER FUNCTION menshen_commit SET search_path = %I, pg_temp', current_schema());
END $$;
"];

/// Refuses what is not PostgreSQL, what is too old, and settings under which an acknowledged commit
/// may be lost.
pub(super) async fn check_server(client: &Client) -> Result<(), OpenError> {
    let sql = "SELECT version(), current_setting('server_version_num'), \
        current_setting('synchronous_commit'), current_setting('fsync'), \
        current_setting('full_page_writes'), current_setting('transaction_isolation')";
    let [version, number, synchronous, fsync, full_pages, isolation] =
        text_row(client, sql).await?;
    if !version.starts_with("PostgreSQL ") || version.contains("-YB-") {
        return Err(NAME.unsuitable(format!(
            "the server is {version}, and only PostgreSQL itself is known to lock and to commit as menshen needs it"
        )));
    }
    if number
        .parse()
        .is_ok_and(|number: i32| number < MIN_SERVER_VERSION)
    {
        return Err(NAME.unsuitable(format!(
            "the server is {version}, and menshen needs PostgreSQL 13 or later"
        )));
    }
    if isolation != "read committed" {
        return Err(NAME.unsuitable(format!(
            "its transactions are {isolation} by default, and menshen's compare versions at READ COMMITTED: \
             ALTER ROLE … RESET default_transaction_isolation"
        )));
    }
    for (setting, value) in [
        ("synchronous_commit", synchronous),
        ("fsync", fsync),
        ("full_page_writes", full_pages),
    ] {
        if value == "off" {
            return Err(NAME.unsuitable(format!(
                "{setting} is off on the server, so that it forgets commits in a crash: set it to on, for the server or by \
                 ALTER ROLE … SET {setting} = on"
            )));
        }
    }
    Ok(())
}

/// Brings the tables to [`SCHEMA_VERSION`], in one transaction and under a lock, so that it happens
/// whole and once however many processes start together.
pub(super) async fn migrate(client: &mut Client) -> Result<(), OpenError> {
    if found_version(client).await? == SCHEMA_VERSION {
        return Ok(());
    }
    let transaction = client
        .build_transaction()
        .isolation_level(IsolationLevel::ReadCommitted)
        .start()
        .await
        .map_err(|error| migration_failed(&error))?;
    let lock = format!("SELECT pg_advisory_xact_lock({MIGRATION_LOCK})");
    let tables =
        "CREATE TABLE IF NOT EXISTS menshen_schema (version int NOT NULL, format int NOT NULL)";
    transaction
        .batch_execute(&format!("{lock}; {tables}"))
        .await
        .map_err(|error| migration_failed(&error))?;
    // Another process may have done it meanwhile.
    let found = found_version(transaction.client()).await?;
    let from = usize::try_from(found).unwrap_or_default();
    for migration in &MIGRATIONS[from.min(MIGRATIONS.len())..] {
        transaction
            .batch_execute(migration)
            .await
            .map_err(|error| migration_failed(&error))?;
    }
    transaction
        .batch_execute(&format!(
            "DELETE FROM menshen_schema; INSERT INTO menshen_schema VALUES ({SCHEMA_VERSION}, {FORMAT})"
        ))
        .await
        .map_err(|error| migration_failed(&error))?;
    transaction
        .commit()
        .await
        .map_err(|error| migration_failed(&error))
}

fn migration_failed(error: &tokio_postgres::Error) -> OpenError {
    if error.code() == Some(&SqlState::INVALID_SCHEMA_NAME) {
        return NAME.unsuitable(
            "the search_path of this role names no schema that exists: CREATE SCHEMA … AUTHORIZATION …, or ALTER ROLE … SET \
             search_path = …",
        );
    }
    if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) {
        return NAME.unsuitable(format!(
            "its tables are missing or of an older version, and this role may not make them ({}): run `menshen store migrate` \
             as the owner of the schema",
            describe(error)
        ));
    }
    NAME.unavailable(format!("its tables cannot be made: {}", describe(error)))
}

/// Refuses tables that are not there in this version, and those of another format; makes none.
pub(super) async fn require_tables(client: &Client) -> Result<(), OpenError> {
    if found_version(client).await? == SCHEMA_VERSION {
        return Ok(());
    }
    Err(NAME.no_tables())
}

/// The version of the tables that are there; 0: none are. Refuses those of a newer version, and
/// records of another format.
pub(super) async fn found_version(client: &Client) -> Result<i32, OpenError> {
    let [exists] = text_row(client, "SELECT to_regclass('menshen_schema') IS NOT NULL").await?;
    if exists != "t" {
        return Ok(0);
    }
    let [version, format] = text_row(
        client,
        "SELECT coalesce(max(version), 0), max(format) FROM menshen_schema",
    )
    .await?;
    NAME.check_format(format.parse().ok())?;
    let version = version.parse().unwrap_or(i32::MAX);
    if version > SCHEMA_VERSION {
        return Err(NAME.unsuitable(format!(
            "its tables are of version {version}, made by a newer menshen, and this one knows version {SCHEMA_VERSION}: use \
             the newer one"
        )));
    }
    Ok(version)
}

/// The one row of a query, as text.
async fn text_row<const COLUMNS: usize>(
    client: &Client,
    sql: &str,
) -> Result<[String; COLUMNS], OpenError> {
    let answer = client
        .simple_query(sql)
        .await
        .map_err(|error| NAME.unavailable(describe(&error)))?;
    let row = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    Ok(std::array::from_fn(|at| {
        row.and_then(|row| row.try_get(at).ok().flatten())
            .unwrap_or_default()
            .to_owned()
    }))
}
