"""The other side of the socket: a Runtime API for each environment, and a sink that answers everything else at once.

One thread and one selector, so that what is measured waits for nothing but this loop. Time stamps are taken when a
request has arrived whole, and when an answer has been handed to the kernel.
"""

import contextlib
import ctypes
import json
import os
import selectors
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1  # linux/prctl.h
ITEM = json.dumps({"Item": {"id": {"S": "o-1"}, "sku": {"S": "a-7"}, "count": {"N": "2"}}}).encode()
PRICE = json.dumps({"price": 1250, "currency": "EUR"}).encode()
EVENT = json.dumps({"order": "o-1"}).encode()
TRACE = "Root=1-67891233-%024x;Parent=53995c3f42cd8ad8;Sampled=%d"  # a root of its own for each invocation


class EndedError(Exception):
    """The function's process ended before it asked for the next event."""


@dataclass
class Timing:
    """One invocation as seen from outside; ns between the three moments, and what was written to the log."""

    caller_ns: int = 0  # event handed over -> response arrived
    after_ns: int = 0  # response arrived -> next event asked for
    log_bytes: int = 0

    @property
    def total_ns(self) -> int:
        """What the environment was busy for, and Lambda bills."""
        return self.caller_ns + self.after_ns


@dataclass
class Environment:
    """A running function: its process and its own Runtime API."""

    port: int = 0
    process: subprocess.Popen | None = None
    waiting: socket.socket | None = None  # the connection whose `next` is unanswered
    sent_ns: int = 0
    response_ns: int = 0
    next_ns: int = 0
    answer: bytes = b""
    failed: bool = False
    log: bytearray = field(default_factory=bytearray)
    on_response: Callable[[], None] | None = None  # called while the response waits for its 202

    @property
    def pid(self) -> int:
        """Process id; unshare, env and the wrappers replace themselves, so it stays the same."""
        return self.process.pid


class Server:
    """Every listener, and the loop that serves them."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.sink = self.listen(self.serve_sink)
        self.invocations = 0
        self.datagrams = 0
        self.requests: dict[str, int] = {}
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("127.0.0.1", 0))
        self.xray = udp.getsockname()[1]
        self.selector.register(udp, selectors.EVENT_READ, lambda: self.count_datagram(udp))

    def listen(self, serve: Callable) -> int:
        """Listen on a free port, which has five digits, so that the environment's size is always the same."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        self.selector.register(listener, selectors.EVENT_READ, lambda: self.accept(listener, serve))
        return listener.getsockname()[1]

    def accept(self, listener: socket.socket, serve: Callable) -> None:
        """Take a connection."""
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        buffer = bytearray()
        self.selector.register(connection, selectors.EVENT_READ, lambda: self.read(connection, buffer, serve))

    def read(self, connection: socket.socket, buffer: bytearray, serve: Callable) -> None:
        """Read what there is; serve each request that is whole."""
        try:
            data = connection.recv(262_144)
        except OSError:
            data = b""
        if not data:
            self.selector.unregister(connection)
            connection.close()
            return
        buffer += data
        while (request := take_request(buffer)) is not None:
            with contextlib.suppress(OSError):
                serve(connection, *request)

    def count_datagram(self, udp: socket.socket) -> None:
        """An X-Ray document arrived."""
        udp.recv(65_536)
        self.datagrams += 1

    def serve_sink(self, connection: socket.socket, method: str, path: str, headers: bytes, _body: bytes) -> None:
        """Answer as DynamoDB, as the price service, or as a collector that is content with anything."""
        self.requests[f"{method} {path}"] = self.requests.get(f"{method} {path}", 0) + 1
        if b"dynamodb_20120810" in headers.lower():
            extra = b"x-amzn-RequestId: 0123456789ABCDEF0123456789ABCDEF\r\n"
            reply(connection, ITEM, b"application/x-amz-json-1.0", extra)
        elif path.startswith("/prices"):
            reply(connection, PRICE)
        elif path.startswith("/v1/"):
            reply(connection, b"", b"application/x-protobuf")
        else:
            reply(connection, b"{}")

    def serve_runtime(self, environment: Environment) -> Callable:
        """The Runtime API of one environment."""

        def serve(connection: socket.socket, method: str, path: str, _headers: bytes, body: bytes) -> None:
            now = time.perf_counter_ns()
            if method == "GET" and path.endswith("/next"):
                environment.next_ns = now
                environment.waiting = connection
                return
            environment.response_ns = now
            environment.answer = body
            environment.failed = not path.endswith("/response")
            if environment.on_response:
                environment.on_response()
            reply(connection, b'{"status":"OK"}', status=b"202 Accepted")

        return serve

    def environment(self) -> Environment:
        """A Runtime API without a function behind it yet."""
        made = Environment()
        made.port = self.listen(self.serve_runtime(made))
        return made

    def start(self, environment: Environment, line: list[str], cpu: int | None = None, errors: object = None) -> None:
        """Start the function."""

        def settle_in() -> None:
            LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # a stopped function would outlive a harness that was ended
            if cpu is not None:
                os.sched_setaffinity(0, {cpu})

        environment.process = subprocess.Popen(
            line,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors or subprocess.STDOUT,
            preexec_fn=settle_in,  # noqa: PLW1509  no thread of ours is running
        )
        pipe = environment.process.stdout
        os.set_blocking(pipe.fileno(), False)
        self.selector.register(pipe, selectors.EVENT_READ, lambda: self.read_log(environment))

    def read_log(self, environment: Environment) -> None:
        """Take what the function wrote."""
        pipe = environment.process.stdout
        data = pipe.read()
        if data:
            environment.log += data
        elif data == b"":
            self.selector.unregister(pipe)

    def stop(self, environment: Environment) -> None:
        """End the function for good."""
        process = environment.process
        if process is None:
            return
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()
        with contextlib.suppress(KeyError):  # gone already when the function closed it
            self.selector.unregister(process.stdout)
        process.stdout.close()
        self.pump(0)  # its connections are at their end now

    def close(self) -> None:
        """Close every listener and connection."""
        for key in list(self.selector.get_map().values()):
            self.selector.unregister(key.fileobj)
            key.fileobj.close()
        self.selector.close()

    def pump(self, seconds: float) -> None:
        """Serve whatever is ready, waiting for it at most this long."""
        for key, _ in self.selector.select(seconds):
            key.data()

    def until_next(self, environment: Environment, seconds: float = 600) -> int:
        """Serve until the function asks for an event; when it did, in ns. Errors: EndedError with its last words."""
        end = time.monotonic() + seconds
        while environment.waiting is None:
            self.pump(0.5)
            if environment.process.poll() is not None and environment.waiting is None:
                self.pump(0)
                words = environment.log.decode(errors="replace").strip().splitlines()[-8:]
                raise EndedError(f"exit {environment.process.returncode}: " + " / ".join(words))
            if time.monotonic() > end:
                raise EndedError(f"no `next` within {seconds:.0f} s")
        return environment.next_ns

    def invoke(self, environment: Environment, number: int, *, sampled: bool, event: bytes = EVENT) -> Timing:
        """Hand over one event and serve until the function asks for the one after it."""
        connection, environment.waiting = environment.waiting, None
        self.invocations += 1
        before = len(environment.log)
        extra = (
            f"Lambda-Runtime-Aws-Request-Id: 8f507cfc-xmpl-4697-b07a-{number:012d}\r\n"
            f"Lambda-Runtime-Deadline-Ms: {int(time.time() * 1000) + 30_000}\r\n"
            "Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:eu-central-1:123456789012:function:orders\r\n"
            f"Lambda-Runtime-Trace-Id: {TRACE % (0xABCDEF000000000000000000 + self.invocations, sampled)}\r\n"
        )
        reply(connection, event, extra=extra.encode())
        environment.sent_ns = time.perf_counter_ns()
        self.until_next(environment)
        if environment.failed:
            raise EndedError("the handler failed: " + environment.answer.decode(errors="replace")[:600])
        self.pump(0)
        return Timing(
            environment.response_ns - environment.sent_ns,
            environment.next_ns - environment.response_ns,
            len(environment.log) - before,
        )


def take_request(buffer: bytearray) -> tuple[str, str, bytes, bytes] | None:
    """Cut one whole request (Content-Length or chunked) off the buffer; method, path, headers, body."""
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = bytes(buffer[:end])
    lower = head.lower()
    start = end + 4
    if b"transfer-encoding: chunked" in lower:
        stop = buffer.find(b"0\r\n\r\n", start)
        if stop < 0:
            return None
        body, stop = bytes(buffer[start:stop]), stop + 5
    else:
        at = lower.find(b"content-length:")
        length = int(lower[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        stop = start + length
        if len(buffer) < stop:
            return None
        body = bytes(buffer[start:stop])
    del buffer[:stop]
    method, path, _ = head.split(b"\r\n", 1)[0].decode().split(" ", 2)
    return method, path, head, body


def reply(
    connection: socket.socket,
    body: bytes,
    kind: bytes = b"application/json",
    extra: bytes = b"",
    status: bytes = b"200 OK",
) -> None:
    """Answer with one write."""
    head = b"HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n%s\r\n" % (status, kind, len(body), extra)
    connection.sendall(head + body)


def threads_of(pid: int) -> list[str]:
    """Every thread's state (R, S, D, ...) and the ns it has run, as one text each."""
    found = []
    for task in sorted(Path(f"/proc/{pid}/task").iterdir()):
        with contextlib.suppress(OSError):
            state = (task / "stat").read_text().rsplit(")", 1)[1].split()[0]
            found.append(state + (task / "schedstat").read_text().split()[0])
    return found


def settle(server: Server, environment: Environment) -> None:
    """Serve until no thread of the function has run for a while: the last instructions after `next` belong to it."""
    last: list[str] = []
    calm = 0
    while calm < 3:
        server.pump(0.03)
        now = threads_of(environment.pid)
        calm = calm + 1 if now == last and all(state[0] != "R" for state in now) else 0
        last = now
