#!/usr/bin/env python3
"""Does the time of an answer tell what its words do not?

Starts the release binary (development mode, store on disk, limits off) and asks pairs of requests that have to look alike, in
turn, 1,000 of each, over one connection (200 for passwords, which are slow on purpose). Prints the medians and Welch's t over the middle 90 %. Test vector leakage assessment
calls |t| below 4.5 "no leak seen"; whether that also holds across a network is easier to believe, not harder.

    cargo build --release && /usr/bin/python3 -B benches/load/timing.py
"""

import http.client
import json
import math
import pathlib
import re
import statistics
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = ROOT / "target/release/menshen"
ROUNDS = 1000

CONFIG = """
mode = "development"
server.listen = ["127.0.0.1:0"]
server.unready_grace = "0s"
admin.listen = "127.0.0.1:0"
store.url = "sled:data"
limits.enabled = false
sms.max_attempts = 10
sms.per_phone_hour = 1000
sms.per_phone_day = 1000
sms.daily_budget = 1000000
wechat.legacy_decrypt = true
"""


class Menshen:
    def __init__(self, directory):
        (directory / "config.toml").write_text(CONFIG)
        added = [BINARY, "users", "add", "root", "--admin", "--password-stdin"]
        subprocess.run(added, cwd=directory, input=b"a password of some length\n", check=True, capture_output=True, env={})
        self.log = open(directory / "log", "w+")
        self.process = subprocess.Popen([BINARY, "run"], cwd=directory, stdout=self.log, stderr=self.log, env={})
        for _ in range(500):
            ready = re.search(r'"http":"([^"]+)"', (directory / "log").read_text())
            if ready:
                break
            time.sleep(0.01)
        host, port = ready.group(1).rsplit(":", 1)
        self.connection = http.client.HTTPConnection(host, int(port))

    def ask(self, path, body, token=None):
        """The status, the body and the nanoseconds that it took."""
        headers = {"Content-Type": "application/json"}
        if token:
            headers["Authorization"] = "Bearer " + token
        text = json.dumps(body)
        begun = time.perf_counter_ns()
        self.connection.request("POST", path, text, headers)
        answer = self.connection.getresponse()
        said = answer.read()
        return answer.status, json.loads(said or b"null"), time.perf_counter_ns() - begun

    def stop(self):
        self.process.terminate()
        assert self.process.wait(20) == 0


def compare(name, first, second):
    """Prints what the two lists of nanoseconds have to say."""

    def middle(values):
        values = sorted(values)
        cut = len(values) // 20
        return values[cut : len(values) - cut]

    one, two = middle(first), middle(second)
    spread = math.sqrt(statistics.variance(one) / len(one) + statistics.variance(two) / len(two))
    t = (statistics.mean(one) - statistics.mean(two)) / spread
    medians = [statistics.median(values) / 1000 for values in (first, second)]
    verdict = "no leak seen" if abs(t) < 4.5 else "DIFFERENT"
    print(f"{name:<58} {medians[0]:8.1f} µs {medians[1]:8.1f} µs   t = {t:6.2f}   {verdict}")


def pairs(menshen, path, first, second, expected, rounds=ROUNDS):
    """Asks both kinds in turn; which is first changes each time."""
    times = ([], [])
    for n in range(rounds):
        for kind in (0, 1) if n % 2 else (1, 0):
            body, token = (first, second)[kind](n)
            status, said, took = menshen.ask(path, body, token)
            assert (status, said.get("code")) == expected, (status, said)
            times[kind].append(took)
    return times


def main():
    with tempfile.TemporaryDirectory() as directory:
        menshen = Menshen(pathlib.Path(directory))
        known = [str(13_100_000_000 + n) for n in range(ROUNDS)]
        unknown = [str(13_200_000_000 + n) for n in range(ROUNDS)]
        silent = [str(13_300_000_000 + n) for n in range(ROUNDS)]
        for n, phone in enumerate(known):
            status, said, _ = menshen.ask("/auth/wechat/login", {"code": f"user-{n}"})
            assert status == 200, said
            status, said, _ = menshen.ask("/auth/phone/wechat", {"code": phone}, said["access_token"])
            assert status == 200, said

        def send(phones):
            return lambda n: ({"phone": phones[n]}, None)

        def guess(phones, code):
            return lambda n: ({"phone": phones[n], "code": code}, None)

        sent = pairs(menshen, "/auth/sms/send", send(known), send(unknown), (200, None))
        compare("send: a phone with an account / without", *sent)
        path, wrong = "/auth/sms/login", (400, "code_invalid")
        compare("wrong code: a phone with an account / without", *pairs(menshen, path, guess(known, "000000"), guess(unknown, "000000"), wrong))
        compare("wrong code: a code was sent / none was", *pairs(menshen, path, guess(known, "000000"), guess(silent, "000000"), wrong))
        log = (pathlib.Path(directory) / "log").read_text()
        codes = re.findall(r"the code for \S+ is (\d{6})", log)[: 2 * ROUNDS]
        # In the order of sending, two a round; which of the two was the known one changed each time.
        mine = [codes[2 * n + (0 if n % 2 else 1)] for n in range(ROUNDS)]
        other = lambda digit: str((int(digit) + 1) % 10)
        nearly = lambda n: ({"phone": known[n], "code": mine[n][:5] + other(mine[n][5])}, None)
        far = lambda n: ({"phone": known[n], "code": "".join(map(other, mine[n]))}, None)
        compare("wrong code: five digits right / none", *pairs(menshen, path, nearly, far, wrong))

        def password(name):
            return lambda n: ({"username": name, "password": f"wrong password {n}"}, None)

        path, wrong = "/auth/password/login", (401, "credentials_invalid")
        compare("wrong password: a name / nobody's (200 of each)", *pairs(menshen, path, password("root"), password("toor"), wrong, 200))
        menshen.stop()


if __name__ == "__main__":
    main()
