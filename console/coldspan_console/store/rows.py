"""An invocation as what is filtered and counted of it: the columns of its row, and of those of its calls."""

from typing import TYPE_CHECKING, Any

from coldspan_console.store.documents import number_of, text_of, time_of
from coldspan_console.store.histogram import bucket_of
from coldspan_console.store.joining import FAILED_CALL, UNTOLD, count_of, statuses_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from coldspan_console.store.joining import Invocation

# Columns whose texts are words.
WORDS = (
    "function", "version", "outcome", "start", "source", "account", "region", "tenant", "trigger", "told_by",
    "error_type",
)  # fmt: skip
NUMBERS = (
    "time_ms", "attempt", "duration_us", "bucket", "init_us", "calls", "failures", "retries", "call_us", "queue_us",
    "response_bytes", "overhead_us", "dropped", "memory_mb", "max_memory_mb", "billed_ms", "flags",
)  # fmt: skip
COLUMNS = ("request", "span_id", "change", *WORDS, *NUMBERS, "error")
# of their invocation, so that rows of calls answer for them
OF_CALLS = ("function", "source", "version", "tenant", "outcome", "start")
CALL_COLUMNS = (
    "invocation", *OF_CALLS, "tool", "operation", "status", "bucket", "time_ms", "duration_us", "attempts", "message",
)  # fmt: skip
DETAILED, WITH_PAYLOADS, WITH_STACKS, WITH_INIT, RETRIED = 1, 2, 4, 8, 16  # bits of `flags`
MESSAGE_CHARS = 512
CALLS_AS_ROWS = 5_000  # of one invocation: the recorder tells of 1,000


def invocation_row(invocation: "Invocation", word: "Callable[[str], int]") -> "dict[str, Any]":
    """The row's values by column, without `request` and `change`. `word` gives the number of a text."""
    document, told = invocation.document, invocation.told
    platform = document.get("platform") if isinstance(document.get("platform"), dict) else {}
    duration_us = _us(document.get("Duration"))
    texts = {
        "function": document.get("function_name"),
        "version": document.get("function_version"),
        "outcome": document.get("outcome"),
        "start": document.get("start"),
        "source": told.source,
        "account": told.account,
        "region": told.region,
        "tenant": document.get("tenant_id"),
        "trigger": document.get("trigger"),
        "told_by": document.get("told_by"),
        "error_type": document.get("error_type"),
    }
    message = text_of(document.get("error_message"))
    calls, failures, retries = _counted(document)
    return {
        "span_id": invocation.span_id,
        **{name: word(text_of(text)) for name, text in texts.items()},
        "time_ms": time_of(document),
        "attempt": invocation.attempt,
        "duration_us": duration_us,
        "bucket": bucket_of(duration_us),
        "init_us": _us_or_none(document.get("InitDuration")),
        "calls": calls,
        "failures": failures,
        "retries": retries,
        "call_us": _us(document.get("CallTime")),
        "queue_us": _us_or_none(document.get("QueueTime")),
        "response_bytes": _int_or_none(document.get("ResponseBytes")),
        "overhead_us": count_of(document.get("Overhead")),
        "dropped": count_of(document.get("Dropped")),
        "memory_mb": _int_or_none(platform.get("memory_size_mb", document.get("memory_mb"))),
        "max_memory_mb": _int_or_none(platform.get("max_memory_used_mb")),
        "billed_ms": _int_or_none(platform.get("billed_duration_ms")),
        "flags": _flags(invocation),
        "error": (text_of(document.get("error_type")) + ": " + message).strip(": ")[:MESSAGE_CHARS] or None,
    }


def call_rows(invocation: "Invocation", word: "Callable[[str], int]") -> "list[tuple[Any, ...]]":
    """(tool, operation, status, bucket, time_ms, duration_us, attempts, message) of each call.

    time_ms is the invocation's: what is asked of a time is then the same of both.
    """
    document = invocation.document
    rows: list[tuple[Any, ...]] = []
    for call in document.get("calls", ())[:CALLS_AS_ROWS]:
        duration_us = _us(call.get("duration_ms"))
        names = (text_of(call.get(name)) for name in ("tool", "operation", "status"))
        rows.append((
            *map(word, names), bucket_of(duration_us), time_of(document), duration_us,
            max(1, count_of(call.get("attempts"))), text_of(call.get("message"))[:MESSAGE_CHARS] or None,
        ))  # fmt: skip
    for metric in document.get("call_metrics", ()) if not rows else ():
        failed = metric["failures"]
        for number, duration_ms in enumerate(metric["durations_ms"][: CALLS_AS_ROWS - len(rows)]):
            duration_us = _us(duration_ms)
            status = "error" if number < failed else UNTOLD
            attempts = 1 + (metric["retries"] if number == 0 else 0)
            names = (metric["tool"], metric["operation"], status)
            rows.append((*map(word, names), bucket_of(duration_us), time_of(document), duration_us, attempts, None))
    return rows


def _counted(document: "dict[str, Any]") -> "tuple[int, int, int]":
    """Calls, failures and retries: as counted when it ended, and of those that ended later."""
    statuses = statuses_of(document)
    late = [call for call in document.get("calls", ()) if call.get("late") is True]
    told = sum(statuses.values())
    calls = count_of(document.get("Calls")) + len(late) if "Calls" in document else told
    failed_late = sum(text_of(call.get("status")) in FAILED_CALL for call in late)
    told_failed = sum(count for status, count in statuses.items() if status in FAILED_CALL)
    failures = count_of(document.get("CallFailures")) + failed_late if "CallFailures" in document else told_failed
    return max(calls, told), max(failures, told_failed), count_of(document.get("CallRetries"))


def _flags(invocation: "Invocation") -> int:
    document = invocation.document
    calls = document.get("calls", ())
    init = document.get("init")
    init_calls = init.get("calls") if isinstance(init, dict) and isinstance(init.get("calls"), list) else ()
    payloads = any(isinstance(call, dict) and call.get("payload") is not None for call in (*calls, *init_calls))
    return (
        (DETAILED if "calls" in document else 0)
        | (WITH_PAYLOADS if payloads else 0)
        | (WITH_STACKS if document.get("stacks") else 0)
        | (WITH_INIT if init is not None else 0)
        | (RETRIED if invocation.attempts > 1 else 0)
    )


def _us(value_ms: Any) -> int:
    return _us_or_none(value_ms) or 0


def _us_or_none(value_ms: Any) -> "int | None":
    number = number_of(value_ms)
    return min(round(number * 1_000), 2**53) if number is not None and number >= 0 else None


def _int_or_none(value: Any) -> "int | None":
    number = number_of(value)
    return round(number) if number is not None and number >= 0 else None
