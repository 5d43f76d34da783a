"""Prints the licences of all that is compiled into menshen: each text once, below the crates that it belongs to.

Usage: licences.py, in a checkout. The crates are those that `cargo metadata` names for Linux on x86-64; the texts are the files that
they ship, also those of the C libraries inside them.
"""

import json
import os
import re
import subprocess
import sys
from collections import defaultdict

TARGET = "x86_64-unknown-linux-gnu"
LICENCE_FILE = re.compile(r"^(licen[cs]e|copying|notice|unlicense|copyright)([-._].*)?$", re.IGNORECASE)
# What is no text, though it has such a name.
CODE = (".rs", ".py", ".sh", ".json", ".toml", ".html", ".c", ".h", ".go", ".pl")


def linked_packages(metadata):
    """The packages that the program is linked with: those of the normal dependencies, from the root on."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    root = metadata["resolve"]["root"]
    seen, waiting = {root}, [root]
    while waiting:
        for dependency in nodes[waiting.pop()]["deps"]:
            is_normal = any(kind["kind"] is None for kind in dependency["dep_kinds"])
            if is_normal and dependency["pkg"] not in seen:
                seen.add(dependency["pkg"])
                waiting.append(dependency["pkg"])
    packages = (package for package in metadata["packages"] if package["id"] in seen - {root})
    return sorted(packages, key=lambda package: (package["name"], package["version"]))


def texts_of(package):
    """The texts in a package's directory, in the order of their paths."""
    top = os.path.dirname(package["manifest_path"])
    for directory, directories, files in os.walk(top):
        directories.sort()
        for name in sorted(files):
            if LICENCE_FILE.match(name) and not name.lower().endswith(CODE):
                with open(os.path.join(directory, name), encoding="utf-8", errors="replace") as file:
                    yield "\n".join(line.rstrip() for line in file.read().strip().splitlines())


def main():
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", TARGET]
    metadata = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    users, without = defaultdict(list), []
    packages = linked_packages(metadata)
    for package in packages:
        name = f"{package['name']} {package['version']}"
        texts = [text for text in texts_of(package) if text]
        for text in dict.fromkeys(texts):
            users[text].append(name)
        if not texts:
            authors = ", ".join(package["authors"]) or "its authors"
            without.append(f"{name}: {package['license']}, by {authors}, {package['repository'] or ''}".rstrip(", "))
    if not packages or not users:
        sys.exit("licences.py: no dependency has a licence, which cannot be")
    print("menshen is licensed under Apache-2.0 (LICENSE). Its program contains the packages below, and Rust's standard library")
    print("(MIT OR Apache-2.0, https://github.com/rust-lang/rust/blob/master/COPYRIGHT).\n")
    for package in packages:
        print(f"  {package['name']} {package['version']}: {package['license'] or 'see its text'}")
    print("\nThese ship no text of their own. The texts of the licences that they name are below:\n")
    for line in without:
        print(f"  {line}")
    for text, names in sorted(users.items(), key=lambda entry: entry[1]):
        print(f"\n{'=' * 100}\n{', '.join(names)}\n{'=' * 100}\n\n{text}")


main()
