//! PgBouncer in transaction mode in front of the tests' PostgreSQL: each transaction may get another
//! session of the server.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// Ends when dropped.
pub struct PgBouncer {
    child: Child,
    address: SocketAddr,
    _dir: TempDir,
}

impl PgBouncer {
    /// In front of the server of this URL, for its role.
    pub fn before(url: &str) -> Self {
        let (role, server) = url
            .strip_prefix("postgres://")
            .and_then(|rest| rest.strip_suffix("/postgres"))
            .and_then(|rest| rest.split_once('@'))
            .expect("a URL of the tests");
        let server = server.replace("%2F", "/");
        let reserved = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = reserved.local_addr().expect("an address");
        drop(reserved);
        let dir = tempfile::tempdir().expect("a directory");
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(dir.path(), open).expect("a mode");
        let (users, config) = (dir.path().join("users.txt"), dir.path().join("config.ini"));
        std::fs::write(&users, format!("\"{role}\" \"\"\n")).expect("a file");
        let text = format!(
            "[databases]\npostgres = host={server} dbname=postgres\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {}\nunix_socket_dir =\n\
             auth_type = trust\nauth_file = {}\npool_mode = transaction\ndefault_pool_size = 3\n",
            address.port(),
            users.display()
        );
        std::fs::write(&config, text).expect("a file");
        // It refuses to be root.
        let as_another = "[ \"$(id -u)\" != 0 ] || exec setpriv --reuid=postgres --regid=postgres --clear-groups \
                          pgbouncer -q \"$1\"; exec pgbouncer -q \"$1\"";
        let child = Command::new("sh")
            .env("PATH", "/usr/sbin:/usr/bin:/bin")
            .args(["-c", as_another, "sh"])
            .arg(&config)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        let started = Self {
            child,
            address,
            _dir: dir,
        };
        let end = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(address).is_err() {
            assert!(
                Instant::now() < end,
                "pgbouncer does not start; `./run test` installs it"
            );
            std::thread::yield_now();
        }
        started
    }

    /// The URL that leads through it.
    pub fn url(&self, role: &str) -> String {
        format!("postgres://{role}@{}/postgres", self.address)
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
