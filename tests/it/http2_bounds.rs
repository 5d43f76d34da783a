//! What frames of HTTP/2 can cost: floods end their own connection, and streams, uploads and idle
//! connections have their bounds.

use std::{
    io::{Read, Write},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{
    backend::Backend,
    http2::{Http2, RULES, h2c, request, within},
    http2_frames::{CONTINUATION, DATA, GOAWAY, HEADERS, RST_STREAM},
    menshen::{Menshen, Setup},
    raw_http2::{Outcome, PLAIN, Raw, and, block},
};

/// Resident memory of a process, in bytes.
fn memory(menshen: &Menshen) -> u64 {
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", menshen.pid())).expect("a process");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .expect("a line");
    line.trim()
        .trim_end_matches(" kB")
        .parse::<u64>()
        .expect("a number")
        * 1024
}

/// What it is called, and how its next frame is sent: `false` when nobody takes it any more.
type Flood<'a> = (&'a str, Box<dyn Fn(&mut Raw, u32) -> bool + 'a>);

#[test]
fn floods_of_frames_end_their_connection_and_nobody_elses() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address)
        .with(&h2c(""))
        .with(RULES)
        .start();
    let honest = Http2::connect(menshen.http);
    let still_served = || {
        let answer = honest
            .ask(request("GET", "http://h/open/x", &[]), b"")
            .expect("an answer");
        assert_eq!(answer.status, 200);
    };
    still_served();
    let before = memory(&menshen);
    let big = "x".repeat(8000);
    let floods: [Flood<'_>; 5] = [
        // CVE-2023-44487.
        (
            "rapid reset",
            Box::new(|raw, n| {
                raw.headers(2 * n + 1, &PLAIN, true)
                    && raw.frame(RST_STREAM, 0, 2 * n + 1, &[0, 0, 0, 8])
            }),
        ),
        // VU#421644: a head that never ends.
        (
            "continuation",
            Box::new(|raw, n| {
                if n == 0 {
                    raw.frame(HEADERS, 1, 1, &block(&PLAIN))
                } else {
                    raw.frame(CONTINUATION, 0, 1, &block(&[("x", &big)]))
                }
            }),
        ),
        (
            "malformed",
            Box::new(|raw, n| raw.headers(2 * n + 1, &and("host", "other"), true)),
        ),
        ("settings", Box::new(|raw, _| raw.frame(4, 0, 0, &[]))),
        (
            "headers",
            Box::new(|raw, n| {
                raw.headers(
                    2 * n + 1,
                    &[&PLAIN[..], &[("x", &big), ("y", &big), ("z", &big)]].concat(),
                    true,
                )
            }),
        ),
    ];
    for (name, flood) in floods {
        let mut raw = Raw::connect(menshen.http);
        raw.stream
            .set_write_timeout(Some(Duration::from_secs(10)))
            .expect("a socket option");
        let end = Instant::now() + Duration::from_secs(15);
        let mut n = 0;
        // Some end at once; of acknowledgements and refusals nobody reads, what has to be sent
        // stops the connection.
        while flood(&mut raw, n) && n < 200_000 && Instant::now() < end {
            n += 1;
        }
        still_served();
        assert!(n < 200_000 || name == "settings", "{name}: {n} were taken");
    }
    let grown = memory(&menshen).saturating_sub(before);
    assert!(grown < 64 * 1024 * 1024, "grew by {grown} bytes");
    assert!(
        backend
            .received()
            .iter()
            .all(|seen| seen.folded("x").is_empty())
    );
}

#[test]
fn a_connection_takes_no_more_streams_than_the_config_says() {
    let (release, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let backend = Backend::answering(move |_, stream| {
        wait.lock()
            .expect("a lock")
            .recv_timeout(Duration::from_secs(20))
            .expect("a word");
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .is_ok()
    });
    let menshen = Setup::before(backend.address)
        .with(&h2c("http2_streams = 2"))
        .with(RULES)
        .start();
    let mut raw = Raw::connect(menshen.http);
    for stream in [1, 3, 5] {
        raw.headers(stream, &PLAIN, true);
    }
    assert_eq!(raw.outcome(5), Outcome::Reset);
    for _ in 0..2 {
        release.send(()).expect("a backend");
    }
    assert_eq!(raw.outcome(1), Outcome::Status(200));
    drop(release);
}

#[test]
fn a_long_upload_passes_in_constant_memory_and_waits_for_the_backend() {
    const PART: usize = 64 * 1024;
    const PARTS: usize = 2048;
    let received = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = received.clone();
    // Reads slowly, in its own time.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let reading = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut part = vec![0; PART];
        let mut tail = Vec::new();
        while !tail.ends_with(b"0\r\n\r\n") {
            let read = stream.read(&mut part).expect("a part");
            assert!(read > 0, "the upload broke off");
            counted.fetch_add(read, std::sync::atomic::Ordering::Relaxed);
            tail.extend_from_slice(&part[..read]);
            tail.drain(..tail.len().saturating_sub(8));
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .expect("an answer");
    });
    let menshen = Setup::before(address).with(&h2c("")).with(RULES).start();
    let client = Http2::connect(menshen.http);
    let before = memory(&menshen);
    let mut most = 0;
    let status = client.runtime.block_on(async {
        let mut send = client.send.clone().ready().await.expect("a connection");
        let (answer, mut stream) = send
            .send_request(request("POST", "http://h/open/x", &[]), false)
            .expect("a stream");
        for n in 0..PARTS {
            stream.reserve_capacity(PART);
            let mut left = PART;
            while left > 0 {
                let given = within(std::future::poll_fn(|cx| stream.poll_capacity(cx))).await;
                let now = given.expect("a stream").expect("capacity").min(left);
                stream
                    .send_data(vec![b'x'; now].into(), false)
                    .expect("a stream");
                left -= now;
            }
            if n % 64 == 0 {
                most = most.max(memory(&menshen).saturating_sub(before));
            }
        }
        stream.send_data(Bytes::new(), true).expect("a stream");
        within(answer).await.expect("an answer").status().as_u16()
    });
    assert_eq!(status, 200);
    reading.join().expect("the whole upload");
    assert!(received.load(std::sync::atomic::Ordering::Relaxed) > PART * PARTS);
    assert!(
        most < 32 * 1024 * 1024,
        "grew by {most} bytes for {} bytes of upload",
        PART * PARTS
    );
}

#[test]
fn a_connection_ends_after_its_requests_and_after_silence() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address)
        .with(&h2c(
            "keepalive_requests = 3\nkeepalive_timeout = \"300ms\"",
        ))
        .with(RULES)
        .start();
    let client = Http2::connect(menshen.http);
    for _ in 0..3 {
        assert_eq!(
            client
                .ask(request("GET", "http://h/open/x", &[]), b"")
                .expect("an answer")
                .status,
            200
        );
    }
    assert!(client.runtime.block_on(within(async {
        loop {
            if client.send.clone().ready().await.is_err() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })));
    let mut raw = Raw::connect(menshen.http);
    raw.headers(1, &PLAIN, true);
    assert_eq!(raw.outcome(1), Outcome::Status(200));
    while let Some(frame) = raw.next() {
        if frame.kind == GOAWAY {
            return;
        }
    }
    panic!("no GOAWAY");
}

#[test]
fn who_gives_up_request_after_request_that_a_backend_works_on_loses_the_connection() {
    let (arrived, waits) = std::sync::mpsc::channel::<()>();
    let busy = Arc::new(std::sync::RwLock::new(()));
    let held = busy.clone();
    let backend = Backend::answering(move |_, _| {
        arrived.send(()).unwrap_or_default();
        drop(held.read());
        false
    });
    let menshen = Setup::before(backend.address)
        .with(&h2c(""))
        .with(RULES)
        .start();
    let work = busy.write().expect("a lock");
    let mut raw = Raw::connect(menshen.http);
    let mut given_up = 0;
    while given_up < 300
        && raw.headers(2 * given_up + 1, &PLAIN, true)
        && waits.recv_timeout(Duration::from_secs(3)).is_ok()
    {
        raw.frame(RST_STREAM, 0, 2 * given_up + 1, &[0, 0, 0, 8]);
        given_up += 1;
    }
    assert!((100..300).contains(&given_up), "{given_up} were taken");
    assert_eq!(raw.outcome(999), Outcome::Ended);
    drop(work);
}

#[test]
fn who_gives_up_login_after_login_loses_the_connection_too() {
    let (arrived, waits) = std::sync::mpsc::channel::<()>();
    let (go, may_go) = std::sync::mpsc::channel::<()>();
    let may_go = std::sync::Mutex::new(may_go);
    // A new user waits until the backend has said its id.
    let hooks = Backend::answering(move |request, stream| {
        if request.folded("x-menshen-event") == ["user.created"] {
            arrived.send(()).unwrap_or_default();
            may_go.lock().expect("a lock").recv().unwrap_or_default();
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            .is_ok()
    });
    let section = format!(
        "[hooks]\nurl = \"http://{}/hooks\"\nsecret = \"0123456789abcdef0123456789abcdef\"\ntimeout = \"30s\"",
        hooks.address
    );
    let menshen = Setup::before(hooks.address)
        .with(&h2c(""))
        .with(&section)
        .start();
    let mut raw = Raw::connect(menshen.http);
    let login = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/auth/wechat/login"),
        (":authority", "h"),
        ("content-type", "application/json"),
    ];
    let mut given_up = 0;
    while given_up < 300 {
        let stream = 2 * given_up + 1;
        let body = format!("{{\"code\": \"user-{given_up}\"}}");
        if !raw.headers(stream, &login, false) || !raw.frame(DATA, 1, stream, body.as_bytes()) {
            break;
        }
        if waits.recv_timeout(Duration::from_secs(3)).is_err() {
            break;
        }
        raw.frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]);
        given_up += 1;
        // It has been heard before the login ends.
        if !raw.ping() {
            break;
        }
        go.send(()).expect("a backend");
    }
    drop(go);
    assert!((100..300).contains(&given_up), "{given_up} were taken");
    assert!((menshen.metric("menshen_http2_connections_cut_total") - 1.0).abs() < 0.1);
}
