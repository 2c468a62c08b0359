"""Middle and spread of a few measured values, and when a difference is one."""

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NORMAL = 1.4826  # the median absolute deviation of normal noise times this is its standard deviation
OF_MEDIAN = 1.2533  # the standard error of a median against that of a mean
SURE = 3.0  # standard errors that a difference must exceed
RANGE_OF_TWO = 1.128  # what the range of two values is in standard deviations, on the average
FEW, OF_FEW = 5, 1.5  # a deviation of fewer values is often too small by chance
LEAST_MS = 1.0  # no clock on a shared machine tells less
LEAST_SHARE = 0.01


@dataclass(frozen=True, slots=True)
class Spread:
    """Several values of one thing: their median, the deviation of one of them from it, and how many there were."""

    middle: float = 0.0
    deviation: float = 0.0
    count: int = 0
    values: "tuple[float, ...]" = ()

    @classmethod
    def of_json(cls, told: "Mapping[str, Any]", count: int = 0) -> "Spread":
        """What as_json() gave. Errors: KeyError, TypeError, ValueError."""
        values = tuple(float(value) for value in told.get("runs_ms", ()))
        return cls(float(told["ms"]), float(told["deviation_ms"]), len(values) or count, values)

    @property
    def error(self) -> float:
        """How far the median itself may be off (one standard error)."""
        one = self.deviation * (OF_FEW if self.count < FEW else 1.0)
        return OF_MEDIAN * one / math.sqrt(max(self.count, 1))

    def as_json(self) -> "dict[str, Any]":
        """Median, deviation and the values, in ms."""
        runs = [round(value, 3) for value in self.values]
        return {"ms": round(self.middle, 3), "deviation_ms": round(self.deviation, 3), "runs_ms": runs}


def spread(values: "Sequence[float]") -> Spread:
    """The Spread of any values. Of two the deviation is at least a fiftieth of the median, of one a tenth."""
    if not values:
        return Spread()
    middle = statistics.median(values)
    if len(values) > 2:
        deviation = NORMAL * statistics.median(abs(value - middle) for value in values)
    else:
        apart = (max(values) - min(values)) / RANGE_OF_TWO
        deviation = max(apart, middle / 50) if len(values) == 2 else middle / 10
    return Spread(middle, deviation, len(values), tuple(values))


def noise(before: Spread, after: Spread) -> float:
    """What a difference of the two medians must exceed to be one."""
    apart = SURE * math.hypot(before.error, after.error)
    return max(apart, LEAST_MS, LEAST_SHARE * min(before.middle, after.middle))


__all__ = ["Spread", "noise", "spread"]
