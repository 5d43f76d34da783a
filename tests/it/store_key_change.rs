//! The key under which the store's records are sealed is changed: while people sign in, on a
//! stopped menshen, and on from where a change was left.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    administration::{
        PASSWORD, call, id, live, live_reading, password_login, refresh, setup, stopped,
    },
    backend::Backend,
    menshen::Menshen,
    wire,
};

#[test]
fn the_key_of_the_store_changes_while_people_sign_in_and_everything_still_works() {
    let backend = Backend::start();
    let mut menshen = setup(&backend).start();
    let add = ["users", "add", "root", "--admin"];
    let root = live_reading(&menshen, &add, PASSWORD).good();
    let early: Vec<Value> = (0..600)
        .map(|n| menshen.login(&format!("early{n}")))
        .collect();
    let is_changed = AtomicBool::new(false);
    let late: Vec<Value> = thread::scope(|scope| {
        let logins: Vec<_> = (0..4)
            .map(|worker| {
                let (menshen, is_changed) = (&menshen, &is_changed);
                // At least 50 each, and on until the change is over.
                let goes_on = move |n: &usize| *n < 50 || !is_changed.load(Ordering::Acquire);
                let login = move |n| menshen.login(&format!("late{worker}-{n}"));
                scope.spawn(move || (0..1000).take_while(goes_on).map(login).collect::<Vec<_>>())
            })
            .collect();
        let changed = live(&menshen, &["keys", "rotate", "--store"]);
        assert!(
            changed.err.contains("records encrypted again"),
            "{}",
            changed.err
        );
        assert_eq!(
            changed.good(),
            "everything in the store is under its new key"
        );
        is_changed.store(true, Ordering::Release);
        logins
            .into_iter()
            .flat_map(|worker| worker.join().expect("logins"))
            .collect()
    });
    menshen.wait_for_log("change of the store's key begun");
    menshen.wait_for_log("change of the store's key finished");
    assert!(menshen.metric("menshen_store_resealed_records_total") >= 1200.0);
    let works = |menshen: &Menshen| {
        for session in early.iter().step_by(60).chain(late.iter().step_by(20)) {
            assert_eq!(call(menshen, "/orders", session), (200, None));
        }
        for (code, session) in [
            ("early0", &early[0]),
            ("early599", &early[599]),
            ("late0-0", &late[0]),
            ("late0-49", &late[49]),
        ] {
            assert_eq!(id(&menshen.login(code)), id(session), "{code}");
        }
        assert_eq!(id(&password_login(menshen, "root", PASSWORD).json()), root);
    };
    works(&menshen);
    menshen.stop();
    let dir = menshen.keep_directory();
    // Again, on the stopped one.
    let changed = stopped(dir.path(), &["keys", "rotate", "--store"], "");
    assert!(!changed.err.contains("under way"), "{}", changed.err);
    changed.good();
    drop(menshen);
    let menshen = setup(&backend).in_directory(dir).start();
    works(&menshen);
    for session in [&early[1], &late[1]] {
        assert_eq!(refresh(&menshen, session).status, 200);
    }
}

/// One that has begun a change of its store's key, and was stopped; with some who had signed in.
fn left_in_the_middle(backend: &Backend) -> (Arc<TempDir>, Vec<Value>) {
    let mut menshen = setup(backend).start();
    let early: Vec<Value> = (0..300)
        .map(|n| menshen.login(&format!("early{n}")))
        .collect();
    let token = std::fs::read_to_string(menshen.directory().join("admin.token")).expect("a token");
    let bearer = format!("Bearer {}", token.trim());
    let post = |path: &str| {
        wire::post(
            menshen.admin,
            path,
            &[("Authorization", &bearer)],
            &json!({}),
        )
        .json()
    };
    assert_eq!(post("/admin/store/rotate-key"), json!({ "begun": true }));
    assert_eq!(
        post("/admin/store/rotate-key"),
        json!({ "begun": false }),
        "which is its first step"
    );
    menshen.stop();
    assert!(!menshen.log().join("\n").contains("finished"));
    (menshen.keep_directory(), early)
}

#[test]
fn a_change_of_the_stores_key_that_was_left_goes_on_with_the_command() {
    let backend = Backend::start();
    let (dir, early) = left_in_the_middle(&backend);
    let changed = stopped(dir.path(), &["keys", "rotate", "--store"], "");
    assert!(
        changed.err.contains("a change was already in progress"),
        "{}",
        changed.err
    );
    changed.good();
    let menshen = setup(&backend).in_directory(dir).start();
    assert_eq!(id(&menshen.login("early7")), id(&early[7]));
    assert_eq!(call(&menshen, "/orders", &early[8]), (200, None));
    assert!(
        !menshen
            .log()
            .join("\n")
            .contains("change of the store's key"),
        "there was nothing left to do"
    );
}

#[test]
fn a_change_of_the_stores_key_that_was_left_is_finished_in_the_background() {
    let backend = Backend::start();
    let (dir, early) = left_in_the_middle(&backend);
    let menshen = setup(&backend).in_directory(dir).start();
    menshen.wait_for_log("change of the store's key finished");
    assert_eq!(id(&menshen.login("early7")), id(&early[7]));
    assert_eq!(call(&menshen, "/orders", &early[8]), (200, None));
}
