//! What stays open: each WebSocket, event stream and call lives as long as the rule says, and ends
//! with its session.

use std::{
    io::{Read, Write},
    net::Shutdown,
    sync::{
        Arc, Mutex,
        mpsc::{self, Receiver, Sender},
    },
    thread,
    time::Duration,
};

use bytes::Bytes;
use serde_json::Value;

use super::{
    backend::{Backend, Received},
    byte_backend::{Answers, ByteBackend, Reply},
    http2::{self, Http2},
    menshen::{self, Menshen, Setup},
    websockets::{AGREED, agree, echo, frame, next_frame, websocket},
    wire::{self, Client},
};

const LISTENERS: &str = "[server]\nlisten = [\"127.0.0.1:0\"]\nunready_grace = \"1ms\"\n[admin]\nlisten = \"127.0.0.1:0\"\ntoken_file = \"admin.token\"";

/// What the test wants said on the one stream that it opens.
struct Script {
    say: Sender<Vec<u8>>,
    /// Gets a message when the backend's connection has ended.
    over: Receiver<()>,
}

/// A backend that sends `head`, then what the test says, until menshen hangs up.
fn scripted(head: &'static [u8]) -> (Backend, Script) {
    let (say, said) = mpsc::channel::<Vec<u8>>();
    let (tell, over) = mpsc::channel();
    let said = Arc::new(Mutex::new(said));
    let backend = Backend::answering(move |request: &Received, stream| {
        if request.line.contains("/short") {
            return stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                .is_ok();
        }
        stream.write_all(head).expect("sent");
        let mut watched = stream.try_clone().expect("a handle");
        let tell = tell.clone();
        thread::spawn(move || {
            while watched.read(&mut [0; 1024]).is_ok_and(|n| n > 0) {}
            // The test may be over.
            let _ = tell.send(());
        });
        while let Ok(bytes) = said.lock().expect("a lock").recv() {
            if stream.write_all(&bytes).is_err() {
                return false;
            }
        }
        // Also for the handle that is watched. The other side may have ended it already.
        let _ = stream.shutdown(Shutdown::Both);
        false
    });
    (backend, Script { say, over })
}

const EVENTS: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n";

/// An answer that is no event stream.
const QUIET: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

fn chunk(text: &str) -> Vec<u8> {
    format!("{:x}\r\n{text}\r\n", text.len()).into_bytes()
}

/// Opens an event stream with this method and reads the head of its answer.
fn events(menshen: &Menshen, method: &str, token: &str) -> Client {
    let mut client = Client::connect(menshen.http);
    let body: &[u8] = if method == "POST" { b"{}" } else { b"" };
    client.send(wire::request(
        method,
        "/events",
        &[("Authorization", &format!("Bearer {token}"))],
        body,
    ));
    let head = until(&mut client, b"\r\n\r\n");
    assert!(
        head.starts_with(b"HTTP/1.1 200 "),
        "{}",
        head.escape_ascii()
    );
    client
}

fn until(client: &mut Client, end: &[u8]) -> Vec<u8> {
    let mut seen = Vec::new();
    while !seen.ends_with(end) {
        let mut byte = [0; 1];
        client
            .stream()
            .read_exact(&mut byte)
            .unwrap_or_else(|fault| panic!("{fault} after {}", seen.escape_ascii()));
        seen.push(byte[0]);
    }
    seen
}

pub(super) fn rest(client: &mut Client) -> Vec<u8> {
    let mut rest = Vec::new();
    let ended = client
        .stream()
        .read_to_end(&mut rest)
        .map_err(|fault| fault.kind());
    assert!(
        matches!(ended, Ok(_) | Err(std::io::ErrorKind::ConnectionReset)),
        "{ended:?}"
    );
    rest
}

/// A close frame with this code, and the end.
fn closes_with(client: &mut Client, code: u16, reason: &str) {
    let expected = [&code.to_be_bytes()[..], reason.as_bytes()].concat();
    assert_eq!(next_frame(client.stream()), Some((8, expected)));
    assert_eq!(rest(client), b"");
}

fn logout(menshen: &Menshen, token: &str, scope: &str) {
    let answer = menshen.post(
        "/auth/logout",
        &[("Authorization", &format!("Bearer {token}"))],
        &serde_json::json!({ "scope": scope }),
    );
    assert_eq!(answer.status, 204);
}

#[test]
fn each_event_is_there_before_the_next_is_sent() {
    for method in ["GET", "POST"] {
        let (backend, script) = scripted(EVENTS);
        let menshen = Setup::before(backend.address).start();
        let mut client = events(&menshen, method, &menshen.token("alice"));
        for n in 0..100 {
            let event = format!("data: {n}\n\n");
            script.say.send(chunk(&event)).expect("the backend listens");
            assert!(
                until(&mut client, b"\n\n\r\n").ends_with(format!("\r\n{event}\r\n").as_bytes()),
                "{method} {n}"
            );
        }
        script
            .say
            .send(b"0\r\n\r\n".to_vec())
            .expect("the backend listens");
        until(&mut client, b"0\r\n\r\n");
        menshen.wait_for_metric("menshen_streams_ended_total{reason=\"closed\"}", 1.0);
    }
}

#[test]
fn a_logout_ends_the_websockets_of_its_session_between_two_frames() {
    let (backend, script) = scripted(AGREED);
    let menshen = Setup::before(backend.address).start();
    let (alice, bob) = (menshen.token("alice"), menshen.token("bob"));
    let mut client = websocket(&menshen, "/ws", &alice);
    let message = frame(2, false, &[7; 1000]);
    script
        .say
        .send(message[..300].to_vec())
        .expect("the backend listens");
    let mut seen = vec![0; 300];
    client
        .stream()
        .read_exact(&mut seen)
        .expect("the first part");
    logout(&menshen, &bob, "local");
    logout(&menshen, &alice, "local");
    // It has begun to end once it is counted as ended; the frame under way is waited for.
    script
        .say
        .send([&message[300..], &frame(1, false, b"never seen")].concat())
        .expect("the backend listens");
    let rest = rest(&mut client);
    let whole = [seen, rest].concat();
    let mut left = whole.as_slice();
    assert_eq!(next_frame(&mut left), Some((2, vec![7; 1000])));
    let mut last = next_frame(&mut left);
    if last == Some((1, b"never seen".to_vec())) {
        // It was on its way before the logout was.
        last = next_frame(&mut left);
    }
    assert_eq!(
        last,
        Some((8, [&1008_u16.to_be_bytes()[..], b"revoked"].concat()))
    );
    assert!(left.is_empty());
    script
        .over
        .recv_timeout(Duration::from_secs(10))
        .expect("the backend's connection ends too");
    menshen.wait_for_metric("menshen_streams_ended_total{reason=\"revoked\"}", 1.0);
}

#[test]
fn a_frame_that_never_ends_does_not_keep_a_revoked_websocket() {
    let (backend, script) = scripted(AGREED);
    let menshen = Setup::before(backend.address).start();
    let alice = menshen.token("alice");
    let mut client = websocket(&menshen, "/ws", &alice);
    script
        .say
        .send(frame(2, false, &[7; 1000])[..300].to_vec())
        .expect("the backend listens");
    client
        .stream()
        .read_exact(&mut [0; 300])
        .expect("the first part");
    logout(&menshen, &alice, "local");
    assert_eq!(rest(&mut client), b"");
    script
        .over
        .recv_timeout(Duration::from_secs(10))
        .expect("the backend's connection ends too");
}

#[test]
fn a_logout_ends_event_streams_on_both_ways_and_never_makes_them_look_whole() {
    for method in ["GET", "POST"] {
        let (backend, script) = scripted(EVENTS);
        let menshen = Setup::before(backend.address).start();
        let alice = menshen.token("alice");
        let mut client = events(&menshen, method, &alice);
        script
            .say
            .send(chunk("data: 1\n\n"))
            .expect("the backend listens");
        until(&mut client, b"\n\n\r\n");
        assert!(
            (menshen.metric("menshen_streams_open{kind=\"events\"}") - 1.0).abs() < 0.1,
            "{method}"
        );
        logout(&menshen, &alice, "local");
        assert_eq!(rest(&mut client), b"", "{method}: not even the last chunk");
        script
            .over
            .recv_timeout(Duration::from_secs(10))
            .expect("the backend's connection ends too");
        menshen.wait_for_metric("menshen_streams_ended_total{reason=\"revoked\"}", 1.0);
        let line = menshen.wait_for_log("\"path\":\"/events\"");
        assert!(
            line.contains("token_revoked") && line.contains("\"status\":200"),
            "{method}: {line}"
        );
        let mut again = Client::connect(menshen.http);
        again.send(wire::request(
            "GET",
            "/events",
            &[("Authorization", &format!("Bearer {alice}"))],
            b"",
        ));
        assert_eq!(
            again.receive().map(|answer| answer.status),
            Some(401),
            "{method}"
        );
    }
}

#[test]
fn an_answer_that_takes_long_is_a_stream_too() {
    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbegun";
    for method in ["GET", "POST"] {
        let (backend, script) = scripted(HEAD);
        let menshen = Setup::before(backend.address).start();
        let alice = menshen.token("alice");
        let mut client = events(&menshen, method, &alice);
        until(&mut client, b"begun");
        // However quiet it is.
        menshen.wait_for_metric("menshen_streams_open{kind=\"answer\"}", 1.0);
        logout(&menshen, &alice, "global");
        assert_eq!(rest(&mut client), b"", "{method}");
        let line = menshen.wait_for_log("\"path\":\"/events\"");
        assert!(
            line.contains("token_revoked") && line.contains("\"status\":200"),
            "{method}: {line}"
        );
        script
            .over
            .recv_timeout(Duration::from_secs(10))
            .expect("the backend's connection ends too");
    }
}

#[test]
fn a_logout_ends_an_answer_of_http_1_0_with_a_reset_and_so_does_its_backend() {
    for (method, head) in [
        ("GET", EVENTS),
        ("POST", EVENTS),
        ("GET", QUIET),
        ("POST", QUIET),
    ] {
        let (backend, script) = scripted(head);
        let menshen = Setup::before(backend.address).start();
        let alice = menshen.token("alice");
        let mut client = Client::connect(menshen.http);
        let body = if method == "POST" {
            "Content-Length: 2\r\n\r\n{}"
        } else {
            "\r\n"
        };
        client.send(format!(
            "{method} /events HTTP/1.0\r\nHost: a\r\nAuthorization: Bearer {alice}\r\n{body}"
        ));
        let said = until(&mut client, b"\r\n\r\n");
        assert!(
            said.starts_with(b"HTTP/1.")
                && !said
                    .to_ascii_lowercase()
                    .windows(7)
                    .any(|part| part == b"chunked")
        );
        script
            .say
            .send(chunk("data: 1\n\n"))
            .expect("the backend listens");
        until(&mut client, b"\n\n");
        if head == EVENTS {
            logout(&menshen, &alice, "local");
        } else {
            // The backend's connection ends in the middle of its answer.
            drop(script.say);
        }
        // An end in peace would say that this was all.
        let over = client
            .stream()
            .read_to_end(&mut Vec::new())
            .map_err(|fault| fault.kind());
        assert_eq!(
            over,
            Err(std::io::ErrorKind::ConnectionReset),
            "{method} {}",
            head.escape_ascii()
        );
    }
}

/// The client is not read on to what it announced, which would end its connection in peace first.
#[test]
fn a_logout_ends_an_answer_of_http_1_0_with_a_reset_in_the_middle_of_an_upload_too() {
    fn early(target: &str) -> Option<Reply> {
        (target == "/x").then(|| Reply::bytes([EVENTS, b"9\r\ndata: 1\n\n\r\n"].concat()))
    }
    let backend = ByteBackend::start(Answers {
        early,
        ..Answers::default()
    });
    let menshen = Setup::before(backend.address).start();
    let alice = menshen.token("alice");
    let mut client = Client::connect(menshen.http);
    let head = format!(
        "POST /x HTTP/1.0\r\nHost: a\r\nAuthorization: Bearer {alice}\r\nContent-Length: 100\r\n\r\n{{}}"
    );
    client.send(head);
    until(&mut client, b"\n\n");
    logout(&menshen, &alice, "local");
    let over = client
        .stream()
        .read_to_end(&mut Vec::new())
        .map_err(|fault| fault.kind());
    assert_eq!(over, Err(std::io::ErrorKind::ConnectionReset));
}

/// Tells each part of a body, and its end. No answer is ever given.
async fn hear(
    mut body: h2::RecvStream,
    unanswered: h2::server::SendResponse<Bytes>,
    tell: Sender<Option<Bytes>>,
) {
    while let Some(Ok(part)) = body.data().await {
        // The test may be over.
        let _ = tell.send(Some(part));
    }
    let _ = tell.send(None);
    drop(unanswered);
}

/// A call of gRPC of which the client talks and the service listens.
#[test]
fn a_logout_ends_the_sending_side_of_a_call() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let listener = runtime
        .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    let (tell, told) = mpsc::channel();
    runtime.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            let tell = tell.clone();
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.expect("a handshake");
                while let Some(Ok((request, answer))) = connection.accept().await {
                    tokio::spawn(hear(request.into_body(), answer, tell.clone()));
                }
            });
        }
    });
    let sections = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\nh2c = true\n[upstream]\nurls = [\"http://{address}\"]\nprotocol = \"http2\""
    );
    let menshen = Setup::before(address).with(&sections).start();
    let (alice, bob) = (menshen.token("alice"), menshen.token("bob"));
    let client = Http2::connect(menshen.http);
    let call = |token: &str| {
        let bearer = format!("Bearer {token}");
        let fields = [
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("authorization", bearer.as_str()),
        ];
        let request = http2::request("POST", "http://h/test.Echo/Up", &fields);
        client.runtime.block_on(async {
            client
                .send
                .clone()
                .ready()
                .await
                .expect("a connection")
                .send_request(request, false)
                .expect("a stream")
        })
    };
    let ((alices, mut hers), (_bobs, mut his)) = (call(&alice), call(&bob));
    let say = |stream: &mut h2::SendStream<Bytes>| {
        client
            .runtime
            .block_on(async { stream.send_data("part".into(), false) })
            .expect("an open stream");
        assert_eq!(
            told.recv_timeout(Duration::from_secs(20)).expect("a part"),
            Some("part".into())
        );
    };
    say(&mut hers);
    say(&mut his);
    menshen.wait_for_metric("menshen_streams_open{kind=\"call\"}", 2.0);
    logout(&menshen, &alice, "local");
    let ended = client
        .runtime
        .block_on(async { tokio::time::timeout(Duration::from_secs(20), alices).await });
    assert!(ended.expect("an end").is_err(), "it was never answered");
    assert_eq!(
        told.recv_timeout(Duration::from_secs(20))
            .expect("an end at the service, too"),
        None
    );
    say(&mut his);
    menshen.wait_for_metric("menshen_streams_ended_total{reason=\"revoked\"}", 1.0);
    let line = menshen.wait_for_log("\"path\":\"/test.Echo/Up\"");
    assert!(line.contains("token_revoked"), "{line}");
}

#[test]
fn a_stream_by_a_token_of_another_issuer_ends_with_that_token() {
    const SECRET: &str = "the-secret-that-the-backend-signed-with-before-0123";
    let backend = Backend::answering(|_, stream| {
        agree(stream);
        echo(stream)
    });
    let issuer = format!(
        "[[issuer]]\nname = \"legacy\"\nissuer = \"\"\nalgorithms = [\"HS256\"]\nsecret = \"{SECRET}\"\nleeway = \"0s\""
    );
    let menshen = Setup::before(backend.address).with(&issuer).start();
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("a clock")
        .as_secs();
    let token = |life: u64| {
        let claims = serde_json::json!({ "sub": "42", "iat": now, "exp": now + life });
        let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
        jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).expect("a token")
    };
    let mut short = websocket(&menshen, "/ws", &token(3));
    let mut long = websocket(&menshen, "/ws", &token(600));
    closes_with(&mut short, 1008, "token_over");
    long.send(frame(1, true, b"still here"));
    assert_eq!(next_frame(long.stream()), Some((1, b"still here".to_vec())));
}

#[test]
fn a_ban_and_a_revocation_of_everybody_end_streams_and_a_public_one_goes_on() {
    let backend = Backend::answering(|_, stream| {
        agree(stream);
        echo(stream)
    });
    let public = "[[rule]]\nname = \"open\"\npath = \"/open\"\naccess = \"public\"";
    let menshen = Setup::before(backend.address)
        .with(LISTENERS)
        .with(public)
        .start();
    let alice = menshen.login("alice");
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let mut banned = websocket(&menshen, "/ws", &text(&alice["access_token"]));
    let mut other = websocket(&menshen, "/ws", &menshen.token("bob"));
    let mut anonymous = websocket(&menshen, "/open", "not looked at");
    let run = |args: &[&str]| {
        let said = menshen::command(
            menshen.directory(),
            args,
            &[("MENSHEN_ADMIN__LISTEN", &menshen.admin.to_string())],
        );
        assert!(said.status.success(), "{said:?}");
    };
    run(&["users", "ban", &text(&alice["user"]["id"])]);
    closes_with(&mut banned, 1008, "revoked");
    for client in [&mut other, &mut anonymous] {
        client.send(frame(1, true, b"still here"));
        assert_eq!(
            next_frame(client.stream()),
            Some((1, b"still here".to_vec()))
        );
    }
    run(&["sessions", "revoke", "--everything", "--yes"]);
    closes_with(&mut other, 1008, "revoked");
    anonymous.send(frame(1, true, b"and still"));
    assert_eq!(
        next_frame(anonymous.stream()),
        Some((1, b"and still".to_vec()))
    );
}

#[test]
fn a_quiet_stream_lives_as_long_as_its_rule_says() {
    let backend = Backend::answering(|request, stream| {
        if request.folded("upgrade").is_empty() {
            stream.write_all(EVENTS).expect("sent");
            thread::sleep(Duration::from_millis(1500));
            return stream.write_all(b"5\r\nlate\n\r\n0\r\n\r\n").is_ok();
        }
        agree(stream);
        thread::sleep(Duration::from_millis(1500));
        stream.write_all(&frame(1, false, b"late")).is_ok() && echo(stream)
    });
    let sections = format!(
        "[upstream]\nurls = [\"http://{}\"]\nread_timeout = \"300ms\"\n[[rule]]\nname = \"quiet\"\npath = \"/quiet/**\"\nidle_timeout = \"1h\"",
        backend.address
    );
    let menshen = Setup::before(backend.address).with(&sections).start();
    let token = menshen.token("alice");
    let mut quiet = websocket(&menshen, "/quiet/ws", &token);
    let mut impatient = websocket(&menshen, "/ws", &token);
    closes_with(&mut impatient, 1001, "idle");
    assert_eq!(next_frame(quiet.stream()), Some((1, b"late".to_vec())));
    for method in ["GET", "POST"] {
        let ask = |path: &str| {
            let mut client = Client::connect(menshen.http);
            let body: &[u8] = if method == "POST" { b"{}" } else { b"" };
            client.send(wire::request(
                method,
                path,
                &[("Authorization", &format!("Bearer {token}"))],
                body,
            ));
            until(&mut client, b"\r\n\r\n");
            String::from_utf8(rest_or_last_chunk(&mut client)).expect("text")
        };
        assert!(
            ask("/quiet/events").ends_with("late\n\r\n0\r\n\r\n"),
            "{method}"
        );
        assert_eq!(ask("/events"), "", "{method}");
    }
    menshen.wait_for_metric("menshen_upstream_errors_total{kind=\"timeout\"}", 2.0);
}

fn rest_or_last_chunk(client: &mut Client) -> Vec<u8> {
    let mut seen = Vec::new();
    let mut byte = [0; 1];
    while !seen.ends_with(b"0\r\n\r\n") && client.stream().read(&mut byte).is_ok_and(|n| n > 0) {
        seen.push(byte[0]);
    }
    seen
}

#[test]
fn a_stop_tells_websockets_and_does_not_wait_for_them() {
    let backend = Backend::answering(|_, stream| {
        agree(stream);
        echo(stream)
    });
    let section = format!(
        "{}\ndrain_timeout = \"1h\"",
        "[server]\nlisten = [\"127.0.0.1:0\"]\nunready_grace = \"1ms\""
    );
    let mut menshen = Setup::before(backend.address).with(&section).start();
    let mut client = websocket(&menshen, "/ws", &menshen.token("alice"));
    let waiting = thread::spawn(move || {
        closes_with(&mut client, 1012, "stopping");
    });
    menshen.stop();
    waiting.join().expect("told");
}
