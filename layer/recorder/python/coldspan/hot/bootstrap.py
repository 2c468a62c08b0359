"""The wrapper around the customer's handler.

The file has this name because the runtime client cuts leading frames of files called bootstrap.py from the stack trace
it posts. The wrapper also takes its own frame off what passes through, so the name is the second lock.
"""

from types import CoroutineType, FunctionType

from coldspan.hot.patch import MARK, drop_own_frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from coldspan.core.record import Invocation

    Handler = Callable[..., Any]

# Invocation.state: how far it got.
BEGUN, ENTERED, RETURNED, RAISED, POSTED = range(5)


def wrap(
    handler: "Any",
    describe: "Callable[[Handler, Handler], None]",
    enter: "Callable[[tuple[Any, ...], dict[str, Any]], Invocation | None]",
    succeed: "Callable[[Invocation, Any], None]",
    fail: "Callable[[Invocation, BaseException], None]",
    drive: "Callable[[Any], Any] | None" = None,
) -> "Any":
    """Give a callable that runs the handler once and tells its three steps.

    All four steps must be shielded. `describe(wrapper, handler)` copies name and attributes; `enter(args, kwargs)`
    gives the Invocation, or None when this call is not an invocation of its own (a second wrapper around the same
    handler); `succeed(invocation, result)` and `fail(invocation, error)` end it. `drive` runs a coroutine to its end;
    None leaves a coroutine to the runtime. What cannot be called is given back as it is, so that the error is the
    runtime's own.
    """
    # Only a function can be our wrapper; an object may answer the question for the mark with anything, or raise.
    if not callable(handler) or (type(handler) is FunctionType and MARK in handler.__dict__):
        return handler

    def wrapped(*args: "Any", **kwargs: "Any") -> "Any":
        invocation = enter(args, kwargs)
        try:
            result = handler(*args, **kwargs)
            if drive is not None and type(result) is CoroutineType:
                result = drive(result)
        except BaseException as error:
            if invocation is not None:
                fail(invocation, error)
            drop_own_frame(error)
            raise
        if invocation is not None:
            succeed(invocation, result)
        return result

    describe(wrapped, handler)
    wrapped.__wrapped__ = handler  # type: ignore[attr-defined]  # a function takes any attribute
    setattr(wrapped, MARK, True)
    return wrapped


def guard(original: "Handler", escaped: "Callable[[BaseException], None]") -> "Handler":
    """Wrap what the runtime client does with one event: an error that leaves it ends the process without a post."""

    def handle_event_request(*args: "Any", **kwargs: "Any") -> "Any":
        try:
            return original(*args, **kwargs)
        except BaseException as error:
            escaped(error)
            drop_own_frame(error)
            raise

    return handle_event_request
