#!/usr/bin/env python3
"""How fast and how small menshen is meant to be: each target with what was measured, and whether it is met.

    ./run targets       the whole table, from what the last run of each command left under target/load/results

Exit status: 0 when every target that was measured is met, 1 when one is missed.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import results
from kinds import ALGORITHMS, BARE, ENVOY, HAPROXY, MENSHEN, NGINX



@dataclass(frozen=True)
class Target:
    """The value of `over`, divided by that of `under` if there is one, against `bound`."""

    name: str
    over: str
    bound: float
    under: str | None = None
    unit: str = ""
    # What measures it.
    command: str = "load"
    # Where more is better.
    least: bool = False
    # What would be better still.
    aim: float | None = None

    def measured(self, values):
        """`None`: not measured."""
        if self.over not in values or (self.under and self.under not in values):
            return None
        return values[self.over] / (values[self.under] if self.under else 1)

    def is_met(self, value):
        # As precise as it is printed: 1.004 is not more than 1.0.
        return round(value, 2) >= self.bound if self.least else round(value, 2) <= self.bound

    def verdict(self, value):
        if self.is_met(value):
            return "met" if not self.aim or round(value, 2) <= self.aim else f"met (aim at {number(self.aim)})"
        by = abs(value - self.bound)
        return f"**missed** by {number(by)} ({by / self.bound * 100:.0f} %)"

    def row(self, values):
        value = self.measured(values)
        wanted = f"at {'least' if self.least else 'most'} {number(self.bound)}{self.unit}"
        shown = f"{number(value)}{self.unit}" if value is not None else "-"
        verdict = self.verdict(value) if value is not None else f"not measured (`./run {self.command}`)"
        return f"| {self.name} | {wanted} | {shown} | {verdict} |"


def cpu(alg, kind, peer):
    return f"cpu/{alg}/{kind}/{peer}"


def against(name, alg, kind, peer, bound, *, peer_alg=None, aim=None):
    """CPU time of menshen over that of another proxy."""
    return Target(name, cpu(alg, kind, MENSHEN), bound, under=cpu(peer_alg or alg, kind, peer), aim=aim)


# Its 2.6 has no EdDSA.
VERIFIED_BY_HAPROXY = ALGORITHMS[:3]

# What the gate costs.
GATE = [
    *(against(f"GET, known token, {alg} / nginx without auth", alg, "one", NGINX, 1.35, aim=1.15) for alg in ALGORITHMS),
    *(against(f"GET, known token, {alg} / HAProxy with HS256", alg, "one", HAPROXY, 0.80, peer_alg="HS256") for alg in ALGORITHMS),
    *(Target(f"10,000 tokens / one token, {alg}", cpu(alg, "many", MENSHEN), 1.08, under=cpu(alg, "one", MENSHEN)) for alg in ALGORITHMS),
    against("token never seen, RS256 / HAProxy", "RS256", "fresh", HAPROXY, 0.80),
    against("token never seen, ES256 / HAProxy", "ES256", "fresh", HAPROXY, 0.85),
    against("POST 1 KiB, known token / HAProxy, HS256", "HS256", "post1k", HAPROXY, 1.0),
    against("POST 1 KiB, known token / bare pingora", "HS256", "post1k", BARE, 0.9),
    against("POST 64 KiB, known token / HAProxy, HS256", "HS256", "post64k", HAPROXY, 1.1),
    against("GET over h2c, known token / Envoy with cache", "HS256", "h2", ENVOY, 0.5),
    *(against(f"401, no token / HAProxy, {alg}", alg, "none", HAPROXY, 0.85) for alg in VERIFIED_BY_HAPROXY),
    *(against(f"401, forged token / HAProxy, {alg}", alg, "forged", HAPROXY, 0.85) for alg in VERIFIED_BY_HAPROXY),
    Target("user-space instructions for a proxied GET, HS256", "instructions/menshen", 45_000, command="instructions"),
    Target("system calls of its own of a proxied GET, 64 connections", "syscalls/menshen", 4.0, command="syscalls"),
    Target("the gate's decision, known token / at the issue's first commit", "decide/after", 0.8, under="decide/before", command="decide"),
    Target("memory of an idle connection", "memory/connection", 8.0, unit=" KiB", command="memory"),
    Target("memory of 20,000 remembered tokens", "memory/tokens", 25.0, unit=" MiB", command="memory"),
    Target("memory after a minute of load, 10,000 tokens, empty store", "memory/load", 48.0, unit=" MiB", command="memory"),
    Target("memory at rest, 100,000 users", "memory/users/idle", 28.0, unit=" MiB", command="memory"),
    Target("memory after a minute of load, a million users", "memory/million/load", 160.0, unit=" MiB", command="memory"),
    Target("durable logins a second, 64 clients", "logins/64", 12_000, least=True),
    Target("stripped binary", "start/binary", 24.0, unit=" MiB"),
    Target("release build on two cores", "build/minutes", 9.0, unit=" min", command="buildtime"),
]

# The store on a database, beside a transaction by hand.
ENGINES = [
    Target(f"{kind} on {engine}, {callers} {'client' if callers == 1 else 'clients'}: {what} / by hand", f"engines/{engine}/{kind}/{callers}/{what}", 1.5, command="engines")
    for engine in ("PostgreSQL", "MariaDB") for kind in ("login", "refresh", "code") for callers in (1, 64) for what in ("time", "server", "cpu")
]

# Those of before that no target above replaces.
OLDER = [
    *(against(f"GET, known token, {alg} / bare pingora", alg, "one", BARE, 1.0) for alg in ALGORITHMS),
    against("GET, known token, RS256 / HAProxy with RS256", "RS256", "one", HAPROXY, 0.5),
    Target("durable logins a second: 64 clients / 1 client", "logins/64", 8.0, under="logins/1", least=True),
    Target("memory after a minute of load, 100,000 users", "memory/users/load", 64.0, unit=" MiB", command="memory"),
    Target("start to ready, empty store", "start/ready", 200.0, unit=" ms"),
]


def number(value):
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"


def table(values, commands=None):
    """Markdown. With `commands`, only what those measure."""
    rows = [target.row(values) for target in GATE + ENGINES + OLDER
            if (target.command in commands and target.measured(values) is not None if commands else True)]
    return "\n".join(["| target | wanted | measured | |", "| --- | --- | --- | --- |", *rows]) if rows else ""


def all_met(values):
    measured = ((target, target.measured(values)) for target in GATE + ENGINES + OLDER)
    return all(target.is_met(value) for target, value in measured if value is not None)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=results.WORK)
    parser.add_argument("--quick", action="store_true", help="what the last quick runs left, which means nothing")
    args = parser.parse_args()
    values, about = results.load(results.directory(args.work, args.quick))
    for name, facts in about.items():
        print(f"{name}: " + ", ".join(f"{key} {value}" for key, value in facts.items()))
    print("\n" + table(values))
    return 0 if all_met(values) else 1


if __name__ == "__main__":
    sys.exit(main())
