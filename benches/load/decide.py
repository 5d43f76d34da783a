#!/usr/bin/env python3
"""The gate's own decision for a known token (`decide_warm_token` of benches/gate.rs): here, and at another commit.

    ./run decide REV

Builds the bench twice (about twelve minutes each on two cores), then runs both in turn on one core. The other commit is unpacked to
target/decide and shares the built dependencies.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import results
import targets
from process import PROXY_CORE
from results import ROOT

BENCH = "decide_warm_token"
PLACE = ROOT / "target/decide"


def main():
    args = parse()
    rev = subprocess.run(["git", "rev-parse", "--verify", f"{args.rev}^{{commit}}"], cwd=ROOT, capture_output=True, text=True, check=True)
    rev = rev.stdout.strip()
    benches = {"before": build(unpack(rev), args.profile), "after": build(ROOT, args.profile)}
    times = {name: [] for name in benches}
    for number in range(args.rounds):
        for name in benches if number % 2 else reversed(benches):
            times[name].append(measure(name, benches[name], args.seconds))
            print(f"round {number + 1}: {name}: {times[name][-1]:.1f} ns", file=sys.stderr, flush=True)
    values = {f"decide/{name}": statistics.median(seen) for name, seen in times.items()}
    results.save(results.directory(args.work, args.quick), "decide", values, raw=times, before=rev, profile=args.profile)
    for name, seen in times.items():
        print(f"{name}: {statistics.median(seen):,.0f} ns ({min(seen):,.0f} to {max(seen):,.0f})")
    print("\n" + targets.table(values, {"decide"}))
    return 0 if args.quick or targets.all_met(values) else 1


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rev", help="the commit to compare with")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=3, help="length of one measurement")
    parser.add_argument("--profile", default="bench", help="cargo's profile; another than `bench` shows that it works, and nothing else")
    parser.add_argument("--work", type=Path, default=results.WORK)
    parser.add_argument("--quick", action="store_true", help="one round; the exit status is 0 when it could be measured")
    args = parser.parse_args()
    if args.quick:
        args.rounds, args.seconds = 1, 1
    return args


def unpack(rev):
    """The tree of a commit."""
    tree = PLACE / rev
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    archive = subprocess.run(["git", "archive", rev], cwd=ROOT, capture_output=True, check=True).stdout
    subprocess.run(["tar", "-x"], cwd=tree, input=archive, check=True)
    return tree


def build(tree, profile):
    """The bench's binary."""
    argv = ["cargo", "bench", "--locked", "--bench", "gate", "--no-run", "--profile", profile, "--message-format", "json",
            "--target-dir", ROOT / "target"]
    out = subprocess.run(argv, cwd=tree, stdout=subprocess.PIPE, text=True, check=True).stdout
    return next(message["executable"] for message in map(json.loads, out.splitlines())
                if message.get("executable") and message["target"]["name"] == "gate")


def measure(name, bench, seconds):
    """Median of one run, in nanoseconds."""
    home = PLACE / f"criterion-{name}"
    shutil.rmtree(home, ignore_errors=True)
    subprocess.run([bench, "--bench", f"^{BENCH}$", "--noplot", "--warm-up-time", "1", "--measurement-time", str(seconds)], check=True,
                   cwd=ROOT, capture_output=True, env=os.environ | {"CRITERION_HOME": str(home)},
                   preexec_fn=lambda: os.sched_setaffinity(0, {PROXY_CORE}))
    estimates = json.loads((home / BENCH / "new/estimates.json").read_text(encoding="utf-8"))
    return estimates["median"]["point_estimate"]


if __name__ == "__main__":
    sys.exit(main())
