"""Drives `async def` handlers: the managed runtime does not."""

from functools import update_wrapper
from types import CoroutineType

from coldspan.hot.patch import drop_own_frame, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from coldspan.boot.settings import Settings
    from coldspan.hot.patch import Patches

_loop: "Any" = None


def drive(coroutine: "Any") -> "Any":
    """Run the coroutine on the environment's one loop. Inside a running loop (a test's) it is given back untouched."""
    global _loop  # connections that a handler keeps belong to the loop: one for the environment
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        return coroutine
    if _loop is None or _loop.is_closed():
        _loop = asyncio.new_event_loop()
        asyncio.set_event_loop(_loop)
    try:
        return _loop.run_until_complete(coroutine)
    except BaseException as error:
        drop_own_frame(error)
        raise


def driven(handler: "Callable[..., Any]") -> "Callable[..., Any]":
    """A plain function that runs the coroutine it gets from the handler, if any, to its end and does nothing else.

    Decided by what the handler gives, as with the recorder on: a partial or an object does not show that it is `async`.
    """

    def wrapped(*args: "Any", **kwargs: "Any") -> "Any":
        try:
            result = handler(*args, **kwargs)
            return drive(result) if type(result) is CoroutineType else result
        except BaseException as error:
            drop_own_frame(error)
            raise

    return update_wrapper(wrapped, handler)


def install(settings: "Settings", patches: "Patches") -> None:
    """Wrap only the look-up, for COLDSPAN_ENABLED=false with COLDSPAN_ASYNC_HANDLER=true: the function relies on it."""
    import sys

    from coldspan.boot.handlers import LOOK_UPS

    bootstrap = sys.modules.get("awslambdaric.bootstrap")
    if bootstrap is None:
        return

    def make(original: "Any") -> "Any":
        def get_handler(handler: "Any", *args: "Any", **kwargs: "Any") -> "Any":
            if handler == "coldspan.handler" and settings.handler:
                handler = settings.handler
            try:
                found = original(handler, *args, **kwargs)
            except BaseException as error:
                drop_own_frame(error)
                raise
            return driven(found) if callable(found) else found

        return get_handler

    for name in LOOK_UPS:
        replace(bootstrap, name, make, patches)
