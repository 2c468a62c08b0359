"""The customer's own hooks around every call: they see copies of its facts, can change nothing and break nothing."""

from contextvars import ContextVar
from json import dumps, loads
from types import CoroutineType

from coldspan.core.buffer import raised_by_signal
from coldspan.hot import scope as hot_scope

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from coldspan.core.record import Call
    from coldspan.hot.scope import Scope

    Hook = Callable[[Any], Any]

_hooks: "dict[str, tuple[Hook, ...]]" = {"before": (), "after": ()}
# Calls that a hook makes itself are recorded, and not told to hooks again.
_inside: "ContextVar[bool]" = ContextVar("coldspan_hooks", default=False)


def before_call(function: "Hook") -> "Hook":
    """Call `function(record)` before every call that begins from now on, recorded by hand or by a library's hook.

    The record is a CallToolResult of its own, with status in_flight. Gives the function back, so it can decorate. What
    the function raises is counted; how long it takes is the customer's own time.
    """
    return _register("before", function)


def after_call(function: "Hook") -> "Hook":
    """Call `function(record)` after every call, with its CallToolResult; otherwise as `before_call`."""
    return _register("after", function)


def _register(when: str, function: "Hook") -> "Hook":
    scope = hot_scope.active
    if callable(function):
        _hooks[when] += (function,)
        if scope is not None:
            attach(scope)
    elif scope is not None:
        scope.buffer.drop("arguments_refused")
    return function


def attach(scope: "Scope") -> None:
    """Let a Scope tell its calls to the hooks there are."""
    if scope.listeners is None and (_hooks["before"] or _hooks["after"]):

        def tell(call: "Call", when: str) -> None:
            _tell(scope, call, when)

        scope.listeners = scope.buffer.shielded(tell)


def _tell(scope: "Scope", call: "Call", when: str) -> None:
    hooks = _hooks[when]
    if not hooks or _inside.get():
        return
    position = scope.current.get()
    inside = _inside.set(True)
    try:
        for hook in hooks:
            _tell_one(scope, hook, call, when)
    finally:
        _inside.reset(inside)
        scope.current.set(position)


def _tell_one(scope: "Scope", hook: "Hook", call: "Call", when: str) -> None:
    from coldspan.core.result import to_result  # the drain's, and only where there are hooks

    record = to_result(call, scope.settings.error_text)
    if record.payload is not None:
        record.payload = loads(dumps(record.payload))
    try:
        result = hook(record)
        if type(result) is CoroutineType:  # an async function: nobody awaits it
            result.close()
            scope.buffer.errors["async_hook"] = scope.buffer.errors.get("async_hook", 0) + 1
    except BaseException as error:  # sys.exit() in a hook must not end the call either
        if raised_by_signal(error):
            raise
        name = when + "_call"
        scope.buffer.errors[name] = scope.buffer.errors.get(name, 0) + 1
