"""PostgreSQL and MariaDB for a measurement: in directories of their own on the disk, as durable as menshen asks, on Unix sockets."""

import os
import pwd
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from process import Invalid, Process, cpu


class Database:
    """`url(name)` is that of an empty store; `server` the process with its CPU time."""

    user = "nobody"

    def __init__(self):
        # Neither root's (PostgreSQL refuses it) nor on tmpfs (commits wait for a disk).
        self.directory = Path(tempfile.mkdtemp(prefix="menshen-", dir="/var/tmp"))
        self.prefix = []
        if os.geteuid() == 0:
            entry = pwd.getpwnam(self.user)
            os.chown(self.directory, entry.pw_uid, entry.pw_gid)
            self.prefix = ["setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups"]
        try:
            self.server = self.start()
        except BaseException:
            shutil.rmtree(self.directory, ignore_errors=True)
            raise

    def run(self, argv, **options):
        return subprocess.run([*self.prefix, *map(str, argv)], check=True, capture_output=True, text=True, **options).stdout

    def wait(self, server, is_ready):
        end = time.monotonic() + 60
        while not is_ready():
            if server.child.poll() is not None or time.monotonic() > end:
                raise server.failure("does not start")
            time.sleep(0.05)
        return server

    def stop(self):
        self.server.stop()
        shutil.rmtree(self.directory, ignore_errors=True)


class Postgres(Database):
    name, user = "PostgreSQL", "postgres"

    def start(self):
        self.bin = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))[-1]
        data = self.directory / "data"
        self.run([self.bin / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"])
        # setpriv becomes the server, so the process is the one whose children do the work.
        argv = [*self.prefix, self.bin / "postgres", "-D", data, "-k", self.directory, "-c", "listen_addresses=", "-c", "max_connections=300",
                "-c", "shared_buffers=1GB", "-c", "max_wal_size=8GB"]
        return self.wait(Process(argv, os.sched_getaffinity(0)), lambda: subprocess.run(
            [self.bin / "pg_isready", "-q", "-h", self.directory], check=False).returncode == 0)

    def sql(self, text, database="postgres"):
        return self.run([self.bin / "psql", "-qAtX", "-v", "ON_ERROR_STOP=1", "-h", self.directory, "-U", "postgres", database], input=text).strip()

    def url(self, name):
        self.sql(f"CREATE DATABASE {name}")
        return f"postgres://postgres@{str(self.directory).replace('/', '%2F')}/{name}"

    def version(self):
        return self.sql("SHOW server_version").split()[0]

    def sizes(self, name):
        """Bytes of the values by the first letter of their keys."""
        text = self.sql("SELECT convert_from(substr(key, 1, 1), 'LATIN1'), avg(length(value))::int, count(*) FROM menshen_records GROUP BY 1", name)
        return {line.split("|")[0]: tuple(map(int, line.split("|")[1:])) for line in text.splitlines()}


class Mariadb(Database):
    name = "MariaDB"

    def start(self):
        data, self.socket = self.directory / "data", self.directory / "socket"
        os.environ["PATH"] += ":/usr/sbin"
        self.run(["mariadb-install-db", "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal", "--skip-test-db"])
        argv = [*self.prefix, "mariadbd", "--no-defaults", f"--datadir={data}", f"--socket={self.socket}", f"--pid-file={self.directory}/pid",
                "--skip-networking", "--max-connections=400", "--innodb-buffer-pool-size=1G", "--innodb-log-file-size=1G",
                f"--log-bin={data}/binlog", "--sync-binlog=1", "--server-id=1"]
        return self.wait(Process(argv, os.sched_getaffinity(0)), self.socket.exists)

    def sql(self, text, database=""):
        return self.run(["mariadb", "--no-defaults", "-N", "-B", f"--socket={self.socket}", "-u", "root", database], input=text).strip()

    def url(self, name):
        self.sql(f"CREATE DATABASE {name}; CREATE USER {name}@localhost; GRANT ALL ON {name}.* TO {name}@localhost")
        return f"mysql://{name}@{str(self.socket).replace('/', '%2F')}/{name}"

    def version(self):
        return self.sql("SELECT VERSION()").split("-")[0]

    def sizes(self, name):
        text = self.sql("SELECT LEFT(record_key, 1), ROUND(AVG(LENGTH(value))), COUNT(*) FROM menshen_records GROUP BY 1", name)
        return {line.split("\t")[0]: tuple(map(int, line.split("\t")[1:])) for line in text.splitlines()}


def pgbench(database, name, script, callers, seconds, variables):
    """Transactions a second, and microseconds of CPU for each: pgbench's and the server's. All are of the time between pgbench's first
    line of progress and its last, when its connections are there and their statements are prepared, and those of an earlier run have had a second to end."""
    file = database.directory / "script.sql"
    file.write_text(script, encoding="ascii")
    argv = [str(database.bin / "pgbench"), "-n", "-M", "prepared", "-f", str(file), "-c", str(callers), "-j", str(min(callers, 2)),
            "-T", str(seconds + 2), "-P", "1", "-h", str(database.directory), "-U", "postgres", *(f"-D{key}={value}" for key, value in variables.items()), name]
    child = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    printed, readings, count = [], [], 0.0
    for line in child.stderr:
        printed.append(line)
        found = re.match(r"progress: ([\d.]+) s, ([\d.]+) tps", line)
        if found and len(readings) <= seconds:
            now, rate = map(float, found.groups())
            if readings:
                count += rate * (now - readings[-1][0])
            readings.append((now, cpu(child.pid), database.server.cpu()))
    if child.wait() or len(readings) <= seconds:
        raise Invalid(f"pgbench: {''.join(printed)[-2000:]}")
    took, own, server = (last - first for first, last in zip(readings[0], readings[-1]))
    return {"operations": count, "a_second": count / took, "client_cpu_us": own / 1000 / count, "server_cpu_us": server / 1000 / count}
