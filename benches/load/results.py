"""What the commands measured: one JSON file each under target/load/results, so that `./run targets` can show all in one table.

A result has a key like `cpu/HS256/one/menshen` and a number. Each file says when, of which commit and with which command.
"""

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
WORK = ROOT / "target/load"


def directory(work, quick):
    """What a quick run measured is kept apart: it proves that the rows work and nothing else."""
    return work / ("results-quick" if quick else "results")


def save(directory, name, values, raw=None, **about):
    """Replaces the results of `name`. `raw`: what the values were computed from."""
    directory.mkdir(parents=True, exist_ok=True)
    about = {"date": time.strftime("%Y-%m-%d"), "commit": commit(), "machine": machine(), "command": " ".join(sys.argv)} | about
    (directory / f"{name}.json").write_text(json.dumps({"about": about, "values": values, "raw": raw}, indent=1) + "\n", encoding="utf-8")


def load(directory):
    """All values of all commands, and what is said about each command."""
    values, about = {}, {}
    for path in sorted(directory.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        values |= content["values"]
        about[path.stem] = content["about"]
    return values, about


def commit():
    out = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False)
    return out.stdout.strip() or "unknown"


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        model = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), platform.machine())
    return f"{model}, {os.cpu_count()} cores, Linux {platform.release()}"
