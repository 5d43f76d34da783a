//! The process: exit codes, messages, stopping, dying and starting again.

use std::{
    io::Write,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use rustix::process::Signal;
use serde_json::json;

use super::{
    backend::Backend,
    menshen::Setup,
    wire::{self, Client},
};

fn menshen(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_menshen"))
        .args(args)
        .current_dir(dir)
        .env_clear()
        .output()
        .expect("the binary")
}

#[test]
fn bad_configuration_exits_64_and_names_every_problem_with_its_line() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(
        dir.path().join("config.toml"),
        "mode = \"development\"\n[server]\nlisen = []\nheader_timeout = \"soon\"\n",
    )
    .expect("a file");
    for args in [&["check"][..], &["run"], &[]] {
        let output = menshen(dir.path(), args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{args:?}: {said}");
        assert!(
            said.contains("config.toml:3") && said.contains("listen"),
            "{args:?}: {said}"
        );
        assert!(
            said.contains("config.toml:4") && said.contains("header_timeout"),
            "{args:?}: {said}"
        );
    }
    assert_eq!(menshen(dir.path(), &["nonsense"]).status.code(), Some(64));
    assert_eq!(menshen(dir.path(), &["--help"]).status.code(), Some(0));
    assert_eq!(
        menshen(dir.path(), &["run", "--config", "missing.toml"])
            .status
            .code(),
        Some(64)
    );
}

#[test]
fn rules_that_cannot_be_are_found_by_check() {
    let dir = tempfile::tempdir().expect("a directory");
    let text = "mode = \"development\"\n[[rule]]\nname = \"a\"\npath = \"no-slash\"\n[[rule]]\nname = \"b\"\npath = \"/x/**/y\"\n";
    std::fs::write(dir.path().join("config.toml"), text).expect("a file");
    let output = menshen(dir.path(), &["check"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{said}");
    assert!(
        said.contains("config.toml:4") && said.contains("config.toml:7"),
        "{said}"
    );
}

#[test]
fn production_without_credentials_refuses_to_start() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("config.toml"), "mode = \"production\"\n").expect("a file");
    let output = menshen(dir.path(), &["run"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{said}");
    assert!(
        said.contains("wechat") && said.contains("encryption_key"),
        "{said}"
    );
}

#[test]
fn a_port_that_is_taken_is_said_plainly() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let dir = tempfile::tempdir().expect("a directory");
    let address = taken.local_addr().expect("an address");
    let text = format!(
        "mode = \"development\"\n[server]\nlisten = [\"{address}\"]\n[store]\nurl = \"memory:\"\n"
    );
    std::fs::write(dir.path().join("config.toml"), text).expect("a file");
    let output = menshen(dir.path(), &["run"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains(&address.to_string()) && said.contains("in use"),
        "{said}"
    );
}

#[test]
fn sigterm_serves_what_is_in_flight_and_exits_0() {
    let backend = Backend::answering(|request, stream| {
        if request.line.contains("/slow") {
            std::thread::sleep(Duration::from_millis(600));
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .is_ok()
    });
    let mut menshen = Setup::before(backend.address).start();
    let token = format!("Bearer {}", menshen.token("alice"));
    let mut idle = Client::connect(menshen.http);
    idle.send(wire::request(
        "GET",
        "/x",
        &[("Authorization", &token)],
        b"",
    ));
    idle.receive().expect("an answer");
    let mut slow = Client::connect(menshen.http);
    slow.send(wire::request(
        "GET",
        "/slow",
        &[("Authorization", &token)],
        b"",
    ));
    while !backend
        .received()
        .iter()
        .any(|request| request.line.contains("/slow"))
    {
        std::thread::yield_now();
    }
    menshen.signal(Signal::TERM);
    menshen.wait_for_log("stopping");
    assert_eq!(
        wire::ask(menshen.admin, "GET", "/readyz", &[], b"").status,
        503,
        "unready at once"
    );
    let late = wire::ask(menshen.http, "GET", "/x", &[("Authorization", &token)], b"");
    assert_eq!(
        (late.status, late.header("Connection")),
        (200, Some("close")),
        "still served, and told to move on"
    );
    let answer = slow.receive().expect("the answer that was in flight");
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"ok"[..]));
    assert!(idle.ended());
    assert_eq!(menshen.wait().code(), Some(0));
}

#[test]
fn a_steady_load_loses_no_request_to_a_stop() {
    let backend = Backend::start();
    let mut menshen = Setup::before(backend.address)
        .with("[server]\nlisten = [\"127.0.0.1:0\"]\nunready_grace = \"500ms\"")
        .start();
    let token = format!("Bearer {}", menshen.token("alice"));
    let http = menshen.http;
    let (served, failed) = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let (mut served, mut failed) = (0, 0);
                    let mut client = Client::connect(http);
                    loop {
                        client.send(wire::request(
                            "GET",
                            "/x",
                            &[("Authorization", &token)],
                            b"",
                        ));
                        match client.receive() {
                            Some(answer) if answer.status == 200 => {
                                served += 1;
                                if answer.header("Connection") == Some("close") {
                                    // A client that honours this asks no more here: its load
                                    // balancer has moved on.
                                    return (served, failed);
                                }
                            }
                            other => {
                                eprintln!("{other:?}");
                                failed += 1;
                                return (served, failed);
                            }
                        }
                    }
                })
            })
            .collect();
        while backend.received().len() < 200 {
            std::thread::yield_now();
        }
        menshen.signal(Signal::TERM);
        clients
            .into_iter()
            .map(|client| client.join().expect("a client"))
            .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    });
    assert_eq!(failed, 0, "of {served}");
    assert!(served >= 200);
    assert_eq!(menshen.wait().code(), Some(0));
}

#[test]
fn a_second_start_finds_everything_and_keeps_what_was_revoked_revoked() {
    let backend = Backend::start();
    let mut first = Setup::before(backend.address).start();
    let dir = first.keep_directory();
    let (kept, ended) = (first.login("alice"), first.token("alice"));
    let ended = format!("Bearer {ended}");
    assert_eq!(
        first
            .post("/auth/logout", &[("Authorization", &ended)], &json!({}))
            .status,
        204
    );
    first.signal(Signal::TERM);
    assert_eq!(first.wait().code(), Some(0));
    let second = Setup::before(backend.address).in_directory(dir).start();
    let token = format!("Bearer {}", kept["access_token"].as_str().expect("a token"));
    assert_eq!(
        second.get("/x", &[("Authorization", &token)]).status,
        200,
        "the signing key was kept"
    );
    assert_eq!(
        second.get("/x", &[("Authorization", &ended)]).error(),
        Some("token_revoked")
    );
    assert_eq!(
        second
            .post(
                "/auth/refresh",
                &[],
                &json!({ "refresh_token": kept["refresh_token"] })
            )
            .status,
        200
    );
    assert_eq!(second.login("alice")["user"]["id"], kept["user"]["id"]);
}

/// Rounds of the kill loop: few in a usual run, `MENSHEN_KILL_ROUNDS=300` for the full one.
fn kill_rounds() -> usize {
    std::env::var("MENSHEN_KILL_ROUNDS")
        .ok()
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(5)
}

#[test]
fn every_acknowledged_login_survives_kill_9() {
    let backend = Backend::start();
    let mut dir = None;
    let mut acknowledged: Vec<(String, serde_json::Value)> = Vec::new();
    for round in 0..kill_rounds() {
        let mut setup = Setup::before(backend.address);
        if let Some(dir) = dir.take() {
            setup = setup.in_directory(dir);
        }
        let mut menshen = setup.start();
        dir = Some(menshen.keep_directory());
        // Everything from the last round is there: the user is known, and the refresh token works.
        for (code, session) in acknowledged.drain(..) {
            let again = menshen.login(&code);
            assert_eq!(
                (&again["user"]["id"], &again["is_new_user"]),
                (&session["user"]["id"], &json!(false)),
                "round {round}: {code}"
            );
            let refreshed = menshen.post(
                "/auth/refresh",
                &[],
                &json!({ "refresh_token": session["refresh_token"] }),
            );
            assert_eq!(
                refreshed.status,
                200,
                "round {round}: {code}: {}",
                String::from_utf8_lossy(&refreshed.body)
            );
        }
        let http = menshen.http;
        let answered = std::sync::Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for client in 0..4 {
                let answered = &answered;
                scope.spawn(move || {
                    for n in 0.. {
                        let code = format!("user-{round}-{client}-{n}");
                        let body = json!({ "code": code }).to_string();
                        let Ok(mut connection) = std::net::TcpStream::connect(http) else {
                            return;
                        };
                        let request = wire::request(
                            "POST",
                            "/auth/wechat/login",
                            &[
                                ("Content-Type", "application/json"),
                                ("Connection", "close"),
                            ],
                            body.as_bytes(),
                        );
                        let mut text = String::new();
                        if connection.write_all(&request).is_err()
                            || std::io::Read::read_to_string(&mut connection, &mut text).is_err()
                        {
                            return;
                        }
                        let Some((head, body)) = text.split_once("\r\n\r\n") else {
                            return;
                        };
                        if !head.starts_with("HTTP/1.1 200") {
                            return;
                        }
                        // An answer cut in the middle was not received.
                        let Ok(session) = serde_json::from_str(body) else {
                            return;
                        };
                        answered.lock().expect("a lock").push((code, session));
                    }
                });
            }
            // Die in the middle of it, each round at another point.
            while answered.lock().expect("a lock").len() < 5 + 3 * (round % 10) {
                std::thread::yield_now();
            }
            menshen.signal(Signal::KILL);
        });
        menshen.wait();
        acknowledged = answered.into_inner().expect("a lock");
        assert!(acknowledged.len() >= 5);
    }
}

#[test]
fn a_store_that_is_held_unwritable_or_damaged_is_said_and_left_alone() {
    let backend = Backend::start();
    let holder = Setup::before(backend.address).start();
    let dir = holder.keep_directory();
    let text = "mode = \"development\"\n[server]\nlisten = [\"127.0.0.1:0\"]\n[admin]\nlisten = \"127.0.0.1:0\"\n[store]\nurl = \"sled:data\"\nlock_wait = \"200ms\"\n";
    std::fs::write(dir.path().join("second.toml"), text).expect("a file");
    let locked = menshen(dir.path(), &["run", "--config", "second.toml"]);
    let said = String::from_utf8_lossy(&locked.stderr);
    assert_eq!(locked.status.code(), Some(1), "{said}");
    assert!(said.contains("another process"), "{said}");
    drop(holder);

    let damaged = tempfile::tempdir().expect("a directory");
    std::fs::write(damaged.path().join("config.toml"), text).expect("a file");
    let data = damaged.path().join("data");
    std::fs::create_dir(&data).expect("a directory");
    std::fs::write(data.join("conf"), b"garbage").expect("a file");
    std::fs::write(data.join("db"), vec![0xa5; 4096]).expect("a file");
    let output = menshen(damaged.path(), &["run"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    assert_eq!(
        std::fs::read(data.join("conf")).expect("still there"),
        b"garbage",
        "a damaged directory is left as it is"
    );

    let blocked = tempfile::tempdir().expect("a directory");
    std::fs::write(blocked.path().join("config.toml"), text).expect("a file");
    std::fs::write(
        blocked.path().join("data"),
        b"a file where the directory should be",
    )
    .expect("a file");
    let output = menshen(blocked.path(), &["run"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("data") && !said.contains("panicked"),
        "{said}"
    );
}

#[test]
fn files_with_secrets_are_for_their_owner_alone() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address).start();
    menshen.login("alice");
    for name in ["store.key", "data"] {
        let mode = std::fs::metadata(menshen.directory().join(name))
            .expect(name)
            .permissions()
            .mode();
        assert_eq!(mode & 0o077, 0, "{name:?} has mode {mode:o}");
    }
}
