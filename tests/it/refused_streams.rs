//! A backend that says on HTTP/2 that it has not begun with a request (RFC 9113 section 8.7): the
//! request goes elsewhere, or its client may send it again, and the backend is no worse for it.

use bytes::Bytes;

use super::{
    frame_backend::{Action, Event, FrameBackend, Script},
    http2::{self, Http2},
    menshen::{Menshen, Setup},
    wire::{self, Answer, Client},
};

const NO_ERROR: u32 = 0;
const ENHANCE_YOUR_CALM: u32 = 11;

fn before(backends: &[&FrameBackend]) -> Menshen {
    let urls: Vec<_> = backends
        .iter()
        .map(|backend| format!("\"http://{}\"", backend.address))
        .collect();
    let config = format!(
        "[upstream]\nurls = [{}]\nprotocol = \"http2\"\n[server]\nlisten = [\"127.0.0.1:0\"]\nunready_grace = \"100ms\"\nh2c = true\n\
         [[rule]]\nname = \"open\"\npath = \"/open/**\"\naccess = \"public\"",
        urls.join(", ")
    );
    Setup::before(backends[0].address).with(&config).start()
}

fn answer(event: Event) -> Action {
    match event {
        Event::Head(true) | Event::Data(true) => Action::Answer("ok"),
        Event::Head(false) | Event::Data(false) => Action::Wait,
    }
}

fn first<const REFUSAL: u32>(number: usize, event: Event) -> Action {
    if number > 1 {
        return answer(event);
    }
    match REFUSAL {
        u32::MAX => Action::Refuse,
        reason => Action::GoAway(reason),
    }
}

#[test]
fn a_request_that_was_not_begun_with_is_sent_again_once() {
    let scripts: [(&str, Script); 3] = [
        ("REFUSED_STREAM", first::<{ u32::MAX }>),
        ("GOAWAY(NO_ERROR)", first::<NO_ERROR>),
        ("GOAWAY(ENHANCE_YOUR_CALM)", first::<ENHANCE_YOUR_CALM>),
    ];
    for (name, script) in scripts {
        for over_http2 in [false, true] {
            let backend = FrameBackend::start(script);
            let menshen = before(&[&backend]);
            let (status, body) = if over_http2 {
                let answer = Http2::connect(menshen.http)
                    .ask(http2::request("GET", "http://h/open/x", &[]), b"");
                let answer = answer.expect("an answer");
                (answer.status, answer.body)
            } else {
                let answer = menshen.get("/open/x", &[]);
                (answer.status, answer.body)
            };
            assert_eq!(
                (status, &body[..]),
                (200, &b"ok"[..]),
                "{name}, {over_http2}"
            );
            assert_eq!(backend.heads(), 2, "{name}, {over_http2}");
        }
    }
}

fn assert_busy(answer: &Answer, name: &str) {
    let seen = (answer.status, answer.error(), answer.header("Retry-After"));
    assert_eq!(seen, (503, Some("upstream_busy"), Some("1")), "{name}");
}

#[test]
fn a_backend_that_refuses_is_not_counted_out_and_another_takes_over() {
    let refusing = FrameBackend::start(|_, _| Action::Refuse);
    let menshen = before(&[&refusing]);
    for n in 1..=10 {
        assert_busy(&menshen.get("/open/x", &[]), "alone");
        // Once more to each backend, which is one.
        assert_eq!(refusing.heads(), 2 * n);
    }
    let healthy = format!(
        "menshen_upstream_healthy{{upstream=\"{}\"}}",
        refusing.address
    );
    assert!((menshen.metric(&healthy) - 1.0).abs() < 0.1);
    assert!(
        (menshen.metric("menshen_upstream_errors_total{kind=\"refused_stream\"}") - 10.0).abs()
            < 0.1
    );
    drop(menshen);
    let other = FrameBackend::start(|_, event| answer(event));
    let menshen = before(&[&refusing, &other]);
    for _ in 0..20 {
        assert_eq!(menshen.get("/open/x", &[]).status, 200);
    }
    assert_eq!(other.heads(), 20);
    assert!((menshen.metric(&healthy) - 1.0).abs() < 0.1);
}

#[test]
fn a_request_whose_body_has_gone_on_is_not_sent_again() {
    // Refused once a part of the body is there.
    let backend = FrameBackend::start(|_, event| match event {
        Event::Head(_) => Action::Wait,
        Event::Data(_) => Action::Refuse,
    });
    let menshen = before(&[&backend]);
    let answer = wire::ask(menshen.http, "POST", "/open/x", &[], b"hello");
    assert_busy(&answer, "a length");
    assert_eq!(backend.heads(), 1);
    let client = Http2::connect(menshen.http);
    let answer = client
        .ask(http2::request("POST", "http://h/open/x", &[]), b"hello")
        .expect("an answer");
    assert_eq!(
        (answer.status, &answer.headers["x-menshen-error"]),
        (503, &"upstream_busy".parse().expect("a value"))
    );
    assert_eq!(answer.headers["retry-after"], "1");
    assert_eq!(backend.heads(), 2);
}

#[test]
fn a_request_whose_body_has_not_begun_is_sent_again() {
    let backend = FrameBackend::start(first::<{ u32::MAX }>);
    let menshen = before(&[&backend]);
    let mut client = Client::connect(menshen.http);
    client.send("POST /open/x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n");
    backend.wait_for_heads(2);
    client.send("hello");
    assert_eq!(client.receive().map(|answer| answer.status), Some(200));
    assert_eq!(backend.heads(), 2);
    let backend = FrameBackend::start(first::<NO_ERROR>);
    let menshen = before(&[&backend]);
    let client = Http2::connect(menshen.http);
    let status = client.runtime.block_on(http2::within(async {
        let mut send = client.send.clone().ready().await.expect("a stream");
        let (answer, mut stream) = send
            .send_request(http2::request("POST", "http://h/open/x", &[]), false)
            .expect("a stream");
        tokio::task::block_in_place(|| backend.wait_for_heads(2));
        stream
            .send_data(Bytes::from_static(b"hello"), true)
            .expect("a frame");
        answer.await.expect("an answer").status()
    }));
    assert_eq!((status.as_u16(), backend.heads()), (200, 2));
}

#[test]
fn a_backend_that_takes_no_connection_is_tried_once_beside_one_that_refuses() {
    let refusing = FrameBackend::start(|_, _| Action::Refuse);
    let nobody = wire::Nobody::new();
    let config = format!(
        "[upstream]\nurls = [\"http://{}\", \"http://{}\"]\nprotocol = \"http2\"\n\
         [[rule]]\nname = \"open\"\npath = \"/open/**\"\naccess = \"public\"",
        nobody.address, refusing.address
    );
    let menshen = Setup::before(nobody.address).with(&config).start();
    for n in 1..=3 {
        assert_busy(&menshen.get("/open/x", &[]), "beside nobody");
        assert_eq!(refusing.heads(), 2 * n, "once more to it, and no more");
    }
    // One failure for each request, so it is not ejected yet.
    let ejections = format!(
        "menshen_upstream_ejections_total{{upstream=\"{}\"}}",
        nobody.address
    );
    assert!(menshen.metric(&ejections) < 0.5);
}
