#!/usr/bin/env python3
"""The load comparison: what an authenticated request costs in menshen, in a bare pingora pass-through and in HAProxy.

    ./run load                          everything, as in benches/README.md (about half an hour)
    ./run load --rounds 1 --seconds 2   a quick look
    ./run load --phases cpu --algorithms HS256 --without menshen

The measure is CPU time per request of the proxy's process, all threads, user and system: it does not depend on how fast the load
comes, and the other processes do not blur it. Peers are measured one after the other within each round, so that a slow minute of the
machine meets all of them; the figure is the median of the rounds.

Exit status: 0 when every target that was measured is met, 1 when one is missed, 2 when a measurement is not valid.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

import peers
import tokens

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CONNECTIONS = 64
MIB = 1024 * 1024

# Several times what menshen's cache holds, so that a token's turn comes long after it was forgotten.
FRESH_TOKENS = 100_000
MANY_TOKENS = 10_000
USERS = 100_000

# What a request carries.
ONE, MANY, FRESH, NONE, FORGED = "one token", "10,000 tokens", "token never seen", "no token (401)", "forged token (401)"


class Invalid(Exception):
    """What was measured is not what was meant."""


def wrk(port, seconds, script, *args, connections=CONNECTIONS, path="/api/items"):
    """Runs the load on its own core; returns the script's summary."""
    argv = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", script,
            f"http://{peers.HOST}:{port}{path}", "--", *map(str, args)]
    # From their own directory the scripts find each other.
    out = subprocess.run(argv, check=True, capture_output=True, text=True, cwd=HERE,
                         preexec_fn=lambda: os.sched_setaffinity(0, {peers.LOAD_CORE})).stdout
    return json.loads(out.strip().splitlines()[-1])


class Load:
    """One case against one peer: where it is, what is sent, and what has to come back."""

    def __init__(self, peer, process, port, alg, kind, file, menshen=None):
        self.peer, self.process, self.port, self.alg, self.kind = peer, process, port, alg, kind
        self.file, self.menshen = file, menshen
        self.refused = kind in (NONE, FORGED) and peer != "bare"
        self.next = 0
        self.costs, self.rates, self.p99 = [], [], []

    def run(self, seconds):
        # Connections and caches warm up first, but nothing warms a token that is to be new.
        self.load(2 if self.kind == MANY else 1)
        before = self.counts()
        spent = self.process.cpu()
        summary = self.load(seconds)
        spent = self.process.cpu() - spent
        self.prove(before, summary)
        self.costs.append(spent / summary["requests"] / 1000)
        self.rates.append(summary["requests"] / summary["microseconds"] * 1e6)
        self.p99.append(summary["p99"])
        if self.menshen:
            self.menshen.empty_log()

    def load(self, seconds):
        summary = wrk(self.port, seconds, "tokens.lua", self.file or "-", self.next)
        if self.kind == FRESH:
            self.next += summary["requests"] + CONNECTIONS
        wrong = summary["requests"] - summary["refused"] if self.refused else summary["refused"]
        if wrong or summary["broken"]:
            raise Invalid(f"{self.name()}: {wrong} wrong answers, {summary['broken']} broken connections: {summary}")
        return summary

    def counts(self):
        if not self.menshen:
            return None
        counts = {result: self.menshen.metric("menshen_token_checks_total", result=result) for result in ("cached", "verified")}
        return counts | {"dropped": self.menshen.metric("menshen_log_lines_dropped_total")}

    def prove(self, before, summary):
        """menshen's own counters say whether tokens were met in its cache as the case claims, and its log that it wrote one."""
        if not self.menshen:
            return
        if self.menshen.log_size() < summary["requests"] * 50:
            raise Invalid(f"{self.name()}: the access log is off")
        after = self.counts()
        if after["dropped"] - before["dropped"] > 0.01 * summary["requests"]:
            raise Invalid(f"{self.name()}: the access log lost {after['dropped'] - before['dropped']:.0f} lines")
        hits, checks = after["cached"] - before["cached"], after["verified"] - before["verified"]
        if self.kind in (ONE, MANY) and hits < 0.99 * summary["requests"]:
            raise Invalid(f"{self.name()}: only {hits:.0f} of {summary['requests']} checks were met in the cache")
        if self.kind == FRESH and checks < 0.99 * summary["requests"]:
            raise Invalid(f"{self.name()}: only {checks:.0f} of {summary['requests']} checks were full ones")

    def name(self):
        return f"{self.peer} {self.alg} {self.kind}"

    def cost(self):
        return statistics.median(self.costs)


def keeps_its_connection(port):
    """Whether 20 refusals come over one connection."""
    with socket.create_connection((peers.HOST, port), 5) as sock:
        file = sock.makefile("rb")
        for _ in range(20):
            try:
                sock.sendall(b"GET /api/items HTTP/1.1\r\nHost: localhost\r\n\r\n")
                status = file.readline()
            except OSError:
                return False
            if b" 401 " not in status:
                return False
            length = 0
            while (line := file.readline()) not in (b"\r\n", b""):
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            file.read(length)
    return True


def measure_cpu(args, keys, work, report):
    """CPU time per request, every peer, algorithm and kind of load."""
    upstream, upstream_port = peers.start_upstream(work)
    running, loads = [upstream], []
    try:
        bare = haproxy = None
        if "bare" not in args.without:
            bare, bare_port = peers.start_bare(args.bare, upstream_port)
            running.append(bare)
        if "haproxy" not in args.without:
            haproxy, haproxy_ports = peers.start_haproxy(work, upstream_port, keys)
            running.append(haproxy)
            loads.append(Load("haproxy", haproxy, haproxy_ports[None], "-", "pass-through", None))
        menshens = {}
        for key in keys:
            sample = None
            if "menshen" not in args.without:
                data = work / f"data-{key.alg}"
                shutil.rmtree(data, ignore_errors=True)
                menshens[key.alg] = peers.Menshen(args.menshen, work, key, upstream_port, data)
                running.append(menshens[key.alg])
                sample = menshens[key.alg].login()
            print(f"minting {key.alg} tokens", file=sys.stderr)
            many = tokens.token_file(key, work / "tokens", MANY_TOKENS, sample)
            one = work / "tokens" / f"one-{many.name}"
            one.write_text(many.read_text(encoding="ascii").split("\n", 1)[0] + "\n", encoding="ascii")
            files = {
                ONE: one, MANY: many, NONE: None, FORGED: tokens.forged_file(many, work / "tokens"),
                FRESH: tokens.token_file(key, work / "tokens", FRESH_TOKENS, sample),
            }
            for kind, file in files.items():
                if bare and kind == ONE:
                    loads.append(Load("bare", bare, bare_port, key.alg, kind, file))
                if haproxy and key.alg in haproxy_ports:
                    loads.append(Load("haproxy", haproxy, haproxy_ports[key.alg], key.alg, kind, file))
                if key.alg in menshens:
                    gate = menshens[key.alg]
                    loads.append(Load("menshen", gate.process, gate.port, key.alg, kind, file, gate))
        for number in range(1, args.rounds + 1):
            # Peers of one case are neighbours; who comes first changes with each round.
            for load in loads if number % 2 else reversed(loads):
                load.run(args.seconds)
                print(f"round {number}: {load.name()}: {load.costs[-1]:.1f} µs, {load.rates[-1]:.0f}/s", file=sys.stderr)
        report.cpu(loads)
        for alg, gate in menshens.items():
            report.target(f"a 401 keeps its connection ({alg})", keeps_its_connection(gate.port), True, "is")
    finally:
        stop(running)


def measure_memory_and_logins(args, keys, work, report):
    """Durable logins with one client and with 64, memory with 100,000 users, and memory after a minute of load."""
    key = next((key for key in keys if key.alg == "EdDSA"), keys[0])
    upstream, upstream_port = peers.start_upstream(work)
    running = [upstream]
    # The rates are measured on a store of their own: how many users they leave depends on how fast they are.
    rated, data = work / "data-logins", work / "data-users"
    for directory in (rated, data):
        shutil.rmtree(directory, ignore_errors=True)

    def start(directory, cores, threads):
        gate = peers.Menshen(args.menshen, work, key, upstream_port, directory, cores, threads)
        running.append(gate)
        return gate

    try:
        # Logins are the whole program's work, so they get the whole machine; the load shares it.
        gate = start(rated, {peers.PROXY_CORE, peers.LOAD_CORE}, 0)
        rates = {1: [], CONNECTIONS: []}
        for number in range(args.rounds):
            for clients, seen in rates.items():
                summary = wrk(gate.port, args.seconds, "logins.lua", f"r{number}c{clients}n", connections=clients,
                              path="/auth/wechat/login")
                if summary["refused"] or summary["broken"]:
                    raise Invalid(f"logins with {clients} clients failed: {summary}")
                seen.append(summary["requests"] / summary["microseconds"] * 1e6)
        alone, together = (statistics.median(rates[clients]) for clients in (1, CONNECTIONS))
        report.figure("durable logins a second, 1 client", f"{alone:.0f}")
        report.figure("durable logins a second, 64 clients", f"{together:.0f}")
        report.target("durable logins: 64 clients / 1 client", together / alone, 8.0, "at least")

        gate.stop()

        gate, part = start(data, {peers.PROXY_CORE, peers.LOAD_CORE}, 0), 0
        while (users := gate.metric("menshen_sessions_opened_total")) < USERS:
            part += 1
            # Slowly at the end, so that it does not overshoot by much.
            few = 4 if users > USERS * 0.8 else CONNECTIONS
            summary = wrk(gate.port, 1, "logins.lua", f"fill{part}n", connections=few, path="/auth/wechat/login")
            if not summary["requests"] or summary["refused"] == summary["requests"]:
                raise Invalid(f"no login succeeds: {summary}")
        report.figure("users in the store", f"{users:.0f}")
        began = time.monotonic()
        report.target("exit code after SIGTERM", gate.stop(), 0, "is")
        report.figure("stopping takes", f"{time.monotonic() - began:.1f} s")

        gate = start(data, {peers.PROXY_CORE}, 1)
        report.figure("start to ready with these users", f"{gate.ready_after * 1000:.0f} ms")
        time.sleep(args.idle)
        report.target("memory idle with 100,000 users, MiB", gate.process.memory()[0] / MIB, 25.0, "at most")

        file = tokens.token_file(key, work / "tokens", MANY_TOKENS, gate.login())
        summary = wrk(gate.port, args.minute, "tokens.lua", file, 0)
        if summary["refused"] or summary["broken"]:
            raise Invalid(f"the minute of load failed: {summary}")
        now, highest = gate.process.memory()
        report.target(f"memory after {args.minute} s of load, MiB", now / MIB, 64.0, "at most")
        report.figure("memory at its highest in that time", f"{highest / MIB:.1f} MiB")
    finally:
        stop(running)


def measure_start_and_size(args, keys, work, report):
    """Start to ready with an empty store, and the size of the binary."""
    key = next((key for key in keys if key.alg == "EdDSA"), keys[0])
    took = []
    for _ in range(10):
        data = work / "data-empty"
        shutil.rmtree(data, ignore_errors=True)
        gate = peers.Menshen(args.menshen, work, key, peers.free_port(), data)
        took.append(gate.ready_after * 1000)
        gate.stop()
    report.target("start to ready, empty store, ms", statistics.median(took), 200.0, "at most")
    stripped = work / "menshen.stripped"
    subprocess.run(["strip", "-o", str(stripped), str(args.menshen)], check=True)
    report.target("stripped binary, MiB", stripped.stat().st_size / MIB, 25.0, "at most")


def stop(running):
    for process in reversed(running):
        process.stop()


class Report:
    """Collects figures and targets; prints them as Markdown, for benches/README.md."""

    def __init__(self):
        self.lines, self.targets, self.figures, self.raw = [], [], [], []

    def cpu(self, loads):
        table = {}
        for load in loads:
            table.setdefault((load.alg, load.kind), {})[load.peer] = load
            self.raw.append({"peer": load.peer, "algorithm": load.alg, "kind": load.kind, "cpu_us": load.costs,
                             "requests_per_second": load.rates, "p99_us": load.p99})
        self.lines += ["| algorithm | load | bare pingora | HAProxy | menshen | menshen / bare | menshen / HAProxy |",
                       "| --- | --- | --- | --- | --- | --- | --- |"]
        for (alg, kind), row in table.items():
            cells = [spread(row.get(peer)) for peer in ("bare", "haproxy", "menshen")]
            ratios = [ratio(row.get("menshen"), row.get(peer)) for peer in ("bare", "haproxy")]
            self.lines.append("| " + " | ".join([alg, kind, *cells, *(f"{r:.2f}" if r else "n/a" for r in ratios)]) + " |")
            self.cpu_targets(alg, kind, row, table)

    def cpu_targets(self, alg, kind, row, table):
        menshen = row.get("menshen")
        if menshen is None:
            return
        by_bare, by_haproxy = ratio(menshen, row.get("bare")), ratio(menshen, row.get("haproxy"))
        if kind == ONE and by_bare:
            self.target(f"{alg}, seen before / bare pingora", by_bare, 1.0, "at most")
        limit = {(ONE, "HS256"): 1.15, (ONE, "RS256"): 0.5, (FRESH, "RS256"): 0.9, (FRESH, "ES256"): 0.9,
                 (NONE, alg): 1.2, (FORGED, alg): 1.2}.get((kind, alg))
        if limit and by_haproxy:
            self.target(f"{alg}, {kind} / HAProxy", by_haproxy, limit, "at most")
        if kind == MANY:
            one = table.get((alg, ONE), {}).get("menshen")
            self.target(f"{alg}, 10,000 tokens / one token", ratio(menshen, one), 1.15, "at most")

    def figure(self, name, value):
        self.figures.append((name, value))

    def target(self, name, value, limit, sense):
        # As precise as it is printed: 1.004 is not "more than 1.0".
        met = {"at most": lambda: round(value, 2) <= limit, "at least": lambda: round(value, 2) >= limit,
               "is": lambda: value == limit}[sense]()
        self.targets.append((name, value, limit, sense, met))

    def text(self, args):
        out = [f"Measured {time.strftime('%Y-%m-%d')} on {cpu_model()}, {os.cpu_count()} cores, Linux {platform.release()}; "
               f"{args.rounds} rounds of {args.seconds} s, {CONNECTIONS} connections."]
        if self.lines:
            out += ["", "CPU time per request, µs: median (lowest to highest).", "", *self.lines]
        if self.figures:
            out += ["", "| figure | value |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in self.figures)]
        if self.targets:
            out += ["", "| target | measured | wanted | met |", "| --- | --- | --- | --- |"]
            out += [f"| {name} | {shown(value)} | {sense} {shown(limit)} | {'yes' if met else '**no**'} |"
                    for name, value, limit, sense, met in self.targets]
        return "\n".join(out)


def shown(value):
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def spread(load):
    if load is None:
        return "n/a"
    return f"{load.cost():.1f} ({min(load.costs):.1f} to {max(load.costs):.1f})"


def ratio(over, under):
    return over.cost() / under.cost() if over and under else None


def cpu_model():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        return next((line.split(":")[1].strip() for line in file if line.startswith("model name")), platform.machine())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--phases", nargs="+", choices=PHASES, default=list(PHASES))
    parser.add_argument("--algorithms", nargs="+", choices=tokens.ALGORITHMS, default=list(tokens.ALGORITHMS))
    parser.add_argument("--without", nargs="+", choices=["bare", "haproxy", "menshen"], default=[])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5, help="length of one measurement")
    parser.add_argument("--minute", type=int, default=60, help="length of the load before memory is read, in seconds")
    parser.add_argument("--idle", type=int, default=5, help="rest before idle memory is read, in seconds")
    parser.add_argument("--menshen", type=Path, default=ROOT / "target/release/menshen")
    parser.add_argument("--bare", type=Path, default=ROOT / "target/bare-pingora/release/bare-pingora")
    parser.add_argument("--work", type=Path, default=ROOT / "target/load", help="keys, tokens, stores and results")
    args = parser.parse_args()
    if not os.sched_getaffinity(0) >= {peers.PROXY_CORE, peers.LOAD_CORE}:
        parser.error("two cores are needed: one for the proxies, one for the upstream and the load")

    # So that the peers are stopped as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    args.work.mkdir(parents=True, exist_ok=True)
    keys = [tokens.Key(alg, args.work / "keys").make() for alg in args.algorithms]
    report = Report()
    try:
        for phase in args.phases:
            if "menshen" in args.without and phase != "cpu":
                continue
            PHASES[phase](args, keys, args.work, report)
    except Invalid as invalid:
        print(f"not valid: {invalid}", file=sys.stderr)
        return 2
    finally:
        if report.raw:
            (args.work / "result.json").write_text(json.dumps(report.raw, indent=1) + "\n", encoding="utf-8")
        text = report.text(args)
        (args.work / "result.md").write_text(text + "\n", encoding="utf-8")
        print(text)
    return 0 if all(met for *_, met in report.targets) else 1


PHASES = {"cpu": measure_cpu, "memory": measure_memory_and_logins, "start": measure_start_and_size}

if __name__ == "__main__":
    sys.exit(main())
