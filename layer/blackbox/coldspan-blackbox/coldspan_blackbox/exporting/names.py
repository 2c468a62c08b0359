"""What the destinations call our metrics, and in which units they are told.

Sources: Prometheus, "Metric and label naming" (base units); CloudWatch API reference, MetricDatum, "Unit".
"""

import re
from typing import NamedTuple

# Metrics of the recorder (coldspan/core/emf.py) and of the extension (coldspan_blackbox/lines.py); a name that
# is not here is told in its own words.
OURS = {
    "Duration": "invocation_duration",
    "InitDuration": "init_duration",
    "ColdStart": "cold_starts",
    "Error": "invocation_errors",
    "Timeout": "invocation_timeouts",
    "Calls": "invocation_calls",
    "CallFailures": "invocation_call_failures",
    "CallRetries": "invocation_call_retries",
    "CallTime": "invocation_call_time",
    "QueueTime": "invocation_queue_time",
    "ResponseBytes": "response_size",
    "Overhead": "recorder_overhead",
    "Dropped": "recorder_dropped",
    "CallDuration": "call_duration",
    "CallFailure": "call_failures",
    "CallRetry": "call_retries",
    "CallThrottle": "call_throttles",
    "BilledDuration": "billed_duration",
    "PlatformInitDuration": "platform_init_duration",
    "RestoreDuration": "restore_duration",
    "ResponseLatency": "response_latency",
    "RuntimeOverhead": "runtime_overhead",
    "ExtensionOverhead": "extension_overhead",
    "MaxMemoryUsed": "max_memory_used",
    "MemorySize": "memory_size",
    "InitFailure": "init_failures",
    "CrashLoop": "crash_loops",
    "UnusedInit": "unused_inits",
    "MemoryNearLimit": "memory_warnings",
}
MEMORY = ("MaxMemoryUsed", "MemorySize")  # what Lambda calls MB are 1,048,576 bytes
NAME_CHARS = 120


class Unit(NamedTuple):
    """A base unit and what a value is multiplied with to be in it."""

    word: str
    factor: float


_SECONDS = {"Seconds": 1.0, "Milliseconds": 1e-3, "Microseconds": 1e-6}
_SIZES = {"": 1.0, "Kilo": 1e3, "Mega": 1e6, "Giga": 1e9, "Tera": 1e12}
UNITS = {
    **{name: Unit("seconds", factor) for name, factor in _SECONDS.items()},
    **{(f"{size}bytes" if size else "Bytes"): Unit("bytes", factor) for size, factor in _SIZES.items()},
    **{(f"{size}bits" if size else "Bits"): Unit("bytes", factor / 8) for size, factor in _SIZES.items()},
    "Percent": Unit("ratio", 0.01),
}
_NONE = Unit("", 1.0)
_PER_SECOND = "/Second"


def unit_of(word: str, name: str = "") -> Unit:
    """The base unit of a CloudWatch unit, for the metric of that name."""
    if name in MEMORY:
        return Unit("bytes", 1024.0 * 1024)
    if word.endswith(_PER_SECOND):
        unit = UNITS.get(word.removesuffix(_PER_SECOND), _NONE)
        return Unit((unit.word + "_per_second").lstrip("_"), unit.factor)
    return UNITS.get(word, _NONE)


def base_name(name: str) -> str:
    """A metric's name in lower case words joined by `_`, of ASCII letters and digits, without a unit."""
    known = OURS.get(name)
    if known is not None:
        return known
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name[:NAME_CHARS])
    words = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    return words or "unnamed"


def with_unit(name: str, word: str) -> str:
    """A name that ends in its unit, once."""
    return name if not word or name.endswith("_" + word) else f"{name}_{word}"
