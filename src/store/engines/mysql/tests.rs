//! Against a real server.

mod server;

use std::sync::Arc;

use futures::future::join_all;

pub(in crate::store) use server::Server;

use super::{
    super::database::tests::{commit, engine_cases, read_one},
    *,
};
use crate::store::engine::FENCE;

engine_cases!(super::engine);

async fn engine() -> Arc<Mysql> {
    let url = Server::shared().empty().await;
    open(&url).await.expect("the tables are made")
}

async fn open(url: &str) -> Result<Arc<Mysql>, OpenError> {
    let engine = Mysql::new(&url.parse().expect("a URL"), None, 8)?;
    engine.prepare().await?;
    Ok(Arc::new(engine))
}

/// Why the store does not open.
async fn error_of(url: &str) -> String {
    let opened = open(url).await.map(drop);
    opened.expect_err("it opens").to_string()
}

fn count(batch: &Batch, text: &str) -> usize {
    batch.text.matches(text).count()
}

/// An error of the COMMIT itself must not be taken for one of a statement before it.
#[tokio::test]
async fn an_error_is_of_the_statement_that_failed() {
    let engine = engine().await;
    let cases = ["SELECT 1", "SET @menshen_test = 1"]
        .into_iter()
        .flat_map(|right| (0..3).map(move |wrong| (right, wrong)));
    for (right, wrong) in cases {
        let text = |at| if at == wrong { "SELECT nosuch" } else { right };
        let batch = Batch::new(text(0)).then(text(1)).then(text(2));
        let mut connection = engine.pool.get().await.expect("a connection");
        let failed = connection.run(&batch).await.expect_err("an unknown column");
        assert_eq!(failed.at, wrong, "{right}");
    }
}

#[tokio::test]
async fn a_commit_of_many_keys_locks_their_slots_in_one_statement() {
    let engine = engine().await;
    let keys: Vec<_> = (0..1000_u32).map(u32::to_be_bytes).collect();
    let changes: Vec<_> = keys
        .iter()
        .map(|key| (key.as_slice(), Some(key.as_slice())))
        .collect();
    let many = commit(&[], &changes);
    assert_eq!(count(&statements::commit(&many), "FROM menshen_slots"), 1);
    assert_eq!(engine.commit(&many).await, Ok(CommitOutcome::Committed));
    assert_eq!(engine.scan(b"", None, 2000).await.unwrap().len(), 1000);

    let removals: Vec<_> = keys.iter().map(|key| (key.as_slice(), None)).collect();
    let removal = commit(&[], &removals);
    assert_eq!(engine.commit(&removal).await, Ok(CommitOutcome::Committed));
    assert_eq!(engine.scan(b"", None, 2000).await, Ok(Vec::new()));
}

/// Commits of other keys run beside each other, and who writes the fence waits for all of them.
#[tokio::test]
async fn who_writes_the_fence_waits_for_the_slot_of_any_key() {
    let url = Server::shared().empty().await;
    let engine = open(&url).await.expect("the store opens");
    let held = statements::slot_of(b"a");
    let other = (b'b'..=b'z').find(|letter| statements::slot_of(&[*letter]) != held);
    let mut connection = engine.pool.get().await.expect("a connection");
    let lock = format!("SELECT id FROM menshen_slots WHERE id = {held} FOR UPDATE");
    let batch = Batch::new("START TRANSACTION").then(&lock);
    connection
        .run(&batch)
        .await
        .map_err(|failed| failed.error)
        .unwrap();

    let reader = commit(&[], &[(&[other.expect("another slot")], Some(b"1"))]);
    assert_eq!(engine.commit(&reader).await, Ok(CommitOutcome::Committed));
    // The lock's time-out.
    let writer = commit(&[], &[(FENCE, Some(b"1"))]);
    assert_eq!(engine.commit(&writer).await, Ok(CommitOutcome::Conflict));
    connection.roll_back().await;
    assert_eq!(engine.commit(&writer).await, Ok(CommitOutcome::Committed));
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
async fn a_start_that_was_broken_off_is_made_good() {
    let url = Server::shared().empty().await;
    let role = Server::role(&url);
    open(&url).await.unwrap();
    Server::shared()
        .execute(&format!(
            "USE {role}; DELETE FROM menshen_schema; DELETE FROM menshen_slots WHERE id > 99"
        ))
        .await;
    open(&url).await.expect("the tables are made");
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

/// A transaction that holds the locks of a commit makes it a conflict, after two seconds, and the
/// connection can be used again.
#[tokio::test]
async fn a_lock_that_is_not_to_be_had_is_a_conflict() {
    let url = Server::shared().empty().await;
    let engine = Mysql::new(&url.parse().expect("a URL"), None, 2).unwrap();
    engine.prepare().await.unwrap();
    let holder = database::connection(&engine.pool).await;
    let mut holder = holder.map_err(|error| format!("{error:?}")).unwrap();
    let lock = Batch::new("START TRANSACTION").then("SELECT id FROM menshen_slots FOR UPDATE");
    assert!(holder.run(&lock).await.is_ok());
    let blocked = commit(&[], &[(b"a", Some(b"1"))]);
    assert_eq!(engine.commit(&blocked).await, Ok(CommitOutcome::Conflict));
    holder.roll_back().await;
    drop(holder);
    assert_eq!(engine.commit(&blocked).await, Ok(CommitOutcome::Committed));
}

#[tokio::test]
async fn what_is_wrong_with_tables_is_said() {
    let server = Server::shared();
    let url = server.empty().await;
    let role = Server::role(&url);
    open(&url).await.unwrap();
    let wrong = async |sql: &str| {
        server.execute(&format!("USE {role}; {sql}")).await;
        error_of(&url).await
    };
    let newer = wrong("UPDATE menshen_schema SET version = 99").await;
    assert!(newer.contains("of version 99"), "{newer}");
    let other_engine =
        wrong("UPDATE menshen_schema SET version = 1; ALTER TABLE menshen_records ENGINE = MyISAM")
            .await;
    assert!(
        other_engine.contains("menshen_records is on MyISAM"),
        "{other_engine}"
    );
    let slots = wrong(
        "ALTER TABLE menshen_records ENGINE = InnoDB; DELETE FROM menshen_slots WHERE id = 4096",
    )
    .await;
    assert!(slots.contains("the ids 1 to 4096"), "{slots}");
}

#[tokio::test]
async fn what_is_wrong_with_an_address_is_said() {
    let server = Server::shared();
    let url = server.empty().await;
    let role = Server::role(&url);
    let absent = error_of(&server.url(role, "absent")).await;
    assert!(absent.contains("to database 'absent'"), "{absent}");
    let stranger = error_of(&server.url("stranger", role)).await;
    assert!(stranger.contains("Access denied"), "{stranger}");
    let nowhere = error_of("mysql://u@127.0.0.1:1/d").await;
    assert!(nowhere.contains("refused"), "{nowhere}");
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
    let engine = Mysql::new(&url.parse().expect("a URL"), None, 1).unwrap();
    engine.prepare().await.unwrap();
    for _ in 0..20 {
        // As far as it comes at once, which is as far as START TRANSACTION.
        let _ = futures::poll!(Box::pin(engine.snapshot()));
        let one = commit(&[], &[(b"a", Some(b"1"))]);
        assert_eq!(engine.commit(&one).await, Ok(CommitOutcome::Committed));
    }
}

#[tokio::test]
async fn a_commit_that_the_server_does_not_take_changes_nothing() {
    let engine = engine().await;
    // Twice as long in hex.
    let large = vec![0; 9 << 20];
    let too_large = commit(&[], &[(b"a", Some(b"1")), (b"b", Some(&large))]);
    assert_eq!(engine.commit(&too_large).await, Err(TOO_LARGE));
    let long_key = [b'k'; 256];
    let too_long = commit(&[], &[(b"a", Some(b"1")), (&long_key, Some(b"1"))]);
    assert_eq!(engine.commit(&too_long).await, Err(REFUSED));
    assert_eq!(read_one(&*engine, b"a").await, Versioned::ABSENT);
}

/// A role that may use the tables and not make them.
#[tokio::test]
async fn a_role_that_may_not_make_tables_needs_them_made() {
    let server = Server::shared();
    let owner = server.empty().await;
    let database = Server::role(&owner);
    let user = format!("{database}_user");
    server
        .execute(&format!(
            "CREATE USER {user}@localhost; GRANT LOCK TABLES ON {database}.* TO {user}@localhost"
        ))
        .await;
    let url = server.url(&user, database);
    let missing = error_of(&url).await;
    assert!(missing.contains("menshen store migrate"), "{missing}");

    open(&owner).await.unwrap();
    server
        .execute(&format!(
            "GRANT SELECT, INSERT, UPDATE ON {database}.menshen_records TO {user}@localhost;
             GRANT SELECT, UPDATE ON {database}.menshen_slots TO {user}@localhost;
             GRANT SELECT ON {database}.menshen_schema TO {user}@localhost;
             REVOKE LOCK TABLES ON {database}.* FROM {user}@localhost"
        ))
        .await;
    let too_few = error_of(&url).await;
    assert!(too_few.contains("may not use its tables"), "{too_few}");
    server
        .execute(&format!(
            "GRANT DELETE ON {database}.menshen_records TO {user}@localhost"
        ))
        .await;
    let engine = open(&url).await.unwrap();
    let first = commit(&[], &[(b"a", Some(b"1"))]);
    assert_eq!(engine.commit(&first).await, Ok(CommitOutcome::Committed));
    engine.prepare().await.unwrap();
}

#[tokio::test]
async fn a_server_is_verified_and_a_password_comes_from_a_file() {
    let server = Server::shared();
    let url = server.empty().await;
    let role = Server::role(&url);
    let engine = open(&url).await.unwrap();
    let rows = engine.query(&Batch::new("SELECT @@port, @@ssl_cert")).await;
    let row = rows.unwrap().remove(0);
    let port: u16 = column(&row, 0).unwrap();
    let certificate: String = column(&row, 1).unwrap();
    let roots = certificate.replace('/', "%2F");
    let at = |host: &str, roots: &str| {
        format!("mysql://{role}@{host}:{port}/{role}?sslrootcert={roots}")
    };
    let verified = at("localhost", &roots);
    open(&verified).await.expect("the right certificate");
    let other_authority = error_of(&at("localhost", &roots.replace("server", "other"))).await;
    assert!(
        other_authority.contains("invalid peer certificate"),
        "{other_authority}"
    );
    let other_name = error_of(&at("127.0.0.1", &roots)).await;
    assert!(
        other_name.contains("invalid peer certificate"),
        "{other_name}"
    );

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("password");
    let change = async |password: &str| {
        let statement = format!("ALTER USER {role}@localhost IDENTIFIED BY '{password}'");
        server.execute(&statement).await;
        std::fs::write(&file, format!("{password}\n")).unwrap();
    };
    change("first").await;
    let engine = Mysql::new(&verified.parse().expect("a URL"), Some(&file), 2).unwrap();
    engine.prepare().await.unwrap();
    change("second").await;
    engine.pool.retain(|_, _| false);
    assert_eq!(engine.ready().await, Ok(()));
    std::fs::write(&file, "third").unwrap();
    engine.pool.retain(|_, _| false);
    let denied = engine.check().await.expect_err("a wrong password");
    assert!(denied.to_string().contains("Access denied"), "{denied}");
}

/// On a server of its own, because settings are those of a server.
#[tokio::test]
async fn what_is_wrong_with_a_server_is_said() {
    let server = Server::start();
    let url = server.empty().await;
    for (wrong, right, text) in [
        (
            "innodb_flush_log_at_trx_commit = 2",
            "innodb_flush_log_at_trx_commit = 1",
            "forgets commits in a crash",
        ),
        (
            "sync_binlog = 0",
            "sync_binlog = 1",
            "SET GLOBAL sync_binlog = 1",
        ),
        (
            "binlog_format = 'STATEMENT'",
            "binlog_format = 'MIXED'",
            "binlog_format is STATEMENT",
        ),
        (
            "max_allowed_packet = 1048576",
            "max_allowed_packet = 16777216",
            "at least 16777216",
        ),
        ("read_only = 1", "read_only = 0", "takes no writes"),
    ] {
        server.execute(&format!("SET GLOBAL {wrong}")).await;
        let error = error_of(&url).await;
        assert!(error.contains(text), "{error}");
        server.execute(&format!("SET GLOBAL {right}")).await;
    }
    open(&url).await.expect("all is right");
}

/// A primary that another one has taken over from is written by no role, whatever its privileges, and
/// its connections are given up.
#[tokio::test]
async fn a_server_that_takes_no_writes_any_more_is_left() {
    let server = Server::start();
    let url = server.empty().await;
    let role = Server::role(&url);
    let engine = open(&url).await.unwrap();
    server
        .execute(&format!(
            "GRANT SUPER, READ_ONLY ADMIN ON *.* TO {role}@localhost"
        ))
        .await;
    let privileged = open(&url).await.unwrap();
    // Of each a connection is in its pool.
    assert_eq!(engine.ready().await, Ok(()));
    assert_eq!(privileged.ready().await, Ok(()));
    server.execute("SET GLOBAL read_only = 1").await;
    let write = commit(&[], &[(b"a", Some(b"1"))]);
    assert_eq!(engine.commit(&write).await, Err(READ_ONLY));
    assert_eq!(privileged.commit(&write).await, Err(READ_ONLY));
    assert_eq!(privileged.ready().await, Err(READ_ONLY));
    for engine in [&engine, &privileged] {
        let read = engine.read(&[b"a".to_vec()], &[]).await;
        assert_eq!(read.map(drop), Err(READ_ONLY), "it may be old");
        assert_eq!(engine.scan(b"a", None, 9).await, Err(READ_ONLY));
        assert_eq!(engine.snapshot().await.map(drop), Err(READ_ONLY));
    }
    server.execute("SET GLOBAL read_only = 0").await;
    assert_eq!(read_one(&*privileged, b"a").await, Versioned::ABSENT);
    assert_eq!(engine.commit(&write).await, Ok(CommitOutcome::Committed));
}

#[tokio::test]
async fn settings_that_are_changed_later_are_noticed() {
    let server = Server::start();
    let url = server.empty().await;
    let engine = open(&url).await.unwrap();
    let write = commit(&[], &[(b"a", Some(b"1"))]);
    for (wrong, right) in [
        (
            "innodb_flush_log_at_trx_commit = 0",
            "innodb_flush_log_at_trx_commit = 1",
        ),
        ("sync_binlog = 100", "sync_binlog = 1"),
    ] {
        server.execute(&format!("SET GLOBAL {wrong}")).await;
        assert_eq!(engine.commit(&write).await, Err(NOT_DURABLE), "{wrong}");
        assert_eq!(engine.ready().await, Err(NOT_DURABLE), "{wrong}");
        assert_eq!(read_one(&*engine, b"a").await, Versioned::ABSENT);
        server.execute(&format!("SET GLOBAL {right}")).await;
        assert_eq!(engine.ready().await, Ok(()));
    }
    assert_eq!(engine.commit(&write).await, Ok(CommitOutcome::Committed));
}

#[tokio::test]
async fn a_commit_whose_connection_is_lost_may_have_happened() {
    let url = Server::shared().empty().await;
    let role = Server::role(&url);
    let engine = open(&url).await.unwrap();
    let holder = database::connection(&engine.pool).await;
    let mut holder = holder.map_err(|error| format!("{error:?}")).unwrap();
    let lock = Batch::new("START TRANSACTION").then("SELECT id FROM menshen_slots FOR UPDATE");
    assert!(holder.run(&lock).await.is_ok());
    let waiting = {
        let engine = Arc::clone(&engine);
        let write = commit(&[], &[(b"a", Some(b"1"))]);
        tokio::spawn(async move { engine.commit(&write).await })
    };
    let waits = Batch::new(
        "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'SELECT id FROM menshen_slots%'",
    );
    loop {
        let rows = engine.query(&waits).await.unwrap();
        if column(&rows[0], 0) == Some(1) {
            break;
        }
    }
    Server::shared()
        .execute(&format!("KILL USER {role}@localhost"))
        .await;
    assert_eq!(waiting.await.unwrap(), Ok(CommitOutcome::Unknown));
    assert_eq!(read_one(&*engine, b"a").await, Versioned::ABSENT);
}

/// On a server of its own, because the lock is the server's.
#[tokio::test]
async fn a_commit_that_takes_too_long_is_not_cancelled() {
    let server = Server::start();
    let url = server.empty().await;
    let role = Server::role(&url);
    server
        .execute(&format!("GRANT RELOAD ON *.* TO {role}@localhost"))
        .await;
    let engine = open(&url).await.unwrap();
    let holder = database::connection(&engine.pool).await;
    let mut holder = holder.map_err(|error| format!("{error:?}")).unwrap();
    let lock = Batch::new("FLUSH TABLES WITH READ LOCK");
    assert!(holder.run(&lock).await.is_ok());
    let write = commit(&[], &[(b"a", Some(b"1"))]);
    assert_eq!(engine.commit(&write).await, Ok(CommitOutcome::Unknown));
    assert_eq!(read_one(&*engine, b"a").await, Versioned::ABSENT);
    assert!(holder.run(&Batch::new("UNLOCK TABLES")).await.is_ok());
    let end = std::time::Instant::now() + Duration::from_secs(10);
    while read_one(&*engine, b"a").await.version != write.version {
        assert!(std::time::Instant::now() < end, "it was cancelled");
    }
}
