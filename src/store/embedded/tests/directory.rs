//! What a directory can be like, and what a person is told of it.

use std::fs;

use super::*;

fn refusal(path: &Path) -> OpenError {
    let options = OpenOptions { lock_wait: Duration::ZERO, ..options() };
    EmbeddedStore::sled(path, &options, keys(), Entropy::default()).unwrap_err()
}

#[tokio::test]
async fn reopening_keeps_everything() {
    let directory = tempfile::tempdir().unwrap();
    for round in 1..=3 {
        let store = on_disk(directory.path()).unwrap();
        for earlier in 1..round {
            assert!(store.session(SessionId::from_bits(earlier), NOW).await.unwrap().is_some(), "{earlier} of {round}");
        }
        store.login(&login_of("alice", round)).await.unwrap();
        // Once by the front door, once by dropping it.
        if round == 1 {
            store.close().await.unwrap();
        }
    }
}

#[tokio::test]
async fn the_files_do_not_say_who_is_in_them() {
    let directory = tempfile::tempdir().unwrap();
    let store = on_disk(directory.path()).unwrap();
    let secrets = ["oGZUI0egBJY1zhBYw2KhdUfwVJJE", "unionid-of-alice", "Alice in the files", "c2Vzc2lvbi1rZXk"];
    for n in 1..=50 {
        let mut login = login_of(secrets[0], n);
        login.identity.unionid = Some(crate::types::UnionId::parse(secrets[1]).unwrap());
        login.profile.nickname = Some(secrets[2].to_owned());
        store.login(&login).await.unwrap();
    }
    let key = StoredKey {
        kid: "k1".to_owned(),
        algorithm: "EdDSA".to_owned(),
        private: Secret::new(b"a private key of bytes".to_vec()),
        created_at: NOW,
    };
    store.add_key(&key, None).await.unwrap();
    store.close().await.unwrap();
    let (mut files, mut bytes) = (0, 0);
    for name in ["db", "conf", "menshen.store"] {
        let text = fs::read(directory.path().join(name)).unwrap();
        for secret in secrets.iter().map(|secret| secret.as_bytes()).chain([&b"a private key"[..], b"YSBwcml2YXRl"]) {
            assert!(!text.windows(secret.len()).any(|part| part == secret), "{name} holds {}", secret.escape_ascii());
        }
        files += 1;
        bytes += text.len();
    }
    assert_eq!(files, 3);
    assert!(bytes > 20_000, "{bytes} bytes cannot hold 50 logins");
}

#[tokio::test]
async fn a_directory_in_use_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let store = on_disk(directory.path()).unwrap();
    let refused = refusal(directory.path());
    assert!(matches!(refused, OpenError::Locked { .. }), "{refused}");
    assert!(refused.to_string().contains("in use by another process"), "{refused}");
    store.login(&login_of("alice", 1)).await.unwrap();
    store.close().await.unwrap();
    on_disk(directory.path()).unwrap();
}

#[tokio::test]
async fn another_key_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let store = on_disk(directory.path()).unwrap();
    store.login(&login_of("alice", 1)).await.unwrap();
    store.close().await.unwrap();
    let wrong = StoreKeys::derive(&Key::new([8; 32]));
    let refused = EmbeddedStore::sled(directory.path(), &options(), wrong, Entropy::default()).unwrap_err();
    assert!(matches!(refused, OpenError::WrongKey { .. }), "{refused}");
    let store = on_disk(directory.path()).unwrap();
    assert!(store.session(SessionId::from_bits(1), NOW).await.unwrap().is_some(), "the right key still opens it");
}

#[test]
fn a_directory_that_cannot_be_written_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "in the way").unwrap();
    for path in [file.join("store"), file.clone(), "/proc/self/store".into(), "/sys/store".into()] {
        let refused = refusal(&path);
        assert!(matches!(refused, OpenError::NotWritable { .. }), "{}: {refused}", path.display());
    }
    assert_eq!(fs::read(&file).unwrap(), b"in the way");
}

/// What is damaged, by this.
type Damage = fn(&Path);

#[tokio::test]
async fn a_damaged_directory_is_refused_and_never_deleted() {
    let rows: [(&str, Damage); 6] = [
        ("db is garbage", |path| fs::write(path.join("db"), [0xa5; 40_000]).unwrap()),
        ("db is empty", |path| fs::write(path.join("db"), []).unwrap()),
        ("db is gone", |path| fs::remove_file(path.join("db")).unwrap()),
        ("conf is garbage", |path| fs::write(path.join("conf"), [0xa5; 300]).unwrap()),
        ("conf is gone", |path| fs::remove_file(path.join("conf")).unwrap()),
        ("the marker is garbage", |path| fs::write(path.join("menshen.store"), "?").unwrap()),
    ];
    for (what, damage) in rows {
        let directory = tempfile::tempdir().unwrap();
        let store = on_disk(directory.path()).unwrap();
        store.login(&login_of("alice", 1)).await.unwrap();
        store.close().await.unwrap();
        drop(store);
        damage(directory.path());
        let refused = on_disk(directory.path()).unwrap_err();
        assert!(matches!(refused, OpenError::Corrupt { .. }), "{what}: {refused}");
        assert!(refused.to_string().contains("move the directory aside"), "{what}: {refused}");
        assert!(directory.path().join("menshen.store").exists(), "{what}");
    }
}

#[test]
fn somebody_else_s_files_are_not_touched() {
    for name in ["db", "conf"] {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(name), "not ours").unwrap();
        let refused = refusal(directory.path());
        assert!(matches!(refused, OpenError::Corrupt { .. }), "{refused}");
        assert_eq!(fs::read(directory.path().join(name)).unwrap(), b"not ours");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}

#[test]
fn files_beside_the_store_do_no_harm() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("lost+found")).unwrap();
    fs::write(directory.path().join("store.key"), "a key").unwrap();
    on_disk(directory.path()).unwrap();
    assert_eq!(fs::read(directory.path().join("store.key")).unwrap(), b"a key");
}

#[test]
fn a_start_that_was_cut_short_is_begun_again() {
    let directory = tempfile::tempdir().unwrap();
    drop(on_disk(directory.path()).unwrap());
    fs::write(directory.path().join("menshen.store"), []).unwrap();
    on_disk(directory.path()).unwrap();
    assert!(!fs::read(directory.path().join("menshen.store")).unwrap().is_empty());
}
