"""What every proxy of the comparison has in common: its ports, its access log and how it is stopped."""

import itertools
import os
import time

from process import Invalid

HTTP1, H2C, TLS = "HTTP/1.1", "h2c", "TLS 1.3"


class Peer:
    """A proxy that runs. `ports` is by protocol and algorithm; a proxy without a check has one port for all algorithms (`None`)."""

    name = ""
    # Whether it refuses a request without a good token.
    checks = True

    def __init__(self):
        self.process, self.ports, self.log = None, {}, None

    def port(self, protocol, alg):
        """`None` where this proxy has no such listener."""
        return self.ports.get((protocol, alg if self.checks else None))

    def wait_for(self, port, path=None, limit=30.0):
        """As `Process.wait_for`; one that does not come up leaves nothing behind."""
        try:
            self.process.wait_for(port, path, limit)
        except BaseException:
            self.stop()
            raise

    def counters(self):
        """What `check_counters` compares with after a load."""
        return None

    def check_counters(self, kind, before, requests):
        """Fails when the load was not served in the way that it claims."""
        if self.log:
            self.log.check(requests)

    def settle(self):
        """Ends one measurement."""
        if self.log:
            self.log.clear()

    def stop(self):
        code = self.process.stop() if self.process else None
        if self.log:
            self.log.remove()
            self.log = None
        return code


class AccessLog:
    """A file on tmpfs, so that no disk is part of what is measured."""

    # A line of any proxy is longer.
    LINE = 50

    made = itertools.count()

    def __init__(self, name):
        self.path = f"/dev/shm/menshen-load-{os.getpid()}-{name}-{next(self.made)}.log"
        self.fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def check(self, requests):
        """Every request left a line. The last lines may wait in a buffer of the proxy for a second."""
        end = time.monotonic() + 3
        while os.fstat(self.fd).st_size < requests * self.LINE:
            if time.monotonic() > end:
                raise Invalid(f"{requests} requests left {os.fstat(self.fd).st_size} bytes in the access log: it is off")
            time.sleep(0.01)

    def clear(self):
        os.ftruncate(self.fd, 0)

    def remove(self):
        os.close(self.fd)
        os.unlink(self.path)
