//! Several backends: requests go to those that work, and come back to one that works again.

use std::{
    io::Write,
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    backend::Backend,
    menshen::{Menshen, Setup},
    wire,
};

fn named(name: &'static str, healthy: Arc<AtomicBool>) -> Backend {
    Backend::answering(move |request, stream| {
        let status = if request.line.contains("/health") && !healthy.load(Ordering::Acquire) {
            "503 No"
        } else {
            "200 OK"
        };
        stream
            .write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 1\r\n\r\n{name}").as_bytes())
            .is_ok()
    })
}

/// Who answers so many requests, each without a body and with one.
fn answers(menshen: &Menshen, token: &str, count: usize) -> String {
    let headers = [("Authorization", token)];
    let ask = |n: usize| {
        let (method, body) = if n.is_multiple_of(2) {
            ("GET", &b""[..])
        } else {
            ("POST", &b"hello"[..])
        };
        let answer = wire::ask(menshen.http, method, "/x", &headers, body);
        assert_eq!(
            answer.status,
            200,
            "{}",
            String::from_utf8_lossy(&answer.body)
        );
        String::from_utf8(answer.body).expect("a name")
    };
    (0..count).map(ask).collect()
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < end, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_backend_that_fails_its_checks_is_passed_over_until_it_passes_them_again() {
    let (good, sick) = (
        Arc::new(AtomicBool::new(true)),
        Arc::new(AtomicBool::new(true)),
    );
    let (a, b) = (named("a", good.clone()), named("b", sick.clone()));
    let section = format!(
        "[upstream]\nurls = [\"http://{}\", \"http://{}\"]\n[upstream.health]\npath = \"/health\"\ninterval = \"20ms\"",
        a.address, b.address
    );
    let menshen = Setup::before(a.address).with(&section).start();
    let token = format!("Bearer {}", menshen.token("alice"));
    let both = answers(&menshen, &token, 8);
    assert!(both.contains('a') && both.contains('b'), "{both}");
    let gauge = format!("menshen_upstream_healthy{{upstream=\"{}\"}}", b.address);
    sick.store(false, Ordering::Release);
    wait_until("it is found sick", || menshen.metric(&gauge) < 0.5);
    assert_eq!(answers(&menshen, &token, 8), "aaaaaaaa");
    menshen.wait_for_log("does not pass its health checks");
    // Nobody is left: then everybody is asked, rather than nobody.
    good.store(false, Ordering::Release);
    wait_until("both are sick", || {
        menshen.metric(&format!(
            "menshen_upstream_healthy{{upstream=\"{}\"}}",
            a.address
        )) < 0.5
    });
    let both = answers(&menshen, &token, 8);
    assert!(both.contains('a') && both.contains('b'), "{both}");
    wait_until("probes say so", || {
        let ready = wire::ask(menshen.admin, "GET", "/readyz", &[], b"");
        assert_eq!(ready.status, 200, "tokens and logins need no backend");
        ready.json()["details"]["upstreams"] == "0 of 2 healthy"
    });
    sick.store(true, Ordering::Release);
    wait_until("it is well again", || menshen.metric(&gauge) > 0.5);
    assert_eq!(answers(&menshen, &token, 8), "bbbbbbbb");
}

#[test]
fn a_backend_that_takes_no_connection_costs_nobody_an_answer_and_is_passed_over() {
    let up = named("a", Arc::new(AtomicBool::new(true)));
    let port = TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a port");
    let section = format!(
        "[upstream]\nurls = [\"http://{port}\", \"http://{}\"]\nhealth.interval = \"0s\"",
        up.address
    );
    let menshen = Setup::before(up.address).with(&section).start();
    let token = format!("Bearer {}", menshen.token("alice"));
    assert_eq!(answers(&menshen, &token, 20), "a".repeat(20));
    let ejections = format!("menshen_upstream_ejections_total{{upstream=\"{port}\"}}");
    menshen.wait_for_metric(&ejections, 1.0);
    assert!(menshen.metric(&format!("menshen_upstream_healthy{{upstream=\"{port}\"}}")) < 0.5);
    assert_eq!(up.received().len(), 20, "each was sent once");
}

#[test]
fn a_lone_backend_is_tried_however_often_it_has_failed() {
    let works = Arc::new(AtomicBool::new(false));
    let answers = works.clone();
    let backend = Backend::answering(move |_, stream| {
        answers.load(Ordering::Acquire)
            && stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                .is_ok()
    });
    let menshen = Setup::before(backend.address).start();
    let authorization = format!("Bearer {}", menshen.token("alice"));
    let ask = || {
        menshen
            .get("/x", &[("Authorization", &authorization)])
            .status
    };
    assert!((0..10).all(|_| ask() == 502));
    works.store(true, Ordering::Release);
    assert_eq!(ask(), 200);
}
