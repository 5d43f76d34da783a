//! Against a real server.

mod server;

use std::{collections::BTreeMap, sync::Arc};

use futures::future::join_all;

pub(in crate::store) use server::Server;

use super::{
    super::database::tests::{commit, engine_cases, read_one},
    commit_call::{lock_of, locks},
    *,
};
use crate::store::engine::FENCE;

engine_cases!(super::engine);

async fn engine() -> Arc<Postgres> {
    let url = Server::shared().empty().await;
    open(&url).await.expect("the tables are made")
}

async fn open(url: &str) -> Result<Arc<Postgres>, OpenError> {
    let engine = Postgres::new(&url.parse().expect("a URL"), None, 8)?;
    engine.prepare().await?;
    Ok(Arc::new(engine))
}

#[tokio::test]
async fn a_commit_of_more_keys_than_locks_locks_out_all_others() {
    let engine = engine().await;
    let keys: Vec<_> = (0..1000_u32).map(u32::to_be_bytes).collect();
    let changes: Vec<_> = keys
        .iter()
        .map(|key| (key.as_slice(), Some(key.as_slice())))
        .collect();
    let many = commit(&[], &changes);
    assert_eq!(locks(&many), BTreeMap::from([(lock_of(FENCE), true)]));
    assert_eq!(engine.commit(&many).await, Ok(CommitOutcome::Committed));
    assert_eq!(engine.scan(b"", None, 2000).await.unwrap().len(), 1000);
}

#[tokio::test]
async fn many_processes_that_start_together_make_the_tables_once() {
    let url = Server::shared().empty().await;
    let opened = join_all((0..6).map(|_| open(&url))).await;
    for engine in opened {
        engine.expect("the tables are made").close().await.unwrap();
    }
}

#[tokio::test]
async fn a_lost_connection_is_replaced() {
    let url = Server::shared().empty().await;
    let engine = open(&url).await.unwrap();
    let first = commit(&[], &[(b"a", Some(b"1"))]);
    assert_eq!(engine.commit(&first).await, Ok(CommitOutcome::Committed));
    let role = Server::role(&url);
    Server::shared().lock_out(role).await;
    let refused = engine.read(&[b"a".to_vec()], &[]).await;
    assert!(
        matches!(refused, Err(EngineError::Refused(_))),
        "{refused:?}"
    );
    Server::shared().let_in(role).await;
    assert_eq!(read_one(&*engine, b"a").await.version, first.version);
}

/// Behind a pooler that lends its sessions nothing is prepared: `tests/it/databases.rs` has PgBouncer.
#[tokio::test]
async fn statements_of_each_operation_are_parsed_once_in_a_session_of_its_own() {
    let url = Server::shared().empty().await;
    let engine = Postgres::new(&url.parse().unwrap(), None, 1).unwrap();
    engine.prepare().await.unwrap();
    for value in [b"1", b"2", b"3"] {
        let change = commit(&[], &[(b"a", Some(value))]);
        assert_eq!(engine.commit(&change).await, Ok(CommitOutcome::Committed));
        assert_eq!(read_one(&engine, b"a").await.value.unwrap(), value);
    }
    let connection = engine.connection().await.unwrap();
    let prepared = "SELECT statement FROM pg_prepared_statements ORDER BY prepare_time";
    let rows = connection.client().query_typed(prepared, &[]).await;
    let statements: Vec<String> = rows.unwrap().iter().map(|row| row.get(0)).collect();
    drop(connection);
    assert_eq!(statements, [COMMIT, READ]);
    // Something in between cleans up: the next call takes another connection.
    let forget = async || {
        let connection = engine.connection().await.unwrap();
        let forgotten = connection.client().batch_execute("DEALLOCATE ALL").await;
        forgotten.unwrap();
    };
    forget().await;
    assert_eq!(read_one(&engine, b"a").await.value.unwrap(), b"3");
    let change = commit(&[], &[(b"a", Some(b"4"))]);
    assert_eq!(engine.commit(&change).await, Ok(CommitOutcome::Committed));
    forget().await;
    let change = commit(&[], &[(b"a", Some(b"5"))]);
    assert_eq!(engine.commit(&change).await, Ok(CommitOutcome::Unknown));
    assert_eq!(read_one(&engine, b"a").await.value.unwrap(), b"4");
    assert_eq!(engine.commit(&change).await, Ok(CommitOutcome::Committed));
}

#[tokio::test]
async fn what_is_wrong_with_a_server_is_said() {
    let server = Server::shared();
    let url = server.empty().await;
    let role = Server::role(&url);
    let wrong = async |setting: &str| {
        server
            .execute(&format!("ALTER ROLE {role} SET {setting}"))
            .await;
        let error = open(&url).await.map(drop).expect_err(setting).to_string();
        let name = setting.split(' ').next().unwrap();
        server
            .execute(&format!("ALTER ROLE {role} RESET {name}"))
            .await;
        error
    };
    let not_durable = wrong("synchronous_commit = off").await;
    assert!(not_durable.contains("synchronous_commit"), "{not_durable}");
    let isolation = wrong("default_transaction_isolation = 'repeatable read'").await;
    assert!(isolation.contains("READ COMMITTED"), "{isolation}");
    let no_schema = wrong("search_path = absent").await;
    assert!(no_schema.contains("names no schema"), "{no_schema}");
    let read_only = wrong("default_transaction_read_only = on").await;
    assert!(read_only.contains("takes no writes"), "{read_only}");

    let absent = open(&url.replace("/postgres", "/absent")).await.map(drop);
    let absent = absent.expect_err("no such database").to_string();
    assert!(absent.contains("\"absent\" does not exist"), "{absent}");
    let nowhere = open("postgres://u@127.0.0.1:1/d").await.map(drop);
    let nowhere = nowhere.expect_err("nobody listens").to_string();
    assert!(nowhere.contains("refused"), "{nowhere}");

    open(&url).await.unwrap();
    server
        .execute(&format!("UPDATE {role}.menshen_schema SET version = 99"))
        .await;
    let newer = open(&url)
        .await
        .map(drop)
        .expect_err("a newer version")
        .to_string();
    assert!(newer.contains("99"), "{newer}");
}

#[tokio::test]
async fn the_first_host_that_answers_is_used() {
    let url = Server::shared().empty().await;
    // It accepts connections, and never says anything.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap();
    let both = url.replace('@', &format!("@127.0.0.1:1,127.0.0.1:{},", silent.port()));
    let engine = open(&both).await.unwrap();
    assert_eq!(engine.ready().await, Ok(()));
}

#[tokio::test]
async fn a_snapshot_that_is_given_up_leaves_no_transaction_open() {
    let url = Server::shared().empty().await;
    let engine = Postgres::new(&url.parse().expect("a URL"), None, 1).unwrap();
    engine.prepare().await.unwrap();
    for _ in 0..20 {
        // As far as it comes at once, which is as far as BEGIN.
        let _ = futures::poll!(Box::pin(engine.snapshot()));
        let one = commit(&[], &[(b"a", Some(b"1"))]);
        assert_eq!(engine.commit(&one).await, Ok(CommitOutcome::Committed));
    }
}

/// A role that may use the tables and not make them.
#[tokio::test]
async fn a_role_that_may_not_make_tables_needs_them_made() {
    let server = Server::shared();
    let owner = server.empty().await;
    let schema = Server::role(&owner);
    let user = format!("{schema}_user");
    server
        // The owner finds its schema as the schema of its own name.
        .execute(&format!(
            "ALTER ROLE {schema} RESET search_path;
             CREATE ROLE {user} LOGIN; GRANT USAGE ON SCHEMA {schema} TO {user};
             ALTER ROLE {user} SET search_path = {schema}"
        ))
        .await;
    let error = open(&server.url(&user))
        .await
        .map(drop)
        .expect_err("no privilege");
    assert!(
        error.to_string().contains("menshen store migrate"),
        "{error}"
    );

    open(&owner).await.unwrap();
    server
        .execute(&format!(
            "GRANT SELECT, INSERT, UPDATE, DELETE ON {schema}.menshen_records TO {user};
             GRANT SELECT ON {schema}.menshen_schema TO {user}"
        ))
        .await;
    let engine = open(&server.url(&user)).await.unwrap();
    let first = commit(&[], &[(b"a", Some(b"1"))]);
    assert_eq!(engine.commit(&first).await, Ok(CommitOutcome::Committed));
}

/// Of the one connection that the engine has: a setting of its session.
async fn set_in_session(engine: &Postgres, setting: &str) {
    let connection = engine.connection().await.expect("a connection");
    let sql = format!("SET {setting}");
    connection.client().batch_execute(&sql).await.expect("set");
}

#[tokio::test]
async fn settings_that_are_changed_later_are_noticed() {
    let url = Server::shared().empty().await;
    let engine = Postgres::new(&url.parse().expect("a URL"), None, 1).unwrap();
    engine.prepare().await.unwrap();
    set_in_session(&engine, "synchronous_commit = off").await;
    let write = commit(&[], &[(b"a", Some(b"1"))]);
    assert_eq!(engine.commit(&write).await, Err(NOT_DURABLE));
    assert_eq!(engine.ready().await, Err(NOT_DURABLE));
    assert_eq!(read_one(&engine, b"a").await, Versioned::ABSENT);
    set_in_session(&engine, "synchronous_commit = on").await;
    assert_eq!(engine.ready().await, Ok(()));
    assert_eq!(engine.commit(&write).await, Ok(CommitOutcome::Committed));
}

/// The primary is another server now; the connection still leads to the old one.
#[tokio::test]
async fn reads_of_a_server_that_takes_no_writes_are_refused() {
    let server = Server::shared();
    let url = server.empty().await;
    let engine = Postgres::new(&url.parse().expect("a URL"), None, 1).unwrap();
    engine.prepare().await.unwrap();
    let write = commit(&[], &[(b"a", Some(b"1"))]);
    assert_eq!(engine.commit(&write).await, Ok(CommitOutcome::Committed));
    let read_only = "default_transaction_read_only = on";
    set_in_session(&engine, read_only).await;
    // A new connection leads to one that takes writes.
    assert_eq!(read_one(&engine, b"a").await.version, write.version);

    set_in_session(&engine, read_only).await;
    let role = Server::role(&url);
    server
        .execute(&format!("ALTER ROLE {role} SET {read_only}"))
        .await;
    let refused = engine.read(&[b"a".to_vec()], &[]).await;
    assert_eq!(refused.map(drop), Err(READ_ONLY));
}

#[tokio::test]
async fn a_hint_reaches_other_processes_on_the_same_schema_alone() {
    let (url, elsewhere) = (
        Server::shared().empty().await,
        Server::shared().empty().await,
    );
    let (one, other) = (open(&url).await.unwrap(), open(&url).await.unwrap());
    let stranger = open(&elsewhere).await.unwrap();
    // The first one is that a session is there.
    for engine in [&other, &stranger] {
        engine.wait_for_hint().await;
    }
    assert_eq!(other.hints_arrive(), Some(true));
    let mut hint = other.wait_for_hint();
    assert!(futures::poll!(&mut hint).is_pending());
    stranger.send_hint().await;
    stranger.wait_for_hint().await;
    assert!(futures::poll!(&mut hint).is_pending());
    one.send_hint().await;
    hint.await;
    // Many at once are few: one is under way, and one is next.
    let mut sent = 0;
    join_all((0..50).map(|_| one.send_hint())).await;
    let mut last = other.wait_for_hint();
    while futures::poll!(&mut last).is_ready() {
        sent += 1;
        last = other.wait_for_hint();
    }
    assert!(sent < 50, "{sent}");
}

#[tokio::test]
async fn a_session_that_is_lost_is_begun_anew() {
    let server = Server::shared();
    let url = server.empty().await;
    let engine = open(&url).await.unwrap();
    engine.wait_for_hint().await;
    let role = Server::role(&url);
    server
        .execute(&format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}' AND query LIKE 'LISTEN%'"
        ))
        .await;
    // It is there again, and a hint may have been lost meanwhile.
    engine.wait_for_hint().await;
    let mut hint = engine.wait_for_hint();
    assert!(futures::poll!(&mut hint).is_pending());
    engine.send_hint().await;
    hint.await;
}
