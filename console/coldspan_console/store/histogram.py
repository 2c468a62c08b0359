"""Durations on a logarithmic scale: percentiles of any number of them from a few hundred counts.

A bucket is 2 % wide, so a percentile that is read off is within 1 % of the exact one.
"""

from math import exp, log
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_WIDTH = log(1.02)
_MOST_US = 10**12  # 11 days: whatever is longer is a broken clock


def bucket_of(duration_us: int) -> int:
    """The bucket of a duration in µs; 0 for less than 1 µs."""
    return int(log(min(duration_us, _MOST_US)) / _WIDTH) + 1 if duration_us >= 1 else 0


def middle_us(bucket: int) -> float:
    """The duration in µs that stands for a bucket."""
    return exp((bucket - 0.5) * _WIDTH) if bucket else 0.0


def percentiles(counts: "Mapping[int, int]", wanted: "Iterable[float]") -> "list[float]":
    """Durations in ms at the wanted percents (50, 95, ...), by nearest rank. counts: bucket -> how many."""
    total = sum(counts.values())
    ordered = sorted(counts)
    given = []
    for percent in wanted:
        left = rank(total, percent)
        chosen = 0
        for chosen in ordered:
            left -= counts[chosen]
            if left <= 0:
                break
        given.append(round(middle_us(chosen) / 1_000, 3))
    return given


def exact_percentiles(durations_us: "Sequence[int]", wanted: "Iterable[float]") -> "list[float]":
    """The same of the durations themselves, which are sorted."""
    total = len(durations_us)
    return [durations_us[rank(total, percent) - 1] / 1_000 if total else 0.0 for percent in wanted]


def rank(total: int, percent: float) -> int:
    """Which one of `total` sorted values stands at a percent, counted from 1: nearest rank."""
    return max(1, -int(-total * percent // 100))
