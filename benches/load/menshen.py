"""menshen with everything on: all checks, the access log (JSON, on tmpfs) and metrics. Rate limits of the auth API are off."""

import json
import time

import clients
from peer import H2C, HTTP1, TLS, AccessLog, Peer
from process import HOST, PROXY_CORE, Invalid, Process, free_port, get

CONFIG = """
mode = "development"
[server]
listen = {listen}
threads = {threads}
{server}
[admin]
listen = "{host}:{admin}"
[upstream]
urls = ["http://{host}:{upstream}"]
[tokens]
algorithm = "{alg}"
{key}
[store]
url = "{store}"
{encryption}
[limits]
enabled = false
[telemetry]
access_log = true
log_format = "json"
"""


class Menshen(Peer):
    """One menshen with one algorithm, on the store of this URL."""

    name = "menshen"

    def __init__(self, binary, directory, key, upstream, store, *, cores=frozenset({PROXY_CORE}), threads=1, certificate=None,
                 server="", encryption_key=None, wrapper=()):
        """With a certificate it also listens for TLS, and speaks h2c. `server`: more lines of the `[server]` section.
        `encryption_key`: the file with the key of a store that several processes share."""
        super().__init__()
        self.alg, self.admin = key.alg, free_port()
        port = free_port()
        self.ports[HTTP1, key.alg] = port
        listen = [f"{HOST}:{port}"]
        if certificate:
            self.ports |= {(H2C, key.alg): port, (TLS, key.alg): free_port()}
            listen.append(f"tls:{HOST}:{self.ports[TLS, key.alg]}")
            server += f'\nh2c = true\ntls.cert_file = "{certificate.chain}"\ntls.key_file = "{certificate.key}"'
        directory.mkdir(parents=True, exist_ok=True)
        key_line = f'secret_file = "{key.secret_file}"' if key.alg == "HS256" else f'key_dir = "{key.private_dir}"'
        config = directory / f"menshen-{key.alg}.toml"
        config.write_text(CONFIG.format(
            host=HOST, listen=json.dumps(listen), admin=self.admin, upstream=upstream, alg=key.alg, key=key_line, store=store,
            threads=threads, server=server, encryption=f'encryption_key_file = "{encryption_key}"' if encryption_key else ""), encoding="ascii")
        self.log = AccessLog(key.alg)
        started = time.monotonic()
        self.process = Process([*wrapper, binary, "run", "--config", config], set(cores), self.log.path)
        self.wait_for(self.admin, "/readyz", limit=300 if wrapper else 30)
        self.ready_after = time.monotonic() - started

    @property
    def http1(self):
        return self.ports[HTTP1, self.alg]

    def login(self, code="load-sample"):
        """An access token, by a development login."""
        status, body = get(self.http1, "/auth/wechat/login", {"Content-Type": "application/json"}, "POST", json.dumps({"code": code}))
        assert status == 200, (status, body)
        return json.loads(body)["access_token"]

    def logins(self, seconds, prefix, connections):
        """Logins of new users by `wrk`, whose codes begin with `prefix`."""
        summary = clients.wrk(self.http1, seconds, "logins.lua", prefix, connections=connections, path="/auth/wechat/login")
        if summary.refused or summary.broken or not summary.requests:
            raise Invalid(f"logins with {connections} clients failed: {summary}")
        return summary

    def metric(self, name, **labels):
        """The sum of a counter's series that carry these labels."""
        total = 0.0
        for line in get(self.admin, "/metrics")[1].decode().splitlines():
            series, _, value = line.rpartition(" ")
            if series.split("{")[0] == name and all(f'{k}="{v}"' in series for k, v in labels.items()):
                total += float(value)
        return total

    def checked_tokens(self, result):
        return self.metric("menshen_token_checks_total", result=result)

    def counters(self):
        counts = {result: self.checked_tokens(result) for result in ("cached", "verified")}
        return counts | {"dropped": self.metric("menshen_log_lines_dropped_total")}

    def check_counters(self, kind, before, requests):
        """The log is whole, and tokens were met in the cache, or not, as the kind of load claims."""
        super().check_counters(kind, before, requests)
        new = {name: count - before[name] for name, count in self.counters().items()}
        if new["dropped"] > 0.01 * requests:
            raise Invalid(f"the access log lost {new['dropped']:.0f} lines")
        expected = {"one": "cached", "many": "cached", "fresh": "verified"}.get(kind.tokens)
        if expected and new[expected] < 0.99 * requests:
            raise Invalid(f"only {new[expected]:.0f} of {requests} tokens were {expected}")
