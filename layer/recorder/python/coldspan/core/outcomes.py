"""Reads what an AWS answer with status 200 says of each item that was sent. The rules are in outcomes.txt."""

from coldspan.core import limits
from coldspan.core.record import ERROR, TIMEOUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from coldspan.core.record import Call

_CODE_KEYS = ("errorcode", "failurecode", "errortype", "exceptiontype", "exceptionname", "reasoncode")
_TEXT_KEYS = ("message", "reason", "reasons", "description", "detail", "details", "result")
_CODE_CHARS = 128


class Rule:
    """How to read an operation's answer: `items` are the paths of what was sent, `terms` add up to what failed."""

    __slots__ = ("items", "terms")

    def __init__(self, items: str, failed: str) -> None:
        self.items = tuple([_path(text) for text in items.split("+")]) if items != "-" else ()
        self.terms = tuple([Term(text) for text in failed.split("+")]) if failed != "-" else ()


class Term:
    """A place where failed items show. `shape` is "", "{}", "/", "@" or, for a condition on elements, ".", "=", "~"."""

    __slots__ = ("detail", "member", "shape", "sub", "values", "whole")

    def __init__(self, text: str) -> None:
        text, _, detail = text.partition(":")
        self.whole = text.endswith("!")
        text = text.rstrip("!")
        self.detail = detail.split(",") if detail else None
        self.shape = self.sub = ""
        self.values: "list[str]" = []
        for mark in "=~":
            text, found, values = text.partition(mark)
            if found:
                self.shape = mark
                self.values = values.split(",")
        if text.startswith("@"):
            self.shape, text = "@", text[1:]
        elif text.endswith("{}"):
            self.shape, text = "{}", text[:-2]
        for mark in "./":
            if mark in text:
                text, _, self.sub = text.partition(mark)
                self.shape = self.shape or mark
        self.member = text

    def count(self, parsed: "Any") -> "tuple[int, Any]":
        """How many items failed, and the place that says why."""
        shape = self.shape
        value = parsed.get(self.member)
        if not value:
            return 0, None
        if not shape or shape == "{}":
            return _count(value, shape), value
        if shape == "/":
            return sum([_count(element.get(self.sub), "") or 1 for element in value]), value
        bad = [element for element in value if self.is_bad(element.get(self.sub))]
        return len(bad), bad

    def is_bad(self, value: "Any") -> bool:
        """Whether an element with this value in its `sub` member is one that failed."""
        if self.shape == ".":
            return bool(value)
        return (value in self.values) is (self.shape == "=")


def count_items(rule: "Rule", params: "dict[str, Any]") -> "int | None":
    """How many items a request carries; None when it does not say."""
    total = None
    for names, shape, default in rule.items:
        value: "Any" = params
        for name in names:
            value = value.get(name) if isinstance(value, dict) else None
        if value is None:
            value = default
        if value is not None:
            total = (total or 0) + _count(value, shape)
    return total


def read_outcome(call: "Call", rule: "Rule", params: "dict[str, Any]", parsed: "Any") -> None:
    """Write items, items_failed, cause and the first failed item's error into the call, from a parsed 200."""
    call.items = count_items(rule, params)
    failed = 0
    for term in rule.terms:
        if term.shape == "@":
            failed += FUNCTIONS[term.member](call, parsed, term.detail)
            continue
        count, place = term.count(parsed)
        if not count:
            continue
        if not call.error_type:
            if term.detail is not None:
                place = parsed.get(term.detail[0])
            call.error_type, call.error_text = explain(term.member, place, term.shape != "{}")
        if term.whole:
            call.cause = ERROR
        else:
            failed += count
    if failed or call.items is not None:
        call.items_failed = failed


def execution(call: "Call", parsed: "Any", members: "Any") -> int:
    """Step Functions answers a synchronous execution with 200, however it ended."""
    status, error, cause = [parsed.get(member) for member in members]
    if status and status != "SUCCEEDED":
        call.cause = TIMEOUT if status == "TIMED_OUT" else ERROR
        call.error_type = str(error or status)[:_CODE_CHARS]
        call.error_text = str(cause or "")[: limits.RAW_TEXT_CHARS]
    return 0


def log_events(call: "Call", parsed: "Any", members: "Any") -> int:
    """CloudWatch Logs refuses the oldest and the newest events of a batch, and says so by index."""
    info = parsed.get(members[0])
    if not info:
        return 0
    items = call.items or 0
    old = max(info.get("tooOldLogEventEndIndex") or 0, info.get("expiredLogEventEndIndex") or 0)
    new = info.get("tooNewLogEventStartIndex")
    call.error_type = next(iter(info))
    return min(items, old + (items - new if new is not None else 0))


FUNCTIONS = {"execution": execution, "log_events": log_events}


def explain(member: str, place: "Any", is_modelled: bool) -> "tuple[str, str]":
    """Give (code, text) of the first element that says why it failed; its code is the member's name if none does.

    `is_modelled` False: the keys in there are the customer's own, nothing is read from them.
    """
    if is_modelled:
        if isinstance(place, dict):
            found = _describe(place, 3)
            places = [place, *place.values()] if found == ("", "") else [place]
        else:
            places = place if isinstance(place, list) else [place]
        for element in places:
            code, text = _describe(element, 3)
            if code or text:
                return code or member, text
    return member, ""


def _describe(value: "Any", depth: int) -> "tuple[str, str]":
    """The code and the text in a modelled error, whose members have a different name in every service."""
    if isinstance(value, str):
        if _is_code(value):
            return value, ""
        return "", value[: limits.RAW_TEXT_CHARS]
    if isinstance(value, list):
        return _describe(value[0], depth - 1) if value and depth else ("", "")
    if not isinstance(value, dict):
        return "", ""
    code = text = status = ""
    for key, item in value.items():
        name = key.lower()
        if not item or item is True:
            continue
        if name.endswith(_CODE_KEYS) or name == "code":
            code = code or str(item)[:_CODE_CHARS]
        elif isinstance(item, (dict, list)) and depth and ("error" in name or name == "reasons" or len(value) == 1):
            inner = _describe(item, depth - 1)
            code = code or inner[0]
            text = text or inner[1]
        elif isinstance(item, (str, int)) and (name.endswith(_TEXT_KEYS) or name == "error"):
            text = text or str(item)[: limits.RAW_TEXT_CHARS]
        elif name in ("status", "statuscode"):
            status = str(item)[:_CODE_CHARS]
    if not code and _is_code(text):
        return text, ""
    return code or (status if text else ""), text


def _is_code(text: str) -> bool:
    return 0 < len(text) <= _CODE_CHARS and " " not in text and "/" not in text


def _path(text: str) -> "tuple[list[str], str, int | None]":
    """A path as (names, shape, default)."""
    text, _, default = text.partition("#")
    nested = text.endswith("{}")
    return text.removesuffix("{}").split("."), "{}" if nested else "", int(default) if default else None


def _count(value: "Any", shape: str) -> int:
    """The number of elements of a list or dict (of lists or {Keys: list} inside, for "{}"), a number, else 1 or 0."""
    if shape:
        return sum([len(inner.get("Keys", ()) if isinstance(inner, dict) else inner) for inner in value.values()])
    if isinstance(value, (list, tuple, dict)):
        return len(value)
    return int(value) if isinstance(value, int) else int(bool(value))
