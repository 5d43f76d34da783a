//! Backends that are named: names with several addresses, and names that mean nothing yet.
//!
//! Each test gives menshen a `/etc/hosts` of its own, in a mount namespace, so that names mean what
//! the test says.

use std::{
    fs,
    io::Write,
    net::SocketAddr,
    os::fd::OwnedFd,
    path::PathBuf,
    process::{Command, Output},
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::net::{AddressFamily, SocketType};
use serde_json::Value;
use tempfile::TempDir;

use super::{
    backend::{Backend, Received},
    menshen::{BINARY, Menshen, Setup},
    wire::{self, Client},
};

const UPGRADE: &str =
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";

/// What names mean.
struct Names {
    dir: Arc<TempDir>,
}

impl Names {
    fn new(dir: Arc<TempDir>, hosts: &str) -> Self {
        let names = Self { dir };
        names.mean(hosts);
        // What is not in there is asked of this machine alone, where no server answers.
        fs::write(
            names.file("resolv.conf"),
            "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
        )
        .expect("a file");
        names
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// From now on they mean this.
    fn mean(&self, hosts: &str) {
        fs::write(
            self.file("hosts"),
            format!("127.0.0.1 localhost\n{hosts}\n"),
        )
        .expect("a file");
    }

    /// Shell commands that become the process in which they mean it.
    fn script(&self) -> String {
        let user = if rustix::process::getuid().is_root() {
            ""
        } else {
            "--user --map-root-user "
        };
        let mount =
            |name: &str| format!("mount --bind {} /etc/{name}; ", self.file(name).display());
        let mounts = mount("hosts") + &mount("resolv.conf");
        format!("exec unshare {user}--mount /bin/sh -ec '{mounts}exec \"$0\" \"$@\"' \"$0\" \"$@\"")
    }

    fn command(&self, args: &[&str]) -> Output {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", &self.script(), BINARY])
            .args(args)
            .current_dir(self.dir.path())
            .env_clear();
        command.output().expect("the binary")
    }
}

/// Answers everything, WebSocket handshakes too.
fn answer(request: &Received, stream: &mut std::net::TcpStream) -> bool {
    if !request.folded("upgrade").is_empty() {
        return stream.write_all(UPGRADE.as_bytes()).is_ok();
    }
    stream
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        .is_ok()
}

/// A backend on an address of one family, and its port on that of the other, where nothing listens.
fn backend_on(ip: &str) -> (Backend, OwnedFd) {
    let (family, other) = match ip {
        "[::1]" => (AddressFamily::INET, "127.0.0.1"),
        _ => (AddressFamily::INET6, "[::1]"),
    };
    for _ in 0..50 {
        let backend = Backend::on(&format!("{ip}:0"), answer);
        let dead: SocketAddr = format!("{other}:{}", backend.address.port())
            .parse()
            .expect("an address");
        let socket = rustix::net::socket(family, SocketType::STREAM, None).expect("a socket");
        if rustix::net::bind(&socket, &dead).is_ok() {
            return (backend, socket);
        }
    }
    panic!("no port is free on both addresses");
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < end, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A request on each way to the backend; the statuses.
fn every_way(menshen: &Menshen, token: &str) -> [u16; 4] {
    let authorization = ("Authorization", token);
    let ask = |method, more: &[(&str, &str)], body| {
        wire::ask(
            menshen.http,
            method,
            "/x",
            &[&[authorization], more].concat(),
            body,
        )
        .status
    };
    let mut client = Client::connect(menshen.http);
    let upgrade = [
        authorization,
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    client.send(wire::request("GET", "/ws", &upgrade, b""));
    let websocket = client.receive().map_or(0, |answer| answer.status);
    [
        ask("GET", &[], b""),
        ask("POST", &[], b"hello"),
        ask("GET", &[("TE", "trailers"), ("Connection", "TE")], b""),
        websocket,
    ]
}

fn section(urls: &[String]) -> String {
    format!(
        "[upstream]\nurls = {urls:?}\n[upstream.health]\npath = \"/health\"\ninterval = \"20ms\""
    )
}

#[test]
fn a_backend_on_one_of_the_addresses_of_its_name_is_found() {
    for ip in ["127.0.0.1", "[::1]"] {
        let (backend, _dead) = backend_on(ip);
        let port = backend.address.port();
        let setup =
            Setup::before(backend.address).with(&section(&[format!("http://backend.test:{port}")]));
        let names = Names::new(
            setup.directory(),
            "::1 backend.test\n127.0.0.1 backend.test",
        );
        let menshen = setup.after_shell(names.script()).start();
        let token = format!("Bearer {}", menshen.token("alice"));
        for _ in 0..3 {
            assert_eq!(every_way(&menshen, &token), [200, 200, 200, 101], "{ip}");
        }
        wait_until("it is checked", || {
            backend
                .received()
                .iter()
                .filter(|request| request.line.starts_with("GET /health "))
                .count()
                > 2
        });
        let upstream = format!("{{upstream=\"backend.test:{port}\"}}");
        assert!(
            menshen.metric(&format!("menshen_upstream_healthy{upstream}")) > 0.5,
            "{ip}"
        );
        let metrics = menshen.metrics();
        let failed = |line: &&str| {
            line.starts_with("menshen_upstream_errors_total{") && !line.ends_with(" 0")
        };
        assert_eq!(
            metrics.lines().find(failed),
            None,
            "{ip}: nothing has failed"
        );
        assert!(
            menshen.metric(&format!("menshen_upstream_ejections_total{upstream}")) < 0.5,
            "{ip}"
        );

        // The doctor takes the same way.
        let doctor = names.command(&["doctor", "--json"]);
        let said: Value = serde_json::from_slice(&doctor.stdout).expect("JSON");
        let found = said["checks"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|finding| finding["check"] == "backend");
        assert_eq!(found.expect("a finding")["state"], "ok", "{said:#}");
    }
}

/// However many addresses a name has, what fails is one backend, and it fails once for each
/// request.
#[test]
fn a_backend_of_which_no_address_works_is_one_backend() {
    let (good, _other) = backend_on("127.0.0.1");
    let dead = wire::Nobody::new();
    let port = dead.address.port();
    let urls = [
        format!("http://backend.test:{port}"),
        format!("http://{}", good.address),
    ];
    let section = format!("[upstream]\nurls = {urls:?}\n[upstream.health]\ninterval = \"0s\"");
    let setup = Setup::before(good.address).with(&section);
    let names = Names::new(
        setup.directory(),
        "127.0.0.1 backend.test\n127.0.0.2 backend.test\n127.0.0.3 backend.test",
    );
    let menshen = setup.after_shell(names.script()).start();
    let token = format!("Bearer {}", menshen.token("alice"));
    let authorization = [("Authorization", token.as_str())];
    let ejections = format!("menshen_upstream_ejections_total{{upstream=\"backend.test:{port}\"}}");
    // It has its turn with each request: after four it has failed four times, with three addresses
    // each time.
    for n in 0..4 {
        let (method, body) = if n < 2 {
            ("GET", &b""[..])
        } else {
            ("POST", &b"hello"[..])
        };
        assert_eq!(
            wire::ask(menshen.http, method, "/x", &authorization, body).status,
            200
        );
    }
    assert!(
        menshen.metric(&ejections) < 0.5,
        "four failures are too few"
    );
    assert_eq!(menshen.get("/x", &authorization).status, 200);
    menshen.wait_for_metric(&ejections, 1.0);
    assert_eq!(good.received().len(), 5, "each was sent once");
}

#[test]
fn a_backend_whose_name_means_nothing_yet_is_unhealthy_until_it_does() {
    // However often names are looked up again later.
    for resolve in ["0s", "1h"] {
        let (backend, _dead) = backend_on("127.0.0.1");
        let port = backend.address.port();
        let section = format!(
            "[upstream]\nurls = [\"http://backend.test:{port}\"]\nresolve_interval = \"{resolve}\""
        );
        let setup = Setup::before(backend.address).with(&section);
        let names = Names::new(setup.directory(), "");
        let menshen = setup.after_shell(names.script()).start();
        let token = format!("Bearer {}", menshen.token("alice"));
        let ask = || menshen.get("/x", &[("Authorization", &token)]);
        let refused = ask();
        assert_eq!(
            (refused.status, refused.error()),
            (502, Some("upstream_unavailable"))
        );
        let gauge = format!("menshen_upstream_healthy{{upstream=\"backend.test:{port}\"}}");
        assert!(menshen.metric(&gauge) < 0.5);
        wait_until("probes say so", || {
            let ready = wire::ask(menshen.admin, "GET", "/readyz", &[], b"");
            assert_eq!(ready.status, 200, "tokens and logins need no backend");
            ready.json()["details"]["upstreams"] == "0 of 1 healthy"
        });
        menshen.wait_for_log("a backend is unhealthy until its name can be resolved");
        names.mean("127.0.0.1 backend.test");
        wait_until("its name means something", || menshen.metric(&gauge) > 0.5);
        assert_eq!(ask().status, 200);
    }
}

/// Where there is another backend, clients notice nothing.
#[test]
fn a_name_that_means_nothing_costs_nobody_an_answer_and_a_reload_none_either() {
    let (good, _dead) = backend_on("127.0.0.1");
    let urls = [
        "http://nowhere.test:9".to_owned(),
        format!("http://{}", good.address),
    ];
    let setup = Setup::before(good.address).with(&section(&urls));
    let names = Names::new(setup.directory(), "");
    let config = setup.config();
    let menshen = setup.after_shell(names.script()).start();
    let token = format!("Bearer {}", menshen.token("alice"));
    let answers = || {
        for _ in 0..4 {
            assert_eq!(every_way(&menshen, &token), [200, 200, 200, 101]);
        }
    };
    answers();
    assert!(menshen.metric("menshen_upstream_ejections_total{upstream=\"nowhere.test:9\"}") < 0.5);
    let text = fs::read_to_string(&config)
        .expect("the config")
        .replace("nowhere.test:9", "neither.test:9");
    fs::write(&config, text).expect("the config");
    menshen.signal(rustix::process::Signal::HUP);
    menshen.wait_for_log("the new config is in use");
    answers();
    assert!(menshen.metric("menshen_upstream_healthy{upstream=\"neither.test:9\"}") < 0.5);
}
