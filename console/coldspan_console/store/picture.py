"""One invocation as `coldspan show` prints it: its tree, its log, what was sent and received."""

import datetime as dt
import json
from typing import TYPE_CHECKING, Any

from rich.text import Text

from coldspan_console.payloads import normalise
from coldspan_console.store.documents import number_of, time_of
from coldspan_console.tree import invocation_tree, milliseconds, plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console

LOG_LINES = 100  # shown; --json has all of them
PAYLOAD_CHARS = 600
_PLATFORM = (  # fact, words
    ("billed_duration_ms", "billed {:.0f} ms"),
    ("init_duration_ms", "init {:.0f} ms"),
    ("restore_duration_ms", "restore {:.0f} ms"),
    ("response_latency_ms", "response after {:.1f} ms"),
    ("runtime_overhead_ms", "runtime after the response {:.1f} ms"),
    ("extension_overhead_ms", "extensions after it {:.1f} ms"),
)


def print_invocation(
    console: "Console", document: "dict[str, Any]", logs: "Sequence[dict[str, Any]]", *, payloads: bool = False
) -> None:
    """Print the tree, then its payloads when asked for, then its log lines."""
    console.print(invocation_tree(document, title(document), notes(document)))
    if payloads:
        for call in _calls(document):
            if call.get("payload") is not None:
                console.print()
                console.print(Text(plain(f"{call.get('tool')} {call.get('operation')}"), "bold"))
                _print_payload(console, call["payload"])
    if logs:
        console.print()
        console.print(Text("log", "bold"))
        left_out = len(logs) - LOG_LINES
        for line in logs[:LOG_LINES]:
            console.print(Text("  " + plain(line["text"]), "dim" if line["kind"] != "function" else ""))
        if left_out > 0:
            console.print(Text(f"  and {left_out} lines more; --json has them", "dim"))


def title(document: "dict[str, Any]") -> str:
    """The function and the request, and which attempt it was where there were several."""
    store = document.get("store") or {}
    attempt = f" attempt {store['attempt']} of {store['attempts']}" if store.get("attempts", 1) > 1 else ""
    return f"{document.get('function_name')} {document.get('request_id')}{attempt}"


def notes(document: "dict[str, Any]") -> "list[str]":
    """What stands below the calls: when, by whom it was told, what the platform said, what was left out."""
    return [plain(note) for note in _notes(document)]


def _notes(document: "dict[str, Any]") -> "Iterator[str]":
    for metric in document.get("call_metrics", ()):
        times = metric["durations_ms"]
        yield (
            f"{metric['tool']} {metric['operation']}: {len(times)} call{'s' * (len(times) != 1)} not told in detail,"
            f" {milliseconds(sum(times))} in all"
        )
    if time_of(document):
        ended = dt.datetime.fromtimestamp(time_of(document) / 1_000, tz=dt.UTC).astimezone()
        version = document.get("function_version")
        yield f"ended {ended:%Y-%m-%d %H:%M:%S}" + (f" · version {version}" if version else "")
    if document.get("told_by"):
        evidence = document.get("evidence")
        why = ", ".join(map(str, evidence)) if isinstance(evidence, list) else ""
        yield f"told by {document['told_by']}" + (f": {why}" if why else "")
    platform = document.get("platform")
    if isinstance(platform, dict):
        yield from _platform_notes(platform)
    own = document.get("own_metrics")
    if isinstance(own, dict) and own:
        yield "own metrics: " + ", ".join(f"{name} {_values(value)}" for name, value in own.items())
    annotations = document.get("annotations")
    if isinstance(annotations, dict) and annotations:
        yield "annotations: " + ", ".join(f"{name} {value}" for name, value in annotations.items())
    if document.get("tenant_id"):
        yield f"tenant {document['tenant_id']}"
    if document.get("trace_id"):
        yield f"trace {document['trace_id']}"
    if number_of(document.get("calls_open")):
        yield f"calls still open when it was told: {document['calls_open']}"
    if document.get("dropped") or document.get("errors"):
        yield f"dropped {document.get('dropped')} · our own faults {document.get('errors')}"
    if number_of(document.get("Overhead")) is not None:
        yield f"coldspan's own time {milliseconds(document['Overhead'] / 1_000)}"


def _platform_notes(platform: "dict[str, Any]") -> "Iterator[str]":
    said = [words.format(value) for fact, words in _PLATFORM if (value := number_of(platform.get(fact))) is not None]
    used, size = number_of(platform.get("max_memory_used_mb")), number_of(platform.get("memory_size_mb"))
    if used is not None and size:
        said.append(f"memory {used:.0f} of {size:.0f} MB")
    if said:
        yield "platform: " + " · ".join(said)
    for warning in platform.get("memory_warnings") or ():
        if isinstance(warning, dict):
            yield f"memory near its limit: {warning.get('used_percent')} % of {warning.get('memory_mb')} MB"


def _values(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _calls(document: "dict[str, Any]") -> "Iterator[dict[str, Any]]":
    init = document.get("init")
    own = init.get("calls") if isinstance(init, dict) else None
    for some in (own, document.get("calls")):
        for call in some if isinstance(some, list) else ():
            if isinstance(call, dict):
                yield call


def _print_payload(console: "Console", payload: Any) -> None:
    parts = payload if isinstance(payload, dict) and set(payload) <= {"request", "response"} else {"payload": payload}
    for name, value in parts.items():
        kind, normal = normalise(value)
        if kind == "none":
            continue
        text = normal if isinstance(normal, str) else json.dumps(normal, ensure_ascii=False, indent=2)
        cut = text if len(text) <= PAYLOAD_CHARS else text[: PAYLOAD_CHARS - 1] + "…"
        console.print(Text(f"  {name} ({kind})", "dim"))
        for line in cut.splitlines():
            console.print(Text("    " + plain(line)))
