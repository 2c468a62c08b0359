"""The platform's own lines in a function's log, as text and as JSON.

Source: Lambda developer guide, "Log formats", "Viewing system logs", and the REPORT line of "Monitoring".
"""

import json
from typing import Any

KINDS = ("platform.start", "platform.report", "platform.initReport", "platform.restoreReport")
TELLS_INIT = ("error", "failure", "timeout")  # an INIT_REPORT is written only when something went wrong


def line_of(event: "dict[str, Any]", *, as_json: bool, version: str) -> "list[str]":
    """The lines for a telemetry event; none for most. With JSON logs the event itself is the line."""
    kind, record = event["type"], event["record"]
    if kind not in KINDS:
        return []
    if as_json:
        return [json.dumps(event, separators=(",", ":"))]
    if kind == "platform.start":
        return [f"START RequestId: {record['requestId']} Version: {version}"]
    if kind == "platform.initReport":
        status = record.get("status")
        if status not in TELLS_INIT:
            return []
        parts = [
            f"Init Duration: {record['metrics']['durationMs']:.2f} ms",
            f"Phase: {record['phase']}",
            f"Status: {status}",
        ]
        return ["\t".join(["INIT_REPORT " + parts[0], *parts[1:], *_error(record)])]
    if kind == "platform.restoreReport":
        return [f"RESTORE_REPORT Restore Duration: {record['metrics']['durationMs']:.2f} ms"]
    request_id, metrics = record["requestId"], record["metrics"]
    parts = [f"RequestId: {request_id}", f"Duration: {metrics['durationMs']:.2f} ms"]
    for name, words, unit in (
        ("billedDurationMs", "Billed Duration", " ms"), ("memorySizeMB", "Memory Size", " MB"),
        ("maxMemoryUsedMB", "Max Memory Used", " MB"), ("initDurationMs", "Init Duration", " ms"),
        ("restoreDurationMs", "Restore Duration", " ms"),
    ):  # fmt: skip
        if name in metrics:
            value = metrics[name]
            parts.append(f"{words}: {value:.2f}{unit}" if isinstance(value, float) else f"{words}: {value}{unit}")
    if record.get("status") != "success":
        parts.append(f"Status: {record.get('status')}")
        parts += _error(record)
    return [f"END RequestId: {request_id}", "REPORT " + "\t".join(parts)]


def _error(record: "dict[str, Any]") -> "list[str]":
    return [f"Error Type: {record['errorType']}"] if record.get("errorType") else []
