"""nginx as a proxy that checks nothing, set up as well as its users can, with an access log."""

import os

from peer import H2C, HTTP1, TLS, AccessLog, Peer
from process import HOST, PROXY_CORE, Process, free_port

BINARY = "/usr/sbin/nginx"

CONFIG = """
daemon off;
worker_processes 1;
{user}
pid {directory}/nginx.pid;
error_log {directory}/nginx-error.log warn;
events {{
  worker_connections 8192;
}}
http {{
  access_log {log} combined buffer=64k flush=1s;
  client_body_temp_path {directory}/nginx-body;
  proxy_temp_path {directory}/nginx-proxy;
  fastcgi_temp_path {directory}/nginx-fastcgi;
  uwsgi_temp_path {directory}/nginx-uwsgi;
  scgi_temp_path {directory}/nginx-scgi;
  server_tokens off;
  keepalive_timeout 600s;
  keepalive_requests 1000000000;
  client_max_body_size 0;
  client_body_buffer_size 64k;
  upstream backend {{
    server {host}:{upstream};
    keepalive 128;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
  }}
  server {{
    listen {host}:{http1} backlog=4096;
    listen {host}:{h2c} http2 backlog=4096;
    listen {host}:{tls} ssl backlog=4096;
    ssl_certificate {certificate.chain};
    ssl_certificate_key {certificate.key};
    ssl_protocols TLSv1.3;
    location / {{
      proxy_pass http://backend;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_request_buffering off;
    }}
  }}
}}
"""


class Nginx(Peer):
    name, checks = "nginx", False

    def __init__(self, directory, upstream, certificate, wrapper=(), master=True):
        """`master=False`: one process does it all, which is what a tool like valgrind can look at."""
        super().__init__()
        ports = {name: free_port() for name in ("http1", "h2c", "tls")}
        self.ports = {(HTTP1, None): ports["http1"], (H2C, None): ports["h2c"], (TLS, None): ports["tls"]}
        self.log = AccessLog("nginx")
        config = directory / "nginx.conf"
        # As root the worker would become another user, who may not reach the directory.
        user = "user root;" if os.geteuid() == 0 else ""
        text = CONFIG.format(host=HOST, directory=directory, log=self.log.path, upstream=upstream, certificate=certificate, user=user,
                             **ports)
        config.write_text(text if master else "master_process off;\n" + text, encoding="ascii")
        self.process = Process([*wrapper, BINARY, "-p", directory, "-c", config], {PROXY_CORE})
        self.wait_for(ports["http1"], limit=120)
