"""What the platform's own log lines say of an invocation, as the line that the black box would print of it."""

import re
from typing import Any

# name in a REPORT line -> metric or fact of the black box's line (its `platformfacts` has the same of telemetry events)
TEXT_FACTS = {
    "Duration": "duration_ms",
    "Billed Duration": "BilledDuration",
    "Memory Size": "MemorySize",
    "Max Memory Used": "MaxMemoryUsed",
    "Init Duration": "PlatformInitDuration",
    "Restore Duration": "RestoreDuration",
    "Billed Restore Duration": "billed_restore_duration_ms",
}
JSON_FACTS = {
    "durationMs": "duration_ms",
    "billedDurationMs": "BilledDuration",
    "memorySizeMB": "MemorySize",
    "maxMemoryUsedMB": "MaxMemoryUsed",
    "initDurationMs": "PlatformInitDuration",
    "restoreDurationMs": "RestoreDuration",
    "billedRestoreDurationMs": "billed_restore_duration_ms",
}
REPORT = re.compile(r"REPORT RequestId: (?P<id>[\w-]{8,64})\t(?P<rest>.*)", re.DOTALL)
FACT = re.compile(r"([A-Z][A-Za-z ]+): ([^\t\n]+)")
NUMBER = re.compile(r"(\d+(?:\.\d+)?) (?:ms|MB)")
TRACE = re.compile(r"1-([0-9a-f]{8})-([0-9a-f]{24})")


def of_text(text: str, at_ms: int, function: str, *, emulated: bool = False) -> "dict[str, Any] | None":
    """The facts of a REPORT line; None for any other text.

    `emulated`: it may be the runtime interface emulator's, which gives the memory size as what was used, and an init of
    a moment: those two are left out. Source: Lambda developer guide, "Logs sent to CloudWatch"; the emulator's output.
    """
    found = REPORT.search(text)
    if found is None:
        return None
    facts: dict[str, Any] = {}
    for name, value in FACT.findall(found["rest"]):
        number = NUMBER.match(value)
        if name in TEXT_FACTS and number is not None:
            facts[TEXT_FACTS[name]] = float(number[1])
        elif name == "XRAY TraceId" and (trace := TRACE.search(value)):
            facts["trace_id"] = trace[1] + trace[2]
        elif name == "Status":
            facts["status"] = value.strip()
        elif name == "Error Type":
            facts["error_type"] = value.strip()
    if emulated and "status" not in facts and facts.get("MaxMemoryUsed") == facts.get("MemorySize"):
        facts.pop("MaxMemoryUsed", None)
        if facts.get("PlatformInitDuration", 1.0) < 1.0:
            facts.pop("PlatformInitDuration")
    return _line(found["id"], at_ms, function, facts)


def of_event(event: "dict[str, Any]", at_ms: int, function: str) -> "dict[str, Any] | None":
    """The facts of a platform.report event, as the JSON log format has them; None for any other object."""
    record = event.get("record")
    if event.get("type") != "platform.report" or not isinstance(record, dict):
        return None
    request_id, metrics = record.get("requestId"), record.get("metrics")
    if not isinstance(request_id, str) or not isinstance(metrics, dict):
        return None
    facts: dict[str, Any] = {
        fact: metrics[name]
        for name, fact in JSON_FACTS.items()
        if isinstance(metrics.get(name), (int, float)) and not isinstance(metrics[name], bool)
    }
    if record.get("status") not in {None, "success"}:
        facts["status"] = str(record["status"])
    if record.get("errorType"):
        facts["error_type"] = str(record["errorType"])
    tracing = record.get("tracing")
    if isinstance(tracing, dict) and (trace := TRACE.search(str(tracing.get("value")))):
        facts["trace_id"] = trace[1] + trace[2]
    return _line(request_id, at_ms, function, facts)


def _line(request_id: str, at_ms: int, function: str, facts: "dict[str, Any]") -> "dict[str, Any] | None":
    """Nothing but the id would make a line that says nothing. A success is told by its record, or not at all."""
    if not facts:
        return None
    return {
        "_aws": {"Timestamp": at_ms},
        "function_name": function,
        "request_id": request_id,
        "platform": True,
        **facts,
    }


__all__ = ["of_event", "of_text"]
