//! Replicas that share one database: what one of them does, all of them know.

use std::{
    net::{TcpListener, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    backend::Backend,
    databases::Database,
    menshen::{Menshen, Setup, command},
    wechat::Wechat,
};

/// A test of each case on each database.
macro_rules! cases {
    ($($case:ident,)+) => {
        mod on_postgres {
            $(#[test] fn $case() { super::$case(super::Database::Postgres); })+
        }

        mod behind_pgbouncer {
            $(#[test] fn $case() { super::$case(super::Database::Pgbouncer); })+
        }

        mod on_mysql {
            $(#[test] fn $case() { super::$case(super::Database::Mysql); })+
        }
    };
}

cases! {
    replicas_are_one_menshen_to_users_and_backend,
    first_logins_at_all_replicas_at_once_make_one_user,
    ten_posts_of_one_code_to_four_replicas_are_one_login,
    without_the_database_tokens_are_checked_and_nothing_else_is_done,
    a_replica_that_starts_without_the_database_waits_for_it,
    replicas_need_the_same_key_and_say_so,
    replicas_know_each_other_and_one_does_the_upkeep,
    the_doctor_compares_replicas,
    it_is_said_whether_hints_arrive,
}

/// Replicas on one database.
struct Replicas {
    url: String,
    menshens: Vec<Menshen>,
    backend: Backend,
}

/// By polling alone a revocation would take a minute.
#[test]
fn on_postgres_a_revocation_does_not_wait_for_the_poll() {
    let url = Database::Postgres.empty();
    let backend = Backend::start();
    let slow = store(&url).replace("50ms", "1m");
    let [one, other] = [(), ()].map(|()| Setup::before(backend.address).with(&slow).start());
    let session = one.login("alice");
    assert_eq!(call(&other, &session), 200);
    let bearer = format!(
        "Bearer {}",
        session["access_token"].as_str().expect("a token")
    );
    let out = one.post("/auth/logout", &[("Authorization", &bearer)], &json!({}));
    assert_eq!(out.status, 204);
    wait_until_refused(&other, &session);
}

/// What the doctor says, check by check.
fn doctor(setup: &Setup) -> Vec<Value> {
    let config = setup.config();
    let config = config.to_str().expect("text");
    let args = ["doctor", "--json", "--config", config];
    let output = command(setup.directory().path(), &args, &[]);
    let said: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    said["checks"].as_array().expect("a list").clone()
}

/// A process says once that no hint arrives, and what to do; the doctor says it too. Where they arrive, both
/// say that.
fn it_is_said_whether_hints_arrive(database: Database) {
    let arrive = match database {
        Database::Postgres => Some(true),
        Database::Pgbouncer => Some(false),
        Database::Mysql => None,
    };
    let Replicas { menshens, url, .. } = Replicas::start(database, 1);
    let menshen = &menshens[0];
    let said = |text: &str| {
        let log = menshen.log();
        log.iter().filter(|line| line.contains(text)).count()
    };
    if arrive == Some(false) {
        let line = menshen.wait_for_log("no NOTIFY arrives");
        assert!(line.contains("Nothing has to be done"), "{line}");
    } else if arrive == Some(true) {
        menshen.wait_for_metric("menshen_store_hints", 1.0);
    }
    assert_eq!(
        said("no NOTIFY arrives"),
        usize::from(arrive == Some(false))
    );
    assert_eq!(
        menshen.metric("menshen_store_hints") > 0.0,
        arrive == Some(true)
    );
    let setup = Setup::before(([127, 0, 0, 1], 1).into()).with(&store(&url));
    let found = doctor(&setup);
    let of_hints = found.iter().filter(|found| {
        let seen = found["seen"].as_str().unwrap_or_default();
        seen.contains("NOTIFY")
    });
    let states: Vec<_> = of_hints.map(|found| found["state"].clone()).collect();
    let expected = arrive.map(|arrive| if arrive { "ok" } else { "warning" });
    assert_eq!(states, expected.into_iter().collect::<Vec<_>>());
}

/// Each knows of the other; one of them does the upkeep, and when it stops the other takes it over.
fn replicas_know_each_other_and_one_does_the_upkeep(database: Database) {
    let Replicas { mut menshens, .. } = Replicas::start(database, 2);
    let upkeep = |menshen: &Menshen| menshen.metric("menshen_store_upkeep") > 0.0;
    let second = menshens.pop().expect("the second");
    let mut first = menshens.pop().expect("the first");
    second.wait_for_metric("menshen_store_replicas", 2.0);
    assert!(second.metric("menshen_store_clock_ahead_seconds").abs() < 1.0);
    assert!(upkeep(&first) && !upkeep(&second));
    first.stop();
    let end = Instant::now() + Duration::from_secs(25);
    while !upkeep(&second) {
        assert!(Instant::now() < end, "nothing does the upkeep");
        std::thread::yield_now();
    }
}

/// The section of the config for this database, with the key that all replicas have.
fn store(url: &str) -> String {
    format!(
        "[store]\nurl = \"{url}\"\nencryption_key = \"{}\"\nconnections = 4\nrevocation_poll = \"50ms\"",
        "42".repeat(32)
    )
}

impl Replicas {
    fn start(database: Database, count: usize) -> Self {
        let url = database.empty();
        let backend = Backend::start();
        let start = |_| Setup::before(backend.address).with(&store(&url)).start();
        Self {
            menshens: (0..count).map(start).collect(),
            url,
            backend,
        }
    }
}

fn refresh(menshen: &Menshen, session: &Value) -> super::wire::Answer {
    let token = json!({ "refresh_token": session["refresh_token"] });
    menshen.post("/auth/refresh", &[], &token)
}

fn call(menshen: &Menshen, session: &Value) -> u16 {
    let token = session["access_token"].as_str().expect("a token");
    let bearer = format!("Bearer {token}");
    menshen.get("/orders", &[("Authorization", &bearer)]).status
}

/// Waits until a token is refused, which a replica learns from the store.
fn wait_until_refused(menshen: &Menshen, session: &Value) {
    let end = Instant::now() + Duration::from_secs(10);
    while call(menshen, session) != 401 {
        assert!(
            Instant::now() < end,
            "a revoked token goes on being accepted"
        );
        std::thread::yield_now();
    }
}

fn replicas_are_one_menshen_to_users_and_backend(database: Database) {
    are_one_menshen(&Replicas::start(database, 2));
}

fn are_one_menshen(replicas: &Replicas) {
    let [one, other] = &replicas.menshens[..] else {
        panic!("two replicas")
    };
    let session = one.login("alice");
    assert_eq!(call(other, &session), 200);
    let seen = replicas.backend.last();
    assert_eq!(
        seen.folded("x-user-id"),
        [session["user"]["id"].as_str().expect("an id")]
    );

    // The session goes on at the other replica, and the user is the same there.
    let refreshed = refresh(other, &session);
    assert_eq!(refreshed.status, 200);
    let refreshed = refreshed.json();
    assert_eq!(call(one, &refreshed), 200);
    assert_eq!(other.login("alice")["user"]["id"], session["user"]["id"]);

    let bearer = format!(
        "Bearer {}",
        refreshed["access_token"].as_str().expect("a token")
    );
    let out = other.post("/auth/logout", &[("Authorization", &bearer)], &json!({}));
    assert_eq!(out.status, 204);
    wait_until_refused(one, &refreshed);
    assert_eq!(refresh(one, &refreshed).status, 401);
}

fn first_logins_at_all_replicas_at_once_make_one_user(database: Database) {
    let replicas = Replicas::start(database, 3);
    let ids: Vec<_> = std::thread::scope(|scope| {
        let logins: Vec<_> = (0..12)
            .map(|n| {
                let menshen = &replicas.menshens[n % 3];
                scope.spawn(move || menshen.login("carol")["user"]["id"].clone())
            })
            .collect();
        logins
            .into_iter()
            .map(|login| login.join().expect("a login"))
            .collect()
    });
    assert_eq!(ids.len(), 12);
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

/// WeChat takes a code once, and answers only after some time.
fn ten_posts_of_one_code_to_four_replicas_are_one_login(database: Database) {
    let (backend, wechat) = (Backend::start(), Wechat::start());
    let url = database.empty();
    let start = |_| {
        let setup = wechat.setup(&backend, "");
        let key = setup.directory().path().join("store.key");
        std::fs::write(key, "42".repeat(32)).expect("a file");
        setup.with(&format!(
            "[store]\nurl = \"{url}\"\nencryption_key_file = \"store.key\"\nconnections = 4"
        ))
    };
    let menshens: Vec<_> = (0..4).map(start).map(Setup::start).collect();
    let post = |replica: usize, client: &str| {
        let from = [("X-Forwarded-For", client)];
        let code = json!({ "code": "slow.300-tap" });
        menshens[replica].post("/auth/wechat/login", &from, &code)
    };
    let post = &post;
    let answers: Vec<_> = std::thread::scope(|scope| {
        let posts: Vec<_> = (0..10)
            .map(|n| scope.spawn(move || post(n % 4, "203.0.113.7")))
            .collect();
        posts
            .into_iter()
            .map(|post| post.join().expect("an answer"))
            .collect()
    });
    for answer in &answers {
        assert_eq!(answer.status, 200, "{:?}", answer.error());
        let (one, other) = (answers[0].json(), answer.json());
        for same in ["user", "refresh_token", "is_new_user"] {
            assert_eq!(one[same], other[same]);
        }
    }
    let opened = |menshen: &Menshen| menshen.metric("menshen_sessions_opened_total");
    let opened: f64 = menshens.iter().map(opened).sum();
    assert!((opened - 1.0).abs() < 0.1, "{opened} sessions");
    let calls = wechat.server.calls_for("slow.300-tap");
    assert!(calls <= 4, "each replica asks once: {calls}");
    // A client at another address is not told.
    for replica in 0..4 {
        let thief = post(replica, "203.0.113.8");
        assert_eq!(thief.error(), Some("wechat_code_invalid"));
    }
}

fn without_the_database_tokens_are_checked_and_nothing_else_is_done(database: Database) {
    let mut replicas = Replicas::start(database, 1);
    let menshen = &mut replicas.menshens[0];
    menshen.expect_error("the store");
    let session = menshen.login("alice");
    database.lock_out(&replicas.url);

    assert_eq!(call(menshen, &session), 200);
    let refused = refresh(menshen, &session);
    assert_eq!(refused.status, 503);
    assert_eq!(refused.json()["code"], "store_unavailable");
    assert!(refused.header("Retry-After").is_some());
    // It stays in service, for the tokens, and says what is wrong.
    let ready = super::wire::ask(menshen.admin, "GET", "/readyz", &[], b"");
    assert_eq!(
        (ready.status, &ready.json()["store"]),
        (200, &json!("failing"))
    );
    let alive = super::wire::ask(menshen.admin, "GET", "/livez", &[], b"");
    assert_eq!(alive.status, 200);

    // It goes on by itself, with the same session.
    database.let_in(&replicas.url);
    let end = Instant::now() + Duration::from_secs(10);
    let again = loop {
        let again = refresh(menshen, &session);
        if again.status != 503 {
            break again;
        }
        assert!(Instant::now() < end, "it does not go on");
    };
    assert_eq!(again.status, 200);
    let ready = super::wire::ask(menshen.admin, "GET", "/readyz", &[], b"");
    assert_eq!((ready.status, &ready.json()["store"]), (200, &json!("ok")));
}

fn a_replica_that_starts_without_the_database_waits_for_it(database: Database) {
    let url = database.empty();
    database.lock_out(&url);
    let backend = Backend::start();
    let reserved = TcpListener::bind("127.0.0.1:0").expect("a port");
    let admin = reserved.local_addr().expect("an address");
    drop(reserved);
    // Lets the role in when menshen says that it waits.
    let locked_out = url.clone();
    let seen = std::thread::spawn(move || {
        let end = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(admin).is_err() {
            assert!(Instant::now() < end, "no probe is answered");
            std::thread::yield_now();
        }
        let seen = ["/livez", "/startupz", "/readyz"].map(|path| {
            let answer = super::wire::ask(admin, "GET", path, &[], b"");
            (answer.status, answer.json())
        });
        database.let_in(&locked_out);
        seen
    });
    let admin = format!("[admin]\nlisten = \"{admin}\"\n");
    let mut menshen = Setup::before(backend.address)
        .with(&admin)
        .with(&store(&url))
        .start();
    menshen.expect_error("waiting for the store");
    let [live, started, ready] = seen.join().expect("seen");
    assert_eq!((live.0, started.0, ready.0), (200, 200, 503));
    assert_eq!(ready.1["store"], "it cannot be opened yet: see the log");
    assert_eq!(call(&menshen, &menshen.login("alice")), 200);
}

fn replicas_need_the_same_key_and_say_so(database: Database) {
    let url = database.empty();
    let dir = tempfile::tempdir().expect("a directory");
    let run = |section: &str| {
        let setup = Setup::before(([127, 0, 0, 1], 1).into())
            .in_directory(Arc::new(TempDir::new().expect("a directory")))
            .with(section);
        let config = setup.config();
        let output = command(
            dir.path(),
            &["run", "--config", config.to_str().expect("text")],
            &[],
        );
        let code = output.status.code();
        let text = String::from_utf8(output.stderr).expect("text");
        (code, text)
    };
    // Once with a key, so that the store has one.
    let backend = Backend::start();
    drop(Setup::before(backend.address).with(&store(&url)).start());

    let (code, text) = run(&store(&url).replace("42", "43"));
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("another encryption key"), "{text}");

    let (code, text) = run(&format!("[store]\nurl = \"{url}\""));
    assert_eq!(code, Some(64), "{text}");
    assert!(text.contains("all of them need the same key"), "{text}");

    let missing = format!("[store]\nurl = \"{url}\"\nencryption_key_file = \"absent\"");
    let (code, text) = run(&missing);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("not created here"), "{text}");
}

/// With each other, and with the config that it is given.
fn the_doctor_compares_replicas(database: Database) {
    let url = database.empty();
    let backend = Backend::start();
    let with = |issuer: &str| {
        let section = format!("[tokens]\nissuer = \"{issuer}\"\n{}", store(&url));
        Setup::before(backend.address).with(&section)
    };
    let says = |issuer: &str| {
        let checks = doctor(&with(issuer)).into_iter();
        checks
            .filter(|found| found["check"] == "replicas")
            .collect::<Vec<_>>()
    };
    let states = |found: &[Value]| -> Vec<String> {
        let states = found.iter().filter_map(|found| found["state"].as_str());
        states.map(str::to_owned).collect()
    };
    assert_eq!(states(&says("a")), ["skipped"], "no tables");
    let first = with("a").start();
    first.wait_for_metric("menshen_store_replicas", 1.0);
    let found = says("a");
    assert_eq!(states(&found), ["ok", "ok"], "{found:#?}");
    let other = says("b");
    assert_eq!(states(&other), ["ok", "warning"], "{other:#?}");

    let second = with("b").start();
    second.wait_for_metric("menshen_store_replicas_differing{aspect=\"issuer\"}", 1.0);
    let found = says("a");
    assert_eq!(states(&found), ["ok", "failed"], "{found:#?}");
    let seen = found[1]["seen"].as_str().expect("text");
    assert!(seen.contains("issuer") && seen.contains("b for"), "{seen}");
}
