//! What the server's errors mean, by their numbers. MySQL and MariaDB share those below 1900; those
//! from 1900 on are MariaDB's, and those from 3000 on MySQL's.

use mysql_async::Error;

use super::connection::code;

/// Whether the connection is gone: no report of the server, or one that ended the session.
pub(super) fn is_lost(error: &Error) -> bool {
    // The server shuts down; the connection was killed, was idle for too long, or broke off.
    code(error)
        .is_none_or(|code| matches!(code, 1053 | 1079 | 1152 | 1158..=1161 | 1184 | 1927 | 4031))
}

/// Whether the server ended the statement because of another transaction: a time-out of a lock, a
/// deadlock, or a record that changed after it was read.
pub(super) fn is_conflict(error: &Error) -> bool {
    matches!(code(error), Some(1205 | 1213 | 1020))
}

/// Whether a commit's comparison found something else than was read: the number that says so is out of
/// range.
pub(super) fn is_changed(error: &Error) -> bool {
    code(error) == Some(1690)
}

/// Whether the server takes no writes: `read_only`, `innodb_read_only`, or a transaction that is.
pub(super) fn is_not_primary(error: &Error) -> bool {
    matches!(code(error), Some(1290 | 1836 | 1792))
}

/// Whether a table is not there.
pub(super) fn is_no_such_table(error: &Error) -> bool {
    code(error) == Some(1146)
}

/// Whether the role lacks a privilege, on a database, a table or a column. Of a table on which it has
/// none the server does not even say whether it is there.
pub(super) fn is_denied(error: &Error) -> bool {
    matches!(code(error), Some(1044 | 1142 | 1143 | 1227))
}
