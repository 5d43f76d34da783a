//! A Prometheus in a process of its own, run by the file of `deploy/prometheus` but for addresses
//! and intervals.

use std::{
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tempfile::TempDir;

use super::query;
use crate::wire;

/// How long anything here may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file of the repository.
pub fn file(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|fault| panic!("{path}: {fault}"))
}

fn program(name: &str) -> PathBuf {
    let program = root().join("target/backends/prometheus/usr/bin").join(name);
    assert!(
        program.exists(),
        "{} is missing: `./run test` brings it",
        program.display()
    );
    program
}

/// Runs promtool at the repository's root; gives its exit code, and what it says on standard error,
/// or on standard output when it fails.
pub fn promtool(args: &[&str], input: &str) -> (Option<i32>, String) {
    let mut child = Command::new(program("promtool"))
        .args(args)
        .current_dir(root())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool");
    drop(
        child
            .stdin
            .take()
            .expect("stdin")
            .write_all(input.as_bytes()),
    );
    let done = child.wait_with_output().expect("an end");
    let (out, err) = (
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr),
    );
    let said = if done.status.success() {
        err.into_owned()
    } else {
        format!("{out}{err}")
    };
    (done.status.code(), said)
}

/// Ends when dropped.
pub struct Prometheus {
    child: Child,
    at: SocketAddr,
    _dir: TempDir,
}

impl Prometheus {
    /// Reads the metrics at this address four times a second.
    pub fn reading(target: SocketAddr) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut text = file("deploy/prometheus/prometheus.yaml");
        let rules = root().join("deploy/prometheus/rules.yaml");
        for (written, meant) in [
            ("scrape_interval: 15s", "scrape_interval: 250ms".to_owned()),
            (
                "evaluation_interval: 15s",
                "evaluation_interval: 250ms".to_owned(),
            ),
            ("- rules.yaml", format!("- {}", rules.display())),
            ("127.0.0.1:9090\"", format!("{target}\"")),
        ] {
            assert_eq!(text.matches(written).count(), 1, "{written}");
            text = text.replace(written, &meant);
        }
        let config = dir.path().join("prometheus.yaml");
        std::fs::write(&config, text).expect("a file");
        let mut child = Command::new(program("prometheus"))
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                dir.path().join("data").display()
            ))
            .arg("--web.listen-address=127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("prometheus");
        let log = BufReader::new(child.stderr.take().expect("stderr"));
        let (found, wait) = mpsc::channel();
        // Reads to the end, so that it never waits for its reader.
        std::thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                if let Some((_, at)) = line.split_once("msg=\"Listening on\" address=") {
                    drop(found.send(at.trim().to_owned()));
                }
            }
        });
        let at = wait.recv_timeout(PATIENCE).map_or_else(
            |_| {
                drop(child.kill());
                panic!("prometheus does not listen")
            },
            |at| at.parse().expect("an address"),
        );
        Self {
            child,
            at,
            _dir: dir,
        }
    }

    fn data(&self, path: &str) -> Result<Value, String> {
        let answer = wire::ask(self.at, "GET", path, &[], b"");
        let said = String::from_utf8_lossy(&answer.body).into_owned();
        // It says 503 in plain text until it has loaded its config.
        let parsed: Value = serde_json::from_str(&said).map_err(|_| said.clone())?;
        if parsed["status"] == "success" {
            Ok(parsed["data"].clone())
        } else {
            Err(said)
        }
    }

    fn query(&self, query: &str) -> Result<Vec<Value>, String> {
        let path = format!(
            "/api/v1/query?query={}",
            utf8_percent_encode(query, NON_ALPHANUMERIC)
        );
        let data = self.data(&path)?;
        Ok(data["result"].as_array().cloned().expect("a vector"))
    }

    /// The series that a query gives now; it is an error if Prometheus says so.
    pub fn ask(&self, query: &str) -> Vec<Value> {
        self.query(query)
            .unwrap_or_else(|said| panic!("{query}: {said}"))
    }

    fn wait_until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(Instant::now() < end, "{what} does not come about");
            std::thread::yield_now();
        }
    }

    /// Waits until a query gives something.
    pub fn wait_for(&self, query: &str) {
        Self::wait_until(query, || {
            self.query(query)
                .is_ok_and(|found| !found.is_empty())
                .then_some(())
        });
    }

    /// Waits until an alert is in this state.
    pub fn wait_for_alert(&self, name: &str, state: &str) {
        let series = format!("ALERTS{{alertname=\"{name}\", alertstate=\"{state}\"}}");
        self.wait_for(&series);
    }

    /// All rules, when each has been evaluated.
    pub fn rules(&self) -> Vec<Value> {
        Self::wait_until("the first evaluation of all rules", || {
            let groups = self.data("/api/v1/rules").ok()?;
            let groups = groups["groups"].as_array()?;
            let rules: Vec<Value> = groups
                .iter()
                .filter_map(|group| group["rules"].as_array())
                .flatten()
                .cloned()
                .collect();
            let is_done = !rules.is_empty() && rules.iter().all(|rule| rule["health"] != "unknown");
            is_done.then_some(rules)
        })
    }

    /// Each selector of an expression gives something by itself, whatever comparison hides it.
    pub fn assert_has_selectors_of(&self, expression: &str, whose: &str) {
        let selectors = query::selectors(expression);
        assert!(
            !selectors.is_empty(),
            "{whose} asks for nothing: {expression}"
        );
        for selector in selectors {
            let text = selector.text();
            // Recorded series come an evaluation after those that they are made of.
            Self::wait_until(&format!("{text} of {whose}"), || {
                (!self.ask(&text).is_empty()).then_some(())
            });
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
