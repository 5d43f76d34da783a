//! What a directory can be like, and what a person is told of it.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use super::*;
use crate::{
    store::{NewAccount, NewUserId, PasswordHash, PhoneProof},
    types::{Phone, Username},
};

fn refusal(path: &Path) -> OpenError {
    let options = OpenOptions {
        lock_wait: Duration::ZERO,
        ..options()
    };
    EngineStore::sled(path, &options, &keys(), Entropy::default())
        .err()
        .unwrap()
}

#[tokio::test]
async fn reopening_keeps_everything() {
    let directory = tempfile::tempdir().unwrap();
    for round in 1..=3 {
        let store = on_disk(directory.path()).unwrap();
        for earlier in 1..round {
            assert!(
                session_of(&store, 1, earlier).await.unwrap().is_some(),
                "{earlier} of {round}"
            );
        }
        store.login(&login_of("alice", round)).await.unwrap();
        // Once by the front door, once by dropping it.
        if round == 1 {
            store.close().await.unwrap();
        }
    }
}

/// Paths below a directory with modes that leave something to others, and how many there are in
/// all.
fn readable_for_others(directory: &Path) -> (Vec<(PathBuf, u32)>, usize) {
    let (mut open, mut seen) = (Vec::new(), 0);
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs::metadata(&path).unwrap();
        seen += 1;
        if metadata.permissions().mode() & 0o077 != 0 {
            open.push((path.clone(), metadata.permissions().mode() & 0o777));
        }
        if metadata.is_dir() {
            let (below, more) = readable_for_others(&path);
            open.extend(below);
            seen += more;
        }
    }
    (open, seen)
}

/// Also in a directory that was there and is open to everybody, and where an older version or a
/// copy left files so.
#[tokio::test]
async fn its_files_are_for_their_owner_alone() {
    let open =
        |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let parent = tempfile::tempdir().unwrap();
    let there = parent.path().join("there");
    fs::create_dir(&there).unwrap();
    open(&there, 0o777);
    for directory in [there.clone(), parent.path().join("deep/new")] {
        for round in 1..=2 {
            let store = on_disk(&directory).unwrap();
            for n in 0..200 {
                store
                    .login(&login_of("alice", round * 1000 + n))
                    .await
                    .unwrap();
            }
            let (readable, seen) = readable_for_others(&directory);
            assert!(
                readable.is_empty() && seen >= 4,
                "{readable:?} of {seen} in round {round}"
            );
            store.close().await.unwrap();
            assert_eq!(readable_for_others(&directory).0, []);
            for name in ["db", "conf", "menshen.store", "menshen.commits"] {
                open(&directory.join(name), 0o644);
            }
            open(&directory.join("blobs"), 0o755);
        }
    }
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(
        mode(&there),
        0o777,
        "what was there is left as it was meant"
    );
    assert_eq!(
        [
            mode(&parent.path().join("deep")),
            mode(&parent.path().join("deep/new"))
        ],
        [0o700; 2]
    );
}

#[tokio::test]
async fn the_files_do_not_say_who_is_in_them() {
    let directory = tempfile::tempdir().unwrap();
    let store = on_disk(directory.path()).unwrap();
    let secrets = [
        "oGZUI0egBJY1zhBYw2KhdUfwVJJE",
        "unionid-of-alice",
        "Alice in the files",
        "c2Vzc2lvbi1rZXk",
        "13800138000",
        "administrator-root",
        "$argon2id$v=19$secret",
    ];
    let phone = Phone::from_parts("86", secrets[4]).unwrap();
    let username = Username::parse(secrets[5]).unwrap();
    for n in 1..=50 {
        let mut login = login_of(secrets[0], n);
        wechat_of(&mut login).unionid = Some(crate::types::UnionId::parse(secrets[1]).unwrap());
        login.profile.nickname = Some(secrets[2].to_owned());
        store.login(&login).await.unwrap();
    }
    let key = StoredKey {
        kid: "k1".to_owned(),
        algorithm: "EdDSA".to_owned(),
        private: Secret::new(b"a private key of bytes".to_vec()),
        created_at: NOW,
        signs_from: NOW,
    };
    store.add_key(&key, None).await.unwrap();
    let binding = PhoneBinding {
        user: UserId::parse("u1").unwrap(),
        session: SessionId::from_bits(1),
        proof: PhoneProof::Wechat(phone),
        merge: None,
        single_per_client_type: false,
        outbox: OutboxPolicy::default(),
        now: NOW,
    };
    assert!(matches!(
        store.bind_phone(&binding).await.unwrap(),
        BindOutcome::Bound(_)
    ));
    let account = NewAccount {
        new_user: NewUserId::NextInteger { first: 1 },
        username,
        password: PasswordHash(Secret::new(secrets[6].to_owned())),
        user_type: crate::types::UserType::admin(),
        now: NOW,
    };
    store.create_account(&account).await.unwrap();
    store.rotate_store_key().await.unwrap();
    while !store.reencrypt(20).await.unwrap().finished {}
    store.close().await.unwrap();
    let (mut files, mut bytes) = (0, 0);
    for name in ["db", "conf", "menshen.store"] {
        let text = fs::read(directory.path().join(name)).unwrap();
        for secret in secrets
            .iter()
            .map(|secret| secret.as_bytes())
            .chain([&b"a private key"[..]])
        {
            assert!(
                !text.windows(secret.len()).any(|part| part == secret),
                "{name} holds {}",
                secret.escape_ascii()
            );
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
    assert!(
        refused.to_string().contains("in use by another process"),
        "{refused}"
    );
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
    let wrong = WrappingKeys::derive(&Key::new([8; 32]), None);
    let refused = EngineStore::sled(directory.path(), &options(), &wrong, Entropy::default())
        .err()
        .unwrap();
    assert!(matches!(refused, OpenError::WrongKey { .. }), "{refused}");
    let store = on_disk(directory.path()).unwrap();
    assert!(
        session_of(&store, 1, 1).await.unwrap().is_some(),
        "the right key still opens it"
    );
}

#[tokio::test]
async fn the_encryption_key_is_changed_by_one_start_with_both() {
    let directory = tempfile::tempdir().unwrap();
    let store = on_disk(directory.path()).unwrap();
    let root = *store.root().expose();
    store.login(&login_of("alice", 1)).await.unwrap();
    store.close().await.unwrap();
    let (old, new) = (Key::new(KEY), Key::new([8; 32]));
    let open = |keys: WrappingKeys| {
        EngineStore::sled(directory.path(), &options(), &keys, Entropy::default())
    };
    let both = open(WrappingKeys::derive(&new, Some(&old))).unwrap();
    assert!(session_of(&both, 1, 1).await.unwrap().is_some());
    both.close().await.unwrap();
    let alone = open(WrappingKeys::derive(&new, None)).unwrap();
    assert_eq!(
        *alone.root().expose(),
        root,
        "what hangs on the root lives on"
    );
    alone.close().await.unwrap();
    assert!(matches!(
        open(WrappingKeys::derive(&old, None)).err().unwrap(),
        OpenError::WrongKey { .. }
    ));
}

#[tokio::test]
async fn a_change_of_the_store_s_key_goes_on_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let store = on_disk(directory.path()).unwrap();
    for n in 1..=30 {
        store
            .login(&login_of(&format!("person-{n}"), n))
            .await
            .unwrap();
    }
    futures::future::try_join_all((0..20).map(|_| store.rotate_store_key()))
        .await
        .unwrap();
    let mut restarts = 0;
    let mut store = store;
    while !store.reencrypt(9).await.unwrap().finished {
        drop(store);
        restarts += 1;
        store = on_disk(directory.path()).unwrap();
        let back = login_of(&format!("person-{}", restarts % 30 + 1), 1000 + restarts);
        let LoginOutcome::Opened(opened) = store.login(&back).await.unwrap() else {
            panic!("not signed in")
        };
        assert!(!opened.is_new_user, "restart {restarts}");
    }
    assert!(restarts > 5, "only {restarts} restarts");
    drop(store);
    let store = on_disk(directory.path()).unwrap();
    assert!(!cipher(&store).keyring().is_rotating());
    for n in 1..=30 {
        assert!(
            store
                .session(&user_of(n), SessionId::from_bits(n), NOW)
                .await
                .unwrap()
                .is_some(),
            "{n}"
        );
    }
}

#[test]
fn a_directory_that_cannot_be_written_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "in the way").unwrap();
    for path in [
        file.join("store"),
        file.clone(),
        "/proc/self/store".into(),
        "/sys/store".into(),
    ] {
        let refused = refusal(&path);
        assert!(
            matches!(refused, OpenError::NotWritable { .. }),
            "{}: {refused}",
            path.display()
        );
    }
    assert_eq!(fs::read(&file).unwrap(), b"in the way");
}

/// What is damaged, by this.
type Damage = fn(&Path);

#[tokio::test]
async fn a_damaged_directory_is_refused_and_never_deleted() {
    let rows: [(&str, Damage); 6] = [
        ("db is garbage", |path| {
            fs::write(path.join("db"), vec![0xa5; 40_000]).unwrap();
        }),
        ("db is empty", |path| {
            fs::write(path.join("db"), []).unwrap();
        }),
        ("db is gone", |path| {
            fs::remove_file(path.join("db")).unwrap();
        }),
        ("conf is garbage", |path| {
            fs::write(path.join("conf"), [0xa5; 300]).unwrap();
        }),
        ("conf is gone", |path| {
            fs::remove_file(path.join("conf")).unwrap();
        }),
        ("the marker is garbage", |path| {
            fs::write(path.join("menshen.store"), "?").unwrap();
        }),
    ];
    for (what, damage) in rows {
        let directory = tempfile::tempdir().unwrap();
        let store = on_disk(directory.path()).unwrap();
        store.login(&login_of("alice", 1)).await.unwrap();
        store.close().await.unwrap();
        drop(store);
        damage(directory.path());
        let refused = on_disk(directory.path()).err().unwrap();
        assert!(
            matches!(refused, OpenError::Corrupt { .. }),
            "{what}: {refused}"
        );
        assert!(
            refused.to_string().contains("move the directory aside"),
            "{what}: {refused}"
        );
        assert!(directory.path().join("menshen.store").exists(), "{what}");
    }
}

/// As the first version left it; the files are not looked at.
#[test]
fn a_store_of_another_format_is_refused_with_the_way_over() {
    for format in [1, 2, 4] {
        let directory = tempfile::tempdir().unwrap();
        let text = format!(
            "This directory is a store of menshen, format {format}. All of its files belong together.\n"
        );
        for name in ["menshen.store", "db", "conf"] {
            fs::write(directory.path().join(name), &text).unwrap();
        }
        let refused = refusal(directory.path());
        assert!(
            matches!(refused, OpenError::OtherFormat { found, .. } if found == format),
            "{refused}"
        );
        let path = directory.path().display();
        let way_over = if format > 3 {
            "It was made by a newer menshen: use that one"
        } else {
            "Run `menshen export` with the menshen that made it, and `menshen import` with this one into an empty store: name \
             another place in store.url"
        };
        assert_eq!(
            refused.to_string(),
            format!(
                "the store in {path} has format {format}, and this menshen reads format 3. Nothing was changed. {way_over}"
            )
        );
        for name in ["menshen.store", "db", "conf"] {
            assert_eq!(
                fs::read_to_string(directory.path().join(name)).unwrap(),
                text
            );
        }
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
    assert_eq!(
        fs::read(directory.path().join("store.key")).unwrap(),
        b"a key"
    );
}

#[test]
fn a_start_that_was_cut_short_is_begun_again() {
    let directory = tempfile::tempdir().unwrap();
    drop(on_disk(directory.path()).unwrap());
    fs::write(directory.path().join("menshen.store"), []).unwrap();
    on_disk(directory.path()).unwrap();
    assert!(
        !fs::read(directory.path().join("menshen.store"))
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn a_log_that_lost_its_end_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let store = on_disk(directory.path()).unwrap();
    for n in 1..=300 {
        store
            .login(&login_of(&format!("person-{n}"), n))
            .await
            .unwrap();
    }
    store.close().await.unwrap();
    let log = directory.path().join("db");
    let mut bytes = fs::read(&log).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    for byte in &mut bytes[end * 3 / 4..end * 3 / 4 + 64] {
        *byte ^= 0xff;
    }
    fs::write(&log, bytes).unwrap();
    let refused = refusal(directory.path());
    assert!(matches!(refused, OpenError::Corrupt { .. }), "{refused}");
    assert!(
        refused
            .to_string()
            .contains("were acknowledged and are gone"),
        "{refused}"
    );

    // Whoever accepts the loss gets what is left.
    fs::remove_file(directory.path().join("menshen.commits")).unwrap();
    let store = on_disk(directory.path()).unwrap();
    assert!(session_of(&store, 1, 1).await.unwrap().is_some());
    assert!(session_of(&store, 300, 300).await.unwrap().is_none());
}

#[tokio::test]
async fn a_note_of_commits_that_was_torn_is_no_damage() {
    for torn in ["", "0000", "\0\0\0\0\0\0\0\0", "rubbish"] {
        let directory = tempfile::tempdir().unwrap();
        on_disk(directory.path())
            .unwrap()
            .login(&login_of("alice", 1))
            .await
            .unwrap();
        fs::write(directory.path().join("menshen.commits"), torn).unwrap();
        let store = on_disk(directory.path()).unwrap();
        assert!(
            session_of(&store, 1, 1).await.unwrap().is_some(),
            "{torn:?}"
        );
    }
}
