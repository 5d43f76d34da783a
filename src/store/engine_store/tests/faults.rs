//! An engine that fails on purpose: nobody may be told that something happened when it did not.

use super::*;
use crate::store::engine_store::faulty::{CommitFault, with_commit_fault};

#[tokio::test]
async fn a_refused_commit_changes_nothing_and_the_store_goes_on() {
    let store = with_commit_fault(1, CommitFault::Refuse);
    assert!(matches!(
        store.login(&login_of("alice", 1)).await,
        Err(StoreError::Unavailable(_))
    ));
    assert_eq!(raw_keys(&store), [FENCE]);
    let LoginOutcome::Opened(opened) = store.login(&login_of("alice", 1)).await.unwrap() else {
        panic!("not opened")
    };
    assert!(opened.is_new_user);
    store.check().await.unwrap();
}

#[tokio::test]
async fn after_a_fault_nothing_is_written_or_read_any_more() {
    for how in [
        CommitFault::Fail,
        CommitFault::FailAfter,
        CommitFault::Panic,
    ] {
        let store = with_commit_fault(2, how);
        store.login(&login_of("alice", 1)).await.unwrap();
        assert!(matches!(
            store.login(&login_of("bob", 2)).await,
            Err(StoreError::Failed(_))
        ));
        let before = raw_keys(&store).len();
        assert!(matches!(
            store.login(&login_of("carol", 3)).await,
            Err(StoreError::Failed(_))
        ));
        assert!(matches!(
            session_of(&store, 1, 1).await,
            Err(StoreError::Failed(_))
        ));
        assert!(matches!(store.check().await, Err(StoreError::Failed(_))));
        assert_eq!(raw_keys(&store).len(), before);
        store.close().await.unwrap();
        assert!(matches!(store.check().await, Err(StoreError::Closed)));
    }
}

#[tokio::test]
async fn a_fault_fails_everybody_in_the_group() {
    let store = Arc::new(with_commit_fault(1, CommitFault::Fail));
    // One thread, so that all of them are queued before the writer is looked at.
    let outcomes = futures::future::join_all((1..=50).map(|n| {
        let store = Arc::clone(&store);
        async move { store.login(&login_of("alice", n)).await }
    }))
    .await;
    assert!(
        outcomes
            .iter()
            .all(|outcome| matches!(outcome, Err(StoreError::Failed(_))))
    );
    assert_eq!(raw_keys(&store), [FENCE]);
}

#[tokio::test]
async fn an_operation_that_fails_leaves_nothing_of_itself_in_the_group() {
    let store = in_memory();
    let half = |tx: &mut Transaction<'_>| {
        tx.put(b"u/half".to_vec(), &1)?;
        Err::<(), _>(EngineError::Refused("on purpose"))
    };
    let whole = |tx: &mut Transaction<'_>| tx.put(b"u/whole".to_vec(), &1);
    let (a, b, c) = tokio::join!(
        store.run_write("login", whole),
        store.run_write("login", half),
        store.run_write("login", whole)
    );
    assert!(a.is_ok() && b.is_err() && c.is_ok());
    assert_eq!(raw_keys(&store), [FENCE, b"u/whole"]);
}

#[tokio::test]
async fn an_operation_happens_though_nobody_waits_for_it() {
    let (store, faults) = faulty::with_faults();
    let login = login_of("alice", 1);
    // Asked once, so that it is queued, then given up, before the commit can happen.
    faults.commits.close();
    let mut waiting = Box::pin(store.login(&login));
    assert!(futures::poll!(&mut waiting).is_pending());
    drop(waiting);
    faults.commits.open();
    store.check().await.unwrap();
    assert!(session_of(&store, 1, 1).await.unwrap().is_some());
}
