"""The exporters' process, started as the extension starts it, and lines for it."""

import json
import os
import socket
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

from coldspan.core.emf import EmfEncoder
from support.records import call, invocation, results

LAYER = Path(__file__).parents[2] / "layer"
START = """
import os, sys
sys.path[:0] = {path!r}
from coldspan_blackbox.exporting.child import run
sys.exit(run(int(sys.argv[1]), os.environ))
"""


def lines(function="orders", metrics=(), **changes):
    """An invocation's lines with one call, as the recorder sends them."""
    owner = invocation(metrics=list(metrics), **changes)
    call(owner)
    encoder = EmfEncoder("coldspan", function)
    return [b"coldspan/1 line\n" + line for line in encoder.invocation_lines(owner, results(owner), {})]


class ChildProcess:
    """Starts a child with these variables; a context manager that ends it."""

    def __init__(self, memory_mb="1024", **variables) -> None:
        path = [
            str(LAYER / "blackbox/coldspan-blackbox"),
            str(LAYER / "recorder/python"),
            sysconfig.get_path("purelib"),
        ]
        self.environ = {
            "AWS_LAMBDA_FUNCTION_NAME": "orders",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": memory_mb,
            "AWS_REGION": "eu-west-1",
            "PATH": os.environ.get("PATH", ""),
            **variables,
        }
        self.near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.near.settimeout(60)
        with far:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-B", "-c", START.format(path=path), str(far.fileno())],
                env=self.environ,
                pass_fds=[far.fileno()],
                stdin=subprocess.DEVNULL,
            )
        self.ready = self.hear()
        self.dropped = {}
        self.sent = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.near.close()
        try:
            self.process.wait(20)
        finally:
            self.process.kill()
            self.process.wait(20)

    def hear(self):
        """The next message: (kind, what it tells)."""
        kind, _, told = self.near.recv(65_536).partition(b"\n")
        return kind.removeprefix(b"coldspan/1 ").decode(), json.loads(told or b"{}")

    def tell(self, *messages):
        """Hand messages over."""
        for message in messages:
            self.near.send(message)

    def flush(self, within_s=10.0):
        """Ask for a flush: what it answers. `sent` and `dropped` of this object are sums."""
        return self._ask(b"flush", within_s)

    def shutdown(self, within_s=5.0):
        """End it."""
        return self._ask(b"shutdown", within_s)

    def _ask(self, kind, within_s):
        until_ms = int((time.monotonic() + within_s) * 1_000)
        self.tell(b"coldspan/1 " + kind + b"\n" + json.dumps({"until_ms": until_ms, "number": 1}).encode())
        heard, told = self.hear()
        assert heard == "flushed", (heard, told)
        self.sent += told["sent"]
        for reason, count in told["dropped"].items():
            self.dropped[reason] = self.dropped.get(reason, 0) + count
        return told

    def settled(self, within_s=40.0):
        """Flush until nothing waits, as one invocation after the other would; the sums of all."""
        until_s = time.monotonic() + within_s
        while self.flush(2.0)["waiting"]:
            assert time.monotonic() < until_s, "it never gets rid of what waits"
        return self.sent, self.dropped

    def rss_bytes(self):
        """What it occupies."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
