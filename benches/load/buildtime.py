#!/usr/bin/env python3
"""How long a release build takes from nothing, dependencies and all.

    ./run buildtime

What takes long is in the report of `cargo build --timings`, whose place is printed. Nothing else should run meanwhile.
"""

import argparse
import shutil
import subprocess
import sys
import time
from pathlib import Path

import results
import targets
from results import ROOT

TARGET = ROOT / "target/buildtime"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=results.WORK)
    args = parser.parse_args()
    shutil.rmtree(TARGET, ignore_errors=True)
    began = time.monotonic()
    subprocess.run(["cargo", "build", "--release", "--locked", "--bin", "menshen", "--timings", "--target-dir", TARGET], cwd=ROOT, check=True)
    values = {"build/minutes": (time.monotonic() - began) / 60}
    report = args.work / "cargo-timing.html"
    args.work.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(TARGET / "cargo-timings/cargo-timing.html", report)
    shutil.rmtree(TARGET)
    results.save(results.directory(args.work, False), "buildtime", values)
    print(f"{report}\n\n{targets.table(values, {'buildtime'})}")
    return 0 if targets.all_met(values) else 1


if __name__ == "__main__":
    sys.exit(main())
