"""A process under measurement: started on given cores, with its CPU time, its memory and its end.

Proxies run on one core (`PROXY_CORE`), the upstream and the load on the other, so that they do not take each other's time.
"""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import tempfile
import time

PROXY_CORE, LOAD_CORE = 0, 1
HOST = "127.0.0.1"


class Invalid(Exception):
    """What was measured is not what was meant, or it could not be measured."""


class Process:
    """A child on given cores. What it forks counts as part of it: nginx works in a child of its own."""

    def __init__(self, argv, cores, output=None, end=signal.SIGTERM):
        """`output`: the path of a file to which is appended what it prints."""
        self.argv, self.end = [str(word) for word in argv], end
        # Appending, so that the file can be emptied while it is written.
        self.output = open(output, "ab+") if output else tempfile.TemporaryFile()
        self.child = subprocess.Popen(
            self.argv, stdin=subprocess.DEVNULL, stdout=self.output, stderr=subprocess.STDOUT,
            preexec_fn=lambda: os.sched_setaffinity(0, cores & os.sched_getaffinity(0)))
        self.pid = self.child.pid

    def pids(self):
        """The process and its children."""
        with open(f"/proc/{self.pid}/task/{self.pid}/children", encoding="ascii") as file:
            return [self.pid, *map(int, file.read().split())]

    def cpu(self):
        """User and system time of all its threads, in nanoseconds."""
        total = cpu(self.pid)
        for pid in self.pids()[1:]:
            # A child that has ended meanwhile has none.
            with contextlib.suppress(OSError):
                total += cpu(pid)
        return total

    def memory(self, name="VmRSS"):
        """Resident bytes: now, or at the highest (`VmHWM`)."""
        total = 0
        for pid in self.pids():
            with open(f"/proc/{pid}/status", encoding="ascii") as file:
                fields = dict(line.split(":", 1) for line in file)
            total += int(fields[name].split()[0]) * 1024
        return total

    def stop(self):
        """Asks it to end; returns its exit code."""
        if self.child.poll() is None:
            self.child.send_signal(self.end)
            try:
                self.child.wait(60)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        return self.child.returncode

    def wait_for(self, port, path=None, limit=30.0):
        """Returns once `port` is open, or answers `path` with 200."""
        end = time.monotonic() + limit
        while time.monotonic() < end:
            if self.child.poll() is not None:
                raise self.failure(f"ended with {self.child.returncode}")
            try:
                if path is None:
                    socket.create_connection((HOST, port), 1).close()
                    return
                if get(port, path)[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.0005)
        raise self.failure(f"is not ready after {limit} s")

    def failure(self, what):
        self.output.seek(0)
        printed = self.output.read()[-3000:].decode(errors="replace")
        return Invalid(f"{self.argv[0]} {what}: {' '.join(self.argv)}\n{printed}")


def cpu(pid):
    """User and system time of a process, in nanoseconds."""
    # The CPU clock of another process, as clock_getcpuclockid(3) names it; threads that have ended are in it.
    return time.clock_gettime_ns((~pid << 3) | 2)


def free_port():
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        return sock.getsockname()[1]


def get(port, path, headers=None, method="GET", body=None):
    connection = http.client.HTTPConnection(HOST, port, timeout=10)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
