//! Sweeping, signing keys, health and the end.

use std::time::Duration;

use super::{
    ABSOLUTE, IDLE, NOW, Subject, at, is_active, is_spent, later, login_of, moved, opened,
    rotation, together, whole_log, with_code,
};
use crate::{
    store::{RevocationScope, RotationOutcome, StoreError, StoredKey},
    types::{REVOCATION_RETENTION, Secret, Timestamp, UserId},
};

/// When everything that a case made has expired and been forgotten.
fn long_after() -> Timestamp {
    NOW.plus(ABSOLUTE).plus(ABSOLUTE)
}

async fn sweep_all(store: &Subject, now: Timestamp, limit: usize) -> usize {
    let mut settled = 0;
    loop {
        let some = store.sweep(now, limit).await.expect("works");
        assert!(some <= limit, "{some} of at most {limit}");
        settled += some;
        if some < limit {
            return settled;
        }
    }
}

// A piece at a time until nothing is left, and then there is nothing to do.
case!(a_sweep_is_bounded_and_complete, async |store| {
    for n in 1..=10 {
        let code = u8::try_from(n).expect("small");
        opened(&store, &with_code(login_of("alice", n), code)).await;
    }
    let user = UserId::parse("u1").expect("an id");
    store
        .revoke(&RevocationScope::User(user.clone()), NOW)
        .await
        .expect("works");
    assert_eq!(
        store.sweep(NOW, 100).await.expect("works"),
        0,
        "nothing has expired yet"
    );
    // Ten codes and one line of the log, at least.
    assert!(sweep_all(&store, long_after(), 4).await >= 2);
    for n in 1..=10 {
        let id = login_of("alice", n).session.id;
        assert_eq!(store.salt(id, long_after()).await, None);
    }
    assert_eq!(whole_log(&store).await, []);
    assert_eq!(store.sweep(long_after(), 100).await.expect("works"), 0);
    assert!(
        store.user(&user).await.expect("works").is_some(),
        "users do not expire"
    );
});

// What can still be asked for stays.
case!(a_sweep_keeps_what_lives, async |store| {
    let login = with_code(login_of("alice", 1), 1);
    let alice = opened(&store, &login).await;
    let other = opened(&store, &login_of("alice", 2)).await;
    let what = RevocationScope::Session {
        user: alice.user.id.clone(),
        session: other.session.id,
    };
    store.revoke(&what, NOW).await.expect("works");
    sweep_all(&store, later(599), 10).await;
    let (code, until) = login.code.expect("a code");
    assert!(is_spent(&store, &code, later(599)).await);
    sweep_all(
        &store,
        NOW.plus(REVOCATION_RETENTION).minus(Duration::from_secs(1)),
        10,
    )
    .await;
    assert!(!is_spent(&store, &code, until).await);
    assert_eq!(
        whole_log(&store).await.len(),
        1,
        "no access token may outlive the line that revokes it"
    );
    sweep_all(&store, NOW.plus(IDLE).minus(Duration::from_secs(1)), 10).await;
    assert!(is_active(&store, alice.session.id, NOW).await);
    let outcome = super::rotated(&store, &rotation(other.session.id, 0, later(1))).await;
    assert!(
        matches!(outcome, RotationOutcome::Revoked),
        "remembered, so that the answer can say so"
    );
});

// A session that was used after it had been opened is not swept by its first date.
case!(a_session_in_use_survives_its_first_sweep, async |store| {
    let id = opened(&store, &login_of("alice", 1)).await.session.id;
    let used = NOW.plus(IDLE).minus(Duration::from_mins(1));
    moved(&store, &rotation(id, 0, used)).await;
    let swept = NOW.plus(IDLE).plus(Duration::from_hours(8 * 24));
    sweep_all(&store, swept, 10).await;
    assert!(is_active(&store, id, swept).await);
    assert_eq!(moved(&store, &rotation(id, 1, swept)).await, 2);
    sweep_all(&store, long_after(), 10).await;
    assert_eq!(store.salt(id, long_after()).await, None);
    opened(&store, &at(login_of("alice", 2), long_after())).await;
});

fn key(kid: &str) -> StoredKey {
    StoredKey {
        kid: kid.to_owned(),
        algorithm: "EdDSA".to_owned(),
        private: Secret::new(format!("private half of {kid}").into_bytes()),
        created_at: NOW,
        signs_from: later(60),
    }
}

async fn kids(store: &Subject) -> Vec<String> {
    store
        .keys()
        .await
        .expect("works")
        .into_iter()
        .map(|key| key.kid)
        .collect()
}

// 20 replicas start at once and end up with one key.
case!(one_of_two_first_keys_wins, async |store| {
    let added = together((0..20).map(|n| {
        let store = store.clone();
        async move {
            store
                .add_key(&key(&format!("key-{n}")), None)
                .await
                .expect("works")
        }
    }))
    .await;
    assert_eq!(added.iter().filter(|added| **added).count(), 1);
    assert_eq!(kids(&store).await.len(), 1);
});

// As they were given, the newest in front; one that has gone is gone.
case!(keys_come_newest_first_and_go, async |store| {
    assert_eq!(kids(&store).await, [""; 0]);
    assert!(store.add_key(&key("a"), None).await.expect("works"));
    assert!(store.add_key(&key("b"), Some("a")).await.expect("works"));
    assert!(!store.add_key(&key("c"), Some("a")).await.expect("works"));
    assert!(!store.add_key(&key("c"), None).await.expect("works"));
    assert!(store.add_key(&key("c"), Some("b")).await.expect("works"));
    assert_eq!(kids(&store).await, ["c", "b", "a"]);
    let newest = store.keys().await.expect("works").remove(0);
    assert_eq!(newest.private.expose(), key("c").private.expose());
    assert_eq!(
        (
            newest.algorithm.as_str(),
            newest.created_at,
            newest.signs_from
        ),
        ("EdDSA", NOW, later(60))
    );
    for _ in 0..2 {
        store.remove_key("b").await.expect("works");
        assert_eq!(kids(&store).await, ["c", "a"]);
    }
});

// A repeat after an unknown outcome adds nothing and is not a defeat.
case!(an_added_key_may_be_added_again, async |store| {
    for _ in 0..2 {
        assert!(store.add_key(&key("a"), None).await.expect("works"));
        assert_eq!(kids(&store).await, ["a"]);
    }
});

// Every call after the end fails as `Closed`, and ending twice is fine.
case!(a_closed_store_says_so, async |store| {
    let alice = opened(&store, &login_of("alice", 1)).await;
    store.close().await.expect("works");
    store.close().await.expect("again");
    assert!(matches!(
        store.login(&login_of("alice", 2)).await,
        Err(StoreError::Closed)
    ));
    assert!(matches!(
        store.user(&alice.user.id).await,
        Err(StoreError::Closed)
    ));
    assert!(matches!(
        store.session(&alice.user.id, alice.session.id, NOW).await,
        Err(StoreError::Closed)
    ));
    assert!(matches!(
        store.rotate(&rotation(alice.session.id, 0, NOW)).await,
        Err(StoreError::Closed)
    ));
    assert!(matches!(store.sweep(NOW, 1).await, Err(StoreError::Closed)));
    assert!(matches!(store.check().await, Err(StoreError::Closed)));
    assert!(matches!(store.stats().await, Err(StoreError::Closed)));
});

// Also before anything is in it.
case!(a_healthy_store_says_so, async |store| {
    store.check().await.expect("healthy");
    opened(&store, &login_of("alice", 1)).await;
    store.check().await.expect("healthy");
    store.stats().await.expect("figures");
});
