//! Two versions of menshen side by side: what the newer one adds to a record, the older one keeps when
//! it writes that record back.

use rmpv::Value;

use super::*;
use crate::{
    store::{
        GuessId, IdentityKind, ImportConflict, ImportOutcome, ImportedUser, NewAccount, NewUserId,
        OutboxReceipt, PasswordHash, Profile, ProfileChange, SmsLimits,
        backup::{Decryptor, Encryptor},
        keyring::rewrap,
    },
    types::{AppId, OpenId, Phone, SmsPurpose, UnionId, UserType, Username},
};

/// A field that this version does not know.
const FIELD: &str = "of_a_newer_version";

/// The kinds of records that are written back, by the beginnings of their keys.
const REWRITTEN: [&str; 9] = [
    "a/",
    "e/",
    "m/signing_keys",
    "m/sms_budget",
    "n/",
    "o/",
    "p/",
    "u/",
    "v/",
];

/// The records of a kind, decrypted.
fn records(store: &EngineStore, kind: &str) -> Vec<(Vec<u8>, Value)> {
    let cipher = cipher(store);
    let pairs = engine(store).scan(kind.as_bytes(), None, 100).unwrap();
    let read = |(key, bytes): (Vec<u8>, Vec<u8>)| {
        let plain = cipher.open(&key, &bytes).unwrap();
        (
            key,
            rmpv::decode::read_value(&mut plain.as_slice()).unwrap(),
        )
    };
    pairs.into_iter().map(read).collect()
}

/// A value of each kind that `MessagePack` has; many of them JSON has not.
fn of_every_kind() -> Value {
    let bytes = Value::Binary(vec![0, 255]);
    let values = vec![
        Value::Nil,
        Value::from(true),
        Value::from(u64::MAX),
        Value::from(i64::MIN),
        Value::F32(f32::NAN),
        Value::F64(f64::NEG_INFINITY),
        Value::F64(-0.0),
        Value::from("text"),
        Value::from(""),
        Value::Array(Vec::new()),
        Value::Ext(-7, vec![1, 2, 3, 4]),
        Value::Ext(7, Vec::new()),
        bytes.clone(),
    ];
    let keys = [
        Value::from(7),
        Value::Nil,
        bytes,
        Value::Ext(1, vec![1]),
        Value::Array(vec![Value::from(1)]),
        Value::from("name"),
    ];
    let of_every_key = keys.map(|key| (key, Value::Array(values.clone())));
    Value::Map(of_every_key.to_vec())
}

/// Adds the field to every struct within a value. Those of events and claims are not structs of a
/// record.
fn extend(value: &mut Value) {
    match value {
        Value::Map(fields) => {
            for (name, value) in fields.iter_mut() {
                if !matches!(name.as_str(), Some("event" | "claims")) {
                    extend(value);
                }
            }
            // A user and a tombstone are variants of one enum.
            let is_variant = matches!(fields.as_slice(), [(name, _)] if matches!(name.as_str(), Some("user" | "gone")));
            if !is_variant {
                fields.push((Value::from(FIELD), of_every_kind()));
            }
        }
        Value::Array(values) => values.iter_mut().for_each(extend),
        _ => {}
    }
}

fn count(value: &Value) -> usize {
    match value {
        Value::Map(fields) => fields
            .iter()
            .map(|(name, value)| usize::from(name.as_str() == Some(FIELD)) + count(value))
            .sum(),
        Value::Array(values) => values.iter().map(count).sum(),
        _ => 0,
    }
}

/// How many fields of the newer version are in the records of a kind.
fn fields(store: &EngineStore, kind: &str) -> usize {
    records(store, kind)
        .iter()
        .map(|(_, value)| count(value))
        .sum()
}

/// A newer version writes every record.
fn write_newer(store: &EngineStore) {
    let cipher = cipher(store);
    let mut changes = Changes::new();
    for kind in REWRITTEN {
        for (key, mut value) in records(store, kind) {
            extend(&mut value);
            let mut plain = Vec::new();
            rmpv::encode::write_value(&mut plain, &value).unwrap();
            changes.insert(key.clone(), Some(cipher.seal(&key, &plain).unwrap()));
        }
    }
    engine(store).commit(&changes).unwrap();
}

fn phone(last: u8) -> Phone {
    Phone::from_parts("86", &format!("1380013800{last}")).unwrap()
}

fn message(id: u128, now: Timestamp) -> SmsReservation {
    SmsReservation {
        id: SmsId(id),
        phone: phone(1),
        purpose: SmsPurpose::Login,
        code: CodeHash([1; 32]),
        limits: SmsLimits {
            code_ttl: Duration::from_mins(5),
            resend_after: Duration::from_mins(1),
            per_phone_hour: 5,
            per_phone_day: 10,
            daily_budget: 1000,
            max_attempts: 5,
        },
        is_test: false,
        now,
    }
}

fn signing_key(kid: &str) -> StoredKey {
    StoredKey {
        kid: kid.to_owned(),
        algorithm: "EdDSA".to_owned(),
        private: Secret::new(vec![1]),
        created_at: NOW,
        signs_from: NOW,
    }
}

fn rotation(user: &UserId, session: u128) -> Rotation {
    Rotation {
        user: user.clone(),
        session: SessionId::from_bits(session),
        counter: 0,
        check: TokenCheck::new(|_| true),
        replay_window: None,
        idle_ttl: Duration::from_mins(1),
        now: NOW,
    }
}

#[tokio::test]
async fn a_user_keeps_what_a_newer_version_added() {
    let store = in_memory();
    for session in 1..=3 {
        store.login(&login_of("alice", session)).await.unwrap();
    }
    let user = user_of(1);
    let ended = |session| RevocationScope::Session {
        user: user_of(1),
        session: SessionId::from_bits(session),
    };
    store.revoke(&ended(3), NOW).await.unwrap();
    write_newer(&store);
    // The record, the user, the profile, the openid, two sessions, and one that has ended.
    assert_eq!(fields(&store, "u/"), 7);
    store.rotate(&rotation(&user, 1)).await.unwrap();
    let change = ProfileChange {
        nickname: Some(Some("Alice".to_owned())),
        ..ProfileChange::default()
    };
    store.update_profile(&user, &change, NOW).await.unwrap();
    store
        .change_rights(&user, &RightsChange::UserType(UserType::admin()), NOW)
        .await
        .unwrap();
    let mut login = login_of("alice", 4);
    wechat_of(&mut login).session_key = Some(Secret::new("bmV3".to_owned()));
    store.login(&login).await.unwrap();
    assert_eq!(fields(&store, "u/"), 7);
    // Of a session that ends, what is remembered is a record of this version.
    store.revoke(&ended(2), NOW).await.unwrap();
    assert_eq!(fields(&store, "u/"), 6);
}

#[tokio::test]
async fn what_points_at_a_user_keeps_what_a_newer_version_added() {
    let store = in_memory();
    let person = |id: &str, created_at| ImportedUser {
        id: UserId::parse(id).unwrap(),
        openids: Vec::new(),
        unionid: None,
        phone: None,
        user_type: UserType::user(),
        roles: Vec::new(),
        profile: Profile::default(),
        created_at,
    };
    let openid = |app: &str| (AppId::parse(app).unwrap(), OpenId::parse("alice").unwrap());
    let older = ImportedUser {
        openids: vec![openid("wx1")],
        ..person("older", NOW.minus(Duration::from_mins(1)))
    };
    let younger = ImportedUser {
        openids: vec![openid("wx2")],
        unionid: Some(UnionId::parse("union").unwrap()),
        phone: Some(phone(1)),
        ..person("younger", NOW)
    };
    store.import_users(&[older, younger], false).await.unwrap();
    write_newer(&store);
    let mut login = login_of("alice", 1);
    wechat_of(&mut login).unionid = Some(UnionId::parse("union").unwrap());
    login.merge = true;
    let LoginOutcome::Opened(signed_in) = store.login(&login).await.unwrap() else {
        panic!("not signed in")
    };
    assert!(signed_in.merged.is_some());
    let whose = UserIdentity::Phone(phone(1));
    assert_eq!(
        store.find_user(&whose).await.unwrap().unwrap().as_str(),
        "older"
    );
    assert_eq!(
        ["o/", "n/", "p/"].map(|kind| fields(&store, kind)),
        [2, 1, 1]
    );
    // And when they move to the places of another key.
    store.rotate_store_key().await.unwrap();
    while !store.reencrypt(100).await.unwrap().finished {}
    assert_eq!(
        ["o/", "n/", "p/"].map(|kind| fields(&store, kind)),
        [2, 1, 1]
    );
    // An import finds what it knows in them.
    let stranger = ImportedUser {
        phone: Some(phone(1)),
        ..person("stranger", NOW)
    };
    let outcome = store
        .import_users(&[stranger], false)
        .await
        .unwrap()
        .remove(0);
    let owner = UserId::parse("older").unwrap();
    let identity = IdentityKind::Phone;
    assert_eq!(
        outcome,
        ImportOutcome::Refused(ImportConflict::IdentityTaken { identity, owner })
    );
}

#[tokio::test]
async fn a_password_is_changed_beside_what_a_newer_version_added() {
    let store = in_memory();
    let hash = |text: &str| PasswordHash(Secret::new(text.to_owned()));
    let account = NewAccount {
        new_user: NewUserId::Generated(user_of(1)),
        username: Username::parse("root").unwrap(),
        password: hash("old"),
        user_type: UserType::admin(),
        now: NOW,
    };
    store.create_account(&account).await.unwrap();
    write_newer(&store);
    store
        .change_rights(&user_of(1), &RightsChange::Password(hash("new")), NOW)
        .await
        .unwrap();
    let known = store.credentials(&account.username).await.unwrap().unwrap();
    assert_eq!(known.password.0.expose(), "new");
    assert_eq!(fields(&store, "a/"), 1);
}

#[tokio::test]
async fn codes_and_the_budget_keep_what_a_newer_version_added() {
    let store = in_memory();
    store.login(&login_of("alice", 1)).await.unwrap();
    store.reserve_sms(&message(1, NOW)).await.unwrap();
    write_newer(&store);
    assert_eq!(fields(&store, "v/"), 2, "the record and its code");
    assert_eq!(fields(&store, "m/sms_budget"), 1);
    let wrong = SmsGuess {
        id: GuessId(1),
        phone: phone(1),
        purpose: SmsPurpose::Login,
        code: CodeHash([2; 32]),
        max_attempts: 5,
    };
    store.prove_phone(&user_of(1), &wrong, NOW).await.unwrap();
    let later = NOW.plus(Duration::from_mins(2));
    store.reserve_sms(&message(2, later)).await.unwrap();
    assert_eq!(
        fields(&store, "v/"),
        2,
        "the code is the one that was replaced"
    );
    assert_eq!(fields(&store, "m/sms_budget"), 1);
}

#[tokio::test]
async fn signing_keys_and_events_keep_what_a_newer_version_added() {
    let store = in_memory();
    store.add_key(&signing_key("a"), None).await.unwrap();
    store.login(&login_of("alice", 1)).await.unwrap();
    let outbox = OutboxPolicy {
        deleted: true,
        ..OutboxPolicy::default()
    };
    store
        .erase_user(&user_of(1), None, outbox, NOW)
        .await
        .unwrap();
    write_newer(&store);
    store.add_key(&signing_key("b"), Some("a")).await.unwrap();
    assert_eq!(store.keys().await.unwrap().len(), 2);
    assert_eq!(fields(&store, "m/signing_keys"), 1);
    let later = NOW.plus(Duration::from_mins(1));
    let taken = store.take_outbox(NOW, later, 10).await.unwrap();
    let receipt: &OutboxReceipt = &taken[0].receipt;
    store
        .acknowledge_outbox(receipt, Some(later))
        .await
        .unwrap();
    assert_eq!(fields(&store, "e/"), 1);
}

/// An event of a kind that this version does not know waits for a process that knows it.
#[tokio::test]
async fn an_event_of_a_newer_version_is_left_to_it() {
    let store = in_memory();
    let key = layout::outbox(NOW, 7);
    let event = Value::Map(vec![(
        Value::from("event"),
        Value::Map(vec![(Value::from("of_a_newer_kind"), Value::Nil)]),
    )]);
    let mut plain = Vec::new();
    rmpv::encode::write_value(&mut plain, &event).unwrap();
    let sealed = cipher(&store).seal(&key, &plain).unwrap();
    engine(&store)
        .commit(&[(key, Some(sealed))].into())
        .unwrap();
    let later = NOW.plus(Duration::from_mins(1));
    assert_eq!(store.take_outbox(NOW, later, 10).await.unwrap(), []);
    assert_eq!(records(&store, "e/"), [(layout::outbox(later, 7), event)]);
}

/// What moves, in the order in which an export has it: the fields of the kinds of records, as bytes.
fn moved(store: &EngineStore) -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let of_kind = |kind| {
        let mut found: Vec<_> = records(store, kind)
            .iter()
            .map(|(_, value)| {
                let mut bytes = Vec::new();
                rmpv::encode::write_value(&mut bytes, value).unwrap();
                bytes
            })
            .collect();
        // The places of some are hashes under a key of the store.
        found.sort();
        (kind, found)
    };
    ["a/", "e/", "m/signing_keys", "n/", "o/", "p/", "u/"]
        .map(of_kind)
        .to_vec()
}

/// The store after an export and an import, through the file.
async fn exported_and_imported(store: &EngineStore) -> EngineStore {
    let (key, mut export) = (
        Key::new([3; 32]),
        store.export(Unreadable::Fails).await.unwrap(),
    );
    let (mut encryptor, mut file) =
        Encryptor::begin(&key, NOW, false, &Entropy::default()).unwrap();
    while let Some(records) = export.next().await {
        file.extend(encryptor.chunk(&records.unwrap(), false).unwrap());
    }
    file.extend(encryptor.chunk(&[], true).unwrap());
    let mut decryptor = Decryptor::begin(file.as_slice(), &key).unwrap();
    let other = in_memory();
    while let Some(records) = decryptor.chunk().unwrap() {
        other.restore(records).await.unwrap();
    }
    other
}

#[tokio::test]
async fn an_export_and_an_import_keep_what_a_newer_version_added() {
    let store = in_memory();
    for session in 1..=3 {
        let mut login = login_of("alice", session);
        wechat_of(&mut login).unionid = Some(UnionId::parse("union").unwrap());
        let key = format!("a2V5{session}");
        wechat_of(&mut login).session_key = Some(Secret::new(key));
        store.login(&login).await.unwrap();
    }
    let ended = RevocationScope::Session {
        user: user_of(1),
        session: SessionId::from_bits(3),
    };
    store.revoke(&ended, NOW).await.unwrap();
    let with_phone = ImportedUser {
        id: UserId::parse("bob").unwrap(),
        openids: Vec::new(),
        unionid: None,
        phone: Some(phone(1)),
        user_type: UserType::user(),
        roles: Vec::new(),
        profile: Profile::default(),
        created_at: NOW,
    };
    store.import_users(&[with_phone], false).await.unwrap();
    let account = NewAccount {
        new_user: NewUserId::Generated(UserId::parse("root").unwrap()),
        username: Username::parse("root").unwrap(),
        password: PasswordHash(Secret::new("$argon2id$".to_owned())),
        user_type: UserType::admin(),
        now: NOW,
    };
    store.create_account(&account).await.unwrap();
    for (kid, after) in [("a", None), ("b", Some("a"))] {
        store.add_key(&signing_key(kid), after).await.unwrap();
    }
    store.login(&login_of("carol", 9)).await.unwrap();
    let outbox = OutboxPolicy {
        deleted: true,
        ..OutboxPolicy::default()
    };
    store
        .erase_user(&user_of(9), None, outbox, NOW)
        .await
        .unwrap();
    write_newer(&store);
    let newer_event = Value::Map(vec![
        (
            Value::from("event"),
            Value::Map(vec![(Value::from("of_a_newer_kind"), of_every_kind())]),
        ),
        (Value::from("at"), of_every_kind()),
    ]);
    let mut plain = Vec::new();
    rmpv::encode::write_value(&mut plain, &newer_event).unwrap();
    let key = layout::outbox(NOW, 7);
    let sealed = cipher(&store).seal(&key, &plain).unwrap();
    let wrapped = engine(&store).get(FENCE).unwrap().unwrap();
    let fence = rewrap(&keys(), &wrapped, |fields| {
        fields.push((FIELD.into(), of_every_kind()));
    });
    let newer = [(key, Some(sealed)), (FENCE.to_vec(), Some(fence))];
    engine(&store).commit(&newer.into()).unwrap();

    let other = exported_and_imported(&store).await;
    let before = moved(&store);
    assert!(before.iter().all(|(_, records)| !records.is_empty()));
    for (one, other) in before.iter().zip(moved(&other)) {
        assert_eq!(*one, other, "{}", one.0);
    }
    let wrapped = engine(&other).get(FENCE).unwrap().unwrap();
    rewrap(&keys(), &wrapped, |fields| {
        let found = fields.iter().find(|(name, _)| name.as_str() == Some(FIELD));
        let bytes = |value: &Value| {
            let mut bytes = Vec::new();
            rmpv::encode::write_value(&mut bytes, value).unwrap();
            bytes
        };
        assert_eq!(
            found.map(|(_, value)| bytes(value)),
            Some(bytes(&of_every_kind()))
        );
    });
    // And a second time, from there.
    let third = exported_and_imported(&other).await;
    assert_eq!(moved(&third), before);
}
