"""Lines of a log that CloudWatch would silently not extract metrics from, or read as something else.

Source: CloudWatch embedded metric format specification; limits as in core/limits.py of the recorder.
"""

import json
import math
from typing import TYPE_CHECKING, Any

from coldspan.core.limits import EMF_DIMENSION_VALUE_CHARS as VALUE_CHARS
from coldspan.core.limits import EMF_METRICS_PER_DIRECTIVE as METRICS
from coldspan.core.limits import EMF_VALUES_PER_METRIC as VALUES
from coldspan.core.usermetrics import UNITS
from coldspan_console.doctor.findings import ERROR, WARNING, Finding

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

EVENT_BYTES, KEYS = 1 << 20, 30  # PutLogEvents' own limit: the recorder's has a margin; dimensions of a set
MANY = 50  # values of one dimension in one log: each is a metric that costs


def lint(lines: "Iterable[str]", name: str) -> "Iterator[Finding]":
    """What is wrong with the embedded-metric lines of a log, by line."""
    values: dict[str, set[str]] = {}
    units: dict[tuple[str, str], str] = {}
    for number, line in enumerate(lines, 1):
        if '"_aws"' not in line:
            continue
        where = f"{name}:{number}"
        start = line.find("{")
        text = line.strip()
        if start > 0 and line[:start].strip():
            yield Finding(
                "CS201",
                ERROR,
                "text stands before the document: no metrics are extracted",
                where,
                "print it alone on its line, not by logging",
            )
            text = line[start:].strip()
        try:
            document = json.loads(text)
        except ValueError as error:
            yield Finding("CS202", ERROR, f"is no JSON: {error}", where, "encode it by a JSON library, NaN refused")
            continue
        if len(text.encode()) > EVENT_BYTES:
            yield Finding(
                "CS203",
                ERROR,
                f"{len(text.encode()):,} bytes: a log event has at most {EVENT_BYTES:,}",
                where,
                "split it",
            )
        yield from _document(document, where, values, units)
    for key, found in values.items():
        if len(found) > MANY:
            yield Finding(
                "CS210",
                WARNING,
                f"dimension {key} has {len(found)} values in this log: each is a metric that is billed",
                name,
                "make it a property, not a dimension",
            )


def _document(
    document: "dict[str, Any]", where: str, values: "dict[str, set[str]]", units: "dict[tuple[str, str], str]"
) -> "Iterator[Finding]":
    directives = (document.get("_aws") or {}).get("CloudWatchMetrics")
    if not isinstance(directives, list) or not isinstance((document.get("_aws") or {}).get("Timestamp"), int):
        yield Finding(
            "CS204", ERROR, "_aws has no Timestamp (epoch ms) or no CloudWatchMetrics", where, "see the specification"
        )
        return
    for directive in directives:
        metrics = directive.get("Metrics") or []
        if len(metrics) > METRICS:
            yield Finding(
                "CS205", ERROR, f"{len(metrics)} metrics in a directive; {METRICS} are the most", where, "split it"
            )
        for keys in directive.get("Dimensions") or []:
            if len(keys) > KEYS:
                yield Finding("CS206", ERROR, f"{len(keys)} dimensions; {KEYS} are the most", where, "leave some out")
            for key in keys:
                value = document.get(key)
                if not isinstance(value, str) or not value or len(value) > VALUE_CHARS:
                    yield Finding(
                        "CS207",
                        ERROR,
                        f"dimension {key} is no text of 1 to {VALUE_CHARS} characters",
                        where,
                        "make it one",
                    )
                else:
                    values.setdefault(key, set()).add(value)
        for metric in metrics:
            yield from _metric(metric, document, str(directive.get("Namespace")), where, units)


def _metric(
    metric: "dict[str, Any]",
    document: "dict[str, Any]",
    namespace: str,
    where: str,
    units: "dict[tuple[str, str], str]",
) -> "Iterator[Finding]":
    name, unit = str(metric.get("Name")), metric.get("Unit", "None")
    target = document.get(name)
    numbers = target if isinstance(target, list) else [target]
    good = all(
        isinstance(each, (int, float)) and not isinstance(each, bool) and math.isfinite(each) for each in numbers
    )
    if not good or not numbers:
        yield Finding("CS208", ERROR, f"metric {name} is no number", where, "leave it out, or give finite numbers")
    if len(numbers) > VALUES:
        yield Finding(
            "CS209", ERROR, f"metric {name} has {len(numbers)} values; {VALUES} are the most", where, "split it"
        )
    if unit not in UNITS:
        yield Finding(
            "CS211",
            ERROR,
            f"metric {name}: {unit!r} is no unit of CloudWatch's",
            where,
            "Milliseconds, Count, Bytes, ...",
        )
    elif units.setdefault((namespace, name), unit) != unit:
        yield Finding(
            "CS212",
            WARNING,
            f"metric {name} is in {unit} here and in {units[namespace, name]} before",
            where,
            "one unit for one name",
        )
