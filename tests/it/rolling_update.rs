//! A rolling update of replicas on one database, by the files of `deploy/`: clients go on signing in,
//! refreshing and calling the backend meanwhile, and no request fails.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    backend::Backend,
    menshen::{Menshen, Setup},
    mysql, postgres, wire,
};

/// Clients at once.
const CLIENTS: usize = 4;

/// How many requests are served before the next step of an update.
const BETWEEN_STEPS: usize = 40;

/// How long a replica serves after SIGTERM here; the files say longer.
const UNREADY_GRACE: &str = "unready_grace = \"2s\"";

fn text(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Replaces parts of an example. Each has to be there.
fn adapted(text: &str, changes: &[(&str, &str)]) -> String {
    changes.iter().fold(text.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from:?} is not in\n{text}");
        text.replace(from, to)
    })
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(future)
}

/// The URL of an empty schema of PostgreSQL.
fn postgres() -> String {
    block_on(postgres::Server::shared().empty())
}

/// The URL of an empty database of MariaDB, whose role has the password of the replicas.
fn mariadb() -> String {
    let server = mysql::Server::shared();
    block_on(async {
        let url = server.empty().await;
        let role = mysql::Server::role(&url);
        let set = format!("SET PASSWORD FOR {role}@localhost = PASSWORD('password')");
        server.execute(&set).await;
        url
    })
}

/// An address of this machine that no other process chooses: ports are given out on 127.0.0.1.
fn address(port: u16) -> SocketAddr {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    (Ipv4Addr::new(127, 88, high, low), port).into()
}

/// A replica by a config of `deploy/`, with its secrets in its own directory and nothing asked of
/// WeChat.
fn start_replica(config: &str, changes: &[(&str, &str)], backend: SocketAddr) -> Menshen {
    let setup = Setup::before(backend);
    let dir = setup.directory();
    let place = dir.path().display().to_string();
    let changes = [
        changes,
        &[
            ("mode = \"production\"", "mode = \"development\""),
            ("0.0.0.0:9090", "127.0.0.1:0"),
            ("/run/secrets", &place),
        ],
    ]
    .concat();
    for (name, content) in [
        ("store.key", "42".repeat(32)),
        ("wechat.secret", "secret".to_owned()),
        ("database.password", "password".to_owned()),
        ("password", "password".to_owned()),
    ] {
        std::fs::write(dir.path().join(name), content).expect("a file");
    }
    let file = dir.path().join("adapted.toml");
    let without_limits = "\n[limits]\nenabled = false\n";
    std::fs::write(&file, adapted(config, &changes) + without_limits).expect("a file");
    setup.reading(file).start()
}

/// What clients did so far.
#[derive(Default)]
struct Load {
    served: AtomicUsize,
    is_over: AtomicBool,
}

impl Load {
    /// Waits until this is so, or a client has failed.
    fn wait_until(&self, is_so: impl Fn() -> bool) {
        let end = Instant::now() + Duration::from_secs(30);
        while !is_so() && !self.is_over.load(Ordering::Relaxed) {
            assert!(Instant::now() < end, "the clients stand still");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until more requests have been served.
    fn wait_for_more(&self) {
        let wanted = self.served.load(Ordering::Relaxed) + BETWEEN_STEPS;
        self.wait_until(|| self.served.load(Ordering::Relaxed) >= wanted);
    }

    /// Runs clients, each with a user of its own, until `update` is done. `route` says where the
    /// next connection of clients goes.
    fn run(route: impl Fn() -> SocketAddr + Sync, update: impl FnOnce(&Self)) {
        let load = Self::default();
        std::thread::scope(|scope| {
            for client in 0..CLIENTS {
                let (load, route) = (&load, &route);
                scope.spawn(move || {
                    let _end = EndOfLoad(&load.is_over);
                    load.be_client(&format!("client-{client}"), route);
                });
            }
            let _end = EndOfLoad(&load.is_over);
            load.wait_for_more();
            update(&load);
        });
        assert!(load.served.load(Ordering::Relaxed) > 3 * BETWEEN_STEPS);
    }

    /// Signs in, calls the backend and refreshes a few times, and begins again on a new connection. The
    /// first answer that is not 200 fails the test.
    fn be_client(&self, code: &str, route: &impl Fn() -> SocketAddr) {
        let mut user = Value::Null;
        while !self.is_over.load(Ordering::Relaxed) {
            let mut connection = None;
            let mut ask = |method, path, bearer: &str, body: &Value| {
                let answer = exchange(&mut connection, route, method, path, bearer, body);
                let said = String::from_utf8_lossy(&answer.body);
                assert_eq!(answer.status, 200, "{method} {path}: {said}");
                self.served.fetch_add(1, Ordering::Relaxed);
                answer
            };
            let sign_in = json!({ "code": code });
            let mut session = ask("POST", "/auth/wechat/login", "", &sign_in).json();
            assert!(user.is_null() || user == session["user"]["id"]);
            user = session["user"]["id"].clone();
            for _ in 0..4 {
                let token = session["access_token"].as_str().expect("a token");
                ask("GET", "/orders", &format!("Bearer {token}"), &Value::Null);
                let refresh = json!({ "refresh_token": session["refresh_token"] });
                session = ask("POST", "/auth/refresh", "", &refresh).json();
            }
        }
    }
}

/// Ends the load when dropped, so also when a client or the update fails.
struct EndOfLoad<'a>(&'a AtomicBool);

impl Drop for EndOfLoad<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One request, on the kept connection or a new one. A connection is kept until an answer closes it.
fn exchange(
    connection: &mut Option<wire::Client>,
    route: impl Fn() -> SocketAddr,
    method: &str,
    path: &str,
    bearer: &str,
    body: &Value,
) -> wire::Answer {
    let mut headers = vec![("Content-Type", "application/json")];
    if !bearer.is_empty() {
        headers.push(("Authorization", bearer));
    }
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let client = connection.get_or_insert_with(|| wire::Client::connect(route()));
    client.send(wire::request(method, path, &headers, body.as_bytes()));
    let answer = client.receive_to(method).expect("an answer");
    if answer.header("Connection") == Some("close") {
        *connection = None;
    }
    answer
}

/// nginx in a process of its own.
struct Nginx {
    child: Child,
    address: SocketAddr,
    _dir: TempDir,
}

impl Nginx {
    /// By the file of `deploy/docker/replicas`, in front of these replicas.
    fn before(replicas: [SocketAddr; 2], address: SocketAddr) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let [one, other] = replicas.map(|replica| format!("server {replica} "));
        let config = adapted(
            &text("deploy/docker/replicas/nginx/nginx.conf"),
            &[
                ("server 172.31.250.11:8080 ", &one),
                ("server 172.31.250.12:8080 ", &other),
                ("listen 8080;", &format!("listen {address};")),
                ("/tmp/", &format!("{}/", dir.path().display())),
                ("keepalive_timeout 3s;", "keepalive_timeout 500ms;"),
            ],
        );
        let file = dir.path().join("nginx.conf");
        std::fs::write(&file, config).expect("a file");
        let program = ["/usr/sbin/nginx", "/usr/bin/nginx"]
            .into_iter()
            .find(|path| Path::new(path).exists())
            .expect("nginx is missing: `./run test` installs it");
        let mut child = Command::new(program)
            .args([
                "-e",
                "stderr",
                "-g",
                "daemon off; master_process off;",
                "-p",
            ])
            .arg(dir.path())
            .arg("-c")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx");
        let end = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(address).is_err() {
            let ended = child.try_wait().expect("a state");
            assert!(
                ended.is_none() && Instant::now() < end,
                "nginx does not start"
            );
            std::thread::yield_now();
        }
        Self {
            child,
            address,
            _dir: dir,
        }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Whether it has served a request of the load.
fn wait_until_in_use(menshen: &Menshen) {
    menshen.wait_for_log("\"path\":\"/orders\"");
}

#[test]
fn behind_nginx_one_replica_after_the_other_is_replaced_and_no_request_fails() {
    let backend = Backend::start();
    let url = postgres();
    let config = text("deploy/docker/replicas/menshen/config.toml");
    let start = |listen: SocketAddr| {
        let changes = [
            ("0.0.0.0:8080", listen.to_string()),
            ("unready_grace = \"5s\"", UNREADY_GRACE.to_owned()),
            ("172.16.0.0/12", "127.0.0.0/8".to_owned()),
            ("http://backend:3000", format!("http://{}", backend.address)),
            (
                "postgres://menshen@database:5432/menshen?sslmode=disable",
                url.clone(),
            ),
        ];
        let changes: Vec<_> = changes.iter().map(|(from, to)| (*from, &**to)).collect();
        start_replica(&config, &changes, backend.address)
    };
    let addresses = [address(8081), address(8082)];
    let mut replicas = addresses.map(start);
    let nginx = Nginx::before(addresses, address(8080));

    Load::run(
        || nginx.address,
        |load| {
            for (replica, listen) in replicas.iter_mut().zip(addresses) {
                wait_until_in_use(replica);
                // Requests go to the other one until the new one listens at the same address.
                replica.stop();
                *replica = start(listen);
                wait_until_in_use(replica);
                load.wait_for_more();
            }
        },
    );
}

#[test]
fn behind_a_service_new_replicas_take_the_place_of_old_ones_and_no_request_fails() {
    update_behind_a_service(&postgres());
}

#[test]
fn behind_a_service_replicas_on_mariadb_are_replaced_and_no_request_fails() {
    update_behind_a_service(&mariadb());
}

fn update_behind_a_service(url: &str) {
    let backend = Backend::start();
    let config = text("deploy/kubernetes/examples/replicas/config.toml");
    let start = || {
        let changes = [
            ("0.0.0.0:8080", "127.0.0.1:0".to_owned()),
            ("unready_grace = \"10s\"", UNREADY_GRACE.to_owned()),
            ("http://shop:80", format!("http://{}", backend.address)),
            (
                "postgres://menshen@postgres.database.svc:5432/menshen?sslrootcert=/run/secrets/menshen-database/ca.crt",
                url.to_owned(),
            ),
            ("/run/secrets/menshen-database", "/run/secrets".to_owned()),
            ("/run/secrets/menshen/", "/run/secrets/".to_owned()),
        ];
        let changes: Vec<_> = changes.iter().map(|(from, to)| (*from, &**to)).collect();
        start_replica(&config, &changes, backend.address)
    };
    // A Service leads each connection to one of its pods, and repeats nothing.
    let mut replicas = [start(), start()];
    let endpoints = Mutex::new(Vec::from(replicas.each_ref().map(|it| it.http)));
    let turn = AtomicUsize::new(0);
    let route = || {
        let endpoints = endpoints.lock().expect("a lock");
        endpoints[turn.fetch_add(1, Ordering::Relaxed) % endpoints.len()]
    };

    Load::run(route, |load| {
        for replica in &mut replicas {
            // `maxSurge: 1`, `maxUnavailable: 0`.
            let new = start();
            endpoints.lock().expect("a lock").push(new.http);
            let mut old = std::mem::replace(replica, new);
            old.signal(rustix::process::Signal::TERM);
            // The pod has been told to stop before the Service knows: new connections still come.
            old.wait_for_log("stopping");
            let seen = turn.load(Ordering::Relaxed);
            load.wait_until(|| turn.load(Ordering::Relaxed) >= seen + 3);
            let gone = old.http;
            let mut known = endpoints.lock().expect("a lock");
            known.retain(|endpoint| *endpoint != gone);
            drop(known);
            assert_eq!(old.wait().code(), Some(0));
            load.wait_for_more();
        }
    });
}
