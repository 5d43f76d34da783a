//! Users that come from elsewhere, and what is taken out of a store and put into another.

use std::{
    fmt::Write,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

use super::{
    administration::{id, live, live_reading, setup, stopped},
    backend::Backend,
    menshen::{Menshen, Setup},
};

const APP: &str = "[wechat]\napp_id = \"wx00000000000000aa\"\n[users]\nids = \"integer\"";
const TEST_PHONE: &str =
    "[[sms.test_phone]]\nphone = \"+8613800138000\"\ncode = \"246810\"\nuntil = \"2099-12-31\"";
const LEGACY: &str = "the-secret-that-the-backend-signed-with-before-0123";
const OLD_USERS: &str = "id,openid,phone,nickname,created_at\n\
    41,alice,,小明,2019-05-06 07:08:09\n\
    7,,+86 138-0013-8000,,\n";

fn importing(backend: &Backend) -> Setup {
    setup(backend).with(APP).with(TEST_PHONE)
}

fn write(dir: &Path, name: &str, text: &str) {
    std::fs::write(dir.join(name), text).expect("a file");
}

fn by_phone(menshen: &Menshen) -> Value {
    let sent = menshen.post("/auth/sms/send", &[], &json!({ "phone": "13800138000" }));
    assert_eq!(sent.status, 200, "{}", String::from_utf8_lossy(&sent.body));
    menshen
        .post(
            "/auth/sms/login",
            &[],
            &json!({ "phone": "13800138000", "code": "246810" }),
        )
        .json()
}

fn told_to_the_backend(menshen: &Menshen, backend: &Backend, session: &Value) -> String {
    let token = format!(
        "Bearer {}",
        session["access_token"].as_str().expect("a token")
    );
    assert_eq!(
        menshen.get("/orders", &[("Authorization", &token)]).status,
        200
    );
    backend.last().folded("x-user-id")[0].clone()
}

#[test]
fn users_of_before_keep_their_ids_at_their_first_login() {
    let backend = Backend::start();
    let setup = importing(&backend);
    setup.config();
    let dir = setup.directory();
    write(dir.path(), "users.csv", OLD_USERS);
    // Before the first start.
    let said = stopped(dir.path(), &["import", "users", "users.csv"], "").good();
    assert_eq!(said, "2 rows: 2 created, 0 linked, 0 unchanged, 0 refused");

    let menshen = setup.start();
    let alice = menshen.login("alice");
    assert_eq!((id(&alice), &alice["is_new_user"]), ("41", &json!(false)));
    assert_eq!(
        (&alice["user"]["nickname"], &alice["user"]["created_at"]),
        (&json!("小明"), &json!("2019-05-06T07:08:09Z"))
    );
    assert_eq!(told_to_the_backend(&menshen, &backend, &alice), "41");
    let phone = by_phone(&menshen);
    assert_eq!(told_to_the_backend(&menshen, &backend, &phone), "7");
    assert_eq!(
        id(&menshen.login("bob")),
        "42",
        "above the highest that came"
    );

    // While it runs: the same changes nothing, more is linked, and what contradicts is refused.
    let again = live(&menshen, &["import", "users", "users.csv"]).good();
    assert_eq!(again, "2 rows: 0 created, 0 linked, 2 unchanged, 0 refused");
    let rows = "{\"id\":7,\"phone\":\"13800138000\",\"openid\":\"carol\"}\n{\"id\":50,\"openid\":\"alice\"}\n{\"id\":51,\"phone\":\"1\"}\n";
    let mixed = live_reading(
        &menshen,
        &["import", "users", "-", "--format", "ndjson"],
        rows,
    );
    mixed.failed(1, "line 2: openid belongs to user 41 here");
    mixed.failed(1, "line 3: phone must be");
    assert_eq!(
        mixed.out.trim_end(),
        "3 rows: 0 created, 1 linked, 0 unchanged, 2 refused"
    );
    assert_eq!(id(&menshen.login("carol")), "7");
    menshen.wait_for_log("users.imported");
    let log = menshen.log().join("\n");
    for hidden in ["13800138000", "carol", "小明"] {
        assert!(
            !log.contains(hidden) && !mixed.err.contains(hidden),
            "{hidden} is in the log"
        );
    }
}

#[test]
fn a_trial_says_what_would_become_of_each_row_and_keeps_nothing() {
    let backend = Backend::start();
    let menshen = importing(&backend).start();
    let rows = "id,openid,phone\n1,alice,\n2,alice,\n1,alice,13800138000\n3,,\n4,a b,\n";
    let trial = live_reading(
        &menshen,
        &["import", "users", "-", "--format", "csv", "--dry-run"],
        rows,
    );
    trial.failed(1, "line 3: openid is that of line 2 too");
    trial.failed(1, "line 6: openid must be");
    let expected = "5 rows: 2 created, 1 linked, 0 unchanged, 2 refused (a dry run: nothing was stored)\n\
                    1 of those created have no openid, unionid or phone: their ids are taken, but they cannot sign in";
    assert_eq!(trial.out.trim_end(), expected);
    assert_eq!(live(&menshen, &["users", "list"]).good().lines().count(), 1);
    assert_eq!(menshen.login("alice")["is_new_user"], true);
}

#[test]
fn nobody_is_called_null_and_what_was_taken_for_nothing_is_told() {
    let backend = Backend::start();
    let menshen = importing(&backend).start();
    let rows = "id,openid,unionid,phone,nickname\n1,alice,NULL,NULL,NULL\n2,bob,NULL,\\N,\\N\n3,carol,null,,null\n";
    let said = live_reading(&menshen, &["import", "users", "-", "--format", "csv"], rows).good();
    let expected = "3 rows: 3 created, 0 linked, 0 unchanged, 0 refused\n\
                    read as empty: unionid 2 NULL, 1 null; phone 1 NULL, 1 \\N; nickname 1 NULL, 1 \\N, 1 null";
    assert_eq!(said, expected);
    for (person, id) in [("alice", "1"), ("bob", "2"), ("carol", "3")] {
        let session = menshen.login(person);
        assert_eq!(
            (self::id(&session), &session["user"]["nickname"]),
            (id, &json!(null)),
            "{person}"
        );
    }
    // MySQL's own quotation marks: refused with their line, and read where it is said what they
    // are.
    let rows = "id,openid,nickname\n\"4\",\"dave\",\"\\\"D\\\"\"\n\"5\",\"eve\",\\N\n";
    let args = ["import", "users", "-", "--format"];
    live_reading(&menshen, &[&args[..], &["csv"]].concat(), rows).failed(
        1,
        "line 2: has \\\", as MySQL writes a quotation mark: say --format mysql-csv",
    );
    let said = live_reading(&menshen, &[&args[..], &["mysql-csv"]].concat(), rows).good();
    assert_eq!(
        said,
        "2 rows: 2 created, 0 linked, 0 unchanged, 0 refused\nread as empty: nickname 1 \\N"
    );
    assert_eq!(menshen.login("dave")["user"]["nickname"], "\"D\"");
}

#[test]
fn a_file_that_is_not_understood_is_bad_usage_and_changes_nothing() {
    let backend = Backend::start();
    let menshen = importing(&backend).start();
    for (args, input, words) in [
        (
            &["-", "--format", "csv"][..],
            "id,open_id\n1,a\n",
            "no field is named open_id",
        ),
        (&["-", "--format", "csv"], "openid\na\n", "no column id"),
        (&["-"], "", "--format"),
        (&["nowhere.csv"], "", "cannot open"),
        (
            &["-", "--format", "csv", "--column", "uid=id"],
            "",
            "there is no field uid",
        ),
        (&["-", "--format", "csv", "--utc-offset", "8"], "", "offset"),
    ] {
        live_reading(&menshen, &[&["import", "users"], args].concat(), input).failed(64, words);
    }
    assert_eq!(live(&menshen, &["users", "list"]).good().lines().count(), 1);
}

#[test]
fn many_rows_are_imported_in_steps() {
    let backend = Backend::start();
    let menshen = importing(&backend).start();
    let mut rows = "id\topenid\tphone\tcreated_at\n".to_owned();
    for n in 1..=1_001 {
        writeln!(
            rows,
            "{n}\tperson{n}\t{}\t2020-01-02 03:04:05",
            13_900_000_000_u64 + n
        )
        .expect("a text");
    }
    let args = [
        "import",
        "users",
        "-",
        "--format",
        "tsv",
        "--utc-offset",
        "+08:00",
    ];
    let said = live_reading(&menshen, &args, &rows).good();
    assert_eq!(
        said,
        "1001 rows: 1001 created, 0 linked, 0 unchanged, 0 refused"
    );
    let last = menshen.login("person1001");
    assert_eq!(
        (id(&last), &last["user"]["created_at"]),
        ("1001", &json!("2020-01-01T19:04:05Z"))
    );
    assert_eq!(id(&menshen.login("somebody-new")), "1002");
}

fn refreshed(menshen: &Menshen, session: &Value) -> u16 {
    menshen
        .post(
            "/auth/refresh",
            &[],
            &json!({ "refresh_token": session["refresh_token"] }),
        )
        .status
}

fn status(menshen: &Menshen, session: &Value) -> u16 {
    let token = format!(
        "Bearer {}",
        session["access_token"].as_str().expect("a token")
    );
    menshen.get("/orders", &[("Authorization", &token)]).status
}

#[test]
fn a_backup_of_a_running_menshen_brings_everybody_back_and_nobody_s_session() {
    let backend = Backend::start();
    let mut menshen = importing(&backend).start();
    let (alice, bob) = (menshen.login("alice"), menshen.login("bob"));
    let said = live(&menshen, &["export", "backup"]).good();
    assert_eq!(
        said,
        "2 users, 2 sessions, 1 signing keys; read again and found whole"
    );
    live(&menshen, &["export", "backup"]).failed(1, "is there already");
    menshen.stop();
    let dir = menshen.keep_directory();
    let file = std::fs::read(dir.path().join("backup")).expect("a file");
    assert!(
        !file.windows(5).any(|part| part == b"alice"),
        "nothing is in the clear"
    );

    // Refused, and nothing is half-done.
    stopped(dir.path(), &["import", "backup"], "").failed(1, "is not empty");
    std::fs::rename(dir.path().join("data"), dir.path().join("data.old")).expect("moved");
    write(dir.path(), "cut", "");
    std::fs::write(dir.path().join("cut"), &file[..file.len() - 40]).expect("a file");
    let mut changed = file.clone();
    changed[file.len() / 2] ^= 1;
    std::fs::write(dir.path().join("changed"), changed).expect("a file");
    write(dir.path(), "newer", "{\"menshen_export\":4}\n");
    write(dir.path(), "other.key", &"ab".repeat(32));
    for (args, words) in [
        (&["import", "cut"][..], "ends too early"),
        (&["import", "changed"], "does not open"),
        (&["import", "newer"], "of a newer menshen"),
        (&["import", "config.toml"], "no export of menshen"),
        (
            &["import", "backup", "--key-file", "other.key"],
            "another key",
        ),
        (&["import", "backup", "--with-sessions"], "would live again"),
        (&["import", "nowhere"], "cannot open"),
    ] {
        stopped(dir.path(), args, "").failed(1, words);
        assert!(
            !dir.path().join("data").exists() && !dir.path().join("data.importing").exists(),
            "{args:?}"
        );
    }
    stopped(dir.path(), &["import"], "").failed(64, "");

    let said = stopped(dir.path(), &["import", "backup"], "").good();
    assert!(
        said.starts_with("2 users, 0 sessions, 1 signing keys\nids are integers"),
        "{said}"
    );
    drop(menshen);
    let menshen = importing(&backend).in_directory(dir).start();
    assert_eq!(
        (status(&menshen, &alice), refreshed(&menshen, &bob)),
        (401, 401)
    );
    let again = menshen.login("alice");
    assert_eq!(
        (id(&again), &again["is_new_user"]),
        (id(&alice), &json!(false))
    );
    assert_eq!(status(&menshen, &again), 200);
}

/// A token of another issuer for this user.
fn of_the_legacy_issuer(user: &str) -> Value {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a clock")
        .as_secs();
    let claims = json!({ "iss": "legacy", "sub": user, "iat": now, "exp": now + 600 });
    let key = EncodingKey::from_secret(LEGACY.as_bytes());
    json!({ "access_token": jsonwebtoken::encode(&Header::default(), &claims, &key).expect("a token") })
}

#[test]
fn who_is_banned_stays_banned_with_tokens_of_others_whatever_is_imported() {
    let backend = Backend::start();
    let issuer = format!(
        "[[issuer]]\nname = \"legacy\"\nissuer = \"legacy\"\nalgorithms = [\"HS256\"]\nsecret = \"{LEGACY}\""
    );
    let setup = || importing(&backend).with(&issuer);
    let mut menshen = setup().start();
    let [banned, left, free] = ["alice", "bob", "carol"].map(|code| menshen.login(code));
    let tokens = [&banned, &left, &free].map(|session| of_the_legacy_issuer(id(session)));
    let all = |menshen: &Menshen| tokens.each_ref().map(|token| status(menshen, token));
    assert_eq!(all(&menshen), [200, 200, 200]);
    live(&menshen, &["users", "ban", id(&banned)]).good();
    live(&menshen, &["sessions", "revoke", "--user", id(&left)]).good();
    assert_eq!(all(&menshen), [401, 401, 200]);
    live(&menshen, &["export", "backup"]).good();
    menshen.stop();
    let dir = menshen.keep_directory();
    stopped(dir.path(), &["export", "whole"], "").good();
    drop(menshen);
    for import in [
        &["import", "backup"][..],
        &["import", "whole", "--with-sessions"],
    ] {
        std::fs::rename(
            dir.path().join("data"),
            dir.path().join(format!("data.before.{}", import[1])),
        )
        .expect("moved");
        stopped(dir.path(), import, "").good();
        let mut menshen = setup().in_directory(dir.clone()).start();
        assert_eq!(all(&menshen), [401, 401, 200], "{import:?}");
        assert_eq!(
            menshen
                .post("/auth/wechat/login", &[], &json!({ "code": "alice" }))
                .error(),
            Some("user_disabled")
        );
        menshen.stop();
    }
}

#[test]
fn a_move_of_a_stopped_menshen_signs_nobody_out() {
    let backend = Backend::start();
    let mut menshen = importing(&backend).start();
    let alice = menshen.login("alice");
    menshen.stop();
    let dir = menshen.keep_directory();
    stopped(dir.path(), &["export", "whole"], "").good();
    std::fs::rename(dir.path().join("data"), dir.path().join("data.old")).expect("moved");
    assert_eq!(
        stopped(dir.path(), &["import", "whole", "--with-sessions"], "").good(),
        "1 users, 1 sessions, 1 signing keys"
    );
    drop(menshen);
    let menshen = importing(&backend).in_directory(dir).start();
    assert_eq!(
        (status(&menshen, &alice), refreshed(&menshen, &alice)),
        (200, 200)
    );
}

#[test]
fn a_compacted_store_is_the_same_and_no_larger() {
    let backend = Backend::start();
    let mut menshen = importing(&backend).start();
    let alice = menshen.login("alice");
    for _ in 0..50 {
        menshen.login("bob");
    }
    live(&menshen, &["store", "compact"]).failed(1, "in use by another process");
    menshen.stop();
    let dir = menshen.keep_directory();
    let said = stopped(dir.path(), &["store", "compact"], "").good();
    let sizes: Vec<u64> = said
        .split(' ')
        .filter_map(|word| word.parse().ok())
        .collect();
    assert!(
        said.contains("KiB before") && sizes[2] <= sizes[1],
        "{said}"
    );
    assert!(!dir.path().join("data.compacting").exists());
    drop(menshen);
    let menshen = importing(&backend).in_directory(dir).start();
    assert_eq!(
        (status(&menshen, &alice), refreshed(&menshen, &alice)),
        (200, 200)
    );
    assert_eq!(id(&menshen.login("alice")), id(&alice));
}
