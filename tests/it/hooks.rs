//! Hooks from outside: the backend is asked and told, also when one of the two dies.

use std::{
    io::Write,
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use aws_lc_rs::hmac;
use menshen::{dev::wechat::push::SimulatedPush, types::Timestamp};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{
    administration::stopped,
    backend::{Backend, Received},
    menshen::{Menshen, Setup},
    wire,
};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn answer(stream: &mut TcpStream, status: &str, body: &str) -> bool {
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .is_ok()
}

fn is_hook(request: &Received) -> bool {
    request.line.starts_with("POST /hooks ")
}

fn said(request: &Received) -> Value {
    serde_json::from_slice(&request.body).expect("JSON")
}

fn header(request: &Received, name: &str) -> String {
    request
        .folded(name)
        .first()
        .unwrap_or_else(|| panic!("no {name}"))
        .clone()
}

fn section(at: &Backend) -> String {
    format!(
        "[hooks]\nurl = \"http://{}/hooks\"\nsecret = \"{SECRET}\"\ntimeout = \"2s\"",
        at.address
    )
}

fn erase(menshen: &Menshen, token: &str) {
    let bearer = format!("Bearer {token}");
    let gone = wire::ask(
        menshen.http,
        "DELETE",
        "/auth/me",
        &[("Authorization", &bearer)],
        b"",
    );
    assert_eq!(gone.status, 204, "{}", String::from_utf8_lossy(&gone.body));
}

/// Waits until a request to the backend fits.
fn wait_for(backend: &Backend, fits: impl Fn(&Received) -> bool) -> Received {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = backend.received().into_iter().find(|request| fits(request)) {
            return found;
        }
        assert!(Instant::now() < end, "the backend did not hear of it");
        std::thread::yield_now();
    }
}

#[test]
fn the_backend_s_own_id_is_the_one_in_the_header() {
    let backend = Backend::answering(|request, stream| {
        let own_id = r#"{"id":4711,"claims":{"tenant":"north"}}"#;
        answer(
            stream,
            "200 OK",
            if is_hook(request) { own_id } else { "ok" },
        )
    });
    let menshen = Setup::before(backend.address)
        .with(&section(&backend))
        .start();
    let token = menshen.token("alice");
    let bearer = format!("Bearer {token}");
    assert_eq!(
        menshen.get("/orders", &[("Authorization", &bearer)]).status,
        200
    );
    // The news of the login may come before it or after.
    let orders = wait_for(&backend, |request| request.line.starts_with("GET /orders "));
    assert_eq!(orders.folded("x-user-id"), ["4711"]);

    let asked = wait_for(&backend, |request| {
        is_hook(request) && header(request, "x-menshen-event") == "user.created"
    });
    let time = header(&asked, "x-menshen-timestamp");
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let signed = [time.as_bytes(), b".", &asked.body].concat();
    let signature = header(&asked, "x-menshen-signature");
    let signature =
        hex::decode(signature.strip_prefix("sha256=").expect("its algorithm")).expect("hex");
    hmac::verify(&key, &signed, &signature).expect("the signature of this body at this time");
    assert_eq!(header(&asked, "idempotency-key"), said(&asked)["id"]);
    assert_eq!(said(&asked)["user"]["openid"], "alice");
    let login = wait_for(&backend, |request| {
        is_hook(request) && header(request, "x-menshen-event") == "login.succeeded"
    });
    assert_eq!(said(&login)["user"], json!({ "id": "4711" }));
    let log = menshen.log().join("\n");
    assert!(!log.contains("\"alice\"") && !log.contains(SECRET), "{log}");
}

#[test]
fn an_erasure_reaches_the_backend_after_a_kill() {
    let up = Arc::new(AtomicBool::new(false));
    let now = up.clone();
    let backend = Backend::answering(move |request, stream| {
        let is_deletion = is_hook(request) && said(request)["event"] == "user.deleted";
        let status = if is_deletion && !now.load(Ordering::Acquire) {
            "500 Oops"
        } else {
            "200 OK"
        };
        answer(stream, status, "{}")
    });
    let setup = Setup::before(backend.address).with(&section(&backend));
    let directory = setup.directory();
    let mut menshen = setup.start();
    let login = menshen.login("alice");
    erase(&menshen, login["access_token"].as_str().expect("a token"));
    menshen.signal(Signal::KILL);
    menshen.wait();
    let id = format!(
        "user.deleted.{}",
        login["user"]["id"].as_str().expect("an id")
    );
    up.store(true, Ordering::Release);
    let before = backend.received().len();

    let again = Setup::before(backend.address)
        .with(&section(&backend))
        .in_directory(directory)
        .start();
    let end = Instant::now() + Duration::from_secs(30);
    let told = loop {
        let told = backend
            .received()
            .into_iter()
            .skip(before)
            .find(|request| is_hook(request) && said(request)["id"] == id);
        if let Some(told) = told {
            break told;
        }
        assert!(Instant::now() < end, "the backend never heard of it");
        std::thread::yield_now();
    };
    assert_eq!(
        (header(&told, "idempotency-key"), &said(&told)["user"]),
        (id, &json!({ "id": login["user"]["id"] }))
    );
    again.wait_for_metric(
        "menshen_hook_calls_total{event=\"user.deleted\",result=\"ok\"}",
        1.0,
    );
}

#[test]
fn a_redirect_is_not_followed_and_nobody_is_made() {
    let elsewhere = Backend::start();
    let to = elsewhere.address;
    let backend = Backend::answering(move |_, stream| {
        write!(
            stream,
            "HTTP/1.1 307 Elsewhere\r\nLocation: http://{to}/hooks\r\nContent-Length: 0\r\n\r\n"
        )
        .is_ok()
    });
    let menshen = Setup::before(backend.address)
        .with(&section(&backend))
        .start();
    let refused = menshen.post("/auth/wechat/login", &[], &json!({ "code": "alice" }));
    assert_eq!(
        (refused.status, refused.header("x-menshen-error")),
        (503, Some("registration_unavailable"))
    );
    assert!(refused.header("retry-after").is_some());
    assert_eq!(elsewhere.received().len(), 0);
    menshen.wait_for_metric(
        "menshen_hook_calls_total{event=\"user.created\",result=\"redirect\"}",
        1.0,
    );
}

#[test]
fn parallel_first_logins_make_one_user_under_one_key() {
    let questions = Arc::new(AtomicUsize::new(0));
    let number = questions.clone();
    let backend = Backend::answering(move |request, stream| {
        let id = if said(request)["event"] == "user.created" {
            number.fetch_add(1, Ordering::AcqRel) + 1
        } else {
            0
        };
        answer(stream, "200 OK", &format!("{{\"id\":{id}}}"))
    });
    let menshen = Setup::before(backend.address)
        .with(&section(&backend))
        .start();
    let ids: std::collections::BTreeSet<String> = std::thread::scope(|scope| {
        let logins: Vec<_> = (0..16)
            .map(|_| scope.spawn(|| menshen.login("alice")["user"]["id"].to_string()))
            .collect();
        logins
            .into_iter()
            .map(|login| login.join().expect("a login"))
            .collect()
    });
    assert_eq!(ids.len(), 1, "{ids:?}");
    let keys: std::collections::BTreeSet<_> = backend
        .received()
        .iter()
        .filter(|request| header(request, "x-menshen-event") == "user.created")
        .map(|request| header(request, "idempotency-key"))
        .collect();
    assert_eq!(keys.len(), 1);
}

#[test]
fn a_backend_that_is_slow_lies_or_talks_too_much_makes_nobody() {
    let turn = Arc::new(AtomicUsize::new(0));
    let now = turn.clone();
    let backend = Backend::answering(move |request, stream| {
        if said(request)["event"] != "user.created" {
            return answer(stream, "200 OK", "");
        }
        match now.load(Ordering::Acquire) {
            0 => answer(stream, "200 OK", "<html>"),
            1 => answer(stream, "200 OK", &"x".repeat(200_000)),
            2 => answer(stream, "200 OK", r#"{"id":"1\r\nX-User-Type: admin"}"#),
            // No answer at all; the connection stays open until the client has had enough.
            3 => true,
            _ => answer(stream, "200 OK", r#"{"id":"b-1"}"#),
        }
    });
    let menshen = Setup::before(backend.address)
        .with(&section(&backend))
        .start();
    for n in 0..4 {
        turn.store(n, Ordering::Release);
        let refused = menshen.post("/auth/wechat/login", &[], &json!({ "code": "alice" }));
        assert_eq!(refused.status, 503, "{n}");
    }
    turn.store(4, Ordering::Release);
    assert_eq!(menshen.login("alice")["user"]["id"], "b-1");
}

#[test]
fn who_cancels_in_wechat_is_erased_and_the_backend_hears_of_it() {
    let backend = Backend::answering(|_, stream| answer(stream, "200 OK", ""));
    let push = SimulatedPush {
        app_id: "wx0123456789abcdef".to_owned(),
        token: "apushtoken".to_owned(),
        aes_key: "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPA".to_owned(),
    };
    let wechat = format!(
        "[wechat]\napp_id = \"{}\"\npush_token = \"{}\"\npush_aes_key = \"{}\"\n[wechat.push]\nenabled = true\n",
        push.app_id, push.token, push.aes_key
    );
    let menshen = Setup::before(backend.address)
        .with(&section(&backend))
        .with(&wechat)
        .start();
    let alice = menshen.login("alice");
    let elapsed = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("a time after 1970");
    let sent = push.event(
        "user_authorization_cancellation",
        "alice",
        &json!({}),
        Timestamp::from_secs(elapsed.as_secs()),
    );
    let path = format!("/auth/wechat/push?{}", sent.query);
    let xml = [("Content-Type", "text/xml")];
    let answered = wire::ask(menshen.http, "POST", &path, &xml, sent.body.as_bytes());
    assert_eq!(
        (answered.status, answered.body.as_slice()),
        (200, &b"success"[..])
    );
    let forged = path.replace("msg_signature=", "msg_signature=f");
    assert_eq!(
        wire::ask(menshen.http, "POST", &forged, &xml, sent.body.as_bytes()).status,
        403
    );
    let bearer = format!(
        "Bearer {}",
        alice["access_token"].as_str().expect("a token")
    );
    assert_eq!(
        menshen.get("/orders", &[("Authorization", &bearer)]).status,
        401
    );
    let told = wait_for(&backend, |request| {
        is_hook(request) && said(request)["event"] == "user.deleted"
    });
    assert_eq!(said(&told)["user"]["id"], alice["user"]["id"]);
    let log = menshen.log().join("\n");
    assert!(
        !log.contains("msg_signature") && !log.contains("openid"),
        "{log}"
    );
}

#[test]
fn a_question_keeps_its_key_over_a_backup() {
    let up = Arc::new(AtomicBool::new(false));
    let now = up.clone();
    let backend = Backend::answering(move |_, stream| {
        if now.load(Ordering::Acquire) {
            answer(stream, "200 OK", "{}")
        } else {
            answer(stream, "400 Not now", "")
        }
    });
    let listeners = "[server]\nlisten = [\"127.0.0.1:0\"]\nunready_grace = \"1ms\"";
    let setup = || {
        Setup::before(backend.address)
            .with(listeners)
            .with(&section(&backend))
    };
    let mut menshen = setup().start();
    let refused = menshen.post("/auth/wechat/login", &[], &json!({ "code": "alice" }));
    assert_eq!(refused.status, 503);
    menshen.stop();
    let dir = menshen.keep_directory();
    stopped(dir.path(), &["export", "backup"], "").good();
    std::fs::rename(dir.path().join("data"), dir.path().join("data.before")).expect("moved");
    stopped(dir.path(), &["import", "backup"], "").good();
    drop(menshen);
    up.store(true, Ordering::Release);
    let menshen = setup().in_directory(dir).start();
    menshen.token("alice");
    let is_question = |request: &&Received| header(request, "x-menshen-event") == "user.created";
    let asked: Vec<_> = backend
        .received()
        .iter()
        .filter(is_question)
        .map(|asked| header(asked, "idempotency-key"))
        .collect();
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[0], asked[1], "the same person is the same question");
}
