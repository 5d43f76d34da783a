#!/usr/bin/env python3
"""What the store costs on a database, beside transactions written by hand, and what several processes of menshen do on one.

    ./run engines

The store alone (`benches/engines.rs`): no HTTP, no WeChat, no signatures. CPU time is of the client's process and of the database's, for each
operation; by hand are the same reads (the record that all operations read too) and writes, of as many bytes, in one transaction of prepared statements: `pgbench` on PostgreSQL, a
client of a few lines on MariaDB. Each caller has users of its own. Then the whole program: logins of new users by `wrk`, on 1, 2 and
4 processes. Database, menshen and load share the machine; PostgreSQL and MariaDB wait for the disk at each commit.
"""

import json
import secrets
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import clients
import command
import results
import targets
import tokens
from databases import Mariadb, Postgres, pgbench
from menshen import Menshen
from process import LOAD_CORE, PROXY_CORE
from upstream import Upstream

KINDS = ("login", "first-login", "refresh", "code")
CALLERS = (1, 64)
PROCESSES = (1, 2, 4)
SMALL = 120

# PostgreSQL by hand: what `benches/engines/by_hand.rs` does on MySQL.
READ = "SELECT version, value FROM by_hand WHERE key = convert_to('{}', 'UTF8')"
TABLE = """
CREATE TABLE by_hand (key bytea PRIMARY KEY, version bigint NOT NULL, value bytea NOT NULL) WITH (fillfactor = 85);
ALTER TABLE by_hand ALTER value SET STORAGE EXTERNAL;
INSERT INTO by_hand SELECT convert_to('o/' || n, 'UTF8'), 1, decode(repeat('01', {small}), 'hex') FROM generate_series(0, {users} - 1) n;
INSERT INTO by_hand VALUES (convert_to('m/', 'UTF8'), 1, decode(repeat('01', {small}), 'hex'));
INSERT INTO by_hand SELECT convert_to('u/' || n, 'UTF8'), 1, decode(repeat('01', {bytes}), 'hex') FROM generate_series(0, {users} - 1) n;
"""


def read(prefix, number, suffix=""):
    return f"SELECT version, value FROM by_hand WHERE key = convert_to('{prefix}/' || :{number}, 'UTF8'){suffix};"


def insert(prefix, number, value):
    return f"INSERT INTO by_hand VALUES (convert_to('{prefix}/' || :{number}, 'UTF8'), 1, :{value});"


UPDATE = "UPDATE by_hand SET version = version + 1, value = :large WHERE key = convert_to('u/' || :place, 'UTF8');"
LOCK = " FOR UPDATE"
# What all operations read and none of them writes.
FENCE = "SELECT version, value FROM by_hand WHERE key = convert_to('m/', 'UTF8');"
STATEMENTS = {
    "login": [read("c", "fresh"), read("o", "place"), read("u", "place", LOCK), insert("c", "fresh", "small"), UPDATE],
    "first-login": [read("c", "fresh"), read("o", "fresh"), insert("c", "fresh", "small"), insert("o", "fresh", "small"), insert("u", "fresh", "large")],
    "refresh": [read("u", "place", LOCK), UPDATE],
    # The record of a phone may lie in one of three days.
    "code": [read("before", "fresh"), read("c", "fresh"), read("after", "fresh"), insert("c", "fresh", "large")],
}


def main(args):
    values, raw = {}, {}
    bench = build(args.profile)
    for make in (Postgres, Mariadb):
        database = make()
        try:
            print(f"\n{database.name} {database.version()}\n")
            store_alone(args, bench, database, values, raw)
            whole_program(args, database, values, raw)
        finally:
            database.stop()
    results.save(args.results, "engines", values, raw=raw, binary=str(args.menshen))
    print("\n" + targets.table(values, {"engines"}))
    return 0 if args.quick or targets.all_met(values) else 1


def build(profile):
    """The path of the bench's program."""
    argv = ["cargo", "build", "--locked", "--profile", profile, "--bench", "engines", "--message-format=json"]
    out = subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True, cwd=results.ROOT).stdout
    return next(line["executable"] for line in map(json.loads, out.splitlines()) if line.get("target", {}).get("name") == "engines")


def store_alone(args, bench, database, values, raw):
    users = 640 if args.quick else 10_000
    seconds = 1 if args.quick else 5
    print("| operation | callers | menshen: a second | CPU of client, server | by hand: a second | CPU of client, server | CPU of server, ratio | all CPU, ratio |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for kind in KINDS:
        for callers in CALLERS:
            rounds = []
            for number in range(1 if args.quick else args.rounds):
                name = f"{kind.replace('-', '_')}_{callers}_{number}"
                rounds.append(one_round(bench, database, name, (kind, callers, seconds, users)))
            ours, hand = ({key: statistics.median(pair[side][key] for pair in rounds) for key in rounds[0][side]} for side in (0, 1))
            ratios = hand["a_second"] / ours["a_second"], ours["server_cpu_us"] / hand["server_cpu_us"], total(ours) / total(hand)
            print(f"| {kind} | {callers} | {ours['a_second']:,.0f} | {ours['client_cpu_us']:.0f}, {ours['server_cpu_us']:.0f} µs | {hand['a_second']:,.0f}"
                  f" | {hand['client_cpu_us']:.0f}, {hand['server_cpu_us']:.0f} µs | {ratios[1]:.2f} | {ratios[2]:.2f} |", flush=True)
            row = f"engines/{database.name}/{kind}/{callers}"
            values |= {f"{row}/time": ratios[0], f"{row}/server": ratios[1], f"{row}/cpu": ratios[2]}
            raw[row] = rounds


def total(row):
    return row["client_cpu_us"] + row["server_cpu_us"]


def one_round(bench, database, name, load):
    """The store, and by hand with as many bytes as it wrote."""
    kind, callers, seconds, users = load
    argv = [bench, f"--kind={kind}", f"--callers={callers}", f"--seconds={seconds}", f"--users={users}", f"--server={database.server.pid}"]

    def run(name, *more):
        out = subprocess.run([*argv, f"--url={database.url(name)}", *more], check=True, capture_output=True, text=True).stdout
        return json.loads(out.strip().splitlines()[-1])

    ours = run(f"ours_{name}")
    written = database.sizes(f"ours_{name}")["v" if kind == "code" else "u"][0]
    if database.name != "PostgreSQL":
        return ours, run(f"hand_{name}", f"--by-hand={written}")
    database.url(f"hand_{name}")
    database.sql(TABLE.format(small=SMALL, bytes=written, users=users), f"hand_{name}")
    script = [f"\\set place :client_id * {users // callers} + random(0, {users // callers - 1})", "\\set fresh random(1, 9000000000000000000)"]
    script += ["BEGIN;", FENCE, *STATEMENTS[kind], "COMMIT;"]
    variables = {"small": "\\x" + "02" * SMALL, "large": "\\x" + "02" * written}
    return ours, pgbench(database, f"hand_{name}", "\n".join(script), callers, seconds, variables)


def whole_program(args, database, values, raw):
    """Logins of new users, and where the CPU time goes."""
    print("\n| processes | logins a second | of two cores: menshen, database | conflicts |")
    print("| --- | --- | --- | --- |")
    key, encryption_key = tokens.Key("EdDSA", args.work / "keys").make(), args.work / "encryption-key"
    encryption_key.touch(0o600)
    encryption_key.write_text(secrets.token_hex(32), encoding="ascii")
    for count in PROCESSES:
        url, seconds = database.url(f"whole_{count}"), 1 if args.quick else 8
        with ExitStack() as stack:
            upstream = Upstream(args.work)
            stack.callback(upstream.stop)
            menshens = []
            for number in range(count):
                menshens.append(Menshen(args.menshen, args.work / f"process-{number}", key, upstream.port, url, cores={PROXY_CORE, LOAD_CORE}, threads=0,
                                        encryption_key=encryption_key))
                stack.callback(menshens[-1].stop)

            def load(number, part):
                return menshens[number].logins(seconds, f"p{count}n{number}{part}x", clients.CONNECTIONS // count)

            with ThreadPoolExecutor(count) as pool:
                list(pool.map(lambda number: load(number, "warm"), range(count)))
                before = [process.cpu() for process in (*(one.process for one in menshens), database.server)]
                summaries = list(pool.map(lambda number: load(number, "run"), range(count)))
                spent = [process.cpu() - start for process, start in zip((*(one.process for one in menshens), database.server), before)]
            rate = sum(summary.rate for summary in summaries)
            conflicts = sum(one.metric("menshen_store_attempts_total", outcome="conflict") for one in menshens)
            shares = sum(spent[:-1]) / seconds / 1e9, spent[-1] / seconds / 1e9
            print(f"| {count} | {rate:,.0f} | {shares[0]:.2f}, {shares[1]:.2f} | {conflicts:.0f} |", flush=True)
            values[f"engines/{database.name}/logins/{count}"] = rate
            raw[f"engines/{database.name}/logins/{count}"] = {"menshen": shares[0], "database": shares[1], "conflicts": conflicts}


if __name__ == "__main__":
    made = command.parser(__doc__, "profiling")
    made.add_argument("--rounds", type=int, default=3, help="of each row of the store alone")
    made.add_argument("--profile", default="profiling", help="of the store alone")
    sys.exit(command.run(main, command.parse(made)))
