"""Points as OTLP metrics: one batch is summed up by name and attributes before it leaves.

Delta temporality by default, because an environment lives for minutes and nobody wants a time series of each; what is
cumulative is kept here and only taken over once the destination has it, so that a batch that is sent twice counts once.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Buckets,
    ExponentialHistogram,
    ExponentialHistogramDataPoint,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from coldspan_blackbox.exporting import semconv
from coldspan_blackbox.exporting.record import COUNTER, GAUGE, Point, Record

SCOPE = InstrumentationScope("coldspan")
SERIES = (
    2_000  # the specification's default limit of attribute sets, for all metrics together; further ones are dropped
)

# CloudWatch's name of a metric of ours -> name, unit, factor. Source: semantic-conventions, docs/faas/faas-metrics.md.
OURS = {
    "Duration": ("faas.invoke_duration", "s", 1e-3),
    "InitDuration": ("faas.init_duration", "s", 1e-3),
    "ColdStart": ("faas.coldstarts", "{coldstart}", 1),
    "Error": ("faas.errors", "{error}", 1),
    "Timeout": ("faas.timeouts", "{timeout}", 1),
    "MaxMemoryUsed": ("faas.mem_usage", "By", 1024 * 1024),
    "Calls": ("coldspan.invocation.calls", "{call}", 1),
    "CallFailures": ("coldspan.invocation.call_failures", "{call}", 1),
    "CallRetries": ("coldspan.invocation.call_retries", "{retry}", 1),
    "CallTime": ("coldspan.invocation.call_time", "s", 1e-3),
    "QueueTime": ("coldspan.invocation.queue_time", "s", 1e-3),
    "ResponseBytes": ("coldspan.invocation.response_size", "By", 1),
    "Overhead": ("coldspan.overhead", "s", 1e-6),
    "Dropped": ("coldspan.dropped", "{record}", 1),
    "BilledDuration": ("coldspan.billed_duration", "s", 1e-3),
    "MemorySize": ("coldspan.memory_size", "By", 1024 * 1024),
    "PlatformInitDuration": ("coldspan.platform_init_duration", "s", 1e-3),
    "RestoreDuration": ("coldspan.restore_duration", "s", 1e-3),
    "ResponseLatency": ("coldspan.response_latency", "s", 1e-3),
    "RuntimeOverhead": ("coldspan.runtime_overhead", "s", 1e-3),
    "ExtensionOverhead": ("coldspan.extension_overhead", "s", 1e-3),
    "InitFailure": ("coldspan.init_failures", "{init}", 1),
    "CrashLoop": ("coldspan.crash_loops", "{loop}", 1),
    "UnusedInit": ("coldspan.unused_inits", "{init}", 1),
    "MemoryNearLimit": ("coldspan.memory_warnings", "{warning}", 1),
    "CallDuration": ("coldspan.call.duration", "s", 1e-3),
    "CallFailure": ("coldspan.call.failures", "{call}", 1),
    "CallRetry": ("coldspan.call.retries", "{retry}", 1),
    "CallThrottle": ("coldspan.call.throttles", "{attempt}", 1),
}
INVOCATIONS = "faas.invocations"
_DIMENSIONS = {"tool": "coldspan.tool", "operation": "coldspan.operation"}

_UNITS = {
    "Seconds": "s",
    "Milliseconds": "ms",
    "Microseconds": "us",
    "Bytes": "By",
    "Kilobytes": "kBy",
    "Megabytes": "MBy",
    "Gigabytes": "GBy",
    "Terabytes": "TBy",
    "Bits": "bit",
    "Kilobits": "kbit",
    "Megabits": "Mbit",
    "Gigabits": "Gbit",
    "Terabits": "Tbit",
    "Percent": "%",
    "Count": "1",
    "None": "1",
}
# semantic-conventions, "http.client.request.duration", with room for a Lambda's 15 minutes above; the SDK's for others.
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 30, 60, 300, 900)
_OTHERS = (0, 5, 10, 25, 50, 75, 100, 250, 500, 750, 1_000, 2_500, 5_000, 7_500, 10_000)
_BYTES = tuple(float(4**power) for power in range(4, 20))


# (sign, index); of explicit bounds the sign is 0
Bucket = tuple[int, int]
EXPONENTIAL_SCALE = 5  # 2^(1/32): 2 % wide, 1 ms to 15 minutes in 640 buckets
EXPONENTIAL_BUCKETS = 160  # the SDK's limit; a wider range is told in wider buckets


class Key(NamedTuple):
    """What makes a series."""

    name: str
    unit: str
    kind: str
    attributes: tuple[tuple[str, str], ...]


@dataclass(slots=True)
class Series:
    """What is known of one: of a counter the sum, of a gauge the last value, of a distribution its buckets."""

    count: int = 0
    total: float = 0.0
    least: float = math.inf
    most: float = -math.inf
    buckets: dict[Bucket, int] = field(default_factory=dict)
    start_ns: int = 0
    end_ns: int = 0

    def add(self, values: Iterable[float], bounds: Sequence[float] | None, end_ns: int) -> None:
        """Take in some observations. Without bounds the buckets are exponential ones."""
        for value in values:
            self.count += 1
            self.total += value
            self.least, self.most = min(self.least, value), max(self.most, value)
            bucket = _exponential(value) if bounds is None else (0, bisect_left(bounds, value))
            self.buckets[bucket] = self.buckets.get(bucket, 0) + 1
        self.end_ns = max(self.end_ns, end_ns)

    def merged(self, other: "Series") -> "Series":
        """Both together, as a new one."""
        buckets = dict(self.buckets)
        for index, count in other.buckets.items():
            buckets[index] = buckets.get(index, 0) + count
        return Series(
            self.count + other.count,
            self.total + other.total,
            min(self.least, other.least),
            max(self.most, other.most),
            buckets,
            self.start_ns or other.start_ns,
            max(self.end_ns, other.end_ns),
        )


class Metrics:
    """Makes the metrics of one batch after the other, since `start_ns`."""

    def __init__(
        self, resource: Resource, start_ns: int, is_cumulative: bool = False, is_exponential: bool = False
    ) -> None:
        self.resource = resource
        self.is_cumulative = is_cumulative
        self.is_exponential = is_exponential
        self.start_ns = start_ns
        self._kept: dict[Key, Series] = {}
        self._made: tuple[dict[Key, Series], int] = ({}, start_ns)

    def of(self, records: Sequence[Record]) -> list[Metric]:
        """The metrics of a batch. Call `taken` once the destination has them."""
        batch: dict[Key, Series] = {}
        for record in records:
            for name, point, factor in _points(record):
                key = _key(name, point, record)
                series = batch.get(key)
                if series is None:
                    series = batch[key] = Series(start_ns=self.start_ns)
                values = [value * factor for value in point.values]
                if point.kind == GAUGE:
                    series.total, series.end_ns = values[-1], point.time_ms * 1_000_000
                else:
                    series.add(values, self._bounds(key), point.time_ms * 1_000_000)
        latest_ns = max((series.end_ns for series in batch.values()), default=self.start_ns)
        if self.is_cumulative:
            batch = {
                key: self._kept[key].merged(series) if key in self._kept and key.kind != GAUGE else series
                for key, series in batch.items()
            }
        self._made = batch, max(latest_ns, self.start_ns)
        return [self._metric(name, unit, kind, some) for (name, unit, kind), some in _grouped(batch).items()]

    def taken(self) -> None:
        """The destination has what `of` gave last."""
        batch, latest_ns = self._made
        if not self.is_cumulative:
            self.start_ns = latest_ns  # deltas follow upon each other
        else:
            self._kept |= batch
            while len(self._kept) > SERIES:
                del self._kept[next(iter(self._kept))]
        self._made = {}, self.start_ns

    def _metric(self, name: str, unit: str, kind: str, some: "list[tuple[Key, Series]]") -> Metric:
        temporality = AggregationTemporality.CUMULATIVE if self.is_cumulative else AggregationTemporality.DELTA
        if kind == GAUGE:
            return Metric(name, "", unit, Gauge([_number(key, each) for key, each in some]))
        if kind == COUNTER:
            # The user may count down; what is ours never does.
            is_monotonic = name in _OUR_NAMES
            return Metric(name, "", unit, Sum([_number(key, each) for key, each in some], temporality, is_monotonic))
        if self.is_exponential:
            points = [_exponential_histogram(key, each) for key, each in some]
            return Metric(name, "", unit, ExponentialHistogram(points, temporality))
        return Metric(name, "", unit, Histogram([_histogram(key, each) for key, each in some], temporality))

    def _bounds(self, key: Key) -> Sequence[float] | None:
        return None if self.is_exponential else bounds_of(key.unit)


def metrics_data(metrics: Sequence[Metric], resource: Resource) -> MetricsData:
    """What the SDK's exporter takes."""
    return MetricsData([ResourceMetrics(resource, [ScopeMetrics(SCOPE, metrics, "")], "")])


def bounds_of(unit: str) -> Sequence[float]:
    """The bounds of a histogram's buckets."""
    return _SECONDS if unit == "s" else _BYTES if unit == "By" else _OTHERS


_OUR_NAMES = frozenset((INVOCATIONS, *(name for name, _, _ in OURS.values())))


def _points(record: Record) -> Iterable[tuple[str, Point, float]]:
    for point in record.points:
        name, _, factor = OURS.get(point.name, (point.name, "", 1.0))
        yield name, point, factor
        if point.name == "Duration" and "outcome" in record.document:
            one = Point("", "Count", COUNTER, (float(len(point.values)),), point.attributes, point.time_ms)
            yield INVOCATIONS, one, 1.0


def _key(name: str, point: Point, record: Record) -> Key:
    unit = OURS[point.name][1] if point.name in OURS else _unit(point.unit)
    attributes = {_DIMENSIONS.get(key, key): value for key, value in point.attributes.items() if key != "function_name"}
    if name == INVOCATIONS:
        unit = "{invocation}"
    if name.startswith("faas."):
        trigger = record.document.get("trigger")
        if trigger:
            attributes["faas.trigger"] = semconv.faas_trigger(trigger)
    return Key(name, unit, point.kind, tuple(sorted(attributes.items())))


def _unit(unit: str) -> str:
    """CloudWatch's word as UCUM has it."""
    size, slash, _ = unit.partition("/")
    return _UNITS.get(size, "1") + ("/s" if slash else "")


def _grouped(batch: Mapping[Key, Series]) -> "dict[tuple[str, str, str], list[tuple[Key, Series]]]":
    groups: dict[tuple[str, str, str], list[tuple[Key, Series]]] = {}
    for key, series in batch.items():
        groups.setdefault((key.name, key.unit, key.kind), []).append((key, series))
    return groups


def _number(key: Key, series: Series) -> NumberDataPoint:
    value: Any = int(series.total) if series.total.is_integer() and abs(series.total) < 2**53 else series.total
    return NumberDataPoint(dict(key.attributes), min(series.start_ns, series.end_ns), series.end_ns, value)


def _histogram(key: Key, series: Series) -> HistogramDataPoint:
    bounds = bounds_of(key.unit)
    counts = [series.buckets.get((0, index), 0) for index in range(len(bounds) + 1)]
    start_ns = min(series.start_ns, series.end_ns)
    return HistogramDataPoint(
        dict(key.attributes),
        start_ns,
        series.end_ns,
        series.count,
        series.total,
        counts,
        bounds,
        series.least,
        series.most,
    )


def _exponential(value: float) -> Bucket:
    """The bucket of a value. Source: OpenTelemetry, metrics data model, "Exponential Scale"."""
    if not value:
        return 0, 0
    return (1 if value > 0 else -1), math.ceil(math.log2(abs(value)) * 2**EXPONENTIAL_SCALE) - 1


def _exponential_histogram(key: Key, series: Series) -> ExponentialHistogramDataPoint:
    indexes = [index for sign, index in series.buckets if sign]
    shift = 0  # each step of the scale down joins two buckets
    while indexes and (max(indexes) >> shift) - (min(indexes) >> shift) >= EXPONENTIAL_BUCKETS:
        shift += 1
    return ExponentialHistogramDataPoint(
        dict(key.attributes),
        min(series.start_ns, series.end_ns),
        series.end_ns,
        series.count,
        series.total,
        EXPONENTIAL_SCALE - shift,
        series.buckets.get((0, 0), 0),
        _side(series, 1, shift),
        _side(series, -1, shift),
        0,
        series.least,
        series.most,
    )


def _side(series: Series, wanted: int, shift: int) -> Buckets:
    counts: dict[int, int] = {}
    for (sign, index), count in series.buckets.items():
        if sign == wanted:
            counts[index >> shift] = counts.get(index >> shift, 0) + count
    if not counts:
        return Buckets(0, [])
    first = min(counts)
    return Buckets(first, [counts.get(index, 0) for index in range(first, max(counts) + 1)])
