"""coldspan: where an invocation's time went, and how each downstream call really ended."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_BY_HAND = ("after_call", "annotate", "before_call", "call", "metric", "tool")


def __getattr__(name: str) -> "Any":
    """The public names, each loaded when first used: importing the package costs nothing."""
    if name in _BY_HAND:
        from coldspan.hot import byhand

        value = globals()[name] = getattr(byhand, name)  # `coldspan.call` may stand in a loop
        return value
    if name == "instrument":
        from coldspan.boot.handlers import instrument

        return instrument
    if name == "CallToolResult":
        from coldspan.core.record import CallToolResult

        return CallToolResult
    if name == "handler":
        from coldspan.boot import handlers
        from coldspan.hot.patch import drop_own_frame

        try:
            return handlers.redirected()
        except BaseException as error:
            drop_own_frame(error)
            raise
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)


def __dir__() -> "list[str]":
    return sorted([*_BY_HAND, "CallToolResult", "handler", "instrument"])
