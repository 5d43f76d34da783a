//! The statements that are run on the table and its functions.

/// Records with their values, and others without, in one statement, so of one moment; and, in the row
/// without a key, the server's clock in milliseconds, with a value where the server takes no writes:
/// what it has may be old.
pub(super) const READ: &str = "SELECT key, version, value FROM menshen_read($1, $2)";

/// A record with its value.
pub(super) const GET: &str = "SELECT key, version, value FROM menshen_records WHERE key = $1";

/// Records in order; and, behind them, the row without a key where the server is a standby.
pub(super) const SCAN: &str = "(SELECT key, version, value FROM menshen_records \
    WHERE key >= $1 AND ($2::bytea IS NULL OR key < $2) AND ($3::bytea IS NULL OR key > $3) \
    ORDER BY key LIMIT $4) \
    UNION ALL SELECT NULL::bytea, 0, ''::bytea WHERE pg_is_in_recovery()";

/// Whether it is committed, or NULL where the server would forget it in a crash: then it is not tried.
pub(super) const COMMIT: &str = "SELECT CASE WHEN 'off' IN (current_setting('synchronous_commit'), \
    current_setting('fsync'), current_setting('full_page_writes')) THEN NULL \
    ELSE menshen_commit($1, $2, $3, $4, $5, $6, $7, $8) END";

/// Whether the server takes writes, and whether it would forget them in a crash.
pub(super) const READY: &str = "SELECT NOT (pg_is_in_recovery() OR current_setting('transaction_read_only')::bool), \
    'off' IN (current_setting('synchronous_commit'), current_setting('fsync'), current_setting('full_page_writes'))";

pub(super) const SIZE: &str = "SELECT pg_total_relation_size('menshen_records')";
