//! Health checks are requests like others: what a backend demands of every request, it finds in
//! them, and in what `doctor` asks.

use std::{
    io::Write,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, Ordering},
    },
    time::{Duration, Instant},
};

use http::{Request, Response};
use serde_json::Value;
use tokio::runtime::Runtime;

use super::{
    backend::Backend,
    menshen::{Menshen, Setup, command},
};

const HOST: &str = "shop.example.com";
const SECRET: &str = "kJ8mQ2vX5tB7nR4wZ9pL3yH6cF1dS0gA";

/// 400 for another `Host`, as Django answers, and 403 without the secret.
fn picky() -> Backend {
    Backend::answering(|request, stream| {
        let has = |name: &str, value: &str| request.folded(name) == [value];
        let status = match (has("host", HOST), has("x-menshen-secret", SECRET)) {
            (false, _) => "400 Bad Request",
            (true, false) => "403 Forbidden",
            (true, true) => "200 OK",
        };
        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nok").is_ok()
    })
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < end, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn section(address: SocketAddr, upstream: &str, health: &str) -> String {
    format!(
        "[upstream]\nurls = [\"http://{address}\"]\nshared_secret = \"{SECRET}\"\n{upstream}\n\
         [upstream.health]\npath = \"/health\"\ninterval = \"20ms\"\n{health}"
    )
}

fn is_healthy(menshen: &Menshen, address: SocketAddr) -> bool {
    menshen.metric(&format!(
        "menshen_upstream_healthy{{upstream=\"{address}\"}}"
    )) > 0.5
}

/// What the doctor says of the backend.
fn doctor(dir: &Path) -> (String, String) {
    let output = command(dir, &["doctor", "--json"], &[]);
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(!text.contains(SECRET), "{text}");
    let said: Value = serde_json::from_str(&text).expect("JSON");
    let finding = said["checks"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|finding| finding["check"] == "backend");
    let finding = finding.expect("a finding").clone();
    (
        finding["state"].as_str().expect("a state").to_owned(),
        finding.to_string(),
    )
}

#[test]
fn a_check_has_the_host_and_the_secret_that_every_request_has() {
    let cases = [
        (format!("host = \"{HOST}\""), String::new()),
        (String::new(), format!("host = \"{HOST}\"")),
    ];
    for (upstream, health) in cases {
        let backend = picky();
        let setup =
            Setup::before(backend.address).with(&section(backend.address, &upstream, &health));
        let menshen = setup.start();
        let checks = || {
            backend
                .received()
                .iter()
                .filter(|request| request.line == "GET /health HTTP/1.1")
                .count()
        };
        wait_until("it is checked", || checks() > 5);
        assert!(is_healthy(&menshen, backend.address), "{upstream} {health}");

        let before = checks();
        let (state, said) = doctor(menshen.directory());
        assert_eq!(state, "ok", "{said}");
        assert!(
            said.contains("GET /health with 200") && checks() > before,
            "{said}"
        );
    }
}

#[test]
fn a_check_that_is_answered_400_names_the_key_of_its_host() {
    for (upstream, key) in [
        ("", "upstream.health.host"),
        ("host = \"other.example.com\"", "upstream.host"),
    ] {
        let backend = picky();
        let setup = Setup::before(backend.address).with(&section(backend.address, upstream, ""));
        let menshen = setup.start();
        wait_until("it is found unhealthy", || {
            !is_healthy(&menshen, backend.address)
        });
        let line = menshen.wait_for_log("does not pass its health checks");
        assert!(
            line.contains("answers 400") && line.contains(&format!(" {key} sets")),
            "{line}"
        );
        let (state, said) = doctor(menshen.directory());
        assert_eq!(state, "warning", "{said}");
        assert!(
            said.contains("with 400") && said.contains(&format!(" {key} to one")),
            "{said}"
        );
        let hosts: Vec<_> = backend
            .received()
            .iter()
            .flat_map(|request| request.folded("host"))
            .collect();
        let expected = if upstream.is_empty() {
            backend.address.to_string()
        } else {
            "other.example.com".to_owned()
        };
        assert!(hosts.iter().all(|host| *host == expected), "{hosts:?}");
    }
}

/// A backend that speaks HTTP/2 without TLS, and remembers what it was asked.
struct Http2Backend {
    address: SocketAddr,
    status: Arc<AtomicU16>,
    asked: Arc<Mutex<Vec<(String, bool)>>>,
    _runtime: Runtime,
}

impl Http2Backend {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .expect("a port");
        let address = listener.local_addr().expect("an address");
        let (status, asked) = (
            Arc::new(AtomicU16::new(200)),
            Arc::new(Mutex::new(Vec::new())),
        );
        let (told, kept) = (status.clone(), asked.clone());
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (told, kept) = (told.clone(), kept.clone());
                tokio::spawn(async move {
                    let Ok(mut connection) = h2::server::handshake(stream).await else {
                        return;
                    };
                    while let Some(Ok((request, mut respond))) = connection.accept().await {
                        let status = told.load(Ordering::Acquire);
                        kept.lock().expect("a lock").push(seen(&request));
                        let answer = Response::builder()
                            .status(status)
                            .body(())
                            .expect("an answer");
                        drop(respond.send_response(answer, true));
                    }
                });
            }
        });
        Self {
            address,
            status,
            asked,
            _runtime: runtime,
        }
    }

    fn asked(&self) -> Vec<(String, bool)> {
        self.asked.lock().expect("a lock").clone()
    }
}

/// The target, and whether the secret came with it.
fn seen(request: &Request<h2::RecvStream>) -> (String, bool) {
    let secret = request
        .headers()
        .get("x-menshen-secret")
        .is_some_and(|secret| secret == SECRET);
    assert!(
        !request.headers().contains_key("host") && !request.headers().contains_key("connection")
    );
    (request.uri().to_string(), secret)
}

#[test]
fn over_http2_the_path_is_asked_too() {
    let backend = Http2Backend::start();
    let host = format!("host = \"{HOST}\"");
    let setup = Setup::before(backend.address).with(&section(
        backend.address,
        "protocol = \"http2\"",
        &host,
    ));
    let menshen = setup.start();
    wait_until("it is checked", || backend.asked().len() > 3);
    assert!(is_healthy(&menshen, backend.address));
    let expected = (format!("http://{HOST}/health"), true);
    assert!(
        backend.asked().iter().all(|asked| *asked == expected),
        "{:?}",
        backend.asked()
    );
    let before = backend.asked().len();
    let (state, said) = doctor(menshen.directory());
    assert_eq!(state, "ok", "{said}");
    assert!(
        said.contains("GET /health with 200") && backend.asked().len() > before,
        "{said}"
    );

    backend.status.store(503, Ordering::Release);
    wait_until("it is found unhealthy", || {
        !is_healthy(&menshen, backend.address)
    });
    menshen.wait_for_log("it answers 503");
    backend.status.store(204, Ordering::Release);
    wait_until("it is healthy again", || {
        is_healthy(&menshen, backend.address)
    });
}
