#!/usr/bin/env python3
"""The load comparison: what a request costs in menshen, bare pingora, nginx (which check nothing), HAProxy and Envoy.

    ./run load                          everything, as in benches/README.md (about 45 minutes)
    ./run load --quick                  a few seconds for each row: shows that all rows work, and nothing else
    ./run load --phases cpu --algorithms HS256 --kinds one post1k --without Envoy
    ./run load --quick --menshen target/debug/menshen   with this binary; nothing is built

The measure is CPU time per request of the proxy's processes, all threads, user and system: it does not depend on how fast the load
comes, and the other processes do not blur it. Peers are measured one after the other within each round, so that a slow minute of the
machine meets all of them; the figure is the median of the rounds.

Exit status: 0 when every target that was measured is met (or in a quick run), 1 when one is missed, 2 when a measurement is not valid.
"""

import shutil
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import clients
import command
import kinds
import report
import results
import targets
import tokens
from bare import Bare
from certificate import Certificate
from envoy import Envoy
from haproxy import OPEN, HAProxy
from load import Load, TokenFiles
from menshen import Menshen
from nginx import Nginx
from peer import TLS
from process import LOAD_CORE, PROXY_CORE, Invalid, free_port
from results import ROOT
from upstream import Upstream

MIB = 1024 * 1024


class Measured:
    """What a run measured: tables and figures as text, values for the targets."""

    def __init__(self):
        self.texts, self.figures, self.values = [], [], {}

    def figure(self, name, value):
        self.figures.append((name, value))

    def text(self, args):
        out = [f"Measured {time.strftime('%Y-%m-%d')} on {results.machine()}; {args.rounds} rounds of {args.seconds} s, "
               f"{clients.CONNECTIONS} connections (h2c: {clients.H2_CONNECTIONS} with {clients.H2_STREAMS} streams each).", *self.texts]
        if args.quick:
            out.insert(0, "**A quick run: it shows that the rows work. Its figures mean nothing.**")
        if self.figures:
            out.append(report.markdown(["figure", "value"], self.figures))
        if table := targets.table(self.values, {"load"}):
            out.append(table)
        return "\n\n".join(out)


def start_peers(args, keys, work, upstream, stack):
    """Those that check nothing or know all algorithms at once, and a menshen for each algorithm."""
    certificate = Certificate(work / "tls").make()
    started = []

    def start(name, make):
        if name not in args.without:
            peer = make()
            stack.callback(peer.stop)
            started.append(peer)

    start(kinds.BARE, lambda: Bare(args.bare, upstream.port))
    start(kinds.NGINX, lambda: Nginx(work, upstream.port, certificate))
    start(kinds.HAPROXY, lambda: HAProxy(work, upstream.port, keys, certificate))
    start(kinds.ENVOY, lambda: Envoy(args.envoy, work, upstream.port, keys))
    for key in keys:
        data = work / f"data-{key.alg}"
        shutil.rmtree(data, ignore_errors=True)
        start(kinds.MENSHEN, lambda key=key, data=data: Menshen(
            args.menshen, work, key, upstream.port, f"sled:{data}", certificate=certificate if key.alg == "HS256" else None))
    return started


def measure_cpu(args, keys, work, measured):
    """CPU time per request, every kind of load, algorithm and peer."""
    with ExitStack() as stack:
        upstream = Upstream(work)
        stack.callback(upstream.stop)
        peers = start_peers(args, keys, work, upstream, stack)
        menshens = {peer.alg: peer for peer in peers if isinstance(peer, Menshen)}
        files = {OPEN: {}}
        for key in keys:
            sample = menshens[key.alg].login() if key.alg in menshens else None
            files[key.alg] = TokenFiles(key, work, sample)
        # Peers of one row are neighbours; which comes first changes with each round.
        loads = [Load(kind, alg, peer, upstream, files[alg], work)
                 for alg in files for kind in kinds.KINDS if kind.key in args.kinds and alg in kind.algorithms
                 for peer in sorted(peers, key=lambda peer: kinds.PEERS.index(peer.name))
                 if peer.name in kind.peers and peer.port(kind.protocol, alg)]
        ciphers = {load.cipher() for load in loads if load.kind.protocol == TLS}
        if len(ciphers) > 1:
            raise Invalid(f"TLS differs: {ciphers}")
        for number in range(1, args.rounds + 1):
            for load in loads if number % 2 else reversed(loads):
                load.run(args.seconds)
                print(f"round {number}: {load.name()}: {load.costs[-1]:.1f} µs, {load.rates[-1]:.0f}/s", file=sys.stderr, flush=True)
        for alg, menshen in menshens.items():
            if not keeps_its_connection(menshen.http1):
                raise Invalid(f"a 401 ends its connection ({alg})")
    measured.texts += ["CPU time per request, µs: median (lowest to highest).", report.cpu_table(loads),
                       "Requests a second, median:", report.rate_table(loads)]
    if ciphers:
        measured.figure("TLS", ciphers.pop())
    raw = {load.key(): {"cpu_us": load.costs, "requests_per_second": load.rates, "p99_us": load.p99} for load in loads}
    return {load.key(): load.cost() for load in loads}, raw


def keeps_its_connection(port):
    """Whether 20 refusals come over one connection."""
    connection = clients.Connection(port)
    try:
        return all(connection.request().status == 401 for _ in range(20))
    except (OSError, Invalid):
        return False
    finally:
        connection.close()


def measure_logins(args, keys, work, measured):
    """Durable logins of new users, with one client and with 64."""
    key = next((key for key in keys if key.alg == "EdDSA"), keys[0])
    data = work / "data-logins"
    shutil.rmtree(data, ignore_errors=True)
    rates = {1: [], clients.CONNECTIONS: []}
    with ExitStack() as stack:
        upstream = Upstream(work)
        stack.callback(upstream.stop)
        # Logins are the whole program's work, so they get the whole machine; the load shares it.
        menshen = Menshen(args.menshen, work, key, upstream.port, f"sled:{data}", cores={PROXY_CORE, LOAD_CORE}, threads=0)
        stack.callback(menshen.stop)
        for number in range(args.rounds):
            for connections, seen in rates.items():
                seen.append(menshen.logins(args.seconds, f"r{number}c{connections}n", connections).rate)
    values = {f"logins/{connections}": statistics.median(seen) for connections, seen in rates.items()}
    for connections in rates:
        measured.figure(f"durable logins a second, {connections} clients", f"{values[f'logins/{connections}']:.0f}")
    return values, rates


def measure_start_and_size(args, keys, work, _measured):
    """Start to ready with an empty store, and the size of the binary."""
    key = next((key for key in keys if key.alg == "EdDSA"), keys[0])
    took = []
    for _ in range(2 if args.quick else 10):
        data = work / "data-empty"
        shutil.rmtree(data, ignore_errors=True)
        menshen = Menshen(args.menshen, work, key, free_port(), f"sled:{data}")
        took.append(menshen.ready_after * 1000)
        menshen.stop()
    stripped = work / "menshen.stripped"
    subprocess.run(["strip", "-o", str(stripped), str(args.menshen)], check=True)
    return {"start/ready": statistics.median(took), "start/binary": stripped.stat().st_size / MIB}, took


PHASES = {"cpu": measure_cpu, "logins": measure_logins, "start": measure_start_and_size}


def parse():
    parser = command.parser(__doc__)
    parser.add_argument("--phases", nargs="+", choices=PHASES, default=list(PHASES))
    parser.add_argument("--algorithms", nargs="+", choices=kinds.ALGORITHMS, default=list(kinds.ALGORITHMS))
    names = [kind.key for kind in kinds.KINDS]
    parser.add_argument("--kinds", nargs="+", choices=names, default=names, help="rows of the table of CPU time")
    parser.add_argument("--without", nargs="+", choices=kinds.PEERS, default=[])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5, help="length of one measurement")
    parser.add_argument("--bare", type=Path, default=ROOT / "target/bare-pingora/release/bare-pingora")
    parser.add_argument("--envoy", type=Path, default=ROOT / "target/backends/envoy/bin/envoy")
    args = command.parse(parser)
    if args.quick:
        args.rounds, args.seconds = 1, 1
    return args


def main(args):
    keys = [tokens.Key(alg, args.work / "keys").make() for alg in args.algorithms]
    measured = Measured()
    try:
        for phase in args.phases:
            if kinds.MENSHEN not in args.without or phase == "cpu":
                values, raw = PHASES[phase](args, keys, args.work, measured)
                measured.values |= values
                results.save(args.results, f"load-{phase}", values, raw=raw, rounds=args.rounds, seconds=args.seconds,
                             binary=str(args.menshen))
    finally:
        text = measured.text(args)
        args.results.mkdir(parents=True, exist_ok=True)
        (args.results / "load.md").write_text(text + "\n", encoding="utf-8")
        print(text)
    return 0 if args.quick or targets.all_met(measured.values) else 1


if __name__ == "__main__":
    sys.exit(command.run(main, parse()))
