"""What the recorder sends: one datagram a record, on a name that only processes of this sandbox know.

coldspan/1 line     EMF documents as they stand in the log, one a line
coldspan/1 hello    {"pid":123}, before the recorder's first `next`
coldspan/1 end      {"request_id":"...","pid":123}, when all lines of an invocation have been sent
"""

from _socket import AF_UNIX, SO_RCVBUF, SOCK_DGRAM, SOL_SOCKET
from _socket import socket as Socket  # noqa: N812  # the class is called so in C

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from coldspan_blackbox.counts import Counts

PREFIX = b"coldspan/1 "
DATAGRAM_BYTES = 1_048_576
WAITING_BYTES = 4_194_304
AT_ONCE = 256  # datagrams read before somebody else has a turn


def bind(runtime_api: str) -> Socket:
    """The bound socket. Errors: OSError, when another extension of this environment has the name."""
    receiving = Socket(AF_UNIX, SOCK_DGRAM)
    try:
        receiving.setblocking(False)
        receiving.setsockopt(SOL_SOCKET, SO_RCVBUF, WAITING_BYTES)
        receiving.bind(b"\0coldspan-" + runtime_api.encode())
    except OSError:
        receiving.close()
        raise
    return receiving


class Receiver:
    """Reads datagrams off the socket. `lines`, `pids` and `ended` are what came since they were last taken."""

    __slots__ = ("_buffer", "_counts", "ended", "lines", "pids", "socket")

    def __init__(self, receiving: Socket, counts: "Counts") -> None:
        self.socket = receiving
        self._counts = counts
        self._buffer = memoryview(bytearray(DATAGRAM_BYTES + 1))
        self.lines: "list[bytes]" = []  # one document each, with its first line
        self.pids: "list[int]" = []
        self.ended: "list[str]" = []  # request ids

    def receive(self) -> bool:
        """Read what has come. False: there may be more."""
        for _ in range(AT_ONCE):
            try:
                size = self.socket.recv_into(self._buffer)
            except BlockingIOError:
                return True
            if size > DATAGRAM_BYTES:
                self._counts.drop("datagrams_too_large")
            else:
                self.take(bytes(self._buffer[:size]))
        return False

    def take(self, datagram: bytes) -> None:
        """Sort one datagram in; what is none of ours is counted."""
        if not datagram.startswith(PREFIX):
            named = datagram.startswith(b"coldspan/")
            self._counts.drop("datagrams_version_refused" if named else "datagrams_unreadable")
            return
        kind, end, body = datagram[len(PREFIX) :].partition(b"\n")
        if not end or not body:
            self._counts.drop("datagrams_unreadable")
        elif kind == b"line":
            self.lines += [PREFIX + b"line\n" + line for line in body.split(b"\n") if line]
        elif kind in (b"hello", b"end"):
            self._note(kind, body)
        else:
            self._counts.drop("datagrams_unreadable")

    def _note(self, kind: bytes, body: bytes) -> None:
        from coldspan_blackbox.jsontext import loads

        try:
            told: "Any" = loads(body)
        except ValueError:
            told = None
        value = told.get("pid" if kind == b"hello" else "request_id") if isinstance(told, dict) else None
        if kind == b"hello" and type(value) is int and 0 < value < 1 << 22:
            self.pids.append(value)
        elif kind == b"end" and type(value) is str and value:
            self.ended.append(value[:256])
        else:
            self._counts.drop("datagrams_unreadable")
