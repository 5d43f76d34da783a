"""The processes of the load comparison: the upstream, the proxies compared, and how each is set up.

Proxies run on one core (`PROXY_CORE`), the upstream and the load on the other, so that they do not take each other's time.
"""

import http.client
import json
import os
import signal
import socket
import subprocess
import time

PROXY_CORE, LOAD_CORE = 0, 1
HAPROXY_BINARY = "/usr/sbin/haproxy"
HOST = "127.0.0.1"

UPSTREAM = """
global
  nbthread 1
  maxconn 8192
defaults
  mode http
  timeout client 600s
  timeout http-keep-alive 600s
frontend backend
  bind {host}:{port} backlog 4096
  http-request return status 200 content-type text/plain string "hello from the backend"
"""

HAPROXY = """
global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout connect 1s
  timeout client 60s
  timeout server 60s
  http-reuse always
backend upstream
  server s {host}:{upstream} maxconn 4096
frontend open
  bind {host}:{open}
  default_backend upstream
"""

# The leanest gate that HAProxy can be: algorithm and signature, nothing else. No `iss`, `aud` or `exp`, no log.
HAPROXY_GATE = """
frontend gate_{alg}
  bind {host}:{port}
  http-request set-var(txn.token) http_auth_bearer
  http-request set-var(txn.alg) var(txn.token),jwt_header_query('$.alg')
  http-request deny deny_status 401 unless {{ var(txn.alg) -m str {alg} }}
  http-request deny deny_status 401 unless {{ var(txn.token),jwt_verify(txn.alg,"{key}") -m int 1 }}
  http-request set-header X-User-Id %[var(txn.token),jwt_payload_query('$.sub')]
  http-request del-header Authorization
  default_backend upstream
"""

MENSHEN = """
mode = "development"
[server]
listen = ["{host}:{port}"]
threads = {threads}
[admin]
listen = "{host}:{admin}"
[upstream]
urls = ["http://{host}:{upstream}"]
[tokens]
algorithm = "{alg}"
{key}
[store]
url = "sled:{data}"
[limits]
enabled = false
[telemetry]
access_log = true
log_format = "json"
"""


def free_port():
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        return sock.getsockname()[1]


class Process:
    """A child on given cores; `cpu()` is what all its threads have used, in nanoseconds."""

    def __init__(self, argv, cores, output=subprocess.DEVNULL, end=signal.SIGTERM):
        self.argv, self.end = argv, end
        self.child = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            preexec_fn=lambda: os.sched_setaffinity(0, cores & os.sched_getaffinity(0)))
        self.pid = self.child.pid

    def cpu(self):
        # The CPU clock of another process, as clock_getcpuclockid(3) names it; threads that have ended are in it.
        return time.clock_gettime_ns((~self.pid << 3) | 2)

    def memory(self):
        """Resident bytes: now, and at the highest."""
        with open(f"/proc/{self.pid}/status", encoding="ascii") as file:
            fields = dict(line.split(":", 1) for line in file)
        return tuple(int(fields[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))

    def stop(self):
        """Asks it to end, and says how it ended."""
        if self.child.poll() is None:
            self.child.send_signal(self.end)
            try:
                self.child.wait(60)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        return self.child.returncode

    def wait_for(self, port, path=None, limit=30.0):
        """Returns once `port` is open, or answers `path` with 200."""
        end = time.monotonic() + limit
        while time.monotonic() < end:
            if self.child.poll() is not None:
                raise RuntimeError(f"{self.argv[0]} ended with {self.child.returncode}: {' '.join(map(str, self.argv))}")
            try:
                if path is None:
                    socket.create_connection((HOST, port), 1).close()
                    return
                if get(port, path)[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.0005)
        raise RuntimeError(f"{self.argv[0]} is not ready after {limit} s")


def get(port, path, headers=None, method="GET", body=None):
    connection = http.client.HTTPConnection(HOST, port, timeout=10)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def start_upstream(directory):
    """The fastest backend at hand: HAProxy, answering by itself."""
    port = free_port()
    config = directory / "upstream.cfg"
    config.write_text(UPSTREAM.format(host=HOST, port=port), encoding="ascii")
    process = Process([HAPROXY_BINARY, "-db", "-f", str(config)], {LOAD_CORE})
    process.wait_for(port)
    return process, port


def start_bare(binary, upstream):
    port = free_port()
    process = Process([str(binary), f"{HOST}:{port}", f"{HOST}:{upstream}"], {PROXY_CORE}, end=signal.SIGINT)  # after SIGTERM pingora waits 5 min
    process.wait_for(port)
    return process, port


def start_haproxy(directory, upstream, keys):
    """One process with a frontend for each algorithm that it knows, and an open one (`None`)."""
    ports = {None: free_port()}
    text = HAPROXY.format(host=HOST, upstream=upstream, open=ports[None])
    for key in keys:
        if key.alg == "EdDSA":
            continue  # jwt_verify of HAProxy 2.6 has no EdDSA
        ports[key.alg] = free_port()
        material = key.secret_file.read_text(encoding="ascii") if key.alg == "HS256" else key.public
        text += HAPROXY_GATE.format(host=HOST, alg=key.alg, port=ports[key.alg], key=material)
    config = directory / "haproxy.cfg"
    config.write_text(text, encoding="ascii")
    config.chmod(0o600)
    process = Process([HAPROXY_BINARY, "-db", "-f", str(config)], {PROXY_CORE})
    process.wait_for(ports[None])
    return process, ports


class Menshen:
    """One menshen with its own store, its access log on tmpfs."""

    def __init__(self, binary, directory, key, upstream, data, cores=frozenset({PROXY_CORE}), threads=1):
        self.port, self.admin = free_port(), free_port()
        directory.mkdir(parents=True, exist_ok=True)
        key_line = (f'secret_file = "{key.secret_file}"' if key.alg == "HS256" else f'key_dir = "{key.private_dir}"')
        config = directory / f"menshen-{key.alg}.toml"
        config.write_text(MENSHEN.format(
            host=HOST, port=self.port, admin=self.admin, upstream=upstream, alg=key.alg, key=key_line, data=data,
            threads=threads), encoding="ascii")
        self.log = f"/dev/shm/menshen-load-{os.getpid()}-{key.alg}.log"
        # Appending, so that the file can be emptied while it is written.
        self.log_fd = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        started = time.monotonic()
        self.process = Process([str(binary), "run", "--config", str(config)], set(cores), self.log_fd)
        try:
            self.process.wait_for(self.admin, "/readyz")
        except RuntimeError:
            with open(self.log, encoding="utf-8") as file:
                print(file.read()[-3000:])
            raise
        self.ready_after = time.monotonic() - started

    def login(self, code="load-sample"):
        """An access token, by a development login."""
        status, body = get(self.port, "/auth/wechat/login", {"Content-Type": "application/json"}, "POST",
                           json.dumps({"code": code}))
        assert status == 200, (status, body)
        return json.loads(body)["access_token"]

    def metric(self, name, **labels):
        """The sum of a counter's series that carry these labels."""
        total = 0.0
        for line in get(self.admin, "/metrics")[1].decode().splitlines():
            series, _, value = line.rpartition(" ")
            if series.split("{")[0] == name and all(f'{k}="{v}"' in series for k, v in labels.items()):
                total += float(value)
        return total

    def empty_log(self):
        os.ftruncate(self.log_fd, 0)

    def log_size(self):
        return os.fstat(self.log_fd).st_size

    def stop(self):
        if self.log_fd is not None:
            self.process.stop()
            os.close(self.log_fd)
            os.unlink(self.log)
            self.log_fd = None
        return self.process.child.returncode
