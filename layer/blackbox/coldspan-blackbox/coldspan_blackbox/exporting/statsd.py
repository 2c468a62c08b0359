"""StatsD over UDP or TCP: `|c`, `|ms` and `|g` lines, with attributes in the name or as DogStatsD's tags.

The protocol has no answer. Over UDP, SENT means handed to the network: only a machine that says that nobody listens is
heard. Over TCP it means that the other machine has acknowledged every byte.
"""

import fcntl
import select
import socket
import struct
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import urlsplit

from coldspan_blackbox.exporting.bounded import Bounded, OutOfTimeError, connect, left_s, reason_of, shut
from coldspan_blackbox.exporting.exporter import ConfigurationError, Result, Sent
from coldspan_blackbox.exporting.record import Record
from coldspan_blackbox.exporting.statsdlines import PACKET_BYTES, lines_of, packets_of

PORT = 8125
PREFIX_CHARS = 100
RESOLVED_S = 300.0  # a UDP destination that has moved says nothing: the name is looked up again after this long
_KINDS = {"udp": socket.SOCK_DGRAM, "tcp": socket.SOCK_STREAM}


_CHUNK_BYTES = 16_384
_ACKNOWLEDGED_S = 0.002  # nothing wakes a sender when its last byte is acknowledged: how often it is looked at
_DISCARD = struct.pack("ii", 1, 0)  # SO_LINGER: close at once, and forget what has not been acknowledged


class _Delivery:
    """A batch under way: how many packets (UDP) or bytes (TCP) have been handed over. It outlives a failed attempt."""

    def __init__(self, records: Sequence[Record], packets: list[bytes], refused_count: int) -> None:
        self.records = tuple(records)
        self.packets = packets
        self.refused_count = refused_count
        self.at = 0

    def is_of(self, records: Sequence[Record]) -> bool:
        """Whether it is of these very records."""
        return len(records) == len(self.records) and all(a is b for a, b in zip(records, self.records, strict=True))


class StatsdExporter:
    """A destination of the pipeline."""

    name = "statsd"

    def __init__(self, scheme: str, host: str, port: int, prefix: str, *, tagged: bool) -> None:
        self.scheme = scheme
        self.host = host
        self.port = port
        self.prefix = prefix
        self.tagged = tagged
        self._bounded = Bounded("coldspan-statsd-io")
        self._socket: socket.socket | None = None
        self._connected_s = 0.0
        self._delivery: _Delivery | None = None

    def export(self, records: Sequence[Record], timeout_s: float) -> Result:
        """See Exporter. A batch that is tried again goes on where it was interrupted, so that no count is doubled."""
        end_s = time.monotonic() + timeout_s
        delivery = self._delivery
        if delivery is None or not delivery.is_of(records):
            delivery = self._packed(records)
        self._delivery = delivery
        try:
            left = end_s - time.monotonic()
            self._bounded.run(lambda deadline_s: self._deliver(delivery, deadline_s), left, self._drop)
        except (OSError, OutOfTimeError) as error:
            self._drop()
            return Result(Sent.RETRY, reason_of(error))
        self._delivery = None
        if delivery.refused_count and delivery.refused_count == len(records):
            return Result(Sent.REFUSED, "line_too_long")
        return Result(
            Sent.SENT, "line_too_long" if delivery.refused_count else "", refused_count=delivery.refused_count
        )

    def close(self) -> None:
        """Close the socket; waits for nothing."""
        self._drop()

    def _packed(self, records: Sequence[Record]) -> _Delivery:
        lines: list[bytes] = []
        refused_count = 0
        for some in lines_of(records, self.prefix, tagged=self.tagged):
            if any(len(line) >= PACKET_BYTES for line in some):
                refused_count += 1
            else:
                lines += some
        return _Delivery(records, packets_of(lines), refused_count)

    def _deliver(self, delivery: _Delivery, deadline_s: float) -> None:
        if not delivery.packets:
            return
        opened = self._connection(deadline_s)
        (_send_stream if self.scheme == "tcp" else _send_datagrams)(opened, delivery, deadline_s)

    def _connection(self, deadline_s: float) -> socket.socket:
        now_s = time.monotonic()
        if self._socket is not None:
            try:
                if self.scheme == "tcp":
                    _check_alive(self._socket)
                elif now_s - self._connected_s > RESOLVED_S:
                    raise ConnectionResetError  # noqa: TRY301
                else:
                    # a refusal that came late is of a batch that was told as sent
                    self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            except OSError:
                self._drop()
        if self._socket is None:
            self._socket = connect(self.host, self.port, _KINDS[self.scheme], deadline_s)
            self._connected_s = now_s
        return self._socket

    def _drop(self) -> None:
        """Close the connection. What it still holds is not to arrive: it is sent again."""
        opened, self._socket = self._socket, None
        if opened is not None and self.scheme == "tcp":
            try:
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _DISCARD)
            except OSError:
                pass
        shut(opened)


def _send_datagrams(opened: socket.socket, delivery: _Delivery, deadline_s: float) -> None:
    while delivery.at < len(delivery.packets):
        opened.settimeout(left_s(deadline_s))
        opened.send(delivery.packets[delivery.at])
        # on the same machine the refusal of this very packet is known by now
        if opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise ConnectionRefusedError
        delivery.at += 1


def _send_stream(opened: socket.socket, delivery: _Delivery, deadline_s: float) -> None:
    """Send what is left, and wait until it is acknowledged; whole lines that are will not be sent again."""
    data = b"".join(delivery.packets)
    handed = delivery.at
    while delivery.at < len(data):
        if handed < len(data):
            opened.settimeout(left_s(deadline_s))
            handed += opened.send(data[handed : handed + _CHUNK_BYTES])
        else:
            select.select([opened], [], [], min(_ACKNOWLEDGED_S, left_s(deadline_s)))
        _check_alive(opened)
        (unacknowledged,) = struct.unpack("i", fcntl.ioctl(opened, termios.TIOCOUTQ, b"\0\0\0\0"))
        _check_alive(opened)  # a connection that was reset has no bytes left to be acknowledged
        delivery.at = data.rfind(b"\n", 0, handed - unacknowledged) + 1


def _check_alive(opened: socket.socket) -> None:
    """Raise when the other side has closed or reset the connection; what it says is not listened to."""
    opened.setblocking(False)
    try:
        if not opened.recv(4_096):
            raise ConnectionResetError
    except BlockingIOError:
        pass


def create(environ: Mapping[str, str], secrets: Callable[[str], str]) -> StatsdExporter:  # noqa: ARG001  # none is needed
    """Read the variables. Errors: ConfigurationError."""
    text = environ.get("COLDSPAN_STATSD_ADDRESS", "").strip()
    if not text:
        raise ConfigurationError(
            "COLDSPAN_STATSD_ADDRESS is not set: give host:port, udp://host:port or tcp://host:port"
        )
    scheme, separator, _ = text.partition("://")
    try:
        parts = urlsplit(text if separator else "udp://" + text)
        port = parts.port or PORT
    except ValueError:
        parts, port = urlsplit(""), 0
    if parts.scheme not in _KINDS or not parts.hostname or parts.path.strip("/") or parts.query:
        raise ConfigurationError(
            f"COLDSPAN_STATSD_ADDRESS is {text[:200]!r}: give host:port, udp://host:port or tcp://host:port"
        )
    style = environ.get("COLDSPAN_STATSD_TAGS", "").strip().lower()
    if style not in {"", "off", "dogstatsd"}:
        raise ConfigurationError(f"COLDSPAN_STATSD_TAGS is {style[:200]!r}: give dogstatsd, or leave it out")
    prefix = environ.get("COLDSPAN_STATSD_PREFIX", "coldspan").strip().strip(".")
    if len(prefix) > PREFIX_CHARS or not all(c.isascii() and (c.isalnum() or c in "._-") for c in prefix):
        raise ConfigurationError(
            f"COLDSPAN_STATSD_PREFIX is {prefix[:200]!r}: give at most {PREFIX_CHARS} letters, digits, '.', '_' and '-'"
        )
    return StatsdExporter(parts.scheme, parts.hostname, port, prefix, tagged=style == "dogstatsd")
