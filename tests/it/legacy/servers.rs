//! The applications, their servers, and menshen before them.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::{net::UnixStream, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, OnceLock, mpsc},
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    menshen::{Menshen, Setup, command_reading},
    wechat::{APP_ID, SECRET, Wechat},
    wire::{self, Answer},
};

/// The password of the administrator `boss`.
const PASSWORD: &str = "correct horse battery staple";
/// For an interpreter to start, on a machine that does other things besides.
const PATIENCE: Duration = Duration::from_mins(1);

/// An application, and its API as far as the stories call it.
pub struct Application {
    pub folder: &'static str,
    /// What users own.
    pub things: &'static str,
    /// The field of a thing that its owner writes, and the one that says whose it is.
    pub field: &'static str,
    pub owner: &'static str,
    pub count: &'static str,
    pub me: &'static str,
    /// For administrators alone.
    pub users: &'static str,
    login: &'static str,
    password_login: &'static str,
    /// Where tokens and users are in the answer to a login.
    answer: &'static str,
    token: &'static str,
    /// The one thing with this id.
    pub thing: fn(&Value) -> String,
    /// Variables for a rule after those of the config: its name, path and access.
    pub one_more_rule: [&'static str; 3],
}

pub const SHOP: Application = Application {
    folder: "deploy/examples/django",
    things: "/api/orders/",
    field: "item",
    owner: "owner",
    count: "/api/orders/count/",
    me: "/api/users/me/",
    users: "/api/admin/users/",
    login: "/api/login/",
    password_login: "/api/admin/login/",
    answer: "",
    token: "/access",
    thing: |id| format!("/api/orders/{id}/"),
    one_more_rule: [
        "MENSHEN_RULE__3__NAME",
        "MENSHEN_RULE__3__PATH",
        "MENSHEN_RULE__3__ACCESS",
    ],
};

pub const RECIPES: Application = Application {
    folder: "deploy/examples/nestjs",
    things: "/api/v1/recipes",
    field: "title",
    owner: "authorId",
    count: "/api/v1/recipes/count",
    me: "/api/v1/users/me",
    users: "/api/v1/admin/users",
    login: "/api/v1/auth/wx-login",
    password_login: "/auth/password/login",
    answer: "/data",
    token: "/data/access_token",
    thing: |id| format!("/api/v1/recipes/{id}"),
    one_more_rule: [
        "MENSHEN_RULE__2__NAME",
        "MENSHEN_RULE__2__PATH",
        "MENSHEN_RULE__2__ACCESS",
    ],
};

/// A program that serves one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// WSGI, in two processes with four threads each.
    Gunicorn,
    /// The same, with names that have `_` let through.
    GunicornPermissive,
    /// The worker of gunicorn that speaks ASGI.
    GunicornAsgi,
    Uvicorn,
    /// With the parser that `uvicorn[standard]` brings.
    UvicornHttptools,
    Node,
}

impl Program {
    pub fn application(self) -> &'static Application {
        if self == Self::Node { &RECIPES } else { &SHOP }
    }

    fn command(self, socket: Option<&str>) -> Command {
        let gunicorn = |more: &[&str]| {
            let bind = socket.map_or("127.0.0.1:0".to_owned(), |path| format!("unix:{path}"));
            let mut command = python();
            command
                .args(["-m", "gunicorn", "--no-control-socket", "--bind", &bind])
                .args(more);
            command
        };
        let uvicorn = |parser: &str| {
            let mut command = python();
            command.args([
                "-m",
                "uvicorn",
                "--no-access-log",
                "--http",
                parser,
                "shop.asgi:application",
            ]);
            match socket {
                Some(path) => command.args(["--uds", path]),
                None => command.args(["--host", "127.0.0.1", "--port", "0"]),
            };
            command
        };
        match self {
            Self::Gunicorn => gunicorn(&["--workers", "2", "--threads", "4", "shop.wsgi"]),
            Self::GunicornPermissive => gunicorn(&["--header-map", "dangerous", "shop.wsgi"]),
            Self::GunicornAsgi => gunicorn(&["--worker-class", "asgi", "shop.asgi:application"]),
            Self::Uvicorn => uvicorn("h11"),
            Self::UvicornHttptools => uvicorn("httptools"),
            Self::Node => {
                let mut command = Command::new("node");
                command.arg("dist/main.js").env("PORT", "0");
                if let Some(path) = socket {
                    command.env("SOCKET", path);
                }
                command
            }
        }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn python() -> Command {
    let program = root().join("target/backends/django/bin/python");
    assert!(
        program.exists(),
        "{} is missing: `./run test` installs it",
        program.display()
    );
    let mut command = Command::new(program);
    command.arg("-B");
    command
}

/// What an application finds in its environment, whoever serves it.
fn surroundings<'a>(
    command: &'a mut Command,
    application: &Application,
    database: &Path,
) -> &'a mut Command {
    command
        .current_dir(root().join(application.folder))
        .env("DATABASE", database)
        .env("SECRET_KEY", "a key of Django for this test alone")
        .env("ALLOWED_HOSTS", "shop.example")
        .env_remove("MENSHEN_JWKS_URL")
        .stdin(Stdio::null())
}

/// An empty database with the tables of the shop.
fn migrated() -> &'static [u8] {
    static DATABASE: OnceLock<Vec<u8>> = OnceLock::new();
    DATABASE.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a directory");
        let database = dir.path().join("db.sqlite3");
        manage(&database, &["migrate", "--verbosity", "0"]);
        std::fs::read(database).expect("a database")
    })
}

/// Runs `manage.py` of the shop.
pub fn manage(database: &Path, arguments: &[&str]) {
    let mut command = python();
    command.arg("manage.py").args(arguments);
    let output = surroundings(&mut command, &SHOP, database)
        .output()
        .expect("manage.py");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Compiles the recipes, types and all, once.
fn compiled() {
    static COMPILED: OnceLock<()> = OnceLock::new();
    COMPILED.get_or_init(|| {
        let installed = root().join(RECIPES.folder).join("node_modules/.installed");
        assert!(
            installed.exists(),
            "{} is missing: `./run test` installs it",
            installed.display()
        );
        run_node(&RECIPES, &["node_modules/typescript/bin/tsc"]);
    });
}

/// Runs Node to its end in the folder of a compiled application.
pub fn node(application: &Application, arguments: &[&str]) -> String {
    compiled();
    run_node(application, arguments)
}

fn run_node(application: &Application, arguments: &[&str]) -> String {
    let folder = root().join(application.folder);
    let output = Command::new("node")
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("node");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    said
}

/// An application that runs; it ends with the test.
pub struct Server {
    pub application: &'static Application,
    /// As `upstream.urls` says it.
    pub url: String,
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    dir: TempDir,
}

impl Server {
    /// On a port of the loopback interface.
    pub fn on_a_port(program: Program, variables: &[(&str, &str)]) -> Self {
        Self::start(program, None, variables)
    }

    /// On this Unix socket.
    pub fn on_a_socket(program: Program, socket: &Path, variables: &[(&str, &str)]) -> Self {
        Self::start(program, Some(socket.to_str().expect("text")), variables)
    }

    fn start(program: Program, socket: Option<&str>, variables: &[(&str, &str)]) -> Self {
        let application = program.application();
        let dir = tempfile::tempdir().expect("a directory");
        let database = dir.path().join("db.sqlite3");
        match program {
            Program::Node => compiled(),
            _ => std::fs::write(&database, migrated()).expect("a database"),
        }
        // Some write to the one, some to the other.
        let (out, both) = std::io::pipe().expect("a pipe");
        let mut command = program.command(socket);
        surroundings(&mut command, application, &database)
            .envs(variables.iter().copied())
            .stdout(both.try_clone().expect("a pipe"))
            .stderr(both)
            .process_group(0);
        let child = command.spawn().expect("the server's program");
        drop(command);
        let (ready, wait) = mpsc::channel();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = lines.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                let is_ready = ["Listening at", "running on", "listening on"]
                    .iter()
                    .any(|words| line.contains(words));
                kept.lock().expect("a lock").push(line.clone());
                if is_ready {
                    drop(ready.send(line));
                }
            }
        });
        let mut server = Self {
            application,
            url: String::new(),
            child,
            lines,
            dir,
        };
        let line = wait
            .recv()
            .unwrap_or_else(|_| panic!("{program:?} did not start"));
        server.url = match socket {
            Some(path) => format!("unix:{path}"),
            None => line
                .split_whitespace()
                .find(|word| word.starts_with("http://127.0.0.1:"))
                .expect("a URL")
                .to_owned(),
        };
        // Who listens need not be able to answer yet.
        assert_eq!(server.ask("GET", "/health", &[]).status, 200);
        server
    }

    pub fn database(&self) -> PathBuf {
        self.dir.path().join("db.sqlite3")
    }

    /// Asks it past menshen.
    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let headers = [headers, &[("Connection", "close")]].concat();
        let request = wire::request(method, path, &headers, b"");
        let answer = if let Some(socket) = self.url.strip_prefix("unix:") {
            let stream = UnixStream::connect(socket).expect("a connection");
            stream
                .set_read_timeout(Some(PATIENCE))
                .expect("a socket option");
            converse(stream, &request)
        } else {
            let stream = TcpStream::connect(self.address()).expect("a connection");
            stream
                .set_read_timeout(Some(PATIENCE))
                .expect("a socket option");
            converse(stream, &request)
        };
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .expect("a status");
        Answer {
            status,
            headers: Vec::new(),
            body: body.into(),
        }
    }

    /// The port that it is on.
    pub fn address(&self) -> SocketAddr {
        self.url
            .strip_prefix("http://")
            .and_then(|at| at.parse().ok())
            .expect("an address")
    }
}

/// Says this, and reads to the end.
fn converse(mut stream: impl Read + Write, request: &[u8]) -> String {
    stream.write_all(request).expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

impl Drop for Server {
    fn drop(&mut self) {
        // With the processes that it started.
        let group = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process_group(group, rustix::process::Signal::KILL)
            .expect("processes of our own");
        drop(self.child.wait());
        if std::thread::panicking() {
            eprintln!(
                "--- of the backend\n{}",
                self.lines.lock().expect("a lock").join("\n")
            );
        }
    }
}

/// menshen before an application, in production, with a WeChat on this machine.
pub struct Gate {
    pub menshen: Menshen,
    application: &'static Application,
    config: PathBuf,
    variables: Vec<(&'static str, String)>,
    _wechat: Wechat,
}

impl Gate {
    /// By the config file of its folder: only what this machine has otherwise is said in the
    /// environment.
    pub fn before(
        application: &'static Application,
        url: &str,
        more: &[(&'static str, &str)],
    ) -> Self {
        let wechat = Wechat::start();
        let config = root().join(application.folder).join("menshen.toml");
        let mut setup = Setup::before(([127, 0, 0, 1], 9).into()).reading(config.clone());
        let dir = setup.directory();
        let here = |name: &str| dir.path().join(name).display().to_string();
        std::fs::write(dir.path().join("wechat.secret"), SECRET).expect("a file");
        let mut variables = vec![
            ("MENSHEN_SERVER__LISTEN", "127.0.0.1:0".to_owned()),
            ("MENSHEN_ADMIN__LISTEN", "127.0.0.1:0".to_owned()),
            ("MENSHEN_ADMIN__TOKEN_FILE", here("admin.token")),
            ("MENSHEN_UPSTREAM__URLS", url.to_owned()),
            ("MENSHEN_STORE__URL", format!("sled:{}", here("data"))),
            ("MENSHEN_STORE__ENCRYPTION_KEY_FILE", here("store.key")),
            ("MENSHEN_WECHAT__BASE_URL", wechat.server.base_url()),
            ("MENSHEN_WECHAT__APP_ID", APP_ID.to_owned()),
            ("MENSHEN_WECHAT__SECRET_FILE", here("wechat.secret")),
        ];
        variables.extend(more.iter().map(|&(name, value)| (name, value.to_owned())));
        for (name, value) in &variables {
            setup = setup.variable(*name, value);
        }
        Self {
            menshen: setup.start(),
            application,
            config,
            variables,
            _wechat: wechat,
        }
    }

    /// Signs somebody in with WeChat, as the mini program does.
    pub fn login(&self, code: &str) -> Person<'_> {
        let answer = self
            .menshen
            .post(self.application.login, &[], &json!({ "code": code }));
        assert_eq!(
            answer.status,
            200,
            "{}",
            String::from_utf8_lossy(&answer.body)
        );
        let answer = answer.json();
        let user =
            answer.pointer(self.application.answer).expect("an answer")["user"]["id"].clone();
        self.person(&answer, self.application.token, &user)
    }

    /// Makes an administrator as operators do, and signs them in.
    pub fn administrator(&self) -> Person<'_> {
        let admin = self.menshen.admin.to_string();
        let variables = self
            .variables
            .iter()
            .map(|(name, value)| (*name, value.as_str()));
        let variables: Vec<_> = variables
            .chain([("MENSHEN_ADMIN__LISTEN", admin.as_str())])
            .collect();
        let config = self.config.to_str().expect("text");
        let add = [
            "users",
            "add",
            "boss",
            "--admin",
            "--password-stdin",
            "--config",
            config,
        ];
        let made = command_reading(self.menshen.directory(), &add, &variables, PASSWORD);
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        let body = json!({ "username": "boss", "password": PASSWORD });
        let answer = self
            .menshen
            .post(self.application.password_login, &[], &body);
        assert_eq!(
            answer.status,
            200,
            "{}",
            String::from_utf8_lossy(&answer.body)
        );
        let answer = answer.json();
        let token = if answer.get("access").is_some() {
            "/access"
        } else {
            "/access_token"
        };
        self.person(&answer, token, &answer["user"]["id"])
    }

    fn person(&self, answer: &Value, token: &str, id: &Value) -> Person<'_> {
        let token = answer
            .pointer(token)
            .and_then(Value::as_str)
            .expect("a token");
        // menshen's own API writes integers as texts.
        let id = id.as_str().map_or(id.clone(), |text| {
            text.parse::<u64>().expect("an integer").into()
        });
        Person {
            gate: self,
            bearer: format!("Bearer {token}"),
            id,
        }
    }

    /// Asks without a token.
    pub fn ask(&self, method: &str, path: &str) -> Answer {
        wire::ask(self.menshen.http, method, path, &[], b"")
    }
}

/// Somebody who is signed in.
pub struct Person<'a> {
    gate: &'a Gate,
    pub bearer: String,
    pub id: Value,
}

impl Person<'_> {
    pub fn ask(&self, method: &str, path: &str) -> Answer {
        wire::ask(
            self.gate.menshen.http,
            method,
            path,
            &[("Authorization", &self.bearer)],
            b"",
        )
    }

    /// The data of a good answer.
    pub fn get(&self, path: &str) -> Value {
        let answer = self.ask("GET", path);
        assert_eq!(
            answer.status,
            200,
            "{path}: {}",
            String::from_utf8_lossy(&answer.body)
        );
        data(&answer)
    }

    pub fn create(&self, body: &Value) -> Answer {
        self.gate.menshen.post(
            self.gate.application.things,
            &[("Authorization", &self.bearer)],
            body,
        )
    }
}

/// What an answer says, without its envelope where it has one.
pub fn data(answer: &Answer) -> Value {
    let said = answer.json();
    if said.get("timestamp").is_some() {
        said["data"].clone()
    } else {
        said
    }
}
