"""The handler: found by the runtime's own look-up, wrapped once, by whichever way in comes first."""

import os
import sys

from coldspan.boot import start as starting
from coldspan.hot.patch import drop_own_frame, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from coldspan.boot.seam import Seam
    from coldspan.boot.settings import Settings
    from coldspan.hot.patch import Patches

REDIRECT = "coldspan.handler"
LOOK_UPS = ("_get_handler", "get_handler")  # awslambdaric 4.1 has the second name, all others the first


def install(bootstrap: "Any", seam: "Seam", patches: "Patches") -> None:
    """Make the runtime's look-up give the wrapped handler, and follow the redirect to COLDSPAN_HANDLER."""
    settings = seam.settings

    def make(original: "Any") -> "Any":
        def get_handler(handler: "Any", *args: "Any", **kwargs: "Any") -> "Any":
            if handler == REDIRECT and settings.handler:
                handler = settings.handler
            try:
                found = original(handler, *args, **kwargs)
            except BaseException as error:
                drop_own_frame(error)
                raise
            return seam.wrap_handler(found, _driver(settings))

        return get_handler

    for name in LOOK_UPS:
        replace(bootstrap, name, make, patches)


def _driver(settings: "Settings") -> "Callable[[Any], Any] | None":
    if not settings.async_handler:
        return None
    from coldspan.boot.asynchronous import drive

    return drive


def redirected() -> "Any":
    """What `Handler: coldspan.handler` gives when the runtime looked us up by itself: the handler of COLDSPAN_HANDLER.

    It is found by the runtime's own look-up, so that every error of the customer's module is the runtime's own.
    """
    starting.start()
    name = os.environ.get("COLDSPAN_HANDLER", "")
    bootstrap = sys.modules.get("awslambdaric.bootstrap")
    look_up = next((getattr(bootstrap, found) for found in LOOK_UPS if hasattr(bootstrap, found)), None)
    if look_up is None or not name:
        message = "coldspan.handler needs the Lambda runtime and COLDSPAN_HANDLER, such as app.handler"
        raise AttributeError(message)
    try:
        return look_up(name)
    except BaseException as error:
        drop_own_frame(error)
        raise


def instrument(handler: "Any" = None, **options: object) -> "Any":
    """Record every invocation of this handler. For a function without the layer; harmless beside it.

    `@coldspan.instrument` and `@coldspan.instrument()` are the same. An `async def` handler is driven to its end on one
    event loop for the life of the environment, also when COLDSPAN_ENABLED is false; inside a running loop its coroutine
    is given back. Unknown options are ignored. Outside of Lambda the handler is given back as it is.
    """
    if handler is None:
        return lambda decorated: instrument(decorated, **options)
    if "AWS_LAMBDA_RUNTIME_API" not in os.environ and "LAMBDA_TASK_ROOT" not in os.environ:
        return handler  # a test or a script: whoever awaits it there goes on awaiting it
    starting.start()
    from coldspan.boot.asynchronous import drive, driven

    seam = starting.seam
    if seam is not None:
        return seam.wrap_handler(handler, drive)
    return driven(handler) if callable(handler) else handler
