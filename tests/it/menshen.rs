//! The real binary, in a directory of its own, on ports that it chose.

use std::{
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{Arc, Mutex, mpsc},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::wire::{self, Answer};

pub const BINARY: &str = env!("CARGO_BIN_EXE_menshen");

/// Runs a subcommand to its end, in this directory, with nothing in the environment but
/// `variables`.
pub fn command(dir: &Path, args: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(BINARY)
        .args(args)
        .current_dir(dir)
        .env_clear()
        .envs(variables.iter().copied())
        .output()
        .expect("the binary")
}

/// The same with something to read on standard input.
pub fn command_reading(
    dir: &Path,
    args: &[&str],
    variables: &[(&str, &str)],
    input: &str,
) -> Output {
    let mut child = Command::new(BINARY)
        .args(args)
        .current_dir(dir)
        .env_clear()
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary");
    // It may end without reading.
    drop(
        child
            .stdin
            .take()
            .expect("stdin")
            .write_all(input.as_bytes()),
    );
    child.wait_with_output().expect("an end")
}

/// A running menshen. Dropping it kills the process and fails the test on a log line that a person
/// should look at.
pub struct Menshen {
    child: Child,
    pub http: SocketAddr,
    pub admin: SocketAddr,
    lines: Arc<Mutex<Vec<String>>>,
    expected_errors: Vec<&'static str>,
    dir: Arc<TempDir>,
}

/// How to start one.
pub struct Setup {
    mode: &'static str,
    upstream: String,
    sections: String,
    environment: Vec<(String, String)>,
    shell: Option<String>,
    file: Option<PathBuf>,
    binary: PathBuf,
    dir: Arc<TempDir>,
}

impl Setup {
    /// Before a backend on this address, in development mode, with a store on disk.
    pub fn before(upstream: SocketAddr) -> Self {
        Self {
            mode: "development",
            upstream: format!("http://{upstream}"),
            sections: String::new(),
            environment: Vec::new(),
            shell: None,
            file: None,
            binary: BINARY.into(),
            dir: Arc::new(tempfile::tempdir().expect("a directory")),
        }
    }

    /// Adds lines to the config; the top-level keys are `mode`, `[server]`, `[admin]`,
    /// `[upstream]`, `[limits]` and `[store]`.
    pub fn with(mut self, sections: &str) -> Self {
        self.sections.push_str(sections);
        self.sections.push('\n');
        self
    }

    /// In production mode, with a key file for the store. The credentials of WeChat are the test's
    /// own.
    pub fn in_production(mut self) -> Self {
        self.mode = "production";
        self
    }

    /// With this variable in its environment, which is empty otherwise.
    pub fn variable(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// After these commands of a shell, which becomes the process.
    pub fn after_shell(mut self, commands: impl Into<String>) -> Self {
        self.shell = Some(commands.into());
        self
    }

    /// Reading this file instead of the one that it writes.
    pub fn reading(mut self, file: PathBuf) -> Self {
        self.file = Some(file);
        self
    }

    /// With another binary of menshen.
    pub fn running(mut self, binary: PathBuf) -> Self {
        self.binary = binary;
        self
    }

    /// In the directory of another one, for a second start.
    pub fn in_directory(mut self, dir: Arc<TempDir>) -> Self {
        self.dir = dir;
        self
    }

    /// Writes the config file, for commands before the first start.
    pub fn config(&self) -> PathBuf {
        let has = |section: &str| self.sections.contains(section);
        let mut text = format!("mode = \"{}\"\n", self.mode);
        let mut section = |name: &str, lines: &str| {
            if has(&format!("[{name}]")) {
                return;
            }
            text += &format!("[{name}]\n{lines}\n");
        };
        section(
            "server",
            "listen = [\"127.0.0.1:0\"]\nunready_grace = \"100ms\"",
        );
        section("admin", "listen = \"127.0.0.1:0\"");
        section("upstream", &format!("urls = [\"{}\"]", self.upstream));
        section("limits", "enabled = false");
        match self.mode {
            "production" => section(
                "store",
                "url = \"sled:data\"\nencryption_key_file = \"store.key\"",
            ),
            _ => section("store", "url = \"sled:data\""),
        }
        text.push_str(&self.sections);
        let path = self.dir.path().join("config.toml");
        std::fs::write(&path, text).expect("a config file");
        path
    }

    /// The directory that it is to run in.
    pub fn directory(&self) -> Arc<TempDir> {
        self.dir.clone()
    }

    /// Starts it and waits until it is ready.
    pub fn start(self) -> Menshen {
        self.start_within(Duration::from_secs(30))
    }

    /// As `start`, where what it needs may come only after some time.
    pub fn start_within(self, limit: Duration) -> Menshen {
        self.try_start_within(limit)
            .unwrap_or_else(|why| panic!("{why}"))
    }

    /// As `start_within`; the error says whether it took too long or has ended, with its log.
    pub fn try_start_within(self, limit: Duration) -> Result<Menshen, String> {
        let config = self.file.clone().unwrap_or_else(|| self.config());
        let mut command = match &self.shell {
            None => Command::new(&self.binary),
            Some(commands) => {
                let mut shell = Command::new("/bin/sh");
                shell.args(["-c", &format!("{commands}\nexec \"$0\" \"$@\"")]);
                shell.arg(&self.binary);
                shell
            }
        };
        let mut child = command
            .args(["run", "--config"])
            .arg(&config)
            .current_dir(self.dir.path())
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (ready, wait) = mpsc::channel();
        let out = BufReader::new(child.stdout.take().expect("stdout"));
        let err = BufReader::new(child.stderr.take().expect("stderr"));
        keep(out, lines.clone(), Some(ready));
        keep(err, lines.clone(), None);
        let ready = match wait.recv_timeout(limit) {
            Ok(ready) => ready,
            Err(why) => {
                let why = match why {
                    mpsc::RecvTimeoutError::Timeout => {
                        format!("menshen is not ready after {limit:?}")
                    }
                    // Its output has ended.
                    mpsc::RecvTimeoutError::Disconnected => {
                        let status = child.wait().expect("an exit status");
                        format!("menshen ended before it was ready: {status}")
                    }
                };
                drop(child.kill());
                drop(child.wait());
                let log = lines.lock().expect("a lock").join("\n");
                return Err(format!("menshen did not start: {why}\n{log}"));
            }
        };
        let address = |name: &str| {
            ready[name]
                .as_str()
                .and_then(|at| at.parse().ok())
                .expect("an address")
        };
        Ok(Menshen {
            child,
            http: address("http"),
            admin: address("admin"),
            lines,
            expected_errors: Vec::new(),
            dir: self.dir,
        })
    }
}

/// Keeps the lines of a stream, and reports the one that says `ready`.
fn keep(
    stream: impl BufRead + Send + 'static,
    lines: Arc<Mutex<Vec<String>>>,
    mut ready: Option<mpsc::Sender<Value>>,
) {
    std::thread::spawn(move || {
        for line in stream.lines().map_while(Result::ok) {
            let parsed: Option<Value> = serde_json::from_str(&line).ok();
            lines.lock().expect("a lock").push(line);
            if let Some(parsed) = parsed.filter(|parsed| parsed["message"] == "ready")
                && let Some(ready) = ready.take()
            {
                drop(ready.send(parsed));
            }
        }
    });
}

impl Menshen {
    pub fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        wire::ask(self.http, "GET", path, headers, b"")
    }

    pub fn post(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        wire::post(self.http, path, headers, body)
    }

    /// Signs in with a development code; gives the token answer.
    pub fn login(&self, code: &str) -> Value {
        let answer = self.post("/auth/wechat/login", &[], &json!({ "code": code }));
        assert_eq!(
            answer.status,
            200,
            "{}",
            String::from_utf8_lossy(&answer.body)
        );
        answer.json()
    }

    /// An access token of a development user.
    pub fn token(&self, code: &str) -> String {
        self.login(code)["access_token"]
            .as_str()
            .expect("a token")
            .to_owned()
    }

    /// The directory that it runs in.
    pub fn directory(&self) -> &Path {
        self.dir.path()
    }

    /// The directory, to be kept for another start.
    pub fn keep_directory(&self) -> Arc<TempDir> {
        self.dir.clone()
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a pid")
    }

    /// What it holds of the machine's memory, in KiB.
    pub fn memory(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))
            .expect("a running process");
        let resident = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .expect("its memory");
        resident
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .expect("KiB")
    }

    /// Everything logged so far.
    pub fn log(&self) -> Vec<String> {
        self.lines.lock().expect("a lock").clone()
    }

    /// The newest log line that is one of these.
    pub fn newest_line(&self, is_one: impl Fn(&str) -> bool) -> Option<String> {
        self.lines
            .lock()
            .expect("a lock")
            .iter()
            .rev()
            .find(|line| is_one(line))
            .cloned()
    }

    /// Waits for a log line that contains `text`.
    pub fn wait_for_log(&self, text: &str) -> String {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(line) = self.log().into_iter().find(|line| line.contains(text)) {
                return line;
            }
            assert!(
                Instant::now() < end,
                "no log line has {text:?}:\n{}",
                self.log().join("\n")
            );
            std::thread::yield_now();
        }
    }

    /// A line at level ERROR that contains `text` is part of the test.
    pub fn expect_error(&mut self, text: &'static str) {
        self.expected_errors.push(text);
    }

    /// All metrics, as Prometheus reads them.
    pub fn metrics(&self) -> String {
        String::from_utf8(wire::ask(self.admin, "GET", "/metrics", &[], b"").body).expect("text")
    }

    /// The value of a metric's one series, by its whole name and labels as printed.
    pub fn metric(&self, series: &str) -> f64 {
        let text = self.metrics();
        text.lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
            .unwrap_or_else(|| panic!("no series {series} in\n{text}"))
    }

    /// Waits until a series counts at least so much: a request is counted when its answer has been
    /// sent.
    pub fn wait_for_metric(&self, series: &str, least: f64) {
        let end = Instant::now() + Duration::from_secs(10);
        let value = |text: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
        };
        while value(&self.metrics()).unwrap_or(0.0_f64) < least {
            assert!(
                Instant::now() < end,
                "{series} does not come to {least}:\n{}",
                self.metrics()
            );
            std::thread::yield_now();
        }
    }

    /// Waits until so many connections of clients are open, where there are more.
    pub fn wait_for_connections(&self, open: u32) {
        let end = Instant::now() + Duration::from_secs(10);
        while self.metric("menshen_connections") > f64::from(open) + 0.5 {
            assert!(
                Instant::now() < end,
                "connections stay open:\n{}",
                self.metrics()
            );
            std::thread::yield_now();
        }
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.pid()).expect("a pid");
        rustix::process::kill_process(pid, signal).expect("a signal");
    }

    /// Tells it to stop and waits until it has, as it should.
    pub fn stop(&mut self) {
        self.signal(rustix::process::Signal::TERM);
        assert_eq!(self.wait().code(), Some(0));
    }

    /// Waits for the process to end.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("an exit status")
    }
}

impl Drop for Menshen {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            eprintln!("--- log of menshen\n{}", self.log().join("\n"));
            return;
        }
        let unexpected: Vec<_> = self
            .log()
            .into_iter()
            .filter(|line| line.contains("\"level\":\"ERROR\"") || line.contains("panicked"))
            .filter(|line| {
                !self
                    .expected_errors
                    .iter()
                    .any(|expected| line.contains(expected))
            })
            .collect();
        assert!(
            unexpected.is_empty(),
            "unannounced errors in the log:\n{}",
            unexpected.join("\n")
        );
    }
}
