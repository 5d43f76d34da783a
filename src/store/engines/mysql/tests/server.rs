//! A server of MariaDB for the tests of this process: in a directory of its own, on a Unix socket and
//! a free port, run as another user where the tests are root's.

use std::{
    io::{BufRead as _, BufReader},
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use mysql_async::{Conn, OptsBuilder, prelude::Queryable as _};

/// Ends the server and removes its directory when its standard input ends, so with this process. The
/// argument is the port. Its certificate is for localhost alone; other.pem is another one. It never waits for the disk, and says that it did: `innodb_flush_log_at_trx_commit` is 1.
const SCRIPT: &str = r#"
set -eu
PATH="$PATH:/usr/sbin"
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
for name in server other; do
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=$name" \
        -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE \
        -keyout "$dir/$name.key" -out "$dir/$name.pem" 2>"$dir/openssl.log" || { cat "$dir/openssl.log" >&2; exit 1; }
done
as=""
if [ "$(id -u)" = 0 ]; then
    chown nobody "$dir" "$dir"/*
    as="setpriv --reuid=nobody --regid=nogroup --clear-groups"
fi
$as mariadb-install-db --no-defaults --datadir="$dir/data" --auth-root-authentication-method=normal \
    --skip-test-db >"$dir/install.log" 2>&1 || { cat "$dir/install.log" >&2; exit 1; }
$as mariadbd --no-defaults --datadir="$dir/data" --socket="$dir/socket" --pid-file="$dir/pid" \
    --bind-address=127.0.0.1 --port="$1" --ssl-cert="$dir/server.pem" --ssl-key="$dir/server.key" \
    --max-connections=400 --innodb-flush-method=nosync --innodb-buffer-pool-size=64M \
    --log-bin="$dir/data/binlog" --sync-binlog=1 --server-id=1 >"$dir/server.log" 2>&1 &
server=$!
until [ -S "$dir/socket" ]; do
    kill -0 $server || { cat "$dir/server.log" >&2; exit 1; }
    sleep 0.05
done
echo "$dir"
read -r _ || true
kill -KILL $server
wait $server 2>/dev/null || true
"#;

/// The server that all tests of this process share.
pub(crate) struct Server {
    directory: PathBuf,
    databases: AtomicUsize,
    _process: Child,
}

impl Server {
    pub(crate) fn shared() -> &'static Self {
        static SERVER: OnceLock<Server> = OnceLock::new();
        SERVER.get_or_init(Self::start)
    }

    pub(crate) fn start() -> Self {
        let reserved = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = reserved.local_addr().expect("an address").port();
        drop(reserved);
        let mut process = Command::new("sh")
            .args(["-c", SCRIPT, "sh", &port.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let mut directory = String::new();
        let output = process.stdout.take().expect("its output");
        BufReader::new(output)
            .read_line(&mut directory)
            .expect("its output");
        let directory = directory.trim_end();
        assert!(
            !directory.is_empty(),
            "MariaDB does not start; `./run test` installs it"
        );
        Self {
            directory: directory.into(),
            databases: AtomicUsize::new(0),
            _process: process,
        }
    }

    /// The URL for a role of its own, which owns an empty database of its own. Both have one name.
    pub(crate) async fn empty(&self) -> String {
        let name = format!("t{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.execute(&format!(
            "CREATE DATABASE {name}; CREATE USER {name}@localhost;
             GRANT ALL ON {name}.* TO {name}@localhost"
        ))
        .await;
        self.url(&name, &name)
    }

    /// The role of a URL.
    pub(crate) fn role(url: &str) -> &str {
        url.split(['/', '@']).nth(2).expect("a role")
    }

    /// The URL of this database for this role.
    pub(crate) fn url(&self, role: &str, database: &str) -> String {
        let socket = self.socket().replace('/', "%2F");
        format!("mysql://{role}@{socket}/{database}")
    }

    fn socket(&self) -> String {
        let socket = self.directory.join("socket");
        socket.to_str().expect("text").to_owned()
    }

    /// Ends the connections of this role, and keeps it from making others until it may log in again.
    pub(crate) async fn lock_out(&self, role: &str) {
        self.execute(&format!(
            "ALTER USER {role}@localhost ACCOUNT LOCK; KILL USER {role}@localhost"
        ))
        .await;
    }

    /// Lets it log in again.
    pub(crate) async fn let_in(&self, role: &str) {
        self.execute(&format!("ALTER USER {role}@localhost ACCOUNT UNLOCK"))
            .await;
    }

    /// Runs statements as the superuser.
    pub(crate) async fn execute(&self, sql: &str) {
        let options = OptsBuilder::default()
            .socket(Some(self.socket()))
            .user(Some("root"));
        let mut connection = Conn::new(options).await.expect("a connection");
        connection.query_drop(sql).await.expect("executed");
        connection.disconnect().await.expect("no error");
    }
}
