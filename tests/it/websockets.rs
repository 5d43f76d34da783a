//! A WebSocket from the handshake to the last frame: what both sides say passes as it is, both ways
//! at once.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    thread,
};

use serde_json::Value;

use super::{
    backend::Backend,
    menshen::{Menshen, Setup},
    streams::rest,
    wire::Client,
};

pub(super) const AGREED: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n";

/// A frame of a server, or, with a mask of zeros, of a client (RFC 6455 section 5.2).
pub(super) fn frame(opcode: u8, mask: bool, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0x80 | opcode];
    let bit = if mask { 0x80 } else { 0 };
    match payload.len() {
        short @ 0..=125 => out.push(bit | u8::try_from(short).expect("short")),
        middle @ 126..=0xffff => {
            out.push(bit | 0x7e);
            out.extend(u16::try_from(middle).expect("not long").to_be_bytes());
        }
        long => {
            out.push(bit | 0x7f);
            out.extend((long as u64).to_be_bytes());
        }
    }
    if mask {
        out.extend([0; 4]);
    }
    [&out[..], payload].concat()
}

/// Opcode and payload of the next frame; `None` at the end.
pub(super) fn next_frame(from: &mut impl Read) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 2];
    from.read_exact(&mut head).ok()?;
    let mut bytes = |n: usize| {
        let mut bytes = vec![0; n];
        from.read_exact(&mut bytes).expect("a whole frame");
        bytes
    };
    let length = match head[1] & 0x7f {
        126 => usize::from(u16::from_be_bytes(bytes(2).try_into().expect("two"))),
        127 => {
            usize::try_from(u64::from_be_bytes(bytes(8).try_into().expect("eight"))).expect("fits")
        }
        short => usize::from(short),
    };
    if head[1] & 0x80 != 0 {
        assert_eq!(bytes(4), [0; 4]);
    }
    Some((head[0] & 0x0f, bytes(length)))
}

fn handshake(path: &str, token: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
}

pub(super) fn websocket(menshen: &Menshen, path: &str, token: &str) -> Client {
    let mut client = Client::connect(menshen.http);
    client.send(handshake(path, token));
    let answer = client.receive().expect("an answer");
    assert_eq!(
        (answer.status, answer.header("Upgrade")),
        (101, Some("websocket")),
        "{answer:?}"
    );
    client
}

/// Sends back every frame, unmasked, and ends where the client does.
pub(super) fn echo(stream: &mut TcpStream) -> bool {
    while let Some((opcode, payload)) = next_frame(stream) {
        if stream.write_all(&frame(opcode, false, &payload)).is_err() {
            return false;
        }
    }
    false
}

pub(super) fn agree(stream: &mut TcpStream) {
    stream.write_all(AGREED).expect("sent");
}

/// Not before it is over does a line say what it carried, and why it ended.
#[test]
fn the_access_log_counts_what_a_websocket_carried() {
    let backend = Backend::answering(|_, stream| {
        agree(stream);
        echo(stream)
    });
    let menshen = Setup::before(backend.address).start();
    let token = menshen.token("alice");
    let mut client = websocket(&menshen, "/ws", &token);
    client.send(frame(1, true, b"hello"));
    assert_eq!(next_frame(client.stream()), Some((1, b"hello".to_vec())));
    drop(client);
    let line = menshen.wait_for_log(r#""path":"/ws","status":101"#);
    let line: Value = serde_json::from_str(&line).expect("JSON");
    // Two bytes and the payload, and of a client four of the mask.
    assert_eq!(
        (&line["received"], &line["sent"], &line["ended"]),
        (&11.into(), &7.into(), &"closed".into()),
        "{line}"
    );
}

#[test]
fn a_thousand_handshakes_with_a_backend_that_agrees_at_once() {
    let backend = Backend::answering(|_, stream| {
        // The first frame comes in the same packet as the agreement.
        stream
            .write_all(&[AGREED, &frame(1, false, b"welcome")].concat())
            .expect("sent");
        echo(stream)
    });
    let menshen = Setup::before(backend.address)
        .with("[telemetry]\naccess_log = false")
        .start();
    let token = menshen.token("alice");
    for round in 0..1000 {
        let mut client = websocket(&menshen, "/ws", &token);
        assert_eq!(
            next_frame(client.stream()),
            Some((1, b"welcome".to_vec())),
            "round {round}"
        );
        client.send(frame(1, true, b"hello"));
        assert_eq!(
            next_frame(client.stream()),
            Some((1, b"hello".to_vec())),
            "round {round}"
        );
        client.send(frame(8, true, &1000_u16.to_be_bytes()));
        assert_eq!(
            next_frame(client.stream()),
            Some((8, 1000_u16.to_be_bytes().to_vec())),
            "round {round}"
        );
    }
    menshen.wait_for_metric("menshen_streams_ended_total{reason=\"closed\"}", 1000.0);
    assert!(
        menshen
            .metric("menshen_streams_open{kind=\"websocket\"}")
            .abs()
            < 0.1
    );
    let asked = backend.last();
    assert_eq!(asked.folded("upgrade"), ["websocket"]);
    assert_eq!(asked.folded("connection"), ["Upgrade"]);
    assert_eq!(
        asked.folded("sec-websocket-key"),
        ["dGhlIHNhbXBsZSBub25jZQ=="]
    );
}

#[test]
fn large_frames_pass_both_ways_at_once() {
    let backend = Backend::answering(|_, stream| {
        agree(stream);
        echo(stream)
    });
    let menshen = Setup::before(backend.address).start();
    let mut client = websocket(&menshen, "/ws", &menshen.token("alice"));
    let payload: Vec<u8> = (0..3_000_000_u32)
        .map(|n| n.to_le_bytes()[n as usize % 3])
        .collect();
    let mut writer = client.stream().get_ref().try_clone().expect("a handle");
    let sent = frame(2, true, &payload);
    let sending =
        thread::spawn(move || (0..3).for_each(|_| writer.write_all(&sent).expect("sent")));
    for _ in 0..3 {
        let (opcode, echoed) = next_frame(client.stream()).expect("an echo");
        assert!(opcode == 2 && echoed == payload);
    }
    sending.join().expect("sent");
}

#[test]
fn a_client_that_has_said_all_still_hears_the_rest() {
    let backend = Backend::answering(|_, stream| {
        agree(stream);
        let mut all = Vec::new();
        drop(stream.read_to_end(&mut all));
        drop(stream.write_all(&all));
        false
    });
    let menshen = Setup::before(backend.address).start();
    let mut client = websocket(&menshen, "/ws", &menshen.token("alice"));
    client.send("any bytes at all");
    client
        .stream()
        .get_ref()
        .shutdown(Shutdown::Write)
        .expect("half closed");
    assert_eq!(rest(&mut client), b"any bytes at all");
}

#[test]
fn a_handshake_that_says_that_it_has_no_body_is_one() {
    let backend = Backend::answering(|_, stream| {
        agree(stream);
        echo(stream)
    });
    let menshen = Setup::before(backend.address).start();
    let mut client = Client::connect(menshen.http);
    client.send(
        handshake("/ws", &menshen.token("alice"))
            .replace("\r\n\r\n", "\r\nContent-Length: 0\r\n\r\n"),
    );
    assert_eq!(client.receive().expect("an answer").status, 101);
    client.send(frame(1, true, b"hello"));
    assert_eq!(next_frame(client.stream()), Some((1, b"hello".to_vec())));
}

#[test]
fn a_websocket_of_another_version_is_refused_with_426() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address).start();
    let handshake = handshake("/ws", &menshen.token("alice"));
    for sent in [
        handshake.replace("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 8"),
        handshake.replace("Sec-WebSocket-Version: 13\r\n", ""),
    ] {
        let mut client = Client::connect(menshen.http);
        client.send(sent);
        let answer = client.receive().expect("an answer");
        assert_eq!(
            (answer.status, answer.error()),
            (426, Some("websocket_version_unsupported"))
        );
        assert_eq!(
            (
                answer.header("Upgrade"),
                answer.header("Sec-WebSocket-Version")
            ),
            (Some("websocket"), Some("13"))
        );
        assert_eq!(answer.header("Connection"), Some("close, Upgrade"));
        assert_eq!(answer.json()["code"], "websocket_version_unsupported");
        assert!(client.ended());
    }
    assert!(backend.received().is_empty());
}

#[test]
fn a_backend_that_refuses_a_websocket_is_heard() {
    let backend = Backend::answering(|request, stream| {
        let body = if request.folded("upgrade").is_empty() {
            "plain"
        } else {
            "asked"
        };
        stream
            .write_all(
                format!("HTTP/1.1 426 Upgrade Required\r\nContent-Length: 5\r\n\r\n{body}")
                    .as_bytes(),
            )
            .is_ok()
    });
    let menshen = Setup::before(backend.address).start();
    let mut client = Client::connect(menshen.http);
    let token = menshen.token("alice");
    for _ in 0..2 {
        client.send(handshake("/ws", &token));
        let answer = client.receive().expect("an answer");
        assert_eq!(
            (answer.status, answer.body.as_slice()),
            (426, &b"asked"[..])
        );
    }
}
