"""A stand-in for the X-Ray daemon's UDP port: it takes datagrams and reads the documents in them."""

import json
import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

HEADER = b'{"format": "json", "version": 1}\n'
LARGEST_BYTES = 65_535


class Daemon:
    """A bound UDP socket. `address` is what goes into AWS_XRAY_DAEMON_ADDRESS."""

    kind = "datagram"

    def __init__(self) -> None:
        self.paused = False
        self.ended = False
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.setblocking(False)
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self._socket.fileno()

    def pump(self) -> "Iterator[bytes]":
        """Give the datagrams that are here now."""
        while True:
            try:
                yield self._socket.recv(LARGEST_BYTES)
            except BlockingIOError:
                return

    def close(self) -> None:
        """Give the port back."""
        self._socket.close()


def segments(datagrams: "list[bytes]") -> "list[dict[str, Any]]":
    """The documents of datagrams, in order. ValueError when one is not what the daemon reads.

    Source: X-Ray developer guide, "Sending segment documents to the X-Ray daemon": a header line, then one document.
    """
    found = []
    for datagram in datagrams:
        header, newline, body = datagram.partition(b"\n")
        if not newline or json.loads(header) != {"format": "json", "version": 1}:
            raise ValueError(f"not the daemon's header: {datagram[:80]!r}")
        found.append(json.loads(body))
    return found
