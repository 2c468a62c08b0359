"""What has happened in this environment so far, as Prometheus wants it: sums that only grow, and gauges.

A record is an increment; a sample is the sum. So that a sample never counts what was not delivered, and never forgets
what was, increments are staged: what was taken is kept, what was refused is not.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from coldspan.core.emf import CALL_METRICS, METRICS
from coldspan_blackbox.exporting.names import MEMORY, base_name, unit_of, with_unit
from coldspan_blackbox.exporting.record import COUNTER, DISTRIBUTION, GAUGE, Point, Record
from coldspan_blackbox.lines import NOT_EXPORTED, UNITS

Labels = tuple[tuple[str, str], ...]  # sorted by name; with __name__
Samples = list[tuple[int, float]]  # (time in ms, value), oldest first

SERIES = 4_000  # a runaway name or label costs counts, not memory; an invocation with 20 (tool, operation) pairs: 520
LABEL_CHARS = 256
LABELS = 30
LATE_MS = 600_000  # a receiver refuses samples that are an hour old, with all that came with them; older is told later
TIME_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0)
OVERHEAD_BUCKETS = (0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.01, 0.1)
SIZE_BUCKETS = tuple(float(4**power) for power in range(5, 13))  # 1 KiB to 16 MiB
MEMORY_BUCKETS = tuple(float(mb * 1024 * 1024) for mb in (64, 128, 256, 512, 1_024, 2_048, 4_096, 10_240))
RATIO_BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)
OTHER_BUCKETS = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0, 1_000.0, 10_000.0, 100_000.0, 1_000_000.0)
_BUCKETS = {"seconds": TIME_BUCKETS, "bytes": SIZE_BUCKETS, "ratio": RATIO_BUCKETS}
_HISTOGRAM = ("_bucket", "_count", "_sum")


@dataclass(slots=True)
class Series:
    """One counter, gauge or histogram with its labels. `counts` are those of the buckets, not yet added up."""

    family: str
    kind: str
    labels: Labels
    buckets: tuple[float, ...] = ()
    value: float = 0.0  # of a histogram: the sum
    counts: tuple[int, ...] = ()
    last_ms: int = 0  # of its newest sample, 0: there is none

    def copy(self) -> "Series":
        """The same, to go on from."""
        return Series(self.family, self.kind, self.labels, self.buckets, self.value, self.counts, self.last_ms)

    def add(self, values: Sequence[float]) -> None:
        """Take values in, in base units."""
        if self.kind == GAUGE:
            self.value = values[-1]
            return
        self.value += sum(values)
        if self.buckets:
            counts = list(self.counts)
            for value in values:
                counts[sum(value > bound for bound in self.buckets)] += 1
            self.counts = tuple(counts)

    def numbers(self) -> list[tuple[Labels, float]]:
        """Its time series, with their values."""
        if not self.buckets:
            return [(_with(self.labels, "__name__", self.family), self.value)]
        bucket = _with(self.labels, "__name__", self.family + "_bucket")
        told, below = [], 0
        for bound, count in zip((*map(_bound, self.buckets), "+Inf"), self.counts, strict=True):
            below += count
            told.append((_with(bucket, "le", bound), float(below)))
        told.append((_with(self.labels, "__name__", self.family + "_count"), float(below)))
        told.append((_with(self.labels, "__name__", self.family + "_sum"), self.value))
        return told

    def size(self) -> int:
        """How many time series it is."""
        return len(self.buckets) + 3 if self.buckets else 1


@dataclass(slots=True)
class Staged:
    """The series that some records touch, as they will be once those are taken."""

    records: tuple[Record, ...]
    series: dict[tuple[str, Labels], Series] = field(default_factory=dict)
    samples: list[tuple[Labels, Samples]] = field(default_factory=list)
    refused_count: int = 0  # records with a point that could not become a sample
    reason: str = ""

    def is_of(self, records: Sequence[Record]) -> bool:
        """Whether it is of these very records."""
        return len(records) == len(self.records) and all(a is b for a, b in zip(records, self.records, strict=True))


class Totals:
    """The series of one environment. `common` are labels of every one."""

    def __init__(self, common: Mapping[str, str]) -> None:
        self.common = dict(common)
        self.series: dict[tuple[str, Labels], Series] = {}
        self._size = 0
        self._claims: dict[str, tuple[str, str]] = {}  # a name that is taken, and by which family and kind
        ours = {name: unit for name, (unit, *_) in {**METRICS, **CALL_METRICS}.items()}
        ours |= {name: unit for name, unit in UNITS.items() if name not in NOT_EXPORTED}
        for name, unit in ours.items():
            kind = COUNTER if unit == "Count" else DISTRIBUTION
            self._claim(*_family(Point(name, unit, kind, (), {}, 0)))

    def stage(self, records: Sequence[Record], now_ms: int) -> Staged:
        """The sums with these records in them. Nothing is kept before `keep`."""
        staged = Staged(tuple(records))
        first: dict[tuple[str, Labels], int] = {}
        latest: dict[tuple[str, Labels], int] = {}
        size = self._size
        for record in records:
            refused = ""
            for point in record.points:
                values = _finite(point)
                family, kind = _family(point)
                if len(values) < len(point.values):
                    refused = "value"
                if not values:
                    continue
                if not self._claim(family, kind):
                    refused = "name_taken"
                    continue
                key = family, labels_of(point.attributes, self.common)
                series = staged.series.get(key)
                if series is None:
                    known = self.series.get(key)
                    series = known.copy() if known is not None else _new(point, family, kind, key[1])
                    if known is None and size + series.size() > SERIES:
                        refused = "series_limit"
                        continue
                    size += 0 if known is not None else series.size()
                    staged.series[key] = series
                series.add(values)
                time_ms = min(max(point.time_ms, now_ms - LATE_MS), now_ms + LATE_MS)
                first[key] = min(first.get(key, time_ms), time_ms)
                latest[key] = max(latest.get(key, time_ms), time_ms)
            if refused:
                staged.refused_count += 1
                staged.reason = refused
        for key, series in staged.series.items():
            time_ms = max(latest[key], series.last_ms + 1)
            # Without the 0 that it began with, a counter's first increment is no increase to Prometheus.
            begins_ms = min(first[key], time_ms) - 1 if not series.last_ms and series.kind != GAUGE else None
            series.last_ms = time_ms
            for labels, value in series.numbers():
                samples = [(time_ms, value)] if begins_ms is None else [(begins_ms, 0.0), (time_ms, value)]
                staged.samples.append((labels, samples))
        return staged

    def keep(self, staged: Staged) -> None:
        """The records were taken, or may have been."""
        for key, series in staged.series.items():
            self._size += 0 if key in self.series else series.size()
            self.series[key] = series

    def _claim(self, family: str, kind: str) -> bool:
        """Whether a family may have its names: two of different kinds must not write the same series."""
        names = [family, *(family + suffix for suffix in _HISTOGRAM)] if kind not in {COUNTER, GAUGE} else [family]
        if any(self._claims.get(name, (family, kind)) != (family, kind) for name in names):
            return False
        if len(self._claims) < 4 * SERIES:
            self._claims.update(dict.fromkeys(names, (family, kind)))
        return True


def _new(point: Point, family: str, kind: str, labels: Labels) -> Series:
    if kind in {COUNTER, GAUGE}:
        return Series(family, kind, labels)
    buckets = _BUCKETS.get(unit_of(point.unit).word, OTHER_BUCKETS)
    if point.unit == "Microseconds":
        buckets = OVERHEAD_BUCKETS
    elif point.name in MEMORY:
        buckets = MEMORY_BUCKETS
    return Series(family, kind, labels, buckets, counts=(0,) * (len(buckets) + 1))


def _finite(point: Point) -> list[float]:
    factor = unit_of(point.unit, point.name).factor
    values = [value * factor for value in point.values]
    if point.kind == COUNTER:  # a counter never falls
        return [value for value in values if math.isfinite(value) and value >= 0]
    return [value for value in values if math.isfinite(value)]


def _family(point: Point) -> tuple[str, str]:
    """The name without the suffixes of a histogram, and the kind."""
    name = "coldspan_" + with_unit(base_name(point.name), unit_of(point.unit).word)
    return (with_unit(name, "total"), point.kind) if point.kind == COUNTER else (name, point.kind)


def labels_of(attributes: Mapping[str, str], common: Mapping[str, str]) -> Labels:
    """Attributes as labels, sorted; a name that is not free gets `exported_` before it, as Prometheus does.

    Source: Prometheus, "Data model": [a-zA-Z_][a-zA-Z0-9_]*, and nothing that begins with two `_`; an empty value is no
    label.
    """
    labels = dict(common)
    for key in sorted(attributes)[:LABELS]:
        name = "".join([c if c.isascii() and (c.isalnum() or c == "_") else "_" for c in key[:LABEL_CHARS]])
        name = "_" + name.lstrip("_") if name.startswith("__") or name[:1].isdigit() else name or "_"
        while name in labels or name == "le":
            name = "exported_" + name
        value = attributes[key][:LABEL_CHARS].encode("utf-8", "replace").decode()
        if value:
            labels[name] = value
    return tuple(sorted(labels.items()))


def _with(labels: Labels, name: str, value: str) -> Labels:
    return tuple(sorted((*labels, (name, value))))


def _bound(value: float) -> str:
    """As Prometheus' own clients write it."""
    return repr(value) if value < 1e6 else f"{value:.0f}.0"


def stale(series: Iterable[Series], now_ms: int) -> list[tuple[Labels, Samples]]:
    """The last sample of each series: after it there are none. Source: remote write specification, "Stale markers"."""
    return [
        (labels, [(max(now_ms, each.last_ms + 1), math.nan)])
        for each in series
        if each.last_ms
        for labels, _ in each.numbers()
    ]
