"""Points as StatsD lines, packed into packets.

The words of the protocol are those of the `statsd` package's client. Its transports are not used: the one for UDP
swallows every error, the one for TCP knows a time limit for each operation only, and a result must be true.
Sources: the StatsD repository, docs/metric_types.md; DogStatsD, "Datagram format".
"""

import math
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping

from statsd.client.base import PipelineBase, StatsClientBase

from coldspan_blackbox.exporting.names import base_name, unit_of, with_unit
from coldspan_blackbox.exporting.record import COUNTER, GAUGE, Point, Record

PACKET_BYTES = 1_432  # what fits an Ethernet frame of 1,500 with the headers of IPv6 and UDP, and a tunnel's
PART_CHARS = 64
NAME_CHARS = 400
TAG_CHARS = 200
TAGS = 20
FIRST = ("function_name", "tool", "operation")
_LARGEST = 2.0**53  # beyond it neighbouring integers are the same float


class Lines(StatsClientBase):  # type: ignore[misc]  # the package has no types
    """Keeps the lines instead of sending them. `tags` is what each gets at its end."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self.tags = ""
        self.lines: list[bytes] = []

    def _after(self, data: str) -> None:
        self.lines.append((data + self.tags).encode("ascii"))

    def histogram(self, stat: str, value: str) -> None:
        """DogStatsD's distribution of values that are no time."""
        self._send_stat(stat, value + "|h", 1)

    def pipeline(self) -> "_Lines":
        """Where the client puts the two lines of a negative gauge."""
        return _Lines(self)


class _Lines(PipelineBase):  # type: ignore[misc]
    _client: Lines
    _stats: "deque[str]"

    def _send(self) -> None:
        while self._stats:
            self._client._after(self._stats.popleft())


def lines_of(records: Iterable[Record], prefix: str, *, tagged: bool) -> Iterator[list[bytes]]:
    """The lines of each record; a value that is no number is left out."""
    for record in records:
        client = Lines(prefix)
        for point in record.points:
            _add(client, point, tagged)
        yield client.lines


def _add(client: Lines, point: Point, tagged: bool) -> None:
    unit = unit_of(point.unit, point.name)
    is_time = unit.word == "seconds"
    # a timer is in milliseconds by its type, so that only other units stand in the name
    name = base_name(point.name) if is_time and point.kind not in {COUNTER, GAUGE} else _named(point)
    if tagged:
        client.tags = tags(point.attributes)
    else:
        name = ".".join([*(part(value) for value in _ordered(point.attributes)), name])[:NAME_CHARS]
    for raw in point.values:
        value = raw * unit.factor
        if not math.isfinite(value) or abs(value) > _LARGEST:
            continue
        if point.kind == COUNTER:
            client.incr(name, plain(value))
        elif point.kind == GAUGE:
            client.gauge(name, float(plain(value)))
        elif is_time or not tagged:
            client.timing(name, value * 1000 if is_time else value)
        else:
            client.histogram(name, plain(value))


def _named(point: Point) -> str:
    return with_unit(base_name(point.name), unit_of(point.unit).word)


def _ordered(attributes: Mapping[str, str]) -> list[str]:
    known = dict(attributes)
    return [known.pop(key) for key in FIRST if key in known] + [f"{key}_{known[key]}" for key in sorted(known)]


def part(text: str) -> str:
    """One part of a dotted name: letters, digits, `_` and `-`."""
    return re.sub(r"[^a-zA-Z0-9_-]+", "_", text[:PART_CHARS]) or "_"


def tags(attributes: Mapping[str, str]) -> str:
    """`|#key:value,...`, or nothing; sorted, and without what would end a tag, a line or the tags."""
    pairs = sorted(attributes.items())[:TAGS]
    listed = ",".join(f"{part(key)}:{re.sub(r'[^!-~]|[,|#:]', '_', value[:TAG_CHARS]) or '_'}" for key, value in pairs)
    return "|#" + listed if listed else ""


def plain(value: float) -> str:
    """A number without an exponent, which not every server reads, and without a fraction of nothing."""
    text = f"{value:.6f}".rstrip("0").rstrip(".")
    return text if text not in {"", "-0"} else "0"


def packets_of(lines: Iterable[bytes], limit_bytes: int = PACKET_BYTES) -> list[bytes]:
    """Lines joined into packets of at most `limit_bytes`, each ended by a new line; none is cut."""
    packets: list[bytes] = []
    waiting = b""
    for line in lines:
        if waiting and len(waiting) + len(line) + 1 > limit_bytes:
            packets.append(waiting)
            waiting = b""
        waiting += line + b"\n"
    return [*packets, waiting] if waiting else packets
