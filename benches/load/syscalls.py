#!/usr/bin/env python3
"""System calls for a proxied GET with a known HS256 token at 64 connections, by name; and for nginx, which checks nothing.

    ./run syscalls
    ./run syscalls --with strace

All threads are counted while wrk asks. "Of its own" are calls of which there is one for at least every other request (to one decimal);
"shared" are the others: the poll, opening connections, batches of the access log, what runs in the background. `perf` counts in the kernel and slows nothing
down; it needs root. Under `strace` the proxy is many times slower, so more requests share one poll than otherwise.
"""

import os
import re
import select
import signal
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack

import clients
import command
import results
import targets
from certificate import Certificate
from load import TokenFiles
from nginx import Nginx
from peer import HTTP1
from process import Invalid
from report import markdown


def main(args):
    args.seconds = 1 if args.quick else 5
    values = {}
    with command.one_menshen(args) as (menshen, upstream, key, token), ExitStack() as stack:
        nginx = Nginx(args.work, upstream.port, Certificate(args.work / "tls").make())
        stack.callback(nginx.stop)
        file = TokenFiles(key, args.work, token)["one"]
        for peer, port in ((menshen, menshen.http1), (nginx, nginx.ports[HTTP1, None])):
            calls, requests = count(args, peer, port, file)
            every = sum(calls.values()) / requests
            own = round(sum(number for number in calls.values() if number >= requests / 2) / requests, 1)
            values |= {f"syscalls/{peer.name}": own, f"syscalls/{peer.name}/all": every}
            print(f"{peer.name}: a request has {own:.1f} system calls of its own, {every - own:.2f} shared ({requests:,} requests, {args.tool})\n")
            print(table(calls, requests) + "\n", flush=True)
    results.save(args.results, "syscalls", values, seconds=args.seconds, tool=args.tool, binary=str(args.menshen))
    print(targets.table(values, {"syscalls"}))
    return 0 if args.quick or targets.all_met(values) else 1


def count(args, peer, port, file):
    """Calls by name and the requests of that time."""
    clients.wrk(port, 1, "tokens.lua", file, 0)
    with COUNTERS[args.tool](args.work / f"syscalls-{peer.name}.txt", peer.process.pids()) as counter:
        summary = clients.wrk(port, args.seconds, "tokens.lua", file, 0)
    if summary.refused or summary.broken or not summary.requests:
        raise Invalid(f"{peer.name}: {summary}")
    calls = counter.calls
    # At least one request is read and one answer is written.
    if sum(calls.values()) < 2 * summary.requests * 0.99:
        raise Invalid(f"{peer.name}: {args.tool} counted {sum(calls.values())} system calls for {summary.requests} requests")
    return calls, summary.requests


class Perf:
    """Counts by `perf stat` while its block runs. Each event costs it a third of a second at its end, so not all are asked for by name."""

    TOTAL = "raw_syscalls:sys_enter"
    NAMES = (
        "accept4 clock_nanosleep close connect epoll_ctl epoll_pwait epoll_wait fcntl fdatasync fsync futex getpeername getrandom "
        "getsockname getsockopt ioctl madvise mmap munmap openat poll read readv recvfrom recvmsg sched_yield sendmsg sendto setsockopt "
        "shutdown socket write writev").split()

    def __init__(self, output, pids):
        self.output, self.calls = output, Counter()
        control, acknowledged = (output.with_suffix(suffix) for suffix in (".control", ".ack"))
        for fifo in (control, acknowledged):
            fifo.unlink(missing_ok=True)
            os.mkfifo(fifo)
        events = ",".join([self.TOTAL, *(f"syscalls:sys_enter_{name}" for name in self.NAMES)])
        self.process = subprocess.Popen(
            ["perf", "stat", "-x", ",", "-D", "-1", "--control", f"fifo:{control},{acknowledged}", "-o", output, "-e", events,
             "-p", ",".join(map(str, pids))], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        # Opened for both, which waits for nobody.
        self.control, self.acknowledged = (open(fifo, "r+b", buffering=0) for fifo in (control, acknowledged))

    def command(self, word):
        """Returns when perf has done it."""
        self.control.write(word + b"\n")
        while not select.select([self.acknowledged], [], [], 1)[0]:
            if self.process.poll() is not None:
                raise Invalid(f"perf ended with {self.process.returncode}: it needs root, and tracefs; try --with strace")
        self.acknowledged.read(16)

    def __enter__(self):
        self.command(b"enable")
        return self

    def __exit__(self, *_):
        self.command(b"disable")
        self.process.send_signal(signal.SIGINT)
        self.process.wait(60)
        total = 0
        for line in self.output.read_text(encoding="utf-8").splitlines():
            match = re.match(r"(\d+),,(?:syscalls:sys_enter_(\w+)|(raw_syscalls:sys_enter)),", line)
            if match and match.group(3):
                total = int(match.group(1))
            elif match:
                self.calls[match.group(2)] = int(match.group(1))
        self.calls["others"] = total - sum(self.calls.values())


class Strace:
    """Counts by `strace -c` while its block runs."""

    def __init__(self, output, pids):
        self.output, self.calls = output, Counter()
        self.process = subprocess.Popen(["strace", "-c", "-f", "-o", output, "-p", ",".join(map(str, pids))],
                                        stderr=subprocess.PIPE, text=True)

    def __enter__(self):
        line = self.process.stderr.readline()
        if "attached" not in line:
            raise Invalid(f"strace: {line}")
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=60)
        # Share, seconds, microseconds a call, calls, errors where there are some, name.
        for line in self.output.read_text(encoding="utf-8").splitlines():
            match = re.match(r"\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$", line)
            if match and match.group(2) != "total":
                self.calls[match.group(2)] += int(match.group(1))


COUNTERS = {"perf": Perf, "strace": Strace}


def table(calls, requests):
    rows = [[f"{number / requests:.3f}", name] for name, number in calls.most_common() if number / requests >= 0.001]
    return markdown(["calls for a request", "system call"], rows)


def parse():
    parser = command.parser(__doc__)
    parser.add_argument("--with", dest="tool", choices=COUNTERS, default="perf")
    return command.parse(parser)


if __name__ == "__main__":
    sys.exit(command.run(main, parse()))
