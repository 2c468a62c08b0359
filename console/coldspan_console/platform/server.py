"""HTTP on loopback: every request is noted when it arrives and when it is answered."""

import contextlib
import functools
import socket
import socketserver
import struct
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from coldspan_console.platform.ledger import Entry, Ledger

REQUEST = "request"
ANSWER = "answer"
LINE_BYTES = 4 << 20
PHRASES = {200: "OK", 202: "Accepted", 400: "Bad Request", 403: "Forbidden", 404: "Not Found", 413: "Payload Too Large",
           500: "Internal Server Error"}  # fmt: skip


@dataclass(slots=True)
class Reply:
    """What to send back. `reset` breaks the connection instead of answering."""

    status: int = 202
    body: bytes = b""
    headers: "Sequence[tuple[str, str]]" = ()
    reset: bool = False


@dataclass(slots=True, eq=False)
class Exchange:
    """One request and its answer. Times are monotonic ns; `answered` stays None when no answer was sent."""

    method: str
    path: str
    headers: "list[tuple[str, str]]"
    body: bytes
    connection: socket.socket = field(repr=False)
    arrived: "Entry | None" = field(default=None, repr=False)
    answered: "Entry | None" = field(default=None, repr=False)
    reply: "Reply | None" = None

    def header(self, name: str) -> "str | None":
        """The value of a header, by its name in any case."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def is_gone(self) -> bool:
        """Whether the client has closed its connection."""
        try:
            return self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True


class Api(Protocol):
    """One of the platform's APIs. A later one (Extensions, Telemetry) stands beside the first on the same server."""

    prefix: str

    def answer(self, exchange: Exchange) -> "Reply | None":
        """Answer a request whose path starts with `prefix`. May wait. None: end the connection without an answer."""

    def answered(self, exchange: Exchange) -> None:
        """A request of this API is being answered."""

    def close(self) -> None:
        """Let go of every request that waits."""


class Server:
    """A server on a free loopback port; `address` is "host:port", as AWS_LAMBDA_RUNTIME_API wants it."""

    def __init__(self, ledger: "Ledger", apis: "Sequence[Api]") -> None:
        self.ledger = ledger
        self.apis = apis
        self._exchanges: list[Exchange] = []
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _handler_of(self))
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), name="platform", daemon=True)
        self._thread.start()

    @property
    def exchanges(self) -> list[Exchange]:
        """Every request up to now, in the order of arrival."""
        with self._lock:
            return list(self._exchanges)

    def forget(self) -> None:
        """Keep what there was no longer."""
        with self._lock:
            self._exchanges.clear()

    def answer(self, exchange: Exchange) -> "Reply | None":
        """Note the request, have it answered by the API that it is for."""
        with self._lock:
            self._exchanges.append(exchange)
            exchange.arrived = self.ledger.note(REQUEST, exchange)
        api = self._api(exchange)
        return api.answer(exchange) if api else Reply(404, b"404 page not found")

    def answered(self, exchange: Exchange) -> None:
        """Note the answer. Before it is sent: what the function does upon it comes after."""
        exchange.answered = self.ledger.note(ANSWER, exchange)
        if (api := self._api(exchange)) is not None:
            api.answered(exchange)

    def _api(self, exchange: Exchange) -> "Api | None":
        return next((api for api in self.apis if exchange.path.startswith(api.prefix)), None)

    def opened(self, connection: socket.socket) -> None:
        """Remember a connection, to end it when the server closes."""
        with self._lock:
            self._connections.add(connection)

    def closed(self, connection: socket.socket) -> None:
        """Forget a connection."""
        with self._lock:
            self._connections.discard(connection)

    def close(self) -> None:
        """End all connections and wait for their threads."""
        for api in self.apis:
            api.close()
        self._server.shutdown()
        self._thread.join()
        with self._lock:
            open_ones = list(self._connections)
        for connection in open_ones:
            _quietly(functools.partial(connection.shutdown, socket.SHUT_RDWR))
        self._server.server_close()


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    request_queue_size = 128
    daemon_threads = False  # server_close then waits for them


def _handler_of(server: Server) -> type[socketserver.StreamRequestHandler]:
    class Handler(socketserver.StreamRequestHandler):
        """One connection. Not http.server's, which refuses lines above 64 KiB: an X-Ray cause may have 1 MiB."""

        disable_nagle_algorithm = True

        def handle(self) -> None:
            server.opened(self.connection)
            try:
                _quietly(self._serve)
            finally:
                server.closed(self.connection)

        def finish(self) -> None:
            _quietly(super().finish)

        def _serve(self) -> None:
            while (exchange := self._read()) is not None:
                reply = server.answer(exchange)
                if reply is None:
                    return
                if reply.reset:
                    # a linger of 0 s makes close send RST
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.connection.close()
                    return
                exchange.reply = reply
                head = [f"HTTP/1.1 {reply.status} {PHRASES.get(reply.status, 'Unknown')}"]
                head += [f"{name}: {value}" for name, value in reply.headers]
                head.append(f"Content-Length: {len(reply.body)}")
                message = "\r\n".join(head).encode("utf-8") + b"\r\n\r\n" + reply.body
                server.answered(exchange)
                self.connection.sendall(message)
                if (exchange.header("Connection") or "").lower() == "close":
                    return

        def _read(self) -> "Exchange | None":
            line = self.rfile.readline(LINE_BYTES)
            if not line:
                return None
            method, path, _ = line.decode("latin-1").split()
            headers = []
            while (line := self.rfile.readline(LINE_BYTES).rstrip(b"\r\n")) != b"":
                name, _, value = line.decode("utf-8", "surrogateescape").partition(":")
                headers.append((name, value.strip(" \t")))
            exchange = Exchange(method, path, headers, b"", self.connection)
            if (exchange.header("Expect") or "").lower() == "100-continue":
                self.connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            if "chunked" in (exchange.header("Transfer-Encoding") or "").lower():
                exchange.body = self._chunks()
            else:
                exchange.body = self.rfile.read(int(exchange.header("Content-Length") or 0))
            return exchange

        def _chunks(self) -> bytes:
            body = b""
            while size := int(self.rfile.readline(LINE_BYTES).split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline(LINE_BYTES)
            while self.rfile.readline(LINE_BYTES).strip():
                pass  # trailers
            return body

    return Handler


def _quietly(action: "Callable[[], Any]") -> None:
    """A client that is killed in the middle of a request is part of what is simulated."""
    with contextlib.suppress(OSError, ValueError):
        action()
