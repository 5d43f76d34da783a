//! Rows of a shared engine that others changed: none of them is believed.

use super::*;
use crate::store::{
    engine::{Commit, CommitOutcome, Version},
    engines::{mysql, postgres, versioned::VersionedMemory},
    open::shared_engine,
};

/// As somebody would who may write to the table, and has no key.
async fn write(engine: &dyn SharedEngine, key: &[u8], value: &[u8]) {
    let read = engine.read(&[], &[FENCE.to_vec()]).await.unwrap();
    let commit = Commit {
        version: Version::first(&Entropy::default()).unwrap(),
        reads: [(FENCE.to_vec(), read.versions[0])].into(),
        changes: [(key.to_vec(), Some(value.to_vec()))].into(),
        not_after: read.time.plus(Duration::from_secs(10)),
    };
    assert_eq!(engine.commit(&commit).await, Ok(CommitOutcome::Committed));
}

async fn rows_that_were_changed_are_damage(engine: Arc<dyn SharedEngine>) {
    let (options, keys) = (options(), keys());
    let opened =
        EngineStore::shared(Arc::clone(&engine), &options, &keys, Entropy::default()).await;
    let store = opened.unwrap();
    store.login(&login_of("alice", 1)).await.unwrap();
    store.login(&login_of("bob", 2)).await.unwrap();
    let rows = engine.scan(b"u/", None, 9).await.unwrap();
    let [alice, bob] = [0, 1].map(|at| rows[at].1.value.clone().unwrap());
    let mut changed = alice.clone();
    changed[40] ^= 1;
    let swapped = bob.as_slice();
    for value in [swapped, &changed, &alice[..alice.len() - 1], &[], b"text"] {
        write(&*engine, &rows[0].0, value).await;
        let found = store.user(&user_of(1)).await;
        assert!(matches!(found, Err(StoreError::Damaged(_))), "{found:?}");
        let login = store.login(&login_of("alice", 3)).await;
        assert!(matches!(login, Err(StoreError::Damaged(_))), "{login:?}");
        assert!(
            session_of(&store, 2, 2).await.unwrap().is_some(),
            "bob's is whole"
        );
    }
    write(&*engine, &rows[0].0, &alice).await;
    assert!(session_of(&store, 1, 1).await.unwrap().is_some());

    // What leads to another user's record, and a keyring that is not ours.
    let openids = engine.scan(b"o/", None, 9).await.unwrap();
    let other = openids[1].1.value.clone().unwrap();
    write(&*engine, &openids[0].0, &other).await;
    let logins = [
        store.login(&login_of("alice", 4)).await,
        store.login(&login_of("bob", 5)).await,
    ];
    let damaged = logins
        .iter()
        .filter(|login| matches!(login, Err(StoreError::Damaged(_))));
    assert_eq!(damaged.count(), 1);
    write(&*engine, FENCE, &other).await;
    let found = store.user(&user_of(2)).await;
    assert!(matches!(found, Err(StoreError::Damaged(_))), "{found:?}");
    let opened = EngineStore::shared(engine, &options, &keys, Entropy::default()).await;
    assert!(matches!(opened.map(drop), Err(OpenError::WrongKey { .. })));
}

#[tokio::test]
async fn in_memory_of_many() {
    rows_that_were_changed_are_damage(Arc::new(VersionedMemory::new())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres() {
    let url = postgres::tests::Server::shared().empty().await;
    rows_that_were_changed_are_damage(shared_engine(&url, &options()).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_mysql() {
    let url = mysql::tests::Server::shared().empty().await;
    rows_that_were_changed_are_damage(shared_engine(&url, &options()).await.unwrap()).await;
}
