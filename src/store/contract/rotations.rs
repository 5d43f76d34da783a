//! Refresh token rotation.

use std::time::Duration;

use super::{
    ABSOLUTE, IDLE, NOW, Subject, is_active, later, login_of, moved, nobody, opened, rotated,
    rotation, together, whole_log,
};
use crate::{
    store::{
        OutboxPolicy, Renewal, RenewalProof, RevocationScope, RevocationTarget, RightsChange,
        Rotation, RotationOutcome, TokenCheck,
    },
    types::{SessionId, Timestamp, UserId},
};

// 50 at once with one token: one rotates, 49 get the same successor.
case!(parallel_rotations_have_one_winner, async |store| {
    let id = opened(&store, &login_of("alice", 1)).await.session.id;
    let outcomes = together((0..50).map(|_| {
        let store = store.clone();
        async move { rotated(&store, &rotation(id, 0, later(1))).await }
    }))
    .await;
    let counters = |wanted: fn(&RotationOutcome) -> Option<u64>| {
        outcomes.iter().filter_map(wanted).collect::<Vec<_>>()
    };
    let won = counters(|outcome| match outcome {
        RotationOutcome::Rotated(renewed) => Some(renewed.session.counter),
        _ => None,
    });
    let replayed = counters(|outcome| match outcome {
        RotationOutcome::Replayed(renewed) => Some(renewed.session.counter),
        _ => None,
    });
    assert_eq!(won, [1]);
    assert_eq!(replayed, [1; 49]);
});

// A lost answer never loses the session, and there are never two branches.
case!(
    a_replay_is_answered_until_its_successor_is_used,
    async |store| {
        let id = opened(&store, &login_of("alice", 1)).await.session.id;
        assert_eq!(moved(&store, &rotation(id, 0, later(1))).await, 1);
        for day in 1..20 {
            let outcome = rotated(&store, &rotation(id, 0, later(day * 86_400))).await;
            assert!(
                matches!(outcome, RotationOutcome::Replayed(renewed) if renewed.session.counter == 1)
            );
        }
        assert_eq!(moved(&store, &rotation(id, 1, later(2))).await, 2);
        assert!(matches!(
            rotated(&store, &rotation(id, 0, later(3))).await,
            RotationOutcome::Reused(_)
        ));
        assert!(!is_active(&store, id, later(3)).await);
    }
);

// Where the config states seconds, they count from the rotation.
case!(a_replay_window_closes, async |store| {
    let id = opened(&store, &login_of("alice", 1)).await.session.id;
    let within = |counter, seconds| {
        let mut rotation = rotation(id, counter, later(seconds));
        rotation.replay_window = Some(Duration::from_secs(30));
        rotation
    };
    assert_eq!(moved(&store, &within(0, 10)).await, 1);
    assert!(matches!(
        rotated(&store, &within(0, 40)).await,
        RotationOutcome::Replayed(_)
    ));
    assert!(matches!(
        rotated(&store, &within(0, 41)).await,
        RotationOutcome::Reused(_)
    ));
    assert!(matches!(
        rotated(&store, &within(1, 42)).await,
        RotationOutcome::Revoked
    ));
});

// One old token must not lock its user out everywhere.
case!(reuse_ends_its_session_only, async |store| {
    let stolen = opened(&store, &login_of("alice", 1)).await;
    let other = opened(&store, &login_of("alice", 2)).await.session.id;
    for counter in 0..2 {
        moved(&store, &rotation(stolen.session.id, counter, later(1))).await;
    }
    let outcome = rotated(&store, &rotation(stolen.session.id, 0, later(2))).await;
    assert!(matches!(outcome, RotationOutcome::Reused(user) if user == stolen.user.id));
    assert!(!is_active(&store, stolen.session.id, later(2)).await);
    assert!(is_active(&store, other, later(2)).await);
    moved(&store, &rotation(other, 0, later(3))).await;
    let log = whole_log(&store).await;
    assert_eq!(log.len(), 1);
    assert_eq!(
        (log[0].at, &log[0].target),
        (later(2), &RevocationTarget::Session(stolen.session.id))
    );
});

// No counter gets past a revocation: not the present one, not the one with a grace, not the next.
case!(a_revoked_session_never_refreshes, async |store| {
    let opened = opened(&store, &login_of("alice", 1)).await;
    let id = opened.session.id;
    for counter in 0..3 {
        moved(&store, &rotation(id, counter, later(1))).await;
    }
    store
        .revoke(
            &RevocationScope::Session {
                user: opened.user.id,
                session: id,
            },
            later(2),
        )
        .await
        .expect("works");
    for counter in 0..6 {
        let outcome = rotated(&store, &rotation(id, counter, later(2))).await;
        assert!(
            matches!(outcome, RotationOutcome::Revoked),
            "{counter}: {outcome:?}"
        );
    }
    assert_eq!(store.salt(id, later(2)).await, Some(opened.session.salt));
});

// Reuse is a revocation like any other.
case!(
    a_session_that_was_ended_for_reuse_stays_ended,
    async |store| {
        let id = opened(&store, &login_of("alice", 1)).await.session.id;
        for counter in 0..5 {
            moved(&store, &rotation(id, counter, later(1))).await;
        }
        assert!(matches!(
            rotated(&store, &rotation(id, 2, later(2))).await,
            RotationOutcome::Reused(_)
        ));
        for counter in 0..8 {
            assert!(
                matches!(
                    rotated(&store, &rotation(id, counter, later(2))).await,
                    RotationOutcome::Revoked
                ),
                "{counter}"
            );
        }
        assert_eq!(whole_log(&store).await.len(), 1);
    }
);

// A failover lost the last rotation; its token is genuine, so the session catches up.
case!(a_lost_rotation_is_caught_up, async |store| {
    let id = opened(&store, &login_of("alice", 1)).await.session.id;
    assert_eq!(moved(&store, &rotation(id, 1, later(1))).await, 2);
    assert!(matches!(
        rotated(&store, &rotation(id, 1, later(1))).await,
        RotationOutcome::Replayed(_)
    ));
    assert_eq!(moved(&store, &rotation(id, 2, later(2))).await, 3);
});

// Further ahead than anybody was given: fail closed.
case!(a_counter_from_nowhere_ends_the_session, async |store| {
    for (n, counter) in [(1, 2), (2, 1000), (3, u64::MAX)] {
        let id = opened(&store, &login_of("alice", n)).await.session.id;
        assert!(
            matches!(
                rotated(&store, &rotation(id, counter, later(1))).await,
                RotationOutcome::Reused(_)
            ),
            "{counter}"
        );
        assert!(!is_active(&store, id, later(1)).await, "{counter}");
    }
});

// Use keeps a session alive, but not for ever.
case!(
    rotation_moves_the_idle_end_but_not_the_absolute_end,
    async |store| {
        let id = opened(&store, &login_of("alice", 1)).await.session.id;
        let mut now = NOW;
        for counter in 0..4 {
            now = now.plus(Duration::from_hours(20 * 24));
            let RotationOutcome::Rotated(renewed) =
                rotated(&store, &rotation(id, counter, now)).await
            else {
                panic!("not rotated");
            };
            let session = renewed.session;
            assert_eq!(session.absolute_end, NOW.plus(ABSOLUTE));
            assert_eq!(session.idle_end, now.plus(IDLE).min(NOW.plus(ABSOLUTE)));
            assert_eq!((session.rotated_at, session.last_used_at), (now, now));
            assert_eq!(store.active(id, now).await, Some(session));
        }
        assert!(matches!(
            rotated(&store, &rotation(id, 4, NOW.plus(ABSOLUTE))).await,
            RotationOutcome::Expired
        ));
    }
);

// Neither the present token nor a replay.
case!(an_expired_session_does_not_refresh, async |store| {
    let id = opened(&store, &login_of("alice", 1)).await.session.id;
    moved(&store, &rotation(id, 0, later(1))).await;
    let end = later(1).plus(IDLE);
    for counter in 0..5 {
        assert!(
            matches!(
                rotated(&store, &rotation(id, counter, end)).await,
                RotationOutcome::Expired
            ),
            "{counter}"
        );
    }
    moved(
        &store,
        &rotation(id, 1, end.minus(Duration::from_millis(1))),
    )
    .await;
});

// Not a counter that would end the session for a genuine token, and no renewal.
case!(a_token_that_is_not_genuine_changes_nothing, async |store| {
    let opened = opened(&store, &login_of("alice", 1)).await;
    let session = opened.session;
    for counter in [0, 1, 9] {
        let forged = TokenCheck::new(|_| false);
        let rotation = Rotation {
            check: forged.clone(),
            ..rotation(session.id, counter, later(1))
        };
        let outcome = rotated(&store, &rotation).await;
        assert!(matches!(outcome, RotationOutcome::Unknown), "{outcome:?}");
        let renewal = Renewal {
            user: opened.user.id.clone(),
            session: session.id,
            proof: RenewalProof::RefreshToken {
                counter,
                check: forged,
            },
            idle_ttl: IDLE,
            now: later(1),
        };
        let outcome = store.renew(&renewal).await.expect("works");
        assert!(matches!(outcome, RotationOutcome::Unknown), "{outcome:?}");
    }
    assert_eq!(store.salt(session.id, NOW).await, Some(session.salt));
    assert_eq!(store.active(session.id, later(1)).await, Some(session));
});

// And has no salt.
case!(an_unknown_session_does_not_refresh, async |store| {
    let id = SessionId::from_bits(404);
    assert!(matches!(
        rotated(&store, &rotation(id, 0, NOW)).await,
        RotationOutcome::Unknown
    ));
    assert_eq!(store.salt(id, NOW).await, None);
    assert!(!is_active(&store, id, NOW).await);
});

/// By the refresh token of the user who opened the session.
fn by_token(session: SessionId, counter: u64, now: Timestamp) -> Renewal {
    Renewal {
        user: nobody(),
        session,
        proof: RenewalProof::RefreshToken {
            counter,
            check: super::genuine(),
        },
        idle_ttl: IDLE,
        now,
    }
}

fn by_user(session: SessionId, user: &UserId, now: Timestamp) -> Renewal {
    Renewal {
        user: user.clone(),
        session,
        proof: RenewalProof::AccessToken,
        idle_ttl: IDLE,
        now,
    }
}

async fn renewed(store: &Subject, renewal: &Renewal) -> RotationOutcome {
    let mut renewal = renewal.clone();
    if renewal.user == nobody() {
        renewal.user = store.owner(renewal.session);
    }
    store.renew(&renewal).await.expect("the store works")
}

// The first token is good until the absolute end, as often as it comes, also many times at once.
case!(a_renewal_leaves_the_token_as_it_is, async |store| {
    let first = opened(&store, &login_of("alice", 1)).await;
    let id = first.session.id;
    let outcomes = together((0..20).map(|_| {
        let store = store.clone();
        async move { renewed(&store, &by_token(id, 0, later(1))).await }
    }))
    .await;
    assert!(outcomes.iter().all(
        |outcome| matches!(outcome, RotationOutcome::Rotated(now) if now.session.counter == 0)
    ));
    let step = IDLE.as_secs() - 1;
    let mut now = step;
    while now < ABSOLUTE.as_secs() {
        assert!(
            matches!(
                renewed(&store, &by_token(id, 0, later(now))).await,
                RotationOutcome::Rotated(_)
            ),
            "{now}"
        );
        now += step;
    }
    let last = ABSOLUTE.as_secs() - 1;
    let RotationOutcome::Rotated(end) = renewed(&store, &by_token(id, 0, later(last))).await else {
        panic!("the last day")
    };
    assert_eq!(
        (end.session.idle_end, end.session.last_used_at),
        (first.session.absolute_end, later(last))
    );
    assert!(matches!(
        renewed(&store, &by_token(id, 0, later(last + 1))).await,
        RotationOutcome::Expired
    ));
    let idle = opened(&store, &login_of("bob", 2)).await.session.id;
    assert!(matches!(
        renewed(&store, &by_token(idle, 0, later(IDLE.as_secs()))).await,
        RotationOutcome::Expired
    ));
});

// Neither kind of proof brings back what has ended.
case!(a_renewal_gets_past_no_revocation, async |store| {
    let alice = opened(&store, &login_of("alice", 1)).await;
    let (user, id) = (alice.user.id, alice.session.id);
    store
        .revoke(
            &RevocationScope::Session {
                user: user.clone(),
                session: id,
            },
            later(1),
        )
        .await
        .expect("works");
    for renewal in [by_token(id, 0, later(2)), by_user(id, &user, later(2))] {
        assert!(matches!(
            renewed(&store, &renewal).await,
            RotationOutcome::Revoked
        ));
    }
    let id = opened(&store, &login_of("alice", 2)).await.session.id;
    store
        .revoke(&RevocationScope::Everything, later(3))
        .await
        .expect("works");
    assert!(matches!(
        renewed(&store, &by_user(id, &user, later(4))).await,
        RotationOutcome::Revoked
    ));
    assert!(matches!(
        renewed(&store, &by_token(SessionId::from_bits(9), 0, NOW)).await,
        RotationOutcome::Unknown
    ));
    let bob = opened(&store, &login_of("bob", 3)).await;
    store
        .change_rights(&bob.user.id, &RightsChange::Ban, later(5))
        .await
        .expect("works");
    for renewal in [
        by_token(bob.session.id, 0, later(6)),
        by_user(bob.session.id, &bob.user.id, later(6)),
    ] {
        assert!(matches!(
            renewed(&store, &renewal).await,
            RotationOutcome::Disabled(_)
        ));
    }
    store
        .change_rights(&bob.user.id, &RightsChange::Unban, later(7))
        .await
        .expect("works");
    let ended = renewed(&store, &by_user(bob.session.id, &bob.user.id, later(8))).await;
    assert!(
        matches!(ended, RotationOutcome::Revoked),
        "a ban ends sessions for good"
    );
    let carol = opened(&store, &login_of("carol", 4)).await;
    store
        .erase_user(&carol.user.id, None, OutboxPolicy::default(), later(5))
        .await
        .expect("works");
    let gone = renewed(&store, &by_user(carol.session.id, &carol.user.id, later(6))).await;
    assert!(
        matches!(gone, RotationOutcome::Unknown | RotationOutcome::Revoked),
        "{gone:?}"
    );
});

// An access token says whose it is; a session of somebody else stays alone.
case!(a_renewal_is_for_the_session_s_own_user, async |store| {
    let alice = opened(&store, &login_of("alice", 1)).await;
    let bob = opened(&store, &login_of("bob", 2)).await;
    let foreign = by_user(bob.session.id, &alice.user.id, later(1));
    assert!(matches!(
        renewed(&store, &foreign).await,
        RotationOutcome::Unknown
    ));
    let own = renewed(&store, &by_user(bob.session.id, &bob.user.id, later(1))).await;
    assert!(
        matches!(own, RotationOutcome::Rotated(now) if now.user.id == bob.user.id && now.session.counter == 0)
    );
    moved(&store, &rotation(bob.session.id, 0, later(2))).await;
    let moved_on = renewed(&store, &by_user(bob.session.id, &bob.user.id, later(3))).await;
    assert!(matches!(moved_on, RotationOutcome::Rotated(now) if now.session.counter == 1));
});

// Where the same session is rotated elsewhere, two hold its tokens.
case!(
    a_token_that_was_rotated_away_renews_nothing,
    async |store| {
        let id = opened(&store, &login_of("alice", 1)).await.session.id;
        moved(&store, &rotation(id, 0, later(1))).await;
        assert!(matches!(
            renewed(&store, &by_token(id, 0, later(2))).await,
            RotationOutcome::Reused(_)
        ));
        assert!(!is_active(&store, id, later(2)).await);
        assert!(matches!(
            rotated(&store, &rotation(id, 1, later(3))).await,
            RotationOutcome::Revoked
        ));
        let id = opened(&store, &login_of("alice", 2)).await.session.id;
        for counter in [2, 9, u64::MAX] {
            let id = opened(&store, &login_of("alice", 10 + u128::from(counter)))
                .await
                .session
                .id;
            assert!(
                matches!(
                    renewed(&store, &by_token(id, counter, later(1))).await,
                    RotationOutcome::Reused(_)
                ),
                "{counter}"
            );
        }
        let ahead = renewed(&store, &by_token(id, 1, later(1))).await;
        assert!(
            matches!(ahead, RotationOutcome::Rotated(now) if now.session.counter == 0),
            "a rotation that was lost"
        );
    }
);
