"""pingora with nothing but an upstream (`bare-pingora/`): no check, no access log."""

import signal

from peer import HTTP1, Peer
from process import HOST, PROXY_CORE, Process, free_port


class Bare(Peer):
    name, checks = "bare pingora", False

    def __init__(self, binary, upstream):
        super().__init__()
        port = free_port()
        self.ports[HTTP1, None] = port
        # After SIGTERM pingora waits for five minutes.
        self.process = Process([binary, f"{HOST}:{port}", f"{HOST}:{upstream}"], {PROXY_CORE}, end=signal.SIGINT)
        self.wait_for(port)
