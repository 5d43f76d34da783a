//! What each operation reads and writes, and in how many rounds: few records, and none that
//! operations of different users share.

use std::collections::BTreeSet;

use super::*;
use crate::{
    store::{
        ImportedUser, NewUserId, Profile, Renewal, RenewalProof, SmsLimits,
        engine::{Commit, SharedEngine},
        engines::versioned::VersionedMemory,
    },
    types::{AppId, OpenId, Phone, SmsPurpose, UnionId, UserType},
};

/// A store on a shared engine, and that engine.
pub(super) async fn shared() -> (EngineStore, Arc<VersionedMemory>) {
    let engine = Arc::new(VersionedMemory::new());
    let below: Arc<dyn SharedEngine> = Arc::<VersionedMemory>::clone(&engine);
    let store = EngineStore::shared(below, &options(), &keys(), Entropy::default()).await;
    (store.unwrap(), engine)
}

fn login(person: &str, number: u8) -> NewLogin {
    let mut login = login_of(person, number.into());
    login.code = Some((CodeHash([number; 32]), NOW.plus(Duration::from_mins(10))));
    login.max_sessions = 20;
    login
}

/// The kinds of records that a commit writes, in order.
fn kinds(commit: &Commit) -> String {
    let kinds = commit.changes.keys().map(|key| char::from(key[0]));
    kinds.collect()
}

/// The last commit, and how many rounds to the engine there were since: reads, and the commit.
fn last(engine: &VersionedMemory, reads_before: usize) -> (Commit, usize) {
    let commit = engine.commits().pop().unwrap();
    (commit, engine.reads() - reads_before + 1)
}

#[tokio::test]
async fn operations_write_few_records_in_few_rounds() {
    let (store, engine) = shared().await;
    // The keys are known from here on.
    store.user(&user_of(1)).await.unwrap();

    let before = engine.reads();
    store.login(&login("alice", 1)).await.unwrap();
    let (commit, rounds) = last(&engine, before);
    assert_eq!((kinds(&commit).as_str(), rounds), ("cou", 2), "first login");

    let before = engine.reads();
    store.login(&login("alice", 2)).await.unwrap();
    let (commit, rounds) = last(&engine, before);
    assert_eq!((kinds(&commit).as_str(), rounds), ("cu", 3), "login");

    let before = engine.reads();
    let rotation = Rotation {
        user: user_of(1),
        session: SessionId::from_bits(2),
        counter: 0,
        check: TokenCheck::new(|_| true),
        replay_window: None,
        idle_ttl: Duration::from_mins(1),
        now: NOW,
    };
    store.rotate(&rotation).await.unwrap();
    let (commit, rounds) = last(&engine, before);
    assert_eq!((kinds(&commit).as_str(), rounds), ("u", 2), "refresh");
    assert_eq!(commit.reads.len(), 2, "the user and the fence");

    let before = engine.reads();
    let renewal = Renewal {
        user: user_of(1),
        session: SessionId::from_bits(1),
        proof: RenewalProof::AccessToken,
        idle_ttl: Duration::from_mins(1),
        now: NOW,
    };
    store.renew(&renewal).await.unwrap();
    let (commit, rounds) = last(&engine, before);
    assert_eq!((kinds(&commit).as_str(), rounds), ("u", 2), "renewal");

    let before = engine.reads();
    let (user, session) = (user_of(1), SessionId::from_bits(1));
    let scope = RevocationScope::Session { user, session };
    store.revoke(&scope, NOW).await.unwrap();
    let (commit, rounds) = last(&engine, before);
    assert_eq!((kinds(&commit).as_str(), rounds), ("ru", 2), "logout");

    let before = engine.reads();
    store
        .revoke(&RevocationScope::Everything, NOW)
        .await
        .unwrap();
    let (commit, rounds) = last(&engine, before);
    assert_eq!((kinds(&commit).as_str(), rounds), ("mr", 2), "everything");
}

/// Nothing but the fence, and nothing that one of the two writes.
#[tokio::test]
async fn different_users_share_no_record_that_either_writes() {
    let (store, engine) = shared().await;
    let mut touched = Vec::new();
    for (person, first) in [("alice", 1), ("bob", 5)] {
        let before = engine.commits().len();
        for number in first..first + 3 {
            store.login(&login(person, number)).await.unwrap();
        }
        let (user, keep) = (user_of(first.into()), SessionId::from_bits(first.into()));
        let scope = RevocationScope::Others { user, keep };
        store.revoke(&scope, NOW).await.unwrap();
        let (mut read, mut written) = (BTreeSet::new(), BTreeSet::new());
        for commit in &engine.commits()[before..] {
            read.extend(commit.reads.keys().cloned());
            written.extend(commit.changes.keys().cloned());
        }
        assert!(!written.contains(FENCE));
        touched.push((read, written));
    }
    let [(read_a, written_a), (read_b, written_b)] = touched.as_slice() else {
        panic!("two users")
    };
    assert!(written_a.is_disjoint(written_b));
    assert!(written_a.is_disjoint(read_b) && written_b.is_disjoint(read_a));
    let shared: Vec<_> = read_a.intersection(read_b).collect();
    assert_eq!(shared, [FENCE]);
}

/// A commit locks each record that it changes.
#[tokio::test]
async fn upkeep_and_imports_change_few_records_in_a_commit() {
    let (store, engine) = shared().await;
    for number in 1..=120 {
        let login = login(&format!("person-{number}"), number);
        store.login(&login).await.unwrap();
    }
    let most_since = |before: usize| {
        let commits = engine.commits();
        let sizes = commits[before..].iter().map(|commit| commit.changes.len());
        sizes.max().unwrap_or_default()
    };
    let before = engine.commits().len();
    let far = NOW.plus(Duration::from_hours(1));
    assert_eq!(store.sweep(far, 110).await.unwrap(), 110);
    assert_eq!(store.sweep(far, 110).await.unwrap(), 10);
    assert_eq!(most_since(before), MAX_SHARED_BATCH);
    let imported = |n: u64| ImportedUser {
        id: UserId::parse(&n.to_string()).unwrap(),
        openids: vec![(
            AppId::parse("wx1").unwrap(),
            OpenId::parse(&format!("o{n}")).unwrap(),
        )],
        unionid: Some(UnionId::parse(&format!("n{n}")).unwrap()),
        phone: None,
        user_type: UserType::user(),
        roles: Vec::new(),
        profile: Profile::default(),
        created_at: NOW,
    };
    let users: Vec<_> = (1..=100).map(imported).collect();
    let before = engine.commits().len();
    assert_eq!(store.import_users(&users, false).await.unwrap().len(), 100);
    assert!(most_since(before) <= MAX_SHARED_BATCH);
    store.rotate_store_key().await.unwrap();
    let before = engine.commits().len();
    assert!(!store.reencrypt(100).await.unwrap().finished);
    while !store.reencrypt(500).await.unwrap().finished {}
    // Those that are found by a hash move: one record at two keys.
    assert!(most_since(before) <= 2 * MAX_SHARED_BATCH + 1);
}

/// Once a process has a block, neither a new user nor a message touches what all processes share.
#[tokio::test]
async fn integer_ids_and_the_budget_come_in_blocks() {
    let (store, engine) = shared().await;
    let mut written = Vec::new();
    for number in 1..=3_u8 {
        let mut login = login(&format!("person-{number}"), number);
        login.new_user = NewUserId::NextInteger { first: 100 };
        let LoginOutcome::Opened(opened) = store.login(&login).await.unwrap() else {
            panic!("not signed in")
        };
        assert_eq!(
            opened.user.id.as_str(),
            (99 + u64::from(number)).to_string()
        );
        written.push(kinds(&engine.commits().pop().unwrap()));
    }
    assert_eq!(written, ["cmou", "cou", "cou"]);

    let mut written = Vec::new();
    for number in 1..=3_u8 {
        let message = SmsReservation {
            id: SmsId(number.into()),
            phone: Phone::from_parts("86", &format!("1380013800{number}")).unwrap(),
            purpose: SmsPurpose::Login,
            code: CodeHash([number; 32]),
            limits: SmsLimits {
                code_ttl: Duration::from_mins(5),
                resend_after: Duration::from_mins(1),
                per_phone_hour: 5,
                per_phone_day: 10,
                daily_budget: 1000,
                max_attempts: 5,
            },
            is_test: false,
            now: NOW,
        };
        store.reserve_sms(&message).await.unwrap();
        written.push(kinds(&engine.commits().pop().unwrap()));
    }
    assert_eq!(written, ["mv", "v", "v"]);
}
