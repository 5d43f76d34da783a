//! Under fire: floods, half-closed sockets, a backend that comes and goes, a stop in the middle of
//! it. Honest clients are served meanwhile, every one of them; memory stays where it is; nothing
//! panics. `benches/load/fire.py` does the same at full size.

use std::{
    io::Write,
    net::{Shutdown, SocketAddr, TcpListener},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use menshen::crypto::hmac_sha256;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{
    backend::Backend,
    menshen::{Menshen, Setup},
    wire::{self, Client},
};

const SECRET: &str = "a secret that this test knows, 32 bytes and more";

/// HS256 with a secret that the test can sign with, and a cache that is soon full.
fn with_known_secret(backend: SocketAddr) -> Menshen {
    let tokens =
        format!("[tokens]\nalgorithm = \"HS256\"\nsecret = \"{SECRET}\"\ncache_entries = 200");
    Setup::before(backend)
        .with(&tokens)
        .with("[telemetry]\naccess_log = false")
        .start()
}

/// Copies of a good token, each another one; `good`: with a signature that is right.
fn copies(token: &str, count: usize, good: bool) -> impl Iterator<Item = String> {
    let (header, payload) = token
        .rsplit_once('.')
        .expect("a token")
        .0
        .split_once('.')
        .expect("a token");
    let claims: Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).expect("base64url"))
            .expect("claims");
    let header = header.to_owned();
    (0..count).map(move |n| {
        let mut claims = claims.clone();
        claims["jti"] = json!(format!("copy-{n}"));
        // Long ones, so that whoever kept them all would be seen to.
        claims["x"] = json!("x".repeat(4000));
        let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
        let mut tag = hmac_sha256(SECRET.as_bytes(), message.as_bytes());
        tag[0] ^= u8::from(!good);
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))
    })
}

/// Asks again and again until told to stop; says how many were asked. Each has to be answered as it
/// should.
fn honest(menshen: &Menshen, token: &str, over: &AtomicBool) -> usize {
    let authorization = format!("Bearer {token}");
    let mut client = Client::connect(menshen.http);
    let mut asked = 0;
    while !over.load(Ordering::Acquire) || asked < 20 {
        client.send(wire::request(
            "GET",
            "/honest",
            &[("Authorization", &authorization)],
            b"",
        ));
        let answer = client.receive().expect("an answer to an honest client");
        assert_eq!(
            answer.status, 200,
            "an honest client after {asked} requests"
        );
        asked += 1;
    }
    asked
}

/// Runs `attack` while an honest client asks; says how often that one was served.
fn while_served<R>(menshen: &Menshen, token: &str, attack: impl FnOnce() -> R) -> R {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let client = scope.spawn(|| honest(menshen, token, &over));
        let done = attack();
        over.store(true, Ordering::Release);
        assert!(client.join().expect("an honest client") >= 20);
        done
    })
}

pub(super) fn unharmed(menshen: &Menshen) {
    assert!(menshen.metric("menshen_panics_total").abs() < 0.1);
}

#[test]
fn a_flood_of_tokens_leaves_memory_where_it_was_and_honest_clients_served() {
    let backend = Backend::start();
    let menshen = with_known_secret(backend.address);
    let token = menshen.token("alice");
    let flood = |from: usize, good: bool, status: u16| {
        let mut client = Client::connect(menshen.http);
        for token in copies(&token, from + 2000, good).skip(from) {
            client.send(wire::request(
                "GET",
                "/x",
                &[("Authorization", &format!("Bearer {token}"))],
                b"",
            ));
            assert_eq!(client.receive().expect("an answer").status, status);
        }
    };
    // The allocator has taken what it takes for so many requests; from here on it is about what is
    // kept.
    while_served(&menshen, &token, || {
        flood(0, true, 200);
        flood(0, false, 401);
    });
    let before = menshen.memory();
    while_served(&menshen, &token, || {
        flood(2000, true, 200);
        flood(4000, true, 200);
        flood(2000, false, 401);
    });
    let grown = menshen.memory().saturating_sub(before);
    // 4000 good tokens of more than 5 KiB would be 21 MiB, 2000 bad ones another 10.
    assert!(grown < 10 * 1024, "{grown} KiB more after 6000 tokens");
    assert!(menshen.metric("menshen_token_checks_total{result=\"invalid\"}") > 3999.0);
    unharmed(&menshen);
}

#[test]
fn half_closed_connections_hold_no_place() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address).start();
    let token = menshen.token("alice");
    let authorization = format!("Bearer {token}");
    while_served(&menshen, &token, || {
        let whole = [
            wire::request("GET", "/x", &[("Authorization", &authorization)], b""),
            wire::request("POST", "/x", &[("Authorization", &authorization)], b"hello"),
            wire::request("GET", "/auth/me", &[("Authorization", &authorization)], b""),
        ];
        for n in 0..60 {
            let mut client = Client::connect(menshen.http);
            client.send(&whole[n % 3]);
            client
                .stream()
                .get_ref()
                .shutdown(Shutdown::Write)
                .expect("half a connection");
            // Half a connection is no client that waits, or one that does; it never is half an
            // answer.
            if let Some(answer) = client.receive() {
                assert_eq!(answer.status, 200, "{}", n % 3);
            }
            assert!(client.ended());
        }
        let mut halves = Vec::new();
        for n in 0..200 {
            let mut client = Client::connect(menshen.http);
            client.send(&whole[0][..n % whole[0].len()]);
            client
                .stream()
                .get_ref()
                .shutdown(Shutdown::Write)
                .expect("half a connection");
            halves.push(client);
        }
        // They hold no place although their clients go on listening.
        let end = Instant::now() + Duration::from_secs(10);
        while menshen.metric("menshen_connections") > 1.5 {
            assert!(
                Instant::now() < end,
                "{} connections are open",
                menshen.metric("menshen_connections")
            );
        }
    });
    unharmed(&menshen);
}

#[test]
fn a_backend_that_restarts_under_load_mixes_nothing_up() {
    let echo = |request: &super::backend::Received, stream: &mut std::net::TcpStream| {
        let path = request
            .line
            .split(' ')
            .nth(1)
            .unwrap_or_default()
            .to_owned();
        let body = format!("{path} {}", request.body.len());
        stream
            .write_all(
                format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                )
                .as_bytes(),
            )
            .is_ok()
    };
    // A port that the second backend can have again, and that nobody else is given meanwhile.
    let proxy = Switch::start();
    let first = Backend::answering(echo);
    proxy.to(Some(first.address));
    let menshen = Setup::before(proxy.address).start();
    let authorization = format!("Bearer {}", menshen.token("alice"));
    let over = AtomicBool::new(false);
    let (served, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for client in 0..6 {
            let (menshen, authorization, over, served, failed) =
                (&menshen, &authorization, &over, &served, &failed);
            scope.spawn(move || {
                let mut connection = Client::connect(menshen.http);
                let mut n = 0;
                while !over.load(Ordering::Acquire) {
                    n += 1;
                    let path = format!("/{client}/{n}");
                    let body = if client % 2 == 0 {
                        &b""[..]
                    } else {
                        &b"a body of its own"[..]
                    };
                    let method = if body.is_empty() { "GET" } else { "POST" };
                    connection.send(wire::request(
                        method,
                        &path,
                        &[("Authorization", authorization)],
                        body,
                    ));
                    match connection.receive() {
                        Some(answer) if answer.status == 200 => {
                            let expected = format!("{path} {}", body.len());
                            assert_eq!(
                                String::from_utf8_lossy(&answer.body),
                                expected,
                                "somebody else's answer"
                            );
                            served.fetch_add(1, Ordering::Relaxed);
                        }
                        Some(answer) => {
                            assert!(matches!(answer.status, 502..=504), "{}", answer.status);
                            assert!(answer.error().is_some(), "a failure with its code");
                            failed.fetch_add(1, Ordering::Relaxed);
                            if answer.header("Connection") == Some("close") {
                                connection = Client::connect(menshen.http);
                            }
                        }
                        None => connection = Client::connect(menshen.http),
                    }
                }
            });
        }
        let more = |than: usize, counter: &AtomicUsize| {
            let end = Instant::now() + Duration::from_secs(20);
            while counter.load(Ordering::Relaxed) <= than {
                assert!(Instant::now() < end, "nothing moves");
                std::thread::yield_now();
            }
        };
        for _ in 0..3 {
            more(served.load(Ordering::Relaxed) + 50, &served);
            proxy.to(None);
            more(failed.load(Ordering::Relaxed) + 10, &failed);
            proxy.to(Some(first.address));
        }
        more(served.load(Ordering::Relaxed) + 50, &served);
        over.store(true, Ordering::Release);
    });
    // What was sent was not sent again.
    let mut seen: Vec<_> = first
        .received()
        .into_iter()
        .map(|request| request.line)
        .collect();
    let all = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!(all, seen.len(), "a request arrived twice");
    unharmed(&menshen);
}

/// A port that leads to a backend, or cuts whoever is connected and everybody who comes.
struct Switch {
    address: SocketAddr,
    target: Arc<Mutex<Option<SocketAddr>>>,
    open: Arc<Mutex<Vec<std::net::TcpStream>>>,
}

impl Switch {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let target: Arc<Mutex<Option<SocketAddr>>> = Arc::default();
        let open: Arc<Mutex<Vec<std::net::TcpStream>>> = Arc::default();
        let (at, streams) = (target.clone(), open.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let Some(target) = *at.lock().expect("a lock") else {
                    continue;
                };
                let Ok(to) = std::net::TcpStream::connect(target) else {
                    continue;
                };
                let twin = |stream: &std::net::TcpStream| stream.try_clone().expect("a socket");
                streams
                    .lock()
                    .expect("a lock")
                    .extend([twin(&stream), twin(&to)]);
                let (mut up, mut down) = ((twin(&stream), twin(&to)), (to, stream));
                std::thread::spawn(move || drop(std::io::copy(&mut up.0, &mut up.1)));
                std::thread::spawn(move || drop(std::io::copy(&mut down.0, &mut down.1)));
            }
        });
        Self {
            address,
            target,
            open,
        }
    }

    fn to(&self, target: Option<SocketAddr>) {
        *self.target.lock().expect("a lock") = target;
        if target.is_none() {
            for stream in self.open.lock().expect("a lock").drain(..) {
                drop(stream.shutdown(Shutdown::Both));
            }
        }
    }
}

/// How many clients ask at a steady rate, and how often each: 500 requests a second together.
const CLIENTS: u32 = 25;
const EACH: Duration = Duration::from_millis(50);

/// A client that asks at a steady rate, whatever becomes of its requests.
struct SteadyClient<'a> {
    number: u32,
    http: SocketAddr,
    authorization: &'a str,
    upload: &'a str,
    /// The process has been told to stop.
    told: &'a AtomicBool,
    /// Requests of all clients that were answered with 200.
    served: &'a AtomicUsize,
}

impl SteadyClient<'_> {
    /// A login, an upload in one framing or the other, a slow answer or a quick one.
    fn request(&self, n: u32) -> Vec<u8> {
        let credential = ("Authorization", self.authorization);
        match self.number % 5 {
            0 => {
                let code = json!({ "code": format!("user-{}-{n}", self.number) }).to_string();
                wire::request(
                    "POST",
                    "/auth/wechat/login",
                    &[("Content-Type", "application/json")],
                    code.as_bytes(),
                )
            }
            1 => wire::request("POST", "/upload", &[credential], self.upload.as_bytes()),
            2 => {
                let head = wire::request(
                    "POST",
                    "/upload",
                    &[credential, ("Transfer-Encoding", "chunked")],
                    b"",
                );
                let chunked = format!("{:x}\r\n{}\r\n0\r\n\r\n", self.upload.len(), self.upload);
                [head, chunked.into_bytes()].concat()
            }
            3 => wire::request("GET", "/slow", &[credential], b""),
            _ => wire::request("GET", "/x", &[credential], b""),
        }
    }

    /// Asks until nothing listens any more. What failed before that.
    fn ask(&self) -> Vec<String> {
        let client = self.number;
        let mut connection: Option<Client> = None;
        let mut failures = Vec::new();
        let begun = Instant::now() + EACH * client / CLIENTS;
        for n in 0_u32.. {
            std::thread::sleep((begun + EACH * n).saturating_duration_since(Instant::now()));
            let request = self.request(n);
            if connection.is_none() {
                match Client::try_connect(self.http) {
                    Ok(client) => connection = Some(client),
                    // The listener is closed: a load balancer has gone elsewhere.
                    Err(_) if self.told.load(Ordering::Acquire) => return failures,
                    Err(fault) => failures.push(format!("{client}/{n}: {fault}")),
                }
            }
            let Some(open) = &mut connection else {
                continue;
            };
            open.send(request);
            match open.receive() {
                Some(answer) if answer.status == 200 => {
                    self.served.fetch_add(1, Ordering::Relaxed);
                    if answer.header("Connection") == Some("close") {
                        connection = None;
                    }
                }
                Some(answer) => failures.push(format!(
                    "{client}/{n}: {} {:?}",
                    answer.status,
                    answer.error()
                )),
                None => {
                    failures.push(format!("{client}/{n}: no answer"));
                    connection = None;
                }
            }
        }
        failures
    }
}

#[test]
fn sigterm_under_500_requests_a_second_fails_not_one() {
    let backend = Backend::answering(|request, stream| {
        // Some take a while, so that there are always some in flight.
        if request.line.contains("/slow") {
            std::thread::sleep(Duration::from_millis(120));
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .is_ok()
    });
    let section = "[server]\nlisten = [\"127.0.0.1:0\"]\nunready_grace = \"1s\"";
    let mut menshen = Setup::before(backend.address)
        .with(section)
        .with("[telemetry]\naccess_log = false")
        .start();
    let authorization = format!("Bearer {}", menshen.token("alice"));
    let http = menshen.http;
    let told = AtomicBool::new(false);
    let served = AtomicUsize::new(0);
    let upload = "b".repeat(20_000);
    let failures: Vec<String> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let client = SteadyClient {
                    number,
                    http,
                    authorization: &authorization,
                    upload: &upload,
                    told: &told,
                    served: &served,
                };
                scope.spawn(move || client.ask())
            })
            .collect();
        while served.load(Ordering::Relaxed) < 500 {
            std::thread::yield_now();
        }
        told.store(true, Ordering::Release);
        menshen.signal(Signal::TERM);
        clients
            .into_iter()
            .flat_map(|client| client.join().expect("a client"))
            .collect()
    });
    assert!(
        failures.is_empty(),
        "of {} requests: {failures:#?}",
        served.load(Ordering::Relaxed)
    );
    assert!(
        served.load(Ordering::Relaxed) > 700,
        "served until the end of the grace"
    );
    assert_eq!(menshen.wait().code(), Some(0));
}
