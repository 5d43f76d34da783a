//! Administrators, rights, look-ups, the end of an account, and new keys for the store.

use std::collections::BTreeSet;

use super::{
    NOW, Subject, at, is_active, later, login_of, moved, opened, rotation, together, whole_log,
    with_unionid,
};
use crate::{
    store::{
        AccountOutcome, LoginOutcome, LoginProof, NewAccount, NewLogin, NewUserId, OutboxPolicy,
        PasswordHash, RevocationScope, RightsChange, RotationOutcome, User, UserIdentity,
        UserLookup,
    },
    types::{AppId, OpenId, Secret, SessionId, UserId, UserType, Username},
};

fn username(name: &str) -> Username {
    Username::parse(name).expect("a name")
}

fn hash(text: &str) -> PasswordHash {
    PasswordHash(Secret::new(text.to_owned()))
}

fn account(id: &str, name: &str) -> NewAccount {
    NewAccount {
        new_user: NewUserId::Generated(UserId::parse(id).expect("an id")),
        username: username(name),
        password: hash("$argon2id$1"),
        user_type: UserType::admin(),
        now: NOW,
    }
}

async fn created(store: &Subject, account: &NewAccount) -> User {
    match store.create_account(account).await.expect("works") {
        AccountOutcome::Created(user) => *user,
        AccountOutcome::UsernameTaken => panic!("the name is taken"),
    }
}

async fn password_login(store: &Subject, name: &str, session: u128) -> NewLogin {
    let seen = store
        .credentials(&username(name))
        .await
        .expect("works")
        .expect("credentials");
    NewLogin {
        proof: LoginProof::Password(username(name), seen),
        registration_open: false,
        ..login_of("nobody", session)
    }
}

async fn changed(
    store: &Subject,
    id: &UserId,
    change: RightsChange,
) -> crate::store::RightsOutcome {
    store
        .change_rights(id, &change, later(1))
        .await
        .expect("works")
        .expect("a user")
}

// A name is one account, also when 20 want it at once; a repeat gives the same.
case!(a_name_is_one_account, async |store| {
    let outcomes = together((0..20).map(|n| {
        let store = store.clone();
        async move {
            store
                .create_account(&account(&format!("a{n}"), "Root"))
                .await
                .expect("works")
        }
    }))
    .await;
    assert_eq!(
        outcomes
            .iter()
            .filter(|outcome| matches!(outcome, AccountOutcome::Created(_)))
            .count(),
        1
    );
    let id = store
        .find_user(&UserIdentity::Username(username("ROOT")))
        .await
        .expect("works")
        .expect("an id");
    let again = created(&store, &account(id.as_str(), "root")).await;
    assert_eq!((again.id, again.user_type), (id, UserType::admin()));
    let other = NewAccount {
        new_user: NewUserId::NextInteger { first: 7 },
        ..account("x", "other")
    };
    assert_eq!(created(&store, &other).await.id.as_str(), "7");
    assert!(
        store
            .credentials(&username("nobody"))
            .await
            .expect("works")
            .is_none()
    );
});

// The password that was compared is the password that is there.
case!(a_password_is_good_until_it_changes, async |store| {
    let root = created(&store, &account("a1", "root")).await;
    let login = password_login(&store, "root", 1).await;
    let first = opened(&store, &login).await;
    assert_eq!((&first.user.id, first.is_new_user), (&root.id, false));
    let stale = password_login(&store, "root", 2).await;
    let change = changed(
        &store,
        &root.id,
        RightsChange::Password(hash("$argon2id$2")),
    )
    .await;
    assert_eq!(change.ended, 1);
    assert!(!is_active(&store, first.session.id, later(2)).await);
    assert!(matches!(
        store.login(&stale).await,
        Ok(LoginOutcome::NotProven { .. })
    ));
    opened(&store, &password_login(&store, "root", 3).await).await;
    let alice = opened(&store, &login_of("alice", 4)).await;
    let none = store
        .change_rights(&alice.user.id, &RightsChange::Password(hash("x")), NOW)
        .await
        .expect("works");
    assert!(none.is_none(), "a user without a name has no password");
});

// Every session ends, nothing opens, and all of it is back when the ban is lifted, but the
// sessions.
case!(a_ban_holds_until_it_is_lifted, async |store| {
    let alice = opened(&store, &login_of("alice", 1)).await;
    let ban = changed(&store, &alice.user.id, RightsChange::Ban).await;
    assert!(ban.user.disabled && ban.ended == 1 && ban.entries.len() == 1);
    assert!(!is_active(&store, alice.session.id, later(2)).await);
    let outcome = super::rotated(&store, &rotation(alice.session.id, 0, later(2))).await;
    assert!(matches!(outcome, RotationOutcome::Disabled(_)));
    assert!(matches!(
        store.login(&login_of("alice", 2)).await,
        Ok(LoginOutcome::Disabled(_))
    ));
    let lifted = changed(&store, &alice.user.id, RightsChange::Unban).await;
    assert!(!lifted.user.disabled && lifted.entries.is_empty());
    opened(&store, &login_of("alice", 3)).await;
    let outcome = super::rotated(&store, &rotation(alice.session.id, 0, later(2))).await;
    assert!(matches!(outcome, RotationOutcome::Revoked));
    let nobody = UserId::parse("nobody").expect("an id");
    assert!(
        store
            .change_rights(&nobody, &RightsChange::Ban, NOW)
            .await
            .expect("works")
            .is_none()
    );
});

// Tokens of before are refused, sessions go on with the new kind.
case!(another_kind_of_user_holds_at_once, async |store| {
    let alice = opened(&store, &login_of("alice", 1)).await;
    let raised = changed(
        &store,
        &alice.user.id,
        RightsChange::UserType(UserType::admin()),
    )
    .await;
    assert_eq!(
        (
            raised.user.user_type.as_str(),
            raised.ended,
            raised.entries.len()
        ),
        ("admin", 0, 1)
    );
    assert!(raised.user.epoch > alice.user.epoch);
    assert_eq!(
        moved(&store, &rotation(alice.session.id, 0, later(2))).await,
        1
    );
    let same = changed(
        &store,
        &alice.user.id,
        RightsChange::UserType(UserType::admin()),
    )
    .await;
    assert!(same.entries.is_empty());
});

// By page, each once, in order.
case!(users_are_listed_in_pages, async |store| {
    for n in 1..=25 {
        opened(&store, &login_of(&format!("person-{n}"), n)).await;
    }
    let mut seen: Vec<UserId> = Vec::new();
    loop {
        let page = store.users(seen.last(), 10).await.expect("works");
        assert!(page.len() <= 10);
        if page.is_empty() {
            break;
        }
        seen.extend(page.into_iter().map(|user| user.id));
    }
    assert_eq!(seen.len(), 25);
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 25);
    assert!(seen.is_sorted());
});

// Every identity leads to its user, and a user to every identity.
case!(identities_lead_to_their_user_and_back, async |store| {
    let alice = opened(&store, &with_unionid(login_of("alice", 1), "union")).await;
    let (app, openid) = (
        AppId::parse("wx1").expect("an app"),
        OpenId::parse("alice").expect("an openid"),
    );
    let by = UserIdentity::OpenId(app.clone(), openid.clone());
    assert_eq!(
        store.find_user(&by).await.expect("works"),
        Some(alice.user.id.clone())
    );
    let other = UserIdentity::OpenId(AppId::parse("wx2").expect("an app"), openid.clone());
    assert_eq!(store.find_user(&other).await.expect("works"), None);
    let UserLookup::Active(known) = store.lookup_user(&alice.user.id).await.expect("works") else {
        panic!("not known")
    };
    assert_eq!(known.openids, [(app, openid)]);
    assert_eq!(known.unionids.len(), 1);
    assert!(matches!(
        store.lookup_user(&UserId::parse("x").expect("an id")).await,
        Ok(UserLookup::Unknown)
    ));
    let session = store
        .wechat(alice.session.id, NOW)
        .await
        .expect("from WeChat");
    assert_eq!(
        (session.openid.as_str(), session.session_keys.len()),
        ("alice", 1)
    );
});

// The `session_key` and the one before it, which is good for ten minutes more.
case!(a_session_knows_its_session_keys, async |store| {
    let keyed = |session: u128, key: &str, now| {
        let mut login = at(login_of("alice", session), now);
        super::wechat_of(&mut login).session_key = Some(Secret::new(key.to_owned()));
        login
    };
    let first = opened(&store, &keyed(1, "a", NOW)).await.session.id;
    opened(&store, &keyed(2, "b", later(5))).await;
    let keys = async |now| {
        let session = store.wechat(first, now).await.expect("a session");
        session
            .session_keys
            .iter()
            .map(|key| key.expose().clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(keys(later(6)).await, ["b", "a"]);
    assert_eq!(keys(later(5 + 599)).await, ["b", "a"]);
    assert_eq!(keys(later(5 + 600)).await, ["b"]);
    let user = store.active(first, NOW).await.expect("a session").user;
    let mut identity = super::wechat_of(&mut keyed(3, "c", later(700))).clone();
    assert!(
        store
            .prove_wechat(&user, &identity, later(700))
            .await
            .expect("works")
    );
    assert_eq!(
        keys(later(701)).await,
        ["c", "b"],
        "a code that proves somebody brings a key too"
    );
    assert!(
        !store
            .prove_wechat(
                &UserId::parse("mallory").expect("an id"),
                &identity,
                later(700)
            )
            .await
            .expect("works")
    );
    identity.openid = OpenId::parse("mallory").expect("an openid");
    assert!(
        !store
            .prove_wechat(&user, &identity, later(700))
            .await
            .expect("works")
    );
});

// Nothing of the user is left but the fact that the id was used.
case!(an_erased_user_leaves_nothing_but_the_id, async |store| {
    let alice = opened(&store, &with_unionid(login_of("alice", 1), "union")).await;
    let other = opened(&store, &login_of("alice", 2)).await;
    let over = opened(&store, &login_of("alice", 9)).await;
    let root = created(&store, &account("a1", "root")).await;
    let what = RevocationScope::Session {
        user: alice.user.id.clone(),
        session: over.session.id,
    };
    store.revoke(&what, NOW).await.expect("works");
    for session in [over.session.id, SessionId::from_bits(404)] {
        let nobody = store
            .erase_user(
                &alice.user.id,
                Some(session),
                OutboxPolicy::default(),
                later(1),
            )
            .await
            .expect("works");
        assert_eq!(nobody, None, "a session that is over erases nobody");
    }
    let erased = store
        .erase_user(
            &alice.user.id,
            Some(other.session.id),
            OutboxPolicy::default(),
            later(1),
        )
        .await
        .expect("works")
        .expect("a user");
    assert_eq!(
        erased.sessions.iter().collect::<BTreeSet<_>>(),
        [&alice.session.id, &other.session.id].into()
    );
    assert_eq!(
        (erased.entries.len(), whole_log(&store).await.len()),
        (1, 2),
        "tokens that are out are refused"
    );
    assert_eq!(
        store
            .erase_user(&alice.user.id, None, OutboxPolicy::default(), later(1))
            .await
            .expect("works"),
        None,
        "twice is once"
    );
    assert_eq!(store.user(&alice.user.id).await.expect("works"), None);
    assert!(matches!(
        store.lookup_user(&alice.user.id).await,
        Ok(UserLookup::Deleted {
            merged_into: None,
            ..
        })
    ));
    for session in [alice.session.id, other.session.id] {
        assert_eq!(store.salt(session, later(1)).await, None);
    }
    let mut back = at(login_of("alice", 3), later(2));
    back.new_user = NewUserId::Generated(alice.user.id.clone());
    assert!(
        store.login(&back).await.is_err(),
        "the id is never given again"
    );
    back.new_user = NewUserId::Generated(UserId::parse("u3").expect("an id"));
    assert!(opened(&store, &back).await.is_new_user);
    store
        .erase_user(&root.id, None, OutboxPolicy::default(), later(1))
        .await
        .expect("works");
    assert!(
        store
            .credentials(&username("root"))
            .await
            .expect("works")
            .is_none()
    );
    created(&store, &account("a2", "root")).await;
});

// An integer that was somebody's is stepped over.
case!(an_erased_integer_is_not_given_again, async |store| {
    let numbered = |n: u128| NewLogin {
        new_user: NewUserId::NextInteger { first: 10 },
        ..login_of(&format!("person-{n}"), n)
    };
    let ten = opened(&store, &numbered(1)).await.user.id;
    store
        .erase_user(&ten, None, OutboxPolicy::default(), NOW)
        .await
        .expect("works");
    assert_eq!(opened(&store, &numbered(2)).await.user.id.as_str(), "11");
});

// Everything is found and opens before, while and after the store gets a new key, under parallel
// logins.
case!(the_store_gets_a_new_key_while_it_is_in_use, async |store| {
    assert!(
        store.reencrypt(10).await.expect("works").finished,
        "nothing to do"
    );
    let people = 40;
    for n in 1..=people {
        opened(
            &store,
            &with_unionid(login_of(&format!("person-{n}"), n), &format!("union-{n}")),
        )
        .await;
    }
    created(&store, &account("a1", "root")).await;
    let what = RevocationScope::Session {
        user: UserId::parse("u1").expect("an id"),
        session: SessionId::from_bits(1),
    };
    store.revoke(&what, NOW).await.expect("works");
    for round in 1..=3 {
        // 20 at once are one change: a second key that overtook the first would take what it sealed
        // with it.
        together((0..20).map(|_| {
            let store = store.clone();
            async move { store.rotate_store_key().await.expect("works") }
        }))
        .await;
        let mut steps = 0;
        loop {
            let n = 1000 * round + steps;
            assert!(
                opened(&store, &login_of(&format!("stranger-{n}"), n))
                    .await
                    .is_new_user
            );
            let known = 2 + steps % (people - 1);
            let back = opened(
                &store,
                &login_of(&format!("person-{known}"), 5000 * round + steps),
            )
            .await;
            assert_eq!(
                back.user.id.as_str(),
                format!("u{known}"),
                "round {round}, step {steps}"
            );
            steps += 1;
            if store.reencrypt(7).await.expect("works").finished {
                break;
            }
        }
        assert!(steps > 10, "only {steps} steps");
        for n in 2..=people {
            assert!(is_active(&store, SessionId::from_bits(n), NOW).await, "{n}");
            let by_unionid = super::under_app(
                with_unionid(
                    login_of("elsewhere", 90_000 * round + n),
                    &format!("union-{n}"),
                ),
                "wx9",
            );
            let mut by_unionid = by_unionid;
            super::wechat_of(&mut by_unionid).openid =
                OpenId::parse(&format!("elsewhere-{n}")).expect("an openid");
            assert_eq!(
                opened(&store, &by_unionid).await.user.id.as_str(),
                format!("u{n}")
            );
        }
        assert!(
            store
                .credentials(&username("root"))
                .await
                .expect("works")
                .is_some()
        );
        assert_eq!(whole_log(&store).await.len(), 1);
    }
});

// Strangers sign in all the time while keys change, change after change: each is found again.
case!(nobody_is_lost_while_keys_change, async |store| {
    let rounds = 8_u128;
    for round in 0..rounds {
        let first = round * 1000;
        let strangers = together((first..first + 40).map(|n| {
            let store = store.clone();
            async move {
                (
                    n,
                    opened(&store, &login_of(&format!("stranger-{n}"), n))
                        .await
                        .user
                        .id,
                )
            }
        }));
        let change = async {
            store.rotate_store_key().await.expect("works");
            while !store.reencrypt(50).await.expect("works").finished {}
        };
        let (strangers, ()) = tokio::join!(strangers, change);
        assert_eq!(strangers.len(), 40);
        for (n, id) in strangers {
            let back = opened(&store, &login_of(&format!("stranger-{n}"), 1_000_000 + n)).await;
            assert_eq!(back.user.id, id, "stranger {n} of round {round}");
        }
    }
});
