"""Middle and spread of a few measured values, and when a difference is one."""

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

NORMAL = 1.4826  # the median absolute deviation of normal noise times this is its standard deviation
OF_MEDIAN = 1.2533  # the standard error of a median against that of a mean
SURE = 3.0  # standard errors that a difference must exceed
LEAST_MS = 1.0  # no clock on a shared machine tells less
LEAST_SHARE = 0.01


@dataclass(frozen=True, slots=True)
class Spread:
    """Several values of one thing: their median, and the deviation of one of them from it."""

    values: "tuple[float, ...]"

    @property
    def middle(self) -> float:
        """Their median; 0 of none."""
        return statistics.median(self.values) if self.values else 0.0

    @property
    def deviation(self) -> float:
        """The standard deviation that outliers do not move. Of fewer than three values a tenth of the median."""
        if len(self.values) < 3:
            return self.middle / 10
        return NORMAL * statistics.median(abs(value - self.middle) for value in self.values)

    @property
    def error(self) -> float:
        """How far the median itself may be off (one standard error)."""
        return OF_MEDIAN * self.deviation / math.sqrt(max(len(self.values), 1))

    def as_json(self) -> "dict[str, float | list[float]]":
        """Median, deviation and the values, in ms."""
        return {
            "ms": round(self.middle, 3), "deviation_ms": round(self.deviation, 3),
            "runs_ms": [round(value, 3) for value in self.values],
        }  # fmt: skip


def spread(values: "Sequence[float]") -> Spread:
    """A Spread of any values."""
    return Spread(tuple(float(value) for value in values))


def noise(before: Spread, after: Spread) -> float:
    """What a difference of the two medians must exceed to be one."""
    apart = SURE * math.hypot(before.error, after.error)
    return max(apart, LEAST_MS, LEAST_SHARE * min(before.middle, after.middle))


__all__ = ["Spread", "noise", "spread"]
