"""A backend without login code: it believes the identity headers, because nobody but menshen can reach it.

Usage: backend.py HOST:PORT, or unix:PATH for a socket that its group may connect to. It answers every request with what it was told.
"""

import json
import os
import signal
import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = json.dumps(
            {
                "path": self.path,
                "state": self.headers.get("X-Auth-State"),
                "user": self.headers.get("X-User-Id"),
            }
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self):
        return str(self.client_address[0]) if self.client_address else "socket"


class SocketServer(ThreadingHTTPServer):
    """The same on a Unix socket."""

    address_family = socket.AF_UNIX

    def server_bind(self):
        # menshen is another user of the same group.
        os.umask(0o007)
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = "localhost", 0

    def get_request(self):
        connection, _ = self.socket.accept()
        return connection, ("socket", 0)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    where = sys.argv[1]
    if where.startswith("unix:"):
        server = SocketServer(where.removeprefix("unix:"), Handler)
    else:
        host, port = where.rsplit(":", 1)
        server = ThreadingHTTPServer((host, int(port)), Handler)
        where = f"{host}:{server.server_port}"
    # The first process of a container has no default action for signals.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    print(f"listening on {where}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
