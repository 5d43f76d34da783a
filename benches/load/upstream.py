"""The backend behind all proxies: HAProxy, which answers by itself and is the fastest at hand.

It answers a POST with 200 only if the whole body came as it was sent, and counts what it answered, so that no proxy can be quick
by losing something.
"""

import csv
import hashlib
import socket

from process import HOST, LOAD_CORE, Invalid, Process, free_port

BINARY = "/usr/sbin/haproxy"
HELLO = "hello from the backend"
BODIES = (1024, 65536)

CONFIG = """
global
  nbthread 1
  maxconn 8192
  # A whole body fits in.
  tune.bufsize 163840
  stats socket ipv4@{host}:{stats} level user
defaults
  mode http
  timeout client 600s
  timeout http-keep-alive 600s
frontend backend
  bind {host}:{port} backlog 4096
  http-request wait-for-body time 10s at-least {longest} if METH_POST
  http-request return status 422 if METH_POST !{{ req.body,sha2(256),hex -m str {digests} }}
  http-request return status 200 content-type text/plain string "{hello}"
"""


def body(size):
    """Text in which each place differs from its neighbours."""
    return "".join(f"{n:07x}." for n in range(size // 8))


class Upstream:
    def __init__(self, directory):
        self.port, self.stats = free_port(), free_port()
        digests = " ".join(hashlib.sha256(body(size).encode("ascii")).hexdigest().upper() for size in BODIES)
        config = directory / "upstream.cfg"
        config.write_text(CONFIG.format(host=HOST, port=self.port, stats=self.stats, longest=max(BODIES), digests=digests, hello=HELLO),
                          encoding="ascii")
        self.process = Process([BINARY, "-db", "-f", config], {LOAD_CORE})
        self.process.wait_for(self.port)

    def counters(self):
        """How many requests it answered with 200, and how many in another way."""
        with socket.create_connection((HOST, self.stats), 5) as sock:
            sock.sendall(b"show stat\n")
            text = sock.makefile(encoding="ascii").read()
        row = next(row for row in csv.DictReader(text.lstrip("# ").splitlines()) if row["svname"] == "FRONTEND")
        total = int(row["req_tot"])
        return int(row["hrsp_2xx"]), total - int(row["hrsp_2xx"])

    def check_counters(self, kind, before, requests, in_flight):
        """Each answer that a client counted is one of this backend's; those in flight at the end may be more."""
        good, bad = (now - then for now, then in zip(self.counters(), before))
        if kind.refused:
            if good + bad:
                raise Invalid(f"{good + bad} requests that were to be refused reached the backend")
            return
        if not requests <= good <= requests + 2 * in_flight or bad > 2 * in_flight:
            raise Invalid(f"{requests} answers at the client, but the backend answered {good} with 200 and {bad} otherwise")

    def stop(self):
        return self.process.stop()
