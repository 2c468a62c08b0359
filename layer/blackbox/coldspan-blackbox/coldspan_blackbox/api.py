"""The client of the Extensions API and of the subscription to the Telemetry API.

Source: Lambda developer guide, "Extensions API" and "Telemetry API". One connection a request: a connection that was
kept through a freeze may be dead, and nothing would say so.
"""

from _socket import AF_INET, SOCK_STREAM
from _socket import socket as Socket  # noqa: N812  # the class is called so in C

from coldspan_blackbox.wire import Message, request

EXTENSIONS = "/2020-01-01/extension/"
TELEMETRY = "/2022-07-01/telemetry"
ANSWER_BYTES = 1_048_576
IDENTIFIER = "Lambda-Extension-Identifier"


class Exchange:
    """A request that was sent, and its answer as far as it has arrived."""

    __slots__ = ("message", "socket")

    def __init__(self, socket: Socket) -> None:
        self.socket = socket
        self.message = Message(ANSWER_BYTES, until_closed=True)

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self.socket.fileno()

    def receive(self) -> bool:
        """Take what has arrived; whether the answer is complete, or can never be."""
        try:
            data = self.socket.recv(65_536)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        self.message.feed(data)
        return self.message.done or bool(self.message.fault)

    def close(self) -> None:
        """Give the connection up."""
        self.socket.close()


class Api:
    """The platform's API at `address` (host:port), for the extension called `name`."""

    def __init__(self, address: str, name: str) -> None:
        self.address = address
        self.name = name
        self.identifier = ""
        host, _, port = address.rpartition(":")
        self._to = host, int(port)

    def register(self, events: "tuple[str, ...]") -> Message:
        """Register for events; afterwards `identifier` is set where the platform agreed."""
        body = '{"events":[%s]}' % ",".join(['"%s"' % event for event in events])
        message = self._call("POST", EXTENSIONS + "register", {"Lambda-Extension-Name": self.name}, body.encode(), None)
        if message.status == 200:
            self.identifier = message.headers.get(IDENTIFIER.lower().encode(), b"").decode("latin-1")
        return message

    def subscribe(self, port: int, timeout_s: float) -> bool:
        """Ask for the platform's telemetry at a port of ours; whether it was agreed. The emulator says 202: no."""
        body = (
            '{"schemaVersion":"2025-01-29","types":["platform"],'
            '"buffering":{"maxItems":1000,"maxBytes":262144,"timeoutMs":100},'
            '"destination":{"protocol":"HTTP","URI":"http://sandbox.localdomain:%d"}}' % port
        )
        return self._call("PUT", TELEMETRY, {IDENTIFIER: self.identifier}, body.encode(), timeout_s).status == 200

    def ask_next(self) -> Exchange:
        """Ask for the next event, without waiting for it. Errors: OSError when the platform cannot be reached."""
        return Exchange(self._send("GET", EXTENSIONS + "event/next", {IDENTIFIER: self.identifier}, b"", None))

    def _send(
        self, method: str, path: str, headers: "dict[str, str]", body: bytes, timeout_s: "float | None"
    ) -> Socket:
        connection = Socket(AF_INET, SOCK_STREAM)
        try:
            connection.settimeout(timeout_s)
            connection.connect(self._to)
            connection.sendall(request(method, path, self.address, headers, body))
        except BaseException:
            connection.close()
            raise
        return connection

    def _call(
        self, method: str, path: str, headers: "dict[str, str]", body: bytes, timeout_s: "float | None"
    ) -> Message:
        """The answer to a request. Errors: OSError (TimeoutError among them)."""
        if body:
            headers["Content-Type"] = "application/json"
        exchange = Exchange(self._send(method, path, headers, body, timeout_s))
        try:
            while True:
                data = exchange.socket.recv(65_536)
                exchange.message.feed(data)
                if exchange.message.done or exchange.message.fault:
                    return exchange.message
        finally:
            exchange.close()
