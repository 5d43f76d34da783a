//! Logins, users and profiles.

use std::{collections::BTreeSet, time::Duration};

use super::{
    ABSOLUTE, IDLE, NOW, at, is_active, is_spent, later, login_of, moved, opened, rotation,
    together, under_app, with_code, with_unionid,
};
use crate::{
    store::{
        CodeHash, CodeUse, LoginOutcome, NewLogin, NewUserId, OutboxPolicy, ProfileChange,
        RevocationScope, RightsChange, StoreError,
    },
    types::{ClientType, ExtraClaims, UserId, UserType},
};

// 200 at once: one user, as many sessions as fit, and one of them is told that it is new.
case!(parallel_first_logins_make_one_user, async |store| {
    const MOST: usize = 20;
    let logins = together((1..=200).map(|n| {
        let store = store.clone();
        async move {
            let login = NewLogin {
                max_sessions: MOST,
                ..login_of("alice", n)
            };
            // A slow engine may be too busy for so many at once. A repeat is the same login.
            let outcome = loop {
                match store.login(&login).await {
                    Err(StoreError::Unavailable(_)) => {}
                    outcome => break outcome.expect("works"),
                }
            };
            match outcome {
                LoginOutcome::Opened(opened) => *opened,
                other => panic!("not signed in: {other:?}"),
            }
        }
    }))
    .await;
    let users: BTreeSet<_> = logins.iter().map(|login| login.user.id.clone()).collect();
    assert_eq!(users.len(), 1);
    assert_eq!(logins.iter().filter(|login| login.is_new_user).count(), 1);
    let user = users.first().expect("one user");
    assert_eq!(store.sessions(user, NOW).await.expect("works").len(), MOST);
});

// 50 at once with one code: one gets in, also when they are of different people.
case!(a_code_is_spent_once, async |store| {
    let outcomes = together((1..=50).map(|n| {
        let store = store.clone();
        async move {
            store
                .login(&with_code(login_of(&format!("person-{n}"), n), 1))
                .await
                .expect("works")
        }
    }))
    .await;
    assert_eq!(
        outcomes
            .iter()
            .filter(|outcome| matches!(outcome, LoginOutcome::Opened(_)))
            .count(),
        1
    );
    assert_eq!(
        outcomes
            .iter()
            .filter(|outcome| matches!(outcome, LoginOutcome::CodeUsed))
            .count(),
        49
    );
    let (code, _) = with_code(login_of("x", 1), 1).code.expect("a code");
    assert!(is_spent(&store, &code, NOW).await);
});

// Its own client alone, for as long as a tap may be repeated, and as long as the session lives.
case!(
    a_client_is_told_again_whom_its_code_signed_in,
    async |store| {
        let [client, other] = [1, 2].map(|number| CodeHash([number; 32]));
        let mut login = with_code(login_of("alice", 1), 1);
        login.code_client = Some(client);
        let (code, _) = login.code.expect("a code");
        let use_by = async |client: Option<&CodeHash>, seconds| {
            let found = store.code_use(&code, client, later(seconds)).await;
            match found.expect("works") {
                CodeUse::Unused => "unused".to_owned(),
                CodeUse::Used => "used".to_owned(),
                CodeUse::Opened(opened) => format!("{} {:?}", opened.user.id, opened.session.id),
            }
        };
        assert_eq!(use_by(Some(&client), 0).await, "unused");
        let session = opened(&store, &login).await;
        let own = format!("{} {:?}", session.user.id, session.session.id);
        assert_eq!(use_by(Some(&client), 0).await, own);
        assert_eq!(use_by(Some(&client), 10).await, own);
        assert_eq!(use_by(Some(&client), 11).await, "used");
        assert_eq!(use_by(Some(&other), 0).await, "used");
        assert_eq!(use_by(None, 0).await, "used");
        let user = session.user.id;
        let ban = store.change_rights(&user, &RightsChange::Ban, NOW).await;
        ban.expect("works");
        assert_eq!(use_by(Some(&client), 0).await, "used");
    }
);

// What has expired is absent, swept or not.
case!(a_code_is_forgotten_after_its_time, async |store| {
    let login = with_code(login_of("alice", 1), 1);
    let (code, until) = login.code.expect("a code");
    assert!(!is_spent(&store, &code, NOW).await);
    opened(&store, &login).await;
    assert!(is_spent(&store, &code, later(599)).await);
    assert!(!is_spent(&store, &code, until).await);
    opened(&store, &at(with_code(login_of("alice", 2), 1), until)).await;
});

// Nothing is half done: no user, no spent code.
case!(a_refused_login_spends_nothing, async |store| {
    let mut login = with_code(login_of("alice", 1), 1);
    login.registration_open = false;
    assert!(matches!(
        store.login(&login).await,
        Ok(LoginOutcome::RegistrationClosed)
    ));
    let (code, _) = login.code.expect("a code");
    assert!(!is_spent(&store, &code, NOW).await);
    assert!(!is_active(&store, login.session.id, NOW).await);
    login.registration_open = true;
    assert!(opened(&store, &login).await.is_new_user);
});

// After a lost answer the caller asks again and gets the same.
case!(a_repeated_login_is_the_same_login, async |store| {
    let mut earlier = login_of("alice", 1);
    earlier.session.client_type = ClientType::App;
    opened(&store, &earlier).await;
    let mut login = with_code(login_of("alice", 2), 1);
    login.session.client_type = ClientType::App;
    login.single_per_client_type = true;
    let first = opened(&store, &login).await;
    let again = opened(&store, &login).await;
    assert_eq!(first.session, again.session);
    assert_eq!(first.user, again.user);
    assert_eq!(first.is_new_user, again.is_new_user);
    assert_eq!(first.ended, [earlier.session.id]);
    assert_eq!(first.ended, again.ended);
    assert_eq!(
        store
            .sessions(&first.user.id, NOW)
            .await
            .expect("works")
            .len(),
        1
    );

    let newcomer = login_of("bob", 3);
    assert!(opened(&store, &newcomer).await.is_new_user);
    assert!(opened(&store, &newcomer).await.is_new_user);
});

// A repeat that comes after the session was ended does not open it again.
case!(
    a_repeated_login_does_not_revive_its_session,
    async |store| {
        let login = with_code(login_of("alice", 1), 1);
        let user = opened(&store, &login).await.user.id;
        store
            .revoke(&RevocationScope::User(user.clone()), NOW)
            .await
            .expect("works");
        assert!(matches!(
            store.login(&login).await,
            Ok(LoginOutcome::CodeUsed)
        ));
        assert!(!is_active(&store, login.session.id, NOW).await);

        let other = opened(&store, &login_of("alice", 2)).await;
        let mut stranger = login_of("mallory", 2);
        stranger.new_user = NewUserId::Generated(UserId::parse("m").expect("an id"));
        store.login(&stranger).await.expect("works");
        assert_eq!(
            store.active(other.session.id, NOW).await,
            Some(other.session),
            "a session never changes its user"
        );
    }
);

// 100 strangers at once: 100 numbers from the first one on, each once. Processes that take them in
// blocks may leave some out.
case!(integer_ids_are_unique_and_count_up, async |store| {
    let ids = together((1..=100).map(|n| {
        let store = store.clone();
        async move {
            let mut login = login_of(&format!("person-{n}"), n);
            login.new_user = NewUserId::NextInteger { first: 5000 };
            opened(&store, &login)
                .await
                .user
                .id
                .as_str()
                .parse::<u64>()
                .expect("a number")
        }
    }))
    .await;
    let distinct: BTreeSet<_> = ids.into_iter().collect();
    assert_eq!(distinct.len(), 100);
    assert!(distinct.iter().all(|id| (5000..5500).contains(id)));
});

// An id that was imported is not given to somebody else.
case!(integer_ids_step_over_ids_that_exist, async |store| {
    for (n, id) in [(1, "10"), (2, "11"), (3, "13")] {
        let mut login = login_of(&format!("imported-{n}"), n);
        login.new_user = NewUserId::Generated(UserId::parse(id).expect("an id"));
        opened(&store, &login).await;
    }
    let mut given = Vec::new();
    for n in 4..=6 {
        let mut login = login_of(&format!("new-{n}"), n);
        login.new_user = NewUserId::NextInteger { first: 10 };
        given.push(opened(&store, &login).await.user.id.as_str().to_owned());
    }
    assert_eq!(given, ["12", "14", "15"]);
});

// Two strangers with one id for both: the second is refused and nothing of it stays.
case!(a_given_id_is_never_given_twice, async |store| {
    let alice = opened(&store, &login_of("alice", 1)).await;
    let mut login = login_of("bob", 2);
    login.new_user = NewUserId::Generated(alice.user.id.clone());
    assert!(store.login(&login).await.is_err());
    assert!(!is_active(&store, login.session.id, NOW).await);
    login.new_user = NewUserId::Generated(UserId::parse("bob").expect("an id"));
    assert!(opened(&store, &login).await.is_new_user);
    assert_eq!(
        store.user(&alice.user.id).await.expect("works"),
        Some(alice.user)
    );
});

// The same unionid is the same user.
case!(a_unionid_is_one_user_across_apps, async |store| {
    let here = opened(&store, &with_unionid(login_of("alice-here", 1), "alice")).await;
    let there = opened(
        &store,
        &with_unionid(under_app(login_of("alice-there", 2), "wx2"), "alice"),
    )
    .await;
    assert_eq!(here.user.id, there.user.id);
    assert!(!there.is_new_user);
    let by_openid_alone = opened(&store, &under_app(login_of("alice-there", 3), "wx2")).await;
    assert_eq!(here.user.id, by_openid_alone.user.id);
});

// A unionid is given only once the app is bound to a platform account.
case!(a_unionid_that_comes_later_is_linked, async |store| {
    let before = opened(&store, &login_of("alice-here", 1)).await;
    opened(&store, &with_unionid(login_of("alice-here", 2), "alice")).await;
    let there = opened(
        &store,
        &with_unionid(under_app(login_of("alice-there", 3), "wx2"), "alice"),
    )
    .await;
    assert_eq!(before.user.id, there.user.id);
});

// Two users stay two: nothing merges silently.
case!(
    the_openid_wins_over_a_unionid_of_somebody_else,
    async |store| {
        let alice = opened(&store, &login_of("alice", 1)).await;
        let bob = opened(
            &store,
            &with_unionid(under_app(login_of("bob", 2), "wx2"), "bob"),
        )
        .await;
        let mixed = opened(&store, &with_unionid(login_of("alice", 3), "bob")).await;
        assert_eq!(mixed.user.id, alice.user.id);
        let still_bob = opened(
            &store,
            &with_unionid(under_app(login_of("bob-elsewhere", 4), "wx3"), "bob"),
        )
        .await;
        assert_eq!(still_bob.user.id, bob.user.id);
    }
);

// An openid means something only within its app.
case!(one_openid_of_two_apps_is_two_users, async |store| {
    let here = opened(&store, &login_of("same", 1)).await;
    let there = opened(&store, &under_app(login_of("same", 2), "wx2")).await;
    assert_ne!(here.user.id, there.user.id);
});

// A login fills a missing nickname or avatar, and touches nothing else that the user said.
case!(a_profile_is_filled_but_not_overwritten, async |store| {
    let mut first = login_of("alice", 1);
    first.profile.nickname = Some("Alice".to_owned());
    opened(&store, &first).await;
    let mut second = at(login_of("alice", 2), later(5));
    second.profile.nickname = Some("Mallory".to_owned());
    second.profile.avatar_url = Some("https://example.com/a.png".to_owned());
    second.profile.bio = Some("not by a login".to_owned());
    let user = opened(&store, &second).await.user;
    assert_eq!(user.profile.nickname.as_deref(), Some("Alice"));
    assert_eq!(
        user.profile.avatar_url.as_deref(),
        Some("https://example.com/a.png")
    );
    assert_eq!(user.profile.bio, None);
    assert_eq!((user.created_at, user.last_login_at), (NOW, later(5)));
    assert_eq!(store.user(&user.id).await.expect("works"), Some(user));
});

// A client that sends the profile with each login means it; one that sends none changes nothing.
case!(
    a_newer_profile_takes_the_place_of_the_older,
    async |store| {
        let named = |nickname: Option<&str>, avatar: Option<&str>, session| {
            let mut login = login_of("alice", session);
            login.profile.nickname = nickname.map(str::to_owned);
            login.profile.avatar_url = avatar.map(str::to_owned);
            login.replaces_profile = true;
            login
        };
        opened(&store, &named(Some("one"), Some("https://a/1"), 1)).await;
        let half = opened(&store, &named(Some("two"), None, 2))
            .await
            .user
            .profile;
        assert_eq!(
            (half.nickname.as_deref(), half.avatar_url.as_deref()),
            (Some("two"), Some("https://a/1"))
        );
        let none = opened(&store, &named(None, Some("https://a/2"), 3))
            .await
            .user;
        assert_eq!(
            (
                none.profile.nickname.as_deref(),
                none.profile.avatar_url.as_deref()
            ),
            (Some("two"), Some("https://a/2"))
        );
        let stored = store.user(&none.id).await.expect("works").expect("a user");
        assert_eq!(stored.profile.nickname.as_deref(), Some("two"));
    }
);

// What is not named stays; a named nothing clears.
case!(a_profile_change_leaves_sets_and_clears, async |store| {
    let mut login = login_of("alice", 1);
    login.profile.nickname = Some("Alice".to_owned());
    login.profile.bio = Some("old".to_owned());
    login.profile.birthday = Some("2000-01-01".to_owned());
    let id = opened(&store, &login).await.user.id;
    let change = ProfileChange {
        bio: Some(Some("new".to_owned())),
        birthday: Some(None),
        ..ProfileChange::default()
    };
    let user = store
        .update_profile(&id, &change, NOW)
        .await
        .expect("works")
        .expect("a user");
    assert_eq!(user.profile.nickname.as_deref(), Some("Alice"));
    assert_eq!(user.profile.bio.as_deref(), Some("new"));
    assert_eq!(user.profile.birthday, None);
    assert_eq!(store.user(&id).await.expect("works"), Some(user));
    let nobody = UserId::parse("nobody").expect("an id");
    assert_eq!(
        store
            .update_profile(&nobody, &change, NOW)
            .await
            .expect("works"),
        None
    );
    assert_eq!(store.user(&nobody).await.expect("works"), None);
});

// Development lets a code raise its user; nothing lowers one.
case!(a_user_is_raised_and_never_lowered, async |store| {
    opened(&store, &login_of("alice", 1)).await;
    let mut raised = login_of("alice", 2);
    raised.user_type = UserType::admin();
    assert_eq!(
        opened(&store, &raised).await.user.user_type,
        UserType::admin()
    );
    assert_eq!(
        opened(&store, &login_of("alice", 3)).await.user.user_type,
        UserType::admin()
    );
});

// Who is known comes in, who is not stays out.
case!(closed_registration_refuses_strangers_only, async |store| {
    opened(&store, &login_of("alice", 1)).await;
    let closed = |person, n| {
        let mut login = login_of(person, n);
        login.registration_open = false;
        login
    };
    assert!(!opened(&store, &closed("alice", 2)).await.is_new_user);
    assert!(matches!(
        store.login(&closed("bob", 3)).await,
        Ok(LoginOutcome::RegistrationClosed)
    ));
    assert!(opened(&store, &login_of("bob", 4)).await.is_new_user);
});

// The new session ends its like, and no others.
case!(one_session_per_client_type_ends_the_others, async |store| {
    let of = |n, client_type, single| {
        let mut login = login_of("alice", n);
        login.session.client_type = client_type;
        login.single_per_client_type = single;
        login
    };
    let phone = opened(&store, &of(1, ClientType::MiniProgram, true)).await;
    let web = opened(&store, &of(2, ClientType::Web, true)).await;
    assert_eq!(web.ended, []);
    let somebody = opened(&store, &login_of("bob", 9)).await;
    let phone_again = opened(&store, &of(3, ClientType::MiniProgram, true)).await;
    assert_eq!(phone_again.ended, [phone.session.id]);
    assert!(!is_active(&store, phone.session.id, NOW).await);
    for kept in [web.session.id, phone_again.session.id, somebody.session.id] {
        assert!(is_active(&store, kept, NOW).await);
    }
    let log = super::whole_log(&store).await;
    assert_eq!(log.len(), 1);
    let beside = opened(&store, &of(4, ClientType::MiniProgram, false)).await;
    assert_eq!(beside.ended, []);
    assert!(is_active(&store, phone_again.session.id, NOW).await);
});

// A client that signs in at each launch may have opened many before the option was switched on.
case!(however_many_sessions_a_login_ends_it_works, async |store| {
    // As many as a config allows.
    const MANY: u64 = 100;
    for n in 1..=MANY {
        opened(&store, &login_of("alice", n.into())).await;
    }
    let mut login = login_of("alice", 0);
    login.single_per_client_type = true;
    let one = opened(&store, &login).await;
    assert_eq!(one.ended.len() as u64, MANY);
    assert_eq!(
        store.sessions(&one.user.id, NOW).await.expect("works"),
        [one.session]
    );
});

// The ends are exact, and the absolute one binds the idle one.
case!(a_session_ends_at_its_idle_and_absolute_end, async |store| {
    let idle = opened(&store, &login_of("alice", 1)).await.session;
    assert_eq!(
        (idle.idle_end, idle.absolute_end),
        (NOW.plus(IDLE), NOW.plus(ABSOLUTE))
    );
    let last = idle.idle_end.minus(Duration::from_millis(1));
    assert!(is_active(&store, idle.id, last).await);
    assert!(!is_active(&store, idle.id, idle.idle_end).await);
    assert_eq!(
        store.sessions(&idle.user, last).await.expect("works").len(),
        1
    );
    assert_eq!(
        store
            .sessions(&idle.user, idle.idle_end)
            .await
            .expect("works"),
        []
    );
    assert!(
        store.salt(idle.id, idle.idle_end).await.is_some(),
        "so that the answer can say which"
    );

    let mut short = login_of("alice", 2);
    short.session.absolute_ttl = Duration::from_mins(1);
    let short = opened(&store, &short).await.session;
    assert_eq!(short.idle_end, later(60));
    assert!(!is_active(&store, short.id, later(60)).await);
});

// As a person looks for a device; rotation does not change the order.
case!(sessions_are_listed_newest_first, async |store| {
    for n in [1, 3, 2] {
        opened(
            &store,
            &at(
                login_of("alice", n),
                later(u64::try_from(n).expect("small")),
            ),
        )
        .await;
    }
    let first = login_of("alice", 1).session.id;
    moved(&store, &rotation(first, 0, later(100))).await;
    let user = UserId::parse("u1").expect("an id");
    let listed = store.sessions(&user, later(200)).await.expect("works");
    assert_eq!(
        listed
            .iter()
            .map(|session| session.id.bits())
            .collect::<Vec<_>>(),
        [3, 2, 1]
    );
    assert_eq!(listed[2].last_used_at, later(100));
});

// Nobody's sessions grow without end: what ends them all is one operation.
case!(the_oldest_session_ends_for_one_too_many, async |store| {
    let nth = |n: u32| {
        let mut login = at(login_of("alice", n.into()), later(n.into()));
        login.max_sessions = 5;
        login
    };
    for n in 1..=12 {
        let new = opened(&store, &nth(n)).await;
        let expected: Vec<_> = n
            .checked_sub(5)
            .filter(|oldest| *oldest > 0)
            .map(|oldest| nth(oldest).session.id)
            .into_iter()
            .collect();
        assert_eq!(new.ended, expected, "{n}");
    }
    let user = opened(&store, &nth(13)).await.user.id;
    let living = store.sessions(&user, later(20)).await.expect("works");
    assert_eq!(
        living
            .iter()
            .map(|session| session.id.bits())
            .collect::<Vec<_>>(),
        [13, 12, 11, 10, 9]
    );
    assert_eq!(
        super::whole_log(&store).await.len(),
        8,
        "their tokens are refused"
    );
});

// A login that has to ask for the id first changes nothing, until it has one; who is known is
// signed in at once.
case!(a_stranger_is_nobody_until_the_id_is_known, async |store| {
    let mut login = with_code(login_of("alice", 1), 1);
    login.new_user = NewUserId::Pending;
    assert!(matches!(
        store.login(&login).await.expect("works"),
        LoginOutcome::UnknownUser
    ));
    assert!(
        matches!(
            store.login(&login).await.expect("works"),
            LoginOutcome::UnknownUser
        ),
        "the code is as good as before"
    );
    assert_eq!(store.users(None, 10).await.expect("works"), []);
    let closed = NewLogin {
        registration_open: false,
        ..login.clone()
    };
    assert!(matches!(
        store.login(&closed).await.expect("works"),
        LoginOutcome::RegistrationClosed
    ));
    login.new_user = NewUserId::FromBackend(UserId::parse("42").expect("an id"));
    assert!(opened(&store, &login).await.is_new_user);
    let mut again = login_of("alice", 2);
    again.new_user = NewUserId::Pending;
    assert_eq!(opened(&store, &again).await.user.id.as_str(), "42");
});

// The backend says which id, and what the tokens say besides; both stay.
case!(an_id_that_the_backend_chose_is_the_user_s, async |store| {
    let said = serde_json::json!({ "tenant": "north", "level": 3, "groups": ["a", "b"], "rate": 0.5, "vip": true });
    let claims =
        ExtraClaims::parse(said.as_object().expect("an object").clone(), &[]).expect("claims");
    let told = NewUserId::FromBackend(UserId::parse("7").expect("an id"));
    let alice = opened(
        &store,
        &NewLogin {
            new_user: told,
            claims: claims.clone(),
            ..login_of("alice", 1)
        },
    )
    .await;
    assert_eq!((alice.user.id.as_str(), &alice.user.claims), ("7", &claims));
    let again = opened(&store, &login_of("alice", 2)).await;
    assert_eq!((again.user.id.as_str(), &again.user.claims), ("7", &claims));
    let next = NewLogin {
        new_user: NewUserId::NextInteger { first: 7 },
        ..login_of("bob", 3)
    };
    assert_eq!(
        opened(&store, &next).await.user.id.as_str(),
        "8",
        "counting steps over it"
    );
});

// An id of somebody else makes nobody, whether that one is here or gone, and spends no code.
case!(an_id_that_is_taken_makes_nobody, async |store| {
    let told = |person: &str, session| NewLogin {
        new_user: NewUserId::FromBackend(UserId::parse("7").expect("an id")),
        ..with_code(login_of(person, session), 9)
    };
    let alice = opened(
        &store,
        &NewLogin {
            code: None,
            ..told("alice", 1)
        },
    )
    .await;
    let taken = store.login(&told("bob", 2)).await.expect("works");
    assert!(
        matches!(taken, LoginOutcome::IdTaken { is_deleted: false }),
        "{taken:?}"
    );
    store
        .erase_user(&alice.user.id, None, OutboxPolicy::default(), NOW)
        .await
        .expect("works")
        .expect("a user");
    let taken = store.login(&told("bob", 2)).await.expect("works");
    assert!(
        matches!(taken, LoginOutcome::IdTaken { is_deleted: true }),
        "{taken:?}"
    );
    let given = NewUserId::Generated(UserId::parse("b").expect("an id"));
    assert!(
        opened(
            &store,
            &NewLogin {
                new_user: given,
                ..told("bob", 2)
            }
        )
        .await
        .is_new_user
    );
});
