//! Values at their limits: the largest records, and ids and names with every character that they may
//! have.

use super::{Subject, later, login_of, opened, wechat_of};
use crate::{
    store::{
        ImportOutcome, ImportedUser, NewAccount, NewUserId, PasswordHash, Profile, ProfileChange,
        StoreError, UserIdentity,
    },
    types::{AppId, OpenId, Secret, UnionId, UserId, UserType, Username},
};

fn bio(length: usize) -> ProfileChange {
    ProfileChange {
        bio: Some(Some("x".repeat(length))),
        ..ProfileChange::default()
    }
}

// A record may have 64 KiB, so sealed more than a BLOB of MySQL holds.
case!(the_largest_record_is_kept_whole, async |store| {
    let alice = opened(&store, &login_of("alice", 1)).await;
    let id = &alice.user.id;
    let (mut fits, mut too_long) = (60_000, 70_000);
    while too_long - fits > 1 {
        let length = usize::midpoint(fits, too_long);
        match store.update_profile(id, &bio(length), later(1)).await {
            Ok(_) => fits = length,
            Err(StoreError::Unavailable(why)) => {
                assert_eq!(why, "a record is too large");
                too_long = length;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(fits > 64_000, "{fits}");
    let changed = store.update_profile(id, &bio(fits), later(1)).await;
    let changed = changed.expect("works").expect("a user");
    let found = store.user(id).await.expect("works").expect("a user");
    assert_eq!(found, changed);
    assert_eq!(found.profile.bio.map(|bio| bio.len()), Some(fits));
    // It has no room for a session, and stays as it is.
    let full = store.login(&login_of("alice", 2)).await;
    assert!(matches!(full, Err(StoreError::Unavailable(_))), "{full:?}");
    let found = store.user(id).await.expect("works").expect("a user");
    assert_eq!(found, changed);
});

/// A text with every character that may be in the middle of it, in pieces of at most this length.
fn texts(max_length: usize, is_valid: impl Fn(&str) -> bool) -> Vec<String> {
    let mut texts = vec!["a".to_owned()];
    for character in (0..=0x2ff).filter_map(char::from_u32).chain(['微', '😀']) {
        if !is_valid(&format!("a{character}z")) {
            continue;
        }
        if texts.last().is_some_and(|text| text.len() + 5 > max_length) {
            texts.push("a".to_owned());
        }
        if let Some(text) = texts.last_mut() {
            text.push(character);
        }
    }
    for text in &mut texts {
        text.push('z');
        assert!(is_valid(text), "{text}");
    }
    texts
}

async fn find(store: &Subject, by: &UserIdentity) -> Option<UserId> {
    store.find_user(by).await.expect("the store works")
}

case!(ids_and_names_may_have_every_character, async |store| {
    let openids = texts(28, |text| OpenId::parse(text).is_ok());
    let app_ids = texts(28, |text| AppId::parse(text).is_ok());
    let user_ids = texts(28, |text| UserId::parse(text).is_ok());
    let unionids = texts(28, |text| UnionId::parse(text).is_ok());
    assert!(openids.concat().len() > 60 && user_ids.concat().len() > 60);
    let app = |n: usize| AppId::parse(&app_ids[n % app_ids.len()]).expect("an app id");
    let nickname: String = (0..=0x2ff).filter_map(char::from_u32).collect();
    let count = openids.len().max(user_ids.len()).max(unionids.len());
    let users: Vec<_> = (0..count)
        .map(|n| {
            let suffix = |texts: &[String]| format!("{}{n}", texts[n % texts.len()]);
            let openid = OpenId::parse(&suffix(&openids)).expect("an openid");
            ImportedUser {
                id: UserId::parse(&suffix(&user_ids)).expect("an id"),
                openids: vec![(app(n), openid)],
                unionid: Some(UnionId::parse(&suffix(&unionids)).expect("a unionid")),
                phone: None,
                user_type: UserType::user(),
                roles: vec!["'\"\\%_;--".to_owned()],
                profile: Profile {
                    nickname: Some(nickname.clone()),
                    ..Profile::default()
                },
                created_at: later(0),
            }
        })
        .collect();
    let outcomes = store.import_users(&users, false).await.expect("works");
    assert!(
        outcomes
            .iter()
            .all(|outcome| *outcome == ImportOutcome::Created),
        "{outcomes:?}"
    );
    for (session, user) in (1..).zip(&users) {
        let found = store.user(&user.id).await.expect("works").expect("a user");
        assert_eq!((&found.profile, &found.roles), (&user.profile, &user.roles));
        let (app_id, openid) = user.openids[0].clone();
        let by = UserIdentity::OpenId(app_id.clone(), openid.clone());
        assert_eq!(find(&store, &by).await.as_ref(), Some(&user.id));
        let mut login = login_of(openid.as_str(), session);
        wechat_of(&mut login).app_id = app_id;
        let again = opened(&store, &login).await;
        assert_eq!((&again.user.id, again.is_new_user), (&user.id, false));
    }
    let listed = store.users(None, 1000).await.expect("works");
    assert_eq!(listed.len(), users.len());
    for (n, name) in texts(28, |text| Username::parse(text).is_ok())
        .iter()
        .enumerate()
    {
        let username = Username::parse(name).expect("a name");
        let account = NewAccount {
            new_user: NewUserId::Generated(UserId::parse(&format!("named{n}")).expect("an id")),
            username: username.clone(),
            password: PasswordHash(Secret::new("$argon2id$".to_owned())),
            user_type: UserType::admin(),
            now: later(0),
        };
        store.create_account(&account).await.expect("works");
        let found = find(&store, &UserIdentity::Username(username)).await;
        assert_eq!(found.map(|id| id.to_string()), Some(format!("named{n}")));
    }
});
