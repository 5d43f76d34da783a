"""Envoy with `jwt_authn` and its cache of verified tokens: signature, `iss`, `aud` and `exp`, `X-User-Id` from `sub`, no access log.

The cache holds as many tokens as menshen's does by default. The config is JSON, which Envoy reads as well as YAML.
"""

import json

from peer import H2C, HTTP1, Peer
from process import HOST, PROXY_CORE, Process, free_port

TYPES = "type.googleapis.com/envoy.extensions."
CACHE = 20_000


class Envoy(Peer):
    """One process with two listeners for each algorithm: HTTP/1.1 and h2c."""

    name = "Envoy"

    def __init__(self, binary, directory, upstream, keys):
        super().__init__()
        for key in keys:
            self.ports |= {(HTTP1, key.alg): free_port(), (H2C, key.alg): free_port()}
        by_alg = {key.alg: key for key in keys}
        listeners = [listener(by_alg[alg], protocol, port) for (protocol, alg), port in self.ports.items()]
        config = directory / "envoy.json"
        config.write_text(json.dumps({"static_resources": {"listeners": listeners, "clusters": [cluster(upstream)]}}, indent=1),
                          encoding="ascii")
        config.chmod(0o600)
        argv = [binary, "-c", config, "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
        self.process = Process(argv, {PROXY_CORE})
        for port in self.ports.values():
            self.wait_for(port)


def listener(key, protocol, port):
    return {
        "name": f"{key.alg}-{protocol}",
        "address": address(port),
        "filter_chains": [{"filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": {
                "@type": TYPES + "filters.network.http_connection_manager.v3.HttpConnectionManager",
                "stat_prefix": "front",
                "codec_type": "HTTP2" if protocol == H2C else "HTTP1",
                "generate_request_id": False,
                "route_config": {"virtual_hosts": [{
                    "name": "all", "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "backend"}}],
                }]},
                "http_filters": [jwt_authn(key), {
                    "name": "envoy.filters.http.router",
                    "typed_config": {"@type": TYPES + "filters.http.router.v3.Router"},
                }],
            },
        }]}],
    }


def jwt_authn(key):
    return {
        "name": "envoy.filters.http.jwt_authn",
        "typed_config": {
            "@type": TYPES + "filters.http.jwt_authn.v3.JwtAuthentication",
            "providers": {"menshen": {
                "issuer": "menshen",
                "audiences": ["backend"],
                "local_jwks": {"inline_string": json.dumps({"keys": [key.jwk()]})},
                "claim_to_headers": [{"header_name": "X-User-Id", "claim_name": "sub"}],
                "jwt_cache_config": {"jwt_cache_size": CACHE},
            }},
            "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "menshen"}}],
        },
    }


def cluster(upstream):
    return {
        "name": "backend",
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": "backend", "endpoints": [
            {"lb_endpoints": [{"endpoint": {"address": address(upstream)}}]},
        ]},
    }


def address(port):
    return {"socket_address": {"address": HOST, "port_value": port}}
