//! Phones that lead to users: bound, changed, taken away, and users who become one by them.

use super::{
    IDLE, NOW, Subject, at, is_active, later, login_of, moved, opened, rotation,
    sms::{for_binding, guess, message, phone, sent, sms_login, with_phone},
    together, whole_log, with_code, with_unionid,
};
use crate::{
    store::{
        BindOutcome, NewLogin, NewSession, OpenedSession, OutboxPolicy, PhoneBinding, PhoneProof,
        RefreshSalt, RevocationScope, RevocationTarget, RightsChange, UnbindOutcome,
    },
    types::{ClientType, Phone, SessionId, SmsPurpose, Timestamp, UserId},
};

fn binding(opened: &OpenedSession, last: u64, number: u8, now: Timestamp) -> PhoneBinding {
    PhoneBinding {
        user: opened.user.id.clone(),
        session: opened.session.id,
        proof: PhoneProof::Sms(guess(last, number, SmsPurpose::Bind)),
        merge: None,
        single_per_client_type: false,
        outbox: OutboxPolicy::default(),
        now,
    }
}

fn merging(binding: PhoneBinding, session: u128) -> PhoneBinding {
    let merge = Some(NewSession {
        id: SessionId::from_bits(session),
        client_type: ClientType::MiniProgram,
        salt: RefreshSalt([9; 16]),
        idle_ttl: IDLE,
        absolute_ttl: IDLE,
    });
    PhoneBinding { merge, ..binding }
}

async fn bound(store: &Subject, binding: &PhoneBinding) -> BindOutcome {
    let outcome = store.bind_phone(binding).await.expect("works");
    if let BindOutcome::Merged(merged) = &outcome {
        merged
            .session
            .iter()
            .for_each(|session| store.note(session));
    }
    outcome
}

async fn phone_of(store: &Subject, id: &UserId) -> Option<Phone> {
    store.user(id).await.expect("works").expect("a user").phone
}

// A phone is one user, whenever and however often they sign in.
case!(a_phone_is_one_user, async |store| {
    let first = with_phone(&store, 1, 1, NOW).await;
    assert!(first.is_new_user);
    assert_eq!(first.user.phone, Some(phone(1)));
    let again = with_phone(&store, 1, 2, later(60)).await;
    assert!(!again.is_new_user);
    assert_eq!(again.user.id, first.user.id);
    assert_ne!(with_phone(&store, 2, 3, NOW).await.user.id, first.user.id);
    let repeat = opened(&store, &sms_login(1, 1, 2, later(60))).await;
    assert_eq!(
        (repeat.session.id, repeat.user.id),
        (again.session.id, first.user.id),
        "after a lost answer"
    );
});

// Bound, changed, taken away; each phone leads to whom it is bound to.
case!(a_phone_is_bound_changed_and_taken_away, async |store| {
    let alice = opened(&store, &login_of("alice", 1)).await;
    sent(&store, &for_binding(message(1, 1, 1, NOW))).await;
    assert!(matches!(
        bound(&store, &binding(&alice, 1, 100, NOW)).await,
        BindOutcome::CodeWrong
    ));
    let BindOutcome::Bound(user) = bound(&store, &binding(&alice, 1, 1, NOW)).await else {
        panic!("not bound")
    };
    assert_eq!(user.phone, Some(phone(1)));
    assert!(
        matches!(
            bound(&store, &binding(&alice, 1, 1, NOW)).await,
            BindOutcome::Bound(_)
        ),
        "after a lost answer"
    );
    assert!(matches!(
        bound(&store, &binding(&alice, 1, 100, NOW)).await,
        BindOutcome::CodeWrong
    ));
    assert_eq!(
        with_phone(&store, 1, 10, later(60)).await.user.id,
        alice.user.id
    );

    sent(&store, &for_binding(message(2, 2, 2, NOW))).await;
    assert!(matches!(
        bound(&store, &binding(&alice, 2, 2, later(1))).await,
        BindOutcome::Bound(_)
    ));
    assert_eq!(phone_of(&store, &alice.user.id).await, Some(phone(2)));
    assert_ne!(
        with_phone(&store, 1, 11, later(120)).await.user.id,
        alice.user.id,
        "the old phone is free"
    );

    let unbind = |session| store.unbind_phone(&alice.user.id, session, later(121));
    assert!(matches!(
        unbind(alice.session.id).await,
        Ok(UnbindOutcome::Unbound(_))
    ));
    assert!(matches!(
        unbind(alice.session.id).await,
        Ok(UnbindOutcome::NotBound(_))
    ));
    assert_eq!(phone_of(&store, &alice.user.id).await, None);
    assert!(with_phone(&store, 2, 12, later(122)).await.is_new_user);
});

// WeChat's word is as good as a code.
case!(a_phone_that_wechat_names_is_bound, async |store| {
    let alice = opened(&store, &login_of("alice", 1)).await;
    let by_wechat = PhoneBinding {
        proof: PhoneProof::Wechat(phone(1)),
        ..binding(&alice, 1, 1, NOW)
    };
    for _ in 0..2 {
        assert!(matches!(
            bound(&store, &by_wechat).await,
            BindOutcome::Bound(_)
        ));
    }
    assert_eq!(phone_of(&store, &alice.user.id).await, Some(phone(1)));
});

// Somebody who has nothing but a phone keeps it.
case!(the_only_way_in_is_not_taken_away, async |store| {
    let by_phone = with_phone(&store, 1, 1, NOW).await;
    let outcome = store
        .unbind_phone(&by_phone.user.id, by_phone.session.id, NOW)
        .await;
    assert!(matches!(outcome, Ok(UnbindOutcome::OnlyIdentity)));
    assert_eq!(
        with_phone(&store, 1, 2, later(60)).await.user.id,
        by_phone.user.id
    );
});

// Whoever changes a phone needs a session that lives, and their own.
case!(only_a_living_session_binds, async |store| {
    let alice = opened(&store, &login_of("alice", 1)).await;
    let bob = opened(&store, &login_of("bob", 2)).await;
    let by_wechat = |user: &OpenedSession, session: &OpenedSession| PhoneBinding {
        session: session.session.id,
        proof: PhoneProof::Wechat(phone(1)),
        ..binding(user, 1, 1, NOW)
    };
    assert!(matches!(
        bound(&store, &by_wechat(&alice, &bob)).await,
        BindOutcome::SessionEnded
    ));
    let what = RevocationScope::Session {
        user: alice.user.id.clone(),
        session: alice.session.id,
    };
    store.revoke(&what, NOW).await.expect("works");
    assert!(matches!(
        bound(&store, &by_wechat(&alice, &alice)).await,
        BindOutcome::SessionEnded
    ));
    let unbind = store
        .unbind_phone(&bob.user.id, alice.session.id, NOW)
        .await;
    assert!(matches!(unbind, Ok(UnbindOutcome::SessionEnded)));
    assert_eq!(phone_of(&store, &alice.user.id).await, None);
});

// Nobody gets a phone that leads to somebody else, and 20 who try at once are one owner.
case!(a_phone_of_somebody_else_is_a_conflict, async |store| {
    let owner = with_phone(&store, 1, 1, NOW).await;
    let alice = opened(&store, &login_of("alice", 2)).await;
    sent(&store, &for_binding(message(5, 1, 2, later(60)))).await;
    assert!(matches!(
        bound(&store, &binding(&alice, 1, 2, later(60))).await,
        BindOutcome::Conflict
    ));
    assert_eq!(phone_of(&store, &owner.user.id).await, Some(phone(1)));
    assert_eq!(phone_of(&store, &alice.user.id).await, None);

    let people = together((10..30).map(|n| {
        let store = store.clone();
        async move { opened(&store, &login_of(&format!("person-{n}"), n)).await }
    }))
    .await;
    let outcomes = together(people.into_iter().map(|person| {
        let store = store.clone();
        async move {
            bound(
                &store,
                &PhoneBinding {
                    proof: PhoneProof::Wechat(phone(7)),
                    ..binding(&person, 7, 1, NOW)
                },
            )
            .await
        }
    }))
    .await;
    assert_eq!(
        outcomes
            .iter()
            .filter(|outcome| matches!(outcome, BindOutcome::Bound(_)))
            .count(),
        1
    );
    assert_eq!(
        outcomes
            .iter()
            .filter(|outcome| matches!(outcome, BindOutcome::Conflict))
            .count(),
        19
    );
});

// The caller is the older one: the other's identities come over, the caller's session lives on.
case!(
    the_older_user_is_left_when_it_is_the_caller,
    async |store| {
        let mut login = login_of("alice", 1);
        login.profile.nickname = None;
        let alice = opened(&store, &login).await;
        let by_phone = with_phone(&store, 1, 2, later(1)).await;
        let log = whole_log(&store).await.len();
        sent(&store, &for_binding(message(5, 1, 2, later(61)))).await;
        let wanted = merging(binding(&alice, 1, 2, later(61)), 50);
        let BindOutcome::Merged(merged) = bound(&store, &wanted).await else {
            panic!("not merged")
        };
        assert_eq!(
            (&merged.user.id, &merged.merged_id),
            (&alice.user.id, &by_phone.user.id)
        );
        assert!(merged.session.is_none());
        assert_eq!(merged.user.phone, Some(phone(1)));
        let target = RevocationTarget::User {
            id: by_phone.user.id.clone(),
            epoch: 1,
        };
        assert_eq!(
            merged
                .revoked
                .entries
                .iter()
                .map(|entry| &entry.target)
                .collect::<Vec<_>>(),
            [&target]
        );
        assert!(
            matches!(bound(&store, &wanted).await, BindOutcome::Bound(_)),
            "after a lost answer"
        );
        assert_eq!(whole_log(&store).await.len(), log + 1);
        assert!(
            is_active(&store, alice.session.id, later(62)).await
                && !is_active(&store, by_phone.session.id, later(62)).await
        );
        assert_eq!(store.user(&by_phone.user.id).await.expect("works"), None);
        assert_eq!(
            with_phone(&store, 1, 3, later(122)).await.user.id,
            alice.user.id
        );
        let gone = store.lookup_user(&by_phone.user.id).await.expect("works");
        assert!(
            matches!(gone, crate::store::UserLookup::Deleted { merged_into: Some(id), .. } if id == alice.user.id)
        );
    }
);

// The owner of the phone is the older one: the caller's user goes, and a session of the other one
// is opened.
case!(the_older_user_is_left_when_it_is_the_other, async |store| {
    let by_phone = with_phone(&store, 1, 1, NOW).await;
    let mut login = login_of("alice", 2);
    login.profile.nickname = Some("Alice".to_owned());
    let alice = opened(&store, &at(login, later(1))).await;
    sent(&store, &for_binding(message(5, 1, 2, later(61)))).await;
    let wanted = merging(binding(&alice, 1, 2, later(61)), 50);
    let BindOutcome::Merged(merged) = bound(&store, &wanted).await else {
        panic!("not merged")
    };
    assert_eq!(
        (&merged.user.id, &merged.merged_id),
        (&by_phone.user.id, &alice.user.id)
    );
    assert_eq!(merged.user.profile.nickname.as_deref(), Some("Alice"));
    let session = merged.session.expect("a session of the user who is left");
    assert_eq!(
        (session.id, &session.user),
        (SessionId::from_bits(50), &by_phone.user.id)
    );
    let (since, ends) = (alice.session.created_at, alice.session.absolute_end);
    assert!(
        session.created_at == since && session.absolute_end <= ends,
        "it is the same login, no fresh one"
    );
    assert!(
        is_active(&store, session.id, later(62)).await
            && is_active(&store, by_phone.session.id, later(62)).await
    );
    assert!(!is_active(&store, alice.session.id, later(62)).await);
    let BindOutcome::Merged(again) = bound(&store, &wanted).await else {
        panic!("not the same after a lost answer")
    };
    assert_eq!(again.session.map(|session| session.id), Some(session.id));
    let back = opened(&store, &at(login_of("alice", 3), later(63))).await;
    assert_eq!(
        back.user.id, by_phone.user.id,
        "her openid leads to the one who is left"
    );
    assert!(
        store.wechat(session.id, later(63)).await.is_some(),
        "and so does her session"
    );
    moved(&store, &rotation(session.id, 0, later(64))).await;
});

// Whichever of two users who both have a phone is left: the phone just proven is theirs, the other
// one leads to nobody.
case!(of_two_phones_the_one_just_proven_is_left, async |store| {
    for (case, caller_since, owner_since) in [(0, NOW, later(1)), (1, later(1), NOW)] {
        let (old, proven) = (case * 10 + 1, case * 10 + 2);
        let (session, other, new) = (u128::from(old), u128::from(proven), u128::from(case + 50));
        let caller = with_phone(&store, old, session, caller_since).await;
        let owner = with_phone(&store, proven, other, owner_since).await;
        sent(&store, &for_binding(message(new, proven, 2, later(61)))).await;
        let wanted = merging(binding(&caller, proven, 2, later(61)), new);
        let BindOutcome::Merged(merged) = bound(&store, &wanted).await else {
            panic!("not merged")
        };
        let older = if caller_since < owner_since {
            &caller
        } else {
            &owner
        };
        assert_eq!(
            (&merged.user.id, &merged.user.phone),
            (&older.user.id, &Some(phone(proven)))
        );
        assert_eq!(
            with_phone(&store, proven, new + 10, later(122))
                .await
                .user
                .id,
            older.user.id
        );
        assert!(
            with_phone(&store, old, new + 20, later(122))
                .await
                .is_new_user,
            "the phone before it leads to nobody"
        );
    }
});

// Where there is one session of each kind, a join leaves one.
case!(a_join_keeps_to_one_session_of_a_kind, async |store| {
    let by_phone = with_phone(&store, 1, 1, NOW).await;
    let alice = opened(&store, &at(login_of("alice", 2), later(1))).await;
    let proof = PhoneProof::Wechat(phone(1));
    let wanted = PhoneBinding {
        proof,
        single_per_client_type: true,
        ..binding(&alice, 1, 1, later(2))
    };
    let BindOutcome::Merged(merged) = bound(&store, &merging(wanted, 50)).await else {
        panic!("not merged")
    };
    assert!(merged.revoked.sessions.contains(&by_phone.session.id));
    let target = RevocationTarget::Session(by_phone.session.id);
    assert!(
        merged
            .revoked
            .entries
            .iter()
            .any(|entry| entry.target == target)
    );
    let living = store
        .sessions(&by_phone.user.id, later(3))
        .await
        .expect("works");
    assert_eq!(
        living
            .iter()
            .map(|session| session.id.bits())
            .collect::<Vec<_>>(),
        [50]
    );
});

// What contradicts itself is not joined: two people of one mini program, two unionids, rights, a
// ban.
case!(what_contradicts_itself_is_not_joined, async |store| {
    let alice = opened(&store, &login_of("alice", 1)).await;
    let mut n = 1;
    let mut try_with = async |other: &OpenedSession, why: &str| {
        n += 1;
        let own = PhoneBinding {
            proof: PhoneProof::Wechat(phone(n)),
            ..binding(other, n, 1, NOW)
        };
        assert!(
            matches!(bound(&store, &own).await, BindOutcome::Bound(_)),
            "{why}"
        );
        (
            n,
            merging(
                PhoneBinding {
                    proof: PhoneProof::Wechat(phone(n)),
                    ..binding(&alice, n, 1, NOW)
                },
                900 + u128::from(n),
            ),
        )
    };
    let same_app = opened(&store, &login_of("bob", 2)).await;
    let (_, wanted) = try_with(&same_app, "same app").await;
    assert!(
        matches!(bound(&store, &wanted).await, BindOutcome::Conflict),
        "two people of one mini program"
    );

    let banned = with_phone(&store, 100, 3, NOW).await;
    store
        .change_rights(&banned.user.id, &RightsChange::Ban, NOW)
        .await
        .expect("works");
    let wanted = merging(
        PhoneBinding {
            proof: PhoneProof::Wechat(phone(100)),
            ..binding(&alice, 100, 1, NOW)
        },
        901,
    );
    assert!(
        matches!(bound(&store, &wanted).await, BindOutcome::Conflict),
        "somebody who is banned"
    );

    let admin = with_phone(&store, 101, 4, NOW).await;
    let raise = RightsChange::UserType(crate::types::UserType::admin());
    store
        .change_rights(&admin.user.id, &raise, NOW)
        .await
        .expect("works");
    let wanted = merging(
        PhoneBinding {
            proof: PhoneProof::Wechat(phone(101)),
            ..binding(&alice, 101, 1, NOW)
        },
        902,
    );
    assert!(
        matches!(bound(&store, &wanted).await, BindOutcome::Conflict),
        "rights are not joined"
    );
    assert!(is_active(&store, alice.session.id, NOW).await);
});

// The unionid of two users who signed in apart: one person by WeChat's word, joined where that is
// wanted.
case!(
    a_unionid_that_comes_later_joins_where_that_is_wanted,
    async |store| {
        let first = opened(&store, &login_of("alice-one", 1)).await;
        let under_two = |login: NewLogin| super::under_app(login, "wx2");
        let second = opened(
            &store,
            &at(
                under_two(with_unionid(login_of("alice-two", 2), "union")),
                later(1),
            ),
        )
        .await;
        assert_ne!(first.user.id, second.user.id);
        let again = with_code(with_unionid(login_of("alice-one", 3), "union"), 3);
        let apart = opened(&store, &at(again, later(2))).await;
        assert_eq!(
            (&apart.user.id, &apart.merged),
            (&first.user.id, &None),
            "without the wish the openid wins"
        );

        let wanted = at(
            NewLogin {
                merge: true,
                ..with_unionid(login_of("alice-one", 4), "union")
            },
            later(3),
        );
        let joined = opened(&store, &wanted).await;
        assert_eq!(joined.user.id, first.user.id);
        assert_eq!(
            joined.merged.map(|(gone, _)| gone),
            Some(second.user.id.clone())
        );
        assert!(!is_active(&store, second.session.id, later(4)).await);
        let other_app = opened(
            &store,
            &at(
                under_two(with_unionid(login_of("alice-two", 5), "union")),
                later(5),
            ),
        )
        .await;
        assert_eq!(other_app.user.id, first.user.id);
        let third = super::under_app(with_unionid(login_of("alice-three", 6), "union"), "wx3");
        assert_eq!(
            opened(&store, &at(third, later(6))).await.user.id,
            first.user.id
        );
    }
);

// Two users who both have a phone are not joined by a unionid: neither phone is proven by it, and
// one would lead to nobody.
case!(a_unionid_does_not_take_a_phone_away, async |store| {
    let of = |person: &str, n: u128, app: &str| {
        super::under_app(with_unionid(login_of(person, n), "union"), app)
    };
    let first = opened(&store, &login_of("alice-one", 1)).await;
    let second = opened(&store, &of("alice-two", 2, "wx2")).await;
    for (user, last) in [(&first, 1), (&second, 2)] {
        let own = PhoneBinding {
            proof: PhoneProof::Wechat(phone(last)),
            ..binding(user, last, 1, NOW)
        };
        assert!(matches!(bound(&store, &own).await, BindOutcome::Bound(_)));
    }
    let wanted = NewLogin {
        merge: true,
        ..of("alice-one", 3, "wx1")
    };
    let apart = opened(&store, &wanted).await;
    assert_eq!((&apart.user.id, &apart.merged), (&first.user.id, &None));
    assert_eq!(phone_of(&store, &second.user.id).await, Some(phone(2)));
    assert_eq!(
        with_phone(&store, 2, 4, later(60)).await.user.id,
        second.user.id
    );
});

// The code of the user's own phone, once; nobody else's.
case!(a_user_is_proven_by_the_own_phone, async |store| {
    let alice = with_phone(&store, 1, 1, NOW).await;
    let bob = with_phone(&store, 2, 2, NOW).await;
    sent(&store, &message(5, 1, 2, later(60))).await;
    let prove = async |user: &OpenedSession, last, number| {
        let guess = guess(last, number, SmsPurpose::Login);
        store
            .prove_phone(&user.user.id, &guess, later(61))
            .await
            .expect("works")
    };
    assert!(!prove(&alice, 1, 100).await);
    assert!(prove(&alice, 1, 2).await);
    assert!(!prove(&alice, 1, 2).await, "once");
    sent(&store, &message(6, 1, 3, later(120))).await;
    assert!(!prove(&bob, 1, 3).await, "not his phone");
});
