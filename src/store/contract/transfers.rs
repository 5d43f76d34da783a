//! Out of one store and into another.

use std::sync::Arc;

use super::{
    Subject, at, engines, is_active, later, login_of, moved, opened, rotation, whole_log,
    with_unionid,
};
use crate::{
    crypto::Key,
    entropy::Entropy,
    store::{
        ExportRecord, ImportTarget, NewUserId, OpenOptions, OutboxEvent, OutboxPolicy,
        RevocationScope, RotationOutcome, StoredKey, Unreadable, UserIdentity, UserLookup,
        WrappingKeys, engine_store::EngineStore,
    },
    types::{AppId, OpenId, Secret, SessionId, UserId},
};

async fn exported(store: &Subject) -> Vec<ExportRecord> {
    let mut export = store
        .export(Unreadable::Fails)
        .await
        .expect("the store works");
    let mut all = Vec::new();
    while let Some(things) = export.next().await {
        all.extend(things.expect("the store works"));
    }
    all
}

fn another(store: &Subject) -> Subject {
    let keys = WrappingKeys::derive(&Key::new([9; 32]), None);
    let options = OpenOptions::default();
    let other = EngineStore::memory(&options, &keys, Entropy::default());
    store.with_store(Arc::new(other.expect("a store")))
}

async fn add_two_keys(store: &Subject) {
    for kid in ["one", "two"] {
        let after = (kid == "two").then_some("one");
        let key = StoredKey {
            kid: kid.to_owned(),
            algorithm: "EdDSA".to_owned(),
            private: Secret::new(kid.as_bytes().to_vec()),
            created_at: later(1),
            signs_from: later(2),
        };
        assert!(store.add_key(&key, after).await.expect("works"));
    }
}

/// The store, which is empty, with these records.
async fn filled(store: &Subject, records: &[ExportRecord]) -> Subject {
    let Some(engine) = store.engine.clone() else {
        for chunk in records.chunks(4) {
            store.restore(chunk.to_vec()).await.expect("works");
        }
        return store.clone();
    };
    let (options, keys) = (OpenOptions::default(), engines::keys());
    let begun = ImportTarget::begin(Arc::clone(&engine), &options, &keys, Entropy::default());
    let target = begun.await.expect("it is empty");
    for chunk in records.chunks(4) {
        let restored = target.store().restore(chunk.to_vec()).await;
        restored.expect("works");
    }
    target.finish().await.expect("works");
    engines::on(engine).await
}

/// Another store with all that is in this one, restored in chunks.
async fn moved_to_another(store: &Subject) -> Subject {
    let records = exported(store).await;
    let other = another(store);
    for chunk in records.chunks(3) {
        other.restore(chunk.to_vec()).await.expect("works");
    }
    other
}

// Users, identities, sessions, revocations, keys, counters, ids that are taken, and what the
// backend has to hear.
case!(everything_moves_to_another_store, async |store| {
    let integer = |mut login: crate::store::NewLogin| {
        login.new_user = NewUserId::NextInteger { first: 1 };
        login
    };
    let alice = opened(
        &store,
        &with_unionid(integer(login_of("alice", 1)), "union"),
    )
    .await;
    let bob = opened(&store, &integer(login_of("bob", 2))).await;
    let carol = opened(&store, &integer(login_of("carol", 3))).await;
    let all = OutboxPolicy {
        created: true,
        deleted: true,
        merged: true,
        withdrawn: true,
    };
    store
        .erase_user(&carol.user.id, None, all, later(1))
        .await
        .expect("works")
        .expect("a user");
    let one = RevocationScope::Session {
        user: bob.user.id.clone(),
        session: bob.session.id,
    };
    store.revoke(&one, later(1)).await.expect("works");
    moved(&store, &rotation(alice.session.id, 0, later(2))).await;
    add_two_keys(&store).await;
    let other = moved_to_another(&store).await;

    for person in [&alice, &bob] {
        let id = &person.user.id;
        assert_eq!(
            other.user(id).await.expect("works"),
            store.user(id).await.expect("works")
        );
    }
    assert!(matches!(
        other.lookup_user(&carol.user.id).await.expect("works"),
        UserLookup::Deleted { .. }
    ));
    let mut left = whole_log(&store).await;
    for entry in whole_log(&other).await {
        let at = left.iter().position(|known| *known == entry);
        left.remove(at.expect("an entry of the store"));
    }
    assert_eq!(left, []);
    let kids = |keys: Vec<StoredKey>| keys.into_iter().map(|key| key.kid).collect::<Vec<_>>();
    let keys = other.keys().await.expect("works");
    assert!(
        keys.iter()
            .all(|key| (key.created_at, key.signs_from) == (later(1), later(2)))
    );
    assert_eq!(kids(keys), ["two", "one"]);
    assert!(
        is_active(&other, alice.session.id, later(3)).await
            && !is_active(&other, bob.session.id, later(3)).await
    );
    assert_eq!(
        moved(&other, &rotation(alice.session.id, 1, later(3))).await,
        2
    );
    let revoked = super::rotated(&other, &rotation(bob.session.id, 0, later(3))).await;
    assert!(matches!(revoked, RotationOutcome::Revoked), "{revoked:?}");
    assert_eq!(
        other
            .sessions(&alice.user.id, later(3))
            .await
            .expect("works")
            .len(),
        1
    );
    let wechat = other
        .wechat(alice.session.id, later(3))
        .await
        .expect("a session");
    assert_eq!(wechat.session_keys.len(), 1);
    let events = other
        .take_outbox(later(9), later(99), 9)
        .await
        .expect("works");
    assert!(
        events.iter().any(|entry| entry.event
            == OutboxEvent::Deleted {
                user: carol.user.id.clone()
            }),
        "{events:?}"
    );
    // Whoever comes back is who they were, and a new user gets an id that nobody had.
    let again = opened(&other, &at(integer(login_of("alice", 4)), later(4))).await;
    assert_eq!((again.user.id, again.is_new_user), (alice.user.id, false));
    let new = opened(&other, &at(integer(login_of("dave", 5)), later(4))).await;
    assert!(!["1", "2", "3"].contains(&new.user.id.as_str()));
});

// What is written after it has begun is not in it, and nothing is in it half.
case!(an_export_is_of_one_moment, async |store| {
    for n in 0..500_u128 {
        opened(&store, &login_of(&format!("person{n}"), n + 1)).await;
    }
    let mut export = store
        .export(Unreadable::Fails)
        .await
        .expect("the store works");
    // Beyond what is read ahead, users go, come and change.
    for n in [0, 250, 499_u128] {
        let by = UserIdentity::OpenId(
            AppId::parse("wx1").expect("an app id"),
            OpenId::parse(&format!("person{n}")).expect("one"),
        );
        let id = store.find_user(&by).await.expect("works").expect("a user");
        store
            .erase_user(&id, None, OutboxPolicy::default(), later(1))
            .await
            .expect("works")
            .expect("a user");
    }
    for n in 500..700_u128 {
        opened(&store, &login_of(&format!("person{n}"), n + 1)).await;
    }
    let (mut users, mut sessions, mut openids) = (0, Vec::new(), 0);
    while let Some(things) = export.next().await {
        for thing in things.expect("the store works") {
            match thing {
                ExportRecord::User(user) => {
                    users += 1;
                    openids += user
                        .openids
                        .iter()
                        .filter(|openid| openid.session_key.is_some())
                        .count();
                }
                ExportRecord::Session(session) => sessions.push(session.session.id),
                ExportRecord::Tombstone { id, .. } => panic!("{id} was erased later"),
                _ => {}
            }
        }
    }
    sessions.sort_unstable();
    let expected: Vec<_> = (1..=500).map(SessionId::from_bits).collect();
    assert_eq!((users, openids), (500, 500));
    assert_eq!(sessions, expected);
});

// What the first version exported, line by line: sessions came after all users, the ended ones as
// the others. So a store of its format moves to this one with everybody signed in.
case!(an_export_of_the_first_version_is_restored, async |store| {
    let text = include_str!("export-form-1.jsonl");
    let records: Vec<ExportRecord> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("a record"))
        .collect();
    assert_eq!(records.len(), 9);
    let store = filled(&store, &records).await;
    let [alice, gone] = ["7", "6"].map(|id| UserId::parse(id).expect("an id"));
    let user = store.user(&alice).await.expect("works").expect("a user");
    assert_eq!(user.profile.nickname.as_deref(), Some("Alice"));
    assert!(matches!(
        store.lookup_user(&gone).await.expect("works"),
        UserLookup::Deleted { merged_into: Some(into), .. } if into == alice
    ));
    let [living, ended] = [1, 2].map(SessionId::from_bits);
    let found = store.wechat_session(&alice, living, later(1)).await;
    let found = found.expect("works").expect("a session");
    assert_eq!((found.session.counter, found.openid.as_str()), (3, "alice"));
    assert_eq!(found.session_keys.len(), 1);
    store.note(&found.session);
    assert_eq!(moved(&store, &rotation(living, 3, later(1))).await, 4);
    let mut of_ended = rotation(ended, 0, later(1));
    of_ended.user = alice.clone();
    let outcome = store.rotate(&of_ended).await.expect("works");
    assert!(matches!(outcome, RotationOutcome::Revoked), "{outcome:?}");
    assert_eq!(whole_log(&store).await.len(), 1);
    assert_eq!(store.keys().await.expect("works").len(), 1);
    assert_eq!(store.backlog().await.expect("works").waiting, 1);
    let mut login = login_of("bob", 3);
    login.new_user = NewUserId::NextInteger { first: 1 };
    let bob = opened(&store, &at(login, later(1))).await;
    assert_eq!((bob.user.id.as_str(), bob.global_epoch), ("8", 2));
    let back = opened(&store, &at(login_of("alice", 4), later(1))).await;
    assert_eq!((back.user.id, back.is_new_user), (alice, false));
});
