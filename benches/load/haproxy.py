"""HAProxy as the leanest gate that it can be: algorithm and signature, nothing else. No `iss`, `aud` or `exp`, no log."""

from peer import H2C, HTTP1, TLS, Peer
from process import HOST, PROXY_CORE, Process, free_port

BINARY = "/usr/sbin/haproxy"
# What proxies without a check are named by, where others have an algorithm.
OPEN = "-"

CONFIG = """
global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout connect 1s
  timeout client 60s
  timeout server 60s
  http-reuse always
backend upstream
  server s {host}:{upstream} maxconn 4096
frontend open
  bind {host}:{port}
  default_backend upstream
"""

GATE = """
frontend gate_{alg}
  bind {host}:{http1}
  bind {host}:{h2c} proto h2
  bind {host}:{tls} ssl crt {certificate.both} alpn http/1.1 ssl-min-ver TLSv1.3
  http-request set-var(txn.token) http_auth_bearer
  http-request set-var(txn.alg) var(txn.token),jwt_header_query('$.alg')
  http-request deny deny_status 401 unless {{ var(txn.alg) -m str {alg} }}
  http-request deny deny_status 401 unless {{ var(txn.token),jwt_verify(txn.alg,"{key}") -m int 1 }}
  http-request set-header X-User-Id %[var(txn.token),jwt_payload_query('$.sub')]
  http-request del-header Authorization
  default_backend upstream
"""


class HAProxy(Peer):
    """One process with a frontend for each algorithm that it knows, and an open one (`OPEN`)."""

    name = "HAProxy"

    def __init__(self, directory, upstream, keys, certificate):
        super().__init__()
        self.ports[HTTP1, OPEN] = free_port()
        text = CONFIG.format(host=HOST, upstream=upstream, port=self.ports[HTTP1, OPEN])
        for key in keys:
            if key.alg == "EdDSA":
                continue  # jwt_verify of HAProxy 2.6 has no EdDSA
            http1, h2c, tls = free_port(), free_port(), free_port()
            self.ports |= {(HTTP1, key.alg): http1, (H2C, key.alg): h2c, (TLS, key.alg): tls}
            material = key.secret_file.read_text(encoding="ascii") if key.alg == "HS256" else key.public
            text += GATE.format(host=HOST, alg=key.alg, http1=http1, h2c=h2c, tls=tls, key=material, certificate=certificate)
        config = directory / "haproxy.cfg"
        config.write_text(text, encoding="ascii")
        config.chmod(0o600)
        self.process = Process([BINARY, "-db", "-f", config], {PROXY_CORE})
        self.wait_for(self.ports[HTTP1, OPEN])
