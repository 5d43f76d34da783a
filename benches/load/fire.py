#!/usr/bin/env python3
"""Under fire at full size: how much memory attackers take, and whether honest clients are served meanwhile.

    ./run fire                                 builds a release and runs it; about two minutes
    benches/load/fire.py --binary PATH --idle 2000

For each attack: resident memory of menshen before, at its highest and after, and what a client saw that asked all the time. Exit status 1
when one honest request was not answered with 200, or something panicked.
"""

import argparse
import base64
import hashlib
import hmac
import http.client
import json
import pathlib
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time

HOST = "127.0.0.1"
SECRET = "a secret that only this script knows, 32 bytes"
CONFIG = """
mode = "development"
[server]
listen = ["{host}:0"]
header_timeout = "2m"
keepalive_timeout = "2m"
[admin]
listen = "{host}:0"
[upstream]
urls = ["http://{host}:{upstream}"]
[tokens]
algorithm = "HS256"
secret = "{secret}"
[store]
url = "memory:"
[limits]
enabled = false
[telemetry]
access_log = false
"""


def backend():
    """Answers `ok`, one thread a connection; there are few."""
    listener = socket.create_server((HOST, 0), backlog=128)

    def converse(peer):
        with peer, peer.makefile("rb") as lines:
            while line := lines.readline():
                while line not in (b"\r\n", b""):
                    line = lines.readline()
                peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    def accept():
        while True:
            threading.Thread(target=converse, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return listener.getsockname()[1]


class Menshen:
    def __init__(self, binary, directory):
        file = pathlib.Path(directory) / "config.toml"
        file.write_text(CONFIG.format(host=HOST, upstream=backend(), secret=SECRET), encoding="ascii")
        self.child = subprocess.Popen([binary, "run", "--config", str(file)], cwd=directory, text=True,
                                      stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        for line in self.child.stdout:
            said = json.loads(line)
            if said.get("message") == "ready":
                break
        threading.Thread(target=self.child.stdout.read, daemon=True).start()
        self.port, self.admin = (int(said[name].rsplit(":", 1)[1]) for name in ("http", "admin"))

    def memory(self, name="VmRSS"):
        """In MiB."""
        with open(f"/proc/{self.child.pid}/status", encoding="ascii") as file:
            fields = dict(line.split(":", 1) for line in file)
        return int(fields[name].split()[0]) / 1024

    def forget_peak(self):
        pathlib.Path(f"/proc/{self.child.pid}/clear_refs").write_text("5", encoding="ascii")

    def metric(self, name):
        connection = http.client.HTTPConnection(HOST, self.admin, timeout=10)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name))

    def token(self):
        connection = http.client.HTTPConnection(HOST, self.port, timeout=10)
        connection.request("POST", "/auth/wechat/login", json.dumps({"code": "alice"}), {"Content-Type": "application/json"})
        return json.loads(connection.getresponse().read())["access_token"]


def encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def copies(token, count, good):
    """Tokens like this one, each another, 1 KiB longer."""
    header, payload, _ = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    for n in range(count):
        message = f"{header}." + encoded(json.dumps(claims | {"jti": f"copy-{good}-{n}", "x": "x" * 800}).encode())
        tag = hmac.new(SECRET.encode(), message.encode(), hashlib.sha256).digest()
        yield f"{message}.{encoded(tag if good else bytes(32))}"


class Honest(threading.Thread):
    """Asks a hundred times a second."""

    def __init__(self, port, token):
        super().__init__(daemon=True)
        self.port, self.token, self.over, self.times, self.failed = port, token, threading.Event(), [], 0

    def run(self):
        connection = http.client.HTTPConnection(HOST, self.port, timeout=10)
        while not self.over.wait(0.01):
            begun = time.monotonic()
            try:
                connection.request("GET", "/x", headers={"Authorization": f"Bearer {self.token}"})
                answer = connection.getresponse()
                answer.read()
                self.failed += answer.status != 200
            except (OSError, http.client.HTTPException):
                self.failed += 1
                connection.close()
            self.times.append(time.monotonic() - begun)


def idle(menshen, _token, count):
    """Connections that say nothing, or half a head; gives how many are open."""
    held = []
    for n in range(count):
        held.append(socket.create_connection((HOST, menshen.port)))
        if n % 2:
            held[-1].sendall(b"GET /x HTTP/1.1\r\nHost: a\r\nX-Slow: ")
    end = time.monotonic() + 30
    while menshen.metric("menshen_connections ") < count and time.monotonic() < end:
        time.sleep(0.1)
    time.sleep(3)
    return f"{menshen.metric('menshen_connections '):.0f} open", held


def flood(menshen, token, count, good):
    """One connection, request after request, each with another token."""
    connection = http.client.HTTPConnection(HOST, menshen.port, timeout=10)
    seen = {}
    for one in copies(token, count, good):
        connection.request("GET", "/x", headers={"Authorization": f"Bearer {one}"})
        answer = connection.getresponse()
        answer.read()
        seen[answer.status] = seen.get(answer.status, 0) + 1
    return str(seen), None


def refused(menshen, _token, count):
    """Uploads that are refused and go on all the same, a byte at a time; gives how many were told so, and how many still go on."""
    held, told = [], 0
    head = f"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: {1 << 30}\r\n\r\n".encode()
    for _ in range(count):
        held.append(socket.create_connection((HOST, menshen.port), timeout=10))
        held[-1].sendall(head + bytes(64 * 1024))
    for connection in held:
        told += connection.recv(12) == b"HTTP/1.1 401"
    end, going_on = time.monotonic() + 10, held
    while time.monotonic() < end:
        still = []
        for connection in going_on:
            try:
                connection.sendall(bytes(1))
                still.append(connection)
            except OSError:
                pass
        going_on = still
        time.sleep(0.1)
    return f"{told} told, {len(going_on)} read on", held


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--binary", default="target/release/menshen")
    options.add_argument("--idle", type=int, default=10000, help="idle connections; as many files here and there")
    options.add_argument("--refused", type=int, default=1000, help="uploads that are refused and do not stop")
    options.add_argument("--tokens", type=int, default=30000)
    given = options.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    wrong = 0
    print("| attack | outcome | MiB before | highest | after | honest requests | failed | median | 99 % |\n" + "| --- " * 9 + "|")
    with tempfile.TemporaryDirectory() as directory:
        menshen = Menshen(str(pathlib.Path(given.binary).resolve()), directory)
        token = menshen.token()
        attacks = [
            (f"{given.idle} idle connections", lambda: idle(menshen, token, given.idle)),
            (f"{given.refused} refused uploads that go on", lambda: refused(menshen, token, given.refused)),
            (f"{given.tokens} forged tokens", lambda: flood(menshen, token, given.tokens, False)),
            (f"{given.tokens} distinct good tokens", lambda: flood(menshen, token, given.tokens, True)),
            (f"{given.tokens} more of them", lambda: flood(menshen, token, given.tokens, True)),
        ]
        for name, attack in attacks:
            before = menshen.memory()
            menshen.forget_peak()
            honest = Honest(menshen.port, token)
            honest.start()
            outcome, held = attack()
            honest.over.set()
            honest.join()
            highest = menshen.memory("VmHWM")
            for connection in held or []:
                connection.close()
            time.sleep(1)
            times = sorted(honest.times)
            wrong += honest.failed
            print(f"| {name} | {outcome} | {before:.1f} | {highest:.1f} | {menshen.memory():.1f} | {len(times)} | {honest.failed} | "
                  f"{times[len(times) // 2] * 1000:.1f} ms | {times[len(times) * 99 // 100] * 1000:.1f} ms |", flush=True)
        wrong += menshen.metric("menshen_panics_total")
        menshen.child.terminate()
        ended = menshen.child.wait(30)
    return 1 if wrong or ended else 0


if __name__ == "__main__":
    sys.exit(main())
