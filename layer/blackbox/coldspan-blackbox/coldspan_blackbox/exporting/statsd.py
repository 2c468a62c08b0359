"""StatsD over UDP or TCP: `|c`, `|ms` and `|g` lines, with attributes in the name or as DogStatsD's tags.

The protocol has no answer. Over UDP, SENT means handed to the network: only a machine that says that nobody listens is
heard. Over TCP it means that the other machine has acknowledged every byte. A connection that is only slow is kept, and
the batch goes on in it: closed, it would still deliver what the kernel holds, which would then arrive twice; and reset,
it would end the StatsD daemon, which does not handle that.
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


class _Delivery:
    """A batch under way, which outlives a failed attempt.

    `at` is how many packets (UDP) or bytes (TCP) have arrived; `handed` how many bytes the connection has been given.
    """

    def __init__(self, records: Sequence[Record], packets: list[bytes], refused_count: int) -> None:
        self.records = tuple(records)
        self.packets = packets
        self.refused_count = refused_count
        self.data = b"".join(packets)
        self.at = 0
        self.handed = 0

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
        try:
            result: Result = self._bounded.run(lambda deadline_s: self._send(records, deadline_s), timeout_s, _nothing)
        except OutOfTimeError:
            return Result(Sent.RETRY, "timeout")
        return result

    def close(self) -> None:
        """Close the socket; waits for nothing."""
        self._drop()

    # -- on the thread that may be left behind -----------------------------------------------------------------------

    def _send(self, records: Sequence[Record], deadline_s: float) -> Result:
        delivery = self._delivery
        if delivery is None or not delivery.is_of(records):
            if delivery is not None and delivery.handed > delivery.at:
                self._drop()  # in it is a part of a batch that was given up
            delivery = self._delivery = self._packed(records)
        try:
            self._deliver(delivery, deadline_s)
        except TimeoutError as error:
            return Result(Sent.RETRY, reason_of(error))
        except OSError as error:
            self._drop()
            return Result(Sent.RETRY, reason_of(error))
        self._delivery = None
        refused_count = delivery.refused_count
        reason = "line_too_long" if refused_count else ""
        if refused_count and refused_count == len(records):
            return Result(Sent.REFUSED, reason)
        return Result(Sent.SENT, reason, refused_count=refused_count)

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
        opened = self._connection(delivery, deadline_s)
        (_send_stream if self.scheme == "tcp" else _send_datagrams)(opened, delivery, deadline_s)

    def _connection(self, delivery: _Delivery, deadline_s: float) -> socket.socket:
        now_s = time.monotonic()
        if self._socket is not None:
            try:
                if self.scheme == "tcp":
                    _acknowledged(self._socket, delivery)
                elif now_s - self._connected_s > RESOLVED_S:
                    raise ConnectionResetError
                else:
                    # a refusal that came late is of a batch that was told as sent
                    self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            except OSError:
                self._drop()
        if self._socket is None:
            self._socket = connect(self.host, self.port, _KINDS[self.scheme], deadline_s)
            self._connected_s = now_s
            delivery.handed = delivery.at
        return self._socket

    def _drop(self) -> None:
        opened, self._socket = self._socket, None
        shut(opened)


def _nothing() -> None:
    """Each operation has its own time limit; what a connection holds would arrive all the same if it were closed."""


def _send_datagrams(opened: socket.socket, delivery: _Delivery, deadline_s: float) -> None:
    while delivery.at < len(delivery.packets):
        opened.settimeout(left_s(deadline_s))
        opened.send(delivery.packets[delivery.at])
        # on the same machine the refusal of this very packet is known by now
        if opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise ConnectionRefusedError
        delivery.at += 1


def _send_stream(opened: socket.socket, delivery: _Delivery, deadline_s: float) -> None:
    """Send what is left, and wait until it is acknowledged."""
    data = delivery.data
    while delivery.at < len(data):
        if delivery.handed < len(data):
            opened.settimeout(left_s(deadline_s))
            delivery.handed += opened.send(data[delivery.handed : delivery.handed + _CHUNK_BYTES])
        else:
            select.select([opened], [], [], min(_ACKNOWLEDGED_S, left_s(deadline_s)))
        _acknowledged(opened, delivery)


def _acknowledged(opened: socket.socket, delivery: _Delivery) -> None:
    """Take note of the whole lines that have arrived. Errors: OSError when the connection has ended."""
    (waiting,) = struct.unpack("i", fcntl.ioctl(opened, termios.TIOCOUTQ, b"\0\0\0\0"))
    error = opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if error:  # a connection that was reset has no bytes waiting, whatever has arrived
        raise ConnectionResetError(error)
    delivery.at = delivery.data.rfind(b"\n", 0, delivery.handed - waiting) + 1
    opened.setblocking(False)
    try:
        if not opened.recv(4_096):  # what it says is not listened to
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
    _, separator, _ = text.partition("://")
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
