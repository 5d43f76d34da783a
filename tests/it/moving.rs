//! A store that moves into a database, to another one, and back: nobody is signed out, and a move that
//! breaks off leaves nothing that anybody is served from.

use std::{
    io::Write as _,
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    administration::{Said, stopped},
    backend::Backend,
    databases::Database,
    menshen::{BINARY, Menshen, Setup},
    wire,
};

const KEY: &str = "[store]\nrevocation_poll = \"50ms\"\nencryption_key = \
                   \"4242424242424242424242424242424242424242424242424242424242424242\"\n";

/// A test of each case on each database.
macro_rules! cases {
    ($($case:ident,)+) => {
        mod on_postgres {
            $(#[test] fn $case() { super::$case(super::Database::Postgres); })+
        }

        mod on_mysql {
            $(#[test] fn $case() { super::$case(super::Database::Mysql); })+
        }
    };
}

cases! {
    an_import_that_is_killed_leaves_a_store_that_serves_nobody,
    an_import_is_refused_where_it_would_harm,
    a_damaged_record_ends_an_export_unless_it_is_left_out,
    commands_that_read_make_nothing,
    a_store_of_another_format_is_refused_before_it_is_touched,
}

/// With its store at this URL.
fn at(backend: &Backend, url: &str) -> Setup {
    Setup::before(backend.address).with(&format!("{KEY}url = \"{url}\""))
}

fn bearer(session: &Value) -> String {
    format!(
        "Bearer {}",
        session["access_token"].as_str().expect("a token")
    )
}

fn call(menshen: &Menshen, session: &Value) -> u16 {
    menshen
        .get("/orders", &[("Authorization", &bearer(session))])
        .status
}

fn refresh(menshen: &Menshen, session: &Value) -> wire::Answer {
    let token = json!({ "refresh_token": session["refresh_token"] });
    menshen.post("/auth/refresh", &[], &token)
}

/// Exports the store of a menshen that was stopped.
fn export(dir: &Path, file: &str) -> String {
    stopped(dir, &["export", file], "").good()
}

fn import(dir: &Path, file: &str) -> Said {
    stopped(dir, &["import", "--with-sessions", file], "")
}

#[test]
fn users_stay_signed_in_from_sled_to_databases_and_back() {
    let backend = Backend::start();
    let mut menshen = at(&backend, "sled:data").start();
    let dir = menshen.keep_directory();
    let (alice, carol) = (menshen.login("alice"), menshen.login("carol"));
    let mut bob = refresh(&menshen, &menshen.login("bob")).json();
    let out = menshen.post(
        "/auth/logout",
        &[("Authorization", &bearer(&carol))],
        &json!({}),
    );
    assert_eq!(out.status, 204);
    menshen.stop();

    let urls = [
        Database::Postgres.empty(),
        Database::Mysql.empty(),
        "sled:moved".to_owned(),
    ];
    for (n, url) in urls.iter().enumerate() {
        let file = format!("export-{n}");
        let exported = export(dir.path(), &file);
        let setup = at(&backend, url).in_directory(dir.clone());
        setup.config();
        let imported = import(dir.path(), &file).good();
        assert_eq!(
            exported,
            format!("{imported}; read again and found whole"),
            "{url}"
        );
        drop(menshen);
        menshen = setup.start();
        // The access tokens of before, and the refresh tokens, once each.
        assert_eq!([&alice, &bob].map(|user| call(&menshen, user)), [200, 200]);
        assert_eq!(call(&menshen, &carol), 401, "she has left: {url}");
        assert_eq!(refresh(&menshen, &carol).status, 401);
        let refreshed = refresh(&menshen, &bob);
        assert_eq!(refreshed.status, 200, "{url}");
        bob = refreshed.json();
        assert_eq!(call(&menshen, &bob), 200);
        menshen.stop();
    }
    drop(menshen);
    let menshen = at(&backend, &urls[2]).in_directory(dir).start();
    assert_eq!(refresh(&menshen, &alice).status, 200);
    for (code, session) in [("alice", &alice), ("bob", &bob), ("carol", &carol)] {
        let again = menshen.login(code);
        assert_eq!(again["user"]["id"], session["user"]["id"]);
        assert_eq!(again["is_new_user"], false);
    }
}

/// An export of a store with some users, in a directory with a config for another one.
struct Moving {
    backend: Backend,
    url: String,
    dir: std::sync::Arc<tempfile::TempDir>,
    alice: Value,
}

/// Its keys are in the config, so that a start leaves nothing in the store.
const HS256: &str =
    "[tokens]\nalgorithm = \"HS256\"\nsecret = \"q7Zr0vT2mXk9Lw4Bh8NcYs1GdJ5PfAeU\"";

impl Moving {
    fn to(database: Database) -> Self {
        let backend = Backend::start();
        let mut menshen = at(&backend, "sled:data").with(HS256).start();
        let alice = menshen.login("alice");
        for n in 0..60 {
            menshen.login(&format!("person{n}"));
        }
        menshen.stop();
        let dir = menshen.keep_directory();
        export(dir.path(), "whole");
        let moving = Self {
            backend,
            url: database.empty(),
            dir,
            alice,
        };
        moving.setup().config();
        moving
    }

    fn setup(&self) -> Setup {
        at(&self.backend, &self.url)
            .with(HS256)
            .in_directory(self.dir.clone())
    }

    fn command(&self, args: &[&str]) -> Said {
        stopped(self.dir.path(), args, "")
    }

    fn file(&self) -> Vec<u8> {
        std::fs::read(self.dir.path().join("whole")).expect("a file")
    }
}

fn login_status(menshen: &Menshen) -> u16 {
    menshen
        .post("/auth/wechat/login", &[], &json!({ "code": "dave" }))
        .status
}

fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < end, "{what}");
        std::thread::yield_now();
    }
}

fn an_import_that_is_killed_leaves_a_store_that_serves_nobody(database: Database) {
    let moving = Moving::to(database);
    // It runs on the empty tables, and has left nothing in them.
    let mut running = moving.setup().start();
    running.expect_error("the store");
    let file = moving.file();
    let mut importing = Command::new(BINARY)
        .args(["import", "--with-sessions", "-"])
        .current_dir(moving.dir.path())
        .env_clear()
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary");
    let input = importing.stdin.as_mut().expect("stdin");
    input.write_all(&file[..file.len() / 2]).expect("it reads");
    input.flush().expect("it reads");
    let ready = |menshen: &Menshen| {
        let ready = wire::ask(menshen.admin, "GET", "/readyz", &[], b"");
        ready.json()["store"].clone()
    };
    wait("the running menshen does not see the mark", || {
        ready(&running) == "failing"
    });
    assert_eq!(login_status(&running), 503);
    moving
        .command(&["import", "--with-sessions", "whole"])
        .failed(1, "an import into it began at");
    importing.kill().expect("killed");
    importing.wait().expect("an end");

    assert_eq!(login_status(&running), 503);
    let line = running.wait_for_log("an import into it began at");
    assert!(line.contains("menshen store discard-import"), "{line}");
    moving
        .command(&["users", "list"])
        .failed(1, "menshen store discard-import");
    // One that starts waits, and goes on when the store is as it was.
    let reserved = TcpListener::bind("127.0.0.1:0").expect("a port");
    let admin: SocketAddr = reserved.local_addr().expect("an address");
    drop(reserved);
    let setup = moving
        .setup()
        .in_directory(std::sync::Arc::new(
            tempfile::tempdir().expect("a directory"),
        ))
        .with(&format!("[admin]\nlisten = \"{admin}\""));
    let starting = std::thread::spawn(move || setup.start());
    wait("no probe is answered", || TcpStream::connect(admin).is_ok());
    let waiting = wire::ask(admin, "GET", "/readyz", &[], b"");
    assert_eq!(waiting.status, 503);

    let said = moving.command(&["store", "discard-import"]).good();
    assert!(said.contains("the store is empty"), "{said}");
    let mut started = starting.join().expect("it starts");
    started.expect_error("the store");
    started.wait_for_log("waiting for the store");
    moving
        .command(&["store", "discard-import"])
        .failed(1, "nothing to throw away");

    // A file that was cut off leaves it so as well.
    std::fs::write(moving.dir.path().join("cut"), &file[..file.len() - 40]).expect("a file");
    let cut = moving.command(&["import", "--with-sessions", "cut"]);
    cut.failed(1, "ends too early");
    cut.failed(1, "menshen store discard-import");
    wait("the mark is not seen", || login_status(&started) == 503);
    moving.command(&["store", "discard-import"]).good();

    let said = moving
        .command(&["import", "--with-sessions", "whole"])
        .good();
    assert_eq!(said, "61 users, 61 sessions, 0 signing keys");
    // Those that have run since before know other keys, and say so.
    for menshen in [&running, &started] {
        assert_eq!(login_status(menshen), 503);
        assert_eq!(refresh(menshen, &moving.alice).status, 503);
        menshen.wait_for_log("since this menshen started: restart it");
    }
    drop((running, started));
    let menshen = moving.setup().start();
    assert_eq!(call(&menshen, &moving.alice), 200);
    assert_eq!(refresh(&menshen, &moving.alice).status, 200);
    assert_eq!(login_status(&menshen), 200);
}

fn an_import_is_refused_where_it_would_harm(database: Database) {
    let moving = Moving::to(database);
    let import = ["import", "--with-sessions", "whole"];
    std::fs::write(moving.dir.path().join("other.key"), "ab".repeat(32)).expect("a file");
    moving
        .command(&[&import[..], &["--key-file", "other.key"]].concat())
        .failed(1, "another key");
    moving
        .command(&["store", "discard-import"])
        .failed(1, "it has no tables of this version");

    // With somebody in it.
    let mut menshen = moving.setup().start();
    menshen.login("dave");
    moving.command(&import).failed(1, "not empty: it has users");
    assert_eq!(login_status(&menshen), 200);
    menshen.stop();
    moving.command(&import).failed(1, "not empty: it has users");
    moving
        .command(&["store", "discard-import"])
        .failed(1, "nothing to throw away");
    let listed = moving.command(&["users", "list"]).good();
    assert_eq!(listed.lines().count(), 2, "{listed}");
}

/// Of a store and of a running process.
fn a_damaged_record_ends_an_export_unless_it_is_left_out(database: Database) {
    let moving = Moving::to(database);
    moving
        .command(&["import", "--with-sessions", "whole"])
        .good();
    let schema = moving.url.split(['/', '@']).nth(2).expect("a role");
    let records = format!("{schema}.menshen_records");
    database.execute(&match database {
        Database::Mysql => format!(
            "UPDATE {records} SET value = x'00' WHERE record_key >= 'u/' AND record_key < 'u0' ORDER BY record_key LIMIT 1"
        ),
        Database::Postgres | Database::Pgbouncer => format!(
            "UPDATE {records} SET value = '\\x00' WHERE key = \
             (SELECT key FROM {records} WHERE key >= 'u/'::bytea AND key < 'u0'::bytea ORDER BY key LIMIT 1)"
        ),
    });
    let mut menshen = moving.setup().start();
    for is_stopped in [false, true] {
        if is_stopped {
            menshen.stop();
        }
        moving
            .command(&["export", "broken"])
            .failed(1, "the export broke off");
        assert!(!moving.dir.path().join("broken").exists());
        let file = format!("rest-{is_stopped}");
        let exported = moving.command(&["export", "--without-damaged", &file]);
        let exported = exported.good();
        assert!(exported.starts_with("60 users"), "{exported}");
    }
}

fn commands_that_read_make_nothing(database: Database) {
    let moving = Moving::to(database);
    let token = bearer(&moving.alice);
    // With keys in the store, which a start would make.
    at(&moving.backend, &moving.url)
        .in_directory(moving.dir.clone())
        .config();
    for args in [
        &["users", "list"][..],
        &["users", "show", "somebody"],
        &["keys", "list"],
        &["sessions", "list", "somebody"],
        &["export", "nothing"],
    ] {
        moving
            .command(args)
            .failed(1, "it has no tables of this version");
    }
    let inspected = moving.command(&["token", "inspect", &token]);
    assert_eq!(inspected.code, Some(1));
    assert!(
        inspected.out.contains("it has no tables"),
        "{}",
        inspected.out
    );
    let doctor = moving.command(&["doctor"]);
    assert!(
        doctor.out.contains("the database answers"),
        "{}",
        doctor.out
    );
    // There is no table: they can be made.
    let schema = moving.url.split(['/', '@']).nth(2).expect("a role");
    for table in ["menshen_schema", "menshen_records"] {
        let sql = format!("CREATE TABLE {schema}.{table} (x INT); DROP TABLE {schema}.{table}");
        database.execute(&sql);
    }

    moving.command(&["store", "migrate"]).good();
    moving
        .command(&["users", "list"])
        .failed(1, "no menshen has run with it yet");
    moving.setup().config();
    let said = moving.command(&["import", "--with-sessions", "whole"]);
    assert_eq!(said.good(), "61 users, 61 sessions, 0 signing keys");
    let listed = moving.command(&["users", "list"]).good();
    assert_eq!(listed.lines().count(), 62);
    moving.command(&["export", "again"]).good();
}

fn a_store_of_another_format_is_refused_before_it_is_touched(database: Database) {
    let moving = Moving::to(database);
    moving.command(&["store", "migrate"]).good();
    let schema = moving.url.split(['/', '@']).nth(2).expect("a role");
    for (format, words) in [
        (4, "It was made by a newer menshen: use that one"),
        (2, "Run `menshen export` with the menshen that made it"),
    ] {
        database.execute(&format!(
            "UPDATE {schema}.menshen_schema SET format = {format}"
        ));
        for args in [
            &["run"][..],
            &["store", "migrate"],
            &["import", "whole"],
            &["store", "discard-import"],
            &["users", "list"],
        ] {
            let refused = moving.command(args);
            refused.failed(
                1,
                &format!("has format {format}, and this menshen reads format 3"),
            );
            refused.failed(1, words);
        }
        let doctor = moving.command(&["doctor"]);
        assert!(doctor.out.contains(words), "{}", doctor.out);
    }
    // Nothing was written there.
    database.execute(&format!("UPDATE {schema}.menshen_schema SET format = 3"));
    moving
        .command(&["users", "list"])
        .failed(1, "no menshen has run with it yet");
}
