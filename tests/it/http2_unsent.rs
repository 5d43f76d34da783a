//! What a client of HTTP/2 does not take, and what it sends although nobody wants it: neither is
//! kept without end, and neither is lost.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{
    backend::Backend,
    http2::h2c,
    http2_frames::{ACK, DATA, GOAWAY, RST_STREAM, SETTINGS, WINDOW_UPDATE},
    menshen::{Menshen, Setup},
    raw_http2::{Outcome, PLAIN, Raw},
};

const RULES: &str = "[[rule]]\nname = \"open\"\npath = \"/open/**\"\naccess = \"public\"";
const IN_FLIGHT: &str = "menshen_requests_in_flight";

fn before(backend: &Backend, more: &str) -> Menshen {
    Setup::before(backend.address)
        .with(&format!("{RULES}\n{}", h2c(more)))
        .start()
}

/// A connection whose streams have no window for a response's body.
fn without_windows(menshen: &Menshen) -> Raw {
    let mut raw = Raw::connect(menshen.http);
    raw.frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    assert!(wait_for(&mut raw, SETTINGS).is_some());
    // From here on streams and the connection may send as much as menshen says.
    raw.frame(SETTINGS, ACK, 0, &[]);
    assert!(wait_for(&mut raw, WINDOW_UPDATE).is_some() && raw.ping());
    raw
}

/// One whose first stream has the head of a response, and no window for its body.
fn with_a_response_that_waits(menshen: &Menshen) -> Raw {
    let mut raw = without_windows(menshen);
    raw.headers(1, &PLAIN, true);
    assert_eq!(raw.outcome(1), Outcome::Status(200));
    raw
}

/// The next frame of a kind; `None`: the connection has ended.
fn wait_for(raw: &mut Raw, kind: u8) -> Option<Vec<u8>> {
    loop {
        let frame = raw.next()?;
        if frame.kind == kind {
            return Some(frame.payload);
        }
    }
}

#[test]
fn of_a_rejected_request_nothing_is_kept() {
    let backend = Backend::start();
    let menshen = before(&backend, "");
    let known = menshen.memory();
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/closed"),
        (":authority", "shop.example"),
    ];
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut raw = without_windows(&menshen);
        let streams = (0..100).map(|n| 2 * n + 1);
        streams
            .clone()
            .for_each(|stream| assert!(raw.headers(stream, &fields, false)));
        for stream in streams {
            (0..8).for_each(|_| assert!(raw.frame(DATA, 0, stream, &[0; 16_384])));
        }
        assert!(raw.ping(), "the connection has ended");
        held.push(raw);
    }
    // All that was sent is fifty times as much.
    let grown = menshen.memory().saturating_sub(known);
    assert!(grown < 16 * 1024, "{grown} KiB more");
}

#[test]
fn a_response_counts_until_the_client_has_taken_it_or_its_time_is_over() {
    let backend = Backend::start();
    let menshen = before(&backend, "body_timeout = \"3s\"");
    let mut raw = with_a_response_that_waits(&menshen);
    assert!((menshen.metric(IN_FLIGHT) - 1.0).abs() < 0.1);
    assert!(wait_for(&mut raw, RST_STREAM).is_some());
    menshen.wait_for_log(r#""path":"/open/x","status":200"#);
    let line = menshen
        .newest_line(|line| line.contains(r#""path":"/open/x""#))
        .expect("a line");
    assert!(line.contains(r#""ended":"client_gone""#), "{line}");
    assert!(menshen.metric(IN_FLIGHT).abs() < 0.1);
    // One that is rejected does not count, and ends as well.
    raw.headers(
        3,
        &[
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/closed"),
            (":authority", "h"),
        ],
        true,
    );
    assert!(wait_for(&mut raw, RST_STREAM).is_some());
    assert!(raw.ping());
}

#[test]
fn a_response_on_its_way_outlives_the_beginning_of_the_end() {
    let backend = Backend::start();
    let menshen = before(&backend, "");
    let mut raw = with_a_response_that_waits(&menshen);
    menshen.signal(Signal::TERM);
    assert!(wait_for(&mut raw, GOAWAY).is_some());
    // Longer than a connection without a request is kept.
    let end = Instant::now() + Duration::from_secs(3);
    while Instant::now() < end {
        assert!(
            raw.ping_through_goaway(),
            "the connection ended before its response"
        );
    }
    raw.frame(WINDOW_UPDATE, 0, 1, &1000_u32.to_be_bytes());
    assert!(wait_for(&mut raw, DATA).is_some_and(|body| !body.is_empty()));
}
