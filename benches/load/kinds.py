"""The kinds of load: what is sent, over which protocol, to which peers. Each is a row of the table."""

from dataclasses import dataclass

from haproxy import OPEN
from peer import H2C, HTTP1, TLS
from upstream import BODIES

ALGORITHMS = ("HS256", "RS256", "ES256", "EdDSA")
BARE, NGINX, HAPROXY, ENVOY, MENSHEN = "bare pingora", "nginx", "HAProxy", "Envoy", "menshen"
PEERS = (BARE, NGINX, HAPROXY, ENVOY, MENSHEN)


@dataclass(frozen=True)
class Kind:
    """`tokens` names the file of tokens (`TokenFiles` in load.py); `refused` says that the answer is a 401 of the proxy's own."""

    key: str
    label: str
    peers: tuple
    tokens: str | None = "one"
    protocol: str = HTTP1
    body: int | None = None
    refused: bool = False
    algorithms: tuple = ALGORITHMS


KINDS = (
    Kind("open", "GET, no check at all", (HAPROXY,), tokens=None, algorithms=(OPEN,)),
    Kind("one", "GET, one token", PEERS),
    Kind("many", "GET, 10,000 tokens", (HAPROXY, ENVOY, MENSHEN), tokens="many"),
    Kind("none", "GET, no token (401)", (HAPROXY, MENSHEN), tokens=None, refused=True),
    Kind("forged", "GET, forged token (401)", (HAPROXY, MENSHEN), tokens="forged", refused=True),
    Kind("fresh", "GET, token never seen", (HAPROXY, MENSHEN), tokens="fresh"),
    Kind("post1k", "POST 1 KiB, one token", PEERS, body=BODIES[0], algorithms=("HS256",)),
    Kind("post64k", "POST 64 KiB, one token", PEERS, body=BODIES[1], algorithms=("HS256",)),
    Kind("h2", "GET over h2c, one token", (NGINX, HAPROXY, ENVOY, MENSHEN), protocol=H2C, algorithms=("HS256",)),
    Kind("tls", "GET over TLS 1.3, one token", (NGINX, HAPROXY, MENSHEN), protocol=TLS, algorithms=("HS256",)),
)
