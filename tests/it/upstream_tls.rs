//! A backend behind TLS: its certificate is checked, against the name in `upstream.urls` and the
//! system's authorities.

use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};

use super::{
    certificates::{authority, certificate},
    menshen::Setup,
};

/// `openssl s_server`, ended when dropped. It would end of itself if nobody held what it prints to.
struct TlsBackend(
    Child,
    #[expect(dead_code, reason = "held open")] BufReader<ChildStdout>,
);

impl Drop for TlsBackend {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn serve(dir: &Path) -> (TlsBackend, u16) {
    let mut server = Command::new("openssl")
        .args([
            "s_server",
            "-www",
            "-key",
            "leaf.key",
            "-cert",
            "leaf.pem",
            "-accept",
            "127.0.0.1:0",
        ])
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the openssl command");
    let mut said = BufReader::new(server.stdout.take().expect("piped"));
    // It says where it listens: `ACCEPT 127.0.0.1:PORT`.
    let port = said
        .by_ref()
        .lines()
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("ACCEPT 127.0.0.1:")?.parse().ok());
    (TlsBackend(server, said), port.expect("openssl listens"))
}

#[test]
fn a_backend_is_reached_over_tls_only_when_its_certificate_is_good() {
    let dir = tempfile::tempdir().expect("a directory");
    authority(dir.path(), "ca");
    certificate(dir.path(), "ca", "leaf");
    let (_server, port) = serve(dir.path());
    let authority = dir.path().join("ca.pem").display().to_string();
    // The certificate is for `localhost`; 127.0.0.1 is the same server under a name that it does
    // not cover.
    for (host, trusted, status) in [
        ("localhost", true, 200),
        ("localhost", false, 502),
        ("127.0.0.1", true, 502),
    ] {
        let rule = "[[rule]]\nname = \"open\"\npath = \"/**\"\naccess = \"public\"";
        let upstream = format!("[upstream]\nurls = [\"https://{host}:{port}\"]");
        let mut setup = Setup::before(([127, 0, 0, 1], port).into())
            .with(&upstream)
            .with(rule);
        if trusted {
            setup = setup.variable("SSL_CERT_FILE", &authority);
        }
        let menshen = setup.start();
        let answer = menshen.get("/x", &[]);
        assert_eq!(answer.status, status, "{host}, trusted: {trusted}");
        assert_eq!(
            answer.error(),
            (status == 502).then_some("upstream_unavailable"),
            "{host}, trusted: {trusted}"
        );
    }
}
