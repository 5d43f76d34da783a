//! What the contract does not say of the engines of this process, and what only one with files can
//! get wrong.

mod crash;
mod damage;
mod directory;
mod faults;
mod footprint;
mod imports;
mod repeats;
mod replicas;
mod shared_log;
mod two_versions;

use std::time::Duration;

use super::*;
use crate::{
    crypto::Key,
    store::{
        BindOutcome, CodeHash, CodeUse, LoginOutcome, NewLogin, OutboxPolicy, PhoneBinding,
        RevocationScope, RightsChange, Rotation, RotationOutcome, Session, SmsGuess, SmsId,
        SmsReservation, Store, StoredKey, TokenCheck, UserIdentity, UserLookup,
        fixture::{NOW, login_of, wechat_of},
        operations::{layout, transaction::RecordView, user_record},
        record_cipher::RecordCipher,
    },
    types::{Secret, SessionId, Timestamp, UserId},
};

const KEY: [u8; 32] = [7; 32];

fn keys() -> WrappingKeys {
    WrappingKeys::derive(&Key::new(KEY), None)
}

fn in_memory() -> EngineStore {
    EngineStore::memory(&options(), &keys(), Entropy::default()).unwrap()
}

/// Waits a little for a lock that a store dropped just now may still hold.
fn options() -> OpenOptions {
    OpenOptions {
        cache_bytes: 1 << 20,
        lock_wait: Duration::from_secs(10),
        ..OpenOptions::default()
    }
}

fn on_disk(path: &Path) -> Result<EngineStore, OpenError> {
    EngineStore::sled(path, &options(), &keys(), Entropy::default())
}

#[tokio::test]
async fn operations_are_timed_and_failures_counted_by_name() {
    let store = in_memory();
    store.login(&login_of("alice", 1)).await.unwrap();
    store.close().await.unwrap();
    store.check().await.unwrap_err();
    let text = store.metrics.render();
    for line in [
        r#"menshen_store_op_duration_seconds_count{engine="memory",op="login"} 1"#,
        r#"menshen_store_op_duration_seconds_count{engine="memory",op="check"} 1"#,
        r#"menshen_store_errors_total{engine="memory",op="check"} 1"#,
        r#"menshen_store_errors_total{engine="memory",op="login"} 0"#,
    ] {
        assert!(text.contains(line), "{line} is not in:\n{text}");
    }
}

#[tokio::test]
async fn operations_that_are_more_than_a_read_or_a_write_are_timed_once() {
    let store = in_memory();
    assert_eq!(store.take_outbox(NOW, NOW, 1).await.unwrap(), []);
    store.rotate_store_key().await.unwrap();
    store.reencrypt(1).await.unwrap();
    store.stats().await.unwrap();
    drop(store.export(Unreadable::Fails).await.unwrap());
    store.restore(Vec::new()).await.unwrap();
    let text = store.metrics.render();
    for op in [
        "take_outbox",
        "rotate_store_key",
        "reseal",
        "stats",
        "export",
        "restore",
    ] {
        let line =
            format!(r#"menshen_store_op_duration_seconds_count{{engine="memory",op="{op}"}} 1"#);
        assert!(text.contains(&line), "{line} is not in:\n{text}");
    }
}

/// The engine below.
fn engine(store: &EngineStore) -> &Arc<dyn LocalEngine> {
    match &store.runner {
        Runner::Local(runner) => runner.engine(),
        Runner::Shared(_) => panic!("the engine is shared"),
    }
}

/// A cipher with the keys that are in the store now.
fn cipher(store: &EngineStore) -> Arc<RecordCipher> {
    let ciphers = CipherCache::new(keys(), Entropy::default());
    let wrapped = engine(store).get(FENCE).unwrap();
    ciphers.cipher(wrapped.as_deref()).unwrap()
}

/// The user whose first login opened this session.
fn user_of(session: u128) -> UserId {
    UserId::parse(&format!("u{session}")).unwrap()
}

/// A session of the user whose first session has the other number.
async fn session_of(
    store: &EngineStore,
    first: u128,
    session: u128,
) -> Result<Option<Session>, StoreError> {
    let id = SessionId::from_bits(session);
    store.session(&user_of(first), id, NOW).await
}

fn raw_keys(store: &EngineStore) -> Vec<Vec<u8>> {
    engine(store)
        .scan(b"", None, usize::MAX)
        .unwrap()
        .into_iter()
        .map(|(key, _)| key)
        .collect()
}

#[tokio::test]
async fn a_swept_store_has_no_leftovers() {
    let store = in_memory();
    for n in 1..=20 {
        let mut login = login_of("alice", n);
        login.code = Some((CodeHash([u8::try_from(n).unwrap(); 32]), NOW));
        store.login(&login).await.unwrap();
    }
    let user = UserId::parse("u1").unwrap();
    let keep = SessionId::from_bits(1);
    store
        .revoke(&RevocationScope::Others { user, keep }, NOW)
        .await
        .unwrap();
    let far = Timestamp::from_secs(NOW.as_secs() * 2);
    while store.sweep(far, 7).await.unwrap() == 7 {}
    let kinds: Vec<_> = raw_keys(&store)
        .iter()
        .map(|key| char::from(key[0]))
        .collect();
    assert_eq!(
        kinds,
        ['m', 'o', 'u'],
        "the keyring, one openid and its user"
    );
}

#[tokio::test]
async fn an_expired_record_that_is_damaged_does_not_hold_up_the_sweep() {
    let store = in_memory();
    for n in 1..=3 {
        let mut login = login_of("alice", n);
        login.code = Some((CodeHash([u8::try_from(n).unwrap(); 32]), NOW));
        store.login(&login).await.unwrap();
    }
    let key = layout::LOGIN_CODES.present_key(&CodeHash([1; 32]), NOW);
    engine(&store)
        .commit(&[(key.clone(), Some(b"\x01damage".to_vec()))].into())
        .unwrap();
    let code_use = |code| {
        let store = &store;
        async move { store.code_use(&CodeHash([code; 32]), None, NOW).await }
    };
    assert!(matches!(code_use(1).await, Err(StoreError::Damaged(_))));
    assert!(code_use(2).await.is_ok(), "the others are well");
    store.check().await.unwrap();
    let far = Timestamp::from_secs(NOW.as_secs() * 2);
    assert_eq!(store.sweep(far, 100).await.unwrap(), 3);
    assert_eq!(engine(&store).get(&key).unwrap(), None);
}

/// What an operation left behind that took its place from the keys before a change and its seal
/// from those after it. No operation does that any more; one that did lost people.
#[tokio::test]
async fn a_record_under_the_new_key_in_a_place_of_the_old_one_is_moved() {
    let store = in_memory();
    store.login(&login_of("alice", 1)).await.unwrap();
    let identity = wechat_of(&mut login_of("alice", 1)).clone();
    let lookup_key = layout::LookupKey::OpenId(&identity.app_id, &identity.openid);
    let old_place = lookup_key.candidate_keys(&cipher(&store)).remove(0);
    store.rotate_store_key().await.unwrap();
    let cipher = cipher(&store);
    let bytes = engine(&store).get(&old_place).unwrap().unwrap();
    let plain = cipher.open(&old_place, &bytes).unwrap();
    let sealed = cipher.seal(&old_place, &plain).unwrap();
    engine(&store)
        .commit(&[(old_place.clone(), Some(sealed))].into())
        .unwrap();
    while !store.reencrypt(100).await.unwrap().finished {}
    let LoginOutcome::Opened(back) = store.login(&login_of("alice", 2)).await.unwrap() else {
        panic!("not signed in")
    };
    assert!(!back.is_new_user);
    assert_eq!(engine(&store).get(&old_place).unwrap(), None);
}

#[tokio::test]
async fn a_damaged_record_does_not_hold_up_a_change_of_keys() {
    let store = in_memory();
    for n in 1..=5 {
        store
            .login(&login_of(&format!("person-{n}"), n))
            .await
            .unwrap();
    }
    let key = layout::user(&user_of(3));
    engine(&store)
        .commit(&[(key, Some(b"damage".to_vec()))].into())
        .unwrap();
    store.rotate_store_key().await.unwrap();
    while !store.reencrypt(2).await.unwrap().finished {}
    assert!(!cipher(&store).keyring().is_rotating());
    for n in [1, 2, 4, 5] {
        assert!(session_of(&store, n, n).await.unwrap().is_some(), "{n}");
    }
}

#[tokio::test]
async fn a_disabled_user_neither_signs_in_nor_refreshes() {
    let store = in_memory();
    store.login(&login_of("alice", 1)).await.unwrap();
    let id = UserId::parse("u1").unwrap();
    store
        .change_rights(&id, &RightsChange::Ban, NOW)
        .await
        .unwrap();
    let mut login = login_of("alice", 2);
    let code = CodeHash([1; 32]);
    login.code = Some((code, Timestamp::from_secs(NOW.as_secs() + 600)));
    assert!(
        matches!(store.login(&login).await.unwrap(), LoginOutcome::Disabled(user) if user == id)
    );
    let unspent = store.code_use(&code, None, NOW).await.unwrap();
    assert!(matches!(unspent, CodeUse::Unused));
    assert!(
        matches!(
            store.login(&login_of("alice", 1)).await.unwrap(),
            LoginOutcome::Disabled(_)
        ),
        "a repeat"
    );
    let session = SessionId::from_bits(1);
    let rotation = Rotation {
        user: id.clone(),
        session,
        counter: 0,
        check: TokenCheck::new(|_| true),
        replay_window: None,
        idle_ttl: Duration::from_mins(1),
        now: NOW,
    };
    assert!(
        matches!(store.rotate(&rotation).await.unwrap(), RotationOutcome::Disabled(user) if user == id)
    );
}

#[tokio::test]
async fn the_session_key_and_the_one_before_it_are_kept() {
    let store = in_memory();
    let later = Timestamp::from_secs(NOW.as_secs() + 5);
    for (n, key, now) in [
        (1, Some("a"), NOW),
        (2, Some("b"), later),
        (3, Some("b"), later),
        (4, None, later),
    ] {
        let mut login = login_of("alice", n);
        wechat_of(&mut login).session_key = key.map(|key| Secret::new(key.to_owned()));
        login.now = now;
        store.login(&login).await.unwrap();
    }
    let cipher = cipher(&store);
    let view: &dyn ReadView = &RecordView {
        source: engine(&store).as_ref(),
        cipher: &cipher,
    };
    let record = user_record::user(view, &user_of(1)).unwrap().unwrap();
    let link = &record.openids[0];
    assert_eq!(link.session_key.as_deref(), Some("b"));
    assert_eq!(link.previous_session_key, Some(("a".to_owned(), later)));
}
