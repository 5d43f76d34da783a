#!/usr/bin/env python3
"""What the console costs: CPU of a proxied GET while eight of its pages update themselves and all are looked at each second, and without; and memory.

    /usr/bin/python3 -B benches/load/console.py --menshen target/release/menshen

One HS256 token, 64 kept connections, four runs each. `VmRSS` before the sign-in and after the runs.
"""

import http.client
import sys
import threading
import time
import urllib.parse
from contextlib import contextmanager

import clients
import command
import menshen as configured
import tokens
from menshen import Menshen
from process import Invalid
from upstream import Upstream

TOKEN = "0123456789abcdef0123456789abcdef"
PAGES = ("", "/why", "/audit", "/config", "/keys")
STREAMS, RUNS = 8, 4


def main(args):
    configured.CONFIG = configured.CONFIG.replace("[upstream]", f'token = "{TOKEN}"\n[upstream]')
    key, upstream = tokens.Key("HS256", args.work / "keys").make(), Upstream(args.work)
    try:
        for is_open in (True, False):
            menshen = Menshen(args.menshen, args.work, key, upstream.port, "memory:")
            try:
                measure(args, menshen, is_open)
            finally:
                menshen.stop()
    finally:
        upstream.stop()
    return 0


def measure(args, menshen, is_open):
    file, seconds = args.work / "console-token", 1 if args.quick else 4
    file.write_text(menshen.login() + "\n", encoding="ascii")
    cost(menshen, file, 2)
    before = menshen.process.memory()
    if is_open:
        with opened(menshen.admin) as updates:
            costs = [cost(menshen, file, seconds) for _ in range(RUNS)]
            print(f"with the console open, {len(updates)} updates: ", end="")
    else:
        costs = [cost(menshen, file, seconds) for _ in range(RUNS)]
        print("without: ", end="")
    after = menshen.process.memory()
    print(", ".join(f"{each:.2f}" for each in costs), f"µs; {before / 2**20:.2f} MiB before, {after / 2**20:.2f} after", flush=True)


def cost(menshen, file, seconds):
    """Microseconds of CPU for each request."""
    before = menshen.process.cpu()
    summary = clients.wrk(menshen.http1, seconds, "tokens.lua", file, 0)
    if summary.refused or summary.broken:
        raise Invalid(f"{summary}")
    return (menshen.process.cpu() - before) / summary.requests / 1000


@contextmanager
def opened(port):
    """The console in use; the updates that came."""
    host, updates, over = f"127.0.0.1:{port}", [], threading.Event()

    def ask(method, path, body=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request(method, "/console" + path, body, {"Host": host, **headers})
        return connection.getresponse()

    form = {"Content-Type": "application/x-www-form-urlencoded", "Origin": f"http://{host}"}
    cookie = ask("POST", "/sign-in", urllib.parse.urlencode({"token": TOKEN}), **form).getheader("Set-Cookie").split(";")[0]

    def follow():
        lines = ask("GET", "/events", Cookie=cookie)
        while not over.is_set():
            if lines.readline().startswith(b"event: figures"):
                updates.append(time.monotonic())

    def look():
        while not over.wait(1):
            for page in PAGES:
                if ask("GET", page, Cookie=cookie).status != 200:
                    raise Invalid(page)

    for target in (*[follow] * STREAMS, look):
        threading.Thread(target=target, daemon=True).start()
    try:
        yield updates
    finally:
        over.set()


if __name__ == "__main__":
    sys.exit(command.run(main, command.parse(command.parser(__doc__))))
