//! Against a real server.

mod server;

use std::{collections::BTreeMap, sync::Arc};

use futures::future::join_all;

pub(in crate::store) use server::Server;

use super::{
    commit_call::{lock_of, locks},
    *,
};
use crate::{entropy::Entropy, store::engine::FENCE};

async fn engine() -> Arc<Postgres> {
    let url = Server::shared().empty().await;
    open(&url).await.expect("the tables are made")
}

async fn open(url: &str) -> Result<Arc<Postgres>, OpenError> {
    let engine = Postgres::new(&url.parse().expect("a URL"), None, 8)?;
    engine.prepare().await?;
    Ok(Arc::new(engine))
}

fn commit(reads: &[(&[u8], Version)], changes: &[(&[u8], Option<&[u8]>)]) -> Commit {
    let mut reads: BTreeMap<_, _> = reads
        .iter()
        .map(|(key, version)| (key.to_vec(), *version))
        .collect();
    reads.entry(FENCE.to_vec()).or_insert(Version::ABSENT);
    Commit {
        version: Version::first(&Entropy::default()).expect("randomness"),
        reads,
        changes: changes
            .iter()
            .map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec)))
            .collect(),
    }
}

async fn read_one(engine: &Postgres, key: &[u8]) -> Versioned {
    let result = engine.read(&[key.to_vec()], &[]).await.expect("read");
    result.values.into_iter().next().expect("one record")
}

#[tokio::test]
async fn what_is_committed_is_read_with_its_version() {
    let engine = engine().await;
    // Every byte, and as long as keys and values may be.
    let key: Vec<u8> = (0..=255).collect();
    let value: Vec<u8> = (0..65_569_u32).map(|at| at.to_le_bytes()[0]).collect();
    let first = commit(
        &[(&key, Version::ABSENT)],
        &[(&key, Some(&value)), (b"", Some(b""))],
    );
    assert_eq!(engine.commit(&first).await, Ok(CommitOutcome::Committed));
    let result = engine
        .read(
            &[key.clone(), b"absent".to_vec()],
            &[Vec::new(), b"none".to_vec()],
        )
        .await
        .unwrap();
    assert_eq!(result.versions, [first.version, Version::ABSENT]);
    assert_eq!(result.values[1], Versioned::ABSENT);
    assert_eq!(result.values[0].version, first.version);
    assert_eq!(result.values[0].value.as_ref(), Some(&value));

    let removal = commit(&[(&key, first.version)], &[(&key, None)]);
    assert_eq!(engine.commit(&removal).await, Ok(CommitOutcome::Committed));
    assert_eq!(read_one(&engine, &key).await, Versioned::ABSENT);
    assert!(engine.size_bytes().await.unwrap() > 0);
    assert_eq!(engine.ready().await, Ok(()));
    engine.close().await.unwrap();
    assert_eq!(engine.ready().await, Err(EngineError::Closed));
}

/// The server runs beside this process, so both have one clock.
#[tokio::test]
async fn a_read_tells_the_time_of_the_server() {
    let engine = engine().await;
    let now = || {
        let since = std::time::UNIX_EPOCH.elapsed().expect("after 1970");
        u64::try_from(since.as_millis()).expect("small")
    };
    let before = now();
    let read = engine.read(&[], &[]).await.unwrap();
    // It is rounded to milliseconds.
    let expected = before..=now() + 1;
    assert!(expected.contains(&read.time.as_millis()), "{read:?}");
    let later = engine.read(&[b"absent".to_vec()], &[b"a".to_vec()]).await;
    assert!(later.unwrap().time >= read.time);
}

#[tokio::test]
async fn a_commit_conflicts_if_anything_that_it_read_has_changed() {
    let engine = engine().await;
    let first = commit(&[], &[(b"a", Some(b"1")), (b"b", Some(b"1"))]);
    assert_eq!(engine.commit(&first).await, Ok(CommitOutcome::Committed));
    for (key, version) in [
        (b"a", Version::ABSENT),
        (b"c", first.version),
        (b"b", Version::first(&Entropy::default()).unwrap()),
    ] {
        let stale = commit(
            &[(key, version)],
            &[(b"a", Some(b"2")), (b"b", None), (b"c", Some(b"2"))],
        );
        assert_eq!(engine.commit(&stale).await, Ok(CommitOutcome::Conflict));
    }
    assert_eq!(read_one(&engine, b"a").await.value, Some(b"1".to_vec()));
    assert_eq!(read_one(&engine, b"b").await.value, Some(b"1".to_vec()));
    assert_eq!(read_one(&engine, b"c").await, Versioned::ABSENT);
}

#[tokio::test]
async fn scans_are_in_the_order_of_bytes_and_end_with_the_prefix() {
    let engine = engine().await;
    let keys: [&[u8]; 6] = [b"\xfe", b"\xff", b"\xff\x00", b"\xff\xff", b"u/1", b"u/2"];
    let changes: Vec<_> = keys.iter().map(|key| (*key, Some(*key))).collect();
    let all = commit(&[], &changes);
    assert_eq!(engine.commit(&all).await, Ok(CommitOutcome::Committed));
    let scan = async |prefix: &[u8], after: Option<&[u8]>, limit| {
        let pairs = engine.scan(prefix, after, limit).await.unwrap();
        pairs.into_iter().map(|(key, _)| key).collect::<Vec<_>>()
    };
    let snapshot = engine.snapshot().await.unwrap();
    let gone = commit(&[], &[(b"u/1", None)]);
    let mut sorted = keys;
    sorted.sort_unstable();
    assert_eq!(scan(b"", None, 100).await, sorted);
    assert_eq!(scan(b"\xff", None, 100).await, keys[1..4]);
    assert_eq!(scan(b"\xff", Some(b"\xff"), 1).await, keys[2..3]);
    assert_eq!(scan(b"u/", Some(b"u/1"), 9).await, keys[5..]);

    // What was there when the snapshot was made.
    assert_eq!(engine.commit(&gone).await, Ok(CommitOutcome::Committed));
    assert_eq!(scan(b"u/", None, 9).await, keys[5..]);
    let seen = snapshot.scan(b"u/", None, 9).await.unwrap();
    assert_eq!(seen.len(), 2);
    assert_eq!(snapshot.get(b"u/1").await, Ok(Some(b"u/1".to_vec())));
}

/// Clients that each add 1 to the same two counters, and an invariant over two records of which only
/// one may be taken: what locks on rows, or a snapshot older than the locks, would break.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_that_race_happen_as_if_one_after_the_other() {
    const CLIENTS: usize = 8;
    const ROUNDS: usize = 20;
    let engine = engine().await;
    let client = async |n: usize| {
        for round in 0..ROUNDS {
            loop {
                let read = engine
                    .read(&[b"a".to_vec(), b"b".to_vec()], &[])
                    .await
                    .unwrap();
                let [a, b] = read.values.try_into().unwrap();
                let next = |record: &Versioned| {
                    let count = record.value.as_ref().map_or(0, |value| {
                        u32::from_be_bytes(value.as_slice().try_into().unwrap())
                    });
                    (count + 1).to_be_bytes()
                };
                let (next_a, next_b) = (next(&a), next(&b));
                assert_eq!(next_a, next_b, "two moments in one read");
                let both = commit(
                    &[(b"a", a.version), (b"b", b.version)],
                    &[(b"a", Some(&next_a)), (b"b", Some(&next_b))],
                );
                if engine.commit(&both).await.unwrap() == CommitOutcome::Committed {
                    break;
                }
            }
            // Of these two, both absent at first, at most one may be taken.
            let (mine, other) = (
                format!("{round}/{}", n % 2),
                format!("{round}/{}", (n + 1) % 2),
            );
            let keys = [mine.clone().into_bytes(), other.clone().into_bytes()];
            let read = engine.read(&keys, &[]).await.unwrap();
            if read.values.iter().all(|record| record.value.is_none()) {
                let take = commit(
                    &[
                        (mine.as_bytes(), Version::ABSENT),
                        (other.as_bytes(), Version::ABSENT),
                    ],
                    &[(mine.as_bytes(), Some(b"taken"))],
                );
                engine.commit(&take).await.unwrap();
            }
        }
    };
    join_all((0..CLIENTS).map(client)).await;
    let total = u32::try_from(CLIENTS * ROUNDS).unwrap();
    assert_eq!(
        read_one(&engine, b"a").await.value,
        Some(total.to_be_bytes().to_vec())
    );
    for round in 0..ROUNDS {
        let taken = engine
            .scan(format!("{round}/").as_bytes(), None, 9)
            .await
            .unwrap();
        assert_eq!(taken.len(), 1, "round {round}");
    }
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
    assert_eq!(read_one(&engine, b"a").await.version, first.version);
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
