"""A line larger than an event may be, or with half surrogates in it: repaired, split, trimmed; trimming is counted."""

from json import loads

from coldspan.core import limits
from coldspan.core.text import count, plain, to_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_TRIM_ORDER = ("payload", "attributes", "phases", "message")
_CUT_CHARS = 64


def split(line: str, continuation: str, drops: "dict[str, int]", most: int = limits.EMF_EVENT_BYTES) -> "list[bytes]":
    """Give the same as whole lines of at most so many bytes.

    The first keeps metrics and facts; calls that do not fit go on in lines that begin with `continuation` (an open JSON
    object) and have no metrics. Facts are dropped, largest first, only when they do not fit without any call.
    """
    try:
        document = plain(loads(line), drops)
    except (ValueError, RecursionError):
        count(drops, "lines_unencodable")
        return []
    line = to_json(document, drops) + "\n"
    if len(line) <= most:
        return [line.encode()]
    calls = document.pop("calls", [])
    init = document.get("init")
    if type(init) is dict and type(init.get("calls")) is list and len(to_json(document, {})) >= most:
        calls = init.pop("calls") + calls
    line = to_json(document, drops)
    while len(line) >= most:
        told = {name: len(to_json(value, {})) for name, value in document.items() if name not in _keys_of(document)}
        del document[max(told, key=told.__getitem__)]
        count(drops, "facts_trimmed")
        line = to_json(document, drops)
    lines = []
    line = line[:-1]
    room = most - len(continuation) - 32  # the number of the part, and what closes the line
    opened = False
    for call in calls:
        text = trimmed(to_json(call, {}), room, drops)
        if len(line) + len(text) + 16 > most:
            lines.append(_closed(line, opened))
            line, opened = '%s,"part":%d' % (continuation, len(lines)), False
        line += ("," if opened else ',"calls":[') + text
        opened = True
    return [*lines, _closed(line, opened)]


def split_again(line: bytes, most: int, drops: "dict[str, int]") -> "list[bytes]":
    """Give a line that was encoded for another limit as lines within this one; [] for what is none of ours."""
    text = line.decode("utf-8", "replace")
    try:
        document = loads(text)
        named = {name: document[name] for name in ("function_name", "request_id") if name in document}
    except (ValueError, RecursionError, TypeError):
        count(drops, "lines_unencodable")
        return []
    return split(text, to_json(named, drops)[:-1], drops, most)


def trimmed(text: str, room: int, drops: "dict[str, int]") -> str:
    """The record of one call in at most `room` characters: the payload goes first, then attributes, phases, message."""
    if len(text) <= room:
        return text
    count(drops, "calls_trimmed")
    record = loads(text)
    record["trimmed"] = True
    for name in _TRIM_ORDER:
        record.pop(name, None)
        text = to_json(record, {})
        if len(text) <= room:
            return text
    return to_json({name: value[:_CUT_CHARS] if type(value) is str else value for name, value in record.items()}, {})


def _keys_of(document: "dict[str, Any]") -> "set[str]":
    """The members of the root that the metrics refer to."""
    directive = document["_aws"]["CloudWatchMetrics"][0]
    return {"_aws", *directive["Dimensions"][0], *[metric["Name"] for metric in directive["Metrics"]]}


def _closed(line: str, opened: bool) -> bytes:
    return (line + ("]}\n" if opened else "}\n")).encode()
