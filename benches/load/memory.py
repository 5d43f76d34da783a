#!/usr/bin/env python3
"""Memory: of an idle connection, of remembered tokens, and of the process after a minute of full load.

    ./run memory

Each on a process of its own with an empty store (the one user whose token is copied aside), one worker thread, and everything on.
Resident memory (`VmRSS`): before, after, and the difference for each connection or token. Then with 100,000 users and with a million, each with
a session: after a start and five seconds of rest, and after a minute of full load.
"""

import itertools
import shutil
import sys
import time
from contextlib import ExitStack

import clients
import command
import results
import targets
import tokens
from load import MANY_TOKENS, TokenFiles
from menshen import Menshen
from process import LOAD_CORE, PROXY_CORE, Invalid
from tokens import token_file
from upstream import Upstream

MIB, KIB = 1024 * 1024, 1024
CONNECTIONS = 10_000
# As many as menshen remembers by default, but for a few: with the last of them it may forget the oldest half.
REMEMBERED, SPARE = 20_000, 10
# So that what grows once (buffers, connections to the upstream, the heap) has grown.
WARM_UP = 2000
USERS = {"users": 100_000, "million": 1_000_000}


def main(args):
    values, raw = {}, {}
    for name, measure in (("connection", idle_connections), ("tokens", remembered_tokens), ("load", minute_of_load)):
        values[f"memory/{name}"], raw[name] = measure(args)
        show(raw[name])
    for name, users in USERS.items():
        rest, load, raw[name] = many_users(args, users // 100 if args.quick else users)
        values |= {f"memory/{name}/idle": rest, f"memory/{name}/load": load}
        show(raw[name])
    results.save(args.results, "memory", values, raw=raw, binary=str(args.menshen))
    print("\n" + targets.table(values, {"memory"}))
    return 0 if args.quick or targets.all_met(values) else 1


def show(row):
    print(", ".join(f"{word} {value:,.2f}" if isinstance(value, float) else f"{word} {value:,}" for word, value in row.items()), flush=True)


def idle_connections(args):
    """KiB for each connection that has had one request and waits for the next."""
    count = CONNECTIONS // 10 if args.quick else CONNECTIONS
    with command.one_menshen(args, server='keepalive_timeout = "1h"') as (menshen, _, _, token):
        ask_all(menshen, itertools.repeat(token, WARM_UP))
        before, held = menshen.process.memory(), []
        for _ in range(count):
            held.append(clients.Connection(menshen.http1))
            ask(held[-1], token)
        if (accepted := menshen.metric("menshen_connections")) < count:
            raise Invalid(f"{accepted:.0f} of {count} connections are open")
        after = menshen.process.memory()
        # All of them live.
        for connection in held:
            ask(connection, token)
            connection.close()
    each = (after - before) / KIB / count
    return each, {"connections": count, "MiB before": before / MIB, "MiB after": after / MIB, "KiB for each": each}


def remembered_tokens(args):
    """MiB for as many tokens as are remembered by default."""
    count = (REMEMBERED // 10 if args.quick else REMEMBERED) - SPARE
    with command.one_menshen(args) as (menshen, _, key, token):
        file = token_file(key, args.work / "tokens", REMEMBERED, token)
        with open(file, encoding="ascii") as lines:
            tokens = [line.strip() for line in itertools.islice(lines, count)]
        ask_all(menshen, itertools.repeat(token, WARM_UP))
        before = menshen.process.memory()
        ask_all(menshen, tokens)
        after = menshen.process.memory()
        # A few of all ages, to see that none has been forgotten.
        sample = tokens[:: count // (SPARE - 2)]
        known = menshen.checked_tokens("cached")
        ask_all(menshen, sample)
        if (met := menshen.checked_tokens("cached") - known) != len(sample):
            raise Invalid(f"of {len(sample)} tokens {met:.0f} are remembered")
    return (after - before) / MIB, {
        "tokens": count, "bytes of each": len(tokens[0]), "MiB before": before / MIB, "MiB after": after / MIB,
        "bytes for each": (after - before) / count}


def minute_of_load(args):
    """MiB of the process right after a minute of full load with 10,000 tokens."""
    seconds = 2 if args.quick else 60
    with command.one_menshen(args) as (menshen, _, key, token):
        before = menshen.process.memory()
        summary = clients.wrk(menshen.http1, seconds, "tokens.lua", TokenFiles(key, args.work, token)["many"], 0)
        after, highest = menshen.process.memory(), menshen.process.memory("VmHWM")
        if summary.refused or summary.broken or not summary.requests:
            raise Invalid(f"the minute of load failed: {summary}")
        verified = menshen.checked_tokens("verified")
        if not args.quick and verified < MANY_TOKENS:
            raise Invalid(f"only {verified:.0f} tokens were verified")
    return after / MIB, {"requests": summary.requests, "MiB before": before / MIB, "MiB after": after / MIB, "MiB highest": highest / MIB}


def many_users(args, users):
    """MiB with so many users: at rest, and after a minute of load."""
    key = tokens.Key("EdDSA", args.work / "keys").make()
    data = args.work / "data-users"
    shutil.rmtree(data, ignore_errors=True)
    with ExitStack() as stack:
        upstream = Upstream(args.work)
        stack.callback(upstream.stop)

        def start(**options):
            menshen = Menshen(args.menshen, args.work, key, upstream.port, f"sled:{data}", **options)
            stack.callback(menshen.stop)
            return menshen

        menshen, part = start(cores={PROXY_CORE, LOAD_CORE}, threads=0), 0
        while (opened := menshen.metric("menshen_sessions_opened_total")) < users:
            part += 1
            # Slowly at the end, so that it does not overshoot by much.
            menshen.logins(1, f"fill{part}n", 4 if opened > users - 20_000 else clients.CONNECTIONS)
        if code := menshen.stop():
            raise Invalid(f"after SIGTERM menshen ended with {code}")
        menshen = start()
        time.sleep(1 if args.quick else 5)
        rest, anonymous = menshen.process.memory(), menshen.process.memory("RssAnon")
        file = TokenFiles(key, args.work, menshen.login())["many"]
        summary = clients.wrk(menshen.http1, 2 if args.quick else 60, "tokens.lua", file, 0)
        if summary.refused or summary.broken:
            raise Invalid(f"the minute of load failed: {summary}")
        load, highest = menshen.process.memory(), menshen.process.memory("VmHWM")
    return rest / MIB, load / MIB, {
        "users": int(opened), "start to ready, ms": menshen.ready_after * 1000, "MiB at rest": rest / MIB,
        "without the pages of the program's file": anonymous / MIB, "MiB after load": load / MIB,
        "MiB highest": highest / MIB}


def ask_all(menshen, tokens):
    """Requests one by one, on one connection."""
    connection = clients.Connection(menshen.http1)
    for token in tokens:
        ask(connection, token)
    connection.close()


def ask(connection, token):
    answer = connection.request(token)
    if answer.status != 200:
        raise Invalid(f"{answer}")


if __name__ == "__main__":
    sys.exit(command.run(main, command.parse(command.parser(__doc__))))
