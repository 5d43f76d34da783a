"""Runs a proxy under callgrind and reads what it counted."""

import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from process import Invalid

HERE = Path(__file__).resolve().parent
NAMED = re.compile(r"(ob|fl|fi|fe|fn)=(?:\((\d+)\))? ?(.*)")
# Callees, whose names may be explained where they are first called.
CALLEE = re.compile(r"(cob|cfi|cfl|cfn)=\((\d+)\) ?(.*)")
CALLEE_KINDS = {"cob": "ob", "cfi": "fl", "cfl": "fl", "cfn": "fn"}


@dataclass(frozen=True)
class Place:
    """Where instructions were executed: in which function of which object, at which address, from which source file."""

    object: str
    function: str
    address: int
    file: str


class Callgrind:
    """`argv` starts a command under callgrind; then `zero`, `dump` and `read` by its process id."""

    def __init__(self, work, name):
        self.out = work / f"callgrind-{name}.out"
        for old in work.glob(self.out.name + "*"):
            old.unlink()
        self.argv = [sys.executable, "-B", HERE / "without_auxv.py", "valgrind", "--tool=callgrind", "--dump-instr=yes",
                     f"--callgrind-out-file={self.out}", f"--log-file={work / f'valgrind-{name}.log'}"]

    def zero(self, pid):
        self.control("--zero", pid)

    def dump(self, pid):
        """The instructions since the last `zero`, by place."""
        self.control("--dump", pid)
        return read(Path(f"{self.out}.1"))

    @staticmethod
    def control(option, pid):
        subprocess.run(["callgrind_control", option, str(pid)], check=True, capture_output=True)


def read(path):
    """Self cost by place. The format is that of "Callgrind Format Specification" in valgrind's manual.

    callgrind_annotate would do, but it takes calls that had begun before the counts were set to zero for the caller's own cost.
    """
    costs, names = Counter(), {"ob": {}, "fl": {}, "fn": {}}
    now, address, skip, total = {"ob": "", "fl": "", "fn": ""}, 0, False, None
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            line = line.rstrip("\n")
            if not line:
                continue
            if line[0] in "0123456789+-*":
                position, _, cost = line.split()[:3] if line.count(" ") >= 2 else (*line.split(), "0")
                address = moved(address, position)
                if not skip:
                    costs[Place(now["ob"], now["fn"], address, now["fl"])] += int(cost)
                # After `calls=` comes what the callee took.
                skip = False
            elif line.startswith("calls="):
                skip = True
            elif match := CALLEE.fullmatch(line):
                kind, number, name = match.groups()
                if name:
                    names[CALLEE_KINDS[kind]][number] = name
            elif match := NAMED.fullmatch(line):
                kind, number, name = match.groups()
                kind = "fl" if kind in ("fi", "fe") else kind
                if number and name:
                    names[kind][number] = name
                now[kind] = names[kind][number] if number else name
            elif line.startswith("totals:"):
                total = int(line.split()[1])
    # A file that was read in another way than it was written would not add up.
    if sum(costs.values()) != total:
        raise Invalid(f"{path}: {sum(costs.values())} instructions were read, its total is {total}")
    return costs


def moved(before, position):
    if position == "*":
        return before
    if position[0] in "+-":
        return before + int(position, 0)
    return int(position, 0)


def inlined(costs, binary):
    """Costs by the innermost inlined function of each address and its source file; of other objects by symbol and object."""
    found = resolve(binary, sorted({place.address for place in costs if place.object == str(binary)}))
    by_name = Counter()
    for place, cost in costs.items():
        inside = place.object == str(binary)
        name = found.get(place.address, (place.function, place.file)) if inside else (place.function, place.object)
        by_name[name] += cost
    return by_name


def resolve(binary, addresses):
    """What addr2line says of the addresses: name and file of the innermost function."""
    text = "".join(f"{address:#x}\n" for address in addresses)
    out = subprocess.run(["addr2line", "-a", "-f", "-i", "-C", "-e", binary], input=text, capture_output=True, text=True, check=True).stdout
    found, lines = {}, iter(out.splitlines())
    for line in lines:
        if line.startswith("0x"):
            name, place = next(lines), next(lines)
            if name != "??":
                found[int(line, 16)] = (name, place.rsplit(":", 1)[0])
    return found
