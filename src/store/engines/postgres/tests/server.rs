//! A server of PostgreSQL for the tests of this process: in a directory of its own, on a Unix
//! socket and a free port, run as another user where the tests are root's.

use std::{
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio_postgres::NoTls;

/// Ends the server and removes its directory when its standard input ends, so with this process.
const SCRIPT: &str = r#"
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
as=""
if [ "$(id -u)" = 0 ]; then
    chown postgres "$dir"
    as="setpriv --reuid=postgres --regid=postgres --clear-groups"
fi
bin=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
$as "$bin/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 --locale=C --no-sync >"$dir/initdb.log" 2>&1 ||
    { cat "$dir/initdb.log" >&2; exit 1; }
$as "$bin/postgres" -D "$dir/data" -k "$dir" -c listen_addresses= -c max_connections=300 \
    -c log_destination=stderr >"$dir/server.log" 2>&1 &
server=$!
until "$bin/pg_isready" -q -h "$dir"; do
    kill -0 $server || { cat "$dir/server.log" >&2; exit 1; }
    sleep 0.05
done
echo "$dir"
read -r _ || true
kill -QUIT $server
wait $server || true
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

    fn start() -> Self {
        let mut process = Command::new("sh")
            .args(["-c", SCRIPT])
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
            "PostgreSQL does not start; `./run test` installs it"
        );
        Self {
            directory: directory.into(),
            databases: AtomicUsize::new(0),
            _process: process,
        }
    }

    /// The URL for a role of its own, which owns an empty schema of its own.
    pub(crate) async fn empty(&self) -> String {
        let name = format!("t{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.execute(&format!(
            "CREATE ROLE {name} LOGIN; CREATE SCHEMA {name} AUTHORIZATION {name};
             ALTER ROLE {name} SET search_path = {name}"
        ))
        .await;
        self.url(&name)
    }

    /// The role of a URL.
    pub(crate) fn role(url: &str) -> &str {
        url.split(['/', '@']).nth(2).expect("a role")
    }

    /// The URL for this role.
    pub(crate) fn url(&self, role: &str) -> String {
        let socket = self.directory.to_str().expect("text").replace('/', "%2F");
        format!("postgres://{role}@{socket}/postgres")
    }

    /// Ends the connections of this role, and keeps it from making others until it may log in again.
    pub(crate) async fn lock_out(&self, role: &str) {
        self.execute(&format!(
            "ALTER ROLE {role} NOLOGIN;
             SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'"
        ))
        .await;
    }

    /// Lets it log in again.
    pub(crate) async fn let_in(&self, role: &str) {
        self.execute(&format!("ALTER ROLE {role} LOGIN")).await;
    }

    /// Runs statements as the superuser.
    pub(crate) async fn execute(&self, sql: &str) {
        let (client, connection) = tokio_postgres::connect(&self.url("postgres"), NoTls)
            .await
            .expect("a connection");
        let serving = tokio::spawn(connection);
        client.batch_execute(sql).await.expect("executed");
        drop(client);
        serving.await.expect("no panic").expect("no error");
    }
}
