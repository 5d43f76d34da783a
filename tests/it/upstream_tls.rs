//! A backend behind TLS: its certificate is checked, against the name in `upstream.urls` and the system's authorities.

use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};

use super::menshen::Setup;

/// `openssl s_server`, ended when dropped. It would end of itself if nobody held what it prints to.
struct TlsBackend(Child, #[expect(dead_code, reason = "held open")] BufReader<ChildStdout>);

impl Drop for TlsBackend {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn openssl(dir: &Path, line: &str) {
    let output = Command::new("openssl").args(line.split(' ')).current_dir(dir).output().expect("the openssl command");
    assert!(output.status.success(), "openssl {line}: {}", String::from_utf8_lossy(&output.stderr));
}

/// An authority, and a certificate of it for `localhost`.
fn certificates(dir: &Path) {
    std::fs::write(dir.join("leaf"), "subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n").expect("a file");
    for line in [
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=authority \
         -addext basicConstraints=critical,CA:TRUE",
        "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout leaf.key -out leaf.csr -subj /CN=localhost",
        "x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile leaf -out leaf.pem",
    ] {
        openssl(dir, line);
    }
}

fn serve(dir: &Path) -> (TlsBackend, u16) {
    let mut server = Command::new("openssl")
        .args(["s_server", "-www", "-key", "leaf.key", "-cert", "leaf.pem", "-accept", "127.0.0.1:0"])
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the openssl command");
    let mut said = BufReader::new(server.stdout.take().expect("piped"));
    // It says where it listens: `ACCEPT 127.0.0.1:PORT`.
    let port =
        said.by_ref().lines().map_while(Result::ok).find_map(|line| line.strip_prefix("ACCEPT 127.0.0.1:")?.parse().ok());
    (TlsBackend(server, said), port.expect("openssl listens"))
}

#[test]
fn a_backend_is_reached_over_tls_only_when_its_certificate_is_good() {
    let dir = tempfile::tempdir().expect("a directory");
    certificates(dir.path());
    let (_server, port) = serve(dir.path());
    let authority = dir.path().join("ca.pem").display().to_string();
    // The certificate is for `localhost`; 127.0.0.1 is the same server under a name that it does not cover.
    for (host, trusted, status) in [("localhost", true, 200), ("localhost", false, 502), ("127.0.0.1", true, 502)] {
        let rule = "[[rule]]\nname = \"open\"\npath = \"/**\"\naccess = \"public\"";
        let upstream = format!("[upstream]\nurls = [\"https://{host}:{port}\"]");
        let mut setup = Setup::before(([127, 0, 0, 1], port).into()).with(&upstream).with(rule);
        if trusted {
            setup = setup.variable("SSL_CERT_FILE", &authority);
        }
        let menshen = setup.start();
        let answer = menshen.get("/x", &[]);
        assert_eq!(answer.status, status, "{host}, trusted: {trusted}");
        assert_eq!(answer.error(), (status == 502).then_some("upstream_unavailable"), "{host}, trusted: {trusted}");
    }
}
