"""X-Ray's side of invocations: what the service itself measured, from the traces that they belong to."""

import json
import re
from typing import TYPE_CHECKING, Any

from coldspan_console.pulling.account import told_clearly

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

AT_ONCE = 5  # trace ids of a request. Source: X-Ray API reference, BatchGetTraces
TRACE = re.compile(r"[0-9a-f]{32}")
# subsegments that the service makes -> the fact. Source: X-Ray developer guide, "AWS Lambda and AWS X-Ray"
PHASES = {
    "Initialization": "initialization_ms", "Init": "initialization_ms", "Restore": "restore_ms",
    "Invocation": "invocation_ms", "Overhead": "overhead_ms", "Dwell Time": "dwell_ms", "Attempt #1": "attempt_ms",
    "QueueTime": "queue_ms",
}  # fmt: skip
SEGMENTS = 50  # kept of one trace


def fetch(
    xray: Any, records: "Iterable[dict[str, Any]]", advance: "Callable[[int], object]" = lambda _: None
) -> "Iterator[dict[str, Any]]":
    """A line for the store for each record whose trace is there: the platform's facts with `xray` among them."""
    by_trace: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        trace_id = record.get("trace_id")
        if isinstance(trace_id, str) and TRACE.fullmatch(trace_id):
            by_trace.setdefault(f"1-{trace_id[:8]}-{trace_id[8:]}", []).append(record)
    ids = list(by_trace)
    for first in range(0, len(ids), AT_ONCE):
        with told_clearly("BatchGetTraces"):
            asked: dict[str, Any] = {"TraceIds": ids[first : first + AT_ONCE]}
            while True:
                told = xray.batch_get_traces(**asked)
                for trace in told.get("Traces", ()):
                    segments = _segments(trace)
                    for record in by_trace.get(trace.get("Id", ""), ()) if segments else ():
                        yield _line(record, trace["Id"], segments)
                if not told.get("NextToken"):
                    break
                asked["NextToken"] = told["NextToken"]
        advance(len(ids[first : first + AT_ONCE]))


def _segments(trace: "dict[str, Any]") -> "list[dict[str, Any]]":
    found = []
    for segment in trace.get("Segments", ()):
        try:
            document = json.loads(segment["Document"])
        except (KeyError, TypeError, ValueError):
            continue
        if isinstance(document, dict):
            found.append(document)
    return sorted(found, key=lambda one: (_number(one.get("start_time")), str(one.get("id"))))[:SEGMENTS]


def _line(record: "dict[str, Any]", trace_id: str, segments: "list[dict[str, Any]]") -> "dict[str, Any]":
    own = [one for one in segments if _request_of(one) in {"", record["request_id"]}]
    facts: dict[str, float] = {}
    for part in _parts(own):
        fact = PHASES.get(str(part.get("name")))
        length = (_number(part.get("end_time")) - _number(part.get("start_time"))) * 1_000
        if fact is not None and length >= 0:
            facts[fact] = round(facts.get(fact, 0.0) + length, 3)
    header = record.get("_aws")
    return {
        "_aws": {"Timestamp": header.get("Timestamp", 0) if isinstance(header, dict) else 0},
        "function_name": record.get("function_name", ""), "request_id": record["request_id"], "platform": True,
        "xray": {"trace_id": trace_id, **facts, "segments": own},
    }  # fmt: skip


def _request_of(segment: "dict[str, Any]") -> str:
    """The request id of a segment of AWS::Lambda; a trace may have those of several functions and attempts."""
    aws = segment.get("aws")
    told = aws.get("request_id") if isinstance(aws, dict) and str(segment.get("origin", "")) == "AWS::Lambda" else ""
    return told if isinstance(told, str) else ""


def _parts(segments: "list[dict[str, Any]]") -> "Iterator[dict[str, Any]]":
    waiting = [part for segment in segments for part in segment.get("subsegments") or ()]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield part
            waiting += part.get("subsegments") or ()


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else 0.0


__all__ = ["fetch"]
