"""What comes in from the extension's main process, made into records: lines of the recorder, events of the platform."""

import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from coldspan_blackbox.exporting import semconv
from coldspan_blackbox.exporting.record import COUNTER, DISTRIBUTION, Point, Record, parse

REMEMBERED = 256  # invocations whose further parts are kept although their share is not

# Type of a platform event -> member of its metrics, name and unit of the point.
_MEASURED = {
    "platform.report": (
        ("maxMemoryUsedMB", "MaxMemoryUsed", "Megabytes"),
        ("billedDurationMs", "BilledDuration", "Milliseconds"),
    ),
    "platform.restoreReport": (("durationMs", "RestoreDuration", "Milliseconds"),),
}


class Sampler:
    """Decides which invocations leave as spans: a share of the traces, and all that failed, were slow or cold."""

    def __init__(self, share: float, slow_ms: float) -> None:
        self.share = share
        self.slow_ms = slow_ms
        self._kept: dict[str, None] = {}

    def __call__(self, record: Record) -> Record:
        """Give the record, without its spans if it is not in the share. Its metrics always leave."""
        if not record.is_invocation or self.share >= 1 or self._keeps(record.document):
            return record
        return replace(record, is_invocation=False)

    def _keeps(self, document: Mapping[str, Any]) -> bool:
        calls = [call for call in document.get("calls") or () if isinstance(call, dict)]
        request_id = str(document.get("request_id") or (calls[0].get("request_id") if calls else "") or "")
        if request_id in self._kept:
            return True
        if self._is_telling(document, calls):
            self._kept[request_id] = None
            if len(self._kept) > REMEMBERED:
                del self._kept[next(iter(self._kept))]
            return True
        trace_id = document.get("trace_id") or (calls[0].get("trace_id") if calls else "") or request_id
        return zlib.crc32(str(trace_id).encode()) / 2**32 < self.share

    def _is_telling(self, document: Mapping[str, Any], calls: list[dict[str, Any]]) -> bool:
        if document.get("outcome") in semconv.FAILED or document.get("start") not in {None, "warm"}:
            return True
        duration = document.get("Duration")
        if isinstance(duration, int | float) and duration >= self.slow_ms:
            return True
        return any(call.get("status") not in {"ok", "rejected"} for call in calls)


def from_line(document: bytes, sampler: Sampler) -> Record:
    """Give the record of a line. ValueError: it is none."""
    return sampler(parse(document))


def from_platform(events: bytes, function_name: str) -> Iterator[Record]:
    """Give a record for each event that measures something. ValueError: no array of events."""
    try:
        told = json.loads(events)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(told, list):
        raise ValueError("no array of events")  # noqa: TRY004  # the bytes are wrong, not a type of ours
    for event in told:
        record = event.get("record") if isinstance(event, dict) else None
        if isinstance(record, dict):
            kind = str(event.get("type"))
            attributes = {"function_name": function_name}
            points = tuple(_measured(kind, record, _epoch_ms(event.get("time")), attributes))
            if points:
                document = {**attributes, "platform": kind, "request_id": record.get("requestId"), "record": record}
                yield Record(document, points, is_invocation=False, size_bytes=len(json.dumps(document)))


def _measured(kind: str, record: Mapping[str, Any], time_ms: int, attributes: Mapping[str, str]) -> Iterator[Point]:
    metrics = record.get("metrics")
    for member, name, unit in _MEASURED.get(kind, ()):
        value = metrics.get(member) if isinstance(metrics, dict) else None
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield Point(name, unit, DISTRIBUTION, (float(value),), attributes, time_ms)
    if kind == "platform.initReport" and record.get("status") not in {None, "success"}:
        yield Point("InitError", "Count", COUNTER, (1.0,), attributes, time_ms)


def _epoch_ms(text: Any) -> int:
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1_000)
    except (TypeError, ValueError, OverflowError):
        return 0
