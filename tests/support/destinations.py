"""Records to export, destinations that misbehave, and a watch for how long an export took."""

import contextlib
import json
import socket
import struct
import threading
import time

from coldspan_blackbox.exporting.record import parse

AT_MS = 1_795_397_120_187


def record(metrics, at_ms=AT_MS, **members):
    """A Record of one document: metrics is name -> (unit, value or values); members are dimensions and properties."""
    dimensions = [name for name in ("function_name", "tool", "operation", *members.pop("also", ())) if name in members]
    document = {
        "_aws": {
            "Timestamp": at_ms,
            "CloudWatchMetrics": [
                {
                    "Namespace": "coldspan",
                    "Dimensions": [dimensions],
                    "Metrics": [{"Name": name, "Unit": unit} for name, (unit, _) in metrics.items()],
                }
            ],
        },
        **{name: value for name, (_, value) in metrics.items()},
        **members,
    }
    return parse(json.dumps(document).encode())


def call_record(*durations_ms, failures=0, at_ms=AT_MS, **members):
    """A Record as the recorder writes it for a (tool, operation)."""
    members = {"function_name": "orders", "tool": "dynamodb", "operation": "PutItem", **members}
    metrics = {"CallDuration": ("Milliseconds", list(durations_ms)), "CallFailure": ("Count", failures)}
    return record(metrics, at_ms, request_id="r-1", **members)


GRACE_S = 3.0


@contextlib.contextmanager
def within(most_s):
    """Fail when the block takes much longer: a busy machine takes its time, what hangs does so for 30 s and more."""
    began = time.monotonic()
    yield
    took = time.monotonic() - began
    assert took <= most_s + GRACE_S, f"took {took:.3f} s, at most {most_s} s and {GRACE_S} s of grace"


def free_port(kind=socket.SOCK_STREAM):
    """A port of loopback where nobody listens."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Peer:
    """A TCP server on loopback that does one thing with each connection, which `then` may change.

    "silent" takes the connection and says nothing; "drip" says a byte now and then; "reset" reads and resets; bytes are
    said after one request was read, and the connection is kept open; (bytes,) likewise, and it is closed. `requests`
    holds what was read.
    """

    def __init__(self, then="silent") -> None:
        self.then = then
        self.requests = []
        self._open = []
        self._end = threading.Event()

    def __enter__(self):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, name="peer", daemon=True)]
        self._threads[0].start()
        return self

    def __exit__(self, *_):
        self._end.set()
        for opened in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        for opened in (self._listener, *self._open):
            opened.close()

    def _accept(self):
        while not self._end.is_set():
            try:
                opened, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(opened)
            thread = threading.Thread(target=self._serve, args=(opened,), name="peer", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, opened):
        with contextlib.suppress(OSError):
            while not self._end.is_set():
                if self.then == "silent":
                    self._end.wait()
                    return
                if self.then == "drip":
                    while not self._end.wait(0.03):
                        opened.sendall(b"H")
                    return
                request = self._request(opened)
                then = self.then
                if not request:
                    return
                if then == "reset":
                    opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    opened.close()
                    return
                self.requests.append(request)
                opened.sendall(then[0] if isinstance(then, tuple) else then)
                if isinstance(then, tuple):
                    opened.close()
                    return

    @staticmethod
    def _request(opened):
        """One HTTP request, whole, or b"" when there is none."""
        text = b""
        while b"\r\n\r\n" not in text:
            more = opened.recv(65_536)
            if not more:
                return b""
            text += more
        head, _, body = text.partition(b"\r\n\r\n")
        length = next(
            int(line.partition(b":")[2]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")
        )
        while len(body) < length:
            more = opened.recv(65_536)
            if not more:
                return b""
            body += more
        return head + b"\r\n\r\n" + body


def slow_resolver(monkeypatch):
    """Name look-ups that hang until the Event this gives is set."""
    answered = threading.Event()

    def look_up(*_args, **_kwargs):
        answered.wait(20)
        raise socket.gaierror("no such name")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return answered
