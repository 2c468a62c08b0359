"""A strict reader of embedded metric format: it rejects what CloudWatch would silently not extract.

Written from the published rules, not from our encoder: CloudWatch user guide, "Specification: Embedded metric
format" (with its JSON schema); API reference of PutLogEvents (InputLogEvent), MetricDatum and Dimension; RFC 8259.
"""

import json
from typing import NamedTuple

EVENT_BYTES = 1_048_576
PAST_MS = 14 * 24 * 3_600_000
FUTURE_MS = 2 * 3_600_000
SIZES = (
    "Bytes", "Kilobytes", "Megabytes", "Gigabytes", "Terabytes", "Bits", "Kilobits", "Megabits", "Gigabits", "Terabits",
)  # fmt: skip
UNITS = {"Seconds", "Microseconds", "Milliseconds", "Percent", "Count", "Count/Second", "None", *SIZES} | {
    size + "/Second" for size in SIZES
}


class EmfRejected(Exception):
    """The line breaks the rule that `rule` names."""

    def __init__(self, rule, detail=""):
        super().__init__(f"{rule}: {detail!r:.200}")
        self.rule = rule


class MetricFact(NamedTuple):
    """What CloudWatch would store of one metric."""

    namespace: str
    dimensions: tuple
    name: str
    unit: str
    values: tuple
    timestamp_ms: int


def validate_emf(line, now_ms=None):
    """Give the metrics of a line as a list of MetricFact, one per dimension set, or raise EmfRejected."""
    root = validate_log_line(line)
    metadata = root.get("_aws")
    _must(isinstance(metadata, dict), "metadata", metadata)
    _must(
        set(metadata) <= {"Timestamp", "CloudWatchMetrics", "LogGroupName", "LogStreamName"},
        "metadata members",
        metadata,
    )
    timestamp = metadata.get("Timestamp")
    _must(type(timestamp) is int, "timestamp type", timestamp)
    _must(946_684_800_000 < timestamp < 4_133_980_800_000, "timestamp in milliseconds", timestamp)
    if now_ms is not None:
        _must(now_ms - PAST_MS <= timestamp <= now_ms + FUTURE_MS, "timestamp near now", timestamp)
    directives = metadata.get("CloudWatchMetrics")
    _must(isinstance(directives, list), "directives", directives)
    facts = []
    for directive in directives:
        facts += _directive(directive, root, timestamp)
    return facts


def validate_log_line(line):
    """Give the JSON object of a line of a log, with or without metrics, or raise EmfRejected."""
    _must(isinstance(line, bytes), "bytes", type(line))
    _must(line.endswith(b"\n") and line.count(b"\n") == 1, "one line", line[-40:])
    _must(len(line) - 1 <= EVENT_BYTES, "event size", len(line))
    try:
        text = line[:-1].decode()
    except UnicodeDecodeError as error:
        raise EmfRejected("utf-8", str(error)) from error
    _must(text[:1] == "{" and text[-1:] == "}", "nothing around the object", text[:40])
    try:
        root = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise EmfRejected("json", str(error)) from error
    _whole_characters(root)
    return root


def _directive(directive, root, timestamp):
    _must(isinstance(directive, dict), "directive", directive)
    _must(set(directive) == {"Namespace", "Dimensions", "Metrics"}, "directive members", directive)
    namespace = directive["Namespace"]
    _must(isinstance(namespace, str) and 1 <= len(namespace) <= 1024, "namespace length", namespace)
    _must(_printable(namespace) and not namespace.startswith(":"), "namespace characters", namespace)
    sets = directive["Dimensions"]
    _must(isinstance(sets, list) and sets, "dimension sets", sets)
    dimensions = [_dimension_set(keys, root) for keys in sets]
    metrics = directive["Metrics"]
    _must(isinstance(metrics, list), "metrics", metrics)
    _must(1 <= len(metrics) <= 100, "metrics in a directive", len(metrics))
    names = set()
    facts = []
    for metric in metrics:
        name, unit, values = _metric(metric, root, {key for some in dimensions for key, _ in some})
        _must(name not in names, "metric named twice", name)
        names.add(name)
        facts += [MetricFact(namespace, some, name, unit, values, timestamp) for some in dimensions]
    return facts


def _dimension_set(keys, root):
    _must(isinstance(keys, list), "dimension set", keys)
    _must(len(keys) <= 30, "dimensions in a set", len(keys))
    _must(all(isinstance(key, str) for key in keys), "dimension key type", keys)
    _must(len(set(keys)) == len(keys), "dimension named twice", keys)
    pairs = []
    for key in keys:
        _must(1 <= len(key) <= 250, "dimension key length", key)
        _must(_printable(key) and not key.startswith(":"), "dimension key characters", key)
        _must(key in root, "dimension target", key)
        value = root[key]
        _must(isinstance(value, str), "dimension value type", value)
        _must(1 <= len(value) <= 1024, "dimension value length", len(value))
        _must(_printable(value), "dimension value characters", value)
        pairs.append((key, value))
    return tuple(pairs)


def _metric(metric, root, dimensions):
    _must(isinstance(metric, dict), "metric", metric)
    _must(set(metric) <= {"Name", "Unit", "StorageResolution"}, "metric members", metric)
    name = metric.get("Name")
    _must(isinstance(name, str) and 1 <= len(name) <= 1024, "metric name length", name)
    _must(_printable(name), "metric name characters", name)
    _must(name not in dimensions, "metric is a dimension", name)
    unit = metric.get("Unit", "None")
    _must(unit in UNITS, "unit", unit)
    _must(metric.get("StorageResolution", 60) in (1, 60), "storage resolution", metric)
    _must(name in root, "metric target", name)
    values = root[name]
    if not isinstance(values, list):
        values = [values]
    _must(1 <= len(values) <= 100, "values of a metric", len(values))
    for value in values:
        _must(type(value) in (int, float), "metric value type", value)
        _must(-(2**360) <= value <= 2**360, "metric value range", value)
    return name, unit, tuple(values)


def _printable(text):
    """ASCII without control characters, and not only spaces: what Dimension allows."""
    return all(" " <= character <= "~" for character in text) and text.strip() != ""


def _whole_characters(value):
    """A half surrogate is no character: readers that are not Python refuse the document."""
    waiting = [value]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            waiting += [*node, *node.values()]
        elif isinstance(node, list):
            waiting += node
        elif isinstance(node, str):
            _must(not any("\ud800" <= character <= "\udfff" for character in node), "whole characters", node)


def _unique(pairs):
    members = dict(pairs)
    _must(len(members) == len(pairs), "member named twice", [name for name, _ in pairs])
    return members


def _no_constant(word):
    raise EmfRejected("json", word)


def _must(holds, rule, detail=""):
    if not holds:
        raise EmfRejected(rule, detail)
