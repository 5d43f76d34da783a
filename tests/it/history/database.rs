//! Servers of a database that are restarted in the middle of it, and of which a standby takes the place:
//! in a directory of their own, on Unix sockets, run as another user where the tests are root's.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

/// Arguments: the user and the group of the servers. `end SIGNAL` ends the server in service.
const PREPARE: &str = r#"
set -eu
PATH="$PATH:/usr/sbin"
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
as=""
if [ "$(id -u)" = 0 ]; then
    chown "$1" "$dir"
    as="setpriv --reuid=$1 --regid=$2 --clear-groups"
fi
server=""
standby=""
end() {
    kill "-$1" $server
    wait $server || true
}
failed() {
    tail -n 100 "$dir"/*.log >&2
    kill -QUIT $server $standby || true
    exit 1
}
# Fails where it is called for more than a minute or two.
waited=0
wait_on() {
    waited=$((waited + 1))
    [ $waited -lt 3000 ] || { echo "waited too long: $1" >&2; failed; }
    sleep 0.02
}
"#;

/// Prints the directory, then does what each line of standard input says and prints "ok". When that
/// ends, so with this process, the servers end and the directory is removed.
const COMMANDS: &str = r#"
create
echo "$dir"
while read -r command; do
    $command
    echo ok
done
kill -QUIT $server $standby
wait $server $standby || true
"#;

/// Two places for servers, `a` and `b`; the server in service is at `$place`.
const POSTGRES: &str = r#"
bin=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
place=a
start() {
    $as mkdir -p "$dir/$1.socket"
    $as "$bin/postgres" -D "$dir/$1" -k "$dir/$1.socket" -c listen_addresses= -c max_connections=100 \
        -c log_destination=stderr >>"$dir/$1.log" 2>&1 &
    started=$!
    waited=0
    until "$bin/pg_isready" -q -h "$dir/$1.socket"; do
        kill -0 $started || failed
        wait_on "the server at $1 takes no connections"
    done
}
sql() {
    "$bin/psql" -q -t -A -h "$dir/$place.socket" -U postgres -c "$1"
}
create() {
    $as "$bin/initdb" -D "$dir/a" -U postgres -A trust -E UTF8 --locale=C --no-sync >"$dir/a.log" 2>&1 || failed
    start a
    server=$started
    sql "CREATE ROLE menshen LOGIN"
    sql "CREATE SCHEMA menshen AUTHORIZATION menshen"
    sql "ALTER ROLE menshen SET search_path = menshen"
}
restart() {
    end QUIT
    start $place
    server=$started
}
# From then on every commit waits for it.
add_standby() {
    other=b
    [ $place = a ] || other=a
    rm -rf "$dir/$other"
    $as "$bin/pg_basebackup" -h "$dir/$place.socket" -U postgres -D "$dir/$other" -R -c fast --no-sync \
        2>>"$dir/$other.log" || failed
    start $other
    standby=$started
    sql "ALTER SYSTEM SET synchronous_standby_names = '*'"
    sql "SELECT pg_reload_conf()" >"$dir/reload.log"
    has_all="sync_state = 'sync' AND flush_lsn >= pg_current_wal_flush_lsn()"
    waited=0
    until [ "$(sql "SELECT count(*) FROM pg_stat_replication WHERE $has_all")" = 1 ]; do
        kill -0 $standby || failed
        wait_on "the standby has not all of: $(sql "SELECT * FROM pg_stat_replication")"
    done
}
promote() {
    end QUIT
    $as "$bin/pg_ctl" promote -D "$dir/$other" -s -w || failed
    place=$other
    server=$standby
    standby=""
}
"#;

/// One server. It never waits for the disk, and says that it did: `innodb_flush_log_at_trx_commit` is 1.
const MARIADB: &str = r#"
start() {
    $as mkdir -p "$dir/a.socket"
    rm -f "$dir/a.socket/socket"
    $as mariadbd --no-defaults --datadir="$dir/a" --socket="$dir/a.socket/socket" --skip-networking \
        --max-connections=200 --innodb-flush-method=nosync --innodb-buffer-pool-size=64M \
        --log-bin="$dir/a/binlog" --sync-binlog=1 --server-id=1 >>"$dir/a.log" 2>&1 &
    server=$!
    waited=0
    until sql "SELECT 1" >"$dir/ping.log" 2>&1; do
        kill -0 $server || failed
        wait_on "the server takes no connections"
    done
}
sql() {
    mariadb --no-defaults -S "$dir/a.socket/socket" -u root -e "$1"
}
create() {
    $as mariadb-install-db --no-defaults --datadir="$dir/a" --auth-root-authentication-method=normal \
        --skip-test-db >"$dir/a.log" 2>&1 || failed
    start
    sql "CREATE DATABASE menshen; CREATE USER menshen@localhost; GRANT ALL ON menshen.* TO menshen@localhost"
}
restart() {
    end KILL
    start
}
"#;

/// Which database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    Postgres,
    Mariadb,
}

/// Its servers.
pub struct Database {
    pub engine: Engine,
    directory: PathBuf,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    script: Child,
}

impl Database {
    /// A server with an empty store for the role `menshen`.
    pub fn start(engine: Engine) -> Self {
        let (own, user) = match engine {
            Engine::Postgres => (POSTGRES, ["postgres", "postgres"]),
            Engine::Mariadb => (MARIADB, ["nobody", "nogroup"]),
        };
        let mut script = Command::new("sh")
            .args(["-c", &format!("{PREPARE}{own}{COMMANDS}"), "sh"])
            .args(user)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let mut answers = BufReader::new(script.stdout.take().expect("its output"));
        let mut directory = String::new();
        answers.read_line(&mut directory).expect("its output");
        let directory = directory.trim_end();
        assert!(
            !directory.is_empty(),
            "{engine:?} does not start; `./run test` installs it"
        );
        Self {
            engine,
            directory: directory.into(),
            commands: script.stdin.take(),
            answers,
            script,
        }
    }

    /// The Unix sockets of the places where a server may be. On PostgreSQL, of both.
    pub fn sockets(&self) -> Vec<PathBuf> {
        let socket = |place: &str, name: &str| self.directory.join(place).join(name);
        match self.engine {
            Engine::Postgres => ["a.socket", "b.socket"]
                .map(|place| socket(place, ".s.PGSQL.5432"))
                .into(),
            Engine::Mariadb => vec![socket("a.socket", "socket")],
        }
    }

    /// Ends the server without a word to anybody, and starts it again.
    pub fn restart(&mut self) {
        self.run("restart");
    }

    /// Adds a standby that every commit waits for.
    pub fn add_standby(&mut self) {
        self.run("add_standby");
    }

    /// Ends the primary as in [`Self::restart`], and puts the standby in its place.
    pub fn promote(&mut self) {
        self.run("promote");
    }

    fn run(&mut self, command: &str) {
        let commands = self.commands.as_mut().expect("its input");
        writeln!(commands, "{command}").expect("the script runs");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("its output");
        assert_eq!(answer.trim_end(), "ok", "{command}");
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        drop(self.commands.take());
        drop(self.script.wait());
    }
}
