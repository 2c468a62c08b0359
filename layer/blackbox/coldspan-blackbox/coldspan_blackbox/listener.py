"""The port to which the platform posts telemetry. Anything in the sandbox can reach it, so anything may arrive."""

from _socket import AF_INET, SO_REUSEADDR, SOCK_STREAM, SOL_SOCKET
from _socket import socket as Socket  # noqa: N812  # the class is called so in C
from time import monotonic_ns

from coldspan_blackbox.wire import Message

TYPE_CHECKING = False
if TYPE_CHECKING:
    from coldspan_blackbox.counts import Counts

BODY_BYTES = 1_048_576  # twice the 262,144 of our subscription, and metadata: 2 * maxBytes is the platform's own word
CONNECTIONS = 8
SLOW_NS = 5_000_000_000  # a request that takes longer is given up
RESERVED_PORT = 9001  # the platform's own
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
REFUSED = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Connection:
    """Somebody who may be posting."""

    __slots__ = ("heard_ns", "message", "socket")

    def __init__(self, descriptor: int) -> None:
        self.socket = Socket(AF_INET, SOCK_STREAM, 0, descriptor)
        self.socket.setblocking(False)
        self.message = Message(BODY_BYTES)
        self.heard_ns = monotonic_ns()  # of the request's first byte

    def is_slow(self, now_ns: int) -> bool:
        """Whether its request has been coming for too long. One that is kept open between requests is not."""
        return self.message.begun and now_ns - self.heard_ns > SLOW_NS


class Listener:
    """Accepts, reads and answers; none of it waits."""

    __slots__ = ("_counts", "connections", "port", "socket")

    def __init__(self, counts: "Counts") -> None:
        self._counts = counts
        self.connections: "dict[int, Connection]" = {}  # by descriptor, oldest first
        self.socket = self._bound()
        self.port: int = self.socket.getsockname()[1]

    def _bound(self) -> Socket:
        while True:
            listening = Socket(AF_INET, SOCK_STREAM)
            listening.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
            listening.bind(("0.0.0.0", 0))  # noqa: S104  # sandbox.localdomain is none of the loopback addresses
            if listening.getsockname()[1] != RESERVED_PORT:
                break
            listening.close()
        listening.setblocking(False)
        listening.listen(CONNECTIONS)
        return listening

    def accept(self) -> "tuple[int, list[int]]":
        """Take one connection: its descriptor (-1: there was none), and those given up for it. Errors: OSError."""
        try:
            descriptor, _ = self.socket._accept()  # type: ignore[attr-defined]  # what socket.socket.accept calls
        except (BlockingIOError, ConnectionAbortedError):
            return -1, []
        given_up = []
        while len(self.connections) >= CONNECTIONS:
            oldest = next(iter(self.connections))
            if self.connections[oldest].message.begun:
                self._counts.refuse("telemetry_too_many_connections")
            self.close(oldest)
            given_up.append(oldest)
        self.connections[descriptor] = Connection(descriptor)
        return descriptor, given_up

    def receive(self, descriptor: int) -> "tuple[bytes | None, bool]":
        """What a connection has posted (None: not yet a whole body), and whether it has been closed."""
        connection = self.connections[descriptor]
        try:
            data = connection.socket.recv(65_536)
        except BlockingIOError:
            return None, False
        except OSError:
            data = b""
        message = connection.message
        if not message.begun:
            if not data:
                self.close(descriptor)
                return None, True
            connection.heard_ns = monotonic_ns()
        message.feed(data)
        if message.fault:
            self._counts.refuse("telemetry_" + message.fault)
            self._answer(connection, REFUSED)
            self.close(descriptor)
            return None, True
        if not message.done:
            return None, False
        connection.message = Message(BODY_BYTES)
        kept = self._answer(connection, OK) and b"close" not in message.headers.get(b"connection", b"").lower()
        if not kept:
            self.close(descriptor)
        return message.body, not kept

    def slow(self, now_ns: int) -> "list[int]":
        """Close those that take too long."""
        slow = [descriptor for descriptor, each in self.connections.items() if each.is_slow(now_ns)]
        for descriptor in slow:
            self._counts.refuse("telemetry_slow")
            self.close(descriptor)
        return slow

    def close(self, descriptor: int) -> None:
        """End a connection."""
        self.connections.pop(descriptor).socket.close()

    def close_all(self) -> None:
        """Leave the port."""
        for descriptor in list(self.connections):
            self.close(descriptor)
        self.socket.close()

    def _answer(self, connection: Connection, text: bytes) -> bool:
        try:
            return connection.socket.send(text) == len(text)
        except OSError:
            return False
