//! gRPC through the gate, client and service by its own library: every kind of call, with TLS and
//! without on either side.
//!
//! `./run test` installs the library.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};

use super::{
    certificates::{authority, certificate},
    menshen::{Menshen, Setup},
    tls,
};

const RULES: &str = "[[rule]]\nname = \"closed\"\npath = \"/test.Echo/Closed\"\naccess = \"required\"\n[[rule]]\nname = \
                     \"denied\"\npath = \"/test.Echo/Denied\"\naccess = \"deny\"\n[[rule]]\nname = \"open\"\npath = \
                     \"/test.Echo/**\"\naccess = \"optional\"";

fn python(arguments: &[&str]) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = root.join("target/backends/grpc/bin/python");
    assert!(
        program.exists(),
        "{} is missing: `./run test` installs it",
        program.display()
    );
    let mut command = Command::new(program);
    command
        .arg("-B")
        .arg(root.join("tests/backends/grpc/main.py"))
        .args(arguments);
    command
}

/// The service; it ends with the test.
struct Service {
    child: Child,
    port: u16,
}

impl Service {
    fn start(directory: &Path, files: &[&str]) -> Self {
        let mut child = python(&[&["serve"], files].concat())
            .current_dir(directory)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the service");
        let out = BufReader::new(child.stdout.take().expect("stdout"));
        let line = out
            .lines()
            .map_while(Result::ok)
            .find(|line| line.starts_with("listening "));
        let port = line
            .and_then(|line| line.trim_start_matches("listening ").parse().ok())
            .expect("a port");
        Self { child, port }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What the library's client got from every kind of call.
fn call(menshen: &Menshen, target: &str, authority: Option<&str>) -> Value {
    let token = menshen.token("alice");
    let arguments = [&["call", target, &token][..], authority.as_slice()].concat();
    let output = python(&arguments)
        .current_dir(menshen.directory())
        .output()
        .expect("the client");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn expected(menshen: &Menshen) -> Value {
    let user = &menshen.login("alice")["user"]["id"];
    let parts: Vec<_> = (0..50)
        .map(|n| if n < 10 { 20001 } else { 20002 })
        .collect();
    json!({
        "unary": { "said": "hello", "state": "authenticated", "user": user },
        // Only menshen may say that an answer is its own.
        "trailers": [["x-trail", "end"]],
        "down": parts,
        "up": "3000000",
        "both": ["re: 0", "re: 1", "re: 2", "re: 3", "re: 4"],
        "fail": { "code": "NOT_FOUND", "details": "no such thing" },
        "closed": { "code": "UNAUTHENTICATED", "details": "Send an access token: Authorization: Bearer <token>." },
        "closed_with_token": null,
        "denied": { "code": "PERMISSION_DENIED", "details": "This is not allowed for this user." },
        "cancelled": "yes",
    })
}

fn without_details(mut result: Value) -> Value {
    for refused in ["closed", "denied"] {
        result[refused]["details"] = Value::Null;
    }
    result
}

#[test]
fn every_kind_of_call_passes_without_tls() {
    let setup = Setup::before(([127, 0, 0, 1], 9).into());
    let service = Service::start(setup.directory().path(), &[]);
    let menshen = setup
        .with("[server]\nlisten = [\"127.0.0.1:0\"]\nh2c = true")
        .with(&format!(
            "[upstream]\nurls = [\"http://127.0.0.1:{}\"]\nprotocol = \"http2\"",
            service.port
        ))
        .with(RULES)
        .start();
    let result = call(&menshen, &menshen.http.to_string(), None);
    assert_eq!(without_details(result), without_details(expected(&menshen)));
    // A client of HTTP/1.1 has the same backend, over HTTP/2.
    let answer = menshen.get("/test.Echo/Closed", &[]);
    assert_eq!(
        (answer.status, answer.error()),
        (401, Some("token_missing"))
    );
    let unknown = menshen.get("/test.Echo/Unary", &[]);
    assert!(
        unknown.error().is_none(),
        "the backend itself answers: {unknown:?}"
    );
    // With the service gone, calls are unavailable.
    drop(service);
    let token = menshen.token("alice");
    let output = python(&["call", &menshen.http.to_string(), &token])
        .output()
        .expect("the client");
    assert!(String::from_utf8_lossy(&output.stderr).contains("StatusCode.UNAVAILABLE"));
}

#[test]
fn every_kind_of_call_passes_with_tls_and_certificates_on_both_sides() {
    let setup = Setup::before(([127, 0, 0, 1], 9).into());
    let dir = setup.directory();
    authority(dir.path(), "ca");
    certificate(dir.path(), "ca", "leaf");
    authority(dir.path(), "inner");
    certificate(dir.path(), "inner", "service");
    certificate(dir.path(), "inner", "gate");
    let service = Service::start(dir.path(), &["service.pem", "service.key", "inner.pem"]);
    let upstream = |tls: &str| {
        format!(
            "[upstream]\nurls = [\"https://127.0.0.1:{}\"]\nprotocol = \"http2\"\n[upstream.tls]\n{tls}",
            service.port
        )
    };
    let good = "ca_file = \"inner.pem\"\ncert_file = \"gate.pem\"\nkey_file = \"gate.key\"\nserver_name = \"localhost\"";
    let menshen = setup
        .with(&tls::server("", ""))
        .with(&upstream(good))
        .with(RULES)
        .start();
    let target = format!("localhost:{}", tls::address(&menshen).port());
    let result = call(&menshen, &target, Some("ca.pem"));
    assert_eq!(without_details(result), without_details(expected(&menshen)));
    // Without a certificate, with a foreign authority, under another name: no connection.
    for bad in [
        "ca_file = \"inner.pem\"\nserver_name = \"localhost\"",
        "ca_file = \"ca.pem\"\ncert_file = \"gate.pem\"\nkey_file = \"gate.key\"\nserver_name = \"localhost\"",
        "ca_file = \"inner.pem\"\ncert_file = \"gate.pem\"\nkey_file = \"gate.key\"",
    ] {
        let next = tempfile::tempdir().expect("a directory");
        for file in std::fs::read_dir(dir.path())
            .expect("a directory")
            .map_while(Result::ok)
        {
            if file.file_name().to_string_lossy().ends_with(".pem")
                || file.file_name().to_string_lossy().ends_with(".key")
            {
                std::fs::copy(file.path(), next.path().join(file.file_name())).expect("a copy");
            }
        }
        let menshen = Setup::before(([127, 0, 0, 1], 9).into())
            .in_directory(std::sync::Arc::new(next))
            .with("[server]\nlisten = [\"127.0.0.1:0\"]\nunready_grace = \"100ms\"")
            .with(&upstream(bad))
            .with(RULES)
            .start();
        let answer = menshen.get("/test.Echo/Unary", &[]);
        assert_eq!(
            (answer.status, answer.error()),
            (502, Some("upstream_unavailable")),
            "{bad}"
        );
    }
}
