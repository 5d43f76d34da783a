//! nginx in front of menshen, by the very files of `deploy/nginx`: who the client is, what passes,
//! and what does not.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustls::{ClientConnection, StreamOwned, pki_types::ServerName};
use tempfile::TempDir;

use super::super::{
    backend::{Backend, Received},
    certificates::{authority, certificate},
    menshen::{Menshen, Setup},
    tls::client_config,
    wire,
};

/// nginx in a process of its own.
struct Nginx {
    child: Child,
    https: SocketAddr,
    http: SocketAddr,
    dir: TempDir,
}

impl Nginx {
    fn before(menshen: SocketAddr) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        authority(dir.path(), "ca");
        certificate(dir.path(), "ca", "leaf");
        let at = dir.path().display();
        // Nobody gives a port away for good, so another process may be quicker.
        for _ in 0..5 {
            let reserved = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
            let [http, https] = reserved
                .each_ref()
                .map(|port| port.local_addr().expect("an address"));
            let server = super::adapted(
                &super::text("deploy/nginx/menshen.conf"),
                &[
                    ("server 127.0.0.1:8080;", &format!("server {menshen};")),
                    ("listen 80;", &format!("listen {http};")),
                    ("listen 443 ssl", &format!("listen {https} ssl")),
                    ("listen [::]:80;", ""),
                    ("listen [::]:443 ssl http2;", ""),
                    (
                        "/etc/nginx/tls/api.example.com.crt",
                        &format!("{at}/leaf.pem"),
                    ),
                    (
                        "/etc/nginx/tls/api.example.com.key",
                        &format!("{at}/leaf.key"),
                    ),
                ],
            );
            std::fs::write(dir.path().join("menshen.conf"), server).expect("a file");
            let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                .map(|kind| format!("{kind}_temp_path {at}/{kind};"))
                .join(" ");
            let main = format!(
                "daemon off; master_process off; pid {at}/pid; error_log stderr crit;\nevents {{}}\n\
                 http {{ access_log off; {temporary} include {at}/menshen.conf; }}\n"
            );
            std::fs::write(dir.path().join("nginx.conf"), main).expect("a file");
            let found = ["/usr/sbin/nginx", "/usr/bin/nginx"]
                .into_iter()
                .find(|path| Path::new(path).exists());
            let mut command =
                Command::new(found.expect("nginx is missing: `./run test` installs it"));
            command
                .args(["-e", "stderr", "-p"])
                .arg(dir.path())
                .arg("-c")
                .arg(dir.path().join("nginx.conf"));
            drop(reserved);
            let mut child = command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .spawn()
                .expect("nginx");
            if is_up(&mut child, https) {
                return Self {
                    child,
                    https,
                    http,
                    dir,
                };
            }
        }
        panic!("nginx does not start");
    }

    /// A connection from this address, with TLS on it.
    fn client(&self, from: Ipv4Addr) -> Secure {
        let stream = connect_from(from, self.https);
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("a socket option");
        let config = Arc::new(client_config(self.dir.path(), None));
        let session =
            ClientConnection::new(config, ServerName::try_from("localhost").expect("a name"))
                .expect("a session");
        Secure(BufReader::new(StreamOwned::new(session, stream)))
    }

    fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Said {
        let mut client = self.client(Ipv4Addr::LOCALHOST);
        client.send(&wire::request(method, path, headers, body));
        client.answer()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Waits until somebody accepts connections, or the process has ended.
fn is_up(child: &mut Child, at: SocketAddr) -> bool {
    let end = Instant::now() + Duration::from_secs(30);
    while Instant::now() < end {
        if child.try_wait().expect("a state").is_some() {
            return false;
        }
        if TcpStream::connect(at).is_ok() {
            return true;
        }
        std::thread::yield_now();
    }
    false
}

/// Every address of 127.0.0.0/8 is this machine's, so one machine can be many clients.
fn connect_from(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = rustix::net::socket_with(
        AddressFamily::INET,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .expect("a socket");
    rustix::net::bind(&socket, &SocketAddr::V4(SocketAddrV4::new(from, 0)))
        .expect("an address of this machine");
    rustix::net::connect(&socket, &to).expect("a connection");
    TcpStream::from(socket)
}

struct Said {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Said {
    fn header(&self, name: &str) -> Option<&str> {
        let mut values = self
            .head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .filter(|(sent, _)| sent.eq_ignore_ascii_case(name));
        let value = values.next().map(|(_, value)| value);
        assert!(values.next().is_none(), "{name} twice in {}", self.head);
        value
    }
}

struct Secure(BufReader<StreamOwned<ClientConnection, TcpStream>>);

impl Secure {
    fn send(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).expect("sent");
        self.0.get_mut().flush().expect("sent");
    }

    fn head(&mut self) -> Said {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(
                self.0.read_line(&mut head).expect("a head") > 0,
                "the end after {head:?}"
            );
        }
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .expect("a status");
        Said {
            status,
            head,
            body: Vec::new(),
        }
    }

    fn answer(&mut self) -> Said {
        let mut said = self.head();
        let length = said
            .header("Content-Length")
            .map_or(0, |length| length.parse().expect("a length"));
        said.body = self.exactly(length);
        said
    }

    fn exactly(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.0.read_exact(&mut bytes).expect("all of it");
        bytes
    }

    fn until(&mut self, end: &[u8]) -> Vec<u8> {
        let mut seen = Vec::new();
        while !seen.ends_with(end) {
            seen.push(self.exactly(1)[0]);
        }
        seen
    }
}

/// By the config beside nginx's, but that nobody asks WeChat.
fn menshen(backend: SocketAddr, more: &str) -> Menshen {
    let setup = Setup::before(backend);
    let dir = setup.directory();
    let file = dir.path().join("behind-nginx.toml");
    let place = dir.path().display();
    let text = super::adapted(
        &super::text("deploy/nginx/config.toml"),
        &[
            ("mode = \"production\"", "mode = \"development\""),
            ("[\"127.0.0.1:8080\"]", "[\"127.0.0.1:0\"]"),
            ("http://127.0.0.1:3000", &format!("http://{backend}")),
            ("[admin]", "[admin]\nlisten = \"127.0.0.1:0\""),
            ("/var/lib/menshen", &place.to_string()),
        ],
    );
    std::fs::write(&file, text + more).expect("a file");
    std::fs::create_dir(dir.path().join("secrets")).expect("a directory");
    std::fs::write(dir.path().join("secrets/wechat"), "secret-of-nobody").expect("a file");
    setup.reading(file).start()
}

fn token(nginx: &Nginx, code: &str) -> String {
    let body = format!("{{\"code\":\"{code}\"}}");
    let login = nginx.ask(
        "POST",
        "/auth/wechat/login",
        &[("Content-Type", "application/json")],
        body.as_bytes(),
    );
    assert_eq!(
        login.status,
        200,
        "{}",
        String::from_utf8_lossy(&login.body)
    );
    let answer: serde_json::Value = serde_json::from_slice(&login.body).expect("JSON");
    format!(
        "Bearer {}",
        answer["access_token"].as_str().expect("a token")
    )
}

#[test]
fn the_backend_and_the_log_know_the_client_and_what_it_claims_of_itself_is_gone() {
    let backend = Backend::start();
    let menshen = menshen(backend.address, "");
    let nginx = Nginx::before(menshen.http);
    let bearer = token(&nginx, "alice");
    let forged = [
        ("X-Forwarded-For", "203.0.113.9"),
        ("X-Forwarded-Proto", "http"),
        ("X-Forwarded-Host", "evil.example"),
        ("X-Real-IP", "203.0.113.9"),
        ("Forwarded", "for=203.0.113.9"),
        ("X-Request-Id", "forged"),
        ("X-User-Id", "forged"),
        ("x_user_id", "forged"),
        ("X.User.Id", "forged"),
        ("X-User-Role", "forged"),
        ("X-Auth-State", "forged"),
        ("X-Menshen-Secret", "forged"),
        ("X-WX-OPENID", "forged"),
        ("X-Original-URL", "/forged"),
    ];
    let signed_in = [&[("Authorization", bearer.as_str())], &forged[..]].concat();
    for (from, method, body) in [
        ("127.0.0.2", "GET", &b""[..]),
        ("127.0.0.3", "POST", b"hello"),
    ] {
        let mut client = nginx.client(from.parse().expect("an address"));
        client.send(&wire::request(method, "/orders?page=2", &signed_in, body));
        let answer = client.answer();
        assert_eq!(answer.status, 200);
        let seen = backend.last();
        assert_eq!(seen.line, format!("{method} /orders?page=2 HTTP/1.1"));
        let told = |name| seen.folded(name);
        assert_eq!(
            [
                told("x-forwarded-for"),
                told("x-forwarded-proto"),
                told("x-forwarded-host"),
                told("x-auth-state")
            ],
            [[from], ["https"], ["shop.example"], ["authenticated"]]
        );
        assert_eq!(
            (told("x-user-id").len(), told("x-request-id").len()),
            (1, 1)
        );
        assert!(
            !seen.head.contains("forged") && !seen.head.contains("203.0.113.9"),
            "{}",
            seen.head
        );
        menshen.wait_for_log(&format!("\"client_ip\":\"{from}\""));
    }
    // Who is anonymous stays so.
    let before = backend.received().len();
    assert_eq!(nginx.ask("GET", "/health", &forged, b"").status, 200);
    assert_eq!(
        (
            backend.received().len(),
            backend.last().folded("x-user-id").len()
        ),
        (before + 1, 0)
    );
    let refused = nginx.ask("GET", "/orders", &forged, b"");
    assert_eq!(
        (refused.status, refused.header("X-Menshen-Error")),
        (401, Some("token_missing"))
    );
    // What could be read in two ways arrives as it is written, and is refused.
    for path in ["/health/..%2forders", "/health/%2e%2e/orders", "//health"] {
        let refused = nginx.ask("GET", path, &signed_in, b"");
        assert_eq!(
            (refused.status, refused.header("X-Menshen-Error")),
            (400, Some("path_ambiguous")),
            "{path}"
        );
    }
    // Plain HTTP only says where to go.
    let plain = wire::ask(nginx.http, "GET", "/orders?page=2", &[], b"");
    assert_eq!(
        (plain.status, plain.header("Location")),
        (308, Some("https://api.example.com/orders?page=2"))
    );
    assert_eq!(backend.received().len(), before + 1);
}

#[test]
fn limits_are_counted_for_each_client_and_not_for_nginx() {
    let backend = Backend::start();
    let menshen = menshen(backend.address, "[limits]\nlogin_per_ip = \"2/1h\"\n");
    let nginx = Nginx::before(menshen.http);
    let mut statuses = [[0; 3]; 2];
    for (from, statuses) in [Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3)]
        .into_iter()
        .zip(&mut statuses)
    {
        for (n, status) in statuses.iter_mut().enumerate() {
            let mut client = nginx.client(from);
            let body = format!("{{\"code\":\"{from}-{n}\"}}");
            let headers = [
                ("Content-Type", "application/json"),
                ("X-Forwarded-For", &format!("198.51.100.{n}")),
            ];
            client.send(&wire::request(
                "POST",
                "/auth/wechat/login",
                &headers,
                body.as_bytes(),
            ));
            *status = client.answer().status;
        }
    }
    assert_eq!(statuses, [[200, 200, 429]; 2]);
}

#[test]
fn a_websocket_and_an_event_stream_pass_as_they_come() {
    let (say, said) = mpsc::channel::<&'static [u8]>();
    let said = Mutex::new(said);
    let backend = Backend::answering(move |request: &Received, stream| {
        if request.line.starts_with("GET /ws/") {
            let agreed = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n";
            stream.write_all(agreed.as_bytes()).expect("sent");
            let mut ping = [0; 4];
            while stream.read_exact(&mut ping).is_ok() {
                stream.write_all(&ping).expect("sent");
            }
            return false;
        }
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
        stream.write_all(head.as_bytes()).expect("sent");
        while let Ok(bytes) = said.lock().expect("a lock").recv() {
            stream.write_all(bytes).expect("sent");
        }
        false
    });
    let menshen = menshen(backend.address, "");
    let nginx = Nginx::before(menshen.http);
    let bearer = token(&nginx, "alice");

    let mut websocket = nginx.client(Ipv4Addr::LOCALHOST);
    let handshake = [
        ("Authorization", bearer.as_str()),
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Version", "13"),
    ];
    websocket.send(&wire::request("GET", "/ws/chat", &handshake, b""));
    let agreed = websocket.head();
    assert_eq!(
        (agreed.status, agreed.header("Upgrade")),
        (101, Some("websocket"))
    );
    for frame in [b"\x89\x02hi", b"\x89\x02ho"] {
        websocket.send(frame);
        assert_eq!(websocket.exactly(4), frame);
    }

    let mut events = nginx.client(Ipv4Addr::LOCALHOST);
    events.send(&wire::request(
        "GET",
        "/events",
        &[("Authorization", &bearer)],
        b"",
    ));
    assert_eq!(events.head().status, 200);
    // The second is not even written before the first has arrived: nobody holds it back.
    for event in [&b"7\r\ndata: 1\r\n"[..], b"7\r\ndata: 2\r\n"] {
        say.send(event).expect("a backend");
        assert_eq!(events.until(event), event);
    }

    // A logout ends both, through nginx.
    let out = nginx.ask(
        "POST",
        "/auth/logout",
        &[
            ("Authorization", &bearer),
            ("Content-Type", "application/json"),
        ],
        b"{}",
    );
    assert_eq!(out.status, 204);
    let mut rest = Vec::new();
    websocket.0.read_to_end(&mut rest).unwrap_or_default();
    assert!(rest.starts_with(&[0x88]), "a close frame: {rest:?}");
    rest.clear();
    events.0.read_to_end(&mut rest).unwrap_or_default();
    assert_eq!(rest, b"", "no end of a whole answer");
    drop(say);
}

const PART: usize = 1 << 20;

#[test]
fn a_large_upload_goes_on_as_it_comes_and_lies_nowhere() {
    let arrived = Arc::new(AtomicUsize::new(0));
    let (listener, count) = (
        TcpListener::bind("127.0.0.1:0").expect("a port"),
        arrived.clone(),
    );
    let backend = listener.local_addr().expect("an address");
    let whole = 64 * PART;
    let taking = std::thread::spawn(move || {
        let mut stream = BufReader::new(listener.accept().expect("a connection").0);
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            stream.read_line(&mut line).expect("a head");
        }
        let mut part = vec![0; PART];
        while count.load(Ordering::Acquire) < whole {
            let n = stream.read(&mut part).expect("a body");
            assert!(n > 0, "all of it comes");
            count.fetch_add(n, Ordering::AcqRel);
        }
        stream
            .get_mut()
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .expect("sent");
    });
    let menshen = menshen(backend, "");
    let nginx = Nginx::before(menshen.http);
    let bearer = token(&nginx, "alice");
    let mut client = nginx.client(Ipv4Addr::LOCALHOST);
    let head = format!(
        "POST /photo HTTP/1.1\r\nHost: a\r\nAuthorization: {bearer}\r\nContent-Length: {whole}\r\n\r\n"
    );
    client.send(head.as_bytes());
    let (part, end) = (vec![7; PART], Instant::now() + Duration::from_secs(20));
    for _ in 0..32 {
        client.send(&part);
    }
    // Half of it has been sent, and most of that is with the backend before the rest is: it is held
    // nowhere whole.
    while arrived.load(Ordering::Acquire) < 24 * PART {
        assert!(
            Instant::now() < end,
            "{} bytes",
            arrived.load(Ordering::Acquire)
        );
        std::thread::yield_now();
    }
    let waiting: Vec<_> = std::fs::read_dir(nginx.dir.path().join("client_body"))
        .expect("a directory")
        .collect();
    assert!(waiting.is_empty(), "on nginx's disk: {waiting:?}");
    for _ in 0..32 {
        client.send(&part);
    }
    assert_eq!(
        (client.answer().status, arrived.load(Ordering::Acquire)),
        (200, whole)
    );
    taking.join().expect("the backend");

    let declared = (101 * PART).to_string();
    let too_much = nginx.ask(
        "POST",
        "/photo",
        &[("Authorization", &bearer), ("Content-Length", &declared)],
        b"",
    );
    assert_eq!(
        (too_much.status, too_much.header("X-Menshen-Error")),
        (413, None)
    );
}

/// nginx gives 502 in place of an answer when its connection is reset while it still sends.
#[test]
fn an_upload_that_is_refused_at_once_is_told_why() {
    let backend = Backend::start();
    let menshen = menshen(backend.address, "");
    let nginx = Nginx::before(menshen.http);
    for (path, size, status, code) in [
        ("/photo", 5 * PART, 401, "token_missing"),
        ("/auth/refresh", 20_000, 413, "body_too_large"),
        ("/auth/refresh", 5 * PART, 413, "body_too_large"),
    ] {
        let request = wire::request(
            "POST",
            path,
            &[("Content-Type", "application/json")],
            &vec![b' '; size],
        );
        for n in 0..20 {
            let mut client = nginx.client(Ipv4Addr::LOCALHOST);
            // The answer may come before all is sent.
            drop(client.0.get_mut().write_all(&request));
            let answer = client.answer();
            assert_eq!(
                (answer.status, answer.header("X-Menshen-Error")),
                (status, Some(code)),
                "{path}, {size} bytes, {n}"
            );
        }
    }
    assert!(backend.received().is_empty());
}

/// A client is told by menshen, which answers as the API does, and by nginx only where menshen is
/// gone.
#[test]
fn refusals_are_those_of_menshen_while_there_is_one() {
    let nobody = TcpListener::bind("127.0.0.1:0")
        .expect("a port")
        .local_addr()
        .expect("an address");
    let mut menshen = menshen(nobody, "");
    let nginx = Nginx::before(menshen.http);
    let bearer = token(&nginx, "alice");
    let gone = nginx.ask("GET", "/orders", &[("Authorization", &bearer)], b"");
    assert_eq!(
        (gone.status, gone.header("X-Menshen-Error")),
        (502, Some("upstream_unavailable"))
    );
    menshen.stop();
    let gone = nginx.ask("GET", "/orders", &[("Authorization", &bearer)], b"");
    assert_eq!((gone.status, gone.header("X-Menshen-Error")), (502, None));
}
