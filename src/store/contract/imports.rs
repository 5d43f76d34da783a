//! Users of another system, who keep their ids.

use super::{NOW, Subject, login_of, opened, together, under_app, with_unionid};
use crate::{
    store::{
        IdentityKind, ImportConflict, ImportOutcome, ImportedUser, LoginOutcome, NewUserId,
        OutboxPolicy, Profile, User, UserIdentity, UserLookup,
    },
    types::{AppId, OpenId, Phone, UnionId, UserId, UserType},
};

fn id(text: &str) -> UserId {
    UserId::parse(text).expect("an id")
}

fn app(text: &str) -> AppId {
    AppId::parse(text).expect("an app id")
}

fn openid(text: &str) -> OpenId {
    OpenId::parse(text).expect("an openid")
}

fn phone(last: u8) -> Phone {
    Phone::parse_any(&format!("138001380{last:02}")).expect("a phone")
}

/// Somebody with an openid in the app of [`login_of`].
fn user_of(user: &str, person: &str) -> ImportedUser {
    ImportedUser {
        openids: vec![(app("wx1"), openid(person))],
        ..bare(user)
    }
}

fn bare(user: &str) -> ImportedUser {
    ImportedUser {
        id: id(user),
        openids: Vec::new(),
        unionid: None,
        phone: None,
        user_type: UserType::user(),
        roles: Vec::new(),
        profile: Profile::default(),
        created_at: NOW,
    }
}

async fn import(store: &Subject, users: &[ImportedUser]) -> Vec<ImportOutcome> {
    store
        .import_users(users, false)
        .await
        .expect("the store works")
}

async fn imported(store: &Subject, user: &ImportedUser) -> ImportOutcome {
    import(store, std::slice::from_ref(user)).await.remove(0)
}

async fn user(store: &Subject, user: &str) -> User {
    store
        .user(&id(user))
        .await
        .expect("the store works")
        .expect("a user")
}

fn belongs(identity: IdentityKind, to: &str) -> ImportOutcome {
    ImportOutcome::Refused(ImportConflict::IdentityTaken {
        identity,
        owner: id(to),
    })
}

// By openid, by unionid from another app, and by phone.
case!(
    an_imported_user_signs_in_under_the_id_from_before,
    async |store| {
        let profile = Profile {
            nickname: Some("小明".to_owned()),
            ..Profile::default()
        };
        let old = ImportedUser {
            unionid: Some(UnionId::parse("union").expect("a unionid")),
            phone: Some(phone(1)),
            user_type: UserType::parse("vip").expect("a type"),
            roles: vec!["editor".to_owned()],
            profile: profile.clone(),
            created_at: NOW.minus(std::time::Duration::from_hours(24)),
            ..user_of("17", "alice")
        };
        assert_eq!(imported(&store, &old).await, ImportOutcome::Created);
        let login = opened(&store, &login_of("alice", 1)).await;
        assert_eq!(
            (login.user.id.clone(), login.is_new_user),
            (id("17"), false)
        );
        assert_eq!(
            (login.user.user_type, login.user.roles),
            (old.user_type, old.roles)
        );
        assert_eq!(
            (login.user.profile, login.user.created_at),
            (profile, old.created_at)
        );
        let elsewhere = opened(
            &store,
            &with_unionid(under_app(login_of("alice-elsewhere", 2), "wx2"), "union"),
        )
        .await;
        assert_eq!(elsewhere.user.id, id("17"));
        let found = store
            .find_user(&UserIdentity::Phone(phone(1)))
            .await
            .expect("the store works");
        assert_eq!(found, Some(id("17")));
    }
);

case!(a_repeated_import_changes_nothing, async |store| {
    let old = ImportedUser {
        phone: Some(phone(1)),
        ..user_of("17", "alice")
    };
    assert_eq!(
        import(&store, &[old.clone(), bare("18")]).await,
        [ImportOutcome::Created, ImportOutcome::Created]
    );
    let login = opened(&store, &login_of("alice", 1)).await;
    let renamed = ImportedUser {
        profile: Profile {
            nickname: Some("other".to_owned()),
            ..Profile::default()
        },
        user_type: UserType::admin(),
        ..old.clone()
    };
    assert_eq!(
        import(&store, &[old, renamed, bare("18")]).await,
        vec![ImportOutcome::Unchanged; 3]
    );
    assert_eq!(
        user(&store, "17").await,
        login.user,
        "what is known here counts"
    );
});

case!(what_is_known_later_is_linked_later, async |store| {
    import(&store, &[user_of("17", "alice")]).await;
    let more = ImportedUser {
        openids: vec![
            (app("wx1"), openid("alice")),
            (app("wx2"), openid("alice-2")),
        ],
        unionid: Some(UnionId::parse("union").expect("a unionid")),
        phone: Some(phone(1)),
        ..bare("17")
    };
    assert_eq!(imported(&store, &more).await, ImportOutcome::Linked);
    assert_eq!(imported(&store, &more).await, ImportOutcome::Unchanged);
    assert_eq!(user(&store, "17").await.phone, Some(phone(1)));
    assert_eq!(
        opened(&store, &under_app(login_of("alice-2", 1), "wx2"))
            .await
            .user
            .id,
        id("17")
    );
    match store.lookup_user(&id("17")).await.expect("the store works") {
        UserLookup::Active(known) => {
            assert_eq!((known.openids.len(), known.unionids.len()), (2, 1));
        }
        other => panic!("not a user: {other:?}"),
    }
});

case!(an_import_takes_nothing_from_anybody, async |store| {
    let old = ImportedUser {
        unionid: Some(UnionId::parse("union").expect("a unionid")),
        phone: Some(phone(1)),
        ..user_of("17", "alice")
    };
    import(&store, &[old]).await;
    let taken = [
        (user_of("18", "alice"), belongs(IdentityKind::OpenId, "17")),
        (
            ImportedUser {
                phone: Some(phone(1)),
                ..user_of("18", "bob")
            },
            belongs(IdentityKind::Phone, "17"),
        ),
        (
            ImportedUser {
                unionid: Some(UnionId::parse("union").expect("a unionid")),
                ..user_of("18", "bob")
            },
            belongs(IdentityKind::UnionId, "17"),
        ),
        (
            user_of("17", "bob"),
            ImportOutcome::Refused(ImportConflict::IdTaken),
        ),
        (
            ImportedUser {
                phone: Some(phone(1)),
                ..user_of("17", "bob")
            },
            ImportOutcome::Refused(ImportConflict::HasAnother(IdentityKind::OpenId)),
        ),
        (
            ImportedUser {
                phone: Some(phone(2)),
                ..user_of("17", "alice")
            },
            ImportOutcome::Refused(ImportConflict::HasAnother(IdentityKind::Phone)),
        ),
        (
            ImportedUser {
                unionid: Some(UnionId::parse("other").expect("a unionid")),
                ..user_of("17", "alice")
            },
            ImportOutcome::Refused(ImportConflict::HasAnother(IdentityKind::UnionId)),
        ),
        (
            ImportedUser {
                openids: vec![(app("wx9"), openid("a")), (app("wx9"), openid("b"))],
                ..bare("19")
            },
            ImportOutcome::Refused(ImportConflict::HasAnother(IdentityKind::OpenId)),
        ),
    ];
    let before = user(&store, "17").await;
    for (row, outcome) in taken {
        assert_eq!(imported(&store, &row).await, outcome, "{row:?}");
    }
    assert_eq!(user(&store, "17").await, before);
    for gone in ["18", "19"] {
        assert!(
            store
                .user(&id(gone))
                .await
                .expect("the store works")
                .is_none(),
            "nothing is half-done"
        );
    }
    let bob = opened(&store, &login_of("bob", 1)).await;
    assert!(bob.is_new_user, "a refused row links nothing");
    store
        .erase_user(&id("17"), None, OutboxPolicy::default(), NOW)
        .await
        .expect("the store works")
        .expect("a user");
    assert_eq!(
        imported(&store, &user_of("17", "alice")).await,
        ImportOutcome::Refused(ImportConflict::IdDeleted)
    );
});

case!(
    an_import_in_parallel_with_a_login_makes_one_user,
    async |store| {
        let tasks = (0..20_u128).map(|n| {
            let store = store.clone();
            async move {
                if n % 2 == 0 {
                    opened(&store, &login_of("alice", n + 1)).await.user.id
                } else {
                    import(&store, &[user_of("17", "alice")]).await;
                    store
                        .find_user(&UserIdentity::OpenId(app("wx1"), openid("alice")))
                        .await
                        .expect("works")
                        .expect("somebody")
                }
            }
        });
        let ids = together(tasks).await;
        assert!(ids.iter().all(|one| *one == ids[0]), "{ids:?}");
    }
);

case!(integers_go_on_above_what_was_imported, async |store| {
    let users = [
        user_of("41", "alice"),
        user_of("7", "bob"),
        user_of("007", "carol"),
        user_of(&u64::MAX.to_string(), "dave"),
    ];
    assert_eq!(
        import(&store, &users).await,
        vec![ImportOutcome::Created; 4]
    );
    let mut login = login_of("erin", 1);
    login.new_user = NewUserId::NextInteger { first: 1 };
    assert_eq!(opened(&store, &login).await.user.id, id("42"));
});

case!(a_trial_leaves_nothing, async |store| {
    let rows = [
        user_of("17", "alice"),
        user_of("17", "alice"),
        user_of("18", "alice"),
    ];
    let outcomes = store
        .import_users(&rows, true)
        .await
        .expect("the store works");
    assert_eq!(
        outcomes,
        [
            ImportOutcome::Created,
            ImportOutcome::Unchanged,
            belongs(IdentityKind::OpenId, "17")
        ]
    );
    assert!(
        store
            .user(&id("17"))
            .await
            .expect("the store works")
            .is_none()
    );
    let mut login = login_of("alice", 1);
    login.registration_open = false;
    assert!(matches!(
        store.login(&login).await.expect("the store works"),
        LoginOutcome::RegistrationClosed
    ));
});
