//! When things go wrong around it: a full disk, clients and backends that vanish, more connections
//! than it wants.

use std::{
    io::Read,
    net::Shutdown,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use serde_json::{Value, json};

use super::{
    backend::Backend,
    http2::{Http2, request},
    menshen::{Menshen, Setup},
    wire::{self, Client},
};

const LOGIN: &str = "/auth/wechat/login";

/// Asks again until it is so; connections are counted by those that end, not by those that go.
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !is_so() {
        assert!(Instant::now() < end, "in vain: {what}");
        std::thread::yield_now();
    }
}

fn nobody_panicked(menshen: &Menshen) {
    assert!(menshen.metric("menshen_panics_total").abs() < 0.1);
}

/// Each of these logins leads to the same user again, and its session goes on.
fn assert_known(menshen: &Menshen, admitted: &[(String, Value)]) {
    for (code, session) in admitted {
        let again = menshen.login(code);
        assert_eq!(
            (&again["user"]["id"], &again["is_new_user"]),
            (&session["user"]["id"], &json!(false)),
            "{code}"
        );
        let refreshed = menshen.post(
            "/auth/refresh",
            &[],
            &json!({ "refresh_token": session["refresh_token"] }),
        );
        assert_eq!(refreshed.status, 200, "{code}");
    }
}

#[test]
fn a_full_disk_stops_logins_and_nothing_else() {
    let backend = Backend::start();
    // A write beyond the limit fails as one on a full disk does; without the trap it would end the
    // process.
    let limited = "trap '' XFSZ\nulimit -f 1100";
    let mut full = Setup::before(backend.address).after_shell(limited).start();
    full.expect_error("the store failed");
    let mut admitted: Vec<(String, Value)> = Vec::new();
    let refused = (0..5000)
        .find_map(|n| {
            let code = format!("user-{n}");
            let answer = full.post(LOGIN, &[], &json!({ "code": code }));
            if answer.status != 200 {
                return Some((code, answer));
            }
            admitted.push((code, answer.json()));
            None
        })
        .expect("the disk is full at some time");
    assert!(admitted.len() > 10, "{}", admitted.len());

    let post = |path: &str, body: Value| full.post(path, &[], &body);
    let answers = [
        refused.1,
        post(LOGIN, json!({ "code": "user-0" })),
        post(
            "/auth/refresh",
            json!({ "refresh_token": admitted[0].1["refresh_token"] }),
        ),
    ];
    for (n, answer) in answers.iter().enumerate() {
        assert_eq!(
            (answer.status, answer.error()),
            (503, Some("store_unavailable")),
            "{n}"
        );
        let wait: u64 = answer
            .header("Retry-After")
            .expect("how long")
            .parse()
            .expect("seconds");
        assert!((1..=5).contains(&wait), "{n}: {wait}");
        assert_eq!(answer.json()["code"], "store_unavailable", "{n}");
    }
    let bearer = |session: &Value| {
        format!(
            "Bearer {}",
            session["access_token"].as_str().expect("a token")
        )
    };
    for (_, session) in &admitted {
        assert_eq!(
            full.get("/x", &[("Authorization", &bearer(session))])
                .status,
            200,
            "tokens go on being checked"
        );
    }
    assert_eq!(full.get("/x", &[]).status, 401);
    assert_eq!(
        wire::ask(full.admin, "GET", "/readyz", &[], b"").status,
        503,
        "send new clients elsewhere"
    );
    assert_eq!(
        wire::ask(full.admin, "GET", "/livez", &[], b"").status,
        503,
        "a restart is what mends it"
    );
    nobody_panicked(&full);

    // The worst end, and a disk with room again: all that was promised is there, and whoever was
    // refused can sign in.
    let dir = full.keep_directory();
    full.signal(Signal::KILL);
    full.wait();
    let roomy = Setup::before(backend.address).in_directory(dir).start();
    assert_known(&roomy, &admitted);
    let late = bearer(&roomy.login(&refused.0));
    assert_eq!(
        roomy.get("/auth/me", &[("Authorization", &late)]).status,
        200
    );
    let devices = roomy
        .get("/auth/sessions", &[("Authorization", &late)])
        .json();
    assert!(
        devices["sessions"]
            .as_array()
            .is_some_and(|devices| !devices.is_empty()),
        "{devices}"
    );
    nobody_panicked(&roomy);
}

#[test]
fn a_request_cut_at_any_byte_harms_nobody_else() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address)
        .with("[telemetry]\naccess_log = false")
        .start();
    let token = menshen.token("alice");
    let chunks =
        "Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n5\r\nworld\r\n0\r\nA: b\r\n\r\n";
    let whole = [
        format!(
            "POST {LOGIN} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 14\r\n\r\n{{\"code\":\"bob\"}}"
        ),
        format!("POST {LOGIN} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n{chunks}"),
        format!(
            "POST /x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nContent-Length: 5\r\n\r\nhello"
        ),
        format!("POST /x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n{chunks}"),
        "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nframe"
            .to_owned(),
    ];
    let over = AtomicBool::new(false);
    let served = std::thread::scope(|scope| {
        let honest = scope.spawn(|| {
            let mut client = Client::connect(menshen.http);
            let authorization = format!("Bearer {token}");
            let mut served = 0;
            // Some of it comes after the last of the others, whoever is faster.
            while !over.load(Ordering::Acquire) || served <= 10 {
                client.send(wire::request(
                    "POST",
                    "/honest",
                    &[("Authorization", &authorization)],
                    b"all of it",
                ));
                let answer = client
                    .receive()
                    .expect("an answer on the connection that was never broken");
                assert_eq!((answer.status, answer.body.as_slice()), (200, &b"ok"[..]));
                served += 1;
            }
            served
        });
        for request in &whole {
            for end in 1..=request.len() {
                let mut client = Client::connect(menshen.http);
                client.send(&request[..end]);
                match end % 3 {
                    // Gone without a word.
                    0 => drop(client),
                    // No more to say, still listening.
                    1 => drop(client.stream().get_ref().shutdown(Shutdown::Write)),
                    // Gone while an answer is on its way, which resets the connection.
                    _ => client.send(wire::request("GET", "/x", &[], b"")),
                }
            }
        }
        over.store(true, Ordering::Release);
        honest.join().expect("the honest client")
    });
    assert!(served > 10, "{served}");
    // Where five bytes were announced, the beginning of what came next may be among them.
    let five: Vec<_> = (0..=5)
        .map(|cut| [&b"hello"[..cut], &b"GET /"[..5 - cut]].concat())
        .collect();
    for received in backend.received() {
        let body = received.body.as_slice();
        let whole = [&b"helloworld"[..], b"all of it", b""].contains(&body)
            || five.iter().any(|five| five == body);
        assert!(whole, "{}", body.escape_ascii());
    }
    wait_until("all are gone", || {
        menshen.metric("menshen_connections") < 0.5
    });
    assert!(menshen.metric("menshen_requests_in_flight").abs() < 0.1);
    nobody_panicked(&menshen);
}

#[test]
fn clients_that_do_not_wait_for_a_slow_backend_leave_nothing_behind() {
    let backend = Backend::answering(|request, stream| {
        // Says nothing until menshen gives up, which ends the connection.
        if request.line.contains("/hang") {
            return stream.read(&mut [0; 1]).is_ok_and(|n| n > 0);
        }
        std::io::Write::write_all(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_ok()
    });
    let section = format!(
        "[upstream]\nurls = [\"http://{}\"]\nread_timeout = \"500ms\"",
        backend.address
    );
    let menshen = Setup::before(backend.address).with(&section).start();
    let authorization = format!("Bearer {}", menshen.token("alice"));
    for n in 0..50 {
        let mut client = Client::connect(menshen.http);
        client.send(wire::request(
            "GET",
            &format!("/hang/{n}"),
            &[("Authorization", &authorization)],
            b"",
        ));
    }
    assert_eq!(
        menshen
            .get("/x", &[("Authorization", &authorization)])
            .status,
        200
    );
    wait_until("no request is left", || {
        menshen.metric("menshen_requests_in_flight") < 0.5
            && menshen.metric("menshen_connections") < 0.5
    });
    nobody_panicked(&menshen);
}

#[test]
fn an_answer_that_its_backend_breaks_off_never_looks_whole() {
    let half = "half".repeat(2000);
    for (framing, part) in [
        ("Content-Length: 16000", half.clone()),
        (
            "Transfer-Encoding: chunked",
            format!("{:x}\r\n{half}\r\n", half.len()),
        ),
    ] {
        let (die, told) = std::sync::mpsc::channel();
        let told = std::sync::Mutex::new(told);
        let backend = Backend::answering(move |_, stream| {
            let text = format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n{part}");
            drop(std::io::Write::write_all(stream, text.as_bytes()));
            told.lock()
                .expect("nobody panicked")
                .recv()
                .expect("the test tells when");
            false
        });
        let menshen = Setup::before(backend.address).start();
        let authorization = format!("Bearer {}", menshen.token("alice"));
        let mut client = Client::connect(menshen.http);
        client.send(wire::request(
            "GET",
            "/x",
            &[("Authorization", &authorization)],
            b"",
        ));
        let mut seen = Vec::new();
        while !seen.ends_with(b"half") {
            let mut byte = [0; 1];
            client
                .stream()
                .read_exact(&mut byte)
                .expect("the first half");
            seen.push(byte[0]);
        }
        die.send(()).expect("the backend waits");
        // An end or a reset tells the client that there should have been more; silence would not.
        let over = client
            .stream()
            .read_to_end(&mut seen)
            .map_err(|fault| fault.kind());
        assert!(
            matches!(over, Ok(_) | Err(std::io::ErrorKind::ConnectionReset)),
            "{framing}: {over:?}"
        );
        assert!(
            seen.starts_with(b"HTTP/1.1 200 "),
            "{framing}: {}",
            seen.escape_ascii()
        );
        assert!(
            !seen.ends_with(b"0\r\n\r\n"),
            "{framing}: the end was made up"
        );
        wait_until("it is counted", || {
            menshen
                .metrics()
                .contains("menshen_upstream_errors_total{kind=\"closed_early\"} 1")
        });
        assert_eq!(
            backend.received().len(),
            1,
            "{framing}: what was sent is not sent again"
        );
        assert_eq!(menshen.get("/x", &[]).status, 401, "{framing}");
        nobody_panicked(&menshen);
    }
}

#[test]
fn two_thousand_idle_connections_keep_nobody_out() {
    const IDLE: u32 = 2000;
    // Both ends are on this machine; the process under test inherits what is allowed here.
    let limit = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    )
    .expect("more files");
    let backend = Backend::start();
    let section = "[server]\nlisten = [\"127.0.0.1:0\"]\nheader_timeout = \"1m\"";
    let menshen = Setup::before(backend.address).with(section).start();
    let mut idle = Vec::new();
    for n in 0..IDLE {
        let mut client = Client::connect(menshen.http);
        // Every other one has begun to say something.
        if n % 2 == 1 {
            client.send("GET /x HTTP/1.1\r\nHost: a\r\nX-Slow: ");
        }
        idle.push(client);
        // No more at once than a listener keeps waiting: a client over that tries again only after
        // a second.
        if n % 100 == 99 {
            wait_until("these are in", || {
                menshen.metric("menshen_connections") > f64::from(n) + 0.5
            });
        }
    }
    let begun = Instant::now();
    for n in 0..20 {
        let authorization = format!("Bearer {}", menshen.token(&format!("user-{n}")));
        assert_eq!(
            menshen
                .get("/x", &[("Authorization", &authorization)])
                .status,
            200
        );
    }
    let took = begun.elapsed();
    assert!(
        took < Duration::from_secs(5),
        "20 honest clients took {took:?}"
    );
    drop(idle);
    wait_until("all are gone", || {
        menshen.metric("menshen_connections") < 0.5
    });
    nobody_panicked(&menshen);
}

#[test]
fn a_request_over_the_limit_is_shed_and_its_connection_stays() {
    let busy = std::sync::Arc::new(std::sync::RwLock::new(()));
    let held = busy.clone();
    let backend = Backend::answering(move |request, stream| {
        if request.line.contains("/busy") {
            drop(held.read());
        }
        std::io::Write::write_all(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_ok()
    });
    let section = "[server]\nlisten = [\"127.0.0.1:0\"]\nh2c = true\nmax_requests = 3";
    let menshen = Setup::before(backend.address).with(section).start();
    let authorization = format!("Bearer {}", menshen.token("alice"));
    let headers = [("Authorization", authorization.as_str())];
    let work = busy.write().expect("a lock");
    let mut inside: Vec<_> = (0..3).map(|_| Client::connect(menshen.http)).collect();
    for client in &mut inside {
        client.send(wire::request("GET", "/busy", &headers, b""));
    }
    wait_until("three are under way", || {
        menshen.metric("menshen_requests_in_flight") > 2.5
    });
    let mut outside = Client::connect(menshen.http);
    for (method, path, body) in [
        ("GET", "/x", &b""[..]),
        ("POST", "/x", b"hello"),
        ("POST", "/auth/wechat/login", b"{}"),
    ] {
        outside.send(wire::request(method, path, &headers, body));
        let answer = outside.receive().expect("an answer");
        assert_eq!(
            (
                answer.status,
                answer.error(),
                answer.header("Retry-After"),
                answer.header("Connection")
            ),
            (503, Some("overloaded"), Some("1"), Some("keep-alive")),
            "{method} {path}"
        );
    }
    let http2 = Http2::connect(menshen.http);
    let answer = http2
        .ask(request("GET", "http://h/x", &headers), b"")
        .expect("an answer");
    assert_eq!(
        (answer.status, answer.headers["retry-after"].as_bytes()),
        (503, &b"1"[..])
    );
    // What the gate refuses by itself is none of them.
    outside.send(wire::request("GET", "/x", &[], b""));
    assert_eq!(outside.receive().map(|answer| answer.status), Some(401));
    assert_eq!(backend.received().len(), 3);
    assert!((menshen.metric("menshen_requests_overloaded_total") - 4.0).abs() < 0.1);
    assert!((menshen.metric("menshen_requests_in_flight") - 3.0).abs() < 0.1);
    drop(work);
    for client in &mut inside {
        assert_eq!(client.receive().map(|answer| answer.status), Some(200));
    }
    wait_until("a place is free", || {
        menshen.metric("menshen_requests_in_flight") < 2.5
    });
    outside.send(wire::request("GET", "/x", &headers, b""));
    assert_eq!(outside.receive().map(|answer| answer.status), Some(200));
    nobody_panicked(&menshen);
}

#[test]
fn a_connection_over_the_limit_is_shed_and_a_place_that_is_given_back_is_taken() {
    let backend = Backend::start();
    let section = "[server]\nlisten = [\"127.0.0.1:0\"]\nmax_connections = 5";
    let menshen = Setup::before(backend.address).with(section).start();
    let served = |client: &mut Client| {
        client.send(wire::request("GET", "/x", &[], b""));
        client.receive().is_some_and(|answer| answer.status == 401)
    };
    let mut inside: Vec<_> = (0..5).map(|_| Client::connect(menshen.http)).collect();
    assert!(inside.iter_mut().all(served));
    for n in 0..3 {
        // Whether it has asked or not.
        let mut outside = Client::connect(menshen.http);
        if n > 0 {
            outside.send(wire::request("POST", "/x", &[], b"hello"));
        }
        let answer = outside.receive().expect("an answer");
        assert_eq!(
            (answer.status, answer.error(), answer.header("Retry-After")),
            (503, Some("overloaded"), Some("1"))
        );
        assert!(outside.ended());
    }
    assert!((menshen.metric("menshen_connections_refused_total") - 3.0).abs() < 0.1);
    assert!((menshen.metric("menshen_connections") - 5.0).abs() < 0.1);
    assert!(inside.iter_mut().all(served), "who is inside stays");
    assert_eq!(
        wire::ask(menshen.admin, "GET", "/readyz", &[], b"").status,
        200,
        "probes have a door of their own"
    );
    drop(inside.pop());
    wait_until("a place is free", || {
        menshen.metric("menshen_connections") < 4.5
    });
    assert!(served(&mut Client::connect(menshen.http)));
    nobody_panicked(&menshen);
}
