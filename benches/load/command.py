"""What the measuring commands have in common: their options, and a menshen with an empty store."""

import argparse
import os
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path

import clients
import results
import tokens
from menshen import Menshen
from process import LOAD_CORE, PROXY_CORE, Invalid
from upstream import Upstream


def parser(doc, profile="release"):
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--menshen", type=Path, default=results.ROOT / "target" / profile / "menshen", help="the binary")
    made.add_argument("--work", type=Path, default=results.WORK, help="keys, tokens, stores and results")
    made.add_argument("--quick", action="store_true", help="as short as it can be; the exit status is 0 when all is valid")
    return made


def parse(made):
    args = made.parse_args()
    if not os.sched_getaffinity(0) >= {PROXY_CORE, LOAD_CORE}:
        made.error("two cores are needed: one for the proxies, one for the upstream and the load")
    args.menshen, args.work = args.menshen.resolve(), args.work.resolve()
    if not args.menshen.exists():
        made.error(f"there is no {args.menshen}")
    args.work.mkdir(parents=True, exist_ok=True)
    args.results = results.directory(args.work, args.quick)
    return args


def run(main, args):
    """The exit status: 2 when a measurement is not valid. What was started ends in any case."""
    # So that `with` is left when the command is stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    clients.raise_file_limit()
    try:
        return main(args)
    except (Invalid, subprocess.CalledProcessError) as invalid:
        print(f"not valid: {invalid}", file=sys.stderr)
        return 2


@contextmanager
def one_menshen(args, **options):
    """A menshen with HS256 and an empty store, its upstream, and a token."""
    key = tokens.Key("HS256", args.work / "keys").make()
    data = args.work / "data-empty"
    shutil.rmtree(data, ignore_errors=True)
    with ExitStack() as stack:
        upstream = Upstream(args.work)
        stack.callback(upstream.stop)
        menshen = Menshen(args.menshen, args.work, key, upstream.port, f"sled:{data}", **options)
        stack.callback(menshen.stop)
        yield menshen, upstream, key, menshen.login()
