"""Records among other output: whatever stands before, behind or around them.

What is understood: the line itself; prefixes of docker, docker compose, `aws logs tail`, `sam logs` and exports; ANSI
colours; CR before the newline; several records on a line; a record as the text of a JSON member (the JSON log format,
docker's json-file, the AWS CLI's output, subscriptions, an Insights result) or in a CSV field.
"""

import datetime as dt
import json
import re
from typing import TYPE_CHECKING, Any

from coldspan_console.pulling import reports
from coldspan_console.store.documents import kind_of

if TYPE_CHECKING:
    from collections.abc import Iterator

ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")
STREAM = re.compile(r"\d{4}/\d\d/\d\d/(?:[\w-]+)?\[[^\]\s]{1,128}\][0-9a-f]{8,64}")
TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?")
COMPOSE = re.compile(r"^[\w.-]{1,64}\s+\| ?")
QUOTED = re.compile(r'"(?:message|@message|log|value)"\s*:\s*("(?:[^"\\]|\\.)*")')
BEGAN = re.compile(r"START RequestId: ([\w-]{8,64})")
OVER = re.compile(r"(?:END|REPORT) RequestId: ([\w-]{8,64})")
TREE = re.compile("└── request [^ ]*  coldspan's own time ")
MARKS = ("_aws", '"coldspan"', '"part"', "platform.report", "REPORT RequestId")
MEMBERS = ("message", "@message", "log", "events", "logEvents", "results", "value", "record", "body")
DEEP = 6  # a record within a text within an object ...
TRIES = 64  # opening braces looked at in a line that is no JSON
LOG_LINES = 2_000  # kept of one invocation


class Reader:
    """Takes lines, gives the documents in them, and keeps the log lines of the invocations that it saw begin.

    `lines`, `torn`, `trees` count: all; those that looked as if they had a record and had none that could be read; the
    last ones of the trees that a function shows under `sam local`.
    """

    def __init__(self, function: str = "", *, emulated: bool = False) -> None:
        self.function = function
        self.emulated = emulated
        self.lines = self.torn = self.trees = 0
        self.logs: dict[str, list[dict[str, Any]]] = {}
        self._running: dict[str, str] = {}  # stream -> request id

    def read(self, line: "str | bytes", at_ms: int = 0, stream: str = "") -> "list[dict[str, Any]]":
        """The documents in a line, or in an event's message. Nothing is raised whatever it holds."""
        text = line.decode("utf-8", "replace") if isinstance(line, bytes) else line
        text = ANSI.sub("", text).rstrip("\r\n")
        self.lines += 1
        if not any(mark in text for mark in MARKS):
            self.trees += TREE.search(text) is not None
            self._note(text, at_ms, stream)
            return []
        head = text[:400]
        at_ms = at_ms or time_in(head)
        found = list(self._in_text(text, at_ms, 0))
        if not found and '""_aws""' in text:
            found = list(self._in_text(text.replace('""', '"'), at_ms, 0))
        for document in found:
            if document.get("platform") is not True and isinstance(document.get("function_name"), str):
                self.function = document["function_name"]
        if not found:
            self.torn += _is_torn(text)
            self._note(text, at_ms, stream)
        elif (over := OVER.search(text)) is not None:
            self._over(over[1], stream or _stream_in(head))
        return found

    def _in_text(self, text: str, at_ms: int, depth: int) -> "Iterator[dict[str, Any]]":
        if depth > DEEP:
            return
        report = reports.of_text(text, at_ms, self.function, emulated=self.emulated)
        if report is not None:
            yield report
            return
        some = False
        for value in objects(text):
            for document in self._in_value(value, at_ms, depth):
                some = True
                yield document
        if not some:
            for quoted in QUOTED.findall(text):
                try:
                    inner = json.loads(quoted)
                except ValueError:
                    continue
                yield from self._in_text(inner, at_ms, depth + 1)

    def _in_value(self, value: Any, at_ms: int, depth: int) -> "Iterator[dict[str, Any]]":
        if depth > DEEP:
            return
        if isinstance(value, list):
            for one in value:
                yield from self._in_value(one, at_ms, depth + 1)
        elif isinstance(value, str):
            if any(mark in value for mark in MARKS):
                yield from self._in_text(value, at_ms, depth + 1)
        elif isinstance(value, dict):
            if kind_of(value) is not None:
                yield value
                return
            moment = _moment(value.get("timestamp")) or _moment(value.get("time")) or at_ms
            report = reports.of_event(value, moment, self.function)
            if report is not None:
                yield report
                return
            for member in MEMBERS:
                if member in value:
                    yield from self._in_value(value[member], moment, depth + 1)

    def _note(self, text: str, at_ms: int, stream: str) -> None:
        """Keep a log line of the invocation that runs in its stream."""
        head = text[:400]
        stream = stream or _stream_in(head)
        if (began := BEGAN.search(head)) is not None:
            self._running[stream] = began[1]
            self.logs.setdefault(began[1], [])
            return
        if (over := OVER.search(head)) is not None:
            self._over(over[1], stream)
            return
        lines = self.logs.get(self._running.get(stream, ""))
        if lines is not None and len(lines) < LOG_LINES and text.strip():
            at_ms = at_ms or time_in(head)
            lines.append({"text": without_prefix(text), "kind": "function", **({"at_ms": at_ms} if at_ms else {})})

    def _over(self, request_id: str, stream: str) -> None:
        if self._running.get(stream) == request_id:
            del self._running[stream]


def objects(text: str) -> "Iterator[Any]":
    """The JSON objects and arrays of objects in a text, the outermost of each."""
    decoder = json.JSONDecoder()
    at, tries = _opening(text, 0), 0
    while at >= 0 and tries < TRIES:
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            tries += 1
            at = _opening(text, at + 1)
            continue
        yield value
        at = _opening(text, end)


def _is_torn(text: str) -> bool:
    """Whether an EMF document begins in a text and does not end."""
    begins = text.find('{"_aws"')
    if begins < 0:
        return False
    try:
        json.JSONDecoder().raw_decode(text, begins)
    except (ValueError, RecursionError):
        return True
    return False


def _opening(text: str, start: int) -> int:
    return text.find("{", start)


def time_in(text: str) -> int:
    """The first time in a text in epoch ms, 0 when there is none."""
    found = TIME.search(text)
    return _moment(found[0]) if found is not None else 0


def _moment(value: Any) -> int:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return int(value) if 1e12 < value < 1e14 else 0
    if not isinstance(value, str) or not TIME.fullmatch(value):
        return 0
    text = value.replace(",", ".")
    if len(text) > 19 and text[19] == ".":  # nanoseconds: more digits than Python takes
        digits = re.match(r"\d+", text[20:])
        length = len(digits[0]) if digits else 0
        text = text[:20] + text[20 : 20 + length][:6].ljust(6, "0") + text[20 + length :]
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        return 0
    return round((moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp() * 1_000)


def _stream_in(head: str) -> str:
    found = STREAM.search(head)
    return found[0] if found is not None else ""


def without_prefix(text: str) -> str:
    """A log line without what a tool has put before it: compose's name, the stream, the time."""
    text = COMPOSE.sub("", text, count=1)
    for _ in range(2):  # `aws logs tail` has the time first, `sam logs` the stream
        for prefix in (STREAM, TIME):
            found = prefix.match(text)
            if found is not None:
                text = text[found.end() :].lstrip(" \t")
    return text


__all__ = ["Reader", "objects", "time_in", "without_prefix"]
