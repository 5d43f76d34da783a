//! What somebody who knows the database would write for the same records: prepared statements in one
//! transaction, rows locked where they are read. PostgreSQL's is in `benches/load/engines.py`, for
//! `pgbench`.

use std::sync::Arc;

use futures::{StreamExt as _, stream};
use mysql_async::{OptsBuilder, Pool, TxOpts, prelude::Queryable as _};
use percent_encoding::percent_decode_str;

use super::{Arguments, Kind, Operation};

/// Bytes of the value of a small record: a code, a pointer to a user.
const SMALL: usize = 120;

pub(super) async fn operation(arguments: &Arguments, user_bytes: usize) -> Operation {
    let pool = Pool::new(options(&arguments.url));
    let mut connection = pool.get_conn().await.expect("a connection");
    connection
        .query_drop(
            "CREATE TABLE by_hand (k VARBINARY(255) PRIMARY KEY, version BIGINT NOT NULL,
             value MEDIUMBLOB NOT NULL) ENGINE=InnoDB",
        )
        .await
        .expect("a table");
    connection
        .exec_drop("INSERT INTO by_hand VALUES ('m/', 1, ?)", (vec![1; SMALL],))
        .await
        .expect("a row");
    let made = stream::iter(0..arguments.users).map(|place| {
        let pool = pool.clone();
        async move {
            let mut connection = pool.get_conn().await.expect("a connection");
            let rows = [
                (format!("o/{place}"), vec![1; SMALL]),
                (format!("u/{place}"), vec![1; user_bytes]),
            ];
            connection
                .exec_batch("INSERT INTO by_hand VALUES (?, 1, ?)", rows)
                .await
                .expect("a row");
        }
    });
    made.buffer_unordered(64).for_each(async |()| ()).await;
    let kind = arguments.kind;
    Arc::new(move |place, number| {
        let pool = pool.clone();
        Box::pin(async move { transaction(&pool, kind, (place, number), user_bytes).await })
    })
}

/// Of a URL as `store.url`, whose host may be a socket's directory and name, percent-encoded.
fn options(url: &str) -> OptsBuilder {
    let (user, rest) = url
        .trim_start_matches("mysql://")
        .split_once('@')
        .expect("a user");
    let (host, database) = rest.split_once('/').expect("a database");
    let host = percent_decode_str(host).decode_utf8().expect("UTF-8");
    let options = OptsBuilder::default()
        .user(Some(user))
        .db_name(Some(database));
    if host.starts_with('/') {
        options.socket(Some(host))
    } else {
        options.ip_or_hostname(host)
    }
}

async fn transaction(pool: &Pool, kind: Kind, (place, number): (u64, u64), user_bytes: usize) {
    const READ: &str = "SELECT version, value FROM by_hand WHERE k = ?";
    const LOCK: &str = "SELECT version, value FROM by_hand WHERE k = ? FOR UPDATE";
    const INSERT: &str = "INSERT INTO by_hand VALUES (?, 1, ?)";
    const UPDATE: &str = "UPDATE by_hand SET version = version + 1, value = ? WHERE k = ?";
    type Row = Option<(i64, Vec<u8>)>;
    let (fresh, pointer, user) = (
        format!("c/{number}"),
        format!("o/{place}"),
        format!("u/{place}"),
    );
    let mut tx = pool
        .start_transaction(TxOpts::default())
        .await
        .expect("a transaction");
    // What all operations read and none of them writes.
    let _: Row = tx.exec_first(READ, ("m/",)).await.expect("read");
    match kind {
        Kind::Login => {
            let _: Row = tx.exec_first(READ, (&fresh,)).await.expect("read");
            let _: Row = tx.exec_first(READ, (&pointer,)).await.expect("read");
            let _: Row = tx.exec_first(LOCK, (&user,)).await.expect("read");
            tx.exec_drop(INSERT, (&fresh, vec![2; SMALL]))
                .await
                .expect("written");
            tx.exec_drop(UPDATE, (vec![2; user_bytes], &user))
                .await
                .expect("written");
        }
        Kind::FirstLogin => {
            let (pointer, user) = (format!("o/new-{number}"), format!("u/new-{number}"));
            let _: Row = tx.exec_first(READ, (&fresh,)).await.expect("read");
            let _: Row = tx.exec_first(READ, (&pointer,)).await.expect("read");
            for (key, bytes) in [(&fresh, SMALL), (&pointer, SMALL), (&user, user_bytes)] {
                tx.exec_drop(INSERT, (key, vec![2; bytes]))
                    .await
                    .expect("written");
            }
        }
        Kind::Refresh => {
            let _: Row = tx.exec_first(LOCK, (&user,)).await.expect("read");
            tx.exec_drop(UPDATE, (vec![2; user_bytes], &user))
                .await
                .expect("written");
        }
        Kind::Code => {
            // The record of a phone may lie in one of three days.
            for day in ["before", "c", "after"] {
                let key = format!("{day}/{number}");
                let _: Row = tx.exec_first(READ, (&key,)).await.expect("read");
            }
            tx.exec_drop(INSERT, (&fresh, vec![2; user_bytes]))
                .await
                .expect("written");
        }
    }
    tx.commit().await.expect("committed");
}
