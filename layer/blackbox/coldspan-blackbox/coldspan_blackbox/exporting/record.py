"""What an exporter gets: one EMF document as the recorder wrote it, and its metrics as points.

Source: CloudWatch user guide, "Specification: Embedded metric format"; the names and units of the recorder's own
metrics are in coldspan/core/emf.py.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

COUNTER = "counter"
DISTRIBUTION = "distribution"
GAUGE = "gauge"


@dataclass(frozen=True, slots=True)
class Point:
    """One metric's values at one time.

    `name` and `unit` are CloudWatch's words: ours as in core/emf.py ("Duration", "CallDuration"), the user's own as
    they named them. `kind` is "counter" (one value, to be added to what went before), "distribution" (each value is one
    observation) or "gauge" (one value, which holds until the next).
    """

    name: str
    unit: str
    kind: str
    values: tuple[float, ...]
    attributes: Mapping[str, str]
    time_ms: int


@dataclass(frozen=True, slots=True)
class Record:
    """A document and its points. `is_invocation`: it carries spans, those of an invocation or of calls of one."""

    document: Mapping[str, Any]
    points: tuple[Point, ...]
    is_invocation: bool
    size_bytes: int


def request_of(document: Mapping[str, Any]) -> str:
    """The request a document is of. An init that failed was for none: it is known by its span, as in its parts."""
    request_id = document.get("request_id")
    if not request_id and document.get("outcome") == "init_error":
        return f"init-{document.get('span_id')}"
    return str(request_id or "")


def parse(document: bytes) -> Record:
    """Read one EMF document.

    Gives: a Record; a further part of an invocation that was too large for one line has no points.
    Errors: ValueError when the bytes are no document of the recorder's. A metric that is none is left out.
    """
    try:
        root = json.loads(document)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(root, dict) or not ("_aws" in root or "calls" in root):
        raise ValueError("no EMF document")
    points = tuple(_points(root)) if "_aws" in root else ()
    return Record(root, points, isinstance(root.get("calls"), list) or _is_invocation(root), len(document))


def _is_invocation(root: Mapping[str, Any]) -> bool:
    return isinstance(root.get("outcome"), str) and isinstance(root.get("span_id"), str)


def _points(root: Mapping[str, Any]) -> Iterator[Point]:
    try:
        time_ms = int(root["_aws"]["Timestamp"])
        directives = list(root["_aws"]["CloudWatchMetrics"])
        for directive in directives:
            attributes = {key: str(root[key]) for key in directive["Dimensions"][0]}
            for metric in directive["Metrics"]:
                name, unit = metric["Name"], metric.get("Unit", "None")
                values = tuple(_numbers(root.get(name)))
                if values:
                    counted = unit == "Count"
                    kind, told = (COUNTER, (sum(values),)) if counted else (DISTRIBUTION, values)
                    yield Point(name, unit, kind, told, attributes, time_ms)
    except (KeyError, IndexError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError("no EMF document") from error


def _numbers(value: Any) -> Iterator[float]:
    for each in value if isinstance(value, list) else (value,):
        if isinstance(each, int | float) and not isinstance(each, bool):
            yield float(each)
