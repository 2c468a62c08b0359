"""What the page is given: documents made small, with names that are short because there are ten thousand of them."""

import math
import re
import time
from typing import TYPE_CHECKING, Any

from coldspan_console import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

TEXT_CHARS = 2_000  # of a message; a call's payload and a log line have as much
PAYLOAD_CHARS = 20_000
STACKS, FRAMES, LOG_LINES, PACKAGES, MODULES = 16, 40, 200, 100, 3_000  # of one invocation
TREES = 40  # cold starts whose import tree is in the page: the latest
# member of a document -> member of the page's invocation, as they are
FACTS = {
    "function_name": "fn", "request_id": "rid", "span_id": "sid", "trace_id": "trace", "start": "start",
    "outcome": "outcome", "trigger": "trigger", "error_type": "etype", "error_message": "emsg", "told_by": "told",
    "function_version": "version", "tenant_id": "tenant", "flush": "flush", "Duration": "ms", "InitDuration": "init",
    "QueueTime": "queue", "CallTime": "callms", "Overhead": "own", "ResponseBytes": "bytes", "Calls": "ncalls",
    "CallFailures": "nfail", "CallRetries": "nretry", "Dropped": "dropped", "memory_mb": "mem", "cpu_ms": "cpu",
    "rss_mb": "rss", "calls_open": "open", "handler_ms": "handler", "evidence": "evidence", "annotations": "notes",
    "batch_item_failures": "given_back", "records": "records",
}  # fmt: skip
CALL = {
    "tool": "tool", "operation": "op", "status": "status", "duration_ms": "ms", "span_id": "sid", "parent_id": "pid",
    "attempts": "tries", "items": "items", "items_failed": "bad", "message": "msg", "phases": "phases",
    "attributes": "attrs", "payload": "payload", "late": "late",
}  # fmt: skip


def page_data(
    documents: "Iterable[dict[str, Any]]", *, title: str, logs: "dict[str, list[dict[str, Any]]] | None" = None,
    left_out: int = 0, live: bool = False,
) -> "dict[str, Any]":  # fmt: skip
    """Everything that the page shows. Takes documents as the store gives them, newest first, and logs by request id."""
    return {
        "version": VERSION,
        "title": title,
        "made_ms": time.time_ns() // 1_000_000,
        "left_out": left_out,
        "live": live,
        "invocations": list(shaped(documents, logs or {})),
    }


def shaped(
    documents: "Iterable[dict[str, Any]]", logs: "dict[str, list[dict[str, Any]]]"
) -> "Iterator[dict[str, Any]]":
    """Each document as the page's invocation. Times are ms; `t` is the epoch ms of the end."""
    trees = 0
    for document in documents:
        one = _taken(document, FACTS)
        one["t"] = _number((document.get("_aws") or {}).get("Timestamp"))
        one["ms"] = _number(one.get("ms"))
        one["calls"] = [_call(call) for call in _objects(document.get("calls"))]
        if stacks := _objects(document.get("stacks"))[:STACKS]:
            one["stacks"] = [_stack(stack) for stack in stacks]
        if isinstance(document.get("platform"), dict):
            one["platform"] = _bounded(document["platform"], TEXT_CHARS)
        if isinstance(document.get("init"), dict):
            trees += 1
            one["imports"] = _imports(document["init"], with_tree=trees <= TREES)
        if found := logs.get(str(document.get("request_id"))):
            one["log"] = [
                [_number(line.get("at_ms")), _text(line.get("kind"), 20), _text(line.get("text"), TEXT_CHARS)]
                for line in found[:LOG_LINES]
            ]
            one["log_left"] = max(0, len(found) - LOG_LINES)
        yield one


def _call(call: "dict[str, Any]") -> "dict[str, Any]":
    one = _taken(call, CALL)
    one["t"] = _number(call.get("timestamp"))
    one["ms"] = _number(one.get("ms"))
    return one


def _stack(stack: "dict[str, Any]") -> "dict[str, Any]":
    given = stack.get("frames")
    frames = [_text(frame, TEXT_CHARS) for frame in given[:FRAMES]] if isinstance(given, list) else []
    return {"thread": _text(stack.get("thread"), 200), "frames": frames}


def _imports(init: "dict[str, Any]", *, with_tree: bool) -> "dict[str, Any]":
    split = init.get("split")
    found: dict[str, Any] = {
        "ms": _number(init.get("import_ms")),
        "modules": _number(init.get("modules")),
        "split": {_text(name, 200): _number(ms) for name, ms in split.items()} if isinstance(split, dict) else {},
        "packages": _rows(init.get("packages"))[:PACKAGES],
        "calls": [_call(call) for call in _objects(init.get("calls"))],
    }
    if with_tree:
        found["tree"] = _rows(init.get("tree_us"))[:MODULES]  # [name, depth, total us, self us] in order
    return found


def _objects(given: Any) -> "list[dict[str, Any]]":
    return [each for each in given if isinstance(each, dict)] if isinstance(given, list) else []


def _rows(given: Any) -> "list[list[Any]]":
    """Rows of four, as the recorder makes them of packages and modules."""
    rows = [each for each in given if isinstance(each, list) and len(each) == 4] if isinstance(given, list) else []
    return [_bounded(row, 200) for row in rows]


def _taken(given: "dict[str, Any]", names: "dict[str, str]") -> "dict[str, Any]":
    found = {}
    for theirs, ours in names.items():
        value = given.get(theirs)
        if value is None or value in ("", [], {}):
            continue
        found[ours] = _bounded(value, PAYLOAD_CHARS if theirs == "payload" else TEXT_CHARS)
    return found


def _bounded(value: Any, most: int) -> Any:
    if isinstance(value, str):
        return _text(value, most)
    if isinstance(value, dict):
        return {_text(name, 200): _bounded(each, most) for name, each in list(value.items())[:200]}
    if isinstance(value, list):
        return [_bounded(each, most) for each in value[:MODULES]]
    if isinstance(value, float) and not math.isfinite(value):  # 1e999 is JSON, and infinite: the page's JSON is not
        return None
    return value


# half a surrogate is no text: the page's encoding would refuse it
_SURROGATE = re.compile("[\ud800-\udfff]")


def _text(value: Any, most: int) -> str:
    text = _SURROGATE.sub("\ufffd", value if isinstance(value, str) else "" if value is None else str(value))
    return text if len(text) <= most else text[: most - 1] + "…"


def _number(value: Any) -> float:
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e15
    return value if good else 0  # NaN compares false, too
