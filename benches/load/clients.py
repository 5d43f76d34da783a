"""The clients: wrk for HTTP/1.1 and TLS, h2load for HTTP/2 (both on the load's core), and one of our own that sends requests one by one."""

import json
import os
import re
import resource
import socket
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

from process import HOST, LOAD_CORE, Invalid

HERE = Path(__file__).resolve().parent
PATH = "/api/items"
CONNECTIONS = 64
H2_CONNECTIONS, H2_STREAMS = 16, 8


@dataclass(frozen=True)
class Summary:
    """What a client counted: `refused` are answers of 400 and above, `broken` are those that did not come whole."""

    requests: int
    seconds: float
    refused: int
    broken: int
    bytes: int | None = None
    p99: int | None = None

    @property
    def rate(self):
        return self.requests / self.seconds


def on_load_core():
    os.sched_setaffinity(0, {LOAD_CORE})


def wrk(port, seconds, script, *args, connections=CONNECTIONS, path=PATH, tls=False):
    argv = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", script, f"{'https' if tls else 'http'}://{HOST}:{port}{path}", "--",
            *map(str, args)]
    # From their own directory the scripts find each other.
    out = subprocess.run(argv, check=True, capture_output=True, text=True, cwd=HERE, preexec_fn=on_load_core).stdout
    told = json.loads(out.strip().splitlines()[-1])
    return Summary(told["requests"], told["microseconds"] / 1e6, told["refused"], told["broken"], told["bytes"], told["p99"])


def h2load(port, seconds, token):
    """h2c with prior knowledge. Requests that are in flight at the end are not counted."""
    argv = ["h2load", "-t1", f"-c{H2_CONNECTIONS}", f"-m{H2_STREAMS}", f"-D{seconds}", "-H", f"authorization: Bearer {token}",
            f"http://{HOST}:{port}{PATH}"]
    out = subprocess.run(argv, check=True, capture_output=True, text=True, preexec_fn=on_load_core).stdout
    counts = re.search(r"requests: \d+ total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", out)
    statuses = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", out)
    if not counts or not statuses:
        raise Invalid(f"h2load printed something else:\n{out}")
    done, succeeded, *lost = map(int, counts.groups())
    good, *bad = map(int, statuses.groups())
    # Its own idea of success is any status below 400.
    return Summary(done, float(seconds), max(sum(bad), done - min(good, succeeded)), sum(lost))


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    length: int  # of head and body


class Connection:
    """One kept connection of HTTP/1.1."""

    def __init__(self, port, tls=False):
        self.sock = socket.create_connection((HOST, port), 30)
        self.port, self.cipher = port, None
        if tls:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            self.sock = context.wrap_socket(self.sock)
            self.cipher = f"{self.sock.version()} {self.sock.cipher()[0]}"
        self.file = self.sock.makefile("rb")

    def request(self, token=None, body=None):
        """Sends a request and reads the whole answer."""
        head = [f"{'GET' if body is None else 'POST'} {PATH} HTTP/1.1", f"Host: {HOST}:{self.port}"]
        if token:
            head.append(f"Authorization: Bearer {token}")
        if body is not None:
            head.append(f"Content-Length: {len(body)}")
        self.sock.sendall("\r\n".join([*head, "", body or ""]).encode("ascii"))
        return self.answer()

    def answer(self):
        line = self.file.readline()
        total, length = len(line), None
        if not line.startswith(b"HTTP/1.1 "):
            raise Invalid(f"not an answer: {line!r}")
        status = int(line.split()[1])
        while (line := self.file.readline()) not in (b"\r\n", b""):
            total += len(line)
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        if length is None:
            raise Invalid("an answer without Content-Length")
        body = self.file.read(length)
        return Answer(status, body, total + len(line) + length)

    def close(self):
        self.file.close()
        self.sock.close()


def raise_file_limit():
    """As many open files as this user may have, for itself and what it starts."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
