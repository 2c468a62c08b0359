"""What the customer calls by hand: `call`; the way to `tool`, `annotate`, `metric`, `before_call` and `after_call`.

All of it does nothing where no recorder runs (outside of Lambda, COLDSPAN_ENABLED=false), and none of it raises: an
argument that cannot be used is counted.
"""

import sys

from coldspan.core import limits
from coldspan.core.record import CANCELLED, CONNECTION, ERROR, TIMEOUT, USER
from coldspan.hot import scope as hot_scope

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self

    from coldspan.core.record import Call
    from coldspan.hot.scope import Scope

_CHARS = limits.XRAY_NAME_CHARS
_CAUSES = (
    (CANCELLED, frozenset(("CancelledError", "GeneratorExit", "KeyboardInterrupt", "SystemExit"))),
    (TIMEOUT, frozenset(("TimeoutError", "Timeout", "TimeoutException", "ReadTimeoutError", "ConnectTimeoutError"))),
    (CONNECTION, frozenset(("ConnectionError",))),
)


class _Steps:
    """The guarded steps of one Scope."""

    __slots__ = ("begin", "close", "end", "finish", "open", "scope")

    def __init__(self, scope: "Scope") -> None:
        self.scope = scope
        shielded = scope.buffer.shielded
        self.begin = shielded(_begin)
        self.finish = shielded(_finish)
        self.open = shielded(scope.begin)
        self.end = shielded(scope.end)
        self.close = shielded(_close)


_current: "_Steps | None" = None


def running() -> "_Steps | None":
    """The steps of the running recorder, or None."""
    global _current
    scope = hot_scope.active
    if scope is None:
        return None
    steps = _current
    if steps is None or steps.scope is not scope:
        steps = _current = _Steps(scope)
        hooks = sys.modules.get("coldspan.hot.listeners")
        if hooks is not None:
            hooks.attach(scope)
    return steps


# --- call -----------------------------------------------------------------------------------------------------------


class ByHand:
    """One call recorded by hand, as sync or async context manager.

    Inside the block `items`, `items_failed`, `attributes` (a dict; str, number and bool values leave) and `payload` may
    be set, and `fail` called. An exception that leaves the block fails the call and goes on untouched.
    """

    __slots__ = (
        "_call", "_failure", "_operation", "_payload", "_steps", "_tool", "attributes", "items", "items_failed",
    )  # fmt: skip

    def __init__(self, tool: "Any", operation: "Any", payload: "Any", items: "Any", attributes: "Any") -> None:
        self._tool = tool
        self._operation = operation
        self._payload = payload
        self.items = items
        self.attributes = attributes
        self.items_failed: "Any" = None
        self._call: "Call | None" = None
        self._failure: "tuple[Any, Any] | None" = None
        self._steps: "_Steps | None" = None

    def __enter__(self) -> "Self":
        steps = self._steps = running()
        if steps is not None:
            tool, operation = self._tool, self._operation
            if self.attributes or self._payload is not None or self._call is not None:
                self._call = steps.begin(steps.scope, self)
            elif type(tool) is str is type(operation) and 0 < len(tool) <= _CHARS and 0 < len(operation) <= _CHARS:
                self._call = steps.open(USER, tool, operation)  # the usual case, one frame less
            else:
                self._call = steps.begin(steps.scope, self)
        return self

    def __exit__(self, kind: object, error: "BaseException | None", trace: object) -> None:
        call, steps = self._call, self._steps
        if call is not None and steps is not None:
            self._call = None
            if (
                error is None
                and self._failure is None
                and self.items is None
                and self.items_failed is None
                and not self.attributes
            ):
                steps.end(call)
            else:
                steps.finish(steps.scope, self, call, error)

    async def __aenter__(self) -> "Self":
        return self.__enter__()

    async def __aexit__(self, kind: object, error: "BaseException | None", trace: object) -> None:
        self.__exit__(kind, error, trace)

    def fail(self, message: "Any" = "", type: "Any" = "Error") -> None:  # noqa: A002  # reads as what it sets: error.type
        """Mark the call as failed although no exception says so. The message is masked and bounded before it leaves."""
        self._failure = (message, type)

    @property
    def payload(self) -> "Any":
        """What leaves with the call: asked for by setting it, whatever COLDSPAN_PAYLOADS says; masked and bounded."""
        return self._payload if self._call is None else self._call.payload

    @payload.setter
    def payload(self, value: "Any") -> None:
        call, steps = self._call, self._steps
        if call is None or steps is None:
            self._payload = value
        else:
            steps.scope.buffer.shielded(_capture)(steps.scope, call, value)


def call(*names: "Any", payload: "Any" = None, items: "Any" = None, **attributes: "Any") -> "ByHand":
    """Record a call to something outside of the handler's own code: `with coldspan.call("pricing", "quote") as call:`.

    `names` are tool and operation, also as keywords; `items` says how many things are asked for at once; `payload` is
    kept with the record, masked and bounded; further keywords become attributes.
    """
    tool = operation = "unknown"
    if len(names) == 2:
        tool, operation = names
    else:
        if len(names) > 2:
            _refuse("arguments_refused")
        tool = names[0] if names else attributes.pop("tool", tool)
        operation = names[1] if len(names) > 1 else attributes.pop("operation", operation)
    return ByHand(tool, operation, payload, items, attributes)


def _begin(scope: "Scope", by_hand: "ByHand") -> "Call | None":
    if by_hand._call is not None:
        scope.buffer.drop("arguments_refused")  # entered twice: the first call goes on
        return by_hand._call
    call = scope.begin(USER, _name(scope, by_hand._tool), _name(scope, by_hand._operation))
    if call is not None:
        if by_hand.attributes:
            call.attributes = _clean(scope, by_hand.attributes)
        if by_hand._payload is not None:
            payload, by_hand._payload = by_hand._payload, None
            _capture(scope, call, payload)
    return call


def _finish(scope: "Scope", by_hand: "ByHand", call: "Call", error: "BaseException | None") -> None:
    try:
        if error is not None:
            describe(call, error, scope.settings.error_text)
        elif by_hand._failure is not None:
            _describe_failure(call, scope.settings.error_text, *by_hand._failure)
        if by_hand.items is not None or by_hand.items_failed is not None:
            call.items = _count(scope, by_hand.items)
            call.items_failed = _count(scope, by_hand.items_failed)
        if by_hand.attributes:
            call.attributes = _clean(scope, by_hand.attributes)
    finally:
        scope.end(call)


def _close(
    scope: "Scope",
    call: "Call",
    error: "BaseException | None",
    result: "Any" = None,
    arguments: "tuple[Any, Any] | None" = None,
) -> None:
    """End the call of a function marked by `tool`. `arguments` are (args, kwargs), for the payload."""
    try:
        if error is not None:
            describe(call, error, scope.settings.error_text)
        elif _is_tool_error(result):
            call.cause = ERROR
            call.error_type = "tool_error"
        payloads = scope.settings.payloads
        if payloads != "off" and arguments is not None and (payloads == "all" or call.error_type):
            positional, named = arguments
            request = {"args": positional, "kwargs": named} if positional else named
            _capture(scope, call, {"request": request, "response": result})
    finally:
        scope.end(call)


def _is_tool_error(result: "Any") -> bool:
    """An MCP CallToolResult, as a dict or as the SDK's object (1.x and 2.x spell it differently); only True counts."""
    if type(result) is dict:
        return result.get("isError") is True
    if type(result).__name__ != "CallToolResult":
        return False
    return getattr(result, "is_error", None) is True or getattr(result, "isError", None) is True


def _describe_failure(call: "Call", with_text: bool, message: "Any", kind: "Any") -> None:
    if isinstance(message, BaseException):
        describe(call, message, with_text)
        return
    call.cause = ERROR
    call.error_type = kind[:_CHARS] if type(kind) is str and kind else "Error"
    call.error_text = message[: limits.RAW_TEXT_CHARS] if with_text and type(message) is str else ""


def describe(call: "Call", error: "BaseException", with_text: bool) -> None:
    """Write what an exception says of itself into the call: its class name, its text, and its cause by that name."""
    kind = type(error)
    names = {base.__name__ for base in kind.__mro__}
    call.error_type = kind.__name__
    call.cause = next((cause for cause, known in _CAUSES if not known.isdisjoint(names)), ERROR)
    if with_text:
        call.error_text = str(error)[: limits.RAW_TEXT_CHARS]


def _name(scope: "Scope", name: "Any") -> str:
    if type(name) is str and name:
        return name[:_CHARS]
    scope.buffer.drop("arguments_refused")
    return "unknown"


def _count(scope: "Scope", number: "Any") -> "int | None":
    if number is None or (type(number) is int and 0 <= number < 1 << 53):
        return number
    scope.buffer.drop("arguments_refused")
    return None


def _clean(scope: "Scope", attributes: "Any") -> "dict[str, Any] | None":
    """Copy what may leave: names and texts cut to their limits, numbers and bools; the rest is counted."""
    clean: "dict[str, Any]" = {}
    for key, value in attributes.items():
        if len(clean) >= limits.XRAY_ANNOTATIONS or not is_plain(key, value):
            scope.buffer.drop("attributes_refused")
        else:
            clean[key] = value[: limits.RAW_TEXT_CHARS] if type(value) is str else value
    return clean or None


def is_plain(key: "Any", value: "Any") -> bool:
    """Whether a name and its value may leave as they are: str, a number of 64 bits, or bool."""
    kind = type(value)
    if type(key) is not str or not 0 < len(key) <= _CHARS:
        return False
    if kind is int:
        return bool(-(1 << 63) <= value < 1 << 63)
    return kind is str or kind is bool or (kind is float and value - value == 0)


def _capture(scope: "Scope", call: "Call", value: "Any") -> None:
    from coldspan.core.payload import capture  # only where payloads were asked for

    call.payload = capture(value, scope.settings)


def _refuse(reason: str) -> None:
    if hot_scope.active is not None:
        hot_scope.active.buffer.drop(reason)


# --- what has files of its own --------------------------------------------------------------------------------------


_ELSEWHERE = {
    "after_call": "coldspan.hot.listeners",
    "annotate": "coldspan.hot.annotations",
    "before_call": "coldspan.hot.listeners",
    "metric": "coldspan.hot.annotations",
    "tool": "coldspan.hot.tool",
}


def __getattr__(name: str) -> "Any":
    """The other public names, each loaded when first used."""
    where = _ELSEWHERE.get(name)
    if where is None:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    __import__(where)
    return getattr(sys.modules[where], name)
