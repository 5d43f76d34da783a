"""One kind of load on one peer: it is run, it is measured, and it is proved that every answer was right."""

import statistics
import time

import clients
import tokens
from peer import H2C, TLS
from process import Invalid
from upstream import HELLO, body

# Several times what menshen's cache holds, so that a token's turn comes long after it was forgotten.
FRESH_TOKENS = 100_000
MANY_TOKENS = 10_000


class TokenFiles:
    """The files of tokens of one algorithm, by the names that kinds use; each is made when it is first asked for."""

    def __init__(self, key, directory, sample):
        self.key, self.directory, self.sample, self.files = key, directory / "tokens", sample, {}

    def __getitem__(self, name):
        if name not in self.files:
            self.files[name] = getattr(self, name)()
        return self.files[name]

    def many(self):
        return tokens.token_file(self.key, self.directory, MANY_TOKENS, self.sample)

    def fresh(self):
        return tokens.token_file(self.key, self.directory, FRESH_TOKENS, self.sample)

    def one(self):
        path = self.directory / f"one-{self['many'].name}"
        path.write_text(tokens.first(self["many"]) + "\n", encoding="ascii")
        return path

    def forged(self):
        return tokens.forged_file(self["many"], self.directory)


class Load:
    def __init__(self, kind, alg, peer, upstream, files, directory):
        self.kind, self.alg, self.peer, self.upstream = kind, alg, peer, upstream
        self.port = peer.port(kind.protocol, alg)
        self.file = files[kind.tokens] if kind.tokens else None
        self.token = tokens.first(self.file) if self.file else None
        self.body_file = None
        if kind.body:
            self.body_file = directory / f"body-{kind.body}"
            self.body_file.write_text(body(kind.body), encoding="ascii")
        self.next = 0
        self.costs, self.rates, self.p99 = [], [], []

    def name(self):
        return f"{self.peer.name} {self.alg} {self.kind.label}"

    def key(self):
        return f"cpu/{self.alg}/{self.kind.key}/{self.peer.name}"

    def cost(self):
        """CPU time per request, microseconds."""
        return statistics.median(self.costs)

    def rate(self):
        return statistics.median(self.rates)

    def cipher(self):
        """What TLS agrees on; the same for all peers, or they cannot be compared."""
        connection = clients.Connection(self.port, tls=True)
        connection.close()
        return connection.cipher

    def run(self, seconds):
        """One round: connections and caches warm up, then CPU time is taken around the load."""
        try:
            length = self.probe()
            self.warm_up()
            before, answered = self.peer.counters(), self.upstream.counters()
            spent = self.peer.process.cpu()
            summary = self.load(seconds)
            spent = self.peer.process.cpu() - spent
            self.check(summary, length, before, answered)
        except Invalid as invalid:
            raise Invalid(f"{self.name()}: {invalid}") from None
        self.costs.append(spent / summary.requests / 1000)
        self.rates.append(summary.rate)
        self.p99.append(summary.p99)
        self.peer.settle()

    def probe(self):
        """One request, looked at closely; returns how long its answer is. h2load counts each status itself."""
        if self.kind.protocol == H2C:
            return None
        connection = clients.Connection(self.port, tls=self.kind.protocol == TLS)
        # A token that is to be new is not spent on this.
        token = None if self.kind.tokens == "fresh" else self.token
        answer = connection.request(token, body(self.kind.body) if self.kind.body else None)
        connection.close()
        if self.kind.tokens == "fresh":
            return None
        if self.kind.refused:
            expected = answer.status == 401
        else:
            expected = answer.status == 200 and answer.body == HELLO.encode()
        if not expected:
            raise Invalid(f"{answer.status} {answer.body[:200]!r}")
        return answer.length

    def warm_up(self):
        if self.kind.tokens != "many":
            self.load(1)
            return
        # Until each has been seen.
        seen, end = 0, time.monotonic() + 60
        while seen < MANY_TOKENS and time.monotonic() < end:
            seen += self.load(1, seen).requests

    def load(self, seconds, first=None):
        if self.kind.protocol == H2C:
            summary = clients.h2load(self.port, seconds, self.token)
        else:
            arguments = [self.file or "-", self.next if first is None else first, *([self.body_file] if self.body_file else [])]
            summary = clients.wrk(self.port, seconds, "tokens.lua", *arguments, tls=self.kind.protocol == TLS)
        if self.kind.tokens == "fresh":
            # Those that were in flight at the end have been seen too.
            self.next += summary.requests + clients.CONNECTIONS
        wrong = summary.requests - summary.refused if self.kind.refused else summary.refused
        if wrong or summary.broken or not summary.requests:
            raise Invalid(f"{wrong} wrong answers, {summary.broken} broken ones: {summary}")
        return summary

    def check(self, summary, length, peer_before, upstream_before):
        """Every answer that was counted was a right one."""
        h2 = self.kind.protocol == H2C
        in_flight = clients.H2_CONNECTIONS * clients.H2_STREAMS if h2 else clients.CONNECTIONS
        self.upstream.check_counters(self.kind, upstream_before, summary.requests, in_flight)
        self.peer.check_counters(self.kind, peer_before, summary.requests)
        if length and not 0.98 <= summary.bytes / summary.requests / length <= 1.02:
            raise Invalid(f"{summary.bytes / summary.requests:.0f} bytes an answer, where one that is right has {length}")
