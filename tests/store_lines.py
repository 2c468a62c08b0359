"""Lines as the recorder and the black box print them, for the store's tests."""

import hashlib

AT_MS = 1_795_686_701_158


def span_of(*what):
    """A span id for a text, the same each time."""
    return hashlib.sha256(repr(what).encode()).hexdigest()[:16]


def invocation(request_id, *, span="", at_ms=AT_MS, calls=(), outcome="ok", **more):
    """The line of an invocation. calls: (tool, operation, status) each; None for a record without detail."""
    span = span or span_of(request_id)
    told = {} if calls is None else {"calls": [call(request_id, *each, parent=span, at_ms=at_ms - 5) for each in calls]}
    failed = sum(each[2] in ("error", "timeout", "partial", "throttled") for each in calls or ())
    return {
        "_aws": {"Timestamp": at_ms, "CloudWatchMetrics": [{"Namespace": "coldspan", "Metrics": []}]},
        "function_name": "orders", "Duration": 12.5, "CallTime": 4.0, "Overhead": 150, "ColdStart": 0,
        "Error": int(outcome not in ("ok", "pending")), "Timeout": int(outcome == "timeout"), "Calls": len(calls or ()),
        "CallFailures": failed, "CallRetries": 0, "start": "warm", "outcome": outcome, "flush": "after_response",
        "request_id": request_id, "span_id": span, "handler_ms": 11.0, "cpu_ms": 3.0, "calls_open": 0,
        "function_version": "$LATEST", "memory_mb": 128, **told, **more,
    }  # fmt: skip


def call(request_id, tool, operation, status, *, parent, at_ms=AT_MS, **more):
    """The record of a call."""
    return {
        "tool": tool, "operation": operation, "status": status, "success": status == "ok",
        "message": "" if status == "ok" else f"{status.title()}Error: it went wrong", "duration_ms": 2.0,
        "timestamp": at_ms, "trace_id": "", "span_id": span_of(request_id, tool, operation, status, at_ms),
        "parent_id": parent, "attempts": 1, "items": None, "items_failed": None, "phases": {}, "attributes": {}, **more,
    }  # fmt: skip


def part(request_id, number, calls, *, span=""):
    """The line with more calls of an invocation."""
    span = span or span_of(request_id)
    return {
        "function_name": "orders", "request_id": request_id, "part": number,
        "calls": [call(request_id, *each, parent=span, at_ms=AT_MS - 4 + number) for each in calls],
    }  # fmt: skip


def late(request_id, told, *, span="", at_ms=AT_MS + 50):
    """The line of a call that ended after its invocation had been told."""
    one = call(request_id, *told, parent=span or span_of(request_id), at_ms=AT_MS - 1, late=True)
    one["request_id"] = request_id
    return {**_metrics(at_ms, *told[:2], [2.0]), "calls": [one]}


def tool(request_id, name, operation, *, at_ms=AT_MS, durations=(2.0,), **more):
    """The line of a (tool, operation)."""
    return {**_metrics(at_ms, name, operation, list(durations)), "request_id": request_id, **more}


def platform(request_id, *, at_ms=AT_MS + 6, **more):
    """What the platform said of an invocation, as the black box tells it."""
    return {
        "_aws": {"Timestamp": at_ms, "CloudWatchMetrics": []}, "function_name": "orders", "BilledDuration": 13,
        "MaxMemoryUsed": 40, "MemorySize": 128, "request_id": request_id, "platform": True, "status": "success",
        "duration_ms": 12.9, **more,
    }  # fmt: skip


def last_words(request_id, **more):
    """What is printed shortly before a deadline."""
    return {
        "coldspan": "deadline_near", "request_id": request_id, "trace_id": "", "function_name": "orders",
        "running_ms": 2900.0, "left_ms": 100.0, "calls_ended": 0, "calls": [],
        "calls_open": [{"tool": "sqs", "operation": "SendMessage", "since_ms": 9}],
        "stacks": [{"thread": "MainThread", "frames": ["/var/task/app.py:7 handler"]}], **more,
    }  # fmt: skip


def _metrics(at_ms, name, operation, durations):
    return {
        "_aws": {"Timestamp": at_ms, "CloudWatchMetrics": []}, "function_name": "orders", "tool": name,
        "operation": operation, "CallDuration": durations, "CallFailure": 0, "CallRetry": 0, "CallThrottle": 0,
    }  # fmt: skip
