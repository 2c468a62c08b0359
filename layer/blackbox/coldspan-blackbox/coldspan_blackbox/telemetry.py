"""Telemetry API events, checked. Pure.

Source: Lambda developer guide, "Telemetry API Event schema reference"; schema 2025-01-29.
"""

from coldspan_blackbox.jsontext import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TEXT_CHARS = 256
MOST = 1e12  # ms, MB; larger is no measurement


class Event:
    """One event of type platform.*."""

    __slots__ = ("kind", "record", "time_ms")

    def __init__(self, kind: str, time_ms: int, record: "dict[str, Any]") -> None:
        self.kind = kind  # without "platform."
        self.time_ms = time_ms  # epoch ms, 0 unknown
        self.record = record

    def text(self, name: str) -> str:
        """A member that is text, cut to TEXT_CHARS; "" when it is none."""
        value = self.record.get(name)
        return value[:TEXT_CHARS] if isinstance(value, str) else ""

    def metric(self, name: str) -> "float | None":
        """A number of `metrics`."""
        metrics = self.record.get("metrics")
        return number(metrics.get(name)) if isinstance(metrics, dict) else None

    def spans(self) -> "dict[str, float]":
        """The durations of `spans` in ms, by name."""
        found: "dict[str, float]" = {}
        spans = self.record.get("spans")
        for span in spans[:16] if isinstance(spans, list) else ():
            if isinstance(span, dict) and isinstance(span.get("name"), str):
                duration = number(span.get("durationMs"))
                if duration is not None:
                    found[span["name"]] = duration
        return found

    def trace_id(self) -> str:
        """The trace's 32 hex digits, out of the X-Ray header in `tracing`; "" without one."""
        tracing = self.record.get("tracing")
        header = tracing.get("value") if isinstance(tracing, dict) else None
        for part in header.split(";") if isinstance(header, str) else ():
            if part.startswith("Root=1-"):
                digits = part[7:].replace("-", "")
                if len(digits) == 32 and digits.isalnum() and digits.isascii():
                    return digits
        return ""


def parse(body: bytes) -> "tuple[list[Event], int]":
    """The platform events of a batch, and how many of its entries are none. Errors: ValueError when it is no batch."""
    batch = loads(body)
    if not isinstance(batch, list):
        raise ValueError("no array")  # noqa: TRY004  # of the text, not of an argument
    events: "list[Event]" = []
    for entry in batch:
        kind = entry.get("type") if isinstance(entry, dict) else None
        record = entry.get("record") if isinstance(entry, dict) else None
        if isinstance(kind, str) and kind.startswith("platform.") and isinstance(record, dict):
            events.append(Event(kind[9:], epoch_ms(entry.get("time")), record))
    return events, len(batch) - len(events)


def number(value: "Any") -> "float | None":
    """A measurement that can be one: not negative, finite, no boolean."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < MOST:
        return None
    return value


def epoch_ms(moment: "Any") -> int:
    """`2026-11-23T01:22:56.254Z` as epoch ms; 0 when it is no such text. datetime costs an import."""
    if not isinstance(moment, str) or len(moment) < 20 or moment[10] != "T" or moment[-1] != "Z":
        return 0
    try:
        year, month, day = int(moment[:4]), int(moment[5:7]), int(moment[8:10])
        seconds = int(moment[11:13]) * 3600 + int(moment[14:16]) * 60 + int(moment[17:19])
        fraction = int((moment[20:-1] + "000")[:3]) if moment[19] == "." else 0
    except ValueError:
        return 0
    # Days since 1970 of a Gregorian date: years begin in March, so that the leap day is the last.
    year -= month < 3
    days = 365 * year + year // 4 - year // 100 + year // 400 + (153 * ((month + 9) % 12) + 2) // 5 + day - 719_469
    return (days * 86_400 + seconds) * 1000 + fraction
