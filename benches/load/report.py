"""The tables of the load comparison as Markdown, for benches/README.md."""

from kinds import BARE, ENVOY, HAPROXY, MENSHEN, NGINX, PEERS


def by_row(loads):
    """Loads by row of the table and by peer."""
    rows = {}
    for load in loads:
        rows.setdefault((load.alg, load.kind.label), {})[load.peer.name] = load
    return rows


def cpu_table(loads):
    others = (BARE, NGINX, HAPROXY, ENVOY)
    head = ["algorithm", "load", *PEERS, *(f"{MENSHEN} / {other}" for other in others)]
    rows = [[alg, label, *(spread(row.get(peer)) for peer in PEERS), *(ratio(row.get(MENSHEN), row.get(other)) for other in others)]
            for (alg, label), row in by_row(loads).items()]
    return markdown(head, rows)


def rate_table(loads):
    rows = [[alg, label, *(f"{row[peer].rate():,.0f}" if peer in row else "n/a" for peer in PEERS)]
            for (alg, label), row in by_row(loads).items()]
    return markdown(["algorithm", "load", *PEERS], rows)


def markdown(head, rows):
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *rows])


def spread(load):
    return f"{load.cost():.1f} ({min(load.costs):.1f} to {max(load.costs):.1f})" if load else "n/a"


def ratio(over, under):
    return f"{over.cost() / under.cost():.2f}" if over and under else "n/a"
