//! Rows of a shared engine that others changed: none of them is believed.

use super::*;
use crate::{
    store::{
        Export, ExportRecord, LookBack, Unreadable,
        engine::{Commit, CommitOutcome, Version},
        engines::{mysql, postgres, versioned::VersionedMemory},
        open::shared_engine,
    },
    types::REVOCATION_RETENTION,
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

async fn exported(store: &EngineStore) -> Result<Vec<ExportRecord>, StoreError> {
    all_of(store.export(Unreadable::Fails).await?).await
}

async fn all_of(mut export: Export) -> Result<Vec<ExportRecord>, StoreError> {
    let mut all = Vec::new();
    while let Some(records) = export.next().await {
        all.extend(records?);
    }
    Ok(all)
}

/// A line of the log that cannot be read goes on to wherever it is imported, and means the same there.
#[tokio::test]
async fn a_line_of_the_log_that_cannot_be_read_stops_no_export() {
    let store = in_memory();
    store.login(&login_of("alice", 1)).await.unwrap();
    let at = NOW.minus(Duration::from_mins(1));
    let line = layout::log_line(layout::LogLineId::new(at, [7; 8]));
    let event = layout::outbox(NOW, 1);
    let damaged = |key: Vec<u8>| (key, Some(b"damaged".to_vec()));
    let changes = [damaged(line), damaged(event)].into();
    engine(&store).commit(&changes).unwrap();
    let records = exported(&store).await.unwrap();
    let is_event = |record: &ExportRecord| {
        matches!(
            record,
            ExportRecord::Event { .. } | ExportRecord::NewerEvent { .. }
        )
    };
    assert!(!records.iter().any(is_event));

    let other = in_memory();
    other.restore(records).await.unwrap();
    assert!(session_of(&other, 1, 1).await.unwrap().is_some());
    let mut found = Vec::new();
    for store in [&store, &other] {
        let page = store.revocations(None, LookBack::Window, REVOCATION_RETENTION, 10, NOW);
        found.push(page.await.unwrap().unreadable.unwrap());
    }
    assert_eq!(found[0], found[1]);
    assert_eq!(found[0].issued_until, at.plus(Duration::from_secs(12)));
}

/// Any other record that cannot be read would be missing, so it stops the export, which says which one
/// it is and where it is written what to do.
#[tokio::test]
async fn a_record_that_stops_an_export_is_named() {
    let store = in_memory();
    store.login(&login_of("alice", 1)).await.unwrap();
    let key = layout::user(&user_of(1));
    let damaged = [(key.clone(), Some(b"damaged".to_vec()))].into();
    engine(&store).commit(&damaged).unwrap();
    let error = exported(&store).await.unwrap_err().to_string();
    for part in [hex::encode(&key).as_str(), "docs/operations.md", "kind 'u'"] {
        assert!(error.contains(part), "{error}");
    }
    // Without it the others are exported, and whoever has only lost a place of an identity is whole.
    store.login(&login_of("bob", 2)).await.unwrap();
    let openids = engine(&store).scan(b"o/", None, 9).unwrap().into_iter();
    let damaged = openids.map(|(key, _)| (key, Some(b"damaged".to_vec())));
    engine(&store)
        .commit(&damaged.collect::<Changes>())
        .unwrap();
    exported(&store).await.unwrap_err();
    let records = all_of(store.export(Unreadable::IsLeftOut).await.unwrap())
        .await
        .unwrap();
    let other = in_memory();
    other.restore(records).await.unwrap();
    assert!(other.user(&user_of(1)).await.unwrap().is_none());
    let LoginOutcome::Opened(bob) = other.login(&login_of("bob", 3)).await.unwrap() else {
        panic!("not signed in")
    };
    assert_eq!((bob.user.id, bob.is_new_user), (user_of(2), false));
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
