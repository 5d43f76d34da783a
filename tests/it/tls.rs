//! TLS to clients: handshakes, certificates of clients, and certificates that change while
//! connections live.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};

use super::{
    backend::Backend,
    certificates::{authority, certificate},
    menshen::{Menshen, Setup},
    wire,
};

const OPEN: &str = "[[rule]]\nname = \"open\"\npath = \"/**\"\naccess = \"public\"";

/// `[server]` with a plain and a TLS address, and what else is to be in there and in
/// `[server.tls]`.
pub fn server(server: &str, tls: &str) -> String {
    format!(
        "[server]\nlisten = [\"127.0.0.1:0\", \"tls:127.0.0.1:0\"]\nunready_grace = \"100ms\"\n{server}\n[server.tls]\ncert_file = \
         \"leaf.pem\"\nkey_file = \"leaf.key\"\n{tls}"
    )
}

/// A setup whose directory has an authority `ca` and its certificate `leaf`.
pub fn setup(backend: SocketAddr) -> Setup {
    let setup = Setup::before(backend);
    let dir = setup.directory();
    authority(dir.path(), "ca");
    certificate(dir.path(), "ca", "leaf");
    setup.with(OPEN)
}

/// Where a menshen speaks TLS.
pub fn address(menshen: &Menshen) -> SocketAddr {
    let ready = menshen.wait_for_log("\"ready\"");
    let at = ready.split("tls:").nth(1).expect("a TLS address");
    at.split(['"', ','])
        .next()
        .and_then(|at| at.parse().ok())
        .expect("an address")
}

/// What a client believes and shows. `shows`: the name of its certificate.
pub fn client_config(dir: &Path, shows: Option<&str>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(dir.join("ca.pem")).expect("PEM"))
        .expect("an authority");
    let crypto = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(crypto)
        .with_safe_default_protocol_versions()
        .expect("versions");
    let builder = builder.with_root_certificates(roots);
    match shows {
        None => builder.with_no_client_auth(),
        Some(name) => {
            let chain =
                vec![CertificateDer::from_pem_file(dir.join(format!("{name}.pem"))).expect("PEM")];
            let key = PrivateKeyDer::from_pem_file(dir.join(format!("{name}.key"))).expect("PEM");
            builder.with_client_auth_cert(chain, key).expect("a pair")
        }
    }
}

/// A client's connection with TLS on it.
struct Secure(BufReader<StreamOwned<ClientConnection, TcpStream>>);

impl Secure {
    fn connect(to: SocketAddr, config: ClientConfig) -> Self {
        let stream = TcpStream::connect(to).expect("a connection");
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("a socket option");
        let name = ServerName::try_from("localhost").expect("a name");
        let session = ClientConnection::new(Arc::new(config), name).expect("a session");
        Self(BufReader::new(StreamOwned::new(session, stream)))
    }

    /// The status of one request; `None` when the connection has ended instead.
    fn ask(&mut self, head: &str) -> Option<u16> {
        self.0.get_mut().write_all(head.as_bytes()).ok()?;
        let mut line = String::new();
        self.0.read_line(&mut line).ok()?;
        let status = line.split(' ').nth(1)?.parse().ok();
        let mut length = 0;
        loop {
            line.clear();
            self.0.read_line(&mut line).ok()?;
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            if line == "\r\n" {
                break;
            }
        }
        self.0.read_exact(&mut vec![0; length]).ok()?;
        status
    }

    /// The serial number of the server's certificate.
    fn serial(&self) -> Vec<u8> {
        let chain = self
            .0
            .get_ref()
            .conn
            .peer_certificates()
            .expect("a certificate");
        x509_parser::parse_x509_certificate(&chain[0])
            .expect("a certificate")
            .1
            .raw_serial()
            .to_vec()
    }
}

const GET: &str = "GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[test]
fn requests_come_over_tls_as_they_do_without_and_the_backend_is_told() {
    let backend = Backend::start();
    let menshen = setup(backend.address).with(&server("", "")).start();
    let dir = menshen.directory();
    let mut client = Secure::connect(address(&menshen), client_config(dir, None));
    for _ in 0..3 {
        assert_eq!(client.ask(GET), Some(200));
        assert_eq!(backend.last().folded("x-forwarded-proto"), ["https"]);
    }
    assert_eq!(menshen.get("/x", &[]).status, 200);
    assert_eq!(backend.last().folded("x-forwarded-proto"), ["http"]);
    // Two at once: the second is in the session's memory while the first is under way.
    assert_eq!(client.ask(&GET.repeat(2)), Some(200));
    assert_eq!(client.ask(""), Some(200));
    // The long way, and the auth API.
    let post = "POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc";
    assert_eq!(client.ask(post), Some(200));
    assert_eq!(
        (
            backend.last().body,
            backend.last().folded("x-forwarded-proto")
        ),
        (b"abc".to_vec(), vec!["https".into()])
    );
    assert_eq!(
        client.ask("GET /auth/me HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        Some(401)
    );
    assert_eq!(client.ask(GET), Some(200));
    menshen.wait_for_metric("menshen_tls_handshakes_total{result=\"ok\"}", 1.0);
    assert!(menshen.metric("menshen_tls_certificate_expiry_seconds") > 1.7e9);
}

#[test]
fn what_is_no_handshake_ends_in_time_and_is_counted() {
    let backend = Backend::start();
    let menshen = setup(backend.address)
        .with(&server("header_timeout = \"300ms\"", ""))
        .start();
    let to = address(&menshen);
    for (sent, result) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], "malformed"),
        (b"\x16\x03\x01\x02\x00\x01\x00", "timeout"),
        (b"", "timeout"),
    ] {
        let mut client = wire::Client::connect(to);
        client.send(sent);
        let mut rest = Vec::new();
        drop(client.stream().read_to_end(&mut rest));
        menshen.wait_for_metric(
            &format!("menshen_tls_handshakes_total{{result=\"{result}\"}}"),
            1.0,
        );
    }
    drop(TcpStream::connect(to).expect("a connection"));
    menshen.wait_for_metric("menshen_tls_handshakes_total{result=\"closed\"}", 1.0);
    let mut stranger = client_config(menshen.directory(), None);
    stranger.alpn_protocols = vec![b"smtp".to_vec()];
    assert_eq!(Secure::connect(to, stranger).ask(GET), None);
    menshen.wait_for_metric("menshen_tls_handshakes_total{result=\"incompatible\"}", 1.0);
    assert!(backend.received().is_empty());
}

#[test]
fn a_head_that_stops_within_a_record_is_given_up_as_without_tls() {
    let backend = Backend::start();
    let menshen = setup(backend.address)
        .with(&server(
            "header_timeout = \"300ms\"\nkeepalive_timeout = \"300ms\"",
            "",
        ))
        .start();
    let config = client_config(menshen.directory(), None);
    let mut client = Secure::connect(address(&menshen), config);
    assert_eq!(client.ask(GET), Some(200));
    // The beginning of a record: its bytes are there to be read, and nothing of the client's is.
    let socket = &mut client.0.get_mut().sock;
    socket
        .write_all(b"\x17\x03\x03\x00\x40half")
        .expect("a write");
    let start = Instant::now();
    while menshen.metric("menshen_connections") > 0.0 {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "the connection is held for ever"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_client_that_leaves_takes_its_request_with_it() {
    let (gone, was_told) = std::sync::mpsc::channel();
    let gone = std::sync::Mutex::new(gone);
    // The backend answers nothing, and sees when its own client is gone.
    let backend = Backend::answering(move |_, stream| {
        let ended = stream.read(&mut [0; 1]);
        gone.lock()
            .expect("a lock")
            .send(ended.is_ok_and(|read| read == 0))
            .expect("a listener");
        false
    });
    let menshen = setup(backend.address).with(&server("", "")).start();
    for peacefully in [true, false] {
        let mut client =
            Secure::connect(address(&menshen), client_config(menshen.directory(), None));
        let before = backend.received().len();
        client
            .0
            .get_mut()
            .write_all(GET.as_bytes())
            .expect("a write");
        while backend.received().len() == before {
            std::thread::yield_now();
        }
        if peacefully {
            client.0.get_mut().conn.send_close_notify();
            drop(client.0.get_mut().flush());
        }
        drop(client);
        assert!(
            was_told
                .recv_timeout(Duration::from_secs(10))
                .expect("an end"),
            "peacefully: {peacefully}"
        );
    }
}

#[test]
fn a_client_certificate_is_asked_for_as_the_config_says() {
    let backend = Backend::start();
    for (asked, by_nobody, result) in [
        ("off", Some(200), None),
        ("optional", Some(200), None),
        ("required", None, Some("certificate_missing")),
    ] {
        let setup = setup(backend.address);
        let dir = setup.directory();
        authority(dir.path(), "clients");
        certificate(dir.path(), "clients", "known");
        authority(dir.path(), "others");
        certificate(dir.path(), "others", "stranger");
        let lines = format!("client_certificates = \"{asked}\"\nclient_ca_file = \"clients.pem\"");
        let menshen = setup.with(&server("", &lines)).start();
        let ask =
            |shows| Secure::connect(address(&menshen), client_config(dir.path(), shows)).ask(GET);
        assert_eq!(ask(None), by_nobody, "{asked}");
        assert_eq!(ask(Some("known")), Some(200), "{asked}");
        assert_eq!(
            ask(Some("stranger")),
            if asked == "off" { Some(200) } else { None },
            "{asked}"
        );
        if let Some(result) = result {
            menshen.wait_for_metric(
                &format!("menshen_tls_handshakes_total{{result=\"{result}\"}}"),
                1.0,
            );
        }
        if asked != "off" {
            menshen.wait_for_metric(
                "menshen_tls_handshakes_total{result=\"certificate_refused\"}",
                1.0,
            );
        }
    }
}

#[test]
fn a_changed_certificate_is_used_and_open_connections_live_on() {
    let backend = Backend::start();
    let setup = setup(backend.address);
    let dir = setup.directory();
    let at = dir.path();
    // As Kubernetes mounts a secret: the files are links through a directory that is itself a link.
    certificate(at, "ca", "second");
    for (version, name) in [("v1", "leaf"), ("v2", "second")] {
        std::fs::create_dir(at.join(version)).expect("a directory");
        for end in ["pem", "key"] {
            std::fs::copy(
                at.join(format!("{name}.{end}")),
                at.join(version).join(format!("leaf.{end}")),
            )
            .expect("a copy");
        }
    }
    std::os::unix::fs::symlink("v1", at.join("data")).expect("a link");
    for end in ["pem", "key"] {
        let file = at.join(format!("leaf.{end}"));
        std::fs::remove_file(&file).expect("a removal");
        std::os::unix::fs::symlink(format!("data/leaf.{end}"), &file).expect("a link");
    }
    let mut menshen = setup.with(&server("", "")).start();
    // The config as a whole is looked at too.
    menshen.expect_error("server.tls");
    menshen.expect_error("the new config is refused");
    let to = address(&menshen);
    let mut old = Secure::connect(to, client_config(at, None));
    assert_eq!(old.ask(GET), Some(200));
    let first = old.serial();

    std::os::unix::fs::symlink("v2", at.join("data.new")).expect("a link");
    std::fs::rename(at.join("data.new"), at.join("data")).expect("a swap");
    menshen.wait_for_metric("menshen_tls_reloads_total{result=\"ok\"}", 1.0);
    let mut new = Secure::connect(to, client_config(at, None));
    assert_eq!(new.ask(GET), Some(200));
    let second = new.serial();
    assert_ne!(second, first);
    assert_eq!(old.ask(GET), Some(200), "the open connection lives on");

    // A certificate without its key, and then nothing at all: the last good pair stays.
    std::fs::copy(at.join("v1/leaf.pem"), at.join("v2/leaf.pem")).expect("a copy");
    menshen.wait_for_metric("menshen_tls_reloads_total{result=\"failed\"}", 1.0);
    std::fs::remove_file(at.join("v2/leaf.key")).expect("a removal");
    menshen.wait_for_metric("menshen_tls_reloads_total{result=\"failed\"}", 2.0);
    let mut same = Secure::connect(to, client_config(at, None));
    assert_eq!(same.ask(GET), Some(200));
    assert_eq!(same.serial(), second);
    let told = menshen.wait_for_log("could not be reloaded");
    assert!(!told.contains("PRIVATE"), "{told}");
}

#[test]
fn a_pair_that_does_not_fit_stops_the_start_and_the_check() {
    let setup = setup(([127, 0, 0, 1], 9).into());
    let dir = setup.directory();
    certificate(dir.path(), "ca", "other");
    std::fs::copy(dir.path().join("other.key"), dir.path().join("leaf.key")).expect("a copy");
    let config = setup.with(&server("", "")).config();
    let output = super::menshen::command(
        dir.path(),
        &["check", "--config", &config.display().to_string()],
        &[],
    );
    assert_eq!(output.status.code(), Some(64));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("server.tls") && said.contains("does not match"),
        "{said}"
    );
}

#[test]
fn curl_speaks_http2_and_http1_over_tls() {
    let backend = Backend::start();
    let menshen = setup(backend.address).with(&server("", "")).start();
    let url = format!("https://localhost:{}/x", address(&menshen).port());
    for (version, expected) in [
        ("--http2", "2 200 ok"),
        ("--http1.1", "1.1 200 ok"),
        ("--tlsv1.2", "2 200 ok"),
    ] {
        let output = Command::new("curl")
            .args([
                "-sS",
                version,
                "--cacert",
                "ca.pem",
                "-w",
                "%{stderr}%{http_version} %{http_code} ",
                &url,
            ])
            .current_dir(menshen.directory())
            .output()
            .expect("the curl command");
        let said = String::from_utf8_lossy(&output.stderr).into_owned()
            + &String::from_utf8_lossy(&output.stdout);
        assert_eq!(said, expected, "{version}");
    }
    for (version, wanted) in [("1.0", false), ("1.1", false), ("1.2", true), ("1.3", true)] {
        let flag = format!("--tls-max {version} --tlsv{version}");
        let output = Command::new("curl")
            .args(["-sS", "--cacert", "ca.pem"])
            .args(flag.split(' '))
            .arg(&url)
            .current_dir(menshen.directory())
            .output()
            .expect("the curl command");
        assert_eq!(output.status.success(), wanted, "TLS {version}");
    }
}
