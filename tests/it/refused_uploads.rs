//! A client that writes a whole body before it reads, as Python's `http.client` and many others do,
//! is told why it was refused: its connection is read on to the length that it announced. How much
//! of that there can be is bounded.

use std::{
    io::{BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{Arc, RwLock},
};

use rustls::{ClientConnection, StreamOwned, pki_types::ServerName};

use super::{
    backend::Backend,
    menshen::{Menshen, Setup},
    tls,
    wire::{self, Client, Nobody},
};

/// More than any buffer of a socket, and more than was ever read on before.
const UPLOAD: usize = 40 << 20;
const MIB: usize = 1 << 20;

#[derive(Clone, Copy, Debug)]
enum Framed {
    Length,
    Chunks,
}

fn head(target: &str, fields: &str, framed: Framed, length: usize) -> String {
    let framing = match framed {
        Framed::Length => format!("Content-Length: {length}"),
        Framed::Chunks => "Transfer-Encoding: chunked".to_owned(),
    };
    format!("POST {target} HTTP/1.1\r\nHost: shop.example\r\n{fields}{framing}\r\n\r\n")
}

/// Writes `length` bytes of a body; fails where the connection does.
fn write_body(to: &mut impl Write, framed: Framed, length: usize) -> std::io::Result<()> {
    let part = vec![b'x'; MIB];
    for _ in 0..length / MIB {
        match framed {
            Framed::Length => to.write_all(&part)?,
            Framed::Chunks => {
                to.write_all(format!("{MIB:x}\r\n").as_bytes())?;
                to.write_all(&part)?;
                to.write_all(b"\r\n")?;
            }
        }
    }
    if matches!(framed, Framed::Chunks) {
        to.write_all(b"0\r\n\r\n")?;
    }
    to.flush()
}

/// Writes all, then reads: the status and the code of the refusal, after which the connection has
/// to have ended in peace.
fn upload(
    mut stream: impl Read + Write,
    target: &str,
    fields: &str,
    framed: Framed,
) -> (u16, String) {
    stream
        .write_all(head(target, fields, framed, UPLOAD).as_bytes())
        .expect("a head");
    write_body(&mut stream, framed, UPLOAD)
        .unwrap_or_else(|fault| panic!("{target}, {framed:?}: {fault}"));
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .unwrap_or_else(|fault| panic!("{target}, {framed:?}: {fault}"));
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .expect("a status");
    let code = answer
        .lines()
        .find(|line| line.to_ascii_lowercase().starts_with("x-menshen-error: "));
    (
        status,
        code.and_then(|line| line.split(": ").nth(1))
            .unwrap_or_default()
            .to_owned(),
    )
}

fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).expect("a connection");
    stream
        .set_read_timeout(Some(std::time::Duration::from_secs(20)))
        .expect("a socket option");
    stream
}

const RULES: &str = "[[rule]]\nname = \"closed\"\npath = \"/closed/**\"\naccess = \"deny\"\n\
                     [[rule]]\nname = \"open\"\npath = \"/open/**\"\naccess = \"public\"\n\
                     [[rule]]\nname = \"admin\"\npath = \"/admin/**\"\nuser_types = [\"admin\"]";

#[test]
fn a_refusal_reaches_a_client_that_writes_first_and_reads_later() {
    let nobody = Nobody::new();
    let menshen = Setup::before(nobody.address).with(RULES).start();
    let bearer = format!("Authorization: Bearer {}\r\n", menshen.token("alice"));
    let cases = [
        ("/x", "", 401, "token_missing"),
        (
            "/x",
            "Authorization: Bearer a.b.c\r\n",
            401,
            "token_invalid",
        ),
        ("/open//x", "", 400, "path_ambiguous"),
        ("/closed/x", "", 403, "forbidden"),
        ("/admin/x", &bearer, 403, "forbidden"),
        (
            "/auth/wechat/login",
            "Content-Type: application/json\r\n",
            413,
            "body_too_large",
        ),
        // Refused after the rules let it through.
        ("/open/x", "", 502, "upstream_unavailable"),
    ];
    for (target, fields, status, code) in cases {
        for framed in [Framed::Length, Framed::Chunks] {
            let answer = upload(connect(menshen.http), target, fields, framed);
            assert_eq!(answer, (status, code.to_owned()), "{target}, {framed:?}");
        }
    }
}

#[test]
fn a_refusal_reaches_such_a_client_over_tls_and_when_there_are_too_many_requests() {
    let busy = Arc::new(RwLock::new(()));
    let held = busy.clone();
    let backend = Backend::answering(move |request, stream| {
        if request.line.contains("/busy") {
            drop(held.read());
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .is_ok()
    });
    let work = busy.write().expect("a lock");
    let menshen = tls::setup(backend.address)
        .with(&tls::server("max_requests = 1", ""))
        .start();
    let mut inside = Client::connect(menshen.http);
    inside.send(wire::request("GET", "/busy", &[], b""));
    menshen.wait_for_metric("menshen_requests_in_flight", 1.0);
    for framed in [Framed::Length, Framed::Chunks] {
        assert_eq!(
            upload(connect(menshen.http), "/x", "", framed),
            (503, "overloaded".to_owned()),
            "{framed:?}"
        );
        let config = tls::client_config(menshen.directory(), None);
        let name = ServerName::try_from("localhost").expect("a name");
        let session = ClientConnection::new(Arc::new(config), name).expect("a session");
        let stream = StreamOwned::new(session, connect(tls::address(&menshen)));
        assert_eq!(
            upload(stream, "/x", "", framed),
            (503, "overloaded".to_owned()),
            "{framed:?} over TLS"
        );
    }
    drop(work);
    assert_eq!(inside.receive().map(|answer| answer.status), Some(200));
}

/// A client that was refused and is still sending.
struct Sending(BufReader<TcpStream>);

impl Sending {
    /// Begins an upload and waits for the refusal.
    fn begin(menshen: &Menshen) -> Self {
        let mut stream = connect(menshen.http);
        stream
            .write_all(head("/x", "", Framed::Length, UPLOAD).as_bytes())
            .expect("a head");
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        std::io::BufRead::read_line(&mut stream, &mut line).expect("an answer");
        assert!(line.starts_with("HTTP/1.1 401 "), "{line}");
        Self(stream)
    }
}

#[test]
fn a_refused_upload_makes_way_and_honest_clients_notice_nothing() {
    let backend = Backend::start();
    // A quarter of these is two.
    let section = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\nunready_grace = \"100ms\"\nmax_connections = 8\n{RULES}"
    );
    let menshen = Setup::before(backend.address).with(&section).start();
    let mut uploads = [
        Sending::begin(&menshen),
        Sending::begin(&menshen),
        Sending::begin(&menshen),
    ];
    menshen.wait_for_connections(2);
    // The connection of the one that was registered first is closed, so it cannot send all that it
    // announced.
    let whole = uploads.iter_mut().filter_map(|upload| {
        write_body(upload.0.get_mut(), Framed::Length, UPLOAD).ok()?;
        let mut rest = String::new();
        upload
            .0
            .read_to_string(&mut rest)
            .expect("the end in peace");
        assert!(rest.contains("token_missing"), "{rest}");
        Some(())
    });
    assert_eq!(whole.count(), 2);
    // All places are given back.
    drop(uploads);
    menshen.wait_for_connections(0);
    for _ in 0..8 {
        assert_eq!(menshen.get("/open/x", &[]).status, 200);
    }
}

#[test]
fn a_small_refused_body_leaves_the_connection_open() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address).with(RULES).start();
    let mut client = Client::connect(menshen.http);
    for _ in 0..3 {
        client.send(wire::request("POST", "/x", &[], &[b'x'; 16 * 1024]));
        let answer = client.receive().expect("an answer");
        assert_eq!(
            (answer.status, answer.header("Connection")),
            (401, Some("keep-alive"))
        );
    }
    client.send(wire::request("GET", "/open/x", &[], b""));
    assert_eq!(client.receive().map(|answer| answer.status), Some(200));
}

/// The rest of a refused request is waited for only for a moment, and while nobody holds a place
/// for it.
#[test]
fn a_short_body_that_never_comes_holds_no_place() {
    let backend = Backend::start();
    let config = "[server]\nbody_timeout = \"1s\"\n[[rule]]\nname = \"open\"\npath = \"/open/**\"\naccess = \"public\"";
    let menshen = Setup::before(backend.address).with(config).start();
    // A refusal of the gate, one of the auth API, and a body that is late on its way to the
    // backend.
    for (target, status) in [("/x", 401), ("/auth/wechat/login", 400), ("/open/x", 400)] {
        let mut client = Client::connect(menshen.http);
        client.send(format!(
            "POST {target} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n"
        ));
        assert_eq!(
            client.receive().expect("a refusal").status,
            status,
            "{target}"
        );
        // The client is still there, and still says nothing.
        menshen.wait_for_connections(0);
        assert!(menshen.metric("menshen_requests_in_flight").abs() < 0.1);
        drop(client);
    }
}

/// What a client sends before the answer to its handshake would be lost, or be taken for frames
/// from their middle.
#[test]
fn nothing_that_comes_before_the_answer_to_a_handshake_is_a_frame() {
    let (sent, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let backend = Backend::answering(move |_, stream| {
        wait.lock().expect("a lock").recv().expect("the client");
        let head =
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        // It may be gone.
        drop(stream.write_all(head.as_bytes()));
        false
    });
    let config = "[[rule]]\nname = \"open\"\npath = \"/open/**\"\naccess = \"public\"";
    let menshen = Setup::before(backend.address).with(config).start();
    let mut client = Client::connect(menshen.http);
    client.send(
        "GET /open/ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    menshen.wait_for_metric("menshen_requests_in_flight", 1.0);
    client.send("early");
    sent.send(()).expect("the backend");
    assert_eq!(client.receive().expect("a refusal").status, 400);
    let mut rest = Vec::new();
    client
        .stream()
        .read_to_end(&mut rest)
        .expect("the end of the connection");
    assert_eq!(rest, b"");
}
