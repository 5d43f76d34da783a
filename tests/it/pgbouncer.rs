//! PgBouncer in transaction mode, in front of the PostgreSQL of the tests of this process: on a Unix
//! socket in a directory of its own, run as another user where the tests are root's. Its few
//! connections to the server are shared by all clients, one transaction each.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

use super::postgres;

/// Ends PgBouncer and removes its directory when its standard input ends, so with this process. The
/// argument is the directory of the server's socket. It knows the roles of the tests.
const SCRIPT: &str = r#"
set -eu
PATH="$PATH:/usr/sbin"
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cat >"$dir/pgbouncer.ini" <<INI
[databases]
postgres = host=$1
[pgbouncer]
listen_addr =
unix_socket_dir = $dir
logfile = $dir/log
auth_type = trust
auth_file = $dir/users
pool_mode = transaction
default_pool_size = 2
server_login_retry = 1
INI
seq 0 99 | sed 's/.*/"t&" ""/' >"$dir/users"
as=""
if [ "$(id -u)" = 0 ]; then
    chown -R postgres "$dir"
    as="setpriv --reuid=postgres --regid=postgres --clear-groups"
fi
$as pgbouncer -q "$dir/pgbouncer.ini" &
server=$!
until [ -S "$dir/.s.PGSQL.6432" ]; do
    kill -0 $server || { cat "$dir/log" >&2; exit 1; }
    sleep 0.02
done
echo "$dir"
read -r _ || true
kill -KILL $server
wait $server || true
"#;

/// The one that all tests of this process share.
pub struct PgBouncer {
    directory: String,
    _process: Child,
}

impl PgBouncer {
    /// The same database through it.
    pub fn url(of_server: &str) -> String {
        static SHARED: OnceLock<PgBouncer> = OnceLock::new();
        let (_, socket) = of_server.split_once('@').expect("a host");
        let (socket, _) = socket.split_once('/').expect("a database");
        let socket = socket.replace("%2F", "/");
        let shared = SHARED.get_or_init(|| Self::before(&socket));
        let role = postgres::Server::role(of_server);
        let directory = shared.directory.replace('/', "%2F");
        format!("postgres://{role}@{directory}:6432/postgres")
    }

    fn before(socket: &str) -> Self {
        let mut process = Command::new("sh")
            .args(["-c", SCRIPT, "sh", socket])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let mut directory = String::new();
        let output = process.stdout.take().expect("its output");
        BufReader::new(output)
            .read_line(&mut directory)
            .expect("its output");
        let directory = directory.trim_end().to_owned();
        assert!(
            !directory.is_empty(),
            "PgBouncer does not start; `./run test` installs it"
        );
        Self {
            directory,
            _process: process,
        }
    }
}
