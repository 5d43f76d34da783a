#!/usr/bin/env python3
"""User-space instructions for a proxied GET with a known HS256 token, counted by callgrind; and for nginx, which checks nothing.

    ./run instructions

One connection that is kept: 1,000 requests first, then the counts are set to zero, then 2,000 requests; their sum divided by 2,000 is
the figure. So what a start costs is not in it. What background threads do in that time is in it. Two runs of one binary differ by less
than one in a hundred.

Three tables: by crate, by the function that a line of code was written in (also where it was inlined into another), and by the symbol
that it became a part of. They need a binary with debug information, which `./run instructions` builds (profile `profiling`, the
release build otherwise).
"""

import re
import sys
from collections import Counter
from contextlib import ExitStack

import clients
import command
import results
import targets
from callgrind import Callgrind, inlined
from certificate import Certificate
from nginx import Nginx
from peer import HTTP1
from process import Invalid
from report import markdown
from upstream import HELLO

ROWS = 25
# From the path of a source file, or, without debug information, from the name of a codegen unit.
CRATE = re.compile(r"/registry/src/[^/]+/(.+?)-\d+\.\d+\.\d+[^/]*/|/library/(\w+)/|^(\w+)\.[0-9a-f]+-cgu")


def main(args):
    first, then = (50, 100) if args.quick else (1000, 2000)
    callgrind, values = Callgrind(args.work, "menshen"), {}
    with command.one_menshen(args, wrapper=callgrind.argv) as (menshen, upstream, _, token):
        costs = count(callgrind, menshen.process.pid, menshen.http1, token, first, then)
        values["instructions/menshen"] = sum(costs.values()) / then
        written = inlined(costs, args.menshen)
        print(f"menshen: {sum(costs.values()) / then:,.0f} instructions for a request\n")
        print(table("crate", by(written, lambda place: crate(place[1])), then) + "\n")
        print(table("function (inlined ones too)", by(written, lambda place: place[0]), then) + "\n")
        print(table("symbol", by(costs, lambda place: place.function), then) + "\n")
        with ExitStack() as stack:
            callgrind = Callgrind(args.work, "nginx")
            nginx = Nginx(args.work, upstream.port, Certificate(args.work / "tls").make(), callgrind.argv, master=False)
            stack.callback(nginx.stop)
            costs = count(callgrind, nginx.process.pid, nginx.ports[HTTP1, None], token, first, then)
            values["instructions/nginx"] = sum(costs.values()) / then
            print(f"nginx: {sum(costs.values()) / then:,.0f} instructions for a request\n")
            print(table("symbol", by(costs, lambda place: place.function), then) + "\n")
    results.save(args.results, "instructions", values, requests=then, binary=str(args.menshen))
    print(targets.table(values, {"instructions"}))
    return 0 if args.quick or targets.all_met(values) else 1


def count(callgrind, pid, port, token, first, then):
    """Instructions by place, of the requests after the first ones."""
    connection = clients.Connection(port)
    ask(connection, token, first)
    callgrind.zero(pid)
    ask(connection, token, then)
    costs = callgrind.dump(pid)
    connection.close()
    return costs


def ask(connection, token, times):
    for _ in range(times):
        answer = connection.request(token)
        if answer.status != 200 or answer.body != HELLO.encode():
            raise Invalid(f"{answer}")


def by(costs, name):
    sums = Counter()
    for place, cost in costs.items():
        sums[name(place)] += cost
    return sums


def crate(path):
    """The crate of a source file; for what has none, the object."""
    if match := CRATE.search(path):
        return next(filter(None, match.groups()))
    return "menshen" if re.search("(^|/)src/", path) else path.rsplit("/", 1)[-1]


def table(head, sums, requests):
    total = sum(sums.values())
    rows = [[f"{cost / requests:,.0f}", f"{cost / total * 100:.1f} %", name.replace("|", "\\|")] for name, cost in sums.most_common(ROWS)]
    return markdown(["instructions", "share", head], rows)


if __name__ == "__main__":
    sys.exit(command.run(main, command.parse(command.parser(__doc__, "profiling"))))
