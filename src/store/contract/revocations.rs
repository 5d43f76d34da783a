//! Revocations and their log.

use std::{collections::BTreeSet, sync::Arc};

use tokio::sync::Barrier;

use super::{
    IDLE, NOW, is_active, later, login_of, moved, opened, rotated, rotation, together, whole_log,
};
use crate::{
    store::{
        LogCursor, LookBack, RevocationEntry, RevocationOutcome, RevocationScope, RevocationTarget,
        RotationOutcome,
    },
    types::{REVOCATION_RETENTION, SessionId, UserId},
};

// Somebody else's session is none of my business.
case!(one_session_is_ended_by_its_user_only, async |store| {
    let alice = opened(&store, &login_of("alice", 1)).await;
    let bob = opened(&store, &login_of("bob", 2)).await;
    let theirs = RevocationScope::Session {
        user: bob.user.id.clone(),
        session: alice.session.id,
    };
    assert_eq!(
        store.revoke(&theirs, NOW).await.expect("works"),
        RevocationOutcome::default()
    );
    let nobodys = RevocationScope::Session {
        user: bob.user.id.clone(),
        session: SessionId::from_bits(404),
    };
    assert_eq!(
        store.revoke(&nobodys, NOW).await.expect("works"),
        RevocationOutcome::default()
    );
    assert!(is_active(&store, alice.session.id, NOW).await);

    let own = RevocationScope::Session {
        user: alice.user.id,
        session: alice.session.id,
    };
    let revoked = store.revoke(&own, later(1)).await.expect("works");
    let entry = RevocationEntry {
        at: later(1),
        target: RevocationTarget::Session(alice.session.id),
    };
    assert_eq!(
        revoked,
        RevocationOutcome {
            sessions: vec![alice.session.id],
            entries: vec![entry.clone()]
        }
    );
    assert!(!is_active(&store, alice.session.id, later(1)).await);
    assert!(is_active(&store, bob.session.id, later(1)).await);
    assert_eq!(whole_log(&store).await, [entry]);
});

// All of mine but this one, and nobody else's.
case!(the_others_are_ended, async |store| {
    for n in 1..=5 {
        opened(&store, &login_of("alice", n)).await;
    }
    let bob = opened(&store, &login_of("bob", 9)).await;
    let user = UserId::parse("u1").expect("an id");
    let keep = SessionId::from_bits(3);
    let revoked = store
        .revoke(
            &RevocationScope::Others {
                user: user.clone(),
                keep,
            },
            NOW,
        )
        .await
        .expect("works");
    let ended: BTreeSet<_> = revoked.sessions.iter().map(|id| id.bits()).collect();
    assert_eq!(ended, [1, 2, 4, 5].into());
    let logged: BTreeSet<_> = whole_log(&store)
        .await
        .into_iter()
        .map(|entry| match entry.target {
            RevocationTarget::Session(id) => id.bits(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(logged, ended);
    let left = store.sessions(&user, NOW).await.expect("works");
    assert_eq!(
        left.iter().map(|session| session.id).collect::<Vec<_>>(),
        [keep]
    );
    assert!(is_active(&store, bob.session.id, NOW).await);
    assert_eq!(
        store
            .user(&user)
            .await
            .expect("works")
            .expect("a user")
            .epoch,
        0
    );
});

// Every access token made before is below it; a new login is not.
case!(a_user_s_epoch_rises, async |store| {
    let first = opened(&store, &login_of("alice", 1)).await;
    opened(&store, &login_of("alice", 2)).await;
    let bob = opened(&store, &login_of("bob", 3)).await;
    let revoked = store
        .revoke(&RevocationScope::User(first.user.id.clone()), NOW)
        .await
        .expect("works");
    assert_eq!(
        revoked
            .sessions
            .iter()
            .map(|id| id.bits())
            .collect::<BTreeSet<_>>(),
        [1, 2].into()
    );
    let target = RevocationTarget::User {
        id: first.user.id.clone(),
        epoch: first.user.epoch + 1,
    };
    assert_eq!(revoked.entries, [RevocationEntry { at: NOW, target }]);
    assert_eq!(whole_log(&store).await, revoked.entries);
    assert!(matches!(
        rotated(&store, &rotation(first.session.id, 0, NOW)).await,
        RotationOutcome::Revoked
    ));
    assert!(is_active(&store, bob.session.id, NOW).await);

    let again = opened(&store, &login_of("alice", 4)).await;
    assert_eq!(again.user.epoch, first.user.epoch + 1);
    assert_eq!(moved(&store, &rotation(again.session.id, 0, NOW)).await, 1);
    let nobody = RevocationScope::User(UserId::parse("nobody").expect("an id"));
    assert_eq!(
        store.revoke(&nobody, NOW).await.expect("works"),
        RevocationOutcome::default()
    );
});

// Sessions of before neither refresh nor count as living; sessions of after do.
case!(
    a_revocation_of_everything_stops_all_refreshing,
    async |store| {
        let before = opened(&store, &login_of("alice", 1)).await;
        opened(&store, &login_of("bob", 2)).await;
        let revoked = store
            .revoke(&RevocationScope::Everything, NOW)
            .await
            .expect("works");
        assert_eq!(revoked.sessions, []);
        let target = RevocationTarget::Everything {
            epoch: before.global_epoch + 1,
        };
        assert_eq!(revoked.entries, [RevocationEntry { at: NOW, target }]);
        assert_eq!(whole_log(&store).await, revoked.entries);
        for n in [1, 2] {
            let id = SessionId::from_bits(n);
            for counter in 0..2 {
                assert!(matches!(
                    rotated(&store, &rotation(id, counter, NOW)).await,
                    RotationOutcome::Revoked
                ));
            }
            assert!(!is_active(&store, id, NOW).await);
        }
        assert_eq!(
            store.sessions(&before.user.id, NOW).await.expect("works"),
            []
        );
        let after = opened(&store, &login_of("alice", 3)).await;
        assert_eq!(after.global_epoch, before.global_epoch + 1);
        assert_eq!(moved(&store, &rotation(after.session.id, 0, NOW)).await, 1);
    }
);

// A repeat after an unknown outcome ends nothing more. The log may say it again, because the first time
// may have come too late for others; long after that it does not.
case!(revoking_twice_is_revoking_once, async |store| {
    let alice = opened(&store, &login_of("alice", 1)).await;
    let what = RevocationScope::Session {
        user: alice.user.id,
        session: alice.session.id,
    };
    assert_eq!(
        store
            .revoke(&what, NOW)
            .await
            .expect("works")
            .sessions
            .len(),
        1
    );
    let again = store.revoke(&what, NOW).await.expect("works");
    assert_eq!(again.sessions, []);
    let log = whole_log(&store).await;
    assert!(log.iter().all(|entry| *entry == log[0]), "{log:?}");
    let much_later = store.revoke(&what, later(3600)).await.expect("works");
    assert_eq!(much_later, RevocationOutcome::default());
    assert_eq!(whole_log(&store).await.len(), log.len());
});

// Each once, with a cursor that goes on where it stood.
case!(the_log_is_read_in_pieces, async |store| {
    let empty = store
        .revocations(None, LookBack::Window, REVOCATION_RETENTION, 10, NOW)
        .await
        .expect("works");
    assert!(empty.entries.is_empty() && !empty.more);
    let mut cursor = empty.next;
    for n in 1..=10 {
        opened(&store, &login_of("alice", n)).await;
    }
    let user = UserId::parse("u1").expect("an id");
    for n in 1..=10_u64 {
        let what = RevocationScope::Session {
            user: user.clone(),
            session: SessionId::from_bits(n.into()),
        };
        store.revoke(&what, later(n)).await.expect("works");
    }
    let mut seen = Vec::new();
    for (length, more) in [(4, true), (4, true), (2, false), (0, false)] {
        let page = store
            .revocations(
                Some(&cursor),
                LookBack::Window,
                REVOCATION_RETENTION,
                4,
                NOW,
            )
            .await
            .expect("works");
        assert_eq!((page.entries.len(), page.more), (length, more));
        seen.extend(page.entries.iter().map(|entry| entry.at));
        cursor = page.next;
    }
    // Those of one millisecond come in any order.
    seen.sort_unstable();
    assert_eq!(seen, (1..=10).map(later).collect::<Vec<_>>());
    store
        .revoke(&RevocationScope::Everything, later(11))
        .await
        .expect("works");
    let page = store
        .revocations(
            Some(&cursor),
            LookBack::Window,
            REVOCATION_RETENTION,
            4,
            NOW,
        )
        .await
        .expect("works");
    assert_eq!(page.entries.len(), 1);
    let strange = LogCursor {
        place: b"of another engine".to_vec(),
        ..cursor
    };
    assert_eq!(
        store
            .revocations(
                Some(&strange),
                LookBack::Window,
                REVOCATION_RETENTION,
                100,
                NOW
            )
            .await
            .expect("works")
            .entries
            .len(),
        11,
        "repeats, never skips"
    );
});

// A reader that follows while 8 writers write sees every line.
case!(
    the_log_skips_nothing_under_parallel_writers,
    async |store| {
        const WRITERS: u128 = 8;
        const EACH: u128 = 10;
        for n in 0..WRITERS * EACH {
            opened(&store, &login_of("alice", n)).await;
        }
        let user = UserId::parse("u0").expect("an id");
        let start = Arc::new(Barrier::new(usize::try_from(WRITERS).expect("small") + 1));
        let (writing_store, writers_start) = (store.clone(), start.clone());
        let writers = (0..WRITERS).map(move |writer| {
            let (store, user, start) = (writing_store.clone(), user.clone(), writers_start.clone());
            async move {
                start.wait().await;
                for n in 0..EACH {
                    let session = SessionId::from_bits(writer * EACH + n);
                    store
                        .revoke(
                            &RevocationScope::Session {
                                user: user.clone(),
                                session,
                            },
                            NOW,
                        )
                        .await
                        .expect("works");
                }
            }
        });
        let writing = tokio::spawn(together(writers));
        start.wait().await;
        let (mut seen, mut cursor) = (BTreeSet::new(), None::<LogCursor>);
        loop {
            let done = writing.is_finished();
            let page = store
                .revocations(
                    cursor.as_ref(),
                    LookBack::Window,
                    REVOCATION_RETENTION,
                    5,
                    NOW,
                )
                .await
                .expect("works");
            for entry in page.entries {
                if let RevocationTarget::Session(id) = entry.target {
                    seen.insert(id.bits());
                }
            }
            cursor = Some(page.next);
            if done && !page.more {
                break;
            }
            tokio::task::yield_now().await;
        }
        assert_eq!(seen, (0..WRITERS * EACH).collect());
        assert!(!is_active(&store, SessionId::from_bits(0), NOW.plus(IDLE)).await);
    }
);
