"""The user's own metrics: refused or accepted one by one, and written in lines of their own."""

from coldspan.core import limits
from coldspan.core.emf import RESERVED
from coldspan.core.text import count, quote, to_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_BYTES = ("Bytes", "Kilobytes", "Megabytes", "Gigabytes", "Terabytes")
_BITS = ("Bits", "Kilobits", "Megabits", "Gigabits", "Terabits")
_SIZES = _BYTES + _BITS
_RATES = tuple([size + "/Second" for size in _SIZES])
# CloudWatch API reference, MetricDatum, "Unit".
UNITS = frozenset(
    ("Seconds", "Microseconds", "Milliseconds", "Percent", "Count", "Count/Second", "None", *_SIZES, *_RATES)
)
LARGEST = 2.0**360  # CloudWatch API reference, MetricDatum, "Value"


def user_lines(
    metrics: "list[tuple[str, Any, str]]",
    start: str,
    block: "Callable[[dict[str, tuple[str, ...]]], str]",
    common: str,
    drops: "dict[str, int]",
) -> "list[bytes]":
    """Encode a list of (name, value, unit) as lines of their own.

    `start` is a line up to its Timestamp, `block(names)` what follows that. A name, value or unit that CloudWatch would
    drop is refused and counted in `drops`, one by one.
    """
    units: "dict[str, tuple[str, ...]]" = {}
    values: "dict[str, list[int | float]]" = {}
    for name, value, unit in metrics:
        number = _number(value)
        definition = (unit or "None",)
        if (
            number is None
            or definition[0] not in UNITS
            or not _may_be_named(name)
            or units.setdefault(name, definition) != definition  # merging two units would give one false series
        ):
            count(drops, "metrics_refused")
        else:
            values.setdefault(name, []).append(number)
    step = limits.EMF_VALUES_PER_METRIC
    lines = []
    while values:
        names = list(values)[: limits.EMF_METRICS_PER_DIRECTIVE]
        line = start + block({name: units[name] for name in names})
        for name in names:
            line += quote(name) + ":" + to_json(values[name][:step], drops) + ","
            del values[name][:step]
            if not values[name]:
                del values[name]
        lines.append(f"{line}{common}}}\n".encode())
    return lines


def _may_be_named(name: "Any") -> bool:
    return (
        type(name) is str
        and 0 < len(name) <= limits.EMF_NAME_CHARS
        and name.isascii()
        and name.isprintable()
        and not name.isspace()
        and name not in RESERVED
    )


def _number(value: "Any") -> "int | float | None":
    """The value as an int or float CloudWatch takes, else None."""
    kind = type(value)
    if kind is not int and kind is not float:
        if kind is bool:
            return int(value)
        if not hasattr(kind, "__float__"):  # a Decimal from DynamoDB has it, a text has not
            return None
        try:
            value = float(value)
        except (TypeError, ValueError, OverflowError):
            return None
    return value if -LARGEST <= value <= LARGEST else None
