//! Events for the backend: written with what happened, and there until they are delivered.

use std::collections::BTreeSet;

use super::{NOW, Subject, at, later, login_of, opened, together, whole_log};
use crate::{
    store::{
        BindOutcome, CodeHash, NewSession, OutboxEntry, OutboxEvent, OutboxPolicy, PhoneBinding,
        PhoneProof, Profile, ProfileChange, RevocationEntry, RevocationOutcome, Withdrawal,
        WithdrawalOutcome, WithdrawalScope,
    },
    types::{AppId, OpenId, Phone, SessionId, Timestamp, UserId},
};

const ALL: OutboxPolicy = OutboxPolicy {
    created: true,
    deleted: true,
    merged: true,
    withdrawn: true,
};

async fn taken(store: &Subject, at: u64, until: u64) -> Vec<OutboxEntry> {
    store
        .take_outbox(later(at), later(until), 100)
        .await
        .expect("works")
}

async fn events(store: &Subject) -> Vec<OutboxEvent> {
    taken(store, 1_000_000, 1_000_001)
        .await
        .into_iter()
        .map(|entry| entry.event)
        .collect()
}

fn phone() -> Phone {
    Phone::from_parts("86", "13800138001").expect("a phone")
}

/// So many users, erased one after the other.
async fn erased(store: &Subject, number: u128) -> Vec<UserId> {
    let mut gone = Vec::new();
    for n in 1..=number {
        let user = opened(store, &login_of(&format!("person-{n}"), n))
            .await
            .user
            .id;
        store
            .erase_user(&user, None, ALL, NOW)
            .await
            .expect("works")
            .expect("a user");
        gone.push(user);
    }
    gone
}

// An erasure that the backend is to hear of is in the outbox, once; another one is not.
case!(an_erasure_is_told_where_that_is_wanted, async |store| {
    let [alice, bob] = [
        opened(&store, &login_of("alice", 1)).await.user.id,
        opened(&store, &login_of("bob", 2)).await.user.id,
    ];
    store
        .erase_user(&bob, None, OutboxPolicy::default(), NOW)
        .await
        .expect("works")
        .expect("a user");
    assert_eq!(store.backlog().await.expect("works").waiting, 0);
    store
        .erase_user(&alice, None, ALL, NOW)
        .await
        .expect("works")
        .expect("a user");
    assert_eq!(
        store
            .erase_user(&alice, None, ALL, later(1))
            .await
            .expect("works"),
        None
    );
    let backlog = store.backlog().await.expect("works");
    assert_eq!((backlog.waiting, backlog.oldest), (1, Some(NOW)));
    let told = taken(&store, 0, 10).await;
    assert_eq!(told.len(), 1);
    assert_eq!(
        (&told[0].event, told[0].at, told[0].attempts),
        (&OutboxEvent::Deleted { user: alice }, NOW, 1)
    );
    assert_eq!(told[0].event.id(), "user.deleted.u1");
});

// A new user is told of where that is wanted; one who comes back is not.
case!(a_new_user_is_told_once, async |store| {
    let mut login = login_of("alice", 1);
    login.outbox = ALL;
    let alice = opened(&store, &login).await.user.id;
    opened(&store, &login).await;
    login.session.id = SessionId::from_bits(2);
    opened(&store, &login).await;
    assert_eq!(events(&store).await, [OutboxEvent::Created { user: alice }]);
});

// Whoever keeps a copy of two users has to hear that they are one.
case!(users_that_are_joined_are_told, async |store| {
    let phone = phone();
    let [alice, bob] = [
        opened(&store, &login_of("alice", 1)).await,
        opened(&store, &login_of("bob", 2)).await,
    ];
    let binding = |user: &UserId, session| PhoneBinding {
        user: user.clone(),
        session: SessionId::from_bits(session),
        proof: PhoneProof::Wechat(phone.clone()),
        merge: None,
        single_per_client_type: false,
        outbox: ALL,
        now: later(1),
    };
    store
        .bind_phone(&binding(&alice.user.id, 1))
        .await
        .expect("works");
    assert_eq!(store.backlog().await.expect("works").waiting, 0);
    // Two people of one app cannot be one, so Bob loses what would speak against it.
    store
        .erase_user(&bob.user.id, None, OutboxPolicy::default(), later(1))
        .await
        .expect("works")
        .expect("a user");
    let mut other_app = login_of("bob", 3);
    super::wechat_of(&mut other_app).app_id = AppId::parse("wx2").expect("an app id");
    let bob = opened(&store, &other_app).await;
    let new = NewSession {
        id: SessionId::from_bits(9),
        ..login_of("bob", 9).session
    };
    let merging = PhoneBinding {
        merge: Some(new),
        ..binding(&bob.user.id, 3)
    };
    assert!(matches!(
        store.bind_phone(&merging).await.expect("works"),
        BindOutcome::Merged(_)
    ));
    let again = store.bind_phone(&merging).await.expect("works");
    assert!(
        matches!(again, BindOutcome::Merged(_) | BindOutcome::SessionEnded),
        "{again:?}"
    );
    let told = OutboxEvent::Merged {
        user: alice.user.id,
        merged_id: bob.user.id,
    };
    assert_eq!(events(&store).await, [told]);
});

// What was taken and not settled is due again at its time; what was put off, at its; what was
// delivered is gone.
case!(an_event_comes_back_until_it_is_settled, async |store| {
    erased(&store, 2).await;
    let first = taken(&store, 0, 10).await;
    assert_eq!(
        first.iter().map(|entry| entry.attempts).collect::<Vec<_>>(),
        [1, 1]
    );
    assert_eq!(taken(&store, 9, 20).await, []);
    store
        .acknowledge_outbox(&first[0].receipt, None)
        .await
        .expect("works");
    store
        .acknowledge_outbox(&first[1].receipt, Some(later(30)))
        .await
        .expect("works");
    assert_eq!(taken(&store, 29, 40).await, []);
    let again = taken(&store, 30, 40).await;
    assert_eq!(again.len(), 1);
    assert_eq!((&again[0].event, again[0].attempts), (&first[1].event, 2));
    let lost = taken(&store, 40, 50).await;
    assert_eq!(lost[0].attempts, 3, "whoever took it was lost");
    store
        .acknowledge_outbox(&lost[0].receipt, None)
        .await
        .expect("works");
    store
        .acknowledge_outbox(&lost[0].receipt, None)
        .await
        .expect("works");
    assert_eq!(store.backlog().await.expect("works").waiting, 0);
});

// Ten at once take each event once.
case!(parallel_takers_share_the_events, async |store| {
    let gone: BTreeSet<_> = erased(&store, 20).await.into_iter().collect();
    let takers = (0..10).map(|_| {
        let store = store.clone();
        async move {
            store
                .take_outbox(later(0), later(60), 3)
                .await
                .expect("works")
        }
    });
    let mut all: Vec<_> = together(takers).await.into_iter().flatten().collect();
    all.extend(taken(&store, 0, 60).await);
    assert_eq!(all.len(), 20);
    let told: BTreeSet<_> = all
        .into_iter()
        .map(|entry| match entry.event {
            OutboxEvent::Deleted { user } => user,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(told, gone);
});

// Whoever answers after its time was over settles nothing.
case!(a_late_answer_leaves_what_another_has_taken, async |store| {
    erased(&store, 1).await;
    let slow = taken(&store, 0, 10).await;
    let other = taken(&store, 10, 20).await;
    store
        .acknowledge_outbox(&slow[0].receipt, None)
        .await
        .expect("works");
    assert_eq!(store.backlog().await.expect("works").waiting, 1);
    store
        .acknowledge_outbox(&other[0].receipt, None)
        .await
        .expect("works");
    assert_eq!(store.backlog().await.expect("works").waiting, 0);
});

// Taking back the phone and the profile takes those and nothing else, also a second time.
case!(what_is_withdrawn_goes, async |store| {
    let mut login = login_of("alice", 1);
    let (nickname, bio) = (Some("Alice".to_owned()), Some("Hello".to_owned()));
    login.profile = Profile {
        nickname,
        avatar_url: Some("https://example.com/a.png".to_owned()),
        ..Profile::default()
    };
    let alice = opened(&store, &login).await.user.id;
    let change = ProfileChange {
        bio: Some(bio.clone()),
        ..ProfileChange::default()
    };
    store
        .update_profile(&alice, &change, NOW)
        .await
        .expect("works")
        .expect("a user");
    let phone = phone();
    let binding = PhoneBinding {
        user: alice.clone(),
        session: SessionId::from_bits(1),
        proof: PhoneProof::Wechat(phone.clone()),
        merge: None,
        single_per_client_type: false,
        outbox: OutboxPolicy::default(),
        now: NOW,
    };
    store.bind_phone(&binding).await.expect("works");
    let data = |key: &str| WithdrawalScope::Data {
        profile: true,
        phone: true,
        kinds: vec![6, 8],
        key: key.to_owned(),
    };
    for n in 1..=2 {
        let notice = withdrawal("alice", n, data("k"), later(300));
        let outcome = store.withdraw(&notice, ALL, later(1)).await.expect("works");
        let WithdrawalOutcome::Cleared(user) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!((&user.id, &user.phone), (&alice, &None));
        assert_eq!(
            user.profile,
            Profile {
                bio: bio.clone(),
                ..Profile::default()
            }
        );
    }
    assert_eq!(
        store
            .find_user(&crate::store::UserIdentity::Phone(phone))
            .await
            .expect("works"),
        None
    );
    let told = taken(&store, 1, 9).await;
    assert_eq!(
        told.iter()
            .map(|entry| entry.event.id())
            .collect::<Vec<_>>(),
        vec![format!("user.withdrawn.{alice}.k"); 2]
    );
    let nobody = store
        .withdraw(
            &withdrawal("nobody", 3, data("k"), later(300)),
            ALL,
            later(1),
        )
        .await
        .expect("works");
    assert_eq!(nobody, WithdrawalOutcome::UnknownOpenId);
});

/// What somebody takes back, said as this.
fn withdrawal(
    openid: &str,
    notice: u8,
    scope: WithdrawalScope,
    account_created_until: Timestamp,
) -> Withdrawal {
    Withdrawal {
        app_id: AppId::parse("wx1").expect("an app id"),
        openid: OpenId::parse(openid).expect("an openid"),
        scope,
        account_created_until,
        notice: (CodeHash([notice; 32]), later(3600)),
    }
}

// Said again, also by many at once, it does nothing to whoever comes back; and what was said
// before somebody came is not about them.
case!(what_is_taken_back_is_taken_back_once, async |store| {
    let first = opened(&store, &login_of("alice", 1)).await;
    let together_said = together((0..20).map(|_| {
        let store = store.clone();
        async move {
            let everything = withdrawal("alice", 1, WithdrawalScope::Account, later(300));
            store
                .withdraw(&everything, ALL, later(1))
                .await
                .expect("works")
        }
    }))
    .await;
    let erased: Vec<_> = together_said
        .iter()
        .filter(|outcome| !matches!(outcome, WithdrawalOutcome::Repeated))
        .collect();
    let [WithdrawalOutcome::Erased { user, revoked }] = erased.as_slice() else {
        panic!("{erased:?}")
    };
    assert_eq!(
        (user, revoked.sessions.as_slice()),
        (&first.user.id, [first.session.id].as_slice())
    );
    assert_eq!(
        taken(&store, 1, 9).await.len(),
        1,
        "the backend hears of it once"
    );

    let back = opened(&store, &at(login_of("alice", 2), later(2)))
        .await
        .user
        .id;
    let notice = async |notice, scope, account_created_until| {
        store
            .withdraw(
                &withdrawal("alice", notice, scope, account_created_until),
                ALL,
                later(3),
            )
            .await
            .expect("works")
    };
    assert_eq!(
        notice(1, WithdrawalScope::Account, later(300)).await,
        WithdrawalOutcome::Repeated
    );
    assert_eq!(
        notice(2, WithdrawalScope::Account, later(1)).await,
        WithdrawalOutcome::Outdated
    );
    assert_eq!(
        notice(2, WithdrawalScope::Account, later(300)).await,
        WithdrawalOutcome::Repeated,
        "it had been said"
    );
    let data = WithdrawalScope::Data {
        profile: true,
        phone: true,
        kinds: vec![6, 8],
        key: "k".to_owned(),
    };
    assert_eq!(
        notice(4, data, later(1)).await,
        WithdrawalOutcome::Outdated,
        "that was about the account before"
    );
    assert!(store.user(&back).await.expect("works").is_some());
    assert_eq!(
        notice(3, WithdrawalScope::Account, later(300)).await,
        WithdrawalOutcome::Erased {
            user: back,
            revoked: revoked_of(&whole_log(&store).await)
        }
    );
});

/// What the last line of the log says.
fn revoked_of(log: &[RevocationEntry]) -> RevocationOutcome {
    RevocationOutcome {
        sessions: vec![SessionId::from_bits(2)],
        entries: log.last().cloned().into_iter().collect(),
    }
}
