//! An import into a store that many processes share: what they see of it, and what is left when it
//! breaks off.

use super::*;
use crate::store::{
    ExportRecord, ImportTarget, ReplicaId, UpkeepLease,
    engine::Version,
    engine_store::import,
    engines::versioned::{SharedFault, VersionedMemory},
};

async fn open(engine: &Arc<VersionedMemory>) -> Result<EngineStore, OpenError> {
    let engine = Arc::<VersionedMemory>::clone(engine);
    EngineStore::shared(engine, &options(), &keys(), Entropy::default()).await
}

async fn begin(engine: &Arc<VersionedMemory>) -> Result<ImportTarget, OpenError> {
    let engine = Arc::<VersionedMemory>::clone(engine);
    ImportTarget::begin(engine, &options(), &keys(), Entropy::default()).await
}

async fn discard(engine: &Arc<VersionedMemory>) -> Result<u64, OpenError> {
    let engine = Arc::<VersionedMemory>::clone(engine);
    import::discard(engine, &options(), (&keys(), Entropy::default()), |_| ()).await
}

/// All that is in a store with so many users.
async fn export_of(users: u128) -> Vec<ExportRecord> {
    let store = in_memory();
    for n in 1..=users {
        let login = login_of(&format!("person-{n}"), n);
        store.login(&login).await.unwrap();
    }
    let (mut export, mut records) = (store.export(Unreadable::Fails).await.unwrap(), Vec::new());
    while let Some(some) = export.next().await {
        records.extend(some.unwrap());
    }
    records
}

fn refusal<T>(outcome: Result<T, impl ToString>) -> String {
    outcome
        .map(drop)
        .map_err(|error| error.to_string())
        .unwrap_err()
}

async fn records(engine: &VersionedMemory) -> usize {
    engine.scan(b"", None, 10_000).await.unwrap().len()
}

/// A process that has started and stopped again leaves nobody's data.
#[tokio::test]
async fn what_processes_write_about_themselves_is_in_no_import_s_way() {
    let engine = Arc::new(VersionedMemory::new());
    let running = open(&engine).await.unwrap();
    engine.fail_next([SharedFault::Lose]);
    let lease = UpkeepLease::new(ReplicaId(1));
    let running: Arc<dyn Store> = Arc::new(running);
    lease.renew(&running).await.unwrap();
    assert!(lease.is_held());
    let ended = engine.scan(layout::ENDED_CALLS.prefix(), None, 9).await;
    assert_eq!(ended.unwrap().len(), 1);
    begin(&engine).await.unwrap();
}

#[tokio::test]
async fn a_store_that_an_import_fills_serves_nobody() {
    let engine = Arc::new(VersionedMemory::new());
    let running = open(&engine).await.unwrap();
    let target = begin(&engine).await.unwrap();
    target.store().restore(export_of(3).await).await.unwrap();

    let login = running.login(&login_of("person-1", 9)).await;
    let refusals = [
        refusal(running.user(&user_of(1)).await),
        refusal(login),
        refusal(running.check().await),
        refusal(open(&engine).await),
        refusal(begin(&engine).await),
    ];
    for refused in refusals {
        assert!(
            refused.contains("an import into it began at 20"),
            "{refused}"
        );
        assert!(
            refused.contains("`menshen store discard-import`"),
            "{refused}"
        );
    }

    target.finish().await.unwrap();
    let opened = open(&engine).await.unwrap();
    assert!(session_of(&opened, 1, 1).await.unwrap().is_some());
    opened.login(&login_of("person-1", 9)).await.unwrap();
    // Its keys are derived from the secret that was there before.
    let refused = refusal(running.user(&user_of(1)).await);
    assert!(refused.contains("restart it"), "{refused}");
    let refused = refusal(running.check().await);
    assert!(refused.contains("restart it"), "{refused}");
}

#[tokio::test]
async fn what_an_import_left_is_thrown_away_and_it_may_begin_again() {
    let engine = Arc::new(VersionedMemory::new());
    let refused = refusal(discard(&engine).await);
    assert!(refused.contains("it is empty"), "{refused}");
    assert_eq!(records(&engine).await, 0);
    let target = begin(&engine).await.unwrap();
    let export = export_of(40).await;
    target.store().restore(export.clone()).await.unwrap();
    let filled = records(&engine).await;
    assert!(filled > 80, "{filled}");
    assert!(
        engine
            .commits()
            .iter()
            .all(|commit| commit.changes.len() <= 51),
        "each changes at most 50 records and the keyring"
    );

    // It breaks off too, and is run again.
    engine.fail_next([SharedFault::None, SharedFault::None, SharedFault::Refuse]);
    let refused = refusal(discard(&engine).await);
    assert!(refused.contains("cannot be opened"), "{refused}");
    engine.recover();
    assert!(records(&engine).await < filled);
    assert!(refusal(open(&engine).await).contains("discard-import"));
    assert!(discard(&engine).await.unwrap() > 0);
    assert_eq!(records(&engine).await, 1, "the keyring");

    // Whoever filled it learns of it, and changes nothing.
    let refused = refusal(target.store().restore(export.clone()).await);
    assert!(refused.contains("thrown this import away"), "{refused}");
    let refused = refusal(target.finish().await);
    assert!(refused.contains("thrown this import away"), "{refused}");
    assert_eq!(records(&engine).await, 1);

    let target = begin(&engine).await.unwrap();
    target.store().restore(export).await.unwrap();
    target.finish().await.unwrap();
    let opened = open(&engine).await.unwrap();
    assert_eq!(opened.users(None, 100).await.unwrap().len(), 40);
    let refused = refusal(discard(&engine).await);
    assert!(refused.contains("nothing to throw away"), "{refused}");
    assert_eq!(opened.users(None, 100).await.unwrap().len(), 40);
}

#[tokio::test]
async fn a_store_with_anything_in_it_is_not_filled() {
    let engine = Arc::new(VersionedMemory::new());
    let running = open(&engine).await.unwrap();
    running.login(&login_of("alice", 1)).await.unwrap();
    let before = engine.commits().len();
    let refused = refusal(begin(&engine).await);
    assert!(refused.contains("not empty: it has users"), "{refused}");
    assert_eq!(engine.commits().len(), before, "nothing was changed");
    assert!(session_of(&running, 1, 1).await.unwrap().is_some());
}

/// A login that is committed while an import looks whether the store is empty: it was acknowledged, so
/// it stays, and what throws imports away does not touch it.
#[tokio::test]
async fn a_login_that_comes_before_the_mark_is_kept() {
    for dies in [false, true] {
        let engine = Arc::new(VersionedMemory::new());
        let running = open(&engine).await.unwrap();
        // After the scan, and before the commit that marks the store.
        engine.interrupt(2, |engine| {
            let version = Version::first(&Entropy::default()).unwrap();
            let record = (b"u/somebody".to_vec(), Some(b"a user".to_vec()));
            engine.write(version, [record].into());
        });
        if dies {
            engine.fail_next([SharedFault::None]);
            engine.fail_next(vec![SharedFault::Refuse; 1000]);
        }
        let refused = refusal(begin(&engine).await);
        let marked = engine.commits().len();
        assert_eq!(marked, if dies { 3 } else { 4 }, "{refused}");
        if dies {
            engine.recover();
            assert!(refusal(running.check().await).contains("discard-import"));
            assert_eq!(discard(&engine).await.unwrap(), 0);
        } else {
            assert!(refused.contains("it has users"), "{refused}");
        }
        assert_eq!(records(&engine).await, 2);
        running.check().await.unwrap();
        running.login(&login_of("alice", 1)).await.unwrap();
    }
}

#[tokio::test]
async fn each_commit_of_an_import_happens_once() {
    let engine = Arc::new(VersionedMemory::new());
    let target = begin(&engine).await.unwrap();
    engine.fail_next([
        SharedFault::Late,
        SharedFault::HappenUntold,
        SharedFault::Lose,
        SharedFault::Conflict,
    ]);
    target.store().restore(export_of(40).await).await.unwrap();
    let after = records(&engine).await;
    engine.deliver_late();
    assert_eq!(records(&engine).await, after);
    engine.fail_next([SharedFault::HappenUntold]);
    target.finish().await.unwrap();
    let opened = open(&engine).await.unwrap();
    for n in 1..=40 {
        assert!(session_of(&opened, n, n).await.unwrap().is_some(), "{n}");
    }
    assert_eq!(opened.backlog().await.unwrap().waiting, 0);
}

#[tokio::test]
async fn a_store_that_is_only_to_be_read_is_not_changed() {
    let engine = Arc::new(VersionedMemory::new());
    let read_only = OpenOptions {
        access: Access::ReadOnly,
        ..options()
    };
    let open_to_read = async |keys: &WrappingKeys| {
        let engine = Arc::<VersionedMemory>::clone(&engine);
        EngineStore::shared(engine, &read_only, keys, Entropy::default()).await
    };
    let refused = refusal(open_to_read(&keys()).await);
    assert!(refused.contains("no menshen has run with it"), "{refused}");
    assert_eq!(records(&engine).await, 0);

    open(&engine)
        .await
        .unwrap()
        .login(&login_of("alice", 1))
        .await
        .unwrap();
    let before = engine.commits().len();
    // With a newer encryption key, under which a start would bring the keyring.
    let newer = WrappingKeys::derive(&Key::new([8; 32]), Some(&Key::new(KEY)));
    let store = open_to_read(&newer).await.unwrap();
    assert!(session_of(&store, 1, 1).await.unwrap().is_some());
    let refused = refusal(store.login(&login_of("alice", 2)).await);
    assert!(refused.contains("only to be read"), "{refused}");
    assert_eq!(engine.commits().len(), before);
}
