//! The files of `deploy/` that containers are made from and run by: valid by the published schemas,
//! closed where they must be, and run for real as far as that goes without an engine and a cluster.

mod docker;
mod image;
mod kubernetes;

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::Value;

/// A place in the repository.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A program of `tests/deploy/requirements.txt`.
fn tool(name: &str) -> Command {
    let path = repository("target/backends/deploy/bin").join(name);
    assert!(
        path.exists(),
        "{} is missing: `./run test` installs it",
        path.display()
    );
    Command::new(path)
}

/// What a command prints when it succeeds, as it has to.
fn printed(command: &mut Command) -> String {
    let output = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|fault| panic!("{command:?}: {fault}"));
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success(),
        "{command:?}: {}\n{out}{err}",
        output.status
    );
    out.into_owned()
}

/// The documents of a YAML file, once `kind` of `tests/deploy/look.py` has accepted them.
fn documents(kind: &str, file: &Path) -> Vec<Value> {
    let list = printed(
        tool("python")
            .arg(repository("tests/deploy/look.py"))
            .arg(kind)
            .arg(file),
    );
    serde_json::from_str(&list).expect("JSON")
}

/// A text at a JSON pointer.
fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_else(|| panic!("no text at {pointer} of {value:#}"))
}

/// A number at a JSON pointer.
fn number(value: &Value, pointer: &str) -> u64 {
    value
        .pointer(pointer)
        .and_then(Value::as_u64)
        .unwrap_or_else(|| panic!("no number at {pointer} of {value:#}"))
}

/// The items of a list, none where there is no list.
fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A duration of a config file, in seconds.
fn seconds(config: &toml_edit::DocumentMut, section: &str, key: &str) -> u64 {
    let text = config[section][key]
        .as_str()
        .unwrap_or_else(|| panic!("no {section}.{key}"));
    text.strip_suffix('s')
        .and_then(|count| count.parse().ok())
        .unwrap_or_else(|| panic!("{key} is {text}"))
}

/// `deploy/docker/backend.py` in a process of its own; ends when dropped.
struct ExampleBackend {
    child: Child,
    /// Where it listens, as it says.
    at: String,
}

impl ExampleBackend {
    fn start(at: &str) -> Self {
        let mut child = Command::new("python3")
            .args([
                "-u",
                &repository("deploy/docker/backend.py").to_string_lossy(),
                at,
            ])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("python3");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("its output"))
            .read_line(&mut line)
            .expect("a line");
        let at = line
            .trim()
            .strip_prefix("listening on ")
            .unwrap_or_else(|| panic!("it says {line:?}"))
            .to_owned();
        Self { child, at }
    }
}

impl Drop for ExampleBackend {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn every_yaml_file_is_tidy() {
    let lint = tool("yamllint")
        .args(["--strict", "-c", ".yamllint.yaml", "docker", "kubernetes"])
        .current_dir(repository("deploy"))
        .output()
        .expect("yamllint");
    assert!(
        lint.status.success(),
        "{}",
        String::from_utf8_lossy(&lint.stdout)
    );
}
