"""A line as a short tree for a person: what `sam local` shows instead of the line. Every other line is left out."""

from json import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MARKS = {
    "ok": "✓", "partial": "◐", "throttled": "⧖", "timeout": "⌛", "rejected": "⊘", "error": "✗", "cancelled": "-",
    "in_flight": "…",
}  # fmt: skip
SHOWN = 25  # calls of one invocation: the others are counted
STACKS, FRAMES = 4, 3
COSTLY_MS = 5  # packages whose import is worth a word
MESSAGE_CHARS = 400


def tree(line: bytes) -> bytes:
    """Give the tree of an invocation, of calls told later, of last words, of the platform's facts; b"" for others.

    Takes a line of ours, as it would have been printed; ends with a newline. Errors: what reading another's may raise.
    """
    document = loads(line)
    if document.get("coldspan") == "deadline_near":
        rows = _near(document)
    elif "outcome" in document:
        rows = _invocation(document)
    elif "calls" in document:
        rows = ["more calls", *_calls(document["calls"])]
    elif "_aws" in document and "tool" not in document:
        rows = _metrics(document)
    else:
        return b""
    name = _plain(document.get("function_name", ""))
    return "".join([row + "\n" for row in _drawn([f"{name}  {rows[0]}", *rows[1:]])]).encode("utf-8", "replace")


def _drawn(rows: "list[Any]") -> "list[str]":
    """The rows with their branches. A row is a text, or (text, rows under it); one of several lines goes on below."""
    drawn = [rows[0]]
    for index, row in enumerate(rows[1:], 2):
        text, under = row if type(row) is tuple else (row, [])
        first, rest = ("└── ", "    ") if index == len(rows) else ("├── ", "│   ")
        head, *below = text.split("\n")
        lines = [head, *below, *_drawn(["", *under])[1:]]
        drawn += [(rest if at else first) + each for at, each in enumerate(lines)]
    return drawn


def _invocation(document: "dict[str, Any]") -> "list[Any]":
    head = [document.get("start", ""), document["outcome"], ms(document.get("Duration")), document.get("trigger", "")]
    if document.get("QueueTime"):
        head.append("waited " + ms(document["QueueTime"]))
    if document.get("batch_item_failures") is not None:
        head.append(f"{document['batch_item_failures']} of {document.get('records', 1)} records given back")
    if document.get("told_by"):
        head.append("told by the " + str(document["told_by"]).replace("_", " "))
    text = "  ".join([_plain(part) for part in head if part])
    if document.get("error_type"):
        text += "\n" + _error(document["error_type"], document.get("error_message"))
    rows: "list[Any]" = [text]
    init = document.get("init")
    if type(init) is dict:
        rows.append(_init(init))
    calls = document.get("calls")
    rows += _calls(calls if type(calls) is list else [])
    if calls is None and document.get("Calls"):
        rows.append(_calls_of(document["Calls"]))
    rows += _stacks(document.get("stacks"))
    for name in ("dropped", "errors", "settings_refused"):
        if document.get(name):
            rows.append(_plain(f"coldspan {name.replace('_', ' ')}: {document[name]}"))
    rows.append(
        f"request {_plain(document.get('request_id', ''))}  coldspan's own time {_us(document.get('Overhead'))}"
    )
    return rows


def _near(document: "dict[str, Any]") -> "list[Any]":
    rows: "list[Any]" = [f"{ms(document.get('left_ms'))} before its deadline, after {ms(document.get('running_ms'))}"]
    if document.get("calls_ended"):
        rows.append(_calls_of(document["calls_ended"]) + " had ended")
    for call in document.get("calls_open") or ():
        rows.append(f"… {_pair(call)}  in flight since {ms(call.get('since_ms'))}")
    return rows + _stacks(document.get("stacks"))


def _metrics(document: "dict[str, Any]") -> "list[Any]":
    """What the function or the platform counted, by the names and units that CloudWatch would have had."""
    told = []
    for directive in document["_aws"]["CloudWatchMetrics"]:
        for metric in directive["Metrics"]:
            value, unit = document.get(metric["Name"]), metric.get("Unit", "None")
            value = value if type(value) is not list or len(value) != 1 else value[0]
            told.append(f"{metric['Name']} {value}" + (f" {unit}" if unit not in ("None", "Count") else ""))
    return [_plain(" · ".join(told))]


def _init(init: "dict[str, Any]") -> "tuple[str, list[Any]]":
    split = init.get("split")
    parts = [f"{where} {ms(spent)}" for where, spent in split.items() if spent] if type(split) is dict else []
    text = f"init {ms(init.get('ms'))}  imports {ms(init.get('import_ms'))}"
    rows: "list[Any]" = []
    costly = [each for each in init.get("packages") or () if len(each) > 2 and each[2] >= COSTLY_MS][:3]
    if costly:
        rows.append("costliest: " + _plain(", ".join([f"{name} {ms(spent)}" for name, _, spent, *_ in costly])))
    return _plain(text + (f" ({' · '.join(parts)})" if parts else "")), rows + _calls(init.get("calls") or [])


def _calls(calls: "list[dict[str, Any]]") -> "list[Any]":
    """The calls under their parents, by time. Of more than SHOWN those that did not end well go first."""
    chosen = sorted(calls, key=_when)
    more: "list[Any]" = []
    if len(chosen) > SHOWN:
        chosen = sorted(sorted(chosen, key=lambda call: call["status"] == "ok")[:SHOWN], key=_when)
        well = sum([call["status"] == "ok" for call in calls]) - sum([call["status"] == "ok" for call in chosen])
        left = len(calls) - SHOWN
        more = [f"{_calls_of(left)} more, {well} of them ok"]
    nodes: "dict[str, tuple[str, list[Any]]]" = {call["span_id"]: (_call(call), []) for call in chosen}
    roots: "list[Any]" = []
    for call in chosen:  # a parent has begun first
        parent = nodes.get(call["parent_id"])
        (roots if parent is None or call["parent_id"] == call["span_id"] else parent[1]).append(nodes[call["span_id"]])
    return roots + more


def _call(call: "dict[str, Any]") -> str:
    status = call["status"]
    parts = [f"{MARKS.get(status, '?')} {_pair(call)}"]
    if status != "ok":
        parts.append(status.replace("_", " "))
    parts.append(ms(call["duration_ms"]))
    if call.get("items_failed"):
        parts.append(f"{call['items_failed']} of {call['items']} items failed")
    if call.get("attempts", 1) > 1:
        parts.append(f"{call['attempts']} attempts")
    if call.get("late"):
        parts.append("ended after the invocation")
    return _plain("  ".join(parts)) + ("\n" + _error(call["message"]) if call.get("message") else "")


def _stacks(stacks: "Any") -> "list[Any]":
    """What each thread was in: the innermost frame, then those of the function."""
    rows = []
    for stack in (stacks or ())[:STACKS]:
        frames = stack.get("frames") or []
        own = [frame for frame in frames[1:] if frame.startswith("/var/task/")][:FRAMES]
        where = " ← ".join([frame.removeprefix("/var/task/") for frame in [*frames[:1], *own]])
        rows.append(_plain(f"{stack.get('thread', 'a thread')} was in {where}"))
    return rows


def _error(*parts: "Any") -> str:
    return _plain(": ".join([str(part) for part in parts if part])[:MESSAGE_CHARS])


def _calls_of(count: "Any") -> str:
    return "1 call" if count == 1 else f"{count} calls"


def _pair(call: "dict[str, Any]") -> str:
    return _plain(f"{call.get('tool', '')} {call.get('operation', '')}".strip())


def _when(call: "dict[str, Any]") -> "tuple[Any, ...]":
    return call["timestamp"], -call["duration_ms"]


def _plain(text: "Any") -> str:
    """What a terminal may be given: nothing that moves its cursor, or ends the row."""
    return "".join([each if each.isprintable() else " " for each in str(text)])


def ms(value: "Any") -> str:
    """`0.4 ms`, `12 ms`, `1.20 s`, `26 h`; "?" for what is no number."""
    if type(value) not in (int, float):
        return "?"
    if value >= 3_600_000:
        return "%.0f h" % (value / 3_600_000)
    if value >= 1_000:
        return "%.2f s" % (value / 1_000)
    return "%.0f ms" % value if value >= 10 else "%.1f ms" % value


def _us(value: "Any") -> str:
    return ms(value / 1_000) if type(value) in (int, float) else "?"
