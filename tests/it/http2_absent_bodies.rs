//! Bodies of HTTP/2 that were announced and never come: they are waited for as long as the config
//! says, and the backend is not blamed for them.

use std::{
    io::{Read, Write},
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::{
    backend::Backend,
    http2::{RULES, h2c},
    menshen::Setup,
    raw_http2::{Outcome, PLAIN, Raw, but},
};

#[test]
fn a_body_that_never_comes_is_not_waited_for() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address)
        .with(&h2c("body_timeout = \"1s\""))
        .with(RULES)
        .start();
    let mut raw = Raw::connect(menshen.http);
    let mut fields = PLAIN.to_vec();
    for field in &mut fields {
        if field.0 == ":method" {
            field.1 = "POST";
        }
    }
    raw.headers(1, &fields, false);
    assert_eq!(raw.outcome(1), Outcome::Status(400));
}

/// A backend that reads heads, and says this to each at once or never anything; it reads no body.
fn reading_heads(answer: Option<&'static str>) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            std::thread::spawn(move || {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    if !stream.read(&mut byte).is_ok_and(|n| n > 0) {
                        return;
                    }
                    head.push(byte[0]);
                }
                answer
                    .map_or(Ok(()), |answer| stream.write_all(answer.as_bytes()))
                    .expect("sent");
                // Until the other side ends it.
                while stream.read(&mut [0; 1024]).is_ok_and(|n| n > 0) {}
            });
        }
    });
    address
}

/// A request whose body never comes.
fn unfinished() -> Vec<(&'static str, &'static str)> {
    but(":method", "POST")
}

#[test]
fn a_body_that_never_comes_is_waited_for_only_a_little_after_the_answer() {
    let address = reading_heads(Some("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
    let menshen = Setup::before(address)
        .with(&h2c("body_timeout = \"1h\""))
        .with(RULES)
        .start();
    let mut raw = Raw::connect(menshen.http);
    raw.headers(1, &unfinished(), false);
    assert_eq!(raw.outcome(1), Outcome::Status(200));
    let begun = Instant::now();
    assert_eq!(raw.outcome(1), Outcome::Reset, "the rest is not wanted");
    let took = begun.elapsed();
    assert!(
        (Duration::from_secs(1)..Duration::from_secs(15)).contains(&took),
        "after {took:?}"
    );
    // It is a whole answer of the backend, and nobody's fault.
    menshen.wait_for_metric(
        "menshen_requests_total{decision=\"forwarded\",rule=\"open\",status=\"2xx\"}",
        1.0,
    );
    let metrics = menshen.metrics();
    let blamed = metrics
        .lines()
        .filter(|line| line.starts_with("menshen_upstream_errors_total{"));
    assert!(
        blamed.clone().count() > 5 && blamed.clone().all(|line| line.ends_with(" 0")),
        "{metrics}"
    );
    // The connection serves on.
    raw.headers(3, &unfinished(), false);
    assert_eq!(raw.outcome(3), Outcome::Status(200));
}

#[test]
fn a_backend_is_not_blamed_for_a_body_that_its_client_never_sends() {
    let address = reading_heads(None);
    let upstream = format!("[upstream]\nurls = [\"http://{address}\"]\nread_timeout = \"100ms\"");
    let menshen = Setup::before(address)
        .with(&h2c("body_timeout = \"1h\""))
        .with(&upstream)
        .with(RULES)
        .start();
    let mut raw = Raw::connect(menshen.http);
    // More than the failures for which a backend is passed over.
    for n in 0..8 {
        raw.headers(2 * n + 1, &unfinished(), false);
        assert_eq!(raw.outcome(2 * n + 1), Outcome::Status(400), "{n}");
    }
    menshen.wait_for_metric("menshen_upstream_errors_total{kind=\"client_slow\"}", 8.0);
    let metrics = menshen.metrics();
    assert!(
        metrics.contains("menshen_upstream_errors_total{kind=\"timeout\"} 0\n"),
        "{metrics}"
    );
    assert!(
        metrics.contains(&format!(
            "menshen_upstream_healthy{{upstream=\"{address}\"}} 1"
        )),
        "{metrics}"
    );
    // The same silence to a request without a body is the backend's own.
    for n in 8..16 {
        raw.headers(2 * n + 1, &PLAIN, true);
        assert!(matches!(raw.outcome(2 * n + 1), Outcome::Status(_)), "{n}");
    }
    menshen.wait_for_metric("menshen_upstream_errors_total{kind=\"timeout\"}", 8.0);
    menshen.wait_for_metric(
        &format!("menshen_upstream_ejections_total{{upstream=\"{address}\"}}"),
        1.0,
    );
}
